"""The package's methods against independent statements of what their authors released.

    python benchmarks/faithful.py [METHOD ...]          (all: about 3 CPU minutes)

Both sides get the same model, photos and draws: what our method draws is recorded, and drawn again
for the statement (benchmarks/releases/, one module a family of releases). For every method: how far
the first gradients agree, how far the results of a short loop do, and what either side costs, CPU
seconds on one thread, one after the other in this process. Into results/faithful.json, whose other
rows stay as they are; benchmarks/docs.py makes the table of docs/faithful.md from it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from compared import CASES
from compared.recording import Recorder, first_gradient, watched
from compared.sides import CLASSES, Case, Given, Statement
from releases.parts import Draws, Found, Parts
from torch import Tensor

from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.finetuning import prior
from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import targets
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float
from cloakwork.state import RunState
from cloakwork.types import Photos

RESULT = Path("results/faithful.json")
SEED = 24


@contextmanager
def class_pictures(given: Given) -> Iterator[None]:
    """Class pictures are among what both sides get, and nothing is found in a cache."""
    with (
        tempfile.TemporaryDirectory() as cache,
        patch.dict(os.environ, {"CLOAKWORK_CACHE": cache}),
        patch.object(prior, "class_pictures", lambda ldm, prompt, n, **how: given.classes[:n]),
    ):
        yield


def run_ours(case: Case, given: Given, rng: torch.Generator) -> Tensor:
    """The method as the package runs it; photos, or the pictures that its attacker draws."""
    ldm, cfg = replace(given.ldm, sample_posterior=case.sample), case.config(given)
    photos, state = list(given.photos), RunState()
    with class_pictures(given):
        if case.trains:
            return case.module.attack(
                photos, ldm, cfg, ["a photo of sks person"], rng=rng, state=state
            )
        clean = list(given.clean)
        return torch.stack(
            case.module.protect(photos, [ldm], cfg, clean=clean, rng=rng, state=state)
        )


def ours(case: Case, given: Given) -> tuple[Found, float, Draws]:
    """What our method finds, its CPU seconds (where weights learn: of a step), and what it drew."""
    rng = torch.Generator().manual_seed(SEED)
    side = given.ldm.size // given.ldm.scale
    shape = torch.Size((given.ldm.vae.config.latent_channels, side, side))
    with Recorder() as recorder, first_gradient() as gradients, watched() as weights:
        begun = time.process_time()
        result = run_ours(case, given, rng)
        spent = time.process_time() - begun
    draws = recorder.draws(rng, shape)
    if case.trains:
        return weights.found(), weights.seconds, draws
    return Found(torch.stack(gradients[0]), result), spent, draws


def parts_of(ldm: LDM, sample: bool, learns: bool) -> Parts:
    """The model's parts, for a statement to do with as it likes."""
    parts = Parts(
        ldm.vae, ldm.denoiser, ldm.text_encoder, ldm.tokenizer, ldm.scheduler, sample
    ).copy()
    for part in () if learns else (parts.unet, parts.text_encoder):
        part.requires_grad_(False)
    return parts


def agreement(a: Found, b: Found, trains: bool) -> dict[str, float]:
    """How far our side (a) and a statement agree."""
    g, h = a.gradient, b.gradient
    if not trains:  # a sign step knows no length
        g, h = (x / x.flatten(1).norm(dim=1)[:, None, None, None] for x in (g, h))
    same = (g.sign() == h.sign()).double().mean().item()
    found = {"signs": same, "relative": ((g - h).norm() / h.norm()).item()}
    if trains:
        moved = (a.result.sign() == b.result.sign()).double().mean().item()
        return found | {
            "loop_signs": moved,
            "loop_relative": ((a.result - b.result).norm() / b.result.norm()).item(),
        }
    apart = (255 * (a.result - b.result)).abs()
    within = (apart <= 1 + 1e-3).double().mean().item()
    return found | {"within": within, "largest": apart.max().item()}


