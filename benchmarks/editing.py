"""How far edits go from the photo: LPIPS of SDEdit and inpainting on `tiny` at rising strengths,
into results/editing.json.

Run: python benchmarks/editing.py --photos FOLDER [--prompt "a photo of a sunflower"] [--most 24]

FOLDER holds photos at any depth; of each of its folders the first photo is taken. The strengths of
a photo share their noise.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import torch

from cloakwork import registry
from cloakwork.environment import surroundings
from cloakwork.evaluation.statistics import estimate
from cloakwork.files import write_json
from cloakwork.metrics import lpips
from cloakwork.models import loading
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.recognition import EXTENSIONS
from cloakwork.photos.tensors import as_float
from cloakwork.state import RunState

STRENGTHS = {"sdedit": (0.1, 0.2, 0.3, 0.5, 0.7), "inpaint": (0.3, 0.5, 0.7, 1.0)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--prompt", default="a photo of a sunflower")
    parser.add_argument("--most", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/editing.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    victim = loading.load("tiny", "cpu", "bfloat16")
    firsts = {
        f.parent: f
        for f in sorted(args.photos.rglob("*"), reverse=True)
        if f.suffix.lower() in EXTENSIONS
    }
    photos = [as_float(load_photo(f).pixels) for f in list(firsts.values())[::-1][: args.most]]
    x = preprocess(photos, victim.size)
    cells = {}
    for name, strengths in STRENGTHS.items():
        module = registry.load("attackers", name)
        config = replace(module.PRESETS["tiny"], strengths=strengths)
        rng = torch.Generator().manual_seed(args.seed)
        edits = module.attack(photos, victim, config, [args.prompt], rng=rng, state=RunState())
        far = lpips.score(
            edits, list(x.repeat(len(strengths), 1, 1, 1)), None, lpips.Config()
        ).view(len(strengths), -1)
        rising = (far[1:] > far[:-1]).all(0).float().mean().item()
        tables = {
            s: estimate({str(i): {0: [v]} for i, v in enumerate(row.tolist())})
            for s, row in zip(strengths, far, strict=True)
        }
        cells[name] = {
            "lpips": {str(s): asdict(e) for s, e in tables.items()},
            "photos_that_rise_at_every_step": rising,
        }
        print(
            name,
            {s: f"{e.mean:.3f} [{e.low:.3f}, {e.high:.3f}]" for s, e in tables.items()},
            f"rising in {rising:.0%} of photos",
        )
    write_json(
        args.out,
        {
            "victim": f"tiny {victim.weights}",
            "dtype": "bfloat16",
            "prompt": args.prompt,
            "photos": len(photos),
            "seed": args.seed,
            "cells": cells,
            "surroundings": surroundings(torch.device("cpu")),
        },
    )


if __name__ == "__main__":
    main()
