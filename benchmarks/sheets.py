"""A contact sheet for each protection and quick purifier, for its page on the site.

    python benchmarks/sheets.py [NAME ...]      (docs/pictures/methods/: some minutes)

A protection's sheet is the original, the protected photo, and their difference; a purifier's is
what `pid` protected, that photo purified, and what the purifier changed. The photo is the cat of
the sample photos. `sheets.json` beside them says what each was made with; methods that take long
run with fewer steps.
"""

from __future__ import annotations

import argparse
from functools import cache

import pictures
import torch
from torch import Tensor

from cloakwork import registry
from cloakwork.files import SAMPLE_PHOTOS, atomic_write, read_json, write_json
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.workflows.images import protect_images, purify_images

FOLDER = pictures.PICTURES / "methods"
SIDE = 256  # pixels of the photo's square
LEVELS = 32  # 1/255: a change of that much is white or black in a difference
FEWER = {
    "ace": "ace:tiny:outer=2",
    "aspl": "aspl:tiny:outer=10",
    "simac": "simac:tiny:outer=10",
    "cloakwork": "cloakwork:tiny:outer=10",
    "metacloak": "metacloak:tiny:steps=20,surrogate_steps=40",
    "fsmg": "fsmg:tiny:surrogate_steps=60",
}
# minutes a photo on one core
SLOW = ("impress",)


def photo() -> Tensor:
    """The cat's face."""
    whole = as_float(load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels)
    return whole[:, 20 : 20 + SIDE, 96 : 96 + SIDE]


@cache
def protected() -> Tensor:
    """What purifiers are given."""
    (after,) = protect_images([photo()], "pid", device="cpu")
    return after


def difference(before: Tensor, after: Tensor) -> Tensor:
    """What changed, around grey."""
    return (0.5 + (after - before) * 255 / (2 * LEVELS)).clamp(0, 1)


def make(kind: str, name: str) -> str:
    """Write a sheet, and return what it was made with."""
    if kind == "protections":
        spec = FEWER.get(name, name)
        before = photo()
        (after,) = protect_images([before], spec, device="cpu")
        columns = {"original": [before], "protected": [after]}
    else:
        spec = name
        before = protected()
        (after,) = purify_images([before], spec, device="cpu")
        columns = {"protected by pid": [before], "purified": [after]}
    columns["difference"] = [difference(before, after)]
    path = FOLDER / f"{kind}-{name}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        pictures.sheet(columns).save(part, "WEBP", quality=82, method=6)
    return spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="only these methods")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    told = FOLDER / "sheets.json"
    for kind in ("protections", "purifiers"):
        for name, _ in registry.listing(kind):
            if name not in SLOW and (not names or name in names):
                made = read_json(told) if told.is_file() else {}
                made.setdefault(kind, {})[name] = make(kind, name)
                write_json(told, made)
                print(kind, name, flush=True)


if __name__ == "__main__":
    main()
