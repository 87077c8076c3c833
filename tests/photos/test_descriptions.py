"""descriptions: IPTC, texts of PNG and comments of JPEG are kept where the format can, or named."""

from __future__ import annotations

import base64
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cloakwork.photos.descriptions import NOTHING, Description
from cloakwork.photos.lost import lost_in
from cloakwork.photos.photo import load_photo, revisions
from cloakwork.photos.saving import FORMATS, save_photo

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8))
PREVIEW = b"\xff\xd8\xff\xe0 a preview of the original " * 20
SEEN = "Left out, since it may show the original: other parts of the file (Photoshop's preview)."
WORDS = ((80, "Ada"), (116, "© Ada, all rights reserved"), (25, "sea"), (25, "Übermut"))


def dataset(record: int, number: int, content: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(content)) + content


def resource(number: int, content: bytes) -> bytes:
    """A block of Photoshop's."""
    head = b"8BIM" + struct.pack(">H", number) + b"\0\0" + struct.pack(">I", len(content))
    return head + content + bytes(len(content) % 2)


def iptc(*more: bytes, encoding: str = "utf-8") -> bytes:
    mark = dataset(1, 90, b"\x1b%G") if encoding == "utf-8" else b""
    texts = [dataset(2, number, text.encode(encoding)) for number, text in WORDS]
    return mark + dataset(2, 0, b"\0\4") + b"".join(texts) + b"".join(more)


def with_iptc(path: Path, content: bytes) -> Path:
    """A JPEG or TIFF file with IPTC, the JPEG also with Photoshop's preview."""
    if path.suffix == ".tif":
        tags = Image.Exif()
        tags[33723] = content
        PICTURE.save(path, exif=tags)
        return path
    block = b"Photoshop 3.0\0" + resource(0x0404, content) + resource(0x040C, PREVIEW)
    PICTURE.save(path, extra=b"\xff\xed" + struct.pack(">H", len(block) + 2) + block)
    return path


def with_texts(path: Path, **texts: str) -> Path:
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_text(keyword, text, zip=len(text) > 100)
    PICTURE.save(path, pnginfo=chunks)
    return path


def written(path: Path, target: Path, strip: bool = False) -> Description:
    photo = load_photo(path)
    save_photo(photo.pixels, photo, target, strip_metadata=strip)
    assert revisions(photo) == {"description kept"}
    saved = load_photo(target)
    assert saved.notes == ()
    return saved.description


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("target", sorted(FORMATS))
def test_iptc_is_kept_or_named(tmp_path: Path, encoding: str, suffix: str, target: str) -> None:
    path, out = with_iptc(tmp_path / f"a{suffix}", iptc(encoding=encoding)), tmp_path / f"o{target}"
    photo = load_photo(path)
    assert photo.description.iptc == WORDS
    assert photo.notes == ((SEEN,) if suffix == ".jpg" else ())
    kept = target in (".jpg", ".jpeg", ".tif", ".tiff")
    assert written(path, out).iptc == (WORDS if kept else ())
    note = f"{target} cannot hold its IPTC (author, copyright, keywords): left out."
    assert lost_in(photo, out) == ([] if kept else [note])


@pytest.mark.parametrize("target", sorted(FORMATS))
def test_texts_of_png_are_kept_or_named(tmp_path: Path, target: str) -> None:
    texts = {"Author": "Ada", "Description": "café 猫", "parameters": "sks person, Steps: 20"}
    path, out = with_texts(tmp_path / "a.png", **texts), tmp_path / f"o{target}"
    assert dict(load_photo(path).description.texts) == texts
    assert written(path, out) == (load_photo(path).description if target == ".png" else NOTHING)
    note = f"{target} cannot hold its text (Author, Description, parameters): left out."
    assert lost_in(load_photo(path), out) == ([] if target == ".png" else [note])


