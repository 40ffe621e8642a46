"""Lookup tables of a data set: modality and VOI LUTs, and the palettes of PALETTE COLOR, segmented ones too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import NotRendered

# (0028,3002) and its likes count entries in 16 bits, where 0 stands for one more than fits.
MOST_ENTRIES = 65536

_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table (PS3.3 C.11.1.1): `entries[0]` is for the value `first` and all below it; entries have `bits` bits."""

    first: int
    entries: NDArray[np.uint16]
    bits: int

    @property
    def top(self) -> int:
        """The largest entry that the bits can hold."""
        return (1 << self.bits) - 1

    def of(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Look values up; those outside of the table get its first or last entry."""
        if values.dtype.kind == "f":
            values = np.rint(
                np.nan_to_num(values, nan=self.first, posinf=2.0**62, neginf=-(2.0**62)).clip(-(2.0**62), 2.0**62)
            )
        return self.entries[np.clip(values.astype(np.int64) - self.first, 0, len(self.entries) - 1)]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The three numbers of a LUT Descriptor: entries, first value mapped, bits of an entry."""

    entries: int
    first: int
    bits: int

    @classmethod
    def read(cls, raw: bytes, *, little_endian: bool, signed: bool) -> Descriptor:
        """Read the value of a descriptor; `signed`: the pixels are, and so the first value mapped."""
        if len(raw) < 6:
            raise NotRendered("a LUT descriptor has less than three numbers")
        order = "little" if little_endian else "big"
        entries, first, bits = (int.from_bytes(raw[at : at + 2], order) for at in (0, 2, 4))  # type: ignore[arg-type]
        if signed and first >= 0x8000:
            first -= 0x10000
        return cls(entries or MOST_ENTRIES, first, bits)


def plain_table(descriptor: Descriptor, raw: bytes, *, little_endian: bool) -> LookupTable:
    """Make a table of LUT data: one entry a byte, or a 16-bit word. Raises NotRendered when there are too few."""
    wanted = descriptor.entries
    if len(raw) >= 2 * wanted:
        entries = _words(raw, little_endian)[:wanted]
    elif descriptor.bits <= 8 and len(raw) >= wanted:
        entries = _bytes(raw, little_endian)[:wanted].astype(np.uint16)
    else:
        entries = _words(raw, little_endian)
    if len(entries) < wanted:
        raise NotRendered(f"a LUT of {wanted} entries has {len(raw)} bytes")
    return _table(descriptor, entries)


def segmented_table(descriptor: Descriptor, raw: bytes, *, little_endian: bool) -> LookupTable:
    """Make a table of Segmented Palette Color LUT Data (PS3.3 C.7.9.2); raises NotRendered when it is none."""
    narrow = descriptor.bits <= 8
    words = (_bytes(raw, little_endian) if narrow else _words(raw, little_endian)).tolist()
    entries = _Expansion(words, 1 if narrow else 2, descriptor.entries).run()
    if len(entries) < descriptor.entries:
        raise NotRendered(f"a segmented LUT of {descriptor.entries} entries has {len(entries)}")
    return _table(descriptor, np.asarray(entries[: descriptor.entries], np.uint16))


def _words(raw: bytes, little_endian: bool) -> NDArray[np.uint16]:
    whole = raw[: len(raw) - len(raw) % 2]
    return np.frombuffer(whole, "<u2" if little_endian else ">u2").astype(np.uint16)


def _bytes(raw: bytes, little_endian: bool) -> NDArray[np.uint8]:
    """Bytes in words of OW, which change places with the byte order."""
    return np.frombuffer(raw, np.uint8) if little_endian else _words(raw, False).astype("<u2").view(np.uint8)


def _table(descriptor: Descriptor, entries: NDArray[np.uint16]) -> LookupTable:
    bits = descriptor.bits
    largest = int(entries.max())
    if not 1 <= bits <= 16 or largest >= 2**bits:
        bits = max(8, largest.bit_length())
    elif bits == 16 and largest <= 255:
        # Old ultrasound machines write entries of 8 bits and call them 16.
        bits = 8
    return LookupTable(descriptor.first, entries, bits)


class _Expansion:
    """Segments being expanded; never to more than the descriptor says, however long they claim to be."""

    def __init__(self, data: list[int], width: int, wanted: int) -> None:
        self._data = data
        self._width = width
        self._wanted = wanted
        self._out: list[int] = []
        self._segments = 0

    def run(self) -> list[int]:
        place = 0
        # A NUL that makes the length even may follow the last segment.
        while place + 2 < len(self._data) and len(self._out) < self._wanted:
            place = self._segment(place)
        return self._out

    def _segment(self, place: int, *, copied: bool = False) -> int:
        """Expand the segment at `place` and return where the next one begins."""
        self._segments += 1
        if self._segments > self._wanted + len(self._data):
            raise NotRendered("a segmented LUT goes on without making entries")
        kind, length = self._take(place, 2)
        place += 2
        if kind == _DISCRETE:
            self._out += self._take(place, length)
            return place + length
        if kind == _LINEAR:
            (last,) = self._take(place, 1)
            self._line(length, last)
            return place + 1
        if kind != _INDIRECT or copied:
            raise NotRendered(f"a segmented LUT has a segment of kind {kind} where none may be")
        # Least significant 16 bits first, each as entries of that width are written.
        parts = self._take(place, 4 // self._width)
        offset = sum(part << (8 * self._width * number) for number, part in enumerate(parts))
        source = offset // self._width
        for _ in range(length):
            if len(self._out) >= self._wanted:
                break
            source = self._segment(source, copied=True)
        return place + len(parts)

    def _line(self, length: int, last: int) -> None:
        if not self._out:
            raise NotRendered("a segmented LUT begins with a line that has no beginning")
        before = self._out[-1]
        self._out += [
            before + int(np.rint((last - before) * step / length)) for step in range(1, min(length, self._wanted) + 1)
        ]

    def _take(self, place: int, count: int) -> list[int]:
        if place + count > len(self._data):
            raise NotRendered("a segmented LUT ends in the middle of a segment")
        return self._data[place : place + count]
