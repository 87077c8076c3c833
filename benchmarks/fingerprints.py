"""After which changes is a protected photo known again, and how often is another taken for it?

    python benchmarks/fingerprints.py --data FOLDER [--most 1400]

FOLDER has `identities`, `subjects` and `caltech101`, each with a folder for a person, a thing, a
class; of the last one `most` photos are drawn, without `Faces_easy`, whose photos are cuts of
others. Photos get noise of a budget of 16 and are fingerprinted. Every second person, thing and
class is for choosing the two bounds of `cloakwork mine`, the others for what is reported: LIKELY is
the smallest at which no more than 1 % of the former are missed after any change of ASKED, SURE the
largest at which no more than one in 10,000 pairs of them is taken for each other, that show one
person, thing or class. Into results/fingerprints.json;
`python benchmarks/docs.py` makes the tables of it. No picture is kept.
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from cloakwork.environment import surroundings
from cloakwork.files import write_json
from cloakwork.photos.fingerprint import distances, fingerprint, parse, seen
from cloakwork.photos.tensors import pixels_of_pil
from cloakwork.workflows.images import protect_images

STEP = 0.01
MISSED = 0.01  # share of the photos that may be missed after each change that was asked for
ALIKE = 1e-4  # share of the pairs of one person, thing or class that may be taken for each other
REPEATED = 3  # levels, mean difference at 64 x 64 pixels: up to it two files are one picture
BUDGET = 16
LARGE = 2400  # pixels: long side that photos are enlarged to before they are posted
CHANGED, POSTED, AIMED = 200, 60, 12  # photos of each half that changes are tried on
Change = Callable[[Image.Image, random.Random], Image.Image]


def jpeg(quality: int) -> Change:
    def changed(image: Image.Image, rnd: random.Random) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file).convert("RGB")

    return changed


def smaller(image: Image.Image, rnd: random.Random, scale: float = 0.5) -> Image.Image:
    size = [max(64, round(side * scale)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)


def posted(image: Image.Image, rnd: random.Random) -> Image.Image:
    return jpeg(75)(smaller(image, rnd, min(1, 1080 / image.width)), rnd)


def cut(share: float) -> Change:
    """So much of both sides cut away, at any place."""

    def changed(image: Image.Image, rnd: random.Random) -> Image.Image:
        width, height = (round(side * (1 - share)) for side in image.size)
        left, top = rnd.randint(0, image.width - width), rnd.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))

    return changed


def recoloured(image: Image.Image, rnd: random.Random) -> Image.Image:
    """A tenth more contrast, a fifth more colour, 8 % lighter."""
    image = ImageEnhance.Contrast(image).enhance(1.1)
    return ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(1.2)).enhance(1.08)


def mirrored(image: Image.Image, rnd: random.Random) -> Image.Image:
    return ImageOps.mirror(image)


def turned(image: Image.Image, rnd: random.Random) -> Image.Image:
    return image.rotate(2, Image.Resampling.BICUBIC)


def framed(image: Image.Image, rnd: random.Random) -> Image.Image:
    return ImageOps.expand(image, round(0.05 * max(image.size)), "white")


def after(*changes: Change) -> Change:
    def changed(image: Image.Image, rnd: random.Random) -> Image.Image:
        for change in changes:
            image = change(image, rnd)
        return image

    return changed


ASKED: dict[str, Change] = {
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "half the size": smaller,
    "other colours": recoloured,
    "2 % cut": cut(0.02),
    "5 % cut": cut(0.05),
    "10 % cut": cut(0.10),
    "mirrored": mirrored,
}
MORE: dict[str, Change] = {
    "5 % cut, half the size, JPEG 50": after(cut(0.05), smaller, jpeg(50)),
    "10 % cut, mirrored": after(cut(0.10), mirrored),
    "15 % cut": cut(0.15),
    "20 % cut": cut(0.20),
    "turned by 2 degrees": turned,
    "framed": framed,
}


def chosen_photos(data: Path, most: int) -> list[list[tuple[str, Path]]]:
    """Two halves of photos, each with its group, in any order: no group is in both."""
    drawn, rnd = [], random.Random(0)
    for name in ("identities", "subjects", "caltech101"):
        endings = {".jpg", ".jpeg", ".png"}
        files = [f for f in sorted((data / name).rglob("*")) if f.suffix.lower() in endings]
        pairs = [(f.relative_to(data).parts[:2], f) for f in files]
        pairs = [("/".join(group), f) for group, f in pairs if group[-1] != "Faces_easy"]
        drawn += rnd.sample(pairs, min(most, len(pairs))) if name == "caltech101" else pairs
    groups = sorted({group for group, _ in drawn})
    halves = [[p for p in drawn if groups.index(p[0]) % 2 == half] for half in (0, 1)]
    for half in halves:
        rnd.shuffle(half)
    return halves


def protected(pixels: Tensor) -> Tensor:
    (made,) = protect_images([pixels], "noise", budget=float(BUDGET), device="cpu")
    return made


def pixels_of(file: Path, side: int = 0) -> Tensor:
    image = Image.open(file).convert("RGB")
    if side:
        scale = side / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
    return pixels_of_pil(image)


def nearest(found: Tensor, recorded: np.ndarray) -> float:
    """The distance of a found photo from one that is recorded."""
    return float(distances(seen(found), [recorded]).min())


def changed(photos: list[tuple[str, Path]], prints: list[np.ndarray]) -> dict[str, list[float]]:
    """How far photos are from their own fingerprints after each change."""
    rnd, far = random.Random(1), {name: [] for name in (*ASKED, *MORE, "the original")}
    for (_, file), recorded in zip(photos[:CHANGED], prints, strict=False):
        original = pixels_of(file)
        image = Image.fromarray(protected(original).permute(1, 2, 0).numpy())
        for name, change in (ASKED | MORE).items():
            far[name].append(nearest(pixels_of_pil(change(image, rnd)), recorded))
        far["the original"].append(nearest(original, recorded))
    far[f"posted at 1080 px, of {LARGE}"] = [_posted(file, rnd) for _, file in photos[:POSTED]]
    return far


def _posted(file: Path, rnd: random.Random) -> float:
    made = protected(pixels_of(file, LARGE))
    image = Image.fromarray(made.permute(1, 2, 0).numpy())
    return nearest(pixels_of_pil(posted(image, rnd)), _print(made))


def aimed(photos: list[tuple[str, Path]]) -> list[float]:
    """How far originals of people are from what `pid` made of them."""
    people = [file for group, file in photos if group.startswith("identities")][:AIMED]
    far = []
    for file in people:
        (made,) = protect_images([pixels_of(file)], "pid:tiny:steps=20", device="cpu")
        far.append(nearest(pixels_of(file), _print(made)))
    return far


def _print(pixels: Tensor) -> np.ndarray:
    hashes = parse(fingerprint(pixels))
    assert hashes is not None
    return hashes


def pairs(photos: list[tuple[str, Path]], prints: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Distances of every photo from every other one's fingerprint, in one group and in two."""
    groups, rows = np.array([group for group, _ in photos]), []
    for number, (_, file) in enumerate(photos):
        row = distances(seen(pixels_of(file)), prints).min(0)
        row[number] = np.nan
        rows.append(row)
    far, same = np.array(rows), groups[:, None] == groups
    return {
        "alike": np.where(same, far, np.nan),
        "others": np.where(same, np.nan, far),
    }


