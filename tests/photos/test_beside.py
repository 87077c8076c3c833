"""beside: second pictures and bytes behind a photo's end are found, in every format."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from helpers import carriers
from helpers.boxes import box, entry, reference, with_item
from helpers.carriers import SECRET, encoded, holds_secret, photo_file, picture
from PIL import Image

from cloakwork.photos.beside import CHUNK, Beside, beside_photo
from cloakwork.photos.items import pictures_beside
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.saving import save_photo

SECOND = (
    "The file holds a second picture (a gain map, a depth map, another view or a film). "
    "It is left out."
)
BEHIND = (
    "Left out, since it may show the original: "
    "other parts of the file (about 1 kB behind the picture's end)."
)
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    if request.param == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    return request.param


def loaded(tmp_path: Path, content: bytes) -> Photo:
    path = tmp_path / "a.img"
    path.write_bytes(content)
    photo = load_photo(path)
    save_photo(photo.pixels, photo, tmp_path / "out.png", force=True)
    saved = tmp_path / "out.png"
    assert not holds_secret(saved.read_bytes()) and load_photo(saved).notes == ()
    return photo


def test_bytes_behind_the_end_are_said(tmp_path: Path, format: str) -> None:
    content = photo_file(format)
    photo = loaded(tmp_path, content + SECRET)
    assert photo.notes == (BEHIND,)
    alone = loaded(tmp_path, content)
    assert alone.notes == () and alone.digest == photo.digest


def test_padding_behind_the_end_is_not_said(tmp_path: Path, format: str) -> None:
    assert loaded(tmp_path, photo_file(format) + bytes(5000) + b"\xff" * 99).notes == ()


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_jpeg_of_any_kind_ends_at_its_own_end(tmp_path: Path, options: dict) -> None:
    exif = carriers.exif_with("preview")  # a JPEG of its own, with an end of its own
    for side in (80, 400):  # less and more than what is read at a time
        content = encoded(picture(side=side), "JPEG", quality=95, exif=exif, **options)
        (tmp_path / "a.jpg").write_bytes(content + b"film")
        assert beside_photo(tmp_path / "a.jpg", "JPEG") == Beside(behind=4)
    assert len(content) > CHUNK


@pytest.mark.parametrize("fill", range(3))
def test_an_end_that_is_read_in_two_halves_is_found(tmp_path: Path, fill: int) -> None:
    scan = struct.pack(">BBH", 0xFF, 0xDA, 2)
    content = b"\xff\xd8" + scan + b"a" * (CHUNK - 2 + fill - 1) + b"\xff\xd9" + SECRET
    (tmp_path / "a.jpg").write_bytes(content)
    assert beside_photo(tmp_path / "a.jpg", "JPEG").behind == len(SECRET)


def test_a_second_jpeg_behind_the_first_has_one_note(tmp_path: Path) -> None:
    two = encoded(picture(), "MPO", save_all=True, append_images=[picture(seed=2)])
    assert loaded(tmp_path, two).notes == (SECOND,)


@pytest.mark.parametrize(
    ("format", "coded", "kind"),
    [
        *(("AVIF", b"av01", kind) for kind in ("tmap", "auxl", "nothing")),
        # of auxiliary pictures in HEIC, see below: the decoder refuses those that say nothing more
        *(("HEIF", b"hvc1", kind) for kind in ("tmap", "nothing")),
    ],
)
def test_a_second_picture_that_xmp_does_not_tell_of_is_said(
    tmp_path: Path, format: str, coded: bytes, kind: str
) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    content = photo_file(format)
    assert loaded(tmp_path, content).notes == ()
    references = {"tmap": [reference(b"dimg", 9, 1)], "auxl": [reference(b"auxl", 9, 1)]}
    item = b"tmap" if kind == "tmap" else coded
    planted = with_item(content, item, SECRET, *references.get(kind, []))
    assert holds_secret(planted)
    assert loaded(tmp_path, planted).notes == (SECOND,)
    assert loaded(tmp_path, planted + SECRET).notes == (BEHIND, SECOND)


@pytest.mark.parametrize(
    ("format", "urn", "other"),
    [
        ("AVIF", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"a map of another kind\0"),
        ("HEIF", b"urn:mpeg:hevc:2015:auxid:1", b"urn:com:a:gain:map\0"),
    ],
)
def test_transparency_is_no_second_picture(
    tmp_path: Path, format: str, urn: bytes, other: bytes
) -> None:
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image = picture()
    image.putalpha(200)
    content = encoded(image, format)
    photo = loaded(tmp_path, content)
    assert photo.alpha is not None and photo.notes == ()
    photo = loaded(tmp_path, content.replace(urn, other.ljust(len(urn), b"\0")))
    assert photo.alpha is None and photo.notes == (SECOND,)


def test_a_preview_in_heic_is_said(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    heic, file = heif.from_pillow(picture(side=256)), io.BytesIO()
    assert loaded(tmp_path, encoded(picture(side=256), "HEIF")).notes == ()
    heic.info["thumbnails"] = [64]
    heic.save(file)
    (note,) = loaded(tmp_path, file.getvalue()).notes
    assert (
        note == "Left out, since it may show the original: other parts of the file (the preview)."
    )


def meta(items: dict[int, bytes], *references: bytes, alphas: tuple[int, ...] = ()) -> bytes:
    """The content of a meta box whose photo is item 1."""
    alpha = box(b"auxC", bytes(4), b"urn:mpeg:hevc:2015:auxid:1\0")
    told = b"".join(struct.pack(">HBB", item, 1, 1) for item in alphas)
    ipma = box(b"ipma", bytes(4), struct.pack(">I", len(alphas)), told)
    return b"".join(
        [
            bytes(4),
            box(b"pitm", bytes(4), b"\0\1"),
            box(
                b"iinf",
                bytes(4),
                struct.pack(">H", len(items)),
                *(entry(i, k) for i, k in items.items()),
            ),
            box(b"iref", bytes(4), *references),
            box(b"iprp", box(b"ipco", alpha), ipma),
        ]
    )


HVC, GRID, TMAP = b"hvc1", b"grid", b"tmap"
METAS = {
    "tiles": (meta({1: GRID, 2: HVC, 3: HVC}, reference(b"dimg", 1, 2, 3)), set(), set()),
    "tiles of transparency": (
        meta(
            {1: HVC, 2: GRID, 3: HVC},
            reference(b"auxl", 2, 1),
            reference(b"dimg", 2, 3),
            alphas=(2,),
        ),
        set(),
        set(),
    ),
    "transparency of tiles": (
        meta(
            {1: GRID, 2: HVC, 3: HVC},
            reference(b"dimg", 1, 2),
            reference(b"auxl", 3, 2),
            alphas=(3,),
        ),
        set(),
        set(),
    ),
    "gain map": (
        meta(
            {1: GRID, 2: HVC, 3: TMAP, 4: HVC},
            reference(b"dimg", 1, 2),
            reference(b"dimg", 3, 1, 4),
        ),
        set(),
        {3, 4},
    ),
    "photo with gain map": (
        meta({1: TMAP, 2: HVC, 3: HVC}, reference(b"dimg", 1, 2, 3)),
        set(),
        {3},
    ),
    "depth": (meta({1: HVC, 2: HVC}, reference(b"auxl", 2, 1)), set(), {2}),
    "preview": (
        meta({1: HVC, 2: GRID, 3: HVC}, reference(b"thmb", 2, 1), reference(b"dimg", 2, 3)),
        {2, 3},
        set(),
    ),
    "preview of depth": (
        meta({1: HVC, 2: HVC, 3: HVC}, reference(b"auxl", 2, 1), reference(b"thmb", 3, 2)),
        set(),
        {2, 3},
    ),
    "in a circle": (
        meta({1: GRID, 2: GRID}, reference(b"dimg", 1, 2), reference(b"dimg", 2, 1)),
        set(),
        set(),
    ),
    "metadata": (
        meta({1: HVC, 2: b"Exif", 3: b"mime"}, reference(b"cdsc", 2, 1)),
        set(),
        set(),
    ),
}


@pytest.mark.parametrize("name", METAS)
def test_what_items_are_to_the_photo(name: str) -> None:
    content, previews, others = METAS[name]
    assert pictures_beside(content) == (previews, others)


@pytest.mark.parametrize("kind", [b"mpvd", b"uuid"])
def test_a_box_that_nobody_knows_is_said(tmp_path: Path, kind: bytes) -> None:
    photo = loaded(tmp_path, photo_file("AVIF") + box(kind, SECRET))
    assert photo.notes == (
        f"Left out, since it may show the original: other parts of the file ({kind.decode()}).",
    )


def test_a_film_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(box(b"ftyp", b"heic") + box(b"moov", SECRET))
    assert beside_photo(tmp_path / "a.heic", "HEIF") == Beside(second=True)


def test_damaged_parts_are_said(tmp_path: Path) -> None:
    damaged = box(b"ftyp", b"heic") + box(b"meta", bytes(4), box(b"iref", bytes(4), box(b"dimg")))
    (tmp_path / "a.heic").write_bytes(damaged)
    assert beside_photo(tmp_path / "a.heic", "HEIF").blocks == ("what its damaged parts hold",)


def test_a_claim_of_any_size_is_no_harm(tmp_path: Path) -> None:
    huge = struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1)
    for content in (huge, huge.replace(b"mdat", b"meta"), huge.replace(b"mdat", b"what")):
        (tmp_path / "a.heic").write_bytes(content + SECRET)
        beside_photo(tmp_path / "a.heic", "HEIF")
    Image.new("RGB", (70, 70)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:8] + b"\xff" * 4 + b"teXt")
    assert beside_photo(tmp_path / "a.png", "PNG") == Beside()
