"""Second stage of the CLIP: every photo together with its degraded self, so that "noisy" and "high
quality" mean something.

In the first stage the class alone wins nearly all of the loss, and degradations stay unseen; noise
and JPEG also lie in the fine detail that a linear map of 16 px patches (768 numbers into 192)
throws away. Here the vision tower gets patches of 8 px (192 into 192) and each photo comes twice,
clean and degraded, each with its own caption; telling these two apart is a loss of its own. The
pipelines keep the text tower of the first stage, which their UNets learned with; this CLIP is for
the CLIP-shaped metrics.

Run: python training/clip_pairs.py --work WORK --minutes 15      (after clip.py; again after an
interruption: it goes on)
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from clip import build, jitter, normalise
from data import DEGRADATIONS, captions, degrade, load_index, name_of, sampling_weights, to_unit
from loop import Run, autocast, compiled
from numpy.lib.format import open_memmap
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

PATCH = 8  # pixels


def refined(tokenizer: CLIPTokenizer, first: dict[str, Tensor]) -> CLIPModel:
    """The first stage's CLIP with a new patch layer and its grid of positions interpolated to the
    finer one."""
    model = build(tokenizer, PATCH)
    own = model.state_dict()
    place = "vision_model.embeddings.position_embedding.weight"
    old, new = (round((len(w) - 1) ** 0.5) for w in (first[place], own[place]))
    grid = first[place][1:].T.reshape(1, -1, old, old)
    fine = (
        F.interpolate(grid, (new, new), mode="bicubic", align_corners=False)
        .reshape(grid.shape[1], -1)
        .T
    )
    first = first | {place: torch.cat([first[place][:1], fine])}
    model.load_state_dict({k: v for k, v in first.items() if v.shape == own[k].shape}, strict=False)
    return model


def pairs(photos: np.ndarray, kinds: list[str], seed: int) -> np.ndarray:
    """n x 3 x h x w uint8 photos -> 2n of them: clean, degraded, clean, degraded ..."""
    spoiled = [
        np.asarray(
            degrade(
                Image.fromarray(np.ascontiguousarray(p.transpose(1, 2, 0))),
                kind,
                random.Random(f"{seed}/{i}"),
            )
        )
        for i, (p, kind) in enumerate(zip(photos, kinds, strict=True))
    ]
    return np.stack([photos, np.stack(spoiled).transpose(0, 3, 1, 2)], 1).reshape(
        -1, *photos.shape[1:]
    )


def pair_loss(logits: Tensor, names: Tensor) -> Tensor:
    """Rows (pictures) and columns (captions) are ordered as in `pairs`: right class among all,
    right state within a pair."""
    n = len(names)
    blocks = logits.unflatten(0, (n, 2)).unflatten(2, (n, 2))  # n x 2 x n x 2
    own = blocks[
        torch.arange(n), :, torch.arange(n)
    ]  # n x 2 x 2: a photo's two views against its two captions
    right = torch.arange(2).repeat(n, 1)
    state = F.cross_entropy(own.transpose(1, 2), right) + F.cross_entropy(own, right)
    same = (names[:, None] == names[None]).float().repeat_interleave(2, 0).repeat_interleave(2, 1)
    same = same * torch.eye(2).repeat(n, n)
    target = same / same.sum(1, keepdim=True)
    return state + 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--photos", type=int, default=32, help="a step; each comes twice")
    parser.add_argument(
        "--steps", type=int, default=1500, help="length of the learning-rate schedule"
    )
    args = parser.parse_args()
    index = load_index(args.work)
    pixels = open_memmap(args.work / "views.npy", "r")
    tokenizer = CLIPTokenizer.from_pretrained(args.work / "tokenizer")
    first = load_file(args.work / "clip" / "state.safetensors")
    model = refined(
        tokenizer, {k.removeprefix("model."): v for k, v in first.items() if k.startswith("model.")}
    )
    run = Run(
        args.work / "clip-pairs",
        model,
        lr=7e-4,
        steps=args.steps,
        minutes=args.minutes,
        weight_decay=0.1,
    )
    weights = sampling_weights(index) ** 0.5
    weights /= weights.sum()
    numbers = {n: i for i, n in enumerate(sorted({name_of(r["folder"]) for r in index}))}
    forward = compiled(model)
    for step in run:
        draw = np.random.default_rng([2, step])
        rows = draw.choice(len(index), args.photos, p=weights)
        views = draw.integers(0, 3, args.photos)
        kinds = [str(k) for k in draw.choice(DEGRADATIONS, args.photos)]
        texts = [
            str(draw.choice(captions(index[r]["folder"], kind)))
            for r, v, spoiled in zip(rows, views, kinds, strict=True)
            for kind in (index[r]["kinds"][v], spoiled)
        ]
        tokens = dict(tokenizer(texts, padding=True, pad_to_multiple_of=8, return_tensors="pt"))
        x = jitter(
            to_unit(pairs(pixels[rows, views], kinds, step)), torch.Generator().manual_seed(step)
        )
        with autocast():
            logits = forward(**tokens, pixel_values=normalise(x)).logits_per_image
        run.descend(
            pair_loss(
                logits.float(), torch.tensor([numbers[name_of(index[r]["folder"])] for r in rows])
            )
        )


if __name__ == "__main__":
    main()
