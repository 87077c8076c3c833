"""Every table as CSV, for programs, and as LaTeX (booktabs), for papers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from cloakwork.benchmark.report import leaderboard, wording
from cloakwork.benchmark.results import Cell, Results, TableResults
from cloakwork.evaluation.statistics import Estimate
from cloakwork.files import untaken

GAPS = ("against_clean", "against_noise", "against_rival")
# fields of a cell that say what was measured
CIRCUMSTANCES = (
    *("table", "protection", "budget", "threat_model", "attacker", "purifiers", "victim"),
    *("metric", "better", "unit"),
)
REASONS = 3  # of failures, in a caption
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "∞": r"$\infty$",
}


def files(findings: Results) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file: NAME.csv and NAME.tex of a table, its stealth and its
    worst cases, and the cost.
    """
    taken: set[str] = {"cost"}
    for table in findings.tables:
        name = slug(table.name, taken)
        yield f"{name}.csv", _csv(_long(table))
        yield f"{name}.tex", _leaderboards(table, name)
        if table.stealth:
            yield f"{name}-stealth.csv", _csv(_stealth(table))
            yield f"{name}-stealth.tex", _stealth_latex(table, name)
        if cases := leaderboard.worst_cases(table):
            yield f"{name}-worst.csv", _csv(_worst(cases))
            yield f"{name}-worst.tex", _worst_latex(table, cases, name)
    if findings.costs:
        yield "cost.csv", _csv(asdict(cost) for cost in findings.costs)
        yield "cost.tex", _cost_latex(findings)


def slug(name: str, taken: set[str]) -> str:
    """Return a file's name for a table's and add it to those taken; no other one, nor its kin
    (NAME-worst), is the same.

    >>> taken = set()
    >>> slug("A = 8/255", taken), slug("a (8, 255)", taken), slug("?", taken)
    ('a_8_255', 'a_8_255_2', 'table')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "table"
    return untaken(plain, taken, "_")


def escape(text: str) -> str:
    r"""Return text in which LaTeX finds no command.

    >>> print(escape("50 % of my_lab"))
    50 \% of my\_lab
    """
    return "".join(LATEX.get(letter, letter) for letter in text)


def _csv(lines: Iterable[dict[str, Any]]) -> str:
    lines, out = list(lines), io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _no_formula(v) for k, v in line.items()} for line in lines)
    return out.getvalue()


def _no_formula(value: Any) -> Any:
    """Return a field that no spreadsheet takes for a formula; numbers stay numbers.

    >>> _no_formula("=A1"), _no_formula("-x"), _no_formula("-0.5"), _no_formula(-0.5)
    ("'=A1", "'-x", '-0.5', -0.5)
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _long(table: TableResults) -> Iterator[dict[str, Any]]:
    """Yield a line for each cell, with everything that is known of it; a number that is not there
    is an empty field, never 0.
    """
    for c in table.cells:
        line = {name: getattr(c, name) for name in CIRCUMSTANCES}
        line["control"] = "yes" if leaderboard.control(c.protection) else "no"
        line |= _numbers("", c.mean) | {
            k: getattr(c.mean, k, "") for k in ("sets", "seeds", "pictures")
        }
        for gap in GAPS:
            difference = getattr(c, gap)
            p = None if difference is None else difference.p
            line |= _numbers(f"{gap}_", difference) | {f"{gap}_p": "" if p is None else p}
        line["works"] = {True: "yes", False: "no", None: ""}[c.works]
        line["reported"] = "; ".join(
            f"{r.value:g} ({', '.join(filter(None, (r.source, r.model, r.note)))})"
            for r in c.reported
        )
        yield line | {"failed": c.failed, "flags": "; ".join(c.flags)}


def _numbers(prefix: str, estimate: Estimate | None) -> dict[str, Any]:
    values = {k: getattr(estimate, k, math.nan) for k in ("mean", "low", "high")}
    return {f"{prefix}{k}": "" if math.isnan(v) else v for k, v in values.items()}


def _stealth(table: TableResults) -> Iterator[dict[str, Any]]:
    for protection, by_metric in table.stealth.items():
        for metric, e in by_metric.items():
            line = {"table": table.name, "protection": protection, "metric": metric}
            yield line | _numbers("", e) | {"sets": e.sets, "pictures": e.pictures}


def _worst(cases: Sequence[leaderboard.WorstCase]) -> Iterator[dict[str, Any]]:
    for case in cases:
        for chain, cell in [*case.by_purifiers.items(), ("(worst of all)", case.worst)]:
            line = {
                "protection": case.protection,
                "purifiers": chain,
                "threat_model": cell.threat_model if cell else "",
                "its purifiers": cell.purifiers if cell else "",
            }
            yield line | _numbers("", cell.mean if cell else None)