@pytest.mark.parametrize("target", sorted(FORMATS))
def test_a_comment_of_jpeg_is_kept_or_named(tmp_path: Path, target: str) -> None:
    PICTURE.save(tmp_path / "a.jpg", comment="grüner Tee".encode())
    out, kept = tmp_path / f"o{target}", target in (".jpg", ".jpeg", ".png")
    assert dict(written(tmp_path / "a.jpg", out).texts) == (
        {"Comment": "grüner Tee"} if kept else {}
    )
    note = f"{target} cannot hold its text (Comment): left out."
    assert lost_in(load_photo(tmp_path / "a.jpg"), out) == ([] if kept else [note])


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_strip_metadata_drops_them(tmp_path: Path, suffix: str) -> None:
    path = (
        with_iptc(tmp_path / "a.jpg", iptc())
        if suffix == ".jpg"
        else with_texts(tmp_path / "a.png", Author="Ada")
    )
    assert written(path, tmp_path / f"o{suffix}", strip=True) == NOTHING


@pytest.mark.parametrize("target", [".jpg", ".tif", ".png"])
def test_no_preview_in_iptc_or_beside_it_stays(tmp_path: Path, target: str) -> None:
    path = with_iptc(tmp_path / "a.jpg", iptc(dataset(2, 202, PREVIEW)))
    assert PREVIEW in path.read_bytes()
    photo = load_photo(path)
    note = "Left out, for it is damaged, too long or no text: IPTC 2:202."
    assert sorted(photo.notes) == [note, SEEN]
    save_photo(photo.pixels, photo, tmp_path / f"o{target}")
    assert PREVIEW[:20] not in (tmp_path / f"o{target}").read_bytes()


def test_what_is_no_text_is_left_out_with_a_note(tmp_path: Path) -> None:
    file = io.BytesIO()
    PICTURE.resize((32, 24)).save(file, "JPEG")
    letters = base64.b64encode(file.getvalue()).decode()
    path = with_texts(tmp_path / "a.png", Author="Ada", thumbnail=letters, long="so it goes " * 900)
    photo = load_photo(path)
    assert photo.description.texts == (("Author", "Ada"),)
    assert photo.notes == (
        "Left out, for it is damaged, too long or no text: text 'thumbnail', text 'long'.",
    )
    PICTURE.save(tmp_path / "a.jpg", comment=file.getvalue()[:500])
    assert load_photo(tmp_path / "a.jpg").description == NOTHING
    assert "text 'Comment'" in "".join(load_photo(tmp_path / "a.jpg").notes)


def test_a_photos_texts_have_an_end(tmp_path: Path) -> None:
    """As many as a segment of JPEG holds; the others are named."""
    path = with_iptc(
        tmp_path / "a.tif",
        b"".join(
            [dataset(2, 25, b"sea and sand and sky and sun and salt and so on and on, etc."[:60])]
            * 2000
        ),
    )
    photo = load_photo(path)
    assert 500 < len(photo.description.iptc) < 700
    assert photo.notes == ("Left out, for it is damaged, too long or no text: IPTC 'keywords'.",)
    save_photo(photo.pixels, photo, tmp_path / "o.jpg")
    assert load_photo(tmp_path / "o.jpg").description == photo.description


@pytest.mark.parametrize("damage", [b"\x1c\x02\x50\xff\xff", b"no IPTC", b"\x1c\x02", b"\x1c" * 40])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_damaged_iptc_costs_the_iptc_only(tmp_path: Path, damage: bytes, suffix: str) -> None:
    assert load_photo(with_iptc(tmp_path / f"a{suffix}", damage)).description == NOTHING


def test_bmp_names_exif_and_xmp_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x013B] = "Ada"
    PICTURE.save(tmp_path / "a.jpg", exif=exif, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    photo = load_photo(tmp_path / "a.jpg")
    assert "its EXIF" in "".join(lost_in(photo, tmp_path / "o.bmp"))
    assert ("its XMP" in "".join(lost_in(photo, tmp_path / "o.bmp"))) == (photo.xmp is not None)
    assert lost_in(photo, tmp_path / "o.png") == []
