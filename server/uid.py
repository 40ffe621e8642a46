"""New UIDs, as ConQuest makes them: prefix, ``.6.`` or ``.7.``, time in seconds, counter."""

from __future__ import annotations

import threading
import time
from array import array
from contextlib import AbstractContextManager

COUNTER_MODULO = 10000

# The branches below UIDPrefix: UIDs of new things, and those that replace others in copies of objects.
NEW = 6
CHANGED = 7


_COUNTER, _SECOND, _MADE = range(3)


class UidMaker:
    """Makes UIDs that differ from each other and from those of earlier runs; may be used from many threads.

    `offset` (``-cN``) makes those of processes that run side by side differ. The processes of one server share the
    count.
    """

    def __init__(self, prefix: str, offset: int = 0) -> None:
        self._prefix = prefix.rstrip(".")
        self._lock: AbstractContextManager[object] = threading.Lock()
        # Counter, second and how many UIDs were made of it.
        self._cells: array[int] | memoryview = array("q", [offset, int(time.time()), 0])

    def share(self, cells: array[int] | memoryview, lock: AbstractContextManager[object]) -> None:
        """Count in three cells of shared memory from now on, under a lock of all processes that do."""
        cells[_COUNTER], cells[_SECOND], cells[_MADE] = self._cells
        self._cells, self._lock = cells, lock

    def __call__(self, branch: int = NEW) -> str:
        """The next UID."""
        with self._lock:
            cells = self._cells
            cells[_COUNTER] = counter = (cells[_COUNTER] + 1) % COUNTER_MODULO
            now = int(time.time())
            if now > cells[_SECOND]:
                cells[_SECOND], cells[_MADE] = now, 0
            elif cells[_MADE] >= COUNTER_MODULO:
                # More than the counter tells apart in one second: borrow the next one.
                cells[_SECOND], cells[_MADE] = cells[_SECOND] + 1, 0
            cells[_MADE] += 1
            return f"{self._prefix}.{branch}.{cells[_SECOND]}.{counter}"
