"""A first screen of purifiers, without a thief: what each leaves of each protection, and what it takes from a clean photo.

    python benchmarks/screen.py --people PEOPLE --store STORE [--purifiers jpeg codesr ...] [--protections aspl ...]

With P the purifier, x' the protected photo, x the clean one and E the latents of `tiny`:

    left  |E(P(x')) - E(P(x))| / |E(x') - E(x)|      off  |E(P(x')) - E(x)| / |E(x)|      harm  |E(P(x)) - E(x)| / |E(x)|

and LPIPS of P(x') and of P(x) to x. Photos are those of the red team's tables in the recipe `tiny`, from its store where they
are there; a purifier draws the same for x' and x. Rows are
added to results/screen.json as they are found, so that it goes on where it was stopped; the tables go into docs/red-team.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import tables
import torch

from cloakwork import eot, specs, steps
from cloakwork.grids import Table, lines, people
from cloakwork.intervals import Estimate, estimate
from cloakwork.metrics import lpips
from cloakwork.recipes.tiny import OURS, PURIFIERS, SIDE
from cloakwork.records import surroundings, write_json
from cloakwork.sources import Source
from cloakwork.steps import Bench, Step
from cloakwork.types import Photos

PROTECTIONS = ("noise", OURS, "aspl", "photoguard")
DTYPE = "bfloat16"  # as in the recipe, so that steps are the same
COLUMNS = {"left": "latents left", "off": "latents off", "lpips": "LPIPS"}


def latents(photos: Photos, bench: Bench) -> torch.Tensor:
    ldm = bench.model("tiny")
    with torch.no_grad():
        return ldm.encode(eot.view(photos, ldm.size).to(ldm.device)).flatten(1).cpu()


def apart(photos: Source | Step, clean: Source, bench: Bench) -> list[float]:
    """LPIPS; a step, so that clean photos after a purifier are compared once and not once a protection."""
    return steps.score(Step("score", "lpips", lpips.Config(), (photos, clean)), bench).values


def seconds(step: Source | Step, bench: Bench) -> float:
    """CPU seconds of a chain of purifiers, as the store's records have them."""
    if isinstance(step, Source) or step.kind != "purify":
        return 0.0
    taken = bench.results.record(steps.name_of(step, bench)).get("cpu_seconds", float("nan"))
    return taken + seconds(step.inputs[0], bench)


def rows(word: str, protection: str, folder: Path, skip: set[str], bench: Bench) -> list[dict[str, Any]]:
    """One a person, with numbers for each photo."""
    chain, found = specs.purifiers(word), []
    table = Table("all", (protection,), (), people(folder, SIDE), dtype=DTYPE)
    line = next(row for row in lines(table) if row.protection == protection)
    for subject, given in line.photo_sets():
        if subject.name in skip:
            continue
        pure, harmed = (steps.purified(photos, chain, model="tiny", dtype=DTYPE) for photos in (given, subject.clean))
        z, z_given, z_pure, z_harmed = (latents(steps.photos(p, bench), bench) for p in (subject.clean, given, pure, harmed))
        size = z.norm(dim=1)
        found.append({
            "purifier": word, "protection": protection, "person": subject.name,
            "left": ((z_pure - z_harmed).norm(dim=1) / (z_given - z).norm(dim=1)).tolist(),
            "off": ((z_pure - z).norm(dim=1) / size).tolist(),
            "harm": ((z_harmed - z).norm(dim=1) / size).tolist(),
            "lpips": apart(pure, subject.clean, bench),
            "lpips_harm": apart(harmed, subject.clean, bench),
            "seconds": seconds(pure, bench) / len(z),
        })  # fmt: skip
    return found


def mean(found: list[dict[str, Any]], column: str) -> Estimate:
    return estimate({r["person"]: {0: r[column]} for r in found})


def table(found: list[dict[str, Any]], column: str, harm: str | None) -> list[str]:
    """Purifiers by protections, those that leave least on average at the top."""
    protections = list(dict.fromkeys(r["protection"] for r in found))
    lines = []
    for word in dict.fromkeys(r["purifier"] for r in found):
        of = {p: [r for r in found if (r["purifier"], r["protection"]) == (word, p)] for p in protections}
        means = [mean(some, column).mean if some else float("nan") for some in of.values()]
        clean = [f"{mean([r for some in of.values() for r in some], harm).mean:.3f}"] if harm else []
        cells = [word, *clean, *(f"{m:.2f}" if m == m else "" for m in means)]
        lines.append((sum(m for m in means if m == m), f"| {' | '.join(cells)} |"))
    heads = ["purifier", *(["clean photos"] if harm else []), *protections]
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(line for _, line in sorted(lines))]


def costs(found: list[dict[str, Any]]) -> list[str]:
    """Purifiers, the cheapest first: median over people and protections."""
    words = dict.fromkeys(r["purifier"] for r in found if r["purifier"] != "none")
    taken = {word: [r["seconds"] for r in found if r["purifier"] == word] for word in words}
    cheapest = sorted(taken.items(), key=lambda item: median(item[1]))
    return ["| purifier | CPU seconds a photo |", "|---|---|", *(f"| {word} | {median(s):.2g} |" for word, s in cheapest)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--purifiers", nargs="*", default=("none", *PURIFIERS))
    parser.add_argument("--protections", nargs="*", default=PROTECTIONS)
    parser.add_argument("--only", nargs="*", help="people")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("results/screen.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/red-team.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(args.store, args.device)
    kept = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for word in args.purifiers:
        for protection in args.protections:
            done = {r["person"] for r in kept if (r["purifier"], r["protection"]) == (word, protection)}
            unwanted = {who.name for who in people(args.people)} - set(args.only) if args.only else set()
            some = rows(word, protection, args.people, done | unwanted, bench)
            if not some:
                continue
            kept += some
            weights = {"tiny": bench.model("tiny").weights, "denoiser": bench.denoiser("tiny").weights}
            write_json(args.out, {"rows": kept, "weights": weights, "surroundings": surroundings(bench.torch_device)})
            said = ", ".join(f"{name} {mean(some, column).mean:.3f}" for column, name in COLUMNS.items())
            print(f"{word}, {protection}: {said}, {some[0]['seconds']:.1f} s a photo", flush=True)
    if args.doc.exists():
        for column, harm in (("left", None), ("off", "harm"), ("lpips", "lpips_harm")):
            tables.write(args.doc, f"screen {column}", table(kept, column, harm))
        tables.write(args.doc, "screen cost", costs(kept))


if __name__ == "__main__":
    main()
