"""The objects that a retrieve selects: counted before the first is sent, and kept outside of memory when many."""

from __future__ import annotations

import marshal
import threading
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import IO

from db.matches import Rows, text_of
from db.objects import StoredObject

# So much of a selection stays in memory: a thousand objects or so.
_IN_MEMORY = 256 << 10


class Selection:
    """The objects of one retrieve in their order. Taking them all first lets the index go on with other things.

    Any number of threads may take objects, each its own. Close it when done. Raises OSError when there is no room for
    temporary files.
    """

    def __init__(self, found: Iterable[Rows]) -> None:
        self._lock = threading.Lock()
        self._rows: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  (closed by `close`)
        self._given_back: list[StoredObject] = []
        self.count = 0
        try:
            for rows in found:
                # Written by ourselves and read by nobody else, so marshal, the fastest there is, is safe.
                self._rows.write(b"".join([marshal.dumps(row) for row in rows]))
                self.count += len(rows)
            self._rows.seek(0)
        except BaseException:
            self._rows.close()
            raise
        self._left = self.count
        self.stopped = False

    def first(self, most: int) -> list[StoredObject]:
        """The first objects, which stay to be taken; before anybody takes one."""
        with self._lock:
            found = [self._read() for _ in range(min(most, self.count))]
            self._rows.seek(0)
            return found

    def take(self) -> StoredObject | None:
        """The next object; None behind the last, and once stopped."""
        with self._lock:
            if self.stopped:
                return None
            if self._given_back:
                return self._given_back.pop()
            if not self._left:
                return None
            self._left -= 1
            return self._read()

    def give_back(self, row: StoredObject) -> None:
        """Leave an object that was taken to whoever takes the next."""
        with self._lock:
            self._given_back.append(row)

    def rest(self) -> Iterator[StoredObject]:
        """Take every object that nobody has taken."""
        while (row := self.take()) is not None:
            yield row

    def stop(self) -> None:
        """Let nobody take any more."""
        with self._lock:
            self.stopped = True

    def close(self) -> None:
        """Stop, and forget the objects."""
        self.stop()
        self._rows.close()

    def _read(self) -> StoredObject:
        return StoredObject(*map(text_of, marshal.load(self._rows)))
