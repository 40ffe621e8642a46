"""New UIDs, as ConQuest makes them: prefix, ``.6.`` or ``.7.``, time in seconds, counter."""

from __future__ import annotations

import threading
import time

COUNTER_MODULO = 10000

# The branches below UIDPrefix: UIDs of new things, and those that replace others in copies of objects.
NEW = 6
CHANGED = 7


class UidMaker:
    """Makes UIDs that differ from each other and from those of earlier runs; may be used from many threads.

    `offset` (``-cN``) makes those of processes that run side by side differ.
    """

    def __init__(self, prefix: str, offset: int = 0) -> None:
        self._prefix = prefix.rstrip(".")
        self._lock = threading.Lock()
        self._counter = offset
        self._second = int(time.time())
        self._made = 0

    def __call__(self, branch: int = NEW) -> str:
        """The next UID."""
        with self._lock:
            self._counter = (self._counter + 1) % COUNTER_MODULO
            now = int(time.time())
            if now > self._second:
                self._second, self._made = now, 0
            elif self._made >= COUNTER_MODULO:
                # More than the counter tells apart in one second: borrow the next one.
                self._second, self._made = self._second + 1, 0
            self._made += 1
            return f"{self._prefix}.{branch}.{self._second}.{self._counter}"
