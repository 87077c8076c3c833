"""The contact sheets of `protect`: what it changed, and how much of that is seen as colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cloakwork.metrics import ciede2000
from cloakwork.photos.photo import load_photo
from cloakwork.photos.sheets import ROWS, contact_sheet, gain_for, heat, thumbnail
from cloakwork.types import Photos
from cloakwork.workflows.records import SetRecord

# CIEDE2000 that is white in the map, on every sheet: about 1 is just noticeable, and the usual
# budget without a strength comes near the white
WHITE = 20


def before_and_after(
    names: Sequence[str], originals: Photos, protected: Photos, budget: float, path: Path
) -> None:
    """Write the contact sheet of protected photos, with a map of the colour difference.

    Args:
        names: of the photos.
        originals, protected: thumbnails (see `sheets.thumbnail`), 3 x h x w in [0, 1].
        budget: 1/255; a change of that much fills the range of the difference.
        path: of the PNG.
    """
    pairs = zip(protected, originals, strict=True)
    maps = [heat(ciede2000.by_pixel(a, b) / WHITE) for a, b in pairs]
    contact_sheet(
        names,
        {"original": originals, "protected": protected},
        gain_for(budget),
        path,
        further={f"colour difference (Delta E), white: {WHITE}": maps},
    )


def overview(results: Sequence[SetRecord], budget: float, path: Path) -> None:
    """Write one contact sheet over many sets: the first photo of each."""
    first = [r.photos[0] for r in results[:ROWS]]
    before, after = (
        [thumbnail(load_photo(f).pixels) for f in files]
        for files in ([p.original for p in first], [p.output for p in first])
    )
    names = [str(p.output.relative_to(path.parent.parent)) for p in first]
    before_and_after(names, before, after, budget, path)