def repeats(photos: list[tuple[str, Path]]) -> int:
    """How many pairs of a group are the same picture twice, by their pixels, mirrored or not; both
    directions count, as they do in `pairs`."""
    groups: dict[str, list[np.ndarray]] = {}
    for group, file in photos:
        small = Image.open(file).convert("L").resize((64, 64), Image.Resampling.LANCZOS)
        groups.setdefault(group, []).append(np.asarray(small, np.float32))
    return sum(
        min(np.abs(a - b).mean(), np.abs(a[:, ::-1] - b).mean()) <= REPEATED
        for same in groups.values()
        for i, a in enumerate(same)
        for j, b in enumerate(same)
        if i != j
    )


def bounds(far: dict[str, list[float]], apart: dict[str, np.ndarray]) -> dict[str, float]:
    """The two bounds that the docstring describes."""
    asked = [far[name] for name in ASKED]
    grid = [round(k * STEP, 2) for k in range(1, 50)]

    def missed(bound: float) -> float:
        return max(float(np.mean(np.array(f) > bound)) for f in asked)

    alike = apart["alike"][np.isfinite(apart["alike"])]
    return {
        "likely": next(bound for bound in grid if missed(bound) <= MISSED),
        "sure": max(bound for bound in grid if np.mean(alike <= bound) <= ALIKE),
    }


def rates(apart: dict[str, np.ndarray], used: dict[str, float]) -> dict[str, dict[str, float]]:
    """Of pairs: how many there are, how many are taken for each other; of photos: for any other."""
    return {
        kind: {
            "pairs": int(np.isfinite(far).sum()),
            "photos": len(far),
            **{name: int((far <= bound).sum()) for name, bound in used.items()},
            **{f"photos_{n}": int((far <= bound).any(1).sum()) for n, bound in used.items()},
        }
        for kind, far in apart.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--most", type=int, default=1400, help="photos of caltech101")
    parser.add_argument("--out", type=Path, default=Path("results/fingerprints.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    made: dict[str, Any] = {"budget": BUDGET}
    for name, photos in zip(
        ("choosing", "reported"), chosen_photos(args.data, args.most), strict=True
    ):
        prints = [_print(protected(pixels_of(file))) for _, file in photos]
        apart, far = pairs(photos, prints), changed(photos, prints)
        if name == "choosing":
            made["chosen"] = used = bounds(far, apart)
        else:
            far["the original, of one that pid protected"] = aimed(photos)
        made[name] = {
            "groups": len({group for group, _ in photos}),
            "repeats": int(repeats(photos)),
            "false": rates(apart, used),
            "after": {
                change: {
                    "photos": len(f),
                    "sure": int(np.sum(np.array(f) <= used["sure"])),
                    "known": int(np.sum(np.array(f) <= used["likely"])),
                    "median": round(float(np.median(f)), 3),
                    "largest": round(float(np.max(f)), 3),
                }
                for change, f in far.items()
            },
        }
        print(name, used, made[name], flush=True)
    write_json(args.out, made | {"surroundings": surroundings(torch.device("cpu"))})


if __name__ == "__main__":
    main()
