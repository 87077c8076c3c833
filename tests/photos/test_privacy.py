"""What a protected file holds of the original beside its pixels: no picture, wherever it hides."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from helpers import carriers
from helpers.carriers import SECRET, SRGB, exif_with, holds_secret, packet, photo_file
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import IFD, Base

from cloakwork.photos.exif import CAMERA, read
from cloakwork.photos.metadata import kept, kept_profile
from cloakwork.photos.photo import Photo, has_place, load_photo
from cloakwork.photos.saving import save_photo
from cloakwork.photos.xmp import kept_xmp

OUTPUTS = (".png", ".jpg", ".webp", ".tif")


def formats() -> list[str]:
    """The formats that can be read here."""
    try:
        import pillow_heif
    except ImportError:
        return [format for format in carriers.BESIDE if format != "HEIF"]
    pillow_heif.register_heif_opener()
    return list(carriers.BESIDE)


def loaded(content: bytes) -> Photo:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.img")
        path.write_bytes(content)
        return load_photo(path)


def saved(
    photo: Photo, suffix: str, *, strip_metadata: bool = False, strip_gps: bool = False
) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"out{suffix}")
        strip = {"strip_metadata": strip_metadata, "strip_gps": strip_gps}
        save_photo(255 - photo.pixels, photo, path, **strip)
        return path.read_bytes()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_copy_of_the_original_survives_anywhere(data: st.DataObject) -> None:
    format = data.draw(st.sampled_from(formats()))
    field = data.draw(st.sampled_from(["preview", *carriers.FIELDS]))
    spelling = data.draw(st.sampled_from(list(carriers.SPELLINGS)))
    profile = data.draw(st.sampled_from(list(carriers.PROFILES)))
    beside = data.draw(st.sampled_from(list(carriers.BESIDE[format])))
    content = carriers.BESIDE[format][beside](
        photo_file(
            format,
            exif=exif_with(field),
            xmp=carriers.SPELLINGS[spelling],
            icc=carriers.PROFILES[profile],
        )
    )
    photo = loaded(content)
    assert holds_secret(content)
    for strip_metadata in (False, True):
        suffix = data.draw(st.sampled_from(OUTPUTS))
        assert not holds_secret(saved(photo, suffix, strip_metadata=strip_metadata))


@pytest.mark.parametrize("spelling", carriers.SPELLINGS)
def test_no_spelling_of_xmp_hides_a_picture(spelling: str) -> None:
    content = carriers.SPELLINGS[spelling]
    assert holds_secret(content)
    xmp, _ = kept_xmp(content)
    assert not holds_secret(xmp or b"")


@pytest.mark.parametrize("field", ["preview", *carriers.FIELDS])
def test_no_field_of_exif_hides_a_picture(field: str) -> None:
    content = photo_file("JPEG", exif=exif_with(field))
    photo = loaded(content)
    assert holds_secret(content) and not holds_secret(photo.exif or b"")
    assert read(photo.exif)[Base.Copyright] == "(c) Ada"
    (note,) = photo.notes
    assert note.startswith("Left out, since it may show the original: EXIF (")


@pytest.mark.parametrize("profile", carriers.PROFILES)
def test_no_profile_hides_a_picture(profile: str) -> None:
    icc, gone = kept_profile(carriers.PROFILES[profile])
    assert holds_secret(carriers.PROFILES[profile]) and not holds_secret(icc or b"")
    assert gone
    if profile == "behind its end":
        assert icc == SRGB


@pytest.mark.parametrize(
    ("format", "beside"), [("JPEG", "keywords"), ("PNG", "many texts"), ("PNG", "many keywords")]
)
def test_no_picture_survives_in_pieces(format: str, beside: str) -> None:
    content = carriers.BESIDE[format][beside](photo_file(format))
    photo = loaded(content)
    assert holds_secret(content) and photo.notes
    assert not any(holds_secret(saved(photo, suffix)) for suffix in OUTPUTS)


def test_no_picture_survives_in_pieces_of_exif() -> None:
    exif, pieces = Image.Exif(), iter(carriers.BASE64[i : i + 100] for i in range(0, 9999, 100))
    for tag in (Base.Make, Base.Model, Base.Artist, Base.Software, Base.ImageDescription):
        exif[tag] = next(pieces)
    exif[IFD.Exif] = {tag: next(pieces) for tag, kind in CAMERA.items() if kind == "text"}
    photo = loaded(photo_file("PNG", exif=exif.tobytes()))
    assert photo.exif is None and "in pieces" in photo.notes[0]


def test_what_is_left_out_is_said() -> None:
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.MakerNote: SECRET, 0x9999: SECRET, Base.LensModel: "50 mm"}
    xmp = packet('own:a="1" xmpGImg:image="/9j/" dc:rights="Ada"')
    photo = loaded(photo_file("JPEG", exif=exif.tobytes(), xmp=xmp, icc=SRGB + SECRET))
    assert photo.notes == (
        "Left out, since it may show the original: EXIF (0x9999, MakerNote); "
        "XMP (http://example.org/own/, http://ns.adobe.com/xap/1.0/g/img/); "
        "colour profile (the bytes behind its end).",
    )


def test_metadata_that_cannot_be_read_is_left_out_and_said() -> None:
    photo = loaded(photo_file("PNG", exif=b"Exif\0\0nonsense", xmp=b"<no", icc=b"no profile"))
    assert photo.exif is None and photo.xmp is None and photo.icc is None
    assert photo.notes == (
        "Left out, since it may show the original: EXIF (all, which is damaged); "
        "XMP (all, which cannot be read); colour profile (all, which is damaged).",
    )


def test_what_describes_a_photo_stays() -> None:
    exif, caption = Image.Exif(), "A cat on the beach, early in the morning. " * 20
    exif[Base.ImageDescription], exif[Base.Artist] = caption, "José".encode()
    exif[Base.XPTitle] = "Küste\0".encode("utf-16-le")
    camera = {
        Base.ExposureTime: 0.008,
        Base.ISOSpeedRatings: 200,
        Base.ExifVersion: b"0232",
        Base.LensSpecification: (24.0, 70.0, 2.8, 2.8),
        Base.DateTimeOriginal: "2024:05:01 10:00:00",
        Base.UserComment: b"ASCII\0\0\0" + caption.encode(),
    }
    place = {0: b"\2\3\0\0", 1: "N", 2: (51.0, 30.0, 0.0), 27: b"ASCII\0\0\0GPS"}
    exif[IFD.Exif], exif[IFD.GPSInfo] = camera, place
    photo = loaded(photo_file("JPEG", exif=exif.tobytes(), icc=SRGB))
    assert photo.notes == () and photo.icc == SRGB
    for suffix in OUTPUTS:
        again = read(loaded(saved(photo, suffix)).exif)
        assert again[Base.ImageDescription].rstrip("\0") == caption
        assert again[Base.Artist] == "José".encode()
        assert again[Base.XPTitle].decode("utf-16-le") == "Küste\0"
        found = again.get_ifd(IFD.Exif)
        assert {tag: found[tag] for tag in camera} == camera
        assert again.get_ifd(IFD.GPSInfo) == place


def test_a_long_prompt_stays() -> None:
    prompt = "(sks person:1.2), [soft light], 35mm; (best quality:1.1), by a sea, <lora:1>, " * 50
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.UserComment: b"ASCII\0\0\0" + prompt.encode()}
    xmp = packet("", f"<dc:description>{prompt.replace('<', '(')}</dc:description>")
    photo = loaded(photo_file("JPEG", exif=exif.tobytes(), xmp=xmp))
    assert photo.notes == () and prompt.encode() in (photo.exif or b"")
    assert b"35mm" in (photo.xmp or b"")


TEXTS = """
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Küste &amp; Meer</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li>猫</rdf:li></rdf:Bag></dc:subject>
<photoshop:City>Bergen</photoshop:City>
<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li rdf:parseType="Resource"><Iptc4xmpExt:City>Bergen
</Iptc4xmpExt:City></rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>
"""


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_xmp_that_is_text_stays(code: str) -> None:
    text = packet('xmp:Rating="5"', TEXTS).decode()
    xmp, dropped = kept_xmp(f'<?xpacket begin=""?>\n{text}<?xpacket end="w"?>\0\n '.encode(code))
    assert xmp is not None and dropped == []
    kept = xmp.decode()
    for piece in ("Küste &amp; Meer", ">猫<", 'xmp:Rating="5"', 'dc:creator="Ada"', "x-default"):
        assert piece in kept
    assert kept.count("Bergen") == 2
    assert kept_xmp(xmp) == (xmp, [])


@pytest.mark.parametrize("orientation", ['tiff:Orientation="6"', "tiff:Orientation = '6'", ""])
def test_xmp_stands_upright(orientation: str) -> None:
    space = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    element = "" if orientation else f"<tiff:Orientation {space}>6</tiff:Orientation>"
    xmp, dropped = kept_xmp(packet(f"{space} {orientation}", element))
    assert dropped == []
    assert any(one in (xmp or b"") for one in (b'tiff:Orientation="1"', b"tiff:Orientation>1<"))


def test_xmp_of_any_depth_and_size_is_read() -> None:
    deep = "<rdf:li>" * 50_000 + "</rdf:li>" * 50_000
    xmp, dropped = kept_xmp(packet("", f"<dc:subject>{deep}</dc:subject>"))
    assert xmp is not None and dropped == ["dc:subject"]
    assert kept_xmp(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b" " * 80_000 + b"</x:xmpmeta>") == (
        None,
        [],
    )


def two_pictures(xmp: bytes) -> bytes:
    other = carriers.picture(seed=2)
    options = {"save_all": True, "append_images": [other], "xmp": xmp}
    return carriers.encoded(carriers.picture(), "MPO", **options)


@pytest.mark.parametrize("version", ['hdrgm:Version="1.0"', ""])
def test_a_second_picture_is_left_out_and_said(version: str) -> None:
    content = two_pictures(packet(version))
    assert b"MPF\0" in content
    photo = loaded(content)
    said = (
        "The file holds a second picture (a gain map, a depth map, another view or a film). "
        "It is left out."
    )
    assert said in photo.notes
    for suffix in OUTPUTS:
        output = saved(photo, suffix)
        assert b"Ada" in output and b"MPF\0" not in output and b"hdrgm" not in output
        assert said not in loaded(output).notes


@pytest.mark.parametrize(
    ("format", "beside", "named"),
    [
        ("JPEG", "segment", "APP7"),
        ("JPEG", "extended XMP", "APP1"),
        ("JPEG", "FlashPix", "APP2"),
        ("JPEG", "resources", "Photoshop's preview"),
        ("PNG", "thumbnail", "raNd"),
        ("WEBP", "chunk", "EXTR"),
    ],
)
def test_blocks_that_nobody_knows_are_said(format: str, beside: str, named: str) -> None:
    photo = loaded(carriers.BESIDE[format][beside](photo_file(format)))
    assert photo.notes == (
        f"Left out, since it may show the original: other parts of the file ({named}).",
    )


@pytest.mark.parametrize("kind", ["depth_images", "aux"])
def test_the_pictures_that_heic_holds_beside_are_said(kind: str) -> None:
    image = carriers.picture()
    image.info[kind] = {"a map": [7]}
    (note,) = kept(Path("a.heic"), image, None).notes
    assert note.startswith("The file holds a second picture")


def test_a_gain_map_that_xmp_alone_tells_of_is_said() -> None:
    directory = (
        '<C:Directory xmlns:C="http://ns.google.com/photos/1.0/container/"><rdf:Seq/></C:Directory>'
    )
    photo = loaded(photo_file("JPEG", xmp=packet("", directory)))
    assert "GContainer:Directory" in photo.notes[0] and "second picture" in photo.notes[1]
    assert b"Directory" not in (photo.xmp or b"")


def test_a_file_without_metadata_has_no_notes() -> None:
    for format in formats():
        photo = loaded(photo_file(format))
        assert photo.notes == () and photo.exif is None and photo.xmp is None


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o400, 0o777])
def test_a_result_takes_the_permissions_of_its_original(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a.png").write_bytes(photo_file("PNG"))
    photo = load_photo(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(mode)
    save_photo(photo.pixels, photo, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == mode & 0o666 | 0o600


PLACES = """
<exif:GPSLongitude xmlns:exif="http://ns.adobe.com/exif/1.0/">4,5.6E</exif:GPSLongitude>
<Iptc4xmpExt:LocationCreated xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="51,30.0N"
 Iptc4xmpExt:City="Bergen"/>
