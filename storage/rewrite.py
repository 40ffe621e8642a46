"""A data set under another patient ID and other UIDs; every other byte stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag

from storage.deflate import deflated
from storage.elements import SHORT_VRS, UNDEFINED, Cursor, open_data
from storage.errors import NotConvertible, NotDicom
from storage.header import vr_of
from storage.structure import SPECIFIC_CHARACTER_SET
from storage.text import encoded_text
from storage.transfer import is_deflated
from storage.traversal import Kind, Step, steps

PATIENT_ID = 0x00100020

# More UIDs than any real object refers to; each may cost a transaction.
MAX_UIDS = 100_000
# An element that is no UID all the same must not be read into memory: this holds a list of 1000.
_LONGEST_UIDS = 65 * 1000
_PIECE = 64 * 1024

# The standard's own UIDs name classes, syntaxes, context groups: they mean the same in every object.
_STANDARD = "1.2.840.10008."

# Called with a tag and the UID it has; returns the UID that it gets.
NewUid = Callable[[int, str], str]


@dataclass(frozen=True, slots=True)
class Edit:
    """In the data set, `removed` bytes at `position` become `added`."""

    position: int
    removed: int
    added: bytes


def with_patient(source: BinaryIO, transfer_syntax: str, patient_id: str, new_uid: NewUid) -> Iterator[bytes]:
    """Yield the data set that `source` stands at, with `patient_id` and new instance UIDs, in its transfer syntax.

    UIDs are asked of `new_uid` one by one, in sequences too, but for those of classes, those that the standard
    defines, and empty ones. Group lengths, which would be wrong, are left out. Raises NotDicom where the data set is
    damaged and NotConvertible where the ID cannot be written, before the first piece.
    """
    start = source.tell()
    edits = _edits(Cursor(open_data(source, transfer_syntax), transfer_syntax), patient_id, new_uid)
    source.seek(start)
    return apply_edits(source, transfer_syntax, edits)


def apply_edits(source: BinaryIO, transfer_syntax: str, edits: list[Edit]) -> Iterator[bytes]:
    """Yield the data set that `source` stands at with `edits`, which are in the order of their positions.

    Positions are those of the data set, of a deflated one when it is inflated; it is deflated again.
    """
    pieces = _applied(source, transfer_syntax, edits)
    return deflated(pieces) if is_deflated(transfer_syntax) else pieces


def is_instance_uid(tag: int, uid: str) -> bool:
    """Whether a UID names an instance, of which a copy gets another: not that of a class, nor one of the standard's."""
    return bool(uid) and "Class" not in keyword_for_tag(tag) and not uid.startswith(_STANDARD)


def _edits(cursor: Cursor, patient_id: str, new_uid: NewUid) -> list[Edit]:
    changes = _Changes(cursor, patient_id, new_uid)
    for step in steps(cursor, vr_of):
        changes.take(step)
    changes.finish(cursor.position)
    return sorted(changes.edits, key=lambda edit: edit.position)


