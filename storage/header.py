"""The values of an object's header that the index, file names and scripts ask for, read without touching the pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO

from storage.elements import (
    EVERY_TAG,
    KNOWN_VRS,
    PIXEL_DATA,
    STRING_VRS,
    BeginningData,
    Beyond,
    Cursor,
    HeldData,
    open_data,
)
from storage.errors import NotDicom
from storage.layout import Layouts
from storage.structure import EVERY_ITEM, SPECIFIC_CHARACTER_SET, Branch, Plan, TagPath, Walk
from storage.text import plain_text, value_text
from storage.transfer import is_deflated

__all__ = [
    "ANYWHERE",
    "Header",
    "Item",
    "NotDicom",
    "TagPath",
    "in_item",
    "read_header",
    "read_held",
    "read_items",
    "vr_of",
]

# First member of a path (ANYWHERE, tag): the first element of that tag, on the top level or in any sequence.
ANYWHERE = -1

# What was found by path: VR (empty if none), value, and the character set it was written in.
_Raw = dict[TagPath, tuple[bytes, bytes, bytes]]

_SOP_CLASS = (0x00080016,)
_SOP_INSTANCE = (0x00080018,)
_CHARSET = (SPECIFIC_CHARACTER_SET,)

# More than any header holds before its pixels, and little enough to inflate for each of many associations.
_INFLATED_HEADER = 16 * 1024 * 1024

# Items that `read_items` holds: more than any structure set has contours.
_MOST_ITEMS = 1_000_000

# dictionary_VR gives these for elements whose VR depends on others; as text only the number matters.
_AMBIGUOUS = {"US or SS": "US", "US or OW": "OW", "US or SS or OW": "OW", "OB or OW": "OW"}


@dataclass(frozen=True, slots=True)
class Header:
    """Values of one object by path: decoded, several joined by backslashes; an absent element is an absent key.

    `values` must not be changed: what is read of the next object begins with it.
    """

    values: Mapping[TagPath, str]
    character_set: str = ""

    def text(self, *path: int) -> str:
        """The value at `path`, "" when it is absent or empty."""
        return self.values.get(path, "")


def in_item(sequence: int, number: int) -> int:
    """The member of a path that stands for item `number`, from 0, of a sequence; a bare tag is item 0."""
    return sequence | number << 32


def read_header(
    source: BinaryIO | HeldData, transfer_syntax: str, wanted: Collection[TagPath], *, whole: bool = False
) -> Header:
    """Read the `wanted` values of the data set that `source` stands at the first byte of.

    A path is (tag,), or (sequence, ..., tag) through the first item of each sequence (`in_item` for others), or
    (ANYWHERE, tag). Reading stops behind the last wanted tag; with `whole` it goes on to the end and checks what
    `verify_structure` checks, in the one pass. `wanted` as a frozenset is planned once.

    Raises NotDicom when the bytes are no data set, when they are cut before reading is done, or when there is
    neither a SOP class nor a SOP instance UID. Values are cut at 64 KiB.
    """
    wanted = frozenset(wanted)
    if whole and isinstance(source, HeldData) and source.held is not None:
        return read_held(source.held, transfer_syntax, wanted)
    return _walk(source, transfer_syntax, wanted, whole=whole)


def read_held(data: bytes, transfer_syntax: str, wanted: Collection[TagPath]) -> Header:
    """Read what `read_header` with `whole` reads, of a data set that is in memory; raises what that raises.

    Those of one series mostly have one structure, and cost little more than their values from the second on.
    """
    wanted = frozenset(wanted)
    layouts = _layouts(wanted, transfer_syntax)
    found = layouts and layouts.find(data, whole=True)
    if found:
        return Header(found[0], found[1])
    header = _walk(HeldData(data, len(data), lambda: io.BytesIO(data)), transfer_syntax, wanted, whole=True)
    if layouts:
        layouts.learn(data, header.character_set, whole=True)
    return header


def _walk(source: BinaryIO | HeldData, transfer_syntax: str, wanted: frozenset[TagPath], *, whole: bool) -> Header:
    plan, stop = _planned(wanted)
    raw: _Raw = {}
    cursor = Cursor(open_data(source, transfer_syntax, 0 if whole else _INFLATED_HEADER), transfer_syntax)
    Walk(cursor, _into(raw)).top(plan, EVERY_TAG if whole else stop)
    return _header(raw, wanted, cursor.little_endian)


@dataclass(frozen=True, slots=True)
class Early:
    """The header of a data set that was still arriving; it is the header if the data set ends with byte `end`."""

    header: Header
    end: int


def read_beginning(head: bytes, transfer_syntax: str, wanted: Collection[TagPath]) -> Early | None:
    """Read what `read_header` with `whole` reads, of a data set whose first bytes, `head`, have arrived.

    None when these do not tell, which is so unless all but the value of the last element is there.
    """
    wanted = frozenset(wanted)
    layouts = _layouts(wanted, transfer_syntax)
    found = layouts and layouts.find(head, whole=False)
    if found:
        return Early(Header(found[0], found[1]), found[2])
    early = _walk_beginning(head, transfer_syntax, wanted)
    if early is not None and layouts:
        layouts.learn(head, early.header.character_set, whole=False)
    return early


def _walk_beginning(head: bytes, transfer_syntax: str, wanted: frozenset[TagPath]) -> Early | None:
    raw: _Raw = {}
    try:
        cursor = Cursor(BeginningData(head), transfer_syntax)
        walk = Walk(cursor, _into(raw))
        try:
            walk.top(_planned(wanted)[0])
        except Beyond as beyond:
            if beyond.position > 0 and walk.depth == 0:
                return Early(_header(raw, wanted, cursor.little_endian), beyond.position)
    except (NotDicom, Beyond):
        pass  # what is wrong is found when all of it is there
    return None


def _into(raw: _Raw) -> Callable[[TagPath, bytes, bytes, bytes], None]:
    def take(path: TagPath, vr: bytes, value: bytes, charset: bytes) -> None:
        raw.setdefault(path, (vr, value, charset))

    return take


def _header(raw: _Raw, wanted: Collection[TagPath], little_endian: bool) -> Header:
    if not any(raw.get(path, (b"", b""))[1] for path in (_SOP_CLASS, _SOP_INSTANCE)):
        raise NotDicom("it has neither a SOP class nor a SOP instance UID")
    character_set = raw[_CHARSET][1].decode("latin-1").strip(" \0") if _CHARSET in raw else ""
    for always in (_SOP_CLASS, _SOP_INSTANCE, _CHARSET):
        if always not in wanted:
            raw.pop(always, None)
    values = {}
    for path, (vr, value, charset) in raw.items():
        text = plain_text(value) if vr in STRING_VRS else None  # nearly every value
        values[path] = value_text(_effective_vr(path[-1], vr), value, charset, little_endian) if text is None else text
    return Header(values, character_set)


@lru_cache(maxsize=32)
def _layouts(wanted: frozenset[TagPath], transfer_syntax: str) -> Layouts | None:
    """Return what is remembered of data sets read so; none where a walk goes by more than their structure."""
    plan, _ = _planned(wanted)
    if plan.anywhere or is_deflated(transfer_syntax):
        return None
    return Layouts(transfer_syntax, plan, wanted, _effective_vr)


@dataclass(frozen=True, slots=True)
class Item:
    """A data set, or an item of a sequence: the wanted values by tag as text, and wanted sequences with all items.

    A wanted element that is present, a sequence included, is a key of `values`.
    """

    values: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, list[Item]] = field(default_factory=dict)

    def text(self, tag: int) -> str:
        """The value of `tag`, "" when it is absent or empty."""
        return self.values.get(tag, "")

    def items(self, *path: int) -> list[Item]:
        """The items of a sequence, or those of a sequence in every item of the one before; [] when there is none."""
        found = [self]
        for tag in path:
            found = [inner for one in found for inner in one.sequences.get(tag, ())]
        return found


def read_items(source: BinaryIO | HeldData, transfer_syntax: str, wanted: Collection[TagPath]) -> Item:
    """Read the `wanted` values as `read_header` does, those of sequences from every item and not from the first.

    What stands in front of a break counts: a data set that is cut or badly nested is not refused, unless it does not
    even begin as one (NotDicom). `wanted` as a frozenset is planned once.
    """
    wanted = frozenset(wanted)
    root = Item()
    path_to = [root]
    items = 0
    plan = _every_item(wanted)
    cursor = Cursor(open_data(source, transfer_syntax, _INFLATED_HEADER), transfer_syntax)

    def take(path: TagPath, vr: bytes, value: bytes, charset: bytes) -> None:
        nonlocal items
        if path[-1] == EVERY_ITEM:
            del path_to[len(path) - 1 :]
            items += 1
            if items > _MOST_ITEMS:
                raise NotDicom(f"it has more than {_MOST_ITEMS} items")
            path_to.append(Item())
            path_to[-2].sequences.setdefault(path[-2], []).append(path_to[-1])
        else:
            text = value_text(_effective_vr(path[-1], vr), value, charset, cursor.little_endian)
            path_to[len(path) - 1].values.setdefault(path[-1], text)

    # A break behind what was read takes nothing from it.
    with suppress(NotDicom):
        Walk(cursor, take).top(plan, max(plan.branches))
    return root


@lru_cache(maxsize=32)
def _every_item(wanted: frozenset[TagPath]) -> Plan:
    return _below([*wanted, _CHARSET], ())


def _below(paths: Iterable[TagPath], above: TagPath) -> Plan:
    """The plan for `paths` on the level that `above` leads to."""
    inner: dict[int, list[TagPath]] = {}
    for first, *rest in paths:
        inner.setdefault(first, []).append(tuple(rest))
    branches = {}
    for tag, rests in inner.items():
        deeper = [rest for rest in rests if rest]
        items = {EVERY_ITEM: _below(deeper, (*above, tag))} if deeper else {}
        branches[tag] = Branch((*above, tag), items)
    return Plan(branches, item=(*above, EVERY_ITEM) if above else None)


@lru_cache(maxsize=4096)
def vr_of(tag: int) -> str:
    """The VR of a tag by the dictionary; UN for private and unknown ones, LO for private creators."""
    group, element = tag >> 16, tag & 0xFFFF
    if group % 2 and 0x10 <= element <= 0xFF:
        return "LO"
    if element == 0:
        return "UL"
    # Explicit data sets say it themselves, and the dictionary takes longer to load than many of them to read.
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _effective_vr(tag: int, vr: bytes) -> str:
    if vr in KNOWN_VRS and vr != b"UN":
        return vr.decode("ascii")
    found = vr_of(tag)
    return _AMBIGUOUS.get(found, found)


@dataclass(slots=True)
class _Growing:
    """A plan being put together."""

    paths: dict[int, TagPath] = field(default_factory=dict)
    items: dict[int, dict[int, _Growing]] = field(default_factory=dict)

    def add(self, path: TagPath, whole: TagPath) -> None:
        first, *rest = path
        if not rest:
            self.paths[first] = whole
            return
        numbers = self.items.setdefault(first & 0xFFFFFFFF, {})
        numbers.setdefault(first >> 32, _Growing()).add(tuple(rest), whole)

    def plan(self, anywhere: Mapping[int, TagPath]) -> Plan:
        tags = {*self.paths, *self.items, SPECIFIC_CHARACTER_SET}
        return Plan(
            {
                tag: Branch(
                    self.paths.get(tag),
                    {number: inner.plan(anywhere) for number, inner in self.items.get(tag, {}).items()},
                )
                for tag in tags
            },
            anywhere,
        )


@lru_cache(maxsize=32)
def _planned(wanted: frozenset[TagPath]) -> tuple[Plan, int]:
    """Turn paths into a plan and the last tag of the top level that it needs."""
    growing = _Growing()
    anywhere: dict[int, TagPath] = {}
    for path in (*wanted, _SOP_CLASS, _SOP_INSTANCE, _CHARSET):
        if path[0] == ANYWHERE:
            anywhere[path[-1]] = path
        else:
            growing.add(path, path)
    plan = growing.plan(anywhere)
    last = max(plan.branches)
    # What may stand in any sequence is looked for up to the pixels, which no header value stands behind.
    return plan, max(last, PIXEL_DATA - 1) if anywhere else last
