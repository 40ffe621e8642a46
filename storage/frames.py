"""Some frames of a multi-frame object: what its header says of each frame, cut to those that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from struct import pack

from storage.elements import SHORT_VRS, UNDEFINED, Cursor, open_data
from storage.errors import NotConvertible
from storage.header import read_header, vr_of
from storage.part10 import read_object_file
from storage.rewrite import Edit, apply_edits
from storage.traversal import Kind, Step, steps

# Functional groups of each frame (PS3.3 C.7.6.16), and which elements have a value for each (C.7.6.6.1.1).
_PER_FRAME = 0x52009230
_INCREMENT_POINTER = (0x00280009,)
_NUMBER_OF_FRAMES = (0x00280008,)
# A vector of a million frames; longer ones are of no frames.
_LONGEST_VECTOR = 16 * 1024 * 1024
_TEXTS = frozenset({"DS", "IS", "TM", "DT", "DA", "LO", "SH", "CS"})
_WIDTHS = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}


def count_frames(path: Path) -> str:
    """Number of Frames (0028,0008) as the object has it, "" when it does not; raises NotDicom or OSError."""
    file = read_object_file(path)
    with path.open("rb") as source:
        source.seek(file.offset)
        return read_header(source, file.transfer_syntax, (_NUMBER_OF_FRAMES,)).text(*_NUMBER_OF_FRAMES).strip()


def keep_frames(path: Path, frames: Sequence[int], out: Path) -> bool:
    """Write a copy of an object whose header tells of the `frames`, counted from 0, alone.

    Pixels and their number stay. False, and nothing written, when the header says nothing of single frames. Raises
    NotConvertible when it has no such frame, NotDicom or OSError.
    """
    file = read_object_file(path)
    with path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, (_INCREMENT_POINTER, _NUMBER_OF_FRAMES))
        number = header.text(*_NUMBER_OF_FRAMES).strip()
        total = int(number) if number.isdecimal() else 1
        for frame in frames:
            if not 0 <= frame < total:
                raise NotConvertible(f"it has no frame {frame}, but 0 to {total - 1}")
        vectors = _tags(header.text(*_INCREMENT_POINTER))
        source.seek(file.offset)
        cursor = Cursor(open_data(source, file.transfer_syntax), file.transfer_syntax)
        edits = _Edits(cursor, frames, total, vectors).gathered()
        if not edits:
            return False
        source.seek(0)
        with out.open("wb") as target:
            target.write(source.read(file.offset))
            for piece in apply_edits(source, file.transfer_syntax, edits):
                target.write(piece)
    return True


def _tags(pointer: str) -> frozenset[int]:
    return frozenset(int(text, 16) for text in pointer.split("\\") if len(text) == 8)


class _Edits:
    """The edits of one data set: items of frames that go, vectors that become shorter."""

    def __init__(self, cursor: Cursor, frames: Sequence[int], total: int, vectors: frozenset[int]) -> None:
        self._cursor = cursor
        self._frames = frames
        self._kept = frozenset(frames)
        self._total = total
        self._vectors = vectors
        self._edits: list[Edit] = []

    def gathered(self) -> list[Edit]:
        """Walk the data set and return the edits in order."""
        sequence: Step | None = None
        item: Step | None = None
        removed = 0
        for step in steps(self._cursor, vr_of):
            if step.kind is Kind.SEQUENCE and step.depth == 0:
                sequence, removed = (step, 0) if step.tag == _PER_FRAME else (None, 0)
            elif step.kind is Kind.VALUE and step.depth == 0 and step.tag in self._vectors:
                self._vector(step)
            elif sequence is not None and step.depth == 1 and step.kind is Kind.ITEM:
                item = step
            elif sequence is not None and step.depth == 1 and step.kind is Kind.END_OF_ITEM and item is not None:
                if item.number not in self._kept:
                    length = self._cursor.position - item.start
                    self._edits.append(Edit(item.start, length, b""))
                    removed += length
            elif sequence is not None and step.depth == 0 and step.kind is Kind.END_OF_SEQUENCE:
                if removed and sequence.length != UNDEFINED:
                    order = "<" if self._cursor.little_endian else ">"
                    self._edits.append(Edit(sequence.position - 4, 4, pack(f"{order}L", sequence.length - removed)))
                sequence = None
        return sorted(self._edits, key=lambda edit: edit.position)

    def _vector(self, step: Step) -> None:
        """Shorten a value that has one part for each frame."""
        if step.length > _LONGEST_VECTOR:
            return
        value = self._cursor.value(step.length)
        if step.vr in _TEXTS:
            parts = value.split(b"\\")
            new = b"\\".join(self._chosen(parts)).strip(b" ")
            new += b" " * (len(new) % 2)
        elif step.vr in _WIDTHS:
            width = _WIDTHS[step.vr]
            new = b"".join(self._chosen([value[at : at + width] for at in range(0, len(value), width)]))
        else:
            return
        if new == value:
            return
        short = bool(step.written) and step.written in SHORT_VRS
        order = "<" if self._cursor.little_endian else ">"
        size = 2 if short else 4
        self._edits.append(Edit(step.position - size, size, pack(f"{order}{'H' if short else 'L'}", len(new))))
        self._edits.append(Edit(step.position, step.length, new))

    def _chosen(self, parts: list[bytes]) -> list[bytes]:
        return [parts[frame] for frame in self._frames] if len(parts) == self._total else parts
