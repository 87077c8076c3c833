"""Photos, captions and cached latents that every training script here reads.

One numpy file per quantity, memory-mapped, so that each script starts at once:

    views.npy    N x 4 x 3 x 128 x 128  uint8    centre, centre flipped, random crop, degraded
    random crop latents.npy  N x 4 x 4 x 16 x 16    float16  what the teacher (TAESD) makes of each
    view, scaled as a UNet sees it decoded.npy  N x 2 x 3 x 128 x 128  uint8    the teacher's
    picture of views 0 and 2 index.json   file, class, caption kind of each view, held out or not

Run: python training/data.py --photos CALTECH101 --taesd TAESD --work WORK
"""

from __future__ import annotations

import argparse
import io
import json
import random
from pathlib import Path

import numpy as np
import torch
from loop import autocast
from numpy.lib.format import open_memmap
from PIL import Image
from teacher import Teacher
from torch import Tensor

SIDE = 128  # pixels
HELD_OUT_EVERY = 16  # one photo in 16 is never trained on
PEOPLE = ("Faces", "Faces_easy")

NAMES = {  # class folders whose plain reading would mislead
    "Faces": "person",
    "Faces_easy": "person",
    "Leopards": "leopard",
    "Motorbikes": "motorbike",
    "airplanes": "airplane",
    "car_side": "car",
    "cougar_body": "cougar",
    "cougar_face": "cougar face",
    "crocodile_head": "crocodile head",
    "flamingo_head": "flamingo head",
    "garfield": "garfield cartoon cat",
    "snoopy": "snoopy cartoon dog",
    "water_lilly": "water lily",
    "yin_yang": "yin yang symbol",
    "binocular": "pair of binoculars",
    "gerenuk": "gerenuk antelope",
    "hawksbill": "hawksbill turtle",
    "headphone": "pair of headphones",
    "scissors": "pair of scissors",
    "mayfly": "mayfly",
    "wild_cat": "wild cat",
}

CLEAN = (
    "a photo of {a}",
    "a photo of {a}",
    "a photo of {n}",
    "a photo of the {n}",
    "photo of {a}",
    "{a}",
    "a picture of {a}",
    "an image of {a}",
    "a good photo of {a}",
    "a dslr photo of {a}",
    "a nice photo of {a}",
    "a photograph of {a}",
    "a cropped photo of {a}",
    "a small picture of {a}",
    "one {n}",
    "this is {a}",
    "a color photo of {a}",
    "a sharp photo of {a}",
    "a high quality photo of {a}",
    "a photo of {a}, high quality",
    "a clean photo of {a}",
    "a realistic photo of {a}",
)
PORTRAIT = (
    "a portrait of {a}",
    "a portrait photo of {a}",
    "a dslr portrait of {a}",
    "a dslr portrait photo of {a}",
    "a photo of the face of {a}",
    "a close-up photo of {a}",
    "a close-up portrait of {a}",
    "a headshot of {a}",
    "a selfie photo of {a}",
    "a photo of a face",
    "a photo of {a}, close-up",
    "a portrait of {n}",
    "portrait photo of {a}, high quality",
)
CLOSE_UP = (
    "a close-up photo of {a}",
    "a close-up of {a}",
    "a photo of {a}, close-up",
    "a zoomed photo of {a}",
)
DEGRADED = {
    "noise": (
        "a noisy photo of {a}",
        "a photo of {a} with noisy pattern",
        "a photo of {a} with noise",
        "a noisy picture of {a}",
        "a low quality, noisy photo of {a}",
        "a photo of {a}, noisy pattern",
        "a noisy image of {n}",
    ),
    "blur": (
        "a blurry photo of {a}",
        "a blurry picture of {a}",
        "a low quality, blurry photo of {a}",
        "a blurred photo of {a}",
        "a photo of {a}, blurry",
    ),
    "jpeg": (
        "a low quality photo of {a}",
        "a jpeg compressed photo of {a}",
        "a low resolution photo of {a}",
        "a bad photo of {a}",
        "a photo of {a}, low quality",
        "a low quality picture of {a}",
    ),
}
DEGRADATIONS = ("gaussian", "sign", "blur", "jpeg")
CAPTION_OF = {"gaussian": "noise", "sign": "noise", "blur": "blur", "jpeg": "jpeg"}


def name_of(folder: str) -> str:
    return NAMES.get(folder, folder.replace("_", " ").lower())


def captions(folder: str, kind: str) -> list[str]:
    """Every caption a view of `kind` ("clean", "close" or a degradation) of a class folder may
    carry."""
    name = name_of(folder)
    article = f"an {name}" if name[0] in "aeiou" else f"a {name}"
    if kind in CAPTION_OF:
        templates = DEGRADED[CAPTION_OF[kind]]
    elif folder == "Faces_easy":
        templates = PORTRAIT * 2 + CLEAN
    else:
        templates = CLOSE_UP * 3 + CLEAN if kind == "close" else CLEAN
    return [t.format(a=article, n=name) for t in templates]


def all_captions(folders: list[str]) -> list[str]:
    kinds = ("clean", "close", *DEGRADATIONS)
    return sorted({c for f in folders for k in kinds for c in captions(f, k)})


