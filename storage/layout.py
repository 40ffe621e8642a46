"""The structure that one data set has in common with the next, so that the next need not be walked element by element.

A walk goes by the heads of elements and by few other bytes. A layout names all of these that one walk went by, and
where the wanted values stand between them. In a data set that has the same bytes there, and the same end, the walk
would go the same way: it would find it whole, and the values in the same places. The elements whose length differs
between the objects of a series may have any length; what follows them is looked for behind them.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from operator import ne
from typing import Any, NamedTuple

from storage.elements import STRING_VRS, UNDEFINED
from storage.outline import Outline, Reader, Span
from storage.structure import Plan, TagPath
from storage.text import plain_text, value_text

# Layouts that are remembered of one kind of reading.
_MOST_LAYOUTS = 6
# With more elements of any length the walk is as fast.
_MOST_VARYING = 24
# Longer wanted values, of elements of any length, are left to the walk.
_LONGEST_VARYING = 1024
# Texts that are remembered of each value, as many as the smallest table of a dict has room for, and the length of one.
_MOST_TEXTS = 5
_LONGEST_TEXT = 64
# Data sets that are not learned from behind one from which nothing could be used, at most.
_LONGEST_PAUSE = 128

# Tells the VR of an element, given its tag and the VR the data set has (empty if none).
VrOf = Callable[[int, bytes], str]
# The wanted values, the character set of the data set, and where its last element ends.
Found = tuple[dict[TagPath, str], str, int]


class _Unlike(Exception):
    """A value begins as a sequence does, which the walk would look at."""


class _Texts(dict[bytes, str]):
    """The texts of the latest values in one place: above the image level they are the same for a whole series."""

    __slots__ = ("_charset", "_forbidden", "_little_endian", "_plain", "_vr")

    def __init__(self, vr: str, charset: bytes, little_endian: bool, forbidden: bytes) -> None:
        super().__init__()
        self._vr = vr
        self._charset = charset
        self._little_endian = little_endian
        self._forbidden = forbidden
        self._plain = vr.encode() in STRING_VRS

    def __missing__(self, value: bytes) -> str:
        text = plain_text(value) if self._plain else None
        if text is None:
            if self._forbidden and value and self._forbidden.startswith(value[:2]):
                raise _Unlike
            text = value_text(self._vr, value, self._charset, self._little_endian)
        if len(value) <= _LONGEST_TEXT:
            if len(self) >= _MOST_TEXTS:
                self.clear()
            self[value] = text
        return text


class _Segment(NamedTuple):
    """What stands behind an element of any length up to the value of the next one: `size` bytes.

    `heads` reads the bytes the walk goes by, `cut` the wanted values and the length, 1 to `most`, of the value that
    follows, which is wanted if `kept`. Behind the last of these elements `cut` reads values only.
    """

    heads: Reader
    expected: tuple[bytes, ...]
    cut: Reader
    size: int
    most: int
    kept: bool


class Layout:
    """The bytes that a data set of one structure has around its values, and which of these are wanted."""

    def __init__(self, outline: Outline, varying: frozenset[int], vr_of: VrOf, character_set: str) -> None:
        self.shape = outline.shape
        self.lengths = [mark.length for mark in outline.marks]
        self.varying = varying
        self._character_set = character_set
        self._segments = list(_segments(outline, varying))
        self._last = None if len(outline.marks) - 1 in varying else self._segments.pop()
        self._paths = [field.path for field in outline.fields]
        self._texts = [
            _Texts(
                vr_of(field.path[-1], field.vr),
                field.charset,
                outline.little_endian,
                outline.item_tag if field.start in outline.peeked else b"",
            )
            for field in outline.fields
        ]
        self._numbers = range(len(self._paths))
        # Never changed, only replaced, so that threads can share it.
        self._latest: tuple[Sequence[bytes | None], dict[TagPath, str]] = (
            (None,) * len(self._paths),
            dict.fromkeys(self._paths, ""),
        )
        self._ends_plainly = outline.ends_plainly
        self._tail = outline.end - outline.marks[-1].value

    def find(self, data: bytes, *, whole: bool) -> Found | None:
        """Find the values of a data set that ends with `data`, or has no further head in it unless that is `whole`.

        None when the data set is not like this, or when its last element is one that the walk looks into.
        """
        position = length = 0
        found: list[Any] = []
        try:
            for heads, expected, cut, size, most, kept in self._segments:
                if heads(data, position) != expected:
                    return None
                found += cut(data, position)
                length = found.pop()
                if not 0 < length <= most:
                    return None
                position += size
                if kept:
                    found.append(data[position : position + length])
                position += length
            if self._last is not None:
                heads, expected, cut, size, _, _ = self._last
                if heads(data, position) != expected:
                    return None
                found += cut(data, position)
                position += size
            if position != len(data) if whole else not self._is_all(data, position, length):
                return None
            return self._values(found), self._character_set, position
        except (struct.error, _Unlike):
            return None

    def _values(self, found: list[bytes]) -> dict[TagPath, str]:
        """Return the texts of values; they begin as those of the object before, most of which they share."""
        latest, values = self._latest
        values = values.copy()
        for number in compress(self._numbers, map(ne, found, latest)):
            values[self._paths[number]] = self._texts[number][found[number]]
        self._latest = found, values
        return values

    def _is_all(self, data: bytes, end: int, length: int) -> bool:
        """Whether `data`, in which the last head was found, would bring the walk to `end` and no further."""
        last_value = end - (length if self._last is None else self._tail)
        return self._ends_plainly and last_value + 4 <= len(data) < end + 12


class Layouts:
    """The layouts of data sets seen lately, of one transfer syntax, of which the same was wanted.

    Threads use it side by side: what one of them replaces is a tuple, and a lesson that gets lost comes again.
    """

    def __init__(self, transfer_syntax: str, plan: Plan, wanted: frozenset[TagPath], vr_of: VrOf) -> None:
        self._transfer_syntax = transfer_syntax
        self._plan = plan
        self._wanted = wanted
        self._vr_of = vr_of
        self._known: tuple[Layout, ...] = ()
        self._pause = 0
        self._wait = 0

    def find(self, data: bytes, *, whole: bool) -> Found | None:
        """Find the values of a data set that is like one seen lately, as `Layout.find` does."""
        known = self._known
        for layout in known:
            found = layout.find(data, whole=whole)
            if found is not None:
                if layout is not known[0]:
                    self._known = (layout, *(other for other in known if other is not layout))
                self._pause = self._wait = 0
                return found
        return None

    def learn(self, data: bytes, character_set: str, *, whole: bool) -> None:
        """Remember the structure of a data set that was read by a walk, unless those before it were learned in vain."""
        if self._wait:
            self._wait -= 1
            return
        self._wait = self._pause = min(2 * self._pause + 1, _LONGEST_PAUSE)
        outline = Outline.read(data, self._transfer_syntax, self._plan, self._wanted, whole=whole)
        if outline is None:
            return
        known = self._known
        varying: frozenset[int] = frozenset()
        alike = next((layout for layout in known if layout.shape == outline.shape), None)
        if alike is not None:
            pairs = enumerate(zip(alike.lengths, outline.marks, strict=True))
            varying = alike.varying.union(number for number, (length, mark) in pairs if length != mark.length)
            if len(varying) > _MOST_VARYING or not all(map(outline.may_vary, varying)):
                alike, varying = None, frozenset()
        layout = Layout(outline, varying, self._vr_of, character_set)
        self._known = (layout, *(other for other in known if other is not alike))[:_MOST_LAYOUTS]


def _segments(outline: Outline, varying: frozenset[int]) -> Iterator[_Segment]:
    looked_at = outline.looked_at(varying)
    marks = [(number, outline.marks[number]) for number in sorted(varying)]
    kept = {mark.value for _, mark in marks if outline.field(mark) is not None}
    values = [(field.start, field.start + field.length) for field in outline.fields if field.start not in kept]
    start = 0
    for number, mark in marks:
        most = _LONGEST_VARYING if mark.value in kept else UNDEFINED - 1
        length = [outline.length(number)]
        yield _segment(outline, looked_at, values, (start, mark.value), length, most, kept=mark.value in kept)
        start = mark.value + mark.length
    if start < outline.end:
        yield _segment(outline, looked_at, values, (start, outline.end), [], 0, kept=False)


def _segment(
    outline: Outline,
    looked_at: list[Span],
    values: list[Span],
    within: Span,
    length: list[tuple[Span, str]],
    most: int,
    *,
    kept: bool,
) -> _Segment:
    start, stop = within
    # An empty value may be the last thing there is.
    last = stop if length else stop + 1
    heads = outline.reader(_strings(looked_at, start, last), start)
    cut = outline.reader([*_strings(values, start, last), *length], start)
    return _Segment(heads, heads(outline.data, start), cut, stop - start, most, kept)


def _strings(spans: list[Span], start: int, stop: int) -> list[tuple[Span, str]]:
    begin, end = bisect_left(spans, (start, 0)), bisect_left(spans, (stop, 0))
    return [((first, behind), f"{behind - first}s") for first, behind in spans[begin:end]]
