"""The codes of an NKI stream found without a loop over its bytes, for the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import CodecFailed

Array = NDArray[Any]
Stream = NDArray[np.uint8]

_LONGEST = 2 + 127


def _lengths(mode: int) -> Stream:
    """Bytes of a code by its first; a run of nibbles, 2 here, has half as many more as its second says."""
    lengths = np.ones(256, np.uint8)
    if mode == 5:
        lengths[:0x20] = 2
        return lengths
    lengths[0x40:0x7F] = lengths[0x80:0xC0] = 2
    lengths[0x7F] = 3
    if mode in (3, 4):
        lengths[0xC0] = 2
    return lengths


_LENGTHS = {mode: _lengths(mode) for mode in range(1, 6)}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Consecutive codes of a stream: where each begins, how many words it stands for, and where the last ends."""

    stream: Stream
    mode: int
    at: Array
    lengths: Array
    counts: Array

    @property
    def end(self) -> int:
        return int(self.at[-1]) + int(self.lengths[-1])

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def places(self) -> Array:
        """The number of the first word of each."""
        return np.cumsum(self.counts) - self.counts

    def up_to(self, words: int) -> Tokens:
        """Those that stand for the first `words` words; raises CodecFailed when one goes beyond."""
        ends = np.cumsum(self.counts)
        kept = int(np.searchsorted(ends, words, "left")) + 1
        if kept > len(ends):
            return self
        if ends[kept - 1] > words:
            raise CodecFailed("a run of NKI data goes beyond the image")
        return replace(self, at=self.at[:kept], lengths=self.lengths[:kept], counts=self.counts[:kept])

    @property
    def _first(self) -> Stream:
        return self.stream[self.at]

    @property
    def single(self) -> Array:
        """The numbers of codes that are one difference."""
        first = self._first
        if self.mode == 5:
            return np.flatnonzero((first >= 0x20) & (first < 0xE0))
        other = (first == 0x7F) | (first == 0x80)
        return np.flatnonzero(~(other | (first == 0xC0)) if self.mode in (3, 4) else ~other)

    @property
    def differences(self) -> Array:
        """The differences of `single`."""
        at = self.at[self.single]
        first = self.stream[at]
        if self.mode == 5:
            return first.astype(np.int32) - 128
        short = first.view(np.int8).astype(np.int32)
        second = self.stream[np.minimum(at + 1, len(self.stream) - 1)]
        both = ((first ^ 0x40).astype(np.uint16) << 8 | second).view(np.int16)
        return np.where(self.lengths[self.single] == 2, both, short)

    @property
    def absolute(self) -> Array:
        """The numbers of codes that are a value."""
        first = self._first
        return np.flatnonzero(first < 0x20 if self.mode == 5 else first == 0x7F)

    @property
    def values(self) -> Array:
        """The values of `absolute`."""
        at = self.at[self.absolute] + (self.mode != 5)
        values: Array = self.stream[at].astype(np.int32) << 8 | self.stream[at + 1]
        return values

    def nibbles(self) -> Iterator[tuple[Array, Array]]:
        """Yield places of words and differences out of the runs of nibbles, high ones, then low ones."""
        if self.mode not in (3, 4):
            return
        runs = np.flatnonzero(self._first == 0xC0)
        if not len(runs):
            return
        halves = self.counts[runs] // 2
        within = np.arange(halves.sum()) - np.repeat(np.cumsum(halves) - halves, halves)
        packed = self.stream[np.repeat(self.at[runs] + 2, halves) + within]
        places = np.repeat(self.places[runs], halves) + 2 * within
        yield places, packed.view(np.int8).astype(np.int32) >> 4
        yield places + 1, (packed << 4).view(np.int8).astype(np.int32) >> 4


def find_tokens(stream: Stream, start: int, count: int, mode: int) -> Tokens:
    """Find the codes that begin in the `count` bytes from `start`, where one begins, and are whole.

    Raises CodecFailed for runs of no words and of half bytes.
    """
    piece = stream[start : start + count + _LONGEST]
    lengths = _LENGTHS[mode][piece].astype(np.int64)
    if mode in (3, 4):
        runs = np.flatnonzero(piece[:-1] == 0xC0)
        lengths[runs] += piece[runs + 1] // 2
    at = np.flatnonzero(_begins(lengths))
    ends = at + lengths[at]
    whole = (at < count) & (ends <= len(piece))
    at = at[whole]
    return Tokens(stream, mode, at + start, lengths[at], _counts(piece, at, mode))


def _begins(lengths: Array) -> NDArray[np.bool_]:
    """Mark the bytes that begin a code, the first one doing so."""
    long = np.flatnonzero(lengths > 1)
    spans = lengths[long]
    real = _real(long, spans)
    begins = np.ones(len(lengths), bool)
    long, spans = long[real], spans[real]
    for offset in (1, 2):
        covered = long[spans > offset] + offset
        begins[covered[covered < len(begins)]] = False
    for begin, span in zip(long[spans > 3].tolist(), spans[spans > 3].tolist(), strict=True):
        begins[begin + 1 : begin + span] = False
    return begins


def _real(long: Array, spans: Array) -> NDArray[np.bool_]:
    """Of bytes that look like the first of a long code, which are; the others lie inside of one.

    What lies behind everything before it is for certain. From there each real one leads to the next, the first behind
    its end: all are found in as many steps as the longest chain has binary digits, each step twice as wide.
    """
    count = len(long)
    ends = long + spans
    real = np.ones(count + 1, bool)
    if count < 2:
        return real[:count]
    np.less_equal(np.maximum.accumulate(ends[:-1]), long[1:], out=real[1:count])
    following = np.arange(1, count + 2)
    following[count] = count
    for offset in (1, 2):
        following[: count - offset] += long[offset:] < ends[:-offset]
    wide = np.flatnonzero(spans > 3)
    following[wide] = np.searchsorted(long, ends[wide])
    while True:
        reached = following[real]
        if real[reached].all():
            return real[:count]
        real[reached] = True
        following = following[following]


def _counts(piece: Stream, at: Array, mode: int) -> Array:
    first = piece[at]
    counts = np.ones(len(at), np.int64)
    if mode == 5:
        run = first >= 0xE0
        counts[run] = first[run].astype(np.int64) - 0xDF
        return counts
    run = first == 0x80
    if mode in (3, 4):
        nibbles = first == 0xC0
        if np.any(piece[at[nibbles] + 1] % 2):
            raise CodecFailed("NKI data has a run of half bytes")
        run |= nibbles
    counts[run] = piece[at[run] + 1]
    if not counts.all():
        raise CodecFailed("NKI data has a run of no words")
    return counts
