"""Every element of a data set in its order, sequences opened: for whoever lists or rewrites all of a header."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from storage.elements import FRAGMENTED_VRS, ITEM, MAX_DEPTH, PIXEL_DATA, SHORT_VRS, UNDEFINED, Cursor, name
from storage.errors import NotDicom

# What the VR of a tag is where the data set does not say: the dictionary's, UN for what that does not know.
VrOf = Callable[[int], str]


class Kind(Enum):
    """What a step of a traversal is."""

    VALUE = auto()
    FRAGMENTS = auto()
    SEQUENCE = auto()
    ITEM = auto()
    END_OF_ITEM = auto()
    END_OF_SEQUENCE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One step: an element, or the beginning or end of what one holds; `depth` counts the sequences around it.

    `vr` is the one of the data set or else of the dictionary; `written` is empty where the data set has none. Header
    and value begin at `start` and `position` of the data set. `length` is that of the value, of all fragments
    together, or UNDEFINED; `number` counts fragments, and items from 0.
    """

    kind: Kind
    depth: int
    tag: int = 0
    vr: str = ""
    written: bytes = b""
    start: int = 0
    position: int = 0
    length: int = 0
    number: int = 0


def steps(cursor: Cursor, vr_of: VrOf) -> Iterator[Step]:
    """Traverse the data set that the cursor stands at the beginning of.

    At a VALUE the cursor stands at it and may be asked for bytes, forwards only. Raises NotDicom where the data set
    is cut or badly nested.
    """
    return _Traversal(cursor, vr_of).level(cursor.data.size, cursor.implicit, 0)


class _Traversal:
    def __init__(self, cursor: Cursor, vr_of: VrOf) -> None:
        self._cursor = cursor
        self._vr_of = vr_of

    def level(self, end: int | None, implicit: bool, depth: int) -> Iterator[Step]:
        cursor = self._cursor
        for tag, written, length in cursor.elements(end, implicit):
            vr = written.decode("latin-1") or self._vr_of(tag)
            position = cursor.position
            start = position - (8 if written in SHORT_VRS or not written else 12)
            if length == UNDEFINED and (written in FRAGMENTED_VRS or tag == PIXEL_DATA):
                total, count = self._fragments(tag)
                yield Step(Kind.FRAGMENTS, depth, tag, vr, written, start, position, total, count)
            elif length == UNDEFINED or vr == "SQ" or (vr == "UN" and self._holds_items(length)):
                yield Step(Kind.SEQUENCE, depth, tag, vr, written, start, position, length)
                behind = None if length == UNDEFINED else position + length
                yield from self._items(tag, behind, None if written == b"UN" else implicit, depth + 1)
                yield Step(Kind.END_OF_SEQUENCE, depth, tag)
            else:
                yield Step(Kind.VALUE, depth, tag, vr, written, start, position, length)

    def _items(self, tag: int, end: int | None, implicit: bool | None, depth: int) -> Iterator[Step]:
        """Traverse the items of a sequence; `implicit` None: as the first element of each looks."""
        if depth > MAX_DEPTH:
            raise NotDicom(f"sequences are nested deeper than {MAX_DEPTH} at {name(tag)}")
        cursor = self._cursor
        for number, length in enumerate(cursor.items(tag, end)):
            position = cursor.position
            yield Step(Kind.ITEM, depth, ITEM, start=position - 8, position=position, length=length, number=number)
            if length:
                inner = not cursor.looks_explicit() if implicit is None else implicit
                yield from self.level(None if length == UNDEFINED else position + length, inner, depth)
            yield Step(Kind.END_OF_ITEM, depth, ITEM)

    def _fragments(self, tag: int) -> tuple[int, int]:
        total = count = 0
        for length in self._cursor.items(tag, None):
            if length == UNDEFINED:
                raise NotDicom(f"{name(tag)} has a fragment of undefined length")
            total += length
            count += 1
        return total, count

    def _holds_items(self, length: int) -> bool:
        """Whether a value of unknown VR is a sequence: bytes that merely begin like one say how long an item is."""
        if length < 8 or not self._cursor.looks_like_items():
            return False
        order = "little" if self._cursor.little_endian else "big"
        first = int.from_bytes(self._cursor.value(8)[4:], order)  # type: ignore[arg-type]
        return first == UNDEFINED or first <= length - 8
