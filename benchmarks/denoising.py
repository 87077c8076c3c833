"""Does a model that learns protected photos denoise them worse? ASPL against `none` and `noise`,
paired over photo sets.

For every person and seed: protect the photos (set B) with each method at one budget, let a fresh
copy of the model learn them (DreamBooth with prior preservation, the attacker's rate), then measure
the denoising error of what it became, at the same timesteps and noise for every method, on (a) the
photos it learned and (b) clean photos of the same person it never saw.

Run: python benchmarks/denoising.py --people FOLDER --out results/denoising.json     (again:
finished cells are kept)
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from cloakwork import registry
from cloakwork.evaluation.statistics import difference, estimate
from cloakwork.finetuning.latent_dataset import encode_dataset
from cloakwork.finetuning.prior import class_pictures
from cloakwork.finetuning.training import Training, train_steps
from cloakwork.models import ldm, loading
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.rounding import round_within, working_copy
from cloakwork.photos.tensors import as_float
from cloakwork.state import RunState
from cloakwork.types import Photos

METHODS = ("none", "noise", "aspl")
PROMPT, CLASS_PROMPT = "a photo of sks person", "a photo of person"
DRAWS = 40  # timesteps and noises per photo that an error is averaged over


def photos_of(folder: Path) -> Photos:
    return [working_copy(load_photo(f).pixels) for f in sorted(folder.glob("*.jpg"))]


def saved(photos: Photos, originals: Photos, budget: float) -> Photos:
    """What is left after rounding to 8 bits within the budget."""
    return [
        as_float(round_within(p, o.mul(255).round().byte(), budget))
        for p, o in zip(photos, originals, strict=True)
    ]


@torch.no_grad()
def error(model: ldm.LDM, photos: Photos, prompt: str) -> float:
    z, c = model.encode(preprocess(photos, model.size)), model.embed([prompt])
    rng = torch.Generator().manual_seed(123)
    return torch.stack([model.latent_loss(z, c, rng) for _ in range(DRAWS)]).mean().item()


def cell(
    model: ldm.LDM, folder: Path, method: str, seed: int, budget: float, steps: int
) -> dict[str, float]:
    module = registry.load("protections", method)
    cfg = replace(registry.config(module, "tiny"), budget=budget)
    photos, unseen = photos_of(folder / "set_B"), photos_of(folder / "set_C")
    begun = time.process_time()
    protected = module.protect(
        photos,
        [model],
        cfg,
        clean=photos_of(folder / "set_A"),
        rng=torch.Generator().manual_seed(seed),
        state=RunState(),
    )
    cpu = time.process_time() - begun
    protected = saved(protected, photos, budget)
    attacker = model.copy()
    subject = encode_dataset(attacker, preprocess(protected, model.size), PROMPT)
    kind = encode_dataset(attacker, class_pictures(model, CLASS_PROMPT, 16), CLASS_PROMPT)
    train_steps(
        attacker,
        subject,
        kind,
        Training(lr=1e-4, batch=4),
        steps,
        torch.Generator().manual_seed(1000 + seed),
    )
    return {
        "base_on_learned": error(model, protected, PROMPT),
        "on_learned": error(attacker, protected, PROMPT),
        "on_unseen_clean": error(attacker, unseen, PROMPT),
        "protect_cpu_seconds": round(cpu, 1),
    }


def summarise(
    cells: dict[str, dict[str, float]], people: list[str], seeds: int
) -> dict[str, dict[str, object]]:
    """Means, and paired differences with intervals (people, then seeds), of each error."""
    found: dict[str, dict[str, object]] = {}
    for kind in ("base_on_learned", "on_learned", "on_unseen_clean"):
        table = {
            m: {p: {s: [cells[f"{p}/{s}/{m}"][kind]] for s in range(seeds)} for p in people}
            for m in METHODS
        }
        found[kind] = {m: asdict(estimate(table[m])) for m in METHODS}
        found[kind] |= {
            f"aspl - {m}": asdict(difference(table["aspl"], table[m])) for m in ("noise", "none")
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--people", type=Path, required=True, help="folder of people, each with set_A, set_B, set_C"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", type=float, default=11)
    parser.add_argument("--steps", type=int, default=100, help="of the model that learns")
    parser.add_argument("--model", default="tiny")
    args = parser.parse_args()
    model = loading.load(args.model)
    people = sorted(p for p in args.people.iterdir() if p.is_dir())
    result = json.loads(args.out.read_text()) if args.out.exists() else {}
    head = {
        "model": args.model,
        "weights": model.weights,
        "budget": args.budget,
        "learning_steps": args.steps,
        "seeds": args.seeds,
        "people": len(people),
        "threads": torch.get_num_threads(),
        "draws": DRAWS,
    }
    cells = result.get("cells", {}) if result.get("head") == head else {}
    for person, seed, method in itertools.product(people, range(args.seeds), METHODS):
        key = f"{person.name}/{seed}/{method}"
        if key not in cells:
            cells[key] = cell(model, person, method, seed, args.budget, args.steps)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps({"head": head, "cells": cells}, indent=1) + "\n")
            print(key, cells[key], flush=True)
    summary = summarise(cells, [p.name for p in people], args.seeds)
    args.out.write_text(
        json.dumps({"head": head, "summary": summary, "cells": cells}, indent=1) + "\n"
    )
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