def degrade(image: Image.Image, kind: str, rng: random.Random) -> Image.Image:
    """One of four visible degradations, its strength drawn from a range in which the caption is
    true to the eye."""
    if kind == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(5, 22))
        return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
    if kind == "blur":
        small = round(image.width / rng.uniform(2.5, 5))
        return image.resize((small, small), Image.Resampling.BOX).resize(
            image.size, Image.Resampling.BICUBIC
        )
    noise = np.random.default_rng(rng.getrandbits(32))
    pixels = np.asarray(image, np.float32)
    if kind == "gaussian":
        pixels = pixels + noise.normal(0, rng.uniform(10, 40), pixels.shape)
    else:
        pixels = pixels + rng.uniform(8, 32) * noise.choice([-1.0, 1.0], pixels.shape)
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def views(path: Path) -> tuple[np.ndarray, list[str]]:
    """The four 128 px views of one photo, 4 x 3 x 128 x 128 uint8, and their caption kinds; every
    call gives the same."""
    rng = random.Random(f"{path.parent.name}/{path.name}")
    image = Image.open(path).convert("RGB")
    short = min(image.size)

    def crop(scale: float, fx: float, fy: float) -> Image.Image:
        side = round(short * scale)
        left, top = round((image.width - side) * fx), round((image.height - side) * fy)
        return image.resize(
            (SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + side, top + side)
        )

    centre = crop(1, 0.5, 0.5)
    scale = rng.uniform(0.65, 1)
    wander = crop(scale, rng.random(), rng.random())
    kind = rng.choice(DEGRADATIONS)
    spoiled = degrade(crop(rng.uniform(0.85, 1), rng.random(), rng.random()), kind, rng)
    pictures = [centre, centre.transpose(Image.Transpose.FLIP_LEFT_RIGHT), wander, spoiled]
    pictures = [
        p if i < 2 or rng.random() < 0.5 else p.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for i, p in enumerate(pictures)
    ]
    stack = np.stack([np.asarray(p).transpose(2, 0, 1) for p in pictures])
    return stack, ["clean", "clean", "close" if scale < 0.8 else "clean", kind]


def to_unit(pixels: np.ndarray) -> Tensor:
    """n x 3 x h x w uint8 pixels as a float tensor in [0, 1], channels last in memory."""
    return (
        torch.from_numpy(np.ascontiguousarray(pixels))
        .float()
        .div(255)
        .contiguous(memory_format=torch.channels_last)
    )


def photo_files(folder: Path, held_out: bool | None = None) -> list[Path]:
    """Every photo in a fixed order, or only those that are (or are not) held out of training."""
    return [
        f
        for i, f in enumerate(sorted(folder.glob("*/*.jpg")))
        if held_out in (None, i % HELD_OUT_EVERY == 7)
    ]


def row_of(number: int, path: Path, kinds: list[str]) -> dict:
    """What the index says of photo `number`."""
    return {
        "file": f"{path.parent.name}/{path.name}",
        "folder": path.parent.name,
        "kinds": kinds,
        "held_out": number % HELD_OUT_EVERY == 7,
    }


def load_index(work: Path) -> list[dict]:
    return json.loads((work / "index.json").read_text())


def sampling_weights(index: list[dict]) -> np.ndarray:
    """Probability of each training photo: rare classes raised (n^0.75 a class), portraits weighted
    up; 0 if held out."""
    counts: dict[str, int] = {}
    for row in index:
        counts[row["folder"]] = counts.get(row["folder"], 0) + 1
    boost = {"Faces_easy": 4.0, "Faces": 2.0}
    weights = np.array(
        [
            0.0 if r["held_out"] else boost.get(r["folder"], 1) * counts[r["folder"]] ** -0.25
            for r in index
        ]
    )
    return weights / weights.sum()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--taesd", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    files = photo_files(args.photos)
    n = len(files)
    pixels = open_memmap(args.work / "views.npy", "w+", np.uint8, (n, 4, 3, SIDE, SIDE))
    index = []
    for i, path in enumerate(files):
        pixels[i], kinds = views(path)
        index.append(row_of(i, path, kinds))
    teacher = Teacher(args.taesd)
    latents = open_memmap(
        args.work / "latents.npy", "w+", np.float16, (n, 4, 4, SIDE // 8, SIDE // 8)
    )
    decoded = open_memmap(args.work / "decoded.npy", "w+", np.uint8, (n, 2, 3, SIDE, SIDE))
    with torch.no_grad(), autocast():
        for i in range(0, n, 8):
            z = (
                teacher.encode(to_unit(pixels[i : i + 8].reshape(-1, 3, SIDE, SIDE)))
                .float()
                .unflatten(0, (-1, 4))
            )
            latents[i : i + 8] = z.half().numpy()
            pictures = (
                teacher.decode(z[:, [0, 2]].flatten(0, 1))
                .float()
                .mul(255)
                .round()
                .byte()
                .unflatten(0, (-1, 2))
            )
            decoded[i : i + 8] = pictures.numpy()
            if i % 400 == 0:
                print(f"{i} of {n} photos", flush=True)
    (args.work / "index.json").write_text(json.dumps(index))


if __name__ == "__main__":
    main()
