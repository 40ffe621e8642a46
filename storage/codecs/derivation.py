"""The header of an object whose pixels were transcoded: image pixel attributes, loss, and what it is derived from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import pack

from storage.codecs.native import Element, element
from storage.codecs.pixels import PixelFormat
from storage.codecs.source import NKI_DATA, OFFSET_TABLE, SOURCE_IMAGES, StoredPixels
from storage.elements import PIXEL_DATA, UNDEFINED

IMAGE_TYPE = 0x00080008
SOP_CLASS = 0x00080016
SOP_INSTANCE = 0x00080018
_DERIVATION = 0x00082111
_LOSSY, _RATIO, _METHOD = 0x00282110, 0x00282112, 0x00282114
_SMALLEST, _LARGEST = 0x00280106, 0x00280107
_LENGTHS = 0x7FE00002
_SPACINGS = (0x00280030, 0x00181164)
_FRAMES = 0x00280008
# The value of ST has that many bytes at most.
_LONGEST_DESCRIPTION = 1024

_ATTRIBUTES = (
    (0x00280002, "samples"),
    (0x00280010, "rows"),
    (0x00280011, "columns"),
    (0x00280100, "bits_allocated"),
    (0x00280101, "bits_stored"),
    (0x00280102, "high_bit"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to the pixels: `text` says it, with `ratio` to one and `method` where loss was in compressing.

    `spacing` is how many pixels became one. `new_uid` is the SOP instance UID that the result gets; empty: its own.
    """

    text: str = ""
    ratio: float = 0
    method: str = ""
    lossy: bool = False
    values_changed: bool = False
    spacing: int = 1
    new_uid: str = ""


def header_edits(stored: StoredPixels, header: PixelFormat, change: Change) -> dict[int, Element | None]:
    """The elements to replace so that an object describes pixels of the format `header`.

    The other pixel elements and the tables of the old form go; the new pixels are still to be added.
    """
    edits: dict[int, Element | None] = dict.fromkeys((PIXEL_DATA, NKI_DATA, OFFSET_TABLE, _LENGTHS))
    if stored.tag != NKI_DATA:
        del edits[NKI_DATA]  # two makers keep other things there
    edits |= _pixel_attributes(stored.format, header)
    if change.text:
        edits |= _derived(stored, change)
    if change.values_changed:
        edits |= dict.fromkeys((_SMALLEST, _LARGEST))
    if change.spacing > 1:
        edits |= _spacings(stored.values, change.spacing)
    return edits


def _pixel_attributes(before: PixelFormat, after: PixelFormat) -> dict[int, Element | None]:
    edits: dict[int, Element | None] = {
        tag: element("US", pack("<H", getattr(after, field)))
        for tag, field in _ATTRIBUTES
        if getattr(before, field) != getattr(after, field)
    }
    if before.photometric != after.photometric:
        edits[0x00280004] = element("CS", after.photometric.encode("ascii"))
    if after.samples > 1 and before.planar != after.planar:
        edits[0x00280006] = element("US", pack("<H", after.planar))
    if before.frames != after.frames:
        edits[_FRAMES] = element("IS", str(after.frames).encode("ascii"))
    return edits


def _derived(stored: StoredPixels, change: Change) -> dict[int, Element | None]:
    edits: dict[int, Element | None] = {}
    image_type = stored.values.get(IMAGE_TYPE, b"").strip(b" \0").split(b"\\")
    if image_type[0]:
        edits[IMAGE_TYPE] = element("CS", b"\\".join((b"DERIVED", *image_type[1:])))
    before = stored.values.get(_DERIVATION, b"").strip(b" \0")
    description = b"; ".join(filter(None, (before, change.text.encode("ascii"))))
    edits[_DERIVATION] = element("ST", description[-_LONGEST_DESCRIPTION:])
    if change.lossy:
        edits[_LOSSY] = element("CS", b"01")
        if change.ratio:
            edits[_RATIO] = _one_more(stored, _RATIO, "DS", f"{change.ratio:.4g}")
        if change.method:
            edits[_METHOD] = _one_more(stored, _METHOD, "CS", change.method)
    if change.new_uid:
        edits[SOP_INSTANCE] = element("UI", change.new_uid.encode("ascii"))
        if SOURCE_IMAGES not in stored.values:
            edits[SOURCE_IMAGES] = _source(stored)
    return edits


def _one_more(stored: StoredPixels, tag: int, vr: str, value: str) -> Element:
    """A value behind those of earlier compressions (PS3.3 C.7.6.1.1.5.2)."""
    before = stored.values.get(tag, b"").strip(b" \0")
    return element(vr, b"\\".join(filter(None, (before, value.encode("ascii")))))


def _source(stored: StoredPixels) -> Element:
    """One item with the object that this one is made of."""
    uids = ((0x00081150, SOP_CLASS), (0x00081155, SOP_INSTANCE))
    item = {tag: element("UI", stored.text(of).encode("ascii", "replace")) for tag, of in uids}
    return Element("SQ", UNDEFINED, item=item)


def _spacings(values: Mapping[int, bytes], factor: int) -> dict[int, Element | None]:
    """Millimetres from pixel to pixel, where they are said and can be read."""
    edits: dict[int, Element | None] = {}
    for tag in _SPACINGS:
        parts = values.get(tag, b"").strip(b" \0").split(b"\\")
        try:
            edits[tag] = element("DS", b"\\".join(f"{float(part) * factor:.10g}".encode() for part in parts))
        except ValueError:
            continue
    return edits
