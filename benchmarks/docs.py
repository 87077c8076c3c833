"""The documents' tables, from what was measured.

    cloakwork bench tiny --data DATA --store STORE --table methods -o OUT
    python benchmarks/docs.py keep OUT/tiny/findings.json      (its tables into results/tiny/, one
    file each, and all into docs/) python benchmarks/docs.py                                  (docs/
    anew from results/)

A document has a place for a table between `<!-- NAME -->` and `<!-- end -->`, and nobody writes
there by hand.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import blind_table
import board_table
import campaign_table
import detector
import displacement_table
import faithful_table
import families_table
import finding_tables
import fingerprints_table
import flops_table
import load_table
import looks_table
import screen_tables
import stages
import tables
import tries_table
from finding_tables import head, line

from cloakwork.benchmark.report import leaderboard, serialize, write
from cloakwork.benchmark.results import Cell, Results, TableResults, strongest
from cloakwork.evaluation.statistics import Estimate
from cloakwork.files import atomic_write

RESULTS = Path("results/tiny")
HEADS = {
    "match": "match rate",
    "face_missing": "no face",
    "identity": "distance",
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
}
SHOWN = 3  # metrics of a board


def without_folders(command: str) -> str:
    """A command with words for its folders, which are of one machine.

    >>> without_folders("cloakwork bench tiny --data '/a b' --store=/s --table best")
    'cloakwork bench tiny --data DATA --store=STORE --table best'
    """
    return re.sub(
        r"--(data|store|out)([ =])('[^']*'|\S+)",
        lambda found: f"--{found[1]}{found[2]}{found[1].upper()}",
        command,
    )


def keep(findings: Results, folder: Path = RESULTS) -> None:
    """Each table of the findings in a file of its own."""
    for table in findings.tables:
        made = findings.made | {"tables": {table.name: findings.made["tables"][table.name]}}
        if command := findings.made.get("command"):
            made["command"] = without_folders(command)
        flags = tuple(f for f in findings.flags if f.where.startswith(f"{table.name}: "))
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / f"{table.name.replace(' ', '-')}.json") as part:
            part.write_text(
                serialize.dump(
                    replace(findings, tables=(table,), flags=flags, costs=(), made=made)
                ),
                encoding="utf-8",
            )


def kept(folder: Path = RESULTS) -> dict[str, TableResults]:
    """Tables by name."""
    return {t.name: t for path in sorted(folder.glob("*.json")) for t in write.read(path).tables}


def board(table: TableResults) -> list[str]:
    """A line for each attacker and protection: the first metric, what the protection changed in it,
    then other metrics, then LPIPS."""
    first, *others = table.metrics[:SHOWN]
    rival = (
        [f"against {'ours' if table.rival == 'cloakwork' else table.rival}"] if table.rival else []
    )
    named = [HEADS.get(m, m) for m in others]
    heads = [
        "attacker",
        "protection",
        HEADS.get(first, first),
        "against clean",
        "against noise",
        "less than either",
        *rival,
        *named,
        "LPIPS",
    ]
    lines = head(heads)
    for attacker in table.threat_models:
        for row in leaderboard.leaderboard(table, attacker):
            cell = row.cells[first]
            gaps = [_gap(cell.against_clean), _gap(cell.against_noise)]
            verdict = {"yes": "yes", "no": "**no**"}.get(row.verdict, "")
            versus = [_gap(cell.against_rival)] if rival else []
            lpips = table.stealth.get(row.protection, {}).get("lpips")
            more = [_mean(row.cells[m]) for m in others]
            lines.append(
                line(
                    [
                        attacker,
                        row.protection,
                        _mean(cell),
                        *gaps,
                        verdict,
                        *versus,
                        *more,
                        f"{lpips.mean:.3f}" if lpips else "",
                    ]
                )
            )
    return lines


def leading(table: TableResults) -> dict[tuple[str, str], Cell]:
    """Cells of a table's first metric, by protection and attacker."""
    return {(c.protection, c.threat_model): c for c in table.cells if c.metric == table.metrics[0]}