"""


def with_place(exif: bool, xmp: bool) -> Photo:
    block = Image.Exif()
    block[Base.Artist] = "José".encode()
    block[IFD.Exif] = {Base.LensModel: "50 mm"}
    if exif:
        block[IFD.GPSInfo] = {1: "N", 2: (51.0, 30.0, 0.0)}
    return loaded(photo_file("JPEG", exif=block.tobytes(), xmp=packet("", PLACES if xmp else "")))


@pytest.mark.parametrize("suffix", OUTPUTS)
@pytest.mark.parametrize(("exif", "xmp"), [(True, False), (False, True), (True, True)])
def test_the_place_alone_can_be_left_out(suffix: str, exif: bool, xmp: bool) -> None:
    photo = with_place(exif, xmp)
    assert photo.notes == () and has_place(photo) and has_place(loaded(saved(photo, suffix)))
    output = saved(photo, suffix, strip_gps=True)
    again = loaded(output)
    assert not has_place(again) and b"GPSL" not in output and b"51,30" not in output
    block = read(again.exif)
    assert not block.get_ifd(IFD.GPSInfo)
    assert block[Base.Artist] == "José".encode()
    assert block.get_ifd(IFD.Exif)[Base.LensModel] == "50 mm"
    assert b'dc:creator="Ada"' in output and (b"Bergen" in output) == xmp


def test_a_photo_of_a_place_and_nothing_else_is_left_without_metadata() -> None:
    block = Image.Exif()
    block[IFD.GPSInfo] = {1: "N", 2: (51.0, 30.0, 0.0)}
    xmp = packet("", PLACES.split("<Iptc", maxsplit=1)[0]).replace(b'dc:creator="Ada"', b"")
    photo = loaded(photo_file("PNG", exif=block.tobytes(), xmp=xmp))
    assert has_place(photo)
    again = loaded(saved(photo, ".png", strip_gps=True))
    assert again.exif is None and again.xmp is None
    assert not has_place(loaded(photo_file("PNG")))
