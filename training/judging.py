"""What the three judges share: photos never trained on, intervals, sheets of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from data import SIDE, to_unit
from PIL import Image, ImageOps
from torch import Tensor

REPOSITORY = Path(__file__).resolve().parents[1]
DRAWS = 1000  # bootstrap resamples


def unseen(shared: Path) -> list[tuple[str, Path]]:
    """(set, photo) of the six identities and of the subjects, in a fixed order; a set is
    identities/p01, subjects/dog, ..."""
    files = [
        *sorted(shared.glob("data/identities/*/*/*.jpg")),
        *sorted(shared.glob("data/subjects/*/*.jpg")),
    ]
    if not files:
        raise SystemExit(f"No photos under {shared / 'data'}: identities and subjects are needed.")
    return [("/".join(f.relative_to(shared / "data").parts[:2]), f) for f in files]


def centre(path: Path) -> Image.Image:
    """The centre square of a photo at 128 px, upright (the same crop and filter as view 0 of the
    training photos)."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    return ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)


def stack(images: Sequence[Image.Image]) -> Tensor:
    """n x 3 x 128 x 128 in [0, 1]."""
    return to_unit(np.stack([np.asarray(i).transpose(2, 0, 1) for i in images]))


def picture(x: Tensor) -> Image.Image:
    """A 3 x H x W tensor in [0, 1] as an 8-bit picture."""
    return Image.fromarray(
        x.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    )


def resample(groups: Sequence[str], draw: np.random.Generator) -> np.ndarray:
    """Indices of one bootstrap resample: groups first, then members of each group drawn."""
    labels = np.asarray(groups)
    names = np.unique(labels)
    members = {n: np.flatnonzero(labels == n) for n in names}
    return np.concatenate(
        [draw.choice(members[n], len(members[n])) for n in draw.choice(names, len(names))]
    )


def summary(values: Sequence[float] | np.ndarray, groups: Sequence[str]) -> dict:
    """Mean, n, number of groups and a 95 % bootstrap interval that resamples groups, then
    members."""
    values, draw = np.asarray(values, float), np.random.default_rng(0)
    means = [values[resample(groups, draw)].mean() for _ in range(DRAWS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "mean": round(float(values.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "n": len(values),
        "groups": len(set(groups)),
    }


def outside(folder: Path) -> Path:
    """The folder, made if need be; sheets show people or likenesses of them, so none may lie in the
    repository."""
    if folder.resolve().is_relative_to(REPOSITORY):
        raise SystemExit(
            f"--sheets {folder} lies in the repository; sheets show people: "
            f"name a folder outside {REPOSITORY}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_sheet(rows: Sequence[Tensor], path: Path, gap: int = 4) -> None:
    """Rows of pictures (each n x 3 x H x W in [0, 1]) as one PNG on white."""
    side, columns = rows[0].shape[-1], max(len(r) for r in rows)
    sheet = torch.ones(3, len(rows) * (side + gap) - gap, columns * (side + gap) - gap)
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            sheet[
                :,
                i * (side + gap) : i * (side + gap) + side,
                j * (side + gap) : j * (side + gap) + side,
            ] = x
    picture(sheet).save(path)
    print(f"sheet: {path}")
