"""Write an ICC profile from a colour space's primaries, white point and curve.

Files that name their colours without a profile (by EXIF, by chunks of PNG, by code points of video)
get one in the output, which every viewer reads. ICC.1:2022 calls this kind a three-component
matrix-based display profile.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

# a curve turns a stored value V into linear light: V ** g; or, of five numbers (g, a, b, c, d),
# (a V + b) ** g for V >= d and c V below
Curve = tuple[float, ...]
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
D50 = (0.9642, 1.0, 0.8249)  # XYZ of the white that profiles are told in
# long, medium and short cones by XYZ, which the adaptation to another white goes through
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
CREATOR = b"clwk"  # stands in the header, at byte 80
KIND = {1: 0, 5: 3}  # numbers of a curve -> ICC's type of parametric curve


@dataclass(frozen=True)
class Space:
    """A colour space of red, green and blue.

    Attributes:
        primaries: x and y of red, green and blue, in this order.
        white: x and y.
        curve: from stored values to linear light.
    """

    primaries: tuple[float, float, float, float, float, float]
    white: tuple[float, float]
    curve: Curve

    def matrix(self) -> np.ndarray:
        """Return the 3 x 3 matrix from linear RGB to XYZ, white's Y being 1.

        Raises:
            ValueError: the primaries span no space.
        """
        columns = _xyz(np.array(self.primaries).reshape(3, 2)).T
        if not np.isfinite(columns).all() or abs(np.linalg.det(columns)) < 1e-6:
            raise ValueError("the primaries span no colour space")
        return columns * np.linalg.solve(columns, _xyz(np.array(self.white)))


def matrix_profile(name: str, space: Space) -> bytes:
    """Return an ICC profile (version 4) of a colour space; the same bytes for the same space.

    Args:
        name: what viewers call it.
        space: the colour space.

    Raises:
        ValueError: its numbers describe no colour space, or none that a profile can hold.
    """
    if min(space.white) <= 0 or not 0 < space.curve[0] < 100:
        raise ValueError("the white point or the curve is out of range")
    adapted = _adaptation(space.white)
    curve = b"para" + bytes(4) + struct.pack(">HH", KIND[len(space.curve)], 0)
    curve += _fixed(space.curve)
    tags = {
        b"desc": _text(name),
        b"cprt": _text("No copyright"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(D50),
        b"chad": b"sf32" + bytes(4) + _fixed(adapted.flatten()),
    }
    for colour, xyz in zip((b"r", b"g", b"b"), (adapted @ space.matrix()).T, strict=True):
        tags[colour + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(xyz)
        tags[colour + b"TRC"] = curve
    return _assembled(tags)


def is_made(icc: bytes | None) -> bool:
    """Return whether a profile is one that `matrix_profile` made."""
    return icc is not None and icc[80:84] == CREATOR


def _xyz(xy: np.ndarray) -> np.ndarray:
    """Return X, Y = 1 and Z of chromaticities, ... x 2; those of y = 0 are infinite.

    >>> _xyz(np.array([0.25, 0.5])).tolist()
    [0.5, 1.0, 0.5]
    """
    x, y = xy[..., 0], xy[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([x / y, np.ones_like(x), (1 - x - y) / y], -1)


def _adaptation(white: tuple[float, float]) -> np.ndarray:
    """Return the 3 x 3 matrix of XYZ that takes a white to D50 (Bradford)."""
    cones = BRADFORD @ D50 / (BRADFORD @ _xyz(np.array(white)))
    return np.linalg.solve(BRADFORD, cones[:, None] * BRADFORD)


def _fixed(values: np.ndarray | tuple[float, ...]) -> bytes:
    """Return numbers as ICC's s15Fixed16.

    Raises:
        ValueError: one is out of its range.

    >>> _fixed((1.0, -0.5)).hex()
    '00010000ffff8000'
    """
    scaled = np.rint(np.asarray(values, float) * 65536)
    if not (np.abs(scaled) < 2**31).all():
        raise ValueError("a number is out of range")
    return scaled.astype(">i4").tobytes()


def _text(text: str) -> bytes:
    """Return a text, said to be English, as ICC's multiLocalizedUnicode."""
    content = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(content), 28) + content


def _assembled(tags: dict[bytes, bytes]) -> bytes:
    """Return a profile of tags: header, table, contents; equal contents are stored once."""
    table, body, places = b"", b"", {}
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, places[content], len(content))
    head = struct.pack(
        ">I4s4s4s4s4s6H4s4s",
        start + len(body),
        bytes(4),
        b"\4\x40\0\0",
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2024, 1, 1, 0, 0, 0),  # a date there has to be, and the bytes are not to change
        b"acsp",
        bytes(4),
    )
    head = head.ljust(68, b"\0") + _fixed(D50) + CREATOR
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
