"""Every table as CSV, for programs, and as LaTeX (booktabs), for papers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cloakwork.benchmark.report import leaderboard, wording
from cloakwork.benchmark.results import Cell, Results, TableResults
from cloakwork.evaluation.intervals import Estimate

GAPS = ("against_clean", "against_noise", "against_rival")
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
    """Name and content of each: NAME.csv and NAME.tex of a table, its stealth and its worst cases,
    and the cost.
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
        yield (
            "cost.csv",
            _csv(
                {
                    "kind": c.kind,
                    "name": c.name,
                    "steps": c.steps,
                    "seconds": c.seconds,
                    "cpu_seconds": c.cpu_seconds,
                    "hosts": c.hosts,
                }
                for c in findings.costs
            ),
        )
        yield "cost.tex", _cost_latex(findings)


def slug(name: str, taken: set[str]) -> str:
    """A file's name for a table's, different from those taken, their kin (NAME-worst) included."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "table"
    found, n = plain, 1
    while found in taken:
        found, n = f"{plain}_{n + 1}", n + 1
    taken.add(found)
    return found


def escape(text: str) -> str:
    """Text for LaTeX."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def _csv(lines: Iterable[dict[str, Any]]) -> str:
    lines, out = list(lines), io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _long(table: TableResults) -> Iterator[dict[str, Any]]:
    """A line a cell, with everything that is known of it; a number that is not there is an empty
    field, never 0.
    """
    for c in table.cells:
        line = {
            name: getattr(c, name)
            for name in (
                "table",
                "protection",
                "budget",
                "thief",
                "attacker",
                "purifiers",
                "victim",
                "metric",
                "better",
                "unit",
            )
        }
        line["control"] = "yes" if leaderboard.control(c.protection) else "no"
        line |= _numbers("", c.mean) | {
            k: getattr(c.mean, k, "") for k in ("sets", "seeds", "pictures")
        }
        for gap in GAPS:
            found = getattr(c, gap)
            line |= _numbers(f"{gap}_", found) | {
                f"{gap}_p": "" if found is None or found.p is None else found.p
            }
        line["works"] = {True: "yes", False: "no", None: ""}[c.works]
        line["reported"] = "; ".join(
            f"{r.value:g} ({', '.join(filter(None, (r.source, r.model, r.note)))})"
            for r in c.reported
        )
        yield line | {"failed": c.failed, "flags": "; ".join(c.flags)}


def _numbers(prefix: str, found: Estimate | None) -> dict[str, Any]:
    values = {k: getattr(found, k, math.nan) for k in ("mean", "low", "high")}
    return {f"{prefix}{k}": "" if math.isnan(v) else v for k, v in values.items()}


def _stealth(table: TableResults) -> Iterator[dict[str, Any]]:
    for protection, metric, e in (
        (p, m, e) for p, by in table.stealth.items() for m, e in by.items()
    ):
        counts = {"sets": e.sets, "pictures": e.pictures}
        yield (
            {"table": table.name, "protection": protection, "metric": metric}
            | _numbers("", e)
            | counts
        )


def _worst(cases: Sequence[leaderboard.WorstCase]) -> Iterator[dict[str, Any]]:
    for case in cases:
        for chain, cell in [*case.by_purifiers.items(), ("(worst of all)", case.worst)]:
            thief = (
                {"thief": cell.thief, "its purifiers": cell.purifiers}
                if cell
                else {"thief": "", "its purifiers": ""}
            )
            yield (
                {"protection": case.protection, "purifiers": chain}
                | thief
                | _numbers("", cell.mean if cell else None)
            )


def _leaderboards(table: TableResults, label: str) -> str:
    """All thieves one below the other: every metric's mean with its interval, and whether both
    controls are beaten.
    """
    body: list[list[str] | str] = []
    for thief in table.thieves:
        body.append(rf"\multicolumn{{{len(table.metrics) + 2}}}{{l}}{{\emph{{{escape(thief)}}}}}")
        body += [
            [escape(r.protection), *(_value(r.cells.get(m)) for m in table.metrics), r.verdict]
            for r in leaderboard.leaderboard(table, thief)
        ]
    better = {c.metric: wording.safer(c.better) for c in table.cells}
    head = [
        "protection",
        *(m + (f" ({better[m]})" if better.get(m) else "") for m in table.metrics),
        "beats both",
    ]
    about = f"{table.name}: what thieves get. {_basis(table)} {_reasons(table)}"
    return _latex(about.strip(), label, head, body)


def _basis(table: TableResults) -> str:
    models = wording.join_names(sorted({c.victim for c in table.cells}))
    return f"{wording.sample_size(table)}; means with 95 % intervals; thieves use {models}, and nothing is said of other models."


def _reasons(table: TableResults) -> str:
    failed = list(
        dict.fromkeys(f"{c.status.capitalize()}: {c.failed}" for c in table.cells if c.failed)
    )
    more = f" And {len(failed) - REASONS} more." if len(failed) > REASONS else ""
    cited = dict.fromkeys(f"{r.source} ({r.model})" for c in table.cells for r in c.reported)
    reported = f"Reported: {'; '.join(cited)}." if cited else ""
    return f"{reported} {' '.join(failed[:REASONS]) + more if failed else ''}".strip()


def _value(cell: Cell | None) -> str:
    """What stands in a field, with what papers report beside it."""
    if cell is None or cell.mean is None or not leaderboard.known(cell.mean):
        found = rf"\emph{{{cell.status if cell else 'failed'}}}"
    else:
        found = f"{_n(cell.mean.mean, cell.unit)} {_interval(cell.mean, cell.unit)}"
    reported = (
        "".join(rf" {{\footnotesize (reported {_n(r.value, cell.unit)})}}" for r in cell.reported)
        if cell
        else ""
    )
    return found + reported


def _n(value: float, unit: str = "") -> str:
    return escape(wording.number(value, unit))


def _interval(found: Estimate, unit: str = "") -> str:
    return rf"{{\footnotesize {escape(wording.interval(found, unit))}}}"


def _stealth_latex(table: TableResults, label: str) -> str:
    metrics = [m for m in wording.STEALTH if any(m in by for by in table.stealth.values())]
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
    head = ["protection", *(f"{m} ({wording.STEALTH[m]} is less visible)" for m in metrics)]
    about = f"{table.name}: how visible protections are, protected photos against their originals. {_basis(table)}"
    return _latex(about, f"{label}-stealth", head, list(body))


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
    about = f"{table.name}: the most that a thief gets ({table.metrics[0]}), by what it runs photos through. {_basis(table)}"
    return _latex(
        about,
        f"{label}-worst",
        ["protection", *(c or "as they are" for c in chains), "worst"],
        list(body),
    )


def _who(case: leaderboard.WorstCase) -> str:
    if case.worst is None:
        return ""
    return escape(
        f" ({case.worst.purifiers or case.worst.thief}{'' if case.whole else ', or worse: some failed'})"
    )


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
    """A table environment; a line of the body that is one text spans the table and starts a
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
