"""A stored object with tags replaced at every level of its sequences; every other byte stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag

from dgate.rev.errors import SubstitutionFailed
from dgate.rev.tagstruct import Anonymisation, TagStruct, read_tag_struct
from dgate.rev.template import Template
from dgate.rev.values import SETTABLE, encoded
from storage.elements import LONG_VRS, SHORT_VRS, UNDEFINED, Cursor, open_data
from storage.header import read_header, vr_of
from storage.part10 import ObjectFile, file_meta, read_object
from storage.rewrite import Edit, apply_edits
from storage.structure import SPECIFIC_CHARACTER_SET
from storage.text import value_text
from storage.traversal import Kind, Step, steps

_SOP_CLASS, _SOP_INSTANCE = (0x00080016,), (0x00080018,)
_REMOVED, _METHOD = 0x00120062, 0x00120063
_LONGEST_VALUE = 64 * 1024
# What other methods are named is kept so far.
_LONGEST_METHOD = 4096


def anonymised(path: Path, asked: Anonymisation) -> Iterator[bytes]:
    """Yield the file of an object as `asked` has it; one that this tagStruct has been applied to stays as it is.

    Pixel data and everything else that has no template keeps its bytes; the file meta information is new. Raises
    SubstitutionFailed, NotConvertible where the object's character set lacks a character, NotDicom or OSError, all
    before the first piece.
    """
    with path.open("rb") as source:
        file = read_object(source, path)
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, (_SOP_CLASS, _SOP_INSTANCE, (_METHOD,)))
        if asked.mark in header.text(_METHOD).split("\\"):
            source.seek(0)
            while piece := source.read(1 << 16):
                yield piece
            return
        edits = _edits(source, file, asked)
        head = file_meta(
            header.text(*_SOP_CLASS) or file.sop_class,
            header.text(*_SOP_INSTANCE) or file.sop_instance,
            file.transfer_syntax,
        )
        source.seek(file.offset)
        yield head
        yield from apply_edits(source, file.transfer_syntax, edits)


def _edits(source: BinaryIO, file: ObjectFile, asked: Anonymisation) -> list[Edit]:
    struct = read_tag_struct(asked.text)
    source.seek(file.offset)
    known = _known_values(Cursor(open_data(source, file.transfer_syntax), file.transfer_syntax), struct)
    source.seek(file.offset)
    cursor = Cursor(open_data(source, file.transfer_syntax), file.transfer_syntax)
    changes = _Changes(cursor, struct, asked, known)
    for step in steps(cursor, vr_of):
        changes.take(step)
    changes.finish(cursor.position)
    return sorted(changes.edits, key=lambda edit: edit.position)


@dataclass(slots=True)
class _Level:
    """A data set or an item: the level around it, its character set, and values that templates may refer to."""

    above: _Level | None
    charset: bytes = b""
    values: dict[int, str] = field(default_factory=dict)

    def lookup(self, keyword: str) -> str | None:
        """The value of a keyword here, else on the next level around."""
        level: _Level | None = self
        while level is not None:
            if (value := level.values.get(keyword_dict[keyword])) is not None:
                return value
            level = level.above
        return None


def _known_values(cursor: Cursor, struct: TagStruct) -> list[_Level]:
    """The levels of a data set in the order in which they begin, with the values that templates refer to."""
    levels = [_Level(None)]
    referred = _referred(struct)
    path = [levels[0]]
    for step in steps(cursor, vr_of):
        if step.kind is Kind.ITEM:
            path.append(_Level(path[-1], path[-1].charset))
            levels.append(path[-1])
        elif step.kind is Kind.END_OF_ITEM:
            path.pop()
        elif step.kind is Kind.VALUE and step.tag == SPECIFIC_CHARACTER_SET:
            path[-1].charset = cursor.value(min(step.length, _LONGEST_VALUE))
        elif (
            step.kind is Kind.VALUE
            and step.length <= _LONGEST_VALUE
            # Whatever is text may be referred to by a template of an expression.
            and (struct.expressions or step.tag in referred)
            and (vr := _vr(step))
        ):
            value = cursor.value(step.length)
            path[-1].values[step.tag] = value_text(vr, value, path[-1].charset, cursor.little_endian)
    return levels


def _vr(step: Step) -> str:
    """The VR that a value is read and written by, "" for neither text nor numbers; UN is what it ought to be."""
    if step.vr in SETTABLE:
        return step.vr
    known = vr_of(step.tag)
    return known if known in SETTABLE else ""


def _referred(struct: TagStruct) -> frozenset[int]:
    return frozenset(keyword_dict[keyword] for one in struct.exact.values() for keyword in one.keywords())


class _Changes:
    """The edits of one data set, gathered in its order; the lengths of what they lie in are edited with them."""

    def __init__(self, cursor: Cursor, struct: TagStruct, asked: Anonymisation, levels: list[_Level]) -> None:
        self.edits: list[Edit] = []
        self._cursor = cursor
        self._struct = struct
        self._asked = asked
        self._levels = iter(levels)
        self._path = [next(self._levels)]
        order = "<" if cursor.little_endian else ">"
        self._short, self._long = Struct(f"{order}H").pack, Struct(f"{order}L").pack
        self._tag = Struct(f"{order}HH").pack
        # What the data set itself must have in the end, absent or not; in the order of the tags.
        self._missing = sorted({*struct.exact, _REMOVED, _METHOD}, reverse=True)
        # Of each sequence and item around: the step that opened it, and how much it has grown.
        self._open: list[tuple[Step, int]] = []
        # Where the private element begins that is being left out, and the depth that it ends at.
        self._leaving: Step | None = None

    def take(self, step: Step) -> None:
        """Look at one step of the traversal."""
        if self._leaving is not None:
            self._leave(step)
            return
        if not step.depth and step.kind in (Kind.VALUE, Kind.SEQUENCE, Kind.FRAGMENTS):
            self._insert(step.start, step.tag)
        if step.kind in (Kind.VALUE, Kind.SEQUENCE, Kind.FRAGMENTS) and self._goes(step):
            if step.kind is Kind.SEQUENCE:
                self._leaving = step
            else:
                end = step.position + step.length if step.kind is Kind.VALUE else self._cursor.position
                self._edit(Edit(step.start, end - step.start, b""))
        elif step.kind in (Kind.SEQUENCE, Kind.FRAGMENTS) and step.tag in self._struct.exact:
            raise SubstitutionFailed(f"{keyword_for_tag(step.tag)} is no text in this object")
        elif step.kind in (Kind.SEQUENCE, Kind.ITEM):
            self._open.append((step, 0))
            if step.kind is Kind.ITEM:
                self._path.append(next(self._levels))
        elif step.kind in (Kind.END_OF_SEQUENCE, Kind.END_OF_ITEM):
            self._close(step)
        elif step.kind is Kind.VALUE:
            self._value(step)

    def finish(self, end: int) -> None:
        """Add what is still missing behind the last element."""
        self._insert(end, UNDEFINED)

    def _goes(self, step: Step) -> bool:
        """Whether an element is left out: private ones where that is asked for, and lengths of groups, now wrong."""
        return bool(step.tag >> 16 & 1 and self._asked.remove_private) or (
            step.kind is Kind.VALUE and not step.tag & 0xFFFF
        )

    def _leave(self, step: Step) -> None:
        """Pass over what a private sequence holds."""
        left = self._leaving
        assert left is not None
        if step.kind is Kind.ITEM:
            next(self._levels)
        elif step.kind is Kind.END_OF_SEQUENCE and step.depth == left.depth:
            self._leaving = None
            self._edit(Edit(left.start, self._cursor.position - left.start, b""))

    def _close(self, step: Step) -> None:
        opened, growth = self._open.pop()
        if step.kind is Kind.END_OF_ITEM:
            self._path.pop()
        if growth and opened.length != UNDEFINED:
            self.edits.append(Edit(opened.position - 4, 4, self._long(opened.length + growth)))
        self._grow(growth)

    def _value(self, step: Step) -> None:
        if not step.depth and step.tag in self._missing:
            self._missing.remove(step.tag)
        if not step.depth and step.tag in (_REMOVED, _METHOD):
            self._replace(step, self._own(step.tag, self._cursor.value(min(step.length, _LONGEST_METHOD))))
        elif (template := self._struct.of(step.tag)) is not None:
            self._replace(step, self._expanded(template, step.tag, _vr(step)))

    def _expanded(self, template: Template, tag: int, vr: str) -> bytes:
        level = self._path[-1]
        text = template.expanded(level.lookup, self._asked.seed, strict=self._asked.strict)
        return encoded(vr, keyword_for_tag(tag), text, level.charset, little_endian=self._cursor.little_endian)

    def _own(self, tag: int, before: bytes = b"") -> bytes:
        """The values that say what was done here; other methods that an object has been through stay named."""
        methods = [method for method in (before.strip(b" \0"), self._asked.mark.encode()) if method]
        value = b"YES" if tag == _REMOVED else b"\\".join(methods)
        return value + b" " * (len(value) % 2)

    def _insert(self, position: int, before: int) -> None:
        """Add the missing elements whose place is in front of the tag `before`."""
        while self._missing and self._missing[-1] < before:
            tag = self._missing.pop()
            vr = dictionary_VR(tag)
            template = self._struct.exact.get(tag)
            value = self._own(tag) if template is None else self._expanded(template, tag, vr)
            self._edit(Edit(position, 0, self._head(tag, vr, len(value)) + value))

    def _head(self, tag: int, vr: str, length: int) -> bytes:
        head = self._tag(tag >> 16, tag & 0xFFFF)
        if self._cursor.implicit:
            return head + self._long(length)
        written = vr.encode()
        if written in LONG_VRS:
            return head + written + b"\0\0" + self._long(length)
        return head + written + self._short(length)

    def _replace(self, step: Step, value: bytes) -> None:
        """Give an element another value, and the length to it."""
        short = bool(step.written) and step.written in SHORT_VRS
        if short and len(value) > 0xFFFE:
            raise SubstitutionFailed(f"{keyword_for_tag(step.tag)} becomes too long for its element")
        size = 2 if short else 4
        length = self._short(len(value)) if short else self._long(len(value))
        self.edits.append(Edit(step.position - size, size, length))
        self._edit(Edit(step.position, step.length, value))

    def _edit(self, edit: Edit) -> None:
        self.edits.append(edit)
        self._grow(len(edit.added) - edit.removed)

    def _grow(self, growth: int) -> None:
        if self._open and growth:
            step, before = self._open[-1]
            self._open[-1] = (step, before + growth)