def matrix(table: TableResults) -> list[str]:
    """A line for each protection, a column for each attacker, by the first metric; bold: more than
    the first attacker gets, by one comparison.

    Where there are more attackers than protections, the other way round.
    """
    by = leading(table)
    protections = [row.protection for row in leaderboard.leaderboard(table, table.threat_models[0])]

    def shown(protection: str, attacker: str) -> str:
        cell = by[protection, attacker]
        return f"**{_mean(cell)}**" if "adaptive attacker" in cell.flags else _mean(cell)

    if len(table.threat_models) > len(protections):
        return [
            *head(["attacker", *protections]),
            *(line([t, *(shown(p, t) for p in protections)]) for t in table.threat_models),
        ]
    return [
        *head(["protection", *table.threat_models]),
        *(line([p, *(shown(p, t) for t in table.threat_models)]) for p in protections),
    ]


def edits(table: TableResults) -> list[str]:
    """A line a protection, a column an edit; bold: farther from the clean edit than noise throws
    it, with 95 % confidence."""
    by = {(c.protection, c.threat_model, c.metric): c for c in table.cells}
    lines = head(["protection", *(f"{attacker}: LPIPS, SSIM" for attacker in table.threat_models)])

    def shown(protection: str, attacker: str) -> str:
        far, alike = by[protection, attacker, "lpips"], by[protection, attacker, "ssim"]
        text = f"{_mean(far, 3)}, {_mean(alike).partition(' ')[0]}"
        return f"**{text}**" if far.against_noise and far.against_noise.low > 0 else text

    def apart(protection: str) -> float:
        return -sum(
            c.mean.mean
            for attacker in table.threat_models
            if (c := by[protection, attacker, "lpips"]).mean
        )

    for protection in sorted((p for p in table.protections if p != "none"), key=apart):
        lines.append(
            line([protection, *(shown(protection, attacker) for attacker in table.threat_models)])
        )
    return lines


def worst(table: TableResults) -> list[str]:
    """The matrix, and a sentence for each line: who gets most, what the first attacker gets, what
    clean photos give the same one."""
    by = leading(table)
    first, sentences = table.threat_models[0], []
    for protection in table.protections:
        top = strongest(by[protection, attacker] for attacker in table.threat_models)
        if top is None:
            continue
        beyond = (
            f", beyond chance for one comparison of {len(table.threat_models) - 1}"
            if "adaptive attacker" in top.flags
            else ""
        )
        clean = (
            ""
            if protection == "none"
            else f"; from clean photos it gets {_mean(by['none', top.threat_model])}"
        )
        said = f"the {first} attacker {_mean(top)}, and no other more"
        said = (
            said
            if top.threat_model == first
            else f"{top.threat_model} {_mean(top)}{beyond}; "
            f"the {first} attacker {_mean(by[protection, first])}"
        )
        sentences.append(f"- **{protection}**: {said}{clean}.")
    return [*matrix(table), "", *sentences]


def mixed(table: TableResults) -> list[str]:
    """That, and what to expect if every other photo set is under a protection that knows the
    purifiers."""
    by = leading(table)
    lines = head(
        ["adaptive protection", "attacker", "ordinary", "adaptive", "expected at one half"]
    )
    for adaptive in (p for p in table.protections if "adaptive" in p):
        ordinary = "cloakwork" if adaptive.startswith("cloakwork") else "advdm"
        for attacker in table.threat_models:
            a, b = by[ordinary, attacker].mean, by[adaptive, attacker].mean
            if a and b:
                lines.append(
                    line(
                        [
                            adaptive,
                            attacker,
                            f"{a.mean:.2f}",
                            f"{b.mean:.2f}",
                            f"{(a.mean + b.mean) / 2:.2f}",
                        ]
                    )
                )
    return [*worst(table), "", *lines]


def firmest(found: Sequence[TableResults]) -> list[str]:
    """Protections that know one purifier, against the attackers who use it; first the purifier
    after which most is left to them."""
    lines: list[tuple[float, str]] = []
    for table in found:
        by = leading(table)
        (adaptive,) = (p for p in table.protections if p.startswith("adaptive"))
        for attacker in table.threat_models:
            cells = [by[p, attacker] for p in ("none", "noise", "advdm", adaptive)]
            a, b = (c.mean.mean if c.mean else math.nan for c in cells[2:])
            gaps = [_gap(cells[3].against_clean), _gap(cells[3].against_noise)]
            known = adaptive.partition("purifiers=")[2]
            lines.append(
                (-b, line([known, attacker, *map(_mean, cells), f"{(a + b) / 2:.2f}", *gaps]))
            )
    heads = [
        "it knows",
        "attacker",
        "clean",
        "noise",
        "advdm",
        "adaptive",
        "expected at one half",
        "against clean",
        "against noise",
    ]
    return [*head(heads), *(row for _, row in sorted(lines))]


