"""The audit grid: protections x people x seeds x thieves on `tiny`, into results/audit.json and the tables of docs/audit.md.

Every cell is a content-addressed step, so that the grid resumes, and several processes may share it:

    python benchmarks/audit_grid.py --people PEOPLE --store STORE --part 0/2     (and --part 1/2 on another core)
    python benchmarks/audit_grid.py --people PEOPLE --store STORE                (what is left, then the tables)

PEOPLE holds a folder a person with set_A and set_B; thieves learn from set_B, pictures are compared with both (Anti-DreamBooth's
protocol). Protections are computed with seed 0, thieves trained with each seed.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch

from cloakwork import methods, steps
from cloakwork.comparison import ARMS, Audit, Subject, Thief, arms, attack_step, compare_all, score_step
from cloakwork.intervals import Estimate
from cloakwork.records import surroundings, write_json
from cloakwork.steps import Bench, Step, source

BUDGET = 11
PROTECTIONS = ("none", "photoguard", "aspl")  # noise is an arm of every audit
METRICS = ("match", "identity", "face_missing", "clip_t")
PROMPTS = ("a photo of sks person", "a dslr portrait of sks person")
THIEVES = {"plain": "tiny", "with transformations": "transformed"}  # a label and its preset of DreamBooth
MARK = "<!-- table: written by benchmarks/audit_grid.py -->"


def thieves(dtype: str, n: int, labels: list[str]) -> list[Thief]:
    module = methods.load("attackers", "dreambooth")
    found = []
    for label in labels:
        preset = THIEVES[label]
        config = methods.config(module, preset)
        sampling = replace(config.sampling, n=n)
        found.append(Thief("dreambooth", replace(config, sampling=sampling), "tiny", PROMPTS, dtype=dtype,
                           label=label))  # fmt: skip
    return found


def subjects(people: Path, protection: str) -> list[Subject]:
    module = methods.load("protections", protection)
    config = methods.config(module, "tiny")
    found = []
    for person in sorted(p for p in people.iterdir() if p.is_dir()):
        clean = source(sorted((person / "set_B").glob("*.jpg")))
        references = source(sorted(f for s in ("set_A", "set_B") for f in (person / s).glob("*.jpg")))
        models = ("tiny",) if getattr(module, "USES_SURROGATES", True) else ()
        protected = clean if protection == "none" else Step("protect", protection, config, (clean,), 0, models)
        found.append(Subject(person.name, clean, protected, BUDGET, references))
    return found


def cells(args: argparse.Namespace) -> list[tuple[Subject, Step]]:
    """Every distinct thief, photos that cost nothing first."""
    found: dict[str, tuple[Subject, Step]] = {}
    for protection, seed, thief in product(PROTECTIONS, range(args.seeds), thieves(args.dtype, args.n, args.thief)):
        for subject, arm in product(subjects(args.people, protection), ARMS):
            attack = attack_step(arms(subject, seed)[arm], subject, thief, seed)
            found.setdefault(repr(attack), (subject, attack))
    return list(found.values())


def work(args: argparse.Namespace, bench: Bench) -> None:
    mine, of = (int(x) for x in args.part.split("/"))
    todo = cells(args)[mine::of]
    begun, trained = time.monotonic(), 0
    for i, (subject, attack) in enumerate(todo):
        new = not steps.cached(attack, bench)
        steps.pictures(attack, bench)
        for metric in METRICS:
            steps.score(score_step(attack, subject, metric, methods.load("metrics", metric).Config()), bench)
        trained += new
        if new:
            print(f"{i + 1} of {len(todo)}: {(time.monotonic() - begun) / trained:.0f} s a thief", flush=True)


def table(found: dict[str, Audit], metric: str) -> list[str]:
    """A Markdown table: a line a thief and protection."""
    lines = ["| thief | protection | rate | against clean | against noise |", "|---|---|---|---|---|"]
    for i, label in enumerate(row.thief for row in found["none"].rows if row.metric == metric):
        rows = {p: [r for r in audit.rows if r.metric == metric][i] for p, audit in found.items()}
        first = rows["none"]
        lines.append(f"| {label} | none | {_mean(first.arms['clean'])} | | |")
        lines.append(f"| {label} | noise | {_mean(first.arms['noise'])} | {_gap(first.noise_against_clean)} | |")
        for name in PROTECTIONS[1:]:
            row = rows[name]
            lines.append(
                f"| {label} | {name} | {_mean(row.arms['protected'])} | {_gap(row.against_clean)} | {_gap(row.against_noise)} |"
            )
    return lines


def _mean(e: Estimate) -> str:
    return "unscored" if math.isnan(e.mean) else f"{e.mean:.2f} [{e.low:.2f}, {e.high:.2f}]"


def _gap(e: Estimate) -> str:
    return "unscored" if math.isnan(e.mean) else f"{e.mean:+.2f} [{e.low:+.2f}, {e.high:+.2f}], p {e.p:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--part", help="I/N: train only every Nth thief, beginning with the Ith, and write no tables")
    parser.add_argument("--thief", nargs="*", choices=THIEVES, default=list(THIEVES))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--n", type=int, default=8, help="pictures for each of the two prompts")
    parser.add_argument("--dtype", default="bfloat16", help="what the thieves compute in")
    parser.add_argument("--out", type=Path, default=Path("results/audit.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/audit.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(args.store, "cpu")
    if args.part:
        return work(args, bench)
    who = thieves(args.dtype, args.n, args.thief)
    found = {p: compare_all(subjects(args.people, p), who, METRICS, args.seeds, bench) for p in PROTECTIONS}
    write_json(args.out, {
        "victim": {"name": "tiny", "weights": bench.model("tiny").weights, "dtype": args.dtype}, "budget": BUDGET,
        "prompts": PROMPTS, "pictures_a_prompt": args.n, "seeds": args.seeds,
        "protections": {p: asdict(methods.config(methods.load("protections", p), "tiny")) for p in ("noise", *PROTECTIONS)},
        "thieves": [asdict(t) for t in who],
        "audits": {p: asdict(a) for p, a in found.items()}, "surroundings": surroundings(torch.device("cpu")),
    })  # fmt: skip
    tables = []
    for metric in METRICS:
        tables += ["", f"### {metric}", "", *table(found, metric)]
    text = args.doc.read_text() if args.doc.exists() else f"# The audit grid on `tiny`\n\n{MARK}\n<!-- end -->\n"
    start, end = text.index(MARK) + len(MARK), text.index("<!-- end -->")
    args.doc.write_text(text[:start] + "\n" + "\n".join(tables) + "\n\n" + text[end:])
    print("\n".join(tables))


if __name__ == "__main__":
    main()
