"""The element headers of a data set (PS3.5 section 7), one after another, without reading the values between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from struct import Struct
from typing import BinaryIO, Protocol

from storage.errors import NotDicom
from storage.inflate import InflatedData
from storage.transfer import is_deflated, is_implicit, is_little_endian

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
EVERY_TAG = 0xFFFFFFFF

# PS3.5 7.1.2: these have a length of 16 bits, every other VR, later ones included, one of 32 bits.
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
KNOWN_VRS = SHORT_VRS | LONG_VRS
# Those whose values are text.
STRING_VRS = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())
# Of undefined length these hold fragments (PS3.5 A.4), not items with elements.
FRAGMENTED_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV"})

# More elements than any real object has: an enhanced one of 20 000 frames holds some two million.
MAX_ELEMENTS = 10_000_000
MAX_DEPTH = 64

# The longest head of an element.
_HEADER = 12
# By byte order: the head without a VR, that with one, a length behind the VR, and the tag of an item.
_READERS = {
    order: (
        Struct(f"{order}HHL").unpack_from,
        Struct(f"{order}HH2sH").unpack_from,
        Struct(f"{order}L").unpack_from,
        Struct(f"{order}HH").pack(ITEM >> 16, ITEM & 0xFFFF),
    )
    for order in "<>"
}
_SMALL_BLOCK = 1024
_FIRST_BLOCK = 16 * 1024
_LARGE_BLOCK = 64 * 1024


class Data(Protocol):
    """The bytes of one data set, counted from its first."""

    size: int

    def load(self, position: int) -> bytes:
        """Return a block that begins at `position`: at least 12 bytes, fewer only where the data set ends."""

    def read(self, position: int, count: int) -> bytes:
        """Return `count` bytes at `position`, fewer only where the data set ends."""


class PlainData:
    """The bytes of a data set as a seekable source has them, from where it stands to its end."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._start = source.tell()
        self.size = source.seek(0, os.SEEK_END) - self._start
        self._expected = 0
        self._block = _FIRST_BLOCK // 2

    def load(self, position: int) -> bytes:
        # Element follows element in a header, so blocks grow; behind a skipped value one header may do.
        near = position <= self._expected
        self._block = min(2 * self._block, _LARGE_BLOCK) if near else _SMALL_BLOCK
        block = self.read(position, self._block)
        self._expected = position + len(block)
        return block

    def read(self, position: int, count: int) -> bytes:
        self._source.seek(self._start + position)
        return self._source.read(count)


class HeldData:
    """The bytes of a data set whose beginning is in memory; `reader` opens all of it, for what is behind that."""

    def __init__(self, head: bytes, size: int, reader: Callable[[], BinaryIO]) -> None:
        self.size = size
        self.reader = reader
        self._head = head
        self._file: BinaryIO | None = None
        self._start = 0
        self._rest: PlainData | None = None

    @property
    def held(self) -> bytes | None:
        """All of it, when all of it is in memory."""
        return self._head if len(self._head) == self.size else None

    def load(self, position: int) -> bytes:
        left = len(self._head) - position
        if left >= _HEADER or left >= self.size - position:
            return self._head[position:]
        return self._behind().load(position)

    def read(self, position: int, count: int) -> bytes:
        if position + count <= len(self._head) or len(self._head) == self.size:
            return self._head[position : position + count]
        return self._behind().read(position, count)

    def opened(self) -> BinaryIO:
        """Return all of it, at its first byte; opened once, and closed by `close`."""
        if self._file is None:
            self._file = self.reader()
            self._start = self._file.tell()
        self._file.seek(self._start)
        return self._file

    def close(self) -> None:
        """Close what was opened."""
        if self._file is not None:
            self._file.close()

    def _behind(self) -> PlainData:
        if self._rest is None:
            self._rest = PlainData(self.opened())
        return self._rest


