"""The audit grid: protections x photo sets x seeds x thieves on `tiny`, into results/audit.json and docs/protections.md.

Every computation is a content-addressed step, so that the grid resumes, and several processes may share it:

    python benchmarks/audit_grid.py methods --people PEOPLE --store STORE --part 0/2     (and --part 1/2 on another core)
    python benchmarks/audit_grid.py methods --people PEOPLE --store STORE                (what is left, then the tables)

PEOPLE holds a folder a person with set_A and set_B; thieves learn from set_B, pictures are compared with both (Anti-DreamBooth's
protocol). SUBJECTS holds a folder of photos a thing: thieves learn from the first half, pictures are compared with all.
Protections are computed with seed 0, thieves trained with each seed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import tables
import torch
from cells import CELLS, OURS, THIEVES, Cell
from folders import files, halves, noun, within

from cloakwork import methods, specs, steps
from cloakwork.comparison import (
    ARMS,
    PROTECTED,
    Audit,
    Row,
    Subject,
    Thief,
    about,
    arms,
    attack_step,
    compare_all,
    score_step,
    scores,
)
from cloakwork.intervals import Estimate, Scores, difference
from cloakwork.records import surroundings, write_json
from cloakwork.steps import Bench, Source, Step, source

HEADS = {"match": "match rate", "face_missing": "no face", "identity": "distance", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}
PROMPTS = ("a photo of sks person", "a dslr portrait of sks person")


def thief(label: str, args: argparse.Namespace) -> Thief:
    habit = THIEVES[label]
    attacker, config = specs.parse("attackers", habit.attacker, [habit.victim])
    config = replace(config, sampling=replace(config.sampling, n=args.n))
    purifiers = specs.chain("purifiers", habit.purifiers)
    return Thief(attacker, config, habit.victim, PROMPTS, habit.clean_share, purifiers, dtype=args.dtype, label=label)


def subjects(cell: Cell, protection: str, root: Path) -> list[Subject]:
    """The photo sets in a folder: of all people there, or of the cell's things."""
    word, _, surrogates = protection.partition("@")
    name, config = specs.parse("protections", word)
    config = replace(config, budget=0 if name == "none" else cell.budget)
    used = tuple(surrogates.split("+")) if surrogates else ("tiny",)
    models = used if getattr(methods.load("protections", name), "USES_SURROGATES", True) else ()
    found = []
    for folder in [root / thing for thing in cell.things] or within(root):
        learned, others = halves(folder) if cell.things else (files(folder / "set_B"), files(folder / "set_A"))
        clean, called = source(learned), noun(folder.name) if cell.things else "person"
        protected = clean if name == "none" else Step("protect", name, about(config, called), (clean,), 0, models)
        found.append(Subject(folder.name, clean, protected, cell.budget, source(learned + others), called))
    return found


def photo_sets(cell: Cell, name: str, root: Path, seed: int) -> Iterator[tuple[Subject, Source | Step]]:
    """Each photo set under a protection, or under the audits' random "noise" of the cell's budget."""
    for subject in subjects(cell, "none" if name == "noise" else name, root):
        yield subject, arms(subject, seed)["noise"] if name == "noise" else subject.protected


def work(cell: Cell, root: Path, args: argparse.Namespace, bench: Bench) -> None:
    """This part's photo sets: photos that cost nothing first, then a protection after the other."""
    mine, of = (int(x) for x in args.part.split("/"))
    begun, trained = time.monotonic(), 0
    for protection in ("none", *cell.protections):
        some = subjects(cell, protection, root)[mine::of]
        for label, seed, subject, arm in product(cell.thieves, range(cell.seeds), some, ARMS):
            attack = attack_step(arms(subject, seed)[arm], subject, thief(label, args), seed)
            new = not steps.cached(attack, bench)
            steps.pictures(attack, bench)
            for metric in cell.metrics:
                steps.score(score_step(attack, subject, metric, methods.load("metrics", metric).Config()), bench)
            trained += new
            if new:
                each = (time.monotonic() - begun) / trained
                print(f"{protection}, {label}, {subject.name}, {seed}: {each:.0f} s a thief", flush=True)


def compare(cell: Cell, root: Path, args: argparse.Namespace, bench: Bench) -> dict[str, Audit]:
    """An audit for each protection."""
    who = [thief(label, args) for label in cell.thieves]
    return {p: compare_all(subjects(cell, p, root), who, cell.metrics, cell.seeds, bench) for p in cell.protections}


