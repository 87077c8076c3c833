"""Second stage of the CLIP: every photo together with its degraded view, so that "noisy" and "high quality" mean something.

In the first stage the class alone wins nearly all of the loss, and degradations stay unseen. Here each photo comes twice,
clean and degraded, each view with its own caption, and telling these two apart is a loss of its own. The pipelines keep
the text tower of the first stage, which their UNets learned with; this CLIP is for the CLIP-shaped metrics.

Run: python training/clip_pairs.py --work WORK --minutes 15      (after clip.py; again after an interruption: it goes on)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from clip import build, jitter, normalise
from data import captions, load_index, name_of, sampling_weights, to_unit
from loop import Run
from numpy.lib.format import open_memmap
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer


def pair_loss(model: CLIPModel, tokens: dict[str, Tensor], x: Tensor, names: Tensor) -> Tensor:
    """Views and captions are ordered clean, degraded, clean, degraded ...: right class among all, right state within a pair."""
    logits = model(**tokens, pixel_values=normalise(x)).logits_per_image  # 2n x 2n
    n = len(names)
    blocks = logits.unflatten(0, (n, 2)).unflatten(2, (n, 2))  # n x 2 x n x 2
    own = blocks[torch.arange(n), :, torch.arange(n)]  # n x 2 x 2: a photo's two views against its two captions
    right = torch.arange(2).repeat(n, 1)
    state = F.cross_entropy(own.transpose(1, 2), right) + F.cross_entropy(own, right)
    same = (names[:, None] == names[None]).float().repeat_interleave(2, 0).repeat_interleave(2, 1)
    same = same * torch.eye(2).repeat(n, n)
    target = same / same.sum(1, keepdim=True)
    return state + 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--photos", type=int, default=32, help="a step; each comes twice")
    parser.add_argument("--steps", type=int, default=1500, help="length of the learning-rate schedule")
    args = parser.parse_args()
    index = load_index(args.work)
    pixels = open_memmap(args.work / "views.npy", "r")
    tokenizer = CLIPTokenizer.from_pretrained(args.work / "tokenizer")
    model = build(tokenizer)
    first = load_file(args.work / "clip" / "state.safetensors")
    model.load_state_dict({k.removeprefix("model."): v for k, v in first.items() if k.startswith("model.")}, strict=False)
    run = Run(args.work / "clip-pairs", model, lr=7e-4, steps=args.steps, minutes=args.minutes, weight_decay=0.1)
    weights = sampling_weights(index) ** 0.5
    weights /= weights.sum()
    numbers = {n: i for i, n in enumerate(sorted({name_of(r["folder"]) for r in index}))}
    for step in run:
        draw = np.random.default_rng([2, step])
        rows = draw.choice(len(index), args.photos, p=weights)
        views = np.stack([draw.integers(0, 3, args.photos), np.full(args.photos, 3)], 1).reshape(-1)
        both = rows.repeat(2)
        texts = [str(draw.choice(captions(index[r]["folder"], index[r]["kinds"][v]))) for r, v in zip(both, views, strict=True)]
        tokens = dict(tokenizer(texts, padding=True, return_tensors="pt"))
        x = jitter(to_unit(pixels[both, views]), torch.Generator().manual_seed(step))
        with torch.autocast("cpu", torch.bfloat16):
            loss = pair_loss(model, tokens, x, torch.tensor([numbers[name_of(index[r]["folder"])] for r in rows]))
        run.descend(loss)


if __name__ == "__main__":
    main()
