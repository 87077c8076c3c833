"""Places in files of photos where a copy of the picture may hide, and how one is found again."""

from __future__ import annotations

import io
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable

import numpy as np
from helpers.boxes import with_item
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from cloakwork.photos.exif import CAMERA_NUMBERS

W, H = 80, 66
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(seed: int = 0, side: int = 0) -> Image.Image:
    size = (side or H, side or W, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8))


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


SECRET = encoded(picture(seed=1, side=24), "JPEG", quality=90)
BASE64 = b64encode(SECRET).decode()


def holds_secret(content: bytes) -> bool:
    """Return whether a file holds a piece of the secret, in any of the ways it was written."""
    tail = SECRET[-400:]  # tables stand before it, which all JPEGs share
    raw = [tail[i : i + 16] for i in range(0, len(tail) - 16, 16)]
    numbers = [struct.pack(f"{order}16H", *piece) for piece in raw for order in "<>"]
    letters = [BASE64[i : i + 16] for i in range(len(BASE64) - 500, len(BASE64) - 16, 16)]
    text = [*letters, *(piece.hex() for piece in raw), *(piece.hex(" ") for piece in raw)]
    pieces = [t.encode(code) for t in text for code in ("ascii", "utf-16-le", "utf-16-be")]
    content += _unpacked(content)
    content += content.replace(b"\n", b"")
    return any(piece in content for piece in [*raw, *numbers, *pieces])


def _unpacked(content: bytes) -> bytes:
    """Return what a PNG's chunks hold compressed."""
    found, at = b"", 8
    while content.startswith(b"\x89PNG") and at < len(content) - 12:
        (length,) = struct.unpack_from(">I", content, at)
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if kind in (b"iCCP", b"zTXt", b"iTXt") and b"\x78" in data:
            try:
                found += zlib.decompress(data[data.index(b"\x78") :])
            except zlib.error:
                found += data
        at += 12 + length
    return found


# --- EXIF

FIELDS: dict[str, tuple[int, int, object]] = {
    "UserComment": (IFD.Exif, Base.UserComment, b"ASCII\0\0\0" + SECRET),
    "UserComment without a code": (IFD.Exif, Base.UserComment, SECRET),
    "UserComment in letters": (IFD.Exif, Base.UserComment, b"ASCII\0\0\0" + BASE64.encode()),
    "UserComment in UTF-16": (
        *(IFD.Exif, Base.UserComment),
        b"UNICODE\0" + BASE64.encode("utf-16-le"),
    ),
    "maker's note": (IFD.Exif, Base.MakerNote, SECRET),
    "unknown": (IFD.Exif, 0x9999, SECRET),
    "DNGPrivateData": (IFD.Exif, 0xC634, SECRET),
    "numbers": (IFD.Exif, Base.ISOSpeedRatings, tuple(SECRET)),
    "a version": (IFD.Exif, Base.ExifVersion, SECRET),
    "a lens": (IFD.Exif, Base.LensModel, BASE64),
    "GPSProcessingMethod": (IFD.GPSInfo, 27, b"ASCII\0\0\0" + SECRET),
    "GPSAreaInformation": (IFD.GPSInfo, 28, SECRET),
    "GPSMapDatum": (IFD.GPSInfo, 18, SECRET.hex(" ")),
    "unknown in GPS": (IFD.GPSInfo, 99, SECRET),
    "title": (0, Base.ImageDescription, BASE64),
    "artist": (0, Base.Artist, SECRET.hex()),
    "comment of Windows": (0, Base.XPComment, BASE64.encode("utf-16-le")),
    "bytes in a comment of Windows": (0, Base.XPComment, SECRET),
    "layers": (0, 0x935C, SECRET),
    "resources": (0, 0x8649, SECRET),
    "private": (0, 0xC4A5, SECRET),
}