def against(other: str, cell: Cell, root: Path, args: argparse.Namespace, bench: Bench) -> dict[str, list[Estimate]]:
    """What each protection leaves to each thief beyond what an `other` one leaves: the same batches, the same noise."""

    def protected(name: str) -> list[Scores]:
        who, some = [thief(label, args) for label in cell.thieves], subjects(cell, name, root)
        return [scores(some, one, cell.metrics[0], cell.seeds, bench)[0][PROTECTED] for one in who]

    theirs = protected(other)
    return {p: [difference(*pair) for pair in zip(protected(p), theirs, strict=True)] for p in cell.protections if p != other}


def table(found: dict[str, Audit], beyond: dict[str, list[Estimate]], first: str, *others: str) -> list[str]:
    """A Markdown table by the metric `first`: a line a thief and protection, those that leave a thief least at the top."""
    extra = ["against ours"] if beyond else []
    heads = ["thief", "protection", HEADS[first], "against clean", "against noise", "less than either", *extra,
             *(HEADS[o] for o in others), "LPIPS"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    some = next(iter(found.values()))
    for i, plain in enumerate(rows(some, first)):
        for arm, name in (("clean", "none"), ("noise", "noise")):
            gap = _gap(plain.noise_against_clean) if arm == "noise" else ""
            more = [_mean(rows(some, o)[i].arms[arm]) for o in others]
            columns = [plain.thief, name, _mean(plain.arms[arm]), gap, "", "", *("" for _ in extra), *more, ""]
            lines.append(f"| {' | '.join(columns)} |")
        for name, audit in sorted(found.items(), key=lambda item: rows(item[1], first)[i].arms["protected"].mean):
            row = rows(audit, first)[i]
            less = "yes" if row.against_clean.high < 0 and row.against_noise.high < 0 else "**no**"
            more = [_mean(rows(audit, o)[i].arms["protected"]) for o in others]
            means = [_mean(row.arms["protected"]), _gap(row.against_clean), _gap(row.against_noise), less]
            gaps = [_gap(beyond[name][i]) if name in beyond else "" for _ in extra]
            columns = [row.thief, name, *means, *gaps, *more, f"{audit.stealth['lpips'].mean:.3f}"]
            lines.append(f"| {' | '.join(columns)} |")
    return lines


def rows(audit: Audit, metric: str) -> list[Row]:
    """One row a thief."""
    return [row for row in audit.rows if row.metric == metric]


def _mean(e: Estimate) -> str:
    return "unscored" if math.isnan(e.mean) else f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]"


def _gap(e: Estimate) -> str:
    return "unscored" if math.isnan(e.mean) else f"{e.mean:+.2f} [{e.low:+.2f}, {e.high:+.2f}], p {e.p:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", choices=CELLS)
    parser.add_argument("--people", type=Path)
    parser.add_argument("--subjects", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--part", help="I/N: only every Nth photo set, beginning with the Ith, and no tables")
    parser.add_argument("--only", nargs="*", help="protections, of those of the cell")
    parser.add_argument("--n", type=int, default=8, help="pictures for each of the two prompts")
    parser.add_argument("--dtype", default="bfloat16", help="what the thieves compute in")
    parser.add_argument("--out", type=Path, default=Path("results/audit.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/protections.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench, cell = Bench(args.store, "cpu"), CELLS[args.cell]
    root = args.subjects if cell.things else args.people
    if root is None:
        parser.error(f"the cell needs {'--subjects' if cell.things else '--people'}")
    if args.only:
        cell = replace(cell, protections=tuple(args.only))
    if args.part:
        return work(cell, root, args, bench)
    found = compare(cell, root, args, bench)
    beyond = against(OURS, cell, root, args, bench) if OURS in cell.protections else {}
    kept = json.loads(args.out.read_text()) if args.out.exists() else {}
    write_json(args.out, kept | {args.cell: {
        "weights": {m: bench.model(m).weights for m in sorted({THIEVES[t].victim for t in cell.thieves} | {"tiny"})},
        "dtype": args.dtype, "cell": asdict(cell), "prompts": PROMPTS, "pictures_a_prompt": args.n,
        "protections": {p: asdict(specs.parse("protections", p)[1]) for p in cell.protections},
        "thieves": [asdict(thief(t, args)) for t in cell.thieves],
        "audits": {p: asdict(a) for p, a in found.items()},
        f"{cell.metrics[0]}_beyond_ours": {p: dict(zip(cell.thieves, map(asdict, b), strict=True)) for p, b in beyond.items()},
        "surroundings": surroundings(torch.device("cpu")),
    }})  # fmt: skip
    lines = table(found, beyond, *cell.metrics[:3])
    print("\n".join(lines))
    tables.write(args.doc, args.cell, lines)


if __name__ == "__main__":
    main()
