"""What purifiers and contrastive decoupling learning give a thief back: tables of the audit grid's red-team cells.

    python benchmarks/audit_grid.py purifiers --people PEOPLE --store STORE --part 0/2     (computes; likewise the other cells)
    python benchmarks/red_team.py purifiers --people PEOPLE --store STORE                  (what is left, then the tables)

Cells: "purifiers", "every purifier", "switches", "adaptive" (see cells.py). A table has a line a photo set's protection (none and
random noise of the same budget among them) and a column a thief; then one sentence for each protection names its worst case.
Into results/red_team.json and docs/red-team.md.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import tables
import torch
from audit_grid import subjects, thief
from cells import CELLS, Cell

from cloakwork.comparison import CLEAN, NOISE, PROTECTED, scores
from cloakwork.intervals import Estimate, Scores, difference, estimate
from cloakwork.records import surroundings, write_json
from cloakwork.steps import Bench

RED = ("purifiers", "every purifier", "switches", "adaptive")
ARMS = {"none": CLEAN, "noise": NOISE}
Rates = dict[str, dict[str, Scores]]  # protection -> thief -> whether each picture matches


def rates(cell: Cell, args: argparse.Namespace, bench: Bench) -> Rates:
    """Of every protection, none and noise first, under every thief."""
    found: Rates = {name: {} for name in (*ARMS, *cell.protections)}
    for protection in cell.protections:
        some = subjects(cell, protection, args.people)
        for label in cell.thieves:
            arms, _ = scores(some, thief(label, args), "match", cell.seeds, bench)
            found[protection][label] = arms[PROTECTED]
            for name, arm in ARMS.items():
                found[name][label] = arms[arm]
    return found


def matrix(found: Rates) -> list[str]:
    """Match rates; bold where a thief gets more than the plain one does from the same photos."""
    thieves = list(next(iter(found.values())))
    plain, lines = thieves[0], [f"| protection | {' | '.join(thieves)} |", "|---" * (len(thieves) + 1) + "|"]
    for protection, row in found.items():
        cells = []
        for of in row.values():
            e, more = estimate(of), difference(of, row[plain]).low > 0
            cells.append(f"**{shown(e)}**" if more else shown(e))
        lines.append(f"| {protection} | {' | '.join(cells)} |")
    return lines


def worst(found: Rates) -> list[str]:
    """A sentence for each protection: who gets most, what the plain thief got, what the same one gets from clean photos."""
    plain = next(iter(next(iter(found.values()))))
    sentences = []
    for protection, row in found.items():
        means = {label: estimate(of) for label, of in row.items()}
        label = max(means, key=lambda name: means[name].mean)
        more = difference(row[label], row[plain])
        against = "" if protection == "none" else f"; clean photos give the same thief {shown(estimate(found['none'][label]))}"
        most = f"{label} gets most, {shown(means[label])}, the plain thief {shown(means[plain])} "
        most += f"(paired {more.mean:+.2f} [{more.low:+.2f}, {more.high:+.2f}])"
        most = f"nobody gets more than the plain thief, {shown(means[plain])}" if label == plain else most
        sentences.append(f"- **{protection}**: {most}{against}.")
    return sentences


def mixed(found: Rates) -> list[str]:
    """Expected match rate if every other photo set is under a protection that knows the purifiers, the rest under its like."""
    lines = ["| adaptive protection | thief | ordinary | adaptive | expected at one half |", "|---|---|---|---|---|"]
    for adaptive, ordinary in (("adaptive", "advdm"), ("cloakwork:adaptive", "cloakwork")):
        for label in found[adaptive]:
            a, b = (estimate(found[p][label]).mean for p in (ordinary, adaptive))
            lines.append(f"| {adaptive} | {label} | {a:.2f} | {b:.2f} | {(a + b) / 2:.2f} |")
    return lines


def shown(e: Estimate) -> str:
    return f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", choices=RED)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the audit grid")
    parser.add_argument("--n", type=int, default=8, help="pictures for each of the two prompts")
    parser.add_argument("--dtype", default="bfloat16", help="what the thieves compute in")
    parser.add_argument("--out", type=Path, default=Path("results/red_team.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/red-team.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench, cell = Bench(args.store, "cpu"), CELLS[args.cell]
    found = rates(cell, args, bench)
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    write_json(args.out, kept | {args.cell: {
        "match": found, "mean": {p: {t: asdict(estimate(of)) for t, of in row.items()} for p, row in found.items()},
        "cell": asdict(cell), "thieves": [asdict(thief(t, args)) for t in cell.thieves],
        "weights": {"tiny": bench.model("tiny").weights, "denoiser": bench.denoiser("tiny").weights},
        "surroundings": surroundings(bench.torch_device),
    }})  # fmt: skip
    lines = [*matrix(found), "", *worst(found), *(["", *mixed(found)] if args.cell == "adaptive" else [])]
    print("\n".join(lines))
    tables.write(args.doc, args.cell, lines)


if __name__ == "__main__":
    main()
