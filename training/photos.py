"""Sample photos for the package, from the registry package scikit-image, with their licences as its
docstrings state them.

The docstrings are read with `ast`; a photo whose docstring does not free it ("public domain" or
"CC0") stops the script. Files up to 500 kB are copied as they are; larger ones are encoded again as
JPEG 95.

Run: python training/photos.py --out src/cloakwork/assets/sample_photos
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import importlib.util
import re
import shutil
from pathlib import Path

from PIL import Image

PHOTOS = {  # file: (function of skimage.data that documents it, what it shows)
    "astronaut.png": ("astronaut", "Eileen Collins, astronaut; a portrait by NASA"),
    "chelsea.png": ("chelsea", "a cat, by Stéfan van der Walt"),
    "coffee.png": ("coffee", "a cup of coffee, by Rachel Michetti"),
    "rocket.jpg": ("rocket", "launch of a Falcon 9 rocket, by SpaceX"),
    "retina.jpg": ("retina", "a human retina, by Mikael Häggström"),
}
LARGE = 500_000  # bytes

HEAD = """# Sample photos

A smoke set: enough to see that everything runs, far too small to measure anything with. \
One photo each of unrelated subjects.
All come from the Python package scikit-image {version} (`skimage/data`); \
what it says about each is quoted.

| file | shows | size | stored | what scikit-image says |
|---|---|---|---|---|
"""
FOOT = """
NASA asks that its material not be used to suggest that NASA endorses a product; \
the same courtesy is owed to the person shown.
Nothing here suggests it.
"""


def licence(docstring: str) -> str:
    """The paragraph of a docstring that frees the photo, on one line."""
    for paragraph in docstring.split("\n\n"):
        if any(word in paragraph for word in ("public domain", "CC0")):
            text = " ".join(paragraph.removeprefix("Notes\n-----\n").split())
            return re.sub(r"`([^`<]+?) *<([^>]+)>`_*", r"[\1](\2)", text)
    raise SystemExit(f"No licence found in: {docstring}")


def store(source: Path, out: Path) -> tuple[Path, str]:
    """Copy a photo, or encode it again where it is large; returns the file and what was done."""
    if source.stat().st_size <= LARGE:
        return Path(shutil.copyfile(source, out / source.name)), "as it was"
    target = out / f"{source.stem}.jpg"
    with Image.open(source) as image:
        image.convert("RGB").save(target, quality=95, subsampling=0)
    return target, f"JPEG 95, was {source.suffix[1:].upper()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise SystemExit("scikit-image is not installed: pip install scikit-image")
    package = Path(spec.origin).parent
    module = ast.parse((package / "data" / "_fetchers.py").read_text())
    docstrings = {
        f.name: ast.get_docstring(f) or "" for f in module.body if isinstance(f, ast.FunctionDef)
    }
    rows, total = [], 0
    for name, (function, shows) in PHOTOS.items():
        said = licence(docstrings[function])
        file, how = store(package / "data" / name, args.out)
        with Image.open(file) as image:
            rows.append(
                f"| {file.name} | {shows} | {image.width} x {image.height} | {how} | {said} |\n"
            )
        total += file.stat().st_size
    head = HEAD.format(version=importlib.metadata.version("scikit-image"))
    (args.out / "SOURCES.md").write_text(head + "".join(rows) + FOOT)
    print(f"{len(rows)} photos, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
