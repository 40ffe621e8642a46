"""What a walk over a data set looks at: heads, few bytes of values, and the wanted values themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

from storage.elements import (
    ITEM,
    ITEM_DELIMITER,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED,
    BeginningData,
    Beyond,
    Cursor,
    HeldData,
)
from storage.errors import NotDicom
from storage.structure import SPECIFIC_CHARACTER_SET, Plan, TagPath, Walk

# More elements, and more bytes that are looked at or wanted, than an image has before its pixels.
_MOST_MARKS = 512
_MOST_LOOKED_AT = 16 * 1024

_SIZES = {"H": 2, "L": 4}

# Reads bytes and numbers, given a data set and where to begin.
Reader = Callable[[bytes, int], tuple[Any, ...]]
# First and one behind the last byte.
Span = tuple[int, int]


class Mark(NamedTuple):
    """A head: its tag and position, the position of the value behind it, and the length it gives."""

    tag: int
    position: int
    value: int
    length: int


class Field(NamedTuple):
    """A wanted value, with its VR (empty if none) and the character set it was written in."""

    path: TagPath
    vr: bytes
    charset: bytes
    start: int
    length: int


class _Watched(Cursor):
    """A cursor that remembers what it is asked to look at."""

    def __init__(self, data: HeldData | BeginningData, transfer_syntax: str) -> None:
        self.marks: list[Mark] = []
        self.peeks: dict[int, bool] = {}
        super().__init__(data, transfer_syntax, self._note)

    def _note(self, tag: int, position: int, value: int, length: int) -> None:
        if len(self.marks) == _MOST_MARKS:
            raise NotDicom(f"it has more than {_MOST_MARKS} elements")
        self.marks.append(Mark(tag, position, value, length))

    def looks_like_items(self) -> bool:
        found = super().looks_like_items()
        self.peeks[self.position] = found
        return found


class Outline:
    """All that a walk over a data set, or over its beginning, goes by; `read` makes one.

    `looks_explicit` of the cursor needs no note: it looks at the head that comes next, or has no effect. A walk whose
    plan searches any sequence (`Plan.anywhere`) looks at more than this.
    """

    def __init__(self, data: bytes, cursor: _Watched, end: int, plan: Plan, fields: tuple[Field, ...]) -> None:
        self.marks = cursor.marks
        self.end = end
        self.fields = fields
        self.item_tag = cursor.item_tag
        self.little_endian = cursor.little_endian
        self.data = data
        self._order = "<" if cursor.little_endian else ">"
        self._implicit = cursor.implicit
        self._lengths = [self._length(mark) for mark in self.marks]
        self._by_start = {field.start: field for field in fields}
        self.peeked = {start for start, items in cursor.peeks.items() if start in self._by_start and not items}
        """Where wanted values are that would be taken for a sequence if they began as one."""
        self._peeks = [start for start in cursor.peeks if start not in self.peeked]
        self._bounded = set(self._inside_of_known_length())
        self.ends_plainly = len(self.marks) - 1 not in self._bounded and self.marks[-1].tag not in plan.branches
        """Whether the walk does not look at the value of the last element."""
        self.shape = tuple(data[mark.position : at] for mark, (at, _) in zip(self.marks, self._lengths, strict=True))
        """The heads without their lengths."""

    @classmethod
    def read(
        cls, data: bytes, transfer_syntax: str, plan: Plan, wanted: Collection[TagPath], *, whole: bool
    ) -> Outline | None:
        """Walk a data set that was walked before, without an error; None if there is too much in it to remember."""
        source = HeldData(data, len(data), _nothing_behind) if whole else BeginningData(data)
        cursor = _Watched(source, transfer_syntax)
        fields: dict[TagPath, Field] = {}

        def take(path: TagPath, vr: bytes, value: bytes, charset: bytes) -> None:
            fields.setdefault(path, Field(path, vr, charset, cursor.position, len(value)))

        end = len(data)
        try:
            Walk(cursor, take).top(plan)
        except Beyond as beyond:
            end = beyond.position
        except NotDicom:
            return None
        outline = cls(data, cursor, end, plan, tuple(field for path, field in fields.items() if path in wanted))
        padded = any(mark.tag == mark.length == 0 for mark in outline.marks)
        looked_at = sum(stop - start for start, stop in outline.looked_at(frozenset()))
        taken = sum(field.length for field in outline.fields)
        return None if padded or looked_at + taken > _MOST_LOOKED_AT else outline

    def looked_at(self, varying: Collection[int]) -> list[Span]:
        """Return, in order, the bytes the walk goes by, without wanted values and the lengths of marks in `varying`."""
        spans = [(start, min(start + 4, len(self.data))) for start in self._peeks]
        for number, (tag, position, value, length) in enumerate(self.marks):
            spans.append((position, self._lengths[number][0] if number in varying else value))
            if tag == SPECIFIC_CHARACTER_SET and length != UNDEFINED:
                spans.append((value, value + length))
        return list(_united(spans))

    def length(self, number: int) -> tuple[Span, str]:
        """Return where a mark has its length and how that is written, as `struct` says it."""
        start, form = self._lengths[number]
        return (start, start + _SIZES[form]), form

    def may_vary(self, number: int) -> bool:
        """Whether a mark may have any other length but 0 and the undefined one, and the walk would go the same way."""
        mark = self.marks[number]
        behind = self.marks[number + 1].position if number + 1 < len(self.marks) else self.end
        if mark.tag in (SPECIFIC_CHARACTER_SET, ITEM_DELIMITER, SEQUENCE_DELIMITER) or number in self._bounded:
            return False
        if number == 0 or not mark.length or mark.value + mark.length != behind or mark.value in self._peeks:
            return False
        field = self.field(mark)
        if field is not None and (field.length != mark.length or number + 1 == len(self.marks)):
            return False
        (start, stop), _ = self.length(number)
        if start == mark.position + 4 and not self._implicit and mark.tag != ITEM:
            return False  # an element without a VR among others: another length may look like one
        return int.from_bytes(self.data[start:stop], "little" if self._order == "<" else "big") == mark.length

    def field(self, mark: Mark) -> Field | None:
        """Return the wanted value that a head stands in front of."""
        return self._by_start.get(mark.value)

    def reader(self, parts: Iterable[tuple[Span, str]], start: int) -> Reader:
        """Return what reads `parts`, and not what is between them, of a data set in which `start` is somewhere else."""
        form, at = self._order, start
        for (first, behind), code in parts:
            form += f"{first - at}x{code}"
            at = behind
        return Struct(form).unpack_from

    def _length(self, mark: Mark) -> tuple[int, str]:
        position = mark.position
        if mark.value == position + 12:
            return position + 8, "L"
        if not self._implicit and self.data[position + 4 : position + 6] in SHORT_VRS:
            return position + 6, "H"
        return position + 4, "L"

    def _inside_of_known_length(self) -> Iterator[int]:
        """The marks inside of an element or item of defined length, which the walk went into."""
        end = 0
        for number, mark in enumerate(self.marks):
            if mark.position < end:
                yield number
            if mark.length != UNDEFINED:
                behind = self.marks[number + 1].position if number + 1 < len(self.marks) else self.end
                if behind < mark.value + mark.length:
                    end = max(end, mark.value + mark.length)


def _united(spans: list[Span]) -> Iterator[Span]:
    """The spans in order, those in one that touch or overlap."""
    spans.sort()
    start, end = spans[0]
    for first, behind in spans:
        if first > end:
            yield start, end
            start, end = first, behind
        end = max(end, behind)
    yield start, end


def _nothing_behind() -> BinaryIO:
    raise AssertionError("all of it is in memory")
