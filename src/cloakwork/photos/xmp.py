"""XMP that is kept of a photo: properties that are known to be text, and nothing else.

A packet may hold previews, gain maps, depth maps, whole photos and comments, in any spelling that
XML allows. So it is parsed, what is known is taken, and a new packet is written from that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from PIL.ExifTags import GPSTAGS, TAGS

from cloakwork.photos.exif import CAMERA_NUMBERS, CAMERA_TEXTS, MAIN
from cloakwork.photos.texts import in_pieces, is_text

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
XML = "{http://www.w3.org/XML/1998/namespace}"
META = "{adobe:ns:meta/}"
TIFF = "{http://ns.adobe.com/tiff/1.0/}"
EXIF = "{http://ns.adobe.com/exif/1.0/}"
PLACE = f"{EXIF}GPS"

OF_EXIF = (
    CAMERA_NUMBERS
    | CAMERA_TEXTS
    | {*GPSTAGS.values()}
    | set(
        "FlashpixVersion InteroperabilityIndex Lens NativeDigest PhotographicSensitivity "
        "PixelXDimension PixelYDimension SubjectArea UserComment "
        "Fired Return Mode Function RedEyeMode".split()
    )
)

TEXTS: dict[str, tuple[str, frozenset[str] | None]] = {
    "http://purl.org/dc/elements/1.1/": ("dc", None),
    "http://ns.adobe.com/xap/1.0/": (
        "xmp",
        frozenset(
            "BaseURL CreateDate CreatorTool Identifier Label MetadataDate ModifyDate Nickname "
            "Rating".split()
        ),
    ),
    "http://ns.adobe.com/xap/1.0/rights/": ("xmpRights", None),
    "http://ns.adobe.com/xap/1.0/mm/": (
        "xmpMM",
        frozenset(("DocumentID", "InstanceID", "OriginalDocumentID")),
    ),
    "http://ns.adobe.com/photoshop/1.0/": (
        "photoshop",
        frozenset(
            "AuthorsPosition CaptionWriter Category City ColorMode Country Credit DateCreated "
            "Headline ICCProfile Instructions Source State SupplementalCategories "
            "TransmissionReference Urgency".split()
        ),
    ),
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": ("Iptc4xmpCore", None),
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": ("Iptc4xmpExt", None),
    "http://ns.useplus.org/ldf/xmp/1.0/": ("plus", None),
    "http://ns.adobe.com/lightroom/1.0/": ("lr", frozenset(("hierarchicalSubject",))),
    "http://ns.adobe.com/tiff/1.0/": (
        "tiff",
        frozenset(TAGS[tag] for tag in (*range(256, 260), 262, 274, 277, 284, 306, 530, 531, *MAIN))
        | {"NativeDigest"},
    ),
    "http://ns.adobe.com/exif/1.0/": ("exif", OF_EXIF),
    "http://cipa.jp/exif/1.0/": ("exifEX", OF_EXIF),
    "http://ns.adobe.com/exif/1.0/aux/": (
        "aux",
        frozenset(
            "ApproximateFocusDistance Firmware FlashCompensation ImageNumber Lens LensID LensInfo "
            "LensSerialNumber OwnerName SerialNumber".split()
        ),
    ),
}
"""Namespaces of text: prefix, and the properties that are known (None: all of them)."""

PICTURES = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "hdrgm",
    "http://ns.google.com/photos/1.0/container/": "GContainer",
    "http://ns.google.com/photos/1.0/container/item/": "Item",
    "http://ns.google.com/photos/1.0/camera/": "GCamera",
    "http://ns.google.com/photos/1.0/depthmap/": "GDepth",
    "http://ns.google.com/photos/1.0/image/": "GImage",
    "http://ns.google.com/photos/dd/1.0/device/": "Device",
    "http://ns.apple.com/HDRGainMap/1.0/": "HDRGainMap",
}
"""Namespaces of pictures that phones put behind the photo or into its XMP: prefix."""

SECOND_PICTURE = (
    *("hdrgm:", "GContainer:", "Item:", "HDRGainMap:"),  # a gain map
    *("GDepth:", "GImage:", "Device:"),  # depth, another view
    *("GCamera:MotionPhoto", "GCamera:MicroVideo"),
)
"""How names begin that say that there is a second picture, as `kept_xmp` gives them."""

DEPTH = 8  # of elements within a property; none that is text has more

for _uri, (_prefix, _) in TEXTS.items():
    ElementTree.register_namespace(_prefix, _uri)
ElementTree.register_namespace("x", META[1:-1])


def kept_xmp(xmp: object) -> tuple[bytes | None, list[str]]:
    """Return what is kept of an XMP packet, its orientation set to 1 (upright).

    Args:
        xmp: the packet, in UTF-8, UTF-16 or UTF-32; anything else counts as none.

    Returns:
        The new packet in UTF-8 (None where nothing is left, or it cannot be read), and the names
        of what is not kept: "prefix:name" where the namespace is known, else the namespace.
    """
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0 \t\r\n"):
        return None, []
    try:
        root = _parsed(xmp)
    except (ElementTree.ParseError, ValueError):
        return None, ["all, which cannot be read"]
    kept, dropped = Element(f"{RDF}Description", {f"{RDF}about": ""}), []
    for node in (node for rdf in root.iter(f"{RDF}RDF") for node in rdf):
        for name, value in node.items():
            if _is_known(name) and is_text(value):
                kept.set(name, "1" if name == f"{TIFF}Orientation" else value)
            elif not name.startswith((RDF, XML)):
                dropped.append(_shown(name))
        for element in node:
            if _is_known(element.tag) and _is_text(element):
                kept.append(_upright(element))
            else:
                dropped.append(_shown(element.tag))
    if in_pieces(_values(kept)):
        return None, ["all, which looks like a picture in pieces"]
    return _packet(kept), list(dict.fromkeys(dropped))


def xmp_without_place(xmp: bytes | None) -> bytes | None:
    """Return a packet of `kept_xmp` without its place (exif:GPS...); None where nothing is left."""
    if xmp is None:
        return None
    description = _parsed(xmp)[0][0]
    for parent in list(description.iter()):
        for name in [name for name in parent.attrib if name.startswith(PLACE)]:
            del parent.attrib[name]
        for child in [child for child in parent if child.tag.startswith(PLACE)]:
            parent.remove(child)
    return _packet(description)


def xmp_has_place(xmp: bytes | None) -> bool:
    """Return whether a packet of `kept_xmp` says where the photo was taken."""
    names = _names(_parsed(xmp)) if xmp else ()
    return any(name.startswith((f"{PLACE}L", f"{PLACE}Dest")) for name in names)


def _parsed(xmp: bytes) -> Element:
    """Parse a packet without comments and processing instructions.

    Raises:
        ParseError, ValueError: it is no XML, or defines entities: those could hide anything.
    """
    text = xmp.decode(json.detect_encoding(xmp)).strip("\0 \t\r\n\ufeff")
    if "<!DOCTYPE" in text:
        raise ValueError
    return ElementTree.fromstring(text)


def _packet(description: Element) -> bytes | None:
    """Return a new packet of one description; None for one that is empty."""
    if not len(description) and set(description.attrib) <= {f"{RDF}about"}:
        return None
    root = Element(f"{META}xmpmeta")
    SubElement(root, f"{RDF}RDF").append(description)
    text = ElementTree.tostring(root, "unicode")
    head = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    return f'{head}\n{text}\n<?xpacket end="w"?>'.encode()


def _is_known(name: str) -> bool:
    """Return whether a name, as in "{namespace}name", is that of a text.

    >>> _is_known("{http://purl.org/dc/elements/1.1/}creator"), _is_known("{adobe:ns:meta/}a")
    (True, False)
    """
    uri, _, local = name.removeprefix("{").rpartition("}")
    _, names = TEXTS.get(uri, ("", frozenset()))
    return names is None or local in names


def _is_text(element: Element) -> bool:
    """Return whether a property is text: plain, as a list, in many languages, or as fields."""
    inner = [name for name in _names(element) if not name.startswith((RDF, XML))]
    known = _depth(element) <= DEPTH and all(map(_is_known, inner))
    return known and is_text(" ".join(" ".join(_values(element)).split()))


def _values(element: Element) -> Iterator[str]:
    """Yield the texts in an element, and the values of attributes."""
    yield from element.itertext()
    for each in element.iter():
        yield from each.attrib.values()


def _names(element: Element) -> Iterator[str]:
    """Yield the names of an element, of all below it, and of their attributes."""
    for each in element.iter():
        yield each.tag
        yield from each.attrib


def _depth(element: Element) -> int:
    """Return how many elements stand one within the other; of any number of them."""
    depth, row = 0, [element]
    while row and depth <= DEPTH:
        depth, row = depth + 1, [child for each in row for child in each]
    return depth


def _upright(element: Element) -> Element:
    """Return a property as it is; the orientation upright."""
    element.tail = None
    if element.tag == f"{TIFF}Orientation":
        element = Element(element.tag)
        element.text = "1"
    return element


def _shown(name: str) -> str:
    """Return the name of a property for people.

    >>> _shown("{http://ns.adobe.com/xap/1.0/}Thumbnails"), _shown("{http://a.org/b/}c")
    ('xmp:Thumbnails', 'http://a.org/b/')
    >>> _shown("{http://ns.adobe.com/hdr-gain-map/1.0/}Version")
    'hdrgm:Version'
    """
    uri, _, local = name.removeprefix("{").rpartition("}")
    prefix = TEXTS[uri][0] if uri in TEXTS else PICTURES.get(uri)
    return f"{prefix}:{local}" if prefix else uri or local
