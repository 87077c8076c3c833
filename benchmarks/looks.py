"""How protected pictures look: portraits, sky and fur, two flat drawings, two large photos.

    python benchmarks/looks.py --portraits FOLDER [--vgg FOLDER] [--protection pid:tiny:steps=30]
    [--sheets FOLDER]

Each picture is protected alone at the budgets of the papers and at the strengths that follow it.
The drawings and the large photos are made here: the former of plain shapes, the latter from sample
photos, enlarged to 3000 px and given a sensor's grain. LPIPS, DISTS (with --vgg, a VGG16 that
training/convert_dists.py writes), PSNR and the change in just-noticeable differences go into
results/looks.json; `python benchmarks/docs.py` makes the table of it. --sheets: crops at 100 %, to
be looked at (not inside the repository: they show people).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from cloakwork import specs
from cloakwork.environment import surroundings
from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.metrics import dists, lpips, noticed, psnr
from cloakwork.photos.folders import photo_files
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float, from_pil, pixels_of_pil, to_bytes, to_pil
from cloakwork.workflows.images import protect_images

UNIFORM = (4, 8, 11, 16)
FOLLOWING = ("faint", "normal", "strong")
MOST = 16  # budget of what follows the photo
LARGE = 3000  # px, long side
GRAIN = 2.5  # levels, standard deviation
CROP = 320  # px of a sheet


def drawings() -> dict[str, torch.Tensor]:
    """Two flat drawings, 512 x 512: shapes with outlines on white, and bands of colour."""
    shapes, bands = Image.new("RGB", (512, 512), "white"), Image.new("RGB", (512, 512), "#f4ead5")
    pen = ImageDraw.Draw(shapes)
    pen.ellipse((80, 80, 430, 430), fill="#fac83c", outline="black", width=6)
    pen.rectangle((200, 160, 310, 440), fill="#3c6ec8", outline="black", width=5)
    pen.line((0, 480, 512, 400), fill="#14783c", width=14)
    pen = ImageDraw.Draw(bands)
    for i, colour in enumerate(("#e63946", "#f1faee", "#a8dadc", "#457b9d", "#1d3557")):
        pen.polygon(
            [(0, 90 * i + 40), (512, 90 * i), (512, 90 * i + 60), (0, 90 * i + 100)], colour
        )
    return {"drawing of shapes": pixels_of_pil(shapes), "drawing of bands": pixels_of_pil(bands)}


def large() -> dict[str, torch.Tensor]:
    """Two photos of 3000 px: enlarged sample photos with the grain that a sensor adds."""
    made = {}
    for name in ("rocket.jpg", "coffee.png"):
        photo = Image.open(SAMPLE_PHOTOS / name).convert("RGB")
        scale = LARGE / max(photo.size)
        size = (round(photo.width * scale), round(photo.height * scale))
        x = from_pil(photo.resize(size, Image.Resampling.LANCZOS))
        grain = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        made[f"{Path(name).stem}, 3000 px"] = to_bytes((x + GRAIN / 255 * grain).clamp(0, 1))
    return made


def measure(pixels: torch.Tensor, original: torch.Tensor, vgg: str) -> dict[str, float]:
    """How far one picture (3 x H x W, uint8) is from its original."""
    a, b = [as_float(pixels)], [as_float(original)]
    found = {
        "lpips": lpips.score(a, b, None, lpips.Config()),
        "psnr": psnr.score(a, b, None, psnr.Config()),
        "noticed": noticed.score(a, b, None, noticed.Config()),
    }
    if vgg:
        found["dists"] = dists.score(a, b, None, dists.Config(vgg))
    return {name: round(value.item(), 4) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--portraits", type=Path, required=True, help="folder of photos of people")
    parser.add_argument("--most", type=int, default=2, help="portraits")
    parser.add_argument("--vgg", default="", help="folder of a VGG16, for DISTS")
    parser.add_argument("--protection", default="pid:tiny:steps=30,step=1")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/looks.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = photo_files(args.portraits)[: args.most]
    pictures = {f"portrait {i + 1}": load_photo(f).pixels for i, f in enumerate(files)}
    pictures |= {
        name: load_photo(SAMPLE_PHOTOS / file).pixels
        for name, file in (("sky", "rocket.jpg"), ("fur", "chelsea.png"))
    }
    pictures |= drawings() | large()
    looks = [{"budget": b, "strength": "uniform"} for b in UNIFORM]
    looks += [{"budget": MOST, "strength": s} for s in FOLLOWING]
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[torch.Tensor]] = {name: [p] for name, p in pictures.items()}
    base = specs.parse("protections", args.protection, ("tiny",))
    for look in looks:
        for name, pixels in pictures.items():
            method = replace(base, config=replace(base.config, **look))
            (made,) = protect_images([pixels], method)
            found = {"picture": name} | look | measure(made, pixels, args.vgg)
            rows.append(found)
            shown[name].append(made)
            print(found, noticed.word(found["noticed"]), flush=True)
    write_json(args.out, _made(args.protection, rows))
    if args.sheets:
        args.sheets.mkdir(parents=True, exist_ok=True)
        for name, row in shown.items():
            _sheet(row).save(args.sheets / f"{name.replace(' ', '-')}.png")


def _made(protection: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "protection": protection,
        "surrogate": "tiny",
        "rows": rows,
        "surroundings": surroundings(torch.device("cpu")),
    }


def _sheet(row: list[torch.Tensor]) -> Image.Image:
    """The middle of each picture at 100 %, the original first."""
    height, width = row[0].shape[-2:]
    side = min(CROP, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    sheet = Image.new("RGB", (side * len(row), side))
    for i, pixels in enumerate(row):
        crop = as_float(pixels[:, top : top + side, left : left + side])
        sheet.paste(to_pil(crop), (side * i, 0))
    return sheet


if __name__ == "__main__":
    main()