def _leaderboards(table: TableResults, label: str) -> str:
    """Write all attackers one below the other: every metric's mean with its interval, and whether
    both controls are beaten.
    """
    body: list[list[str] | str] = []
    for attacker in table.threat_models:
        columns = len(table.metrics) + 2
        body.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{escape(attacker)}}}}}")
        body += [
            [escape(r.protection), *(_value(r.cells.get(m)) for m in table.metrics), r.verdict]
            for r in leaderboard.leaderboard(table, attacker)
        ]
    better = {c.metric: wording.safer(c.better) for c in table.cells}
    head = [
        "protection",
        *(m + (f" ({better[m]})" if better.get(m) else "") for m in table.metrics),
        "beats both",
    ]
    about = f"{table.name}: what attackers get. {_basis(table)} {_reasons(table)}"
    return _latex(about.strip(), label, head, body)


def _basis(table: TableResults) -> str:
    models = wording.join_names(sorted({c.victim for c in table.cells}))
    return (
        f"{wording.sample_size(table)}; means with 95 % intervals; attackers use {models}, "
        "and nothing is said of other models."
    )


def _reasons(table: TableResults) -> str:
    failed = list(
        dict.fromkeys(f"{c.status.capitalize()}: {c.failed}" for c in table.cells if c.failed)
    )
    more = f" And {len(failed) - REASONS} more." if len(failed) > REASONS else ""
    cited = dict.fromkeys(f"{r.source} ({r.model})" for c in table.cells for r in c.reported)
    reported = f"Reported: {'; '.join(cited)}." if cited else ""
    return f"{reported} {' '.join(failed[:REASONS]) + more if failed else ''}".strip()


def _value(cell: Cell | None) -> str:
    """Write what stands in a field, with what papers report beside it."""
    if cell is None:
        return r"\emph{failed}"
    if cell.mean is None or not leaderboard.known(cell.mean):
        measured = rf"\emph{{{cell.status}}}"
    else:
        measured = f"{_n(cell.mean.mean, cell.unit)} {_interval(cell.mean, cell.unit)}"
    reported = [_n(r.value, cell.unit) for r in cell.reported]
    return measured + "".join(rf" {{\footnotesize (reported {n})}}" for n in reported)


def _n(value: float, unit: str = "") -> str:
    return escape(wording.number(value, unit))


def _interval(estimate: Estimate, unit: str = "") -> str:
    return rf"{{\footnotesize {escape(wording.interval(estimate, unit))}}}"


def _stealth_latex(table: TableResults, label: str) -> str:
    metrics = wording.stealth(table)
    body = [
        [
            escape(p),
            *(
                f"{_n(by[m].mean)} {_interval(by[m])}" if m in by else r"\emph{failed}"
                for m in metrics
            ),
        ]
        for p, by in table.stealth.items()
    ]
    head = ["protection", *(f"{escape(m)} ({way} is less visible)" for m, way in metrics.items())]
    about = f"{table.name}: how visible protections are, protected photos against their originals."
    return _latex(f"{about} {_basis(table)}", f"{label}-stealth", head, list(body))


def _worst_latex(table: TableResults, cases: Sequence[leaderboard.WorstCase], label: str) -> str:
    chains = list(cases[0].by_purifiers)
    body = [
        [
            escape(c.protection),
            *(_value(c.by_purifiers[chain]) for chain in chains),
            f"{_value(c.worst)}{_who(c)}",
        ]
        for c in cases
    ]
    about = f"{table.name}: the most that an attacker gets ({table.metrics[0]}), "
    about += f"by what it runs photos through. {_basis(table)}"
    head = ["protection", *(c or "as they are" for c in chains), "worst"]
    return _latex(about, f"{label}-worst", head, list(body))


def _who(case: leaderboard.WorstCase) -> str:
    if case.worst is None:
        return ""
    more = "" if case.whole else ", or worse: some failed"
    return escape(f" ({case.worst.purifiers or case.worst.threat_model}{more})")


def _cost_latex(findings: Results) -> str:
    body = [
        [
            c.kind,
            escape(c.name),
            str(c.steps),
            f"{c.seconds:.1f}",
            f"{c.cpu_seconds:.0f}",
            str(c.hosts),
        ]
        for c in findings.costs
    ]
    head = ["kind", "method", "steps", "seconds, median", "CPU seconds, all", "machines"]
    return _latex(f"{findings.name}: what the steps took.", "cost", head, list(body))


def _latex(caption: str, label: str, head: Sequence[str], body: Sequence[list[str] | str]) -> str:
    """Write a table environment; a line of the body that is one text spans the table and starts a
    group.
    """
    lines = []
    for i, row in enumerate(body):
        lines += [r"\midrule"] if isinstance(row, str) and i else []
        lines.append((row if isinstance(row, str) else " & ".join(row)) + r" \\")
    top = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(escape(h) for h in head) + r" \\",
        r"\midrule",
    ]
    return "\n".join([*top, *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
