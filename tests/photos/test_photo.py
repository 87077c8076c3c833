"""images: what is loaded, what is kept, what is refused, and what is written."""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import sys
import tempfile
import tracemalloc
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo

from cloakwork.errors import UserError
from cloakwork.photos import decoding
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.rounding import round_within
from cloakwork.photos.saving import FORMATS, after_encoding, check_target, save_photo
from cloakwork.photos.tensors import as_float

W, H = 80, 66
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:xmpGImg="http://ns.adobe.com/xap/1.0/g/img/" '
    b'tiff:Orientation="6" dc:creator="Ada" xmpGImg:image="/9j/4AAQ"/></rdf:RDF></x:xmpmeta>'
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = sorted(set(FORMATS) - {".jpg", ".jpeg"})


def picture(mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (H, W, channels), dtype=np.uint8)
    return Image.frombytes(mode, (W, H), pixels.tobytes())


def smooth() -> Image.Image:
    """A picture that survives a lossy format nearly unchanged."""
    ramp = np.add.outer(np.arange(H), np.arange(W)).astype(np.uint8)
    return Image.fromarray(np.stack([ramp, ramp + 40, 255 - ramp], -1).astype(np.uint8))


def png_of(path: Path, image: Image.Image | None = None) -> Photo:
    (image or picture()).save(path)
    return load_photo(path)


def sentence(call, *args, **kwargs) -> str:
    """The one sentence with which a call refuses."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    assert len(caught.value.sentences) == 1
    assert str(caught.value).endswith(".")
    return str(caught.value)


def raw_png(path: Path, bits: int, colour: int, width: int, height: int, row: bytes) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(row * height)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def profile(space: bytes, tag: bytes, content: bytes) -> bytes:
    """A minimal ICC profile with a white point and one more tag."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    start = 128 + 4 + 24
    directory = struct.pack(
        ">I4sII4sII", 2, b"wtpt", start, len(white), tag, start + len(white), len(content)
    )
    body = directory + white + content
    header = struct.pack(
        ">I4sI4s4s4s",
        128 + len(body),
        bytes(4),
        0x02400000,
        b"prtr",
        space,
        b"Lab " if tag == b"A2B0" else b"XYZ ",
    )
    return (
        header + bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    ).ljust(128, b"\0") + body


LINEAR_GREY = profile(b"GRAY", b"kTRC", b"curv" + bytes(4) + struct.pack(">IH", 1, 256) + bytes(2))
IDENTITY = bytes(range(256))
WHITE_ONLY_CMYK = profile(  # turns every ink into white: nothing that a naive conversion would do
    b"CMYK",
    b"A2B0",
    b"mft1"
    + bytes(4)
    + bytes([4, 3, 2, 0])
    + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    + IDENTITY * 4
    + bytes([255, 128, 128]) * 16
    + IDENTITY * 3,
)


# --- loading
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp"])
def test_lossless_formats_load_as_they_are(tmp_path: Path, suffix: str) -> None:
    image = picture()
    image.save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    photo = load_photo(tmp_path / f"a{suffix}")
    assert photo.pixels.dtype == torch.uint8 and photo.pixels.shape == (3, H, W)
    assert np.array_equal(photo.pixels.permute(1, 2, 0), image)
    assert photo.alpha is None and photo.icc is None and photo.exif is None and photo.xmp is None


