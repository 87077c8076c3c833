"""Can the tiny CLIP tell clean photos from degraded ones, and people from things, on photos that it
was never trained on?

Zero-shot: the score of a photo is its cosine with one prompt less its cosine with another; AUC says
how well that ranks.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from clip import normalise
from data import DEGRADATIONS, PEOPLE, degrade, load_index
from judging import DRAWS, centre, resample, stack, unseen
from numpy.lib.format import open_memmap
from PIL import Image
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

# The captions' own words without the class ("a noisy photo of a cup"), fixed beforehand and not
# tuned on any photo
NOISE = ("a clean photo", "a noisy photo")
QUALITY = {
    "gaussian": NOISE,
    "sign": NOISE,
    "blur": ("a sharp photo", "a blurry photo"),
    "jpeg": ("a high quality photo", "a low quality photo"),
}
ALL = ("a high quality photo", "a low quality photo")
PERSON = ("a photo of a person", "a photo")


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of pairs in which the positive scores higher; ties count half."""
    ordered = np.sort(negative)
    below, upto = (
        np.searchsorted(ordered, positive, "left"),
        np.searchsorted(ordered, positive, "right"),
    )
    return float((below + upto).mean() / (2 * len(negative)))


def interval(score: np.ndarray, positive: np.ndarray, groups: list[str]) -> dict:
    """AUC of `score` for the boolean `positive`, with a 95 % bootstrap interval that resamples
    groups, then photos."""
    draw, values = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rows = resample(groups, draw)
        if 0 < positive[rows].sum() < len(rows):
            values.append(auc(score[rows][positive[rows]], score[rows][~positive[rows]]))
    low, high = np.percentile(values, [2.5, 97.5])
    return {
        "auc": round(auc(score[positive], score[~positive]), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "n_positive": int(positive.sum()),
        "n_negative": int((~positive).sum()),
    }


class Scorer:
    """The tiny CLIP with its prompts encoded."""

    def __init__(self, folder: Path) -> None:
        self.model, self.tokenizer = (
            CLIPModel.from_pretrained(folder).eval(),
            CLIPTokenizer.from_pretrained(folder),
        )

    @torch.no_grad()
    def images(self, images: list[Image.Image]) -> Tensor:
        """Unit-length embeddings, n x 128."""
        parts = [
            self.model.get_image_features(pixel_values=normalise(x)).pooler_output
            for x in stack(images).split(64)
        ]
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    @torch.no_grad()
    def contrast(self, embedded: Tensor, prompts: tuple[str, str]) -> np.ndarray:
        """Cosine with the first prompt less cosine with the second, one number a photo."""
        tokens = self.tokenizer(list(prompts), padding=True, return_tensors="pt")
        text = torch.nn.functional.normalize(
            self.model.get_text_features(**tokens).pooler_output, dim=-1
        )
        cosines = embedded @ text.T
        return (cosines[:, 0] - cosines[:, 1]).numpy()


def photos(work: Path, shared: Path) -> list[tuple[str, Image.Image]]:
    """(group, 128 px picture) of the index's held-out photos, of identities and of subjects."""
    pixels = open_memmap(work / "views.npy", "r")
    rows = [(i, r["folder"]) for i, r in enumerate(load_index(work)) if r["held_out"]]
    cached = [
        (folder, Image.fromarray(np.ascontiguousarray(pixels[i, 0].transpose(1, 2, 0))))
        for i, folder in rows
    ]
    return cached + [(s, centre(p)) for s, p in unseen(shared)]


def is_person(group: str) -> bool:
    return group in PEOPLE or group.startswith("identities")


def judge(scorer: Scorer, groups: list[str], images: list[Image.Image]) -> dict:
    """AUC clean against degraded, for each kind and for all four at once, and of people against
    everything else."""
    embedded = scorer.images(images)
    result, pooled, n = {}, [scorer.contrast(embedded, ALL)], len(images)
    for kind in DEGRADATIONS:
        worse = scorer.images(
            [degrade(image, kind, random.Random(f"{kind}/{i}")) for i, image in enumerate(images)]
        )
        score = np.concatenate(
            [scorer.contrast(embedded, QUALITY[kind]), scorer.contrast(worse, QUALITY[kind])]
        )
        result[kind] = interval(score, np.repeat([True, False], n), groups * 2)
        pooled.append(scorer.contrast(worse, ALL))
    result["all"] = interval(np.concatenate(pooled), np.repeat([True] + [False] * 4, n), groups * 5)
    people = np.array([is_person(g) for g in groups])
    return {
        "clean_against_degraded": result,
        "person_against_rest": interval(scorer.contrast(embedded, PERSON), people, groups),
    }


def measure(work: Path, model: Path, shared: Path) -> dict:
    """Both AUCs of the CLIP under `model`/clip, with the prompts used."""
    found = photos(work, shared)
    result = judge(Scorer(model / "tiny-clip"), [g for g, _ in found], [i for _, i in found])
    return {"tiny": result | {"prompts": QUALITY | {"all": ALL, "person": PERSON}}}
