"""Records on their way from the processes of a server into its index: rings of bytes in memory they all share."""

from __future__ import annotations

import marshal
import mmap
import os
import threading
import uuid
from contextlib import AbstractContextManager

from db.errors import DatabaseError, DatabaseFull, DatabaseLocked, DatabaseMissing
from db.sharing import FileLock, SharedEvent

# Some 1500 rows.
SIZE = 1 << 20
_LENGTH = 4
# What is remembered of the error for which records stay here.
_NOTE = 1 << 12
_MOST_TEXT = 1000
_KINDS: dict[str, type[DatabaseError]] = {
    kind.__name__: kind for kind in (DatabaseError, DatabaseFull, DatabaseLocked, DatabaseMissing)
}


class Rings:
    """A ring for each process, to be made before they are forked: its owner writes, who holds `draining` reads.

    `wake` is for whoever has put a record to set, and for one thread of all processes to wait for.

    Positions count bytes since the beginning. The head of a ring moves when a record is whole, its tail when records
    are committed. Both are cells of 64 bits, read and written in one access, so that they are never seen half changed.
    """

    def __init__(self, count: int = 1, size: int = SIZE) -> None:
        self.count = count
        self.run = uuid.uuid4().hex
        self._size = size
        numbers = 8 * (2 + 2 * count)
        self._note = -(-numbers // 64) * 64
        self._first = self._note + _NOTE
        length = self._first + count * size
        file = os.memfd_create("dgate rows", os.MFD_CLOEXEC) if count > 1 else -1
        if count > 1:
            os.ftruncate(file, length)
        self._memory = mmap.mmap(file, length)
        cells = memoryview(self._memory)[:numbers].cast("q")
        self._failures, self._heads, self._tails = cells[:1], cells[2 : 2 + count], cells[2 + count :]
        self.draining: AbstractContextManager[object] = FileLock(file, 0) if count > 1 else threading.Lock()
        self.wake: threading.Event | SharedEvent = SharedEvent(cells[1:2]) if count > 1 else threading.Event()

    @property
    def in_flight(self) -> bool:
        """Whether there is a record that is not committed."""
        # Each head is read before its tail: what was put before this is seen unless it is committed.
        return self._heads != self._tails

    def heads(self) -> list[int]:
        return self._heads.tolist()

    def tails(self) -> list[int]:
        return self._tails.tolist()

    def put(self, slot: int, record: bytes) -> bool:
        """Append a record to the ring of a process, one thread of it at a time; False when there is no room."""
        head = self._heads[slot]
        end = head + _LENGTH + len(record)
        if end - self._tails[slot] > self._size:
            return False
        self._write(slot, head, len(record).to_bytes(_LENGTH, "little") + record)
        self._heads[slot] = end
        return True

    def records(self, slot: int, begin: int, end: int, most: int) -> list[tuple[int, bytes]]:
        """Some records between two positions of a ring, none behind its head; each behind the position of the next."""
        data = self._read(slot, begin, end - begin)
        found: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data) and len(found) < most:
            start = at + _LENGTH
            at = start + int.from_bytes(data[at:start], "little")
            found.append((begin + at, data[start:at]))
        return found

    def let_go(self, tails: list[int]) -> None:
        """Make room again up to these positions: all before them is committed."""
        for slot, tail in enumerate(tails):
            self._tails[slot] = tail

    # Failure

    @property
    def failures(self) -> int:
        """How many times in a row the records could not be committed; 0 when all is well."""
        return self._failures[0]

    def failed(self, error: Exception) -> None:
        """Remember why records stay here, for all processes."""
        note = marshal.dumps((type(error).__name__, str(error)[:_MOST_TEXT]))
        self._memory[self._note : self._note + len(note)] = note
        self._failures[0] += 1

    def failure(self) -> DatabaseError:
        """What `failed` was last told."""
        name, text = marshal.loads(self._memory[self._note : self._note + _NOTE])
        return _KINDS.get(name, DatabaseError)(text)

    def recovered(self) -> None:
        """Forget that records could not be committed."""
        self._failures[0] = 0

    # Bytes

    def _write(self, slot: int, position: int, data: bytes) -> None:
        start, room = self._place(slot, position)
        if len(data) <= room:
            self._memory[start : start + len(data)] = data
        else:
            ring = start + room - self._size
            self._memory[start : start + room] = data[:room]
            self._memory[ring : ring + len(data) - room] = data[room:]

    def _read(self, slot: int, position: int, length: int) -> bytes:
        start, room = self._place(slot, position)
        if length <= room:
            return self._memory[start : start + length]
        ring = start + room - self._size
        return self._memory[start : start + room] + self._memory[ring : ring + length - room]

    def _place(self, slot: int, position: int) -> tuple[int, int]:
        """Where in the memory a position is, and how many bytes there are until the ring begins again."""
        offset = position % self._size
        return self._first + slot * self._size + offset, self._size - offset
