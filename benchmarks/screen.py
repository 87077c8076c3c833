"""A first screen of purifiers, without an attacker: what each leaves of each protection, and what
it takes from a clean photo.

    python benchmarks/screen.py --people PEOPLE --store STORE [--purifiers jpeg codesr ...]
        [--protections aspl ...] [--only p01]
    python benchmarks/screen.py --people PEOPLE --cost [--only p01]

The second says CPU seconds a photo, on one thread.

With P the purifier, x' the protected photo, x the clean one and E the latents of `tiny`:

    left  |E(P(x')) - E(P(x))| / |E(x') - E(x)|
    off   |E(P(x')) - E(x)| / |E(x)|
    harm  |E(P(x)) - E(x)| / |E(x)|

and LPIPS of P(x') and of P(x) to x, which is made as small as they are where P shrinks. Photos are
those of the red team's tables in the recipe `tiny`, from its store where they are there; a purifier
draws the same for x' and x. Rows are added to results/screen.json as they are found, and only what
it lacks is computed; docs.py makes the tables.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import screen_tables
import torch

from cloakwork import specs
from cloakwork.benchmark.grids import Table, lines, people
from cloakwork.benchmark.recipes._red_team import OURS, PURIFIERS, SIDE
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.files import write_json
from cloakwork.metrics import lpips
from cloakwork.models.device import DTYPES
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import lanczos
from cloakwork.specs import Method
from cloakwork.types import Photos

PROTECTIONS = ("noise", OURS, "aspl", "photoguard", "pid", "learned")
# not on photos of this size: `post:1080`, which makes none of them narrower and is `jpeg` there;
# `subtract:blind=True`, for which a photo has to hold four tiles of 128 px
SCREENED = (*PURIFIERS, "jpeg_and_resize", "latent_diffpure:img2img", "subtract", "learned")
COLUMNS = {"left": "latents left", "off": "latents off", "lpips": "LPIPS"}


def latents(photos: Photos, workspace: Workspace) -> torch.Tensor:
    ldm = workspace.model("tiny")
    with torch.no_grad():
        return ldm.encode(preprocess(photos, ldm.size).to(ldm.device)).flatten(1).cpu()


def apart(photos: Source | Step, clean: Source, workspace: Workspace) -> list[float]:
    """LPIPS; a step, so that clean photos after a purifier are compared once and not once a
    protection. Photos that came back smaller are compared at once, with originals as small."""
    pure, originals = compute.photos(photos, workspace), compute.photos(clean, workspace)
    small = [lanczos(x, *p.shape[-2:]) for x, p in zip(originals, pure, strict=True)]
    if any(a.shape != b.shape for a, b in zip(small, originals, strict=True)):
        return lpips.score(pure, small, None, lpips.Config()).tolist()
    metric = Method("metrics", "lpips", lpips.Config())
    return compute.score(Step(metric, (photos, clean)), workspace).values


def seconds(word: str, photos: Source, dtype: str) -> float:
    """CPU seconds a photo of a chain of purifiers, models loaded before."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(folder, "cpu")
        workspace.model("tiny", dtype)
        workspace.denoiser("tiny", dtype)
        begun = time.process_time()
        pure = compute.photos(
            steps.purify_steps(photos, specs.purifiers(word), model="tiny", dtype=dtype), workspace
        )
        return (time.process_time() - begun) / len(pure)


def rows(
    word: str, protection: str, who: tuple[Subject, ...], workspace: Workspace, dtype: str
) -> list[dict[str, Any]]:
    """One a person, with numbers for each photo."""
    chain, found = specs.purifiers(word), []
    table = Table("all", (protection,), (), who, dtype=dtype)
    line = next(row for row in lines(table) if row.protection == protection)
    for subject, given in line.photo_sets():
        pure, harmed = (
            steps.purify_steps(photos, chain, model="tiny", dtype=dtype)
            for photos in (given, subject.clean)
        )
        z, z_given, z_pure, z_harmed = (
            latents(compute.photos(p, workspace), workspace)
            for p in (subject.clean, given, pure, harmed)
        )
        size = z.norm(dim=1)
        found.append(
            {
                "purifier": word,
                "protection": protection,
                "person": subject.name,
                "dtype": dtype,
                "left": ((z_pure - z_harmed).norm(dim=1) / (z_given - z).norm(dim=1)).tolist(),
                "off": ((z_pure - z).norm(dim=1) / size).tolist(),
                "harm": ((z_harmed - z).norm(dim=1) / size).tolist(),
                "lpips": apart(pure, subject.clean, workspace),
                "lpips_harm": apart(harmed, subject.clean, workspace),
            }
        )
    return found


def cost(words: Iterable[str], who: tuple[Subject, ...], dtype: str, path: Path) -> None:
    """Into a file, a purifier after the other; those that are there stay."""
    taken = json.loads(path.read_text())["seconds"] if path.exists() else {}
    for word in (w for w in words if w not in {"none", *taken}):
        taken[word] = [seconds(word, subject.clean, dtype) for subject in who]
        write_json(
            path,
            {"seconds": taken, "side": SIDE, "surroundings": surroundings(torch.device("cpu"))},
        )
        print(f"{word}: {taken[word]} CPU seconds a photo", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, help="of the recipe tiny")
    parser.add_argument("--cost", action="store_true", help="CPU seconds in place of the screen")
    parser.add_argument("--purifiers", nargs="*", default=("none", *SCREENED))
    parser.add_argument("--protections", nargs="*", default=PROTECTIONS)
    parser.add_argument("--only", nargs="*", help="people")
    parser.add_argument("--device", default="cpu")
    # as in the recipe, so that steps are the same
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--out", type=Path, default=Path("results/screen.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    who = tuple(s for s in people(args.people, SIDE) if not args.only or s.name in args.only)
    if args.cost:
        cost(args.purifiers, who, args.dtype, args.out.with_name("purifying.json"))
        return
    if args.store is None:
        parser.error("a screen needs --store, where protected photos are kept")
    workspace = Workspace(args.store, args.device)
    kept = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for word in args.purifiers:
        for protection in args.protections:
            done = {
                r["person"] for r in kept if (r["purifier"], r["protection"]) == (word, protection)
            }
            left = tuple(s for s in who if s.name not in done)
            if not left:
                continue
            some = rows(word, protection, left, workspace, args.dtype)
            kept += some
            weights = {
                "tiny": workspace.model("tiny").weights,
                "denoiser": workspace.denoiser("tiny").weights,
            }
            write_json(
                args.out,
                {
                    "rows": kept,
                    "weights": weights,
                    "surroundings": surroundings(workspace.torch_device),
                },
            )
            said = ", ".join(
                f"{name} {screen_tables.mean(some, column):.3f}" for column, name in COLUMNS.items()
            )
            print(f"{word}, {protection}: {said}", flush=True)


if __name__ == "__main__":
    main()
