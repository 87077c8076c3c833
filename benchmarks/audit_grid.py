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
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import tables
import torch
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

FACES = ("match", "face_missing", "identity", "clip_t")
THINGS = ("clip_i", "clip_t")
HEADS = {"match": "match rate", "face_missing": "no face", "identity": "distance", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}
PROMPTS = ("a photo of sks person", "a dslr portrait of sks person")


@dataclass(frozen=True)
class Cell:
    """Protections and thieves that stand in one table."""

    protections: tuple[str, ...]
    """written as after `cloakwork protect --protection`, with a preset behind a colon; none and noise are arms of every audit"""
    thieves: tuple[str, ...]
    """labels of THIEVES"""
    seeds: int = 1
    budget: float = 11
    """largest change of a pixel, 1/255"""
    things: tuple[str, ...] = ()
    """subjects that are no people; empty: people"""

    @property
    def metrics(self) -> tuple[str, ...]:
        """What pictures are scored by, the one that tables are sorted by first."""
        return THINGS if self.things else FACES


EVERY = (
    "pid", "fsmg", "simac", "ace", "metacloak", "caat", "photoguard", "aspl", "advdm", "mist", "sdst", "sds", "glaze",
    "photoguard:tiny-diffusion", "advdm:tiny-minus", "sds:tiny-plus",
)  # fmt: skip
# MetaCloak's released loop at a tenth of its schedule, with surrogates that stay as they are, move as little as the released ones
# do, and learn as the thief does
FROZEN = tuple(
    f"metacloak:tiny-release:training.batch=4,training.{how}" for how in ("lr=0", "lr=5e-7,training.weights=bfloat16", "lr=3e-4")
)
OURS = "cloakwork"
BEST = (OURS, "pid", "simac", "fsmg")
THREE = ("plain", "with transformations", "JPEG 75")
CELLS = {
    "methods": Cell((*EVERY, OURS), ("with transformations",)),
    "first": Cell(("photoguard", "aspl"), ("plain", "with transformations"), seeds=2),
    "best": Cell(BEST, THREE, seeds=2),
    "small budget": Cell(BEST, THREE, budget=6.4),
    "mismatch": Cell(
        ("aspl", OURS), ("other victim", "other token", "other prompt", "half clean", "three quarters clean", "service")
    ),
    "other attackers": Cell(BEST, ("LoRA", "textual inversion")),
    "things": Cell(BEST, ("plain",), things=("backpack", "cat", "clock", "dog", "rc_car", "robot_toy")),
    "frozen": Cell(FROZEN, ("plain", "with transformations")),
    "ablation": Cell(
        (
            "metacloak",
            *(f"metacloak:tiny:{change}" for change in ("M=1", "M=8", "K=0", "K=3", "transform.flip=0,transform.blur=0")),
        ),
        ("with transformations",),
    ),
    **{f"radius {r}": Cell(("metacloak",), ("with transformations",), budget=r) for r in (4, 8, 16)},
}
# label -> an attacker with its settings, its victim, the share of clean photos it got hold of
THIEVES = {
    "plain": ("dreambooth", "tiny", 0),
    "with transformations": ("dreambooth:transformed", "tiny", 0),
    "JPEG 75": ("dreambooth:jpeg", "tiny", 0),
    "LoRA": ("lora", "tiny", 0),
    "textual inversion": ("textual_inversion", "tiny", 0),
    "other victim": ("dreambooth", "tiny-b", 0),
    "other token": ("dreambooth:token=t@t", "tiny", 0),
    "other prompt": ("dreambooth:instance_prompt=a dslr portrait of sks person", "tiny", 0),
    "half clean": ("dreambooth", "tiny", 0.5),
    "three quarters clean": ("dreambooth", "tiny", 0.75),
    "service": ("lora:service", "tiny-b", 0),
}


def thief(label: str, args: argparse.Namespace) -> Thief:
    word, victim, clean_share = THIEVES[label]
    attacker, config = specs.parse("attackers", word, [victim])
    config = replace(config, sampling=replace(config.sampling, n=args.n))
    return Thief(attacker, config, victim, PROMPTS, clean_share, dtype=args.dtype, label=label)


def subjects(cell: Cell, protection: str, root: Path) -> list[Subject]:
    """The photo sets in a folder: of all people there, or of the cell's things."""
    name, config = specs.parse("protections", protection)
    config = replace(config, budget=0 if name == "none" else cell.budget)
    models = ("tiny",) if getattr(methods.load("protections", name), "USES_SURROGATES", True) else ()
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
        "weights": {m: bench.model(m).weights for m in sorted({THIEVES[t][1] for t in cell.thieves} | {"tiny"})},
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