class Beyond(Exception):
    """The walk has come to a byte that has not arrived: element `position`, or -1 inside a value."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class BeginningData:
    """The first bytes of a data set that is still arriving, however long that will be; behind them is `Beyond`."""

    size = InflatedData.UNKNOWN

    def __init__(self, head: bytes) -> None:
        self._head = head

    def load(self, position: int) -> bytes:
        if position + _HEADER > len(self._head):
            raise Beyond(position)
        return self._head[position:]

    def read(self, position: int, count: int) -> bytes:
        if position + count > len(self._head):
            raise Beyond(-1)
        return self._head[position : position + count]


def open_data(source: BinaryIO | HeldData, transfer_syntax: str, inflated_limit: int = 0) -> Data:
    """Take the data set that `source` stands at; `inflated_limit` bounds a deflated one, in bytes (0: none)."""
    if isinstance(source, HeldData):
        return InflatedData(source.opened(), inflated_limit) if is_deflated(transfer_syntax) else source
    return InflatedData(source, inflated_limit) if is_deflated(transfer_syntax) else PlainData(source)


def name(tag: int) -> str:
    """Write a tag as the standard does: ``(0010,0020)``."""
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


# Called with a tag, the position of its head, that of the value behind it, and the length it gives.
See = Callable[[int, int, int, int], None]


class Cursor:
    """A place in a data set and the walk from there over elements and items.

    Whoever takes an element of undefined length from the walk must move over it before taking the next:
    with `items`, and `elements` inside them. `see` is called with every head that is come to.
    """

    def __init__(self, data: Data, transfer_syntax: str, see: See | None = None) -> None:
        self.data = data
        self.little_endian = is_little_endian(transfer_syntax)
        self.position = 0
        self._implicit_header, self._explicit_header, self._long_length, self.item_tag = _READERS[
            "<" if self.little_endian else ">"
        ]
        self._see = see
        self._walked = 0
        self._base = 0
        self._block = data.load(0)
        self.implicit = self._begins_implicit(transfer_syntax)

    def _begins_implicit(self, transfer_syntax: str) -> bool:
        """Check the first element, and believe it rather than the label when it has a VR after all."""
        if len(self._block) < 8:
            raise NotDicom("it is empty" if not self._block else "it is cut in its first element")
        group = self._implicit_header(self._block)[0]
        # A data set begins in group 8; stray file meta (2) and the records of a DICOMDIR (4) come before it.
        if group not in (0x0002, 0x0004, 0x0008):
            raise NotDicom("it does not begin as a DICOM data set does")
        return is_implicit(transfer_syntax) and self._block[4:6] not in KNOWN_VRS

    def elements(
        self, end: int | None, implicit: bool, only: Container[int] | None = None, stop: int = EVERY_TAG
    ) -> Iterator[tuple[int, bytes, int]]:
        """Yield (tag, VR, length) of elements up to `end` (None: up to the item delimiter), standing at the value.

        The VR is empty where the data has none. With `only`, elements that are neither in it nor of undefined length
        are passed over. The walk ends in front of the first tag above `stop`. Raises NotDicom, naming the tag, when
        an element does not fit.
        """
        block, base, position = self._block, self._base, self.position
        explicit_header, long_length, short_vrs, see = self._explicit_header, self._long_length, SHORT_VRS, self._see
        limit = self.data.size if end is None else end
        tag = walked = 0
        last = base + len(block) - _HEADER
        while position < limit:
            if not base <= position <= last:
                self._account(walked)
                walked = 0
                if not self._load(position, tag, may_end=limit == InflatedData.UNKNOWN):
                    break
                block, base = self._block, self._base
                last = base + len(block) - _HEADER
            at = position - base
            group, element, vr, length = explicit_header(block, at)
            tag = group << 16 | element
            if tag > stop:
                break
            walked += 1
            value = position + 8
            if implicit or vr not in short_vrs:
                if not implicit and vr.isalpha() and vr.isupper():
                    (length,) = long_length(block, at + 8)
                    value = position + 12
                else:
                    # Also where some writers turn implicit inside sequences of explicit data.
                    vr = b""
                    (length,) = long_length(block, at + 4)
            if see is not None:
                see(tag, position, value, length)
            if group == 0xFFFE or not (tag or length):
                position = self._delimiter(tag, position, length, end)
                if tag == ITEM_DELIMITER and end is None:
                    self.position = position
                    return
                continue
            if length == UNDEFINED:
                self.position = value
                yield tag, vr, length
                block, base, position = self._block, self._base, self.position
                last = base + len(block) - _HEADER
                continue
            position = value + length
            if position > limit:
                raise NotDicom(f"element {name(tag)} of {length} bytes does not fit in what there is")
            if only is None or tag in only:
                self.position = value
                yield tag, vr, length
                if block is not self._block:
                    block, base = self._block, self._base
                    last = base + len(block) - _HEADER
        self._account(walked)
        self.position = position
        if end is None or position > limit:
            raise NotDicom(f"an item or sequence does not end where it should, behind {name(tag)}")

    def items(self, sequence: int, end: int | None) -> Iterator[int]:
        """Yield the length of each item up to `end` (None: up to the sequence delimiter), standing at its content.

        `sequence` is the tag to name when something is wrong.
        """
        position = self.position
        limit = self.data.size if end is None else end
        while position < limit:
            if not 0 <= position - self._base <= len(self._block) - 8:
                self._load(position, sequence)
            self._account(1)
            group, element, length = self._implicit_header(self._block, position - self._base)
            tag = group << 16 | element
            if self._see is not None:
                self._see(tag, position, position + 8, length)
            position += 8
            if tag == SEQUENCE_DELIMITER:
                if end is None:
                    self.position = position
                    return
                continue
            if tag != ITEM:
                raise NotDicom(f"sequence {name(sequence)} holds {name(tag)} where an item belongs")
            self.position = position
            if length == UNDEFINED:
                yield length
                position = self.position
                continue
            position += length
            if position > limit:
                raise NotDicom(f"an item of {length} bytes does not fit in sequence {name(sequence)}")
            yield length
        self.position = position
        if end is None or position > limit:
            raise NotDicom(f"sequence {name(sequence)} does not end where it should")

    def value(self, length: int) -> bytes:
        """Return the first `length` bytes of what the cursor stands at."""
        at = self.position - self._base
        if at >= 0 and at + length <= len(self._block):
            return self._block[at : at + length]
        return self.data.read(self.position, length)

    def looks_like_items(self) -> bool:
        """Whether the value the cursor stands at begins as that of a sequence does."""
        return self.value(4) == self.item_tag

    def looks_explicit(self) -> bool:
        """Whether the element the cursor stands at has a VR; for UN, which may hold either (PS3.5 6.2.2)."""
        return self.value(6)[4:6] in KNOWN_VRS

    def _delimiter(self, tag: int, position: int, length: int, end: int | None) -> int:
        """Return where the walk goes on behind a delimiter or padding; a stray one is passed over, as others do."""
        if tag == 0 and end == self.data.size:
            # Eight NULs: some archives fill files up to whole blocks.
            return end
        if length or tag == ITEM or (tag == SEQUENCE_DELIMITER and end is None):
            raise NotDicom(f"{name(tag)} stands where an element belongs")
        return position + 8

    def _load(self, position: int, tag: int, *, may_end: bool = False) -> bool:
        """Have the header at `position` in the block; False at the end of the data, when it `may_end` there."""
        block = self.data.load(position)
        if len(block) < 8:
            if may_end and not block and position == self.data.size:
                return False
            raise NotDicom(f"it is cut short behind {name(tag)}")
        # A header of 8 bytes may end the data; the one of 12 bytes that does not fit is found by its length.
        self._block, self._base = block.ljust(12, b"\0"), position
        return True

    def _account(self, walked: int) -> None:
        self._walked += walked
        if self._walked > MAX_ELEMENTS:
            raise NotDicom(f"it has more than {MAX_ELEMENTS} elements")