def exif_with(name: str) -> bytes:
    """Return an EXIF block that hides the secret in one of FIELDS, or as its preview."""
    exif = Image.Exif()
    exif[Base.Copyright] = "(c) Ada"
    if name == "preview":
        return exif_with_preview(exif.tobytes(), SECRET)
    group, tag, value = FIELDS[name]
    if group:
        exif[group] = {tag: value}
    else:
        exif[tag] = value
    return exif.tobytes()


def exif_with_preview(block: bytes, preview: bytes) -> bytes:
    """Return an EXIF block with a second directory, that of a preview."""
    body = bytearray(block[6:])
    order = ">" if body[:2] == b"MM" else "<"
    (main,) = struct.unpack_from(order + "I", body, 4)
    # where the main directory names the next one
    link = main + 2 + 12 * struct.unpack_from(order + "H", body, main)[0]
    struct.pack_into(order + "I", body, link, len(body))
    where = len(body) + 2 + 2 * 12 + 4
    fields = (2, 0x201, 4, 1, where, 0x202, 4, 1, len(preview))
    body += struct.pack(order + "HHHIIHHII", *fields) + bytes(4)
    return b"Exif\0\0" + bytes(body) + preview


# --- XMP

SPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "xmpGImg": "http://ns.adobe.com/xap/1.0/g/img/",
        "xapGImg": "http://ns.adobe.com/xap/1.0/g/img/",
        "q": "http://ns.adobe.com/xap/1.0/g/img/",
        "GImage": "http://ns.google.com/photos/1.0/image/",
        "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
        "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
        "GCamera": "http://ns.google.com/photos/1.0/camera/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "own": "http://example.org/own/",
        "exif": "http://ns.adobe.com/exif/1.0/",
    }.items()
)


def packet(attributes: str = "", elements: str = "", after: str = "") -> bytes:
    """Return an XMP packet by Ada with more properties."""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {SPACES}>'
        f'<rdf:Description rdf:about="" dc:creator="Ada" {attributes}>{elements}</rdf:Description>'
        f"{after}</rdf:RDF></x:xmpmeta>"
    ).encode()


LINES = "&#xA;".join(BASE64[i : i + 76] for i in range(0, len(BASE64), 76))
LIST = "".join(f"<rdf:li>{BASE64[i : i + 60]}</rdf:li>" for i in range(0, len(BASE64), 60))
THUMBNAILS = (
    '<xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"><xmpGImg:image>{}'
    "</xmpGImg:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
)

