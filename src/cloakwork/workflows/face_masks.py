"""Masks around faces: the rest of a photo stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.errors import Unscored, UserError
from cloakwork.models.faces import Faces, load_faces
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float

WIDER = 2.0  # ellipses against the detector's boxes, which go from brows to chin


@dataclass(frozen=True)
class AroundFaces:
    """An ellipse around each face that a detector finds; everywhere where it finds none.

    Attributes:
        faces: the detector.
        without: photos in which it has found none.
    """

    faces: Faces
    without: list[Path] = field(default_factory=list)

    def of(self, photo: Path) -> Tensor:
        """Return a photo's mask, 1 x H x W in {0, 1}."""
        pixels = load_photo(photo).pixels
        boxes = [face.box for face in self.faces.find(as_float(pixels))]
        if not boxes:
            if photo not in self.without:
                self.without.append(photo)
            return torch.ones(1, *pixels.shape[-2:])
        return torch.stack([ellipse(box, *pixels.shape[-2:]) for box in boxes]).amax(0)

    def __str__(self) -> str:
        return f"around faces, by {self.faces}"


def ellipse(box: tuple[float, float, float, float], height: int, width: int) -> Tensor:
    """Return 1 inside of the ellipse that is as much wider and higher than a box as `WIDER` says.

    Args:
        box: left, top, right and bottom, pixels.
        height, width: of the mask.

    >>> ellipse((2, 2, 4, 4), 6, 6)[0].int().tolist()[1]
    [0, 0, 1, 1, 0, 0]
    """
    left, top, right, bottom = box
    y = (torch.arange(height) + 0.5 - (top + bottom) / 2) / (WIDER * (bottom - top) / 2)
    x = (torch.arange(width) + 0.5 - (left + right) / 2) / (WIDER * (right - left) / 2)
    return (y[:, None].square() + x.square() <= 1).float()[None]


def around_faces() -> AroundFaces:
    """Return masks around faces.

    Raises:
        UserError: there is no detector.
    """
    try:
        return AroundFaces(load_faces())
    except Unscored as error:
        raise UserError(f"--faces needs a detector of faces. {error.reason}") from None