def compare(
    case: Case, given: Given, repeats: int = 1, statements: Sequence[Statement] = ()
) -> list[dict[str, Any]]:
    """A row for each of the statements (none: all of the case).

    Args:
        repeats: how often both sides run, in turn; the best time counts.
    """
    given = replace(given, photos=given.photos[: case.photos])
    mine, spent, draws = ours(case, given)
    about = {"method": case.name, "version": case.module.VERSION, "release": case.release}
    about |= {"photos": len(given.photos)}
    rows: list[dict[str, Any]] = []
    for statement in statements or case.statements:
        found, theirs, fresh = run_stated(statement, case, given, draws)
        row = about | {"differs": statement.differs, "fresh_draws": fresh}
        row |= agreement(mine, found, case.trains)
        for _ in range(1, repeats):
            spent = min(spent, ours(case, given)[1])
            theirs = min(theirs, run_stated(statement, case, given, draws)[1])
        rows.append(row | {"our_seconds": spent, "stated_seconds": theirs})
    return rows


def run_stated(
    statement: Statement, case: Case, given: Given, draws: Draws
) -> tuple[Found, float, int]:
    """What a statement finds, its CPU seconds (where weights learn: of a step), and how much it
    asked for that had not been drawn.
    """
    parts, own = parts_of(given.ldm, case.sample, case.trains), again(draws)
    with watched() as weights:
        begun = time.process_time()
        result = statement.run(parts, given, own)
        spent = time.process_time() - begun
    if result is None:
        return weights.found(), weights.seconds, own.missing
    return result, spent, own.missing


def again(draws: Draws) -> Draws:
    """A copy of what was drawn, since it is used up."""
    lists = {k: list(getattr(draws, k)) for k in ("normals", "timesteps", "starts", "uniforms")}
    others = [again(other) for other in draws.others]
    return replace(draws, **lists, matrices=list(draws.matrices), others=others, missing=0)


def given_to_both(ldm: LDM, pictures: Photos, steps: int) -> Given:
    """Three photos to protect, and as many to learn, from at least three pictures of any size,
    which are cut to the model's own.
    """
    seen = preprocess(pictures, ldm.size)
    target = targets.picture("pattern", ldm.size)
    return Given(ldm, seen[:3], seen[-3:], seen[:CLASSES].flip(-1), target, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=", ".join(CASES))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--steps", type=int, default=3, help="of the short loops")
    parser.add_argument("--repeats", type=int, default=1, help="runs of either side, in turn")
    args = parser.parse_args()
    if unknown := [m for m in args.methods if m not in CASES]:
        parser.error(f"there is no {', '.join(unknown)} here; there are {', '.join(CASES)}")
    torch.set_num_threads(1)
    ldm = loading.load(args.model, "cpu")
    files = sorted(p for p in SAMPLE_PHOTOS.iterdir() if p.suffix in (".jpg", ".png"))
    given = given_to_both(ldm, [as_float(load_photo(p).pixels) for p in files], args.steps)
    for name in args.methods or CASES:
        rows = compare(CASES[name], given, args.repeats)
        keep(name, rows, given)
        for row in rows:
            print(json.dumps(row), flush=True)
    print(RESULT)


def keep(name: str, rows: list[dict[str, Any]], given: Given) -> None:
    """A method's rows into the results, in place of what stood there for it."""
    found = json.loads(RESULT.read_text())["rows"] if RESULT.is_file() else []
    made = {"made": datetime.date.today().isoformat(), "torch": torch.__version__}
    made |= {"model": given.ldm.name, "weights": given.ldm.weights, "steps": given.steps}
    found = [r for r in found if r["method"] != name] + [r | made for r in rows]
    order = list(CASES)
    found = [r for r in found if r["method"] in order]
    found.sort(key=lambda row: order.index(row["method"]))
    write_json(RESULT, {"about": __doc__.partition("\n")[0], "rows": found})


if __name__ == "__main__":
    main()
