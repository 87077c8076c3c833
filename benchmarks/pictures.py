"""The documents' pictures, from the sample photos and from results/.

    python benchmarks/pictures.py row        (docs/pictures/row.png: some minutes)
    python benchmarks/pictures.py results    (results, red-team, findings, strengths: at once)

`row` protects the cat and the cup by the strongest protection and edits them by `sdedit` on `tiny`:
the original, the protected photo, and the protected photo after Real-ESRGAN. `results`
draws what three attackers get (also as PNG, for the README), what purifiers leave, what an
attacker with other habits gets, and what the strengths buy. `make pictures` makes all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import docs
import torch
from PIL import Image, ImageDraw, ImageFont

from cloakwork import specs
from cloakwork.benchmark.report import write
from cloakwork.evaluation import figures
from cloakwork.evaluation.statistics import Estimate
from cloakwork.files import SAMPLE_PHOTOS, atomic_write
from cloakwork.models import upscalers
from cloakwork.models.loading import load
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float, to_pil
from cloakwork.state import RunState
from cloakwork.types import Photos
from cloakwork.workflows.images import protect_images, purify_images

PICTURES = Path("docs/pictures")
SHOWN = {"chelsea.png": "a photo of a cat", "coffee.png": "a photo of a cup"}
PROTECTION = "cloakwork"
EDIT = "sdedit:tiny:strengths=0.3"
PURIFIER = "codesr"
SIDE, GAP, HEAD = 224, 8, 34  # pixels
CONTROLS = {"none": "clean photos", "noise": "random noise"}
# attackers of the table of purifiers, in words
PURIFIED = {
    "lean": "no purifier",
    "jpeg": "JPEG 75",
    "codesr": "Real-ESRGAN",
    "gridpure": "GrIDPure",
}
# the default's strengths, in words
LOUDNESS = {
    "pid": "11 everywhere",
    "pid:tiny:budget=8": "8 everywhere",
    **{f"pid:tiny:strength={name}": name for name in ("faint", "normal", "strong")},
}
BEST = ("none", "noise", "pid", "fsmg", "simac", "cloakwork")


def row() -> None:
    """Original, protected, and an edit of each, and of the protected one after the purifier."""
    upscalers.load("realesrgan")  # what lacks is told before anything is computed
    photos = [as_float(load_photo(SAMPLE_PHOTOS / name).pixels) for name in SHOWN]
    protected = [x for p in photos for x in protect_images([p], PROTECTION, device="cpu")]
    purified = [x for p in protected for x in purify_images([p], PURIFIER, device="cpu")]
    columns = {
        "original": photos,
        "protected": protected,
        "edit of the original": edits(photos),
        "edit of the protected": edits(protected),
        "the same after Real-ESRGAN": edits(purified),
    }
    save(sheet(columns), PICTURES / "row.png")


def edits(photos: Photos) -> Photos:
    """Each photo edited under its own text."""
    victim, method = load("tiny", "cpu"), specs.parse("attackers", EDIT)
    return [
        method.module.attack(
            [photo],
            victim,
            method.config,
            [prompt],
            rng=torch.Generator().manual_seed(0),
            state=RunState(),
        )[0]
        for photo, prompt in zip(photos, SHOWN.values(), strict=True)
    ]


def sheet(columns: Mapping[str, Photos]) -> Image.Image:
    """A column a name and a line a photo, as a loader shows them."""
    lines = len(next(iter(columns.values())))
    size = (len(columns) * (SIDE + GAP) - GAP, HEAD + lines * (SIDE + GAP) - GAP)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    for i, (name, photos) in enumerate(columns.items()):
        draw.text((i * (SIDE + GAP) + 2, 7), name, "#333333", font)
        for j, picture in enumerate(photos):
            square = to_pil(preprocess([picture], min(picture.shape[-2:]))[0])
            place = (i * (SIDE + GAP), HEAD + j * (SIDE + GAP))
            canvas.paste(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS), place)
    return canvas


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        picture.save(part, "PNG", optimize=True)


def results(folder: Path = PICTURES) -> None:
    """The documents' figures of what attackers get."""
    folder.mkdir(parents=True, exist_ok=True)
    axis = "match rate, with 95 % intervals; less is better"
    by_protection = match_rates("best")
    figures.dots(
        folder / "results",
        {CONTROLS.get(name, name): by_protection[name] for name in BEST},
        title="Share of an attacker's pictures that show the person: tiny, six people, two seeds",
        axis=axis,
    )
    purified = {
        CONTROLS.get(name, name): {
            PURIFIED[who]: rate for who, rate in rates.items() if who in PURIFIED
        }
        for name, rates in match_rates("purifiers").items()
    }
    figures.dots(
        folder / "red-team",
        purified,
        title="What attackers get after purifiers: tiny, six people, one seed",
        axis=axis,
    )
    by_habit: dict[str, dict[str, Estimate]] = {}
    for name, rates in match_rates("mismatch").items():
        for habit, rate in rates.items():
            by_habit.setdefault(habit, {})[CONTROLS.get(name, name)] = rate
    figures.dots(
        folder / "findings",
        by_habit,
        title="An attacker with other habits: tiny, six people, one seed",
        axis=axis,
    )
    strengths(folder / "strengths")
    for name in ("red-team", "findings", "strengths"):  # only the README asks for a PNG
        (folder / name).with_suffix(".png").unlink()


def strengths(path: Path) -> None:
    """What each strength of the default leaves an attacker, against how much it shows."""
    (table,) = write.read(Path("results/tiny/strengths.json")).tables
    match = {name: cell.mean for (name, _), cell in docs.leading(table).items() if cell.mean}
    figures.plane(
        path,
        {label: (table.stealth[name]["lpips"], match[name]) for name, label in LOUDNESS.items()},
        title="What a strength shows and what it buys: pid on tiny, six people, one seed",
        axes=("LPIPS to the original; less is seen less", "match rate; less is better"),
        levels={"clean photos": match["none"], "random noise of 11": match["noise 11"]},
    )


def match_rates(name: str) -> dict[str, dict[str, Estimate]]:
    """A table's first metric, by protection and attacker."""
    (table,) = write.read(Path(f"results/tiny/{name}.json")).tables
    return {
        protection: {
            cell.threat_model: cell.mean
            for cell in table.cells
            if cell.protection == protection and cell.metric == table.metrics[0] and cell.mean
        }
        for protection in table.protections
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("row", "results"), nargs="*", default=["row", "results"])
    torch.set_num_threads(1)
    for what in parser.parse_args().what:
        {"row": row, "results": results}[what]()


if __name__ == "__main__":
    main()
