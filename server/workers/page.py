"""The memory that all processes of a server share: numbers, rows, and the state that commands change."""

from __future__ import annotations

import mmap
import os
import threading

from db.rings import Rings
from db.sharing import FileLock

# Cells of 64 bits. Reading or writing one is a single access, so it is never seen half changed.
GENERATION = 0
THREADS = 1
OPEN = 2
_UIDS = 8
_UID_CELLS = 3
_ROWS = 64
ROW = 32
MOST_PROCESSES = 128

_NUMBERS = 1 << 16
# Two places for the state, written in turn, so that one is whole whenever its writer dies.
_STATE = 4 << 20


class Page:
    """Memory to be made before the processes that share it are forked.

    Locks are the kernel's, by process, and end with it, so that one who is killed holds up nobody.
    """

    def __init__(self, processes: int = 1) -> None:
        """Have a ring for rows for each of so many processes."""
        self.rows = Rings(processes)
        self._file = os.memfd_create("dgate", os.MFD_CLOEXEC)
        os.ftruncate(self._file, _NUMBERS + 2 * _STATE)
        self._memory = mmap.mmap(self._file, 0)
        self.cells = memoryview(self._memory)[:_NUMBERS].cast("q")
        self._state_lock = threading.Lock()
        self.uid_lock = FileLock(self._file, 0)
        self._state_file_lock = FileLock(self._file, 1)

    @property
    def uid_cells(self) -> memoryview:
        """Where the maker of UIDs keeps its count."""
        return self.cells[_UIDS : _UIDS + _UID_CELLS]

    @property
    def counters(self) -> list[memoryview]:
        """A row of counters for each process there can be."""
        return [self.cells[start : start + ROW] for start in range(_ROWS, _ROWS + MOST_PROCESSES * ROW, ROW)]

    @property
    def generation(self) -> int:
        """The number of the state in force."""
        return self.cells[GENERATION]

    def publish(self, state: bytes) -> int:
        """Put a state in force; whoever reads `generation` after this finds it new. Raises ValueError if too long."""
        if len(state) > _STATE - 8:
            raise ValueError(f"a state of {len(state)} bytes is too long to be shared")
        with self._state_file_lock:
            number = self.generation + 1
            start = _place(number)
            self._memory[start : start + 8] = len(state).to_bytes(8, "little")
            self._memory[start + 8 : start + 8 + len(state)] = state
            self.cells[GENERATION] = number
            return number

    def state(self) -> tuple[int, bytes]:
        """The number of the state in force, and the state; empty while none was published."""
        with self._state_file_lock:
            number = self.generation
            start = _place(number)
            length = int.from_bytes(self._memory[start : start + 8], "little")
            return number, self._memory[start + 8 : start + 8 + length]


def _place(number: int) -> int:
    return _NUMBERS + number % 2 * _STATE