FINDINGS, RED_TEAM = "docs/findings.md", "docs/red-team.md"
RELIABILITY, FAITHFUL = "docs/reliability.md", "docs/faithful.md"
# tables of protections that know one purifier; all together are one in the document
SINGLE = "adaptive to "
# document -> table -> how it is shown
PLACES: dict[str, dict[str, Callable[[TableResults], list[str]]]] = {
    "docs/protections.md": {
        "methods": board,
        "first": board,
        "JPEG coefficients": board,
        "best": board,
        **{f"{name} in bfloat16": board for name in ("pid", "aspl", "cloakwork")},
        "class pictures of aspl": board,
        "one pass": board,
        "made to last": board,
        "strengths": board,
        "small budget": board,
        "mismatch": board,
        "other attackers": board,
        "things": board,
        "many steps": board,
        "ablation": board,
        "radius 4": board,
        "radius 8": board,
        "radius 16": board,
        "edits": edits,
    },
    FINDINGS: {"learning": board, "frozen": board, "whole schedule": board},
    RED_TEAM: {
        "choices": board,
        "choices after GrIDPure": board,
        "choices after a network": board,
        "made to last after its own network": board,
        "choices after JPEG and a resize": board,
        "looking through": board,
        "purifiers": worst,
        "other purifiers": worst,
        "switches": worst,
        "adaptive": mixed,
    },
}


def place(
    found: dict[str, TableResults], root: Path = Path()
) -> Iterable[tuple[Path, str, list[str]]]:
    """Document, mark and lines of every table that was measured and has a place."""
    for doc, shows in PLACES.items():
        text = (root / doc).read_text() if (root / doc).is_file() else ""
        for name, show in shows.items():
            if name in found and f"<!-- {name} -->" in text:
                yield root / doc, name, show(found[name])
    if single := [table for name, table in found.items() if name.startswith(SINGLE)]:
        yield root / RED_TEAM, "firmest", firmest(single)
    for doc, made in (
        (FINDINGS, finding_tables.TABLES),
        (FINDINGS, displacement_table.TABLES),
        (RED_TEAM, screen_tables.TABLES),
        (RED_TEAM, detector.TABLES),
        (RELIABILITY, campaign_table.TABLES),
        (FAITHFUL, faithful_table.TABLES),
        ("docs/protections.md", flops_table.TABLES),
        ("docs/protections.md", stages.TABLES),
        ("docs/protections.md", looks_table.TABLES),
        ("docs/protections.md", blind_table.TABLES),
        ("docs/models.md", families_table.TABLES),
        ("docs/try-and-mine.md", tries_table.TABLES),
        ("docs/try-and-mine.md", fingerprints_table.TABLES),
        ("docs/board.md", board_table.TABLES),
        ("docs/serve.md", load_table.TABLES),
    ):
        for name, (needed, make) in made.items():
            if all((root / "results" / file).is_file() for file in needed):
                yield root / doc, name, make(root / "results")


def stands(doc: Path, name: str) -> list[str]:
    """What stands in a document's place for a table."""
    inside = re.search(
        rf"<!-- {re.escape(name)} -->\n\n(.*?)\n\n<!-- end -->", doc.read_text(), re.DOTALL
    )
    return inside.group(1).split("\n") if inside else []


def _mean(cell: Cell, digits: int = 2) -> str:
    e = cell.mean
    return (
        f"{e.mean:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"
        if e and leaderboard.known(e)
        else cell.status
    )


def _gap(e: Estimate | None) -> str:
    return (
        f"{e.mean:+.2f} [{e.low:+.2f}, {e.high:+.2f}], p {e.p:.3f}"
        if e and leaderboard.known(e)
        else ""
    )


def fill() -> None:
    """Writes every table into its place."""
    for doc, name, lines in place(kept()):
        tables.write(doc, name, lines)
        print(f"{doc}: {name}")


def main() -> None:
    match sys.argv[1:]:
        case ["keep", *paths] if paths:
            for path in paths:
                keep(write.read(Path(path)))
        case []:
            pass
        case _:
            sys.exit(__doc__)
    fill()


if __name__ == "__main__":
    main()
