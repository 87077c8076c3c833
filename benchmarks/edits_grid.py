"""How far a protection throws edits off: edited protected photos against edited clean ones, into results/edits.json.

    python benchmarks/edits_grid.py --people PEOPLE --store STORE

For every protection of the audit grid and every photo: SDEdit at three strengths and inpainting of the centre, two prompts, the
same noise for clean and protected. LPIPS and SSIM between the two edits, also into docs/protections.md; photos with random noise
of the same budget are the line to beat. Protected photos come from the store of the audit grid, where they are there.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tables
import torch
from audit_grid import photo_sets
from cells import CELLS, Cell

from cloakwork import methods, specs, steps
from cloakwork.comparison import Subject
from cloakwork.intervals import Estimate, difference, estimate
from cloakwork.metrics import lpips, ssim
from cloakwork.records import surroundings, write_json
from cloakwork.steps import Bench, Source, Step

PROMPTS = ("a photo of a person", "a photo of a sunflower")
EDITORS = {"sdedit": (0.1, 0.2, 0.3), "inpaint": (1.0,)}
Scores = dict[str, dict[str, dict[int, list[float]]]]  # of an edit: photo set -> seed -> photo by photo


@dataclass(frozen=True)
class Apart:
    """How far edits of protected photos are from those of clean ones."""

    mean: Estimate
    against_noise: Estimate
    """what is more, or less, than random noise does"""


def edits(photos: Source | Step, editor: str, bench: Bench, dtype: str, seed: int) -> torch.Tensor:
    config = replace(methods.load("attackers", editor).PRESETS["tiny"], strengths=EDITORS[editor])
    return steps.pictures(Step("attack", editor, config, (photos,), seed, ("tiny",), PROMPTS, dtype), bench)


def apart(photos: Source | Step, subject: Subject, bench: Bench, args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Metric -> edit -> one number a photo and prompt."""
    found: dict[str, dict[str, list[float]]] = {"lpips": {}, "ssim": {}}
    for editor, strengths in EDITORS.items():
        a, b = (edits(p, editor, bench, args.dtype, args.seed) for p in (photos, subject.clean))
        shape = (len(PROMPTS), len(strengths), -1)
        for name, module in (("lpips", lpips), ("ssim", ssim)):
            values = module.score(a, list(b), None, module.Config()).view(shape)
            for k, strength in enumerate(strengths):
                label = f"{editor} {strength:g}" if len(strengths) > 1 else editor
                found[name][label] = values[:, k].flatten().tolist()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=CELLS["methods"].protections)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", help="what the editor computes in")
    parser.add_argument("--out", type=Path, default=Path("results/edits.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/protections.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench, cell = Bench(args.store, "cpu"), Cell(tuple(args.only), ())
    scores: dict[str, dict[str, Scores]] = {}  # protection -> metric -> edit -> ...
    for name in ("noise", *cell.protections):
        for subject, photos in photo_sets(cell, name, args.people, args.seed):
            for metric, by_edit in apart(photos, subject, bench, args).items():
                for edit, values in by_edit.items():
                    scores.setdefault(name, {}).setdefault(metric, {}).setdefault(edit, {})[subject.name] = {args.seed: values}
        print(name, *(f"{e} {estimate(t).mean:.3f}" for e, t in scores[name]["lpips"].items()), flush=True)
    found = {
        name: {metric: {edit: Apart(estimate(t), difference(t, scores["noise"][metric][edit])) for edit, t in by_edit.items()}
               for metric, by_edit in by_metric.items()} for name, by_metric in scores.items()
    }  # fmt: skip
    write_json(args.out, {
        "weights": {"tiny": bench.model("tiny").weights}, "dtype": args.dtype, "budget": cell.budget, "prompts": PROMPTS,
        "seed": args.seed,
        "protections": {p: asdict(specs.parse("protections", p)[1]) for p in cell.protections},
        "edits": {name: {metric: {edit: asdict(a) for edit, a in by_edit.items()} for metric, by_edit in by_metric.items()}
                  for name, by_metric in found.items()}, "surroundings": surroundings(torch.device("cpu")),
    })  # fmt: skip
    tables.write(args.doc, "edits", table(found))


def table(found: dict[str, dict[str, dict[str, Apart]]]) -> list[str]:
    """LPIPS between edits, those thrown off farthest first; bold: farther than noise throws them, with 95 % confidence."""
    names = list(found["noise"]["lpips"])
    lines = [f"| protection | {' | '.join(f'{n}: LPIPS, SSIM' for n in names)} |", "|---" * (len(names) + 1) + "|"]

    def cell(name: str, edit: str) -> str:
        far, alike = found[name]["lpips"][edit], found[name]["ssim"][edit]
        text = f"{far.mean.mean:.3f} [{far.mean.low:.3f}, {far.mean.high:.3f}], {alike.mean.mean:.2f}"
        return f"**{text}**" if far.against_noise.low > 0 else text

    for name in sorted(found, key=lambda n: -sum(found[n]["lpips"][e].mean.mean for e in names)):
        lines.append(f"| {name} | {' | '.join(cell(name, e) for e in names)} |")
    return lines


if __name__ == "__main__":
    main()
