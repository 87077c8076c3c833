"""How much of the protection `learned` is left after somebody took it off.

The purifiers: `subtract`, which knows the patterns or not, and a network that has learned from
photos with other patterns.

    python benchmarks/blind.py --photos FOLDER [--weights MINE ...] [--network NET]
        [--sizes 128 256 512]

Photos are made so many pixels on the shorter side, protected, and purified. What is left: root mean
square of the change that remains, in shares of the protection's. `--weights` names folders that
`cloakwork learn-pattern` wrote; the package's own patterns are always among them. `--network` is
one that `cloakwork train-purifier` wrote, for instance against `turned.py`'s patterns. Into
results/blind.json; `python benchmarks/docs.py` makes the table of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from cloakwork import specs
from cloakwork.environment import surroundings
from cloakwork.files import write_json
from cloakwork.models import protector
from cloakwork.photos.folders import photo_files
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float, lanczos, to_bytes
from cloakwork.protections import learned
from cloakwork.purifiers import jpeg
from cloakwork.specs import Method
from cloakwork.state import RunState

CPU = torch.device("cpu")


def at_size(photo: Tensor, side: int) -> Tensor:
    """The photo with so many pixels on its shorter side, as a file holds it."""
    height, width = (round(n * side / min(photo.shape[-2:])) for n in photo.shape[-2:])
    return as_float(to_bytes(lanczos(photo, height, width)))


def methods(network: Path | None) -> dict[str, Method]:
    """The purifiers of the table, by their columns."""
    words = {"known": "subtract", "blind": "subtract:blind=True"}
    if network:
        words["network"] = f'learned:weights="{network}"'
    return {column: specs.parse("purifiers", word) for column, word in words.items()}


def left(photo: Tensor, weights: str, number: int, by: dict[str, Method]) -> dict[str, float]:
    """Shares that are left of one photo's protection, by purifier, without JPEG and with it."""
    rng = torch.Generator().manual_seed(number)
    cfg = learned.Config(weights=weights)
    (made,) = learned.protect([photo], [], cfg, clean=None, rng=rng, state=RunState())
    made, found = as_float(to_bytes(made)), {}
    pressed = jpeg.purify([made, photo], None, jpeg.Config(quality=75), rng=rng)
    for after, (protected, clean) in {"": (made, photo), " after JPEG 75": pressed}.items():
        for column, how in by.items():
            (pure,) = how.module.purify([protected], None, how.config, rng=rng)
            share = (pure - clean).norm() / (protected - clean).norm()
            found[column + after] = share.item()
    return found


def count(weights: str) -> int:
    """How many patterns a folder has."""
    return len(protector.load(Path(weights) if weights else protector.EMBEDDED, CPU))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--weights", nargs="*", default=[])
    parser.add_argument("--network", type=Path)
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 256, 512])
    parser.add_argument("--out", type=Path, default=Path("results/blind.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    photos = [as_float(load_photo(file).pixels) for file in photo_files(args.photos)]
    by, rows = methods(args.network), []
    for size in args.sizes:
        shown = [at_size(photo, size) for photo in photos]
        for kind, folders in {"the package's": [""], "one's own": args.weights}.items():
            each = [left(x, folder, i, by) for folder in folders for i, x in enumerate(shown)]
            for how in each[0] if each else ():
                shares = sorted(one[how] for one in each)
                rows.append(
                    {
                        "size": size,
                        "pattern": kind,
                        "purifier": how,
                        "photos": len(photos),
                        "patterns": sum(map(count, folders)),
                        "left": [round(x, 3) for x in (shares[0], median(shares), shares[-1])],
                    }
                )
                print(rows[-1], flush=True)
    write_json(args.out, {"rows": rows, "surroundings": surroundings(CPU)})


if __name__ == "__main__":
    main()
