"""Where the pixels of a stored object lie: its format, and the encoded bytes of each frame."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from storage.codecs.native import rewritten
from storage.codecs.pixels import PixelFormat, read_format
from storage.elements import PIXEL_DATA, Cursor, PlainData, name
from storage.errors import NotConvertible, NotDicom
from storage.header import vr_of
from storage.inflate import FREE_OF_RATIO
from storage.part10 import read_object
from storage.transfer import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, is_compressed
from storage.traversal import Kind, Step, steps

NKI_DATA = 0x7FDF0010
OFFSET_TABLE = 0x7FE00001
SOURCE_IMAGES = 0x00082112

# GE's implicit little endian elements around big endian pixels.
GE_BIG_ENDIAN = "1.2.840.113619.5.2"

_FORMAT = (0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011)
_BITS = (0x00280100, 0x00280101, 0x00280102, 0x00280103)
_HEADER = (0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060, 0x00082111)
_LOSSY = (0x00280030, 0x00181164, 0x00282110, 0x00282112, 0x00282114)
_KEPT = frozenset((*_FORMAT, *_BITS, *_HEADER, *_LOSSY))
_MOST_KEPT = 64 * 1024
_MOST_FRAGMENTS = 10_000_000
# Empty frames compress well, but not so well that a gigabyte of them would be in a megabyte.
_RATIO = 1000

# ConQuest takes these for what two makers keep in the same element (spec of its NKI codec).
_NOT_NKI = (b"ACUSON", b"ELSCIN")
# Where a stream begins, when nothing says where frames do: JPEG and JPEG-LS, JPEG 2000.
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes of a file."""

    position: int
    length: int


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """The image of one object: its format, the header values that transcoding looks at, and its pixel element.

    `values` are those of a few top-level elements by tag, numbers little endian; of a sequence only that it is there.
    `transfer_syntax` says how the pixels are, "NKI" for ConQuest's own compression. Native pixels are one place, an
    encapsulated stream is its fragments, the offset table first. `embedded_overlay` says that bits above the stored
    ones are an overlay.
    """

    source: BinaryIO
    transfer_syntax: str
    format: PixelFormat
    values: Mapping[int, bytes]
    tag: int
    places: Sequence[Place]
    offsets: bytes = b""
    embedded_overlay: bool = False
    _groups: list[Sequence[Place]] = field(default_factory=list)

    @property
    def encapsulated(self) -> bool:
        """Whether each frame has a compressed stream of its own."""
        return is_compressed(self.transfer_syntax) and self.transfer_syntax not in (GE_BIG_ENDIAN, NKI)

    @property
    def nki_mode(self) -> int:
        """The mode of NKI data, 0 of anything else."""
        if self.transfer_syntax != NKI:
            return 0
        return int.from_bytes(self._read(Place(self.places[0].position, 8))[4:], "little")

    def text(self, tag: int) -> str:
        """A header value as text, "" when it is absent."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0")

    def frame(self, number: int) -> bytes:
        """Read the encoded bytes of a frame, counted from 0; raises NotDicom where they are not all there."""
        if not self.encapsulated:
            return self._native(number)
        if not self._groups:
            self._groups.extend(_frames(self))
        return b"".join(map(self._read, self._groups[number]))

    def whole(self) -> bytes:
        """Read the whole pixel element, of NKI data say."""
        return b"".join(map(self._read, self.places))

    def skipped_bits(self, number: int) -> int:
        """How many bits of the first byte of `frame(number)` belong to the frame before."""
        return self.format.frame_bits * number % 8

    def _native(self, number: int) -> bytes:
        first = self.format.frame_bits * number
        start, end = first // 8, (first + self.format.frame_bits + 7) // 8
        (place,) = self.places
        if end > place.length:
            raise NotDicom(f"its pixel data has {place.length} bytes, {self.format.native_bytes} are declared")
        return self._read(Place(place.position + start, end - start))

    def _read(self, place: Place) -> bytes:
        self.source.seek(place.position)
        data = self.source.read(place.length)
        if len(data) < place.length:
            raise NotDicom("it is cut short in its pixel data")
        return data


NKI = "NKI"


@contextmanager
def open_pixels(path: Path) -> Iterator[StoredPixels]:
    """Open the image of a stored object.

    Raises NotConvertible when it has none or one that cannot be, NotDicom, or OSError. Deflated and big endian objects
    are brought into explicit little endian in a temporary file first, bounded as all reading of deflated ones.
    """
    with path.open("rb") as stored:
        found = read_object(stored, path)
        stored.seek(found.offset)
        if found.transfer_syntax not in (DEFLATED, EXPLICIT_BIG):
            yield locate(stored, found.transfer_syntax)
            return
        with tempfile.TemporaryFile() as plain:
            for piece in rewritten(stored, found.transfer_syntax, EXPLICIT_LITTLE):
                plain.write(piece)
            plain.seek(0)
            yield locate(plain, EXPLICIT_LITTLE)


def locate(source: BinaryIO, transfer_syntax: str) -> StoredPixels:
    """Find the image in the data set that `source` stands at; not for deflated and big endian ones."""
    base = source.tell()
    cursor = Cursor(PlainData(source), transfer_syntax)
    values: dict[int, bytes] = {}
    candidates: dict[int, Step] = {}
    offsets, overlay_bits = b"", 0
    for step in steps(cursor, vr_of):
        if step.kind is Kind.SEQUENCE and step.depth == 0 and step.tag == SOURCE_IMAGES:
            values[step.tag] = b""
        if step.depth or step.kind not in (Kind.VALUE, Kind.FRAGMENTS):
            continue
        if step.tag in (PIXEL_DATA, NKI_DATA):
            candidates[step.tag] = step
        elif step.tag in _KEPT and step.length <= _MOST_KEPT:
            values[step.tag] = cursor.value(step.length)
        elif step.tag == OFFSET_TABLE:
            offsets = cursor.value(step.length)
        elif step.tag >> 16 & 0xFF01 == 0x6000 and step.tag & 0xFFFF == 0x0100 and step.length == 2:
            overlay_bits = max(overlay_bits, int.from_bytes(cursor.value(2), "little"))
    if not candidates:
        raise NotConvertible("it has no pixel data")
    form = read_format(values)
    form.check()
    step = candidates.get(PIXEL_DATA) or candidates[NKI_DATA]
    if step.kind is Kind.VALUE:
        form.check_native()
    places = _places(cursor, step, base)
    if step.kind is Kind.FRAGMENTS and not is_compressed(transfer_syntax):
        raise NotConvertible(f"its pixel data is compressed and its transfer syntax {transfer_syntax}")
    if step.kind is Kind.VALUE and is_compressed(transfer_syntax) and transfer_syntax != GE_BIG_ENDIAN:
        raise NotConvertible(f"its pixel data is not compressed and its transfer syntax {transfer_syntax}")
    if form.native_bytes > FREE_OF_RATIO and form.native_bytes > _RATIO * sum(place.length for place in places):
        raise NotConvertible(
            f"its pixels would be {form.native_bytes >> 20} MB, more than {_RATIO} times what there is"
        )
    if step.tag == NKI_DATA:
        _check_nki(cursor.data.read(step.position, 8), step.length)
        transfer_syntax = NKI
    return StoredPixels(source, transfer_syntax, form, values, step.tag, places, offsets, overlay_bits > 1)


def _check_nki(head: bytes, length: int) -> None:
    if head.startswith(_NOT_NKI) or length <= 8 or not 1 <= int.from_bytes(head[4:8], "little") <= 5:
        raise NotConvertible(f"it has no pixel data, and {name(NKI_DATA)} is not ConQuest's")


def _places(cursor: Cursor, step: Step, base: int) -> list[Place]:
    if step.kind is Kind.VALUE:
        return [Place(base + step.position, step.length)]
    cursor.position = step.position
    places: list[Place] = []
    for length in cursor.items(step.tag, None):
        if len(places) > _MOST_FRAGMENTS:
            raise NotDicom(f"its pixel data has more than {_MOST_FRAGMENTS} fragments")
        places.append(Place(base + cursor.position, length))
    return places


def _frames(pixels: StoredPixels) -> list[Sequence[Place]]:
    """Sort the fragments into frames (PS3.5 A.4): by the tables, by their number, by where streams begin."""
    if not pixels.places:
        raise NotDicom("its pixel data is empty")
    table, *fragments = pixels.places
    count = pixels.format.frames
    if not fragments or len(fragments) < count:
        raise NotDicom(f"its pixel data has {len(fragments)} fragments for {count} frames")
    if count == 1:
        return [fragments]
    if len(fragments) == count:
        return [[fragment] for fragment in fragments]
    wide = len(pixels.offsets) == 8 * count
    raw = pixels.offsets if wide else pixels._read(table) if table.length == 4 * count else b""
    width = 8 if wide else 4
    offsets = [int.from_bytes(raw[at : at + width], "little") for at in range(0, len(raw), width)]
    begins = _at_offsets(fragments, offsets) if raw else _at_starts(pixels, fragments)
    if len(begins) != count or begins[0] != 0:
        raise NotDicom(f"its {len(fragments)} fragments cannot be told apart as {count} frames")
    return [fragments[begin:end] for begin, end in zip(begins, [*begins[1:], len(fragments)], strict=True)]


def _at_offsets(fragments: Sequence[Place], offsets: Sequence[int]) -> list[int]:
    first = fragments[0].position - 8
    numbers = {fragment.position - 8 - first: number for number, fragment in enumerate(fragments)}
    begins = [numbers.get(offset, -1) for offset in offsets]
    return begins if begins == sorted(set(begins)) else []


def _at_starts(pixels: StoredPixels, fragments: Sequence[Place]) -> list[int]:
    heads = (pixels._read(Place(fragment.position, min(4, fragment.length))) for fragment in fragments)
    return [number for number, head in enumerate(heads) if head.startswith(_STARTS)]
