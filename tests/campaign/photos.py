"""Damaged photos: what becomes of a file after a blow, over formats and kinds of blows.

A photo loads, or it is refused with one sentence on one line. All else is a fault: another
exception, a warning, words on the terminal, a photo that is written back otherwise than it was
read, too long a wait.
"""

from __future__ import annotations

import io
import os
import random
import signal
import struct
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from cloakwork.errors import UserError
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.saving import FORMATS, save_photo

SECONDS = 20  # for a photo of 6,000 pixels, read and written in every format
WRITTEN = 4  # every fourth photo that loads is written back
LOSSY = ("JPEG", "WEBP")
CLAIMS = (0, 1, 63, 255, 14142, 65535)  # sides that a header may claim

Blow = Callable[[bytes, random.Random], bytes]


def run(seed: int, count: int, folder: Path) -> Counter[str]:
    """Strike photos, and count what became of them.

    Args:
        seed: decides every blow.
        count: of photos.
        folder: for the photos; those with a fault stay there.

    Returns:
        Outcome -> how often: "loaded", "refused", and faults, which begin with "FAULT".
    """
    rng, outcomes = random.Random(seed), Counter[str]()
    for number, (name, content) in zip(range(count), cycle(bases()), strict=False):
        path = folder / f"{seed}-{number}-{name}"
        path.write_bytes(rng.choice(BLOWS)(content, rng))
        result, detail = outcome(path, folder, written=number % WRITTEN == 0)
        outcomes[result] += 1
        if detail:
            print(f"{path.name}: {result}: {detail}", flush=True)
        else:
            path.unlink()
    return outcomes


def outcome(path: Path, folder: Path, *, written: bool) -> tuple[str, str]:
    """Read a photo, and write it back if asked.

    Returns:
        What came of it, and what exactly, where that is a fault.
    """
    try:
        with _alarm(), _printed() as printed, warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                photo = load_photo(path)
            except UserError as error:
                result = ("refused", "") if _plain(error) else ("FAULT: several lines", str(error))
            else:
                result = _write_back(photo, folder) if written else ("loaded", "")
        return ("FAULT: printed", printed[0]) if printed else result
    except Exception as error:
        return f"FAULT: {type(error).__name__}", str(error)


def _plain(error: UserError) -> bool:
    """Return whether a refusal is one sentence on one line."""
    return len(error.sentences) == 1 and str(error).isprintable()


def _write_back(photo: Photo, folder: Path) -> tuple[str, str]:
    """Write a photo in every format, and read it again; see `outcome`."""
    for suffix, format in FORMATS.items():
        path = folder / f"back{suffix}"
        try:
            save_photo(photo.pixels, photo, path, force=True)
        except UserError as error:
            if not _plain(error):
                return "FAULT: several lines", str(error)
            continue
        back = load_photo(path)
        path.unlink()
        if back.pixels.shape != photo.pixels.shape:
            return "FAULT: another size", suffix
        if format not in LOSSY and not torch.equal(back.pixels, photo.pixels):
            return "FAULT: other pixels", suffix
    return "loaded", ""


