"""colour: what files say of their colours without a profile is kept, refused or noted."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

from cloakwork.errors import UserError
from cloakwork.photos.colour import ADOBE, CURVES, PRIMARIES, SRGB
from cloakwork.photos.photo import load_photo
from cloakwork.photos.profiles import Space, matrix_profile
from cloakwork.photos.saving import save_photo

COLOURS = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
PICTURE = Image.fromarray(COLOURS)
# XYZ of red, green and blue under D50, as published for these two spaces
ADOBE_XYZ = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3_XYZ = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB_XYZ = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
P3_CHRM = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def png(path: Path, *chunks: bytes, icc: bytes | None = None, image: Image.Image = PICTURE) -> Path:
    """A PNG file with further chunks before the others."""
    file = io.BytesIO()
    image.save(file, "PNG", icc_profile=icc)
    head = 8 + 25  # the signature and IHDR
    path.write_bytes(file.getvalue()[:head] + b"".join(chunks) + file.getvalue()[head:])
    return path


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def chrm(*values: int) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *values))


def cicp(*values: int) -> bytes:
    return chunk(b"cICP", bytes(values))


def camera(path: Path, space: int | None, index: str | None) -> Path:
    """A JPEG file whose EXIF says something of its colours."""
    exif = Image.Exif()
    group: dict[int, object] = {Base.ISOSpeedRatings: 200}
    group |= {} if space is None else {Base.ColorSpace: space}
    group |= {} if index is None else {IFD.Interop: {1: index}}
    exif[IFD.Exif] = group
    PICTURE.save(path, exif=exif.tobytes(), quality=98)
    return path


def heic(path: Path, primaries: int, transfer: int, icc: bytes | None = None) -> Path:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(PICTURE).save(
        path,
        color_primaries=primaries,
        transfer_characteristics=transfer,
        **({"icc_profile": icc} if icc else {}),
    )
    return path


def avif(
    path: Path, primaries: int, transfer: int, bits: int = 8, icc: bytes | None = None
) -> Path:
    """An AVIF file with other code points and another depth written into its boxes."""
    PICTURE.save(path, icc_profile=icc)
    content = path.read_bytes()
    at = content.index(b"colrnclx") + 8
    content = content[:at] + struct.pack(">2H", primaries, transfer) + content[at + 4 :]
    depth = content.index(b"av1C") + 6
    high = content[depth] | (0x40 if bits > 8 else 0) | (0x20 if bits > 10 else 0)
    content = content[:depth] + bytes([high]) + content[depth + 1 :]
    path.write_bytes(content.replace(bytes([3, 8, 8, 8]), bytes([3, *[bits] * 3])))
    return path


def xyz_of(icc: bytes) -> np.ndarray:
    """The columns of a profile's matrix, as lcms reads them."""
    read = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    columns = (read.red_colorant, read.green_colorant, read.blue_colorant)
    return np.array([column[0] for column in columns])


def to_srgb(icc: bytes) -> np.ndarray:
    """What lcms makes of the picture in the profile's colours, as values of sRGB."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return np.array(
        ImageCms.profileToProfile(
            PICTURE, source, ImageCms.createProfile("sRGB"), renderingIntent=1
        )
    )


def expected(xyz: tuple, linear: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The same by arithmetic: curve, matrix, and sRGB's own."""
    light = linear(COLOURS / 255) @ np.array(xyz) @ np.linalg.inv(np.array(SRGB_XYZ))
    light = light.clip(0, 1)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return coded * 255


def srgb_light(v: np.ndarray) -> np.ndarray:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


TOLD = {
    "adobe.jpg": (lambda p: camera(p, 65535, "R03"), ADOBE_XYZ, lambda v: v**2.19921875),
    "adobe2.jpg": (lambda p: camera(p, 2, None), ADOBE_XYZ, lambda v: v**2.19921875),
    "linear.png": (lambda p: png(p, gama(100000)), SRGB_XYZ, lambda v: v),
    "chrm.png": (lambda p: png(p, gama(45455), chrm(*P3_CHRM)), P3_XYZ, lambda v: v**2.2),
    "chrm alone.png": (lambda p: png(p, chrm(*P3_CHRM)), P3_XYZ, srgb_light),
    "cicp.png": (lambda p: png(p, cicp(12, 13, 0, 1)), P3_XYZ, srgb_light),
    "over icc.png": (lambda p: png(p, cicp(12, 13, 0, 1), icc=PROFILE), P3_XYZ, srgb_light),
    "nclx.avif": (lambda p: avif(p, 12, 13), P3_XYZ, srgb_light),
    "nclx.heic": (lambda p: heic(p, 12, 13), P3_XYZ, srgb_light),
}