SPELLINGS: dict[str, bytes] = {
    "attribute": packet(f'xmpGImg:image="{BASE64}"'),
    "older prefix": packet(f'xapGImg:image="{BASE64}"'),
    "any prefix": packet(f'q:image="{BASE64}"'),
    "single quotes": packet(f"xmpGImg:image='{BASE64}'"),
    "blanks": packet(f'xmpGImg:image =\n "{BASE64}"'),
    "lines": packet(f'xmpGImg:image="{LINES}"'),
    "element": packet("", f"<xmpGImg:image>{BASE64}</xmpGImg:image>"),
    "element with attributes": packet(
        "", f'<xmpGImg:image xml:lang="x-default">{BASE64}</xmpGImg:image>'
    ),
    "CDATA": packet("", f"<xmpGImg:image><![CDATA[{BASE64}]]></xmpGImg:image>"),
    "nested value": packet("", f"<xmpGImg:image><rdf:value>{BASE64}</rdf:value></xmpGImg:image>"),
    "thumbnails": packet("", THUMBNAILS.format(BASE64)),
    "UTF-16": packet(f'xmpGImg:image="{BASE64}"').decode().encode("utf-16"),
    "UTF-16 without a mark": packet(f'q:image="{BASE64}"').decode().encode("utf-16-be"),
    "depth": packet(f'GDepth:Format="RangeInverse" GDepth:Data="{BASE64}"'),
    "second picture": packet(f"GImage:Data = '{BASE64}'"),
    "gain map": packet(f'hdrgm:Version="1.0" hdrgm:Data="{BASE64}"'),
    "maker's note": packet(f'GCamera:HdrPlusMakernote="{BASE64}"'),
    "comment": packet("", f"<!-- {BASE64} -->"),
    "instruction": packet("", f"<?own {BASE64}?>"),
    "own namespace": packet(f'own:anything="{BASE64}"'),
    "known property": packet(f'dc:description="{BASE64}"'),
    "lines of a known property": packet(f'photoshop:Instructions="{LINES}"'),
    "hexadecimal": packet(f'photoshop:Headline="{SECRET.hex(" ")}"'),
    "known list": packet("", f"<dc:subject><rdf:Bag>{LIST}</rdf:Bag></dc:subject>"),
    "fields of a known property": packet(
        "",
        '<Iptc4xmpExt:LocationShown rdf:parseType="Resource">'
        f"<xmpGImg:image>{BASE64}</xmpGImg:image></Iptc4xmpExt:LocationShown>",
    ),
    "text of a list": packet("", f"<dc:title><rdf:Alt>{BASE64}</rdf:Alt></dc:title>"),
    "language": packet("", f'<dc:title xml:lang="{BASE64}">A</dc:title>'),
    "resource": packet("", f'<dc:source rdf:resource="data:image/jpeg;base64,{BASE64}"/>'),
    "about": packet(after=f'<rdf:Description rdf:about="{BASE64}" dc:rights="A"/>'),
    "many known properties": packet(
        " ".join(
            f'exif:{name}="{BASE64[60 * place : 60 * place + 60]}"'
            for place, name in enumerate(sorted(CAMERA_NUMBERS)[: len(BASE64) // 60 + 1])
        )
    ),
    "text between": packet(after=BASE64),
    "namespace": packet(f'xmlns:y="{BASE64}" y:a="A"'),
    "behind the packet": packet() + f"<!--{BASE64}-->".encode(),
    "entity": f'<!DOCTYPE x [<!ENTITY e "{BASE64}">]>'.encode() + packet('dc:rights="&e;"'),
    "no XML": f"xmpGImg:image='{BASE64}'".encode(),
    "unbound prefix": f"<rdf:Description xmpGImg:image='{BASE64}'/>".encode(),
    "latin-1": packet(f'dc:rights="\xe9" q:image="{BASE64}"').decode().encode("latin-1"),
}

# --- colour profiles


def _with_entry(name: bytes) -> bytes:
    """Return SRGB with one more entry, which holds the secret."""
    count = int.from_bytes(SRGB[128:132])
    entries = bytearray(SRGB[132 : 132 + 12 * count])
    for place in range(4, len(entries), 12):
        start = int.from_bytes(entries[place : place + 4]) + 12
        entries[place : place + 4] = start.to_bytes(4)
    entries += name + struct.pack(">II", len(SRGB) + 12, len(SECRET))
    rest = SRGB[132 + 12 * count :]
    body = SRGB[4:128] + (count + 1).to_bytes(4) + bytes(entries) + rest + SECRET
    return (len(body) + 4).to_bytes(4) + body


PROFILES: dict[str, bytes] = {
    "behind its end": SRGB + SECRET,
    "between its entries": (len(SRGB) + len(SECRET)).to_bytes(4) + SRGB[4:] + SECRET,
    "an entry": _with_entry(b"mine"),
    "no profile": SECRET,
    "a header alone": SRGB[:128] + SECRET,
}

# --- what each format has beside


def _segment(number: int, data: bytes) -> bytes:
    return bytes([0xFF, number]) + (len(data) + 2).to_bytes(2) + data


def _after_start(segment: bytes) -> Callable[[bytes], bytes]:
    return lambda jpeg: jpeg[:2] + segment + jpeg[2:]


def _chunk(kind: bytes, data: bytes) -> Callable[[bytes], bytes]:
    whole = len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
    return lambda png: png[:33] + whole + png[33:]


def _riff(webp: bytes) -> bytes:
    body = (
        webp[8:] + b"EXTR" + len(SECRET).to_bytes(4, "little") + SECRET + b"\0" * (len(SECRET) % 2)
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _tiff(tag: int) -> Callable[[bytes], bytes]:
    def planted(content: bytes) -> bytes:
        image = Image.open(io.BytesIO(content))
        exif = Image.Exif()
        exif.load(image.getexif().tobytes())
        exif[tag] = SECRET
        return encoded(image.copy(), "TIFF", exif=exif)

    return planted


def _end(content: bytes) -> bytes:
    return content + SECRET


def _texts(name: Callable[[str], bytes]) -> Callable[[bytes], bytes]:
    def planted(png: bytes) -> bytes:
        for place in range(0, len(BASE64), 76):
            png = _chunk(b"tEXt", name(BASE64[place : place + 76]))(png)
        return png

    return planted


def _keywords() -> bytes:
    pieces = [BASE64[place : place + 60].encode() for place in range(0, len(BASE64), 60)]
    sets = b"".join(b"\x1c\2\x19" + len(piece).to_bytes(2) + piece for piece in pieces)
    return b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(sets).to_bytes(4) + sets


RESOURCE = b"Photoshop 3.0\0" + b"8BIM\x04\x0c\0\0" + len(SECRET).to_bytes(4) + SECRET
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + bytes(8) + BASE64.encode()

BESIDE: dict[str, dict[str, Callable[[bytes], bytes]]] = {
    "JPEG": {
        "comment": _after_start(_segment(0xFE, SECRET)),
        "JFIF extension": _after_start(_segment(0xE0, b"JFXX\0\x10" + SECRET)),
        "extended XMP": _after_start(_segment(0xE1, EXTENDED)),
        "FlashPix": _after_start(_segment(0xE2, b"FPXR\0" + SECRET)),
        "resources": _after_start(_segment(0xED, RESOURCE)),
        "keywords": _after_start(_segment(0xED, _keywords())),
        "segment": _after_start(_segment(0xE7, SECRET)),
        "end": _end,
    },
    "PNG": {
        "text": _chunk(b"tEXt", b"preview\0" + BASE64.encode()),
        "packed text": _chunk(b"zTXt", b"preview\0\0" + zlib.compress(BASE64.encode())),
        "long text": _chunk(b"iTXt", b"preview\0\0\0\0\0" + BASE64.encode()),
        "many texts": _texts(lambda piece: piece[:8].encode() + b"\0" + piece.encode()),
        "many keywords": _texts(lambda piece: piece.encode() + b"\0a"),
        "thumbnail": _chunk(b"raNd", SECRET),
        "end": _end,
    },
    "WEBP": {"chunk": _riff, "end": _end},
    "TIFF": {
        "layers": _tiff(0x935C),
        "resources": _tiff(0x8649),
        "private": _tiff(0xC634),
        "end": _end,
    },
    "BMP": {"end": _end},
    "AVIF": {"end": _end, "item": lambda file: with_item(file, b"av01", SECRET)},
    "HEIF": {"end": _end, "item": lambda file: with_item(file, b"hvc1", SECRET)},
}


def photo_file(
    format: str, *, exif: bytes | None = None, xmp: bytes | None = None, icc: bytes | None = None
) -> bytes:
    """Return a photo's file with this metadata, as far as its format holds any."""
    options: dict[str, object] = {"icc_profile": icc} if icc else {}
    if format == "BMP":
        return encoded(picture(), format)
    if exif:
        options["exif"] = exif
    if xmp and format == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif xmp:
        options["xmp"] = xmp
    if format == "TIFF":
        tags = Image.Exif()
        tags.load(options.pop("exif", b""))
        if xmp:
            tags[700] = options.pop("xmp")
        options["exif"] = tags
    return encoded(picture(), format, **options)