@pytest.mark.parametrize("suffix", [".jpg", ".avif", ".heic"])
def test_lossy_formats_load(tmp_path: Path, suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    smooth().save(tmp_path / f"a{suffix}", quality=95)
    difference = load_photo(tmp_path / f"a{suffix}").pixels.permute(1, 2, 0).numpy().astype(
        int
    ) - np.asarray(smooth())
    assert abs(difference).mean() < 4


def test_the_content_tells_the_format_not_the_ending(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(load_photo(tmp_path / "a.jpg").pixels.permute(1, 2, 0), picture())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_photos_stand_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    undo = [None, None, 0, 3, 1, 5, 2, 6, 4][
        orientation
    ]  # Image.Transpose that lays an upright picture down
    upright = picture("RGBA")
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    (upright if undo is None else upright.transpose(undo)).save(tmp_path / f"a{suffix}", exif=exif)
    photo = load_photo(tmp_path / f"a{suffix}")
    assert np.array_equal(photo.pixels.permute(1, 2, 0), np.asarray(upright)[..., :3])
    assert np.array_equal(photo.alpha, np.asarray(upright)[..., 3])
    save_photo(photo.pixels, photo, tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").getexif().get(Base.Orientation, 1) == 1
    assert torch.equal(load_photo(tmp_path / "out.png").pixels, photo.pixels)


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    image = picture().quantize(16)
    photo = png_of(tmp_path / "a.png", image)
    assert photo.alpha is None
    assert np.array_equal(photo.pixels.permute(1, 2, 0), image.convert("RGB"))


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_transparent_colours_become_alpha(tmp_path: Path, mode: str) -> None:
    image = {"P": picture().quantize(16), "RGB": picture(), "L": picture("L")}[mode]
    transparent = {"P": 3, "RGB": picture().getpixel((0, 0)), "L": 7}[mode]
    image.save(tmp_path / "a.png", transparency=transparent)
    photo = load_photo(tmp_path / "a.png")
    expected = [[image.getpixel((x, y)) != transparent for x in range(W)] for y in range(H)]
    assert np.array_equal(photo.alpha == 255, expected)
    assert np.array_equal(photo.pixels.permute(1, 2, 0), image.convert("RGB"))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = picture("L").convert(mode) if mode == "1" else picture(mode)
    photo = png_of(tmp_path / "a.png", image)
    assert np.array_equal(photo.pixels[0], image.convert("L"))
    assert torch.equal(photo.pixels[0], photo.pixels[1]) and torch.equal(
        photo.pixels[0], photo.pixels[2]
    )
    assert (photo.alpha is not None) == (mode == "LA")


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_goes_through_its_profile_to_srgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("L", (W, H), 64)
    if mode == "LA":
        image.putalpha(picture("L"))
    image.save(tmp_path / "a.png", icc_profile=LINEAR_GREY)
    photo = load_photo(tmp_path / "a.png")
    assert photo.icc is None
    assert abs(int(photo.pixels[0, 0, 0]) - 137) <= 1  # linear 64 / 255 is 137 / 255 in sRGB
    assert photo.notes == ("Its grey was converted through its profile to that of sRGB.",)
    if mode == "LA":
        assert np.array_equal(photo.alpha, picture("L"))


def test_cmyk_without_a_profile_is_converted_plainly(tmp_path: Path) -> None:
    picture("CMYK").save(tmp_path / "a.tif")
    assert np.array_equal(
        load_photo(tmp_path / "a.tif").pixels.permute(1, 2, 0), picture("CMYK").convert("RGB")
    )
    assert "from CMYK to sRGB without a profile" in "".join(load_photo(tmp_path / "a.tif").notes)


def test_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path) -> None:
    picture("CMYK").save(tmp_path / "a.jpg", icc_profile=WHITE_ONLY_CMYK)
    photo = load_photo(tmp_path / "a.jpg")
    assert photo.icc is None
    assert photo.pixels.min() >= 254
    assert "from CMYK to sRGB through its profile" in "".join(photo.notes)


def test_a_profile_that_does_not_fit_is_left_out_with_a_note(tmp_path: Path) -> None:
    for name, icc in (("broken.png", b"no profile"), ("cmyk.png", WHITE_ONLY_CMYK)):
        picture("L").save(tmp_path / name, icc_profile=icc)
        photo = load_photo(tmp_path / name)
        assert photo.icc is None and np.array_equal(photo.pixels[1], picture("L"))
        assert "taken for a photo in sRGB" in "".join(photo.notes)


def test_a_grey_photo_keeps_a_profile_of_rgb(tmp_path: Path) -> None:
    picture("L").save(tmp_path / "a.png", icc_profile=SRGB)
    photo = load_photo(tmp_path / "a.png")
    assert photo.icc == SRGB and photo.notes == ()
    assert np.array_equal(photo.pixels[1], picture("L"))


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(tmp_path: Path, colour: int, channels: int) -> None:
    raw_png(tmp_path / "a.png", 16, colour, W, H, b"\0" + b"\x12\x34" * (W * channels))
    assert "16 bits per channel where 8 are allowed" in sentence(load_photo, tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_deep_tiff_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (W, H)).save(tmp_path / "a.tif")
    assert "bits per channel where 8 are allowed" in sentence(load_photo, tmp_path / "a.tif")


def test_16_bit_rgb_tiff_is_refused(tmp_path: Path) -> None:
    short = lambda tag, count, value: struct.pack("<HHII", tag, 3, count, value)  # noqa: E731
    tags = 9
    end = 8 + 2 + 12 * tags + 4
    entries = [
        short(256, 1, W),
        short(257, 1, H),
        short(258, 3, end),
        short(259, 1, 1),
        short(262, 1, 2),
    ]
    entries += [
        short(273, 1, end + 6),
        short(277, 1, 3),
        short(278, 1, H),
        struct.pack("<HHII", 279, 4, 1, W * H * 6),
    ]
    content = (
        b"II*\0"
        + struct.pack("<IH", 8, tags)
        + b"".join(entries)
        + bytes(4)
        + struct.pack("<3H", 16, 16, 16)
    )
    (tmp_path / "a.tif").write_bytes(content + b"\x34\x12" * (W * H * 3))
    assert "16 bits per channel" in sentence(load_photo, tmp_path / "a.tif")


def test_10_bit_heic_is_refused(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_bytes("RGB;16", (W, H), bytes(W * H * 6)).save(tmp_path / "a.heic")
    assert "10 bits per channel" in sentence(load_photo, tmp_path / "a.heic")


def test_other_colour_models_are_refused(tmp_path: Path) -> None:
    picture("LAB").save(tmp_path / "a.tif")
    assert "LAB" in sentence(load_photo, tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_animated_photos_are_refused(tmp_path: Path, suffix: str) -> None:
    picture().save(tmp_path / f"a{suffix}", save_all=True, append_images=[picture(seed=1)])
    assert "animated or has several pages (2)" in sentence(load_photo, tmp_path / f"a{suffix}")


def test_the_first_picture_of_a_phone_jpeg_is_the_photo(tmp_path: Path) -> None:
    smooth().save(
        tmp_path / "a.jpg",
        format="MPO",
        save_all=True,
        append_images=[Image.new("RGB", (W, H))],
        quality=95,
    )
    assert Image.open(tmp_path / "a.jpg").n_frames == 2
    difference = load_photo(tmp_path / "a.jpg").pixels.permute(1, 2, 0).numpy().astype(
        int
    ) - np.asarray(smooth())
    assert abs(difference).mean() < 4


# --- faults
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".avif", ".heic"])
def test_cut_files_are_refused(tmp_path: Path, suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    file = tmp_path / f"a{suffix}"
    picture().save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(file) in sentence(load_photo, file)


@settings(max_examples=60, deadline=None)
@given(
    suffix=st.sampled_from(["png", "jpeg", "webp", "tiff", "bmp"]),
    where=st.floats(0, 0.999),
    byte=st.integers(0, 255),
)
def test_a_damaged_byte_gives_a_photo_or_a_sentence(suffix: str, where: float, byte: int) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[Base.Artist] = "Ada"
    picture().save(file, suffix, **({} if suffix == "bmp" else {"exif": exif}))
    content = bytearray(file.getvalue())
    content[int(where * min(len(content), 200))] = byte  # the head of a file is what decoders trust
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.img")
        path.write_bytes(content)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                assert load_photo(path).pixels.dtype == torch.uint8
            except UserError as error:
                assert len(error.sentences) == 1
        assert not warned


def test_missing_empty_foreign_and_special_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a photo at all")
    Image.new("P", (W, H)).save(tmp_path / "a.gif")
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert "does not exist" in sentence(load_photo, tmp_path / "missing.png")
    assert "empty (0 bytes)" in sentence(load_photo, tmp_path / "empty.png")
    assert "not a photo in a known format" in sentence(load_photo, tmp_path / "text.png")
    assert "not a photo in a known format" in sentence(load_photo, tmp_path / "a.gif")
    assert "broken link" in sentence(load_photo, tmp_path / "loop.png")
    assert "pipe" in sentence(load_photo, tmp_path / "pipe.png")
    assert "is a folder" in sentence(load_photo, tmp_path)


def test_unreadable_files_are_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        file = Path(folder, "a.png")
        picture().save(file)
        file.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            assert "may not be read" in sentence(load_photo, file)
        finally:
            os.seteuid(user)


def test_small_photos_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (200, 63)).save(tmp_path / "a.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "b.png")
    assert "200 x 63 pixels where each side needs at least 64" in sentence(
        load_photo, tmp_path / "a.png"
    )
    assert load_photo(tmp_path / "b.png").pixels.shape == (3, 64, 64)


@pytest.mark.parametrize("megapixels", [201, 350, 401, 4000])
def test_decompression_bombs_are_refused_unread(tmp_path: Path, megapixels: int) -> None:
    raw_png(tmp_path / "a.png", 1, 0, 1000, megapixels * 1000, b"")
    assert "more than the 200 megapixels" in sentence(load_photo, tmp_path / "a.png")


def test_a_jpeg_too_short_for_its_pixels_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = io.BytesIO()
    Image.effect_noise((80, 72), 40).convert("RGB").save(small, "JPEG")
    huge = small.getvalue().replace(struct.pack(">HH", 72, 80), struct.pack(">HH", 14142, 14142))
    assert huge != small.getvalue() and len(huge) < 6_000
    monkeypatch.setattr(JpegImageFile, "load", lambda self: pytest.fail("it was decoded"))
    (tmp_path / "huge.jpg").write_bytes(huge)
    with pytest.raises(UserError, match="bytes cannot hold 14142 x 14142 pixels"):
        load_photo(tmp_path / "huge.jpg")


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"quality": 1, "subsampling": 2}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_shortest_jpegs_of_real_pixels_load(
    tmp_path: Path, mode: str, how: dict[str, Any]
) -> None:
    Image.new(mode, (2048, 2048), "grey").save(tmp_path / "flat.jpg", optimize=True, **how)
    assert load_photo(tmp_path / "flat.jpg").pixels.shape == (3, 2048, 2048)


def test_decoders_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for suffix, how in {".tif": {"compression": "tiff_deflate"}, ".jpg": {}}.items():
        file = tmp_path / f"broken{suffix}"
        Image.effect_noise((80, 72), 40).convert("RGB").save(file, **how)
        content = bytearray(file.read_bytes())
        content[20:40] = bytes(20)
        file.write_bytes(content)
        with suppress(UserError):
            load_photo(file)
        os.write(2, b"told")
        assert capfd.readouterr().err == "told"


def test_photos_just_under_the_limit_are_decoded(tmp_path: Path) -> None:
    raw_png(tmp_path / "a.png", 1, 0, 1000, 199_000, b"")  # larger than Pillow would take by itself
    assert "damaged or cut short" in sentence(load_photo, tmp_path / "a.png")


def test_photos_under_the_limit_load_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", W * H)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png_of(tmp_path / "a.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", W * H - 1)
        assert "megapixels" in sentence(load_photo, tmp_path / "a.png")


def test_a_large_photo_takes_a_few_copies_of_memory(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 4000), (1, 2, 3)).save(tmp_path / "a.bmp")
    tracemalloc.start()  # sees NumPy's and Python's memory; Pillow's own adds 4 bytes per pixel
    photo = load_photo(tmp_path / "a.bmp")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert photo.pixels.shape == (3, 4000, 6000)
    assert peak < 2.2 * photo.pixels.numel()


def test_heic_without_its_plug_in_names_the_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    picture().save(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    decoding._formats.cache_clear()
    try:
        assert "pip install pillow-heif" in sentence(load_photo, tmp_path / "a.heic")
    finally:
        decoding._formats.cache_clear()


# --- metadata
# ------------------------------------------------------------------------------------------


def rich_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Artist] = "Ada"
    exif[Base.Orientation] = 1
    exif[IFD.Exif] = {Base.LensModel: "50 mm", Base.MakerNote: b"preview " * 9}
    exif[IFD.GPSInfo] = {1: "N", 2: (51.0, 30.0, 0.0)}
    return exif


def write_rich(path: Path) -> Photo:
    """A photo with everything that its format can hold."""
    suffix = path.suffix
    exif = rich_exif()
    options = {"icc_profile": SRGB, "dpi": (300, 300), "exif": exif, "xmp": XMP}
    if suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    if suffix == ".tif":
        exif.load(exif.tobytes())  # Pillow's TIFF writer wants the inner directories in this form
        exif[700] = XMP
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
        options["exif"] = exif.tobytes()
    picture().save(path, **options)
    return load_photo(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".heic", ".avif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_metadata_are_kept(tmp_path: Path, suffix: str, target: str) -> None:
    photo = write_rich(tmp_path / f"a{suffix}")
    save_photo(photo.pixels, photo, tmp_path / f"out{target}")
    again = load_photo(tmp_path / f"out{target}")
    assert photo.icc == again.icc == SRGB
    assert (
        again.xmp is not None
        and b'dc:creator="Ada"' in again.xmp
        and b'Orientation="6"' not in again.xmp
    )
    exif = Image.Exif()
    exif.load(again.exif)
    assert exif[Base.Artist] == "Ada" and exif.get_ifd(IFD.Exif)[Base.LensModel] == "50 mm"
    assert exif.get_ifd(IFD.GPSInfo)[2] == (51.0, 30.0, 0.0)
    if suffix not in (".heic", ".avif", ".webp") and target != ".webp":
        assert again.dpi == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_strip_metadata_drops_all_but_the_profile(tmp_path: Path, suffix: str) -> None:
    photo = write_rich(tmp_path / f"a{suffix}")
    save_photo(photo.pixels, photo, tmp_path / f"out{suffix}", strip_metadata=True)
    again = load_photo(tmp_path / f"out{suffix}")
    assert again.icc == SRGB
    assert again.exif is None and again.xmp is None and again.dpi is None
    content = (tmp_path / f"out{suffix}").read_bytes()
    assert b"Ada" not in content and b"50 mm" not in content


def test_no_preview_of_the_original_stays(tmp_path: Path) -> None:
    preview = io.BytesIO()
    Image.new("RGB", (16, 16)).save(preview, "JPEG")
    body = bytearray(rich_exif().tobytes()[6:])
    end = (
        struct.unpack(">I", body[4:8])[0]
        if body[:2] == b"MM"
        else struct.unpack("<I", body[4:8])[0]
    )
    order = ">" if body[:2] == b"MM" else "<"
    link = (
        end + 2 + 12 * struct.unpack_from(order + "H", body, end)[0]
    )  # where the main directory names the next one
    struct.pack_into(order + "I", body, link, len(body))
    where = len(body) + 2 + 2 * 12 + 4
    body += struct.pack(
        order + "HHHIIHHII", 2, 0x201, 4, 1, where, 0x202, 4, 1, len(preview.getvalue())
    ) + bytes(4)
    picture().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + bytes(body) + preview.getvalue(), xmp=XMP)
    original = (tmp_path / "a.jpg").read_bytes()
    assert (
        preview.getvalue() in original
        and b"preview preview" in original
        and b"/9j/4AAQ" in original
    )
    photo = load_photo(tmp_path / "a.jpg")
    save_photo(photo.pixels, photo, tmp_path / "out.jpg")
    saved = (tmp_path / "out.jpg").read_bytes()
    assert (
        preview.getvalue() not in saved
        and b"preview preview" not in saved
        and b"/9j/4AAQ" not in saved
    )
    assert b"Ada" in saved


def test_damaged_metadata_costs_the_metadata_only(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png", exif=b"Exif\0\0nonsense", dpi=(0.001, 0.001))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        photo = load_photo(tmp_path / "a.png")
    assert photo.exif is None and photo.dpi is None
    assert np.array_equal(photo.pixels.permute(1, 2, 0), picture())


def test_the_digest_tells_pictures_apart_and_nothing_else(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png")
    save_photo(photo.pixels, photo, tmp_path / "b.bmp")
    assert load_photo(tmp_path / "b.bmp").digest == photo.digest
    other = picture("RGBA")
    flat = photo.pixels.reshape(3, W, H).permute(1, 2, 0).numpy()  # the same bytes in another size
    assert (
        len(
            {
                photo.digest,
                png_of(tmp_path / "c.png", other).digest,
                png_of(tmp_path / "d.png", picture(seed=1)).digest,
            }
        )
        == 3
    )
    assert (
        png_of(tmp_path / "e.png", Image.fromarray(np.ascontiguousarray(flat))).digest
        != photo.digest
    )
    opaque = other.copy()
    opaque.putalpha(255)
    assert png_of(tmp_path / "f.png", opaque).digest != png_of(tmp_path / "c.png", other).digest


# --- rounding
# ------------------------------------------------------------------------------------------

BUDGETS = st.one_of(st.sampled_from([0, 0.5, 6.6, 8, 11.0, 12.75, 255, 300]), st.floats(0, 40))
PIXELS = arrays(np.float32, (3, 4, 4), elements=st.floats(-0.5, 1.5, width=32))


@settings(max_examples=200, deadline=None)
@given(pixels=PIXELS, original=arrays(np.uint8, (3, 4, 4)), budget=BUDGETS)
def test_rounding_keeps_every_budget(
    pixels: np.ndarray, original: np.ndarray, budget: float
) -> None:
    result = round_within(torch.from_numpy(pixels), torch.from_numpy(original), budget)
    assert result.dtype == torch.uint8
    change = result.numpy().astype(int) - original
    assert abs(change).max() <= budget
    wanted = pixels.astype(np.float64) * 255 - original
    assert (
        abs(change) <= abs(wanted) + 1e-3
    ).all()  # towards the original, never beyond what was asked
    assert (change * wanted >= 0).all()


@settings(max_examples=50, deadline=None)
@given(
    original=arrays(np.uint8, (3, 4, 4)),
    signs=arrays(np.int8, (3, 4, 4), elements=st.integers(-1, 1)),
    budget=BUDGETS,
    slip=st.sampled_from([-1e-6, 0, 1e-6]),
)
def test_rounding_loses_no_whole_level_to_float_error(
    original: np.ndarray, signs: np.ndarray, budget: float, slip: float
) -> None:
    start = torch.from_numpy(original)
    asked = as_float(start) + torch.from_numpy(signs).float() * (int(budget) / 255 + slip)
    change = round_within(asked.clamp(0, 1), start, budget).int() - start.int()
    whole = torch.from_numpy(signs).int() * int(budget)
    assert torch.equal(change, (start.int() + whole).clamp(0, 255) - start.int())


def test_all_levels_survive_unit_and_rounding_unchanged() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, -1, -1)
    for budget in (0, 4.5, 255):
        assert torch.equal(round_within(as_float(levels), levels, budget), levels)
    assert torch.equal(round_within(as_float(levels), 255 - levels, 255), levels)


def test_rounding_never_hides_a_failed_computation() -> None:
    pixels = torch.full((3, 4, 4), 0.5)
    pixels[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        round_within(pixels, torch.zeros(3, 4, 4, dtype=torch.uint8), 8)


# --- saving
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    alpha = suffix != ".bmp"
    photo = png_of(tmp_path / "a.png", picture("RGBA" if alpha else "RGB"))
    pixels = photo.pixels.flip(0)
    save_photo(pixels, photo, tmp_path / "new" / "folder" / f"out{suffix.upper()}")
    again = load_photo(tmp_path / "new" / "folder" / f"out{suffix.upper()}")
    assert torch.equal(again.pixels, pixels)  # under transparent parts too
    assert torch.equal(again.alpha, photo.alpha) if alpha else again.alpha is None
    assert os.listdir(tmp_path / "new" / "folder") == [f"out{suffix.upper()}"]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_keeps_its_colours_at_full_resolution(tmp_path: Path, suffix: str) -> None:
    photo = png_of(tmp_path / "a.png", smooth())
    save_photo(photo.pixels, photo, tmp_path / f"good{suffix}")
    save_photo(photo.pixels, photo, tmp_path / f"poor{suffix}", quality=20)
    assert Image.open(tmp_path / f"good{suffix}").layer[1][1:3] == (1, 1)
    assert all(layer[1:3] == (1, 1) for layer in Image.open(tmp_path / f"good{suffix}").layer)
    assert (tmp_path / f"poor{suffix}").stat().st_size < (tmp_path / f"good{suffix}").stat().st_size
    assert (
        load_photo(tmp_path / f"good{suffix}").pixels.int() - photo.pixels.int()
    ).abs().max() <= 12


def test_webp_is_lossy_with_a_quality(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png", picture("RGBA"))
    sizes = []
    for quality in (None, 80, 10):
        file = tmp_path / f"{quality}.webp"
        save_photo(photo.pixels, photo, file, quality=quality)
        sizes.append(file.stat().st_size)
        saved = load_photo(file)
        assert torch.equal(saved.pixels, photo.pixels) is (quality is None)
        assert saved.alpha is not None and torch.equal(saved.alpha, photo.alpha)
        assert torch.equal(saved.pixels, after_encoding(photo.pixels, photo, file, quality))
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_transparency_needs_a_format_that_holds_it(tmp_path: Path, suffix: str) -> None:
    photo = png_of(tmp_path / "a.png", picture("RGBA"))
    assert "transparent parts" in sentence(
        save_photo, photo.pixels, photo, tmp_path / f"out{suffix}"
    )
    assert "transparent parts" in sentence(check_target, photo, tmp_path / f"out{suffix}")
    opaque = picture("RGBA")
    opaque.putalpha(255)
    photo = png_of(tmp_path / "b.png", opaque)
    save_photo(photo.pixels, photo, tmp_path / f"out{suffix}")
    assert load_photo(tmp_path / f"out{suffix}").alpha is None


def test_a_profile_needs_a_format_that_holds_it(tmp_path: Path) -> None:
    photo = write_rich(tmp_path / "a.png")
    assert "colour profile" in sentence(save_photo, photo.pixels, photo, tmp_path / "out.bmp")


def test_unknown_endings_and_qualities_are_refused(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png")
    assert ".gif" in sentence(save_photo, photo.pixels, photo, tmp_path / "out.gif")
    assert "ends in ''" in sentence(save_photo, photo.pixels, photo, tmp_path / "out")
    for quality in (0, 101):
        assert "allowed are 1 to 100" in sentence(
            save_photo, photo.pixels, photo, tmp_path / "out.jpg", quality=quality
        )
    assert os.listdir(tmp_path) == ["a.png"]


def test_what_a_format_cannot_count_is_refused(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png", Image.new("RGB", (16500, 64)))
    assert "choose .png" in sentence(save_photo, photo.pixels, photo, tmp_path / "out.webp")
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "folder"])
def test_the_original_is_never_overwritten(tmp_path: Path, link: str) -> None:
    (tmp_path / "in").mkdir()
    photo = png_of(tmp_path / "in" / "a.png")
    before = photo.path.read_bytes()
    target = {"same": photo.path, "folder": tmp_path / "out" / "a.png"}.get(
        link, tmp_path / "b.png"
    )
    if link == "symbolic":
        target.symlink_to(photo.path)
    elif link == "hard":
        target.hardlink_to(photo.path)
    elif link == "folder":
        (tmp_path / "out").symlink_to(tmp_path / "in")
    assert "is the original" in sentence(
        save_photo, photo.pixels.flip(0), photo, target, force=True
    )
    assert photo.path.read_bytes() == before


def test_an_existing_file_needs_force(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png")
    save_photo(photo.pixels, photo, tmp_path / "out.png")
    before = (tmp_path / "out.png").read_bytes()
    assert "is not overwritten" in sentence(
        save_photo, photo.pixels.flip(0), photo, tmp_path / "out.png"
    )
    assert (tmp_path / "out.png").read_bytes() == before
    (tmp_path / "reader.png").hardlink_to(tmp_path / "out.png")
    save_photo(photo.pixels.flip(0), photo, tmp_path / "out.png", force=True)
    assert torch.equal(load_photo(tmp_path / "out.png").pixels, photo.pixels.flip(0))
    assert (
        tmp_path / "reader.png"
    ).read_bytes() == before  # who reads the old file meanwhile never sees half of the new one


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, force: bool) -> None:
    photo = png_of(tmp_path / "a.png")
    out = tmp_path / "out"
    out.mkdir()
    if force:
        (out / "a.png").write_bytes(b"earlier result")
    assert (
        signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
    )  # Python's choice: writing beyond the limit gives EFBIG
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        message = sentence(save_photo, photo.pixels, photo, out / "a.png", force=force)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "could not be written (File too large)" in message
    assert {file.name: file.read_bytes() for file in out.iterdir()} == (
        {"a.png": b"earlier result"} if force else {}
    )


def test_an_interruption_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = png_of(tmp_path / "in.png")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_photo(photo.pixels, photo, tmp_path / "out.png")
    assert os.listdir(tmp_path) == ["in.png"]


def test_a_file_where_a_folder_is_needed_is_refused(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png")
    assert "could not be written" in sentence(
        save_photo, photo.pixels, photo, tmp_path / "a.png" / "b.png"
    )
    (tmp_path / "c.png").mkdir()
    assert "could not be written" in sentence(
        save_photo, photo.pixels, photo, tmp_path / "c.png", force=True
    )
    assert sorted(os.listdir(tmp_path)) == ["a.png", "c.png"]


def test_results_have_the_usual_permissions(tmp_path: Path) -> None:
    photo = png_of(tmp_path / "a.png")
    save_photo(photo.pixels, photo, tmp_path / "out.png")
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_reason_on_several_lines_is_told_on_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise OSError("Invalid input:\n  no data\n")

    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "_decode", damaged)
    with pytest.raises(UserError) as caught:
        load_photo(tmp_path / "a.png")
    assert "(Invalid input: no data)" in str(caught.value) and "\n" not in str(caught.value)
