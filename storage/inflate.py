"""Bounded reading of a deflated data set: a piece at a time, never the whole, and no bombs."""

import zlib
from typing import BinaryIO

from storage.errors import NotDicom

PIECE = 64 * 1024
MB = 1024 * 1024

# Deflate reaches 1032:1. Masks and empty frames really do compress that well, so the ratio counts only behind what
# an honest segmentation may inflate to; from there on it keeps a small file from costing hours of processor time.
FREE_OF_RATIO = 512 * MB
RATIO = 200


class InflatedData:
    """The inflated bytes of a deflated data set, for one walk from its beginning to its end.

    `source` stands at the first byte of the deflate stream. Inflating more than `limit` bytes (0: no limit of one's
    own, only the ratio) raises NotDicom, as a damaged or cut stream does.
    """

    UNKNOWN = 1 << 62

    def __init__(self, source: BinaryIO, limit: int = 0) -> None:
        self.size = self.UNKNOWN
        self._source = source
        self._limit = limit
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._consumed = 0
        self._base = 0
        self._block = b""

    def load(self, position: int) -> bytes:
        """Return what is at hand from `position` on: at least 12 bytes, fewer only where the data set ends.

        Bytes before `position` are given up: later calls must not ask for them.
        """
        self._fetch(position, 12)
        return self._block

    def read(self, position: int, count: int) -> bytes:
        """Return `count` bytes at `position`, fewer only where the data set ends."""
        self._fetch(position, count)
        return self._block[:count]

    def _fetch(self, position: int, count: int) -> None:
        assert position >= self._base, "a deflated data set is read forwards only"
        while len(self._block) - (position - self._base) < count:
            behind = self._base + len(self._block)
            piece = self._more(behind)
            if not piece:
                self.size = min(self.size, behind)
                break
            kept = self._block[position - self._base :]
            self._base = behind - len(kept)
            self._block = kept + piece
        self._block = self._block[position - self._base :]
        self._base = position

    def _more(self, inflated: int) -> bytes:
        """Inflate the next piece; empty at the end of the stream."""
        while not self._inflate.eof:
            chunk = self._inflate.unconsumed_tail
            if not chunk:
                chunk = self._source.read(PIECE // 4)
                self._consumed += len(chunk)
            try:
                piece = self._inflate.decompress(chunk, PIECE)
            except zlib.error as error:
                raise NotDicom("the deflated data set is damaged") from error
            if piece:
                self._bound(inflated + len(piece))
                return piece
            if not chunk:
                raise NotDicom("the deflated data set is cut short")
        return b""

    def _bound(self, inflated: int) -> None:
        if self._limit and inflated > self._limit:
            raise NotDicom(f"the deflated data set inflates to more than {self._limit // MB} MB")
        if inflated > FREE_OF_RATIO and inflated > RATIO * self._consumed:
            raise NotDicom(f"the deflated data set inflates to more than {RATIO} times its size")