@pytest.mark.parametrize("name", TOLD)
def test_colours_told_without_a_profile_get_one(tmp_path: Path, name: str) -> None:
    make, xyz, linear = TOLD[name]
    photo = load_photo(make(tmp_path / name))
    assert photo.icc is not None and photo.notes == ()
    assert np.abs(xyz_of(photo.icc) - xyz).max() < 0.0005
    assert np.abs(to_srgb(photo.icc) - expected(xyz, linear)).max() <= 2.5
    with Image.open(tmp_path / name) as image:
        assert np.array_equal(photo.pixels.permute(1, 2, 0), image.convert("RGB"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_every_format_but_bmp_carries_them(tmp_path: Path, suffix: str) -> None:
    photo = load_photo(camera(tmp_path / "a.jpg", 65535, "R03"))
    save_photo(photo.pixels, photo, tmp_path / f"out{suffix}", strip_metadata=True)
    assert load_photo(tmp_path / f"out{suffix}").icc == photo.icc
    with pytest.raises(UserError, match=r"colour profile, which \.bmp cannot hold"):
        save_photo(photo.pixels, photo, tmp_path / "out.bmp")


def test_grey_keeps_its_numbers_and_gets_a_profile(tmp_path: Path) -> None:
    photo = load_photo(png(tmp_path / "a.png", gama(100000), image=PICTURE.convert("L")))
    assert photo.icc is not None
    assert np.array_equal(photo.pixels[2], PICTURE.convert("L"))


SAME = {
    "srgb.png": lambda p: png(p, chunk(b"sRGB", b"\0"), gama(100000)),
    "gama.png": lambda p: png(p, gama(45455)),
    "chrm.png": lambda p: png(
        p, gama(45455), chrm(31269, 32899, 63999, 33001, 30000, 60000, 15000, 5999)
    ),
    "cicp.png": lambda p: png(p, cicp(1, 13, 0, 1), gama(100000)),
    "nclx.avif": lambda p: avif(p, 1, 13),
    "not told.avif": lambda p: avif(p, 2, 2),
    "nclx.heic": lambda p: heic(p, 1, 13),
    "srgb.jpg": lambda p: camera(p, 1, "R98"),
    "at odds.jpg": lambda p: camera(p, 1, "R03"),
    "exif.jpg": lambda p: camera(p, None, None),
}


@pytest.mark.parametrize("name", SAME)
def test_srgb_needs_no_profile(tmp_path: Path, name: str) -> None:
    photo = load_photo(SAME[name](tmp_path / name))
    assert photo.icc is None and photo.notes == ()


@pytest.mark.parametrize("name", ["a.png", "a.avif", "a.heic"])
def test_an_embedded_profile_comes_before_all_but_cicp(tmp_path: Path, name: str) -> None:
    make = {
        "a.png": lambda p: png(p, gama(100000), icc=PROFILE),
        "a.avif": lambda p: avif(p, 12, 13, icc=PROFILE),
        "a.heic": lambda p: heic(p, 12, 13, icc=PROFILE),
    }[name]
    assert load_photo(make(tmp_path / name)).icc == PROFILE


REFUSED = {
    "pq.png": (lambda p: png(p, cicp(9, 16, 0, 1)), "HDR photo .PQ."),
    "hlg.png": (lambda p: png(p, cicp(9, 18, 0, 1)), "HDR photo .HLG."),
    "narrow.png": (lambda p: png(p, cicp(1, 13, 0, 0)), "as video does"),
    "rare.png": (lambda p: png(p, cicp(1, 17, 0, 1)), "primaries 1, transfer 17"),
    "pq.avif": (lambda p: avif(p, 9, 16), "HDR photo .PQ."),
    "pq.heic": (lambda p: heic(p, 9, 16), "HDR photo .PQ."),
    "ten.avif": (lambda p: avif(p, 1, 13, bits=10), "has 10 bits per channel where 8 are allowed"),
    "twelve.avif": (lambda p: avif(p, 1, 13, bits=12), "has 12 bits per channel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_eight_bits_of_sdr_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    make, sentence = REFUSED[name]
    with pytest.raises(UserError, match=sentence) as caught:
        load_photo(make(tmp_path / name))
    assert len(caught.value.sentences) == 1


@pytest.mark.parametrize(
    ("name", "make", "note"),
    [
        ("a.jpg", lambda p: camera(p, 65535, None), "EXIF says that it is not in sRGB"),
        ("a.png", lambda p: png(p, gama(0)), "chunks of colour are damaged"),
        ("b.png", lambda p: png(p, chrm(*[0] * 8)), "chunks of colour are damaged"),
        ("c.png", lambda p: png(p, chrm(*[33333] * 8)), "chunks of colour are damaged"),
    ],
)
def test_colours_that_nobody_knows_are_noted(tmp_path: Path, name: str, make, note: str) -> None:
    photo = load_photo(make(tmp_path / name))
    assert photo.icc is None
    assert len(photo.notes) == 1 and note in photo.notes[0]


def test_all_known_code_points_make_profiles_that_lcms_reads() -> None:
    spaces = [Space(*told, curve) for told in PRIMARIES.values() for curve in CURVES.values()]
    for space in spaces:
        icc = matrix_profile("x", space)
        assert icc == matrix_profile("x", replace(space)), "the same bytes for the same space"
        white = xyz_of(icc).sum(0)
        assert np.abs(white - (0.9642, 1, 0.8249)).max() < 0.001, "white stays white"
        to_srgb(icc)
    assert np.abs(to_srgb(matrix_profile("x", SRGB)).astype(int) - COLOURS).max() <= 1
    assert ADOBE.curve == (2.19921875,)