@contextmanager
def _alarm() -> Iterator[None]:
    """Raise TimeoutError where a photo takes too long."""

    def late(*_: object) -> None:
        raise TimeoutError(f"over {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _printed() -> Iterator[list[str]]:
    """Collect what libraries in C print on the terminal, past Python; it is known at the end."""
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            said += file.read().decode(errors="replace").split("\n")[:-1]


def bases() -> list[tuple[str, bytes]]:
    """Make sound photos of every format that is read, with and without metadata."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    ramp = np.add.outer(np.arange(66), np.arange(90))
    rgb = Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2 + 60], -1).astype(np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(rgb.convert("L"))
    exif, text = Image.Exif(), PngInfo()
    exif[Base.Orientation], exif[Base.Artist] = 6, "Ada"
    exif[IFD.Exif] = {Base.DateTimeOriginal: "2026:01:01 10:00:00"}
    text.add_text("Author", "Ada")
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    block = exif.tobytes()
    described = {"exif": block, "dpi": (300, 300)}
    kinds: list[tuple[str, Image.Image, str, dict[str, object]]] = [
        ("plain.jpg", rgb, "JPEG", {}),
        ("described.jpg", rgb, "JPEG", described | {"comment": b"hello"}),
        ("progressive.jpg", rgb, "JPEG", {"progressive": True}),
        ("grey.jpg", rgb.convert("L"), "JPEG", {}),
        ("cmyk.jpg", rgb.convert("CMYK"), "JPEG", {}),
        ("plain.png", rgb, "PNG", {}),
        ("described.png", rgba, "PNG", described | {"pnginfo": text}),
        ("palette.png", rgb.convert("P"), "PNG", {"transparency": 3}),
        ("bits.png", rgb.convert("1"), "PNG", {}),
        ("plain.webp", rgb, "WEBP", {"exif": block}),
        ("clear.webp", rgba, "WEBP", {"lossless": True}),
        ("plain.tif", rgb, "TIFF", {"dpi": (300, 300)}),
        ("packed.tif", rgba, "TIFF", {"compression": "tiff_lzw"}),
        ("deflated.tif", rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("plain.bmp", rgb, "BMP", {}),
        ("plain.heic", rgb, "HEIF", {"exif": block}),
        ("plain.avif", rgb, "AVIF", {"exif": block}),
    ]
    return [(name, _encoded(image, format, options)) for name, image, format, options in kinds]


def _encoded(image: Image.Image, format: str, options: dict[str, object]) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def flip(content: bytes, rng: random.Random) -> bytes:
    """Turn one to eight bits over, half the time near the beginning."""
    struck = bytearray(content)
    end = rng.choice([min(200, len(struck)), len(struck)])
    for _ in range(rng.randint(1, 8)):
        struck[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(struck)


def noise(content: bytes, rng: random.Random) -> bytes:
    """Put random bytes in the place of up to 64."""
    at, n = rng.randrange(len(content)), rng.randint(1, 64)
    return content[:at] + rng.randbytes(n) + content[at + n :]


def zeros(content: bytes, rng: random.Random) -> bytes:
    """Put zeros in the place of up to 512 bytes, as a bad disk does."""
    at, n = rng.randrange(len(content)), rng.randint(1, 512)
    return content[:at] + bytes(n) + content[at + n :]


def cut(content: bytes, rng: random.Random) -> bytes:
    """Cut a file short, as a broken transfer does."""
    return content[: rng.randrange(len(content))]


def drop(content: bytes, rng: random.Random) -> bytes:
    """Take a piece out."""
    at = rng.randrange(len(content))
    return content[:at] + content[at + rng.randint(1, 300) :]


def double(content: bytes, rng: random.Random) -> bytes:
    """Say a piece twice."""
    at = rng.randrange(len(content))
    end = at + rng.randint(1, 300)
    return content[:end] + content[at:end] + content[end:]


def claim(content: bytes, rng: random.Random) -> bytes:
    """Put another side in the place of the picture's own, wherever a header may tell it."""
    ways = [struct.pack(f, side) for side in (66, 90) for f in (">H", "<H", ">I", "<I")]
    found = [way for way in ways if way in content[:2000]]
    if not found:
        return flip(content, rng)
    way = rng.choice(found)
    side = rng.choice(CLAIMS).to_bytes(len(way), rng.choice(("big", "little")))
    return content.replace(way, side, rng.randint(1, 2))


def number(content: bytes, rng: random.Random) -> bytes:
    """Put an extreme number where a length or an offset may stand."""
    at = rng.randrange(max(1, min(len(content), 1000) - 4))
    extreme = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\x00\x00\x00\x01"])
    return content[:at] + extreme + content[at + 4 :]


def tail(content: bytes, rng: random.Random) -> bytes:
    """Append another file, or rubbish."""
    return content + (content if rng.random() < 0.5 else rng.randbytes(rng.randint(1, 2000)))


BLOWS: list[Blow] = [flip, noise, zeros, cut, drop, double, claim, number, tail]
