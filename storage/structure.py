"""The walk over a whole data set: that it is complete, and the wanted values on the way."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from storage.elements import (
    EVERY_TAG,
    FRAGMENTED_VRS,
    MAX_DEPTH,
    PIXEL_DATA,
    SHORT_VRS,
    STRING_VRS,
    UNDEFINED,
    Cursor,
    name,
    open_data,
)
from storage.errors import NotDicom

TagPath = tuple[int, ...]

SPECIFIC_CHARACTER_SET = 0x00080005

# A value is a name, a UID, a list of numbers; what is longer is cut rather than held in memory.
MAX_VALUE = 64 * 1024

# In the place of an item number: every item that has no plan of its own.
EVERY_ITEM = -1


@dataclass(frozen=True, slots=True)
class Branch:
    """What is wanted of one element: its own value under `path`, or elements inside its items, by item number."""

    path: TagPath | None = None
    items: Mapping[int, Plan] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted on one level of a data set: by tag, and by tag on this level or any below.

    With `item` the beginning of each item that the plan is followed in is told as an empty value of that path.
    """

    branches: Mapping[int, Branch] = field(default_factory=dict)
    anywhere: Mapping[int, TagPath] = field(default_factory=dict)
    item: TagPath | None = None

    @property
    def only(self) -> Container[int] | None:
        """The tags to stop at; None for every one, which a search in any sequence needs."""
        return None if self.anywhere else self.branches


_NO_BRANCH = Branch()
# Those that hold neither items nor fragments.
_PLAIN_VRS = SHORT_VRS | STRING_VRS


@dataclass(frozen=True, slots=True)
class _ItemPlans:
    """What is wanted inside a sequence: of its items by number, and of the others."""

    items: Mapping[int, Plan]
    others: Plan


# Called with the path asked for, the VR found (empty if none), the value and the character set it was written in.
Take = Callable[[TagPath, bytes, bytes, bytes], None]


class Walk:
    """A walk that hands the values of a plan to `take` and raises NotDicom where the structure is broken."""

    def __init__(self, cursor: Cursor, take: Take) -> None:
        self._cursor = cursor
        self._take = take
        self.depth = 0
        """How deep in sequences or fragments the walk is, or was when it broke off."""

    def top(self, plan: Plan, stop: int = EVERY_TAG) -> None:
        """Walk the data set up to the first tag above `stop`, or to its end."""
        self._level(self._cursor.data.size, self._cursor.implicit, plan, b"", 0, stop)

    def _level(self, end: int | None, implicit: bool, plan: Plan, charset: bytes, depth: int, stop: int) -> None:
        cursor, take, value_of, branches = self._cursor, self._take, self._cursor.value, plan.branches
        longest_plain = -1 if plan.anywhere else MAX_VALUE
        for tag, vr, length in cursor.elements(end, implicit, plan.only, stop):
            branch = branches.get(tag, _NO_BRANCH)
            if vr in _PLAIN_VRS and length <= longest_plain:  # nearly every element
                value = value_of(length)
                if tag == SPECIFIC_CHARACTER_SET:
                    charset = value
                if branch.path is not None:
                    take(branch.path, vr, value, charset)
                continue
            fragments = length == UNDEFINED and (vr in FRAGMENTED_VRS or tag == PIXEL_DATA)
            sequence = not fragments and (
                length == UNDEFINED or vr == b"SQ" or (vr in (b"", b"UN") and cursor.looks_like_items())
            )
            value = b"" if sequence or fragments else cursor.value(min(length, MAX_VALUE))
            if tag == SPECIFIC_CHARACTER_SET:
                charset = value
            for path in (branch.path, plan.anywhere.get(tag)):
                if path is not None:
                    self._take(path, vr, value, charset)
            if fragments:
                self._fragments(tag)
            elif sequence and (length == UNDEFINED or branch.items or plan.anywhere):
                behind = None if length == UNDEFINED else cursor.position + length
                plans = _ItemPlans(branch.items, branch.items.get(EVERY_ITEM) or Plan({}, plan.anywhere))
                self._sequence(tag, behind, None if vr == b"UN" else implicit, plans, charset, depth + 1)

    def _sequence(
        self, tag: int, end: int | None, implicit: bool | None, plans: _ItemPlans, charset: bytes, depth: int
    ) -> None:
        """Walk the items of the sequence `tag`; `implicit` None: as its first element looks."""
        if depth > MAX_DEPTH:
            raise NotDicom(f"sequences are nested deeper than {MAX_DEPTH} at {name(tag)}")
        cursor = self._cursor
        self.depth += 1
        for number, length in enumerate(cursor.items(tag, end)):
            plan = plans.items.get(number, plans.others)
            if plan.item is not None:
                self._take(plan.item, b"", b"", charset)
            if length == UNDEFINED or plan.branches or plan.anywhere:
                behind = None if length == UNDEFINED else cursor.position + length
                inner = not cursor.looks_explicit() if implicit is None else implicit
                self._level(behind, inner, plan, charset, depth, EVERY_TAG)
        self.depth -= 1

    def _fragments(self, tag: int) -> None:
        self.depth += 1
        for length in self._cursor.items(tag, None):
            if length == UNDEFINED:
                raise NotDicom(f"{name(tag)} has a fragment of undefined length")
        self.depth -= 1


def verify_structure(source: BinaryIO, transfer_syntax: str, *, inflated_limit: int = 0) -> None:
    """Raise NotDicom, naming the element, when the data set that `source` stands at is cut or badly nested.

    Reads element headers only, from there to the end of `source`. Sequences of defined length are taken as one value.
    A deflated data set is inflated piece by piece, to at most `inflated_limit` bytes (0: no such limit).
    """
    cursor = Cursor(open_data(source, transfer_syntax, inflated_limit), transfer_syntax)
    Walk(cursor, lambda *_: None).top(Plan())