class _Changes:
    """The edits of one data set, gathered in its order; the lengths of what they lie in are edited with them."""

    def __init__(self, cursor: Cursor, patient_id: str, new_uid: NewUid) -> None:
        self.edits: list[Edit] = []
        self._cursor = cursor
        order = "<" if cursor.little_endian else ">"
        self._short, self._long = Struct(f"{order}H").pack, Struct(f"{order}L").pack
        self._tag = Struct(f"{order}HH").pack
        self._patient_id = patient_id
        self._patient_done = False
        self._charset = b""
        self._new_uid = new_uid
        self._uids = 0
        # Of each sequence and item around: the step that opened it, and how much it has grown.
        self._open: list[tuple[Step, int]] = []

    def take(self, step: Step) -> None:
        """Look at one step of the traversal."""
        if not step.depth and step.tag > PATIENT_ID and not self._patient_done:
            self._insert_patient(step.start)
        if step.kind in (Kind.SEQUENCE, Kind.ITEM):
            self._open.append((step, 0))
        elif step.kind in (Kind.END_OF_SEQUENCE, Kind.END_OF_ITEM):
            opened, growth = self._open.pop()
            if growth and opened.length != UNDEFINED:
                self.edits.append(Edit(opened.position - 4, 4, self._long(opened.length + growth)))
            self._grow(growth)
        elif step.kind is Kind.VALUE:
            self._value(step)

    def finish(self, end: int) -> None:
        """Add what is still missing behind the last element."""
        if not self._patient_done:
            self._insert_patient(end)

    def _value(self, step: Step) -> None:
        if not step.tag & 0xFFFF:
            self._edit(Edit(step.start, step.position - step.start + step.length, b""))
        elif step.depth == 0 and step.tag == SPECIFIC_CHARACTER_SET:
            self._charset = self._cursor.value(step.length)
        elif step.depth == 0 and step.tag == PATIENT_ID:
            self._patient_element(step)
        elif step.vr == "UI" and step.length:
            self._uid(step)

    def _patient_element(self, step: Step) -> None:
        if self._patient_done:  # twice, or behind its place: the old ID must not stay
            self._edit(Edit(step.start, step.position - step.start + step.length, b""))
            return
        self._patient_done = True
        self._replace(step, self._patient())

    def _uid(self, step: Step) -> None:
        if step.length > _LONGEST_UIDS:
            raise NotConvertible(f"a UID element of {step.length} bytes")
        old = self._cursor.value(step.length).decode("latin-1").rstrip(" \0")
        new = "\\".join(self._changed(step.tag, uid.strip(" \0")) for uid in old.split("\\"))
        if new != old:
            value = new.encode("latin-1")
            self._replace(step, value + b"\0" * (len(value) % 2))

    def _changed(self, tag: int, uid: str) -> str:
        if not is_instance_uid(tag, uid):
            return uid
        self._uids += 1
        if self._uids > MAX_UIDS:
            raise NotConvertible(f"it has more than {MAX_UIDS} UIDs")
        return self._new_uid(tag, uid)

    def _replace(self, step: Step, value: bytes) -> None:
        """Give an element another value, and the length to it."""
        short = step.written in SHORT_VRS and bool(step.written)
        size = 2 if short else 4
        if short and len(value) > 0xFFFF:
            raise NotConvertible("a list of UIDs becomes too long for its element")
        length = self._short(len(value)) if short else self._long(len(value))
        self.edits.append(Edit(step.position - size, size, length))
        self._edit(Edit(step.position, step.length, value))

    def _insert_patient(self, position: int) -> None:
        self._patient_done = True
        value = self._patient()
        head = self._tag(PATIENT_ID >> 16, PATIENT_ID & 0xFFFF)
        head += self._long(len(value)) if self._cursor.implicit else b"LO" + self._short(len(value))
        self._edit(Edit(position, 0, head + value))

    def _patient(self) -> bytes:
        value = encoded_text(self._patient_id, self._charset)
        return value + b" " * (len(value) % 2)

    def _edit(self, edit: Edit) -> None:
        self.edits.append(edit)
        self._grow(len(edit.added) - edit.removed)

    def _grow(self, growth: int) -> None:
        if self._open and growth:
            step, before = self._open[-1]
            self._open[-1] = (step, before + growth)


def _applied(source: BinaryIO, transfer_syntax: str, edits: list[Edit]) -> Iterator[bytes]:
    data = open_data(source, transfer_syntax)
    position = 0
    for edit in edits:
        while position < edit.position:
            piece = data.read(position, min(_PIECE, edit.position - position))
            if not piece:
                raise NotDicom("it became shorter while it was read")
            position += len(piece)
            yield piece
        yield edit.added
        position += edit.removed
    while piece := data.read(position, _PIECE):
        position += len(piece)
        yield piece
