"""Data sets rewritten in another transfer syntax: headers anew, values copied, numbers swapped, some replaced."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from struct import pack
from typing import BinaryIO

from storage.deflate import deflated
from storage.elements import (
    EVERY_TAG,
    FRAGMENTED_VRS,
    ITEM,
    ITEM_DELIMITER,
    MAX_DEPTH,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED,
    Cursor,
    name,
    open_data,
)
from storage.errors import NotConvertible, NotDicom
from storage.header import vr_of
from storage.part10 import ObjectFile
from storage.transfer import DEFLATED, EXPLICIT_LITTLE, NATIVE, is_implicit, is_little_endian

_PIECE = 256 * 1024

# Bytes of one number, PS3.5 Table 6.2-1. OW is 16-bit words whatever the pixels are: 32-bit ones swap by halves.
_WIDTHS = {
    **dict.fromkeys(("US", "SS", "OW", "AT"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "OF", "OL"), 4),
    **dict.fromkeys(("UV", "SV", "FD", "OD", "OV"), 8),
}
_ARRAYS = {2: "H", 4: "I", 8: "Q"}

_BITS_ALLOCATED = 0x00280100
_PIXEL_REPRESENTATION = 0x00280103
_LUT_DESCRIPTOR = 0x00283002
_LUT_DATA = 0x00283006
_WAVEFORM_BITS_ALLOCATED = 0x54001004


def convert(file: ObjectFile, transfer_syntax: str) -> Generator[bytes, None, None]:
    """Return the data set of a stored object in another uncompressed transfer syntax, piece by piece.

    Whatever keeps it from being converted is found before this returns: NotConvertible when either syntax is
    not uncompressed or the pixels are compressed after all, NotDicom, or OSError. Values are copied as they are;
    sequences get undefined length and group lengths are left out, since both would be wrong.
    """
    with file.path.open("rb") as source:
        source.seek(file.offset)
        for _ in rewritten(source, file.transfer_syntax, transfer_syntax, dry=True):
            pass
    return _stream(file, transfer_syntax)


def rewritten(source: BinaryIO, stored: str, wanted: str, *, dry: bool = False) -> Iterator[bytes]:
    """Yield the data set that `source` stands at in the syntax `wanted`; `dry`: without reading long values.

    Raises NotConvertible and NotDicom, maybe after the first pieces.
    """
    for syntax in (stored, wanted):
        if syntax not in NATIVE:
            raise NotConvertible(f"there is no conversion from {stored} to {wanted}")
    if {stored, wanted} == {EXPLICIT_LITTLE, DEFLATED} or stored == wanted:
        pieces = _copied(source, stored)
    else:
        pieces = _Rewriter(Cursor(open_data(source, stored), stored), wanted, dry=dry).data_set()
    return deflated(pieces) if wanted == DEFLATED and not dry else pieces


@dataclass(frozen=True, slots=True)
class Element:
    """A value to be written: `pieces` of little endian bytes, `length` in all or UNDEFINED for encapsulated pixels.

    That of a sequence is its one `item`.
    """

    vr: str
    length: int
    pieces: Iterable[bytes] = ()
    item: Mapping[int, Element] | None = None


def element(vr: str, value: bytes) -> Element:
    """Make an element of a short value, padded to even length."""
    padded = value + (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    return Element(vr, len(padded), (padded,))


def edited(source: BinaryIO, stored: str, wanted: str, edits: Mapping[int, Element | None]) -> Iterator[bytes]:
    """Yield the data set that `source` stands at in the syntax `wanted`, with top-level elements replaced or added.

    None removes an element. The pixels of a compressed data set, and those for a compressed syntax, must be among
    `edits`. Raises NotConvertible and NotDicom, maybe after the first pieces.
    """
    rewriter = _Rewriter(Cursor(open_data(source, stored), stored), wanted, dry=False, edits=edits)
    pieces = _gathered(rewriter.data_set())
    return deflated(pieces) if wanted == DEFLATED else pieces


def _stream(file: ObjectFile, transfer_syntax: str) -> Generator[bytes, None, None]:
    with file.path.open("rb") as source:
        source.seek(file.offset)
        yield from _gathered(rewritten(source, file.transfer_syntax, transfer_syntax))


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join headers and small values, so that the network gets pieces worth sending."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= _PIECE // 2:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def _copied(source: BinaryIO, stored: str) -> Iterator[bytes]:
    data = open_data(source, stored)
    position = 0
    while piece := data.read(position, _PIECE):
        yield piece
        position += len(piece)


@dataclass(frozen=True, slots=True)
class _Context:
    """What the VR of later elements depends on, inherited by items."""

    bits_allocated: int = 16
    signed: bool = False
    lut_entries: int = 0
    waveform_bits: int = 16


class _Rewriter:
    """Writes the elements that a cursor walks over in another of the uncompressed syntaxes."""

    def __init__(
        self, cursor: Cursor, wanted: str, *, dry: bool, edits: Mapping[int, Element | None] | None = None
    ) -> None:
        self._cursor = cursor
        self._edits = edits or {}
        # Those still to be written, the last tag first.
        self._waiting = sorted(self._edits, reverse=True)
        self._implicit = is_implicit(wanted)
        little = is_little_endian(wanted)
        self._order = "<" if little else ">"
        self._little = little
        self._swaps = little != cursor.little_endian
        self._dry = dry

    def data_set(self) -> Iterator[bytes]:
        """Yield the whole data set."""
        yield from self._level(self._cursor.data.size, self._cursor.implicit, _Context(), 0)
        yield from self._added(EVERY_TAG)

    def _added(self, tag: int) -> Iterator[bytes]:
        """Write the new elements that belong before `tag` or in its place."""
        while self._waiting and self._waiting[-1] <= tag:
            added = self._waiting.pop()
            new = self._edits[added]
            if new is None:
                continue
            yield from self._new(added, new)

    def _new(self, tag: int, new: Element) -> Iterator[bytes]:
        yield self._header(tag, new.vr, new.length)
        width = 1 if self._little else _WIDTHS.get(new.vr, 1)
        for piece in new.pieces:
            yield piece if width == 1 else _swapped(piece, width)
        if new.item is not None:
            yield self._bare_header(ITEM, UNDEFINED)
            for inner, value in new.item.items():
                yield from self._new(inner, value)
            yield self._bare_header(ITEM_DELIMITER, 0)
            yield self._bare_header(SEQUENCE_DELIMITER, 0)

    def _passed_over(self, tag: int, found: bytes, length: int, implicit: bool, context: _Context) -> None:
        """Leave out an element of the data set; the walk itself moves on over those of known length."""
        if length != UNDEFINED:
            return
        if found in FRAGMENTED_VRS or tag == PIXEL_DATA:
            for _ in self._cursor.items(tag, None):
                pass
            return
        for _ in self._sequence(tag, length, None if found == b"UN" else implicit, context, 1):
            pass

    def _level(self, end: int | None, implicit: bool, context: _Context, depth: int) -> Iterator[bytes]:
        cursor = self._cursor
        for tag, found, length in cursor.elements(end, implicit):
            if depth == 0 and self._edits:
                yield from self._added(tag)
                if tag in self._edits:
                    self._passed_over(tag, found, length, implicit, context)
                    continue
            vr = found.decode("ascii") if found else _dictionary_vr(tag, context)
            if length == UNDEFINED or vr == "SQ":
                if found in FRAGMENTED_VRS or tag == PIXEL_DATA:
                    raise NotConvertible(f"{name(tag)} is compressed")
                inner = None if found == b"UN" else implicit
                yield from self._sequence(tag, length, inner, context, depth + 1)
                continue
            if tag & 0xFFFF == 0:
                # The length of its group, which changes.
                continue
            context = self._noted(context, tag, length)
            yield self._header(tag, vr, length)
            yield from self._value(tag, vr, length)

    def _sequence(self, tag: int, length: int, implicit: bool | None, context: _Context, depth: int) -> Iterator[bytes]:
        """Write a sequence and its items with undefined length; `implicit` None: as its first element looks."""
        if depth > MAX_DEPTH:
            raise NotDicom(f"sequences are nested deeper than {MAX_DEPTH} at {name(tag)}")
        cursor = self._cursor
        yield self._header(tag, "SQ", UNDEFINED)
        end = None if length == UNDEFINED else cursor.position + length
        for item in cursor.items(tag, end):
            inner = not cursor.looks_explicit() if implicit is None else implicit
            yield self._bare_header(ITEM, UNDEFINED)
            yield from self._level(None if item == UNDEFINED else cursor.position + item, inner, context, depth)
            yield self._bare_header(ITEM_DELIMITER, 0)
        yield self._bare_header(SEQUENCE_DELIMITER, 0)

    def _header(self, tag: int, vr: str, length: int) -> bytes:
        if self._implicit:
            return self._bare_header(tag, length)
        code = vr.encode("ascii")
        if code in SHORT_VRS and length > 0xFFFF:
            # PS3.5 6.2.2: what is too long for a length of 16 bits is written as UN, which has no byte order.
            if self._swaps and vr in _WIDTHS:
                raise NotConvertible(f"{name(tag)} of {length} bytes is too long for explicit VR in another byte order")
            code = b"UN"
        if code in SHORT_VRS:
            return pack(f"{self._order}HH2sH", tag >> 16, tag & 0xFFFF, code, length)
        return pack(f"{self._order}HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, length)

    def _bare_header(self, tag: int, length: int) -> bytes:
        return pack(f"{self._order}HHL", tag >> 16, tag & 0xFFFF, length)

    def _value(self, tag: int, vr: str, length: int) -> Iterator[bytes]:
        """Copy a value, its numbers swapped where the byte orders differ."""
        width = _WIDTHS.get(vr, 1) if self._swaps else 1
        if length % width:
            raise NotConvertible(f"{name(tag)} of {length} bytes is no whole number of {vr}")
        cursor = self._cursor
        if self._dry and length > _PIECE:
            return
        position, end = cursor.position, cursor.position + length
        while position < end:
            # Through the data, not the cursor: behind this value nothing before it is asked for again.
            count = min(end - position, _PIECE)
            piece = cursor.data.read(position, count)
            if len(piece) < count:
                raise NotDicom(f"element {name(tag)} is cut short")
            position += count
            yield piece if width == 1 else _swapped(piece, width)

    def _noted(self, context: _Context, tag: int, length: int) -> _Context:
        if length < 2 or length > 16:
            return context
        if tag == _BITS_ALLOCATED:
            return replace(context, bits_allocated=self._number())
        if tag == _PIXEL_REPRESENTATION:
            return replace(context, signed=self._number() != 0)
        if tag == _LUT_DESCRIPTOR:
            return replace(context, lut_entries=self._number())
        if tag == _WAVEFORM_BITS_ALLOCATED:
            return replace(context, waveform_bits=self._number())
        return context

    def _number(self) -> int:
        return int.from_bytes(self._cursor.value(2), "little" if self._cursor.little_endian else "big")


def _dictionary_vr(tag: int, context: _Context) -> str:
    """The VR of an element that came without one; where the standard leaves a choice, as readers expect it."""
    vr = vr_of(tag)
    if vr == "US or SS":
        return "SS" if context.signed else "US"
    if tag == _LUT_DATA:
        return "US" if context.lut_entries == 1 else "OW"
    if vr == "OB or OW":
        # PS3.5 A.2: OB is allowed up to 8 bits, and is what no reader gets wrong.
        if tag == PIXEL_DATA:
            return "OW" if context.bits_allocated > 8 else "OB"
        if tag >> 16 == 0x5400:
            return "OW" if context.waveform_bits > 8 else "OB"
        return "OW"
    return "OW" if " or " in vr else vr


def _swapped(piece: bytes, width: int) -> bytes:
    numbers = array(_ARRAYS[width], piece)
    numbers.byteswap()
    return numbers.tobytes()
