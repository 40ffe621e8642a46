"""Handing rows over: an object counts as stored when its row is in shared memory, and is committed a moment later."""

from __future__ import annotations

import contextlib
import marshal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from db.backend import Lookup
from db.engine import Database, Session
from db.errors import Refused
from db.fields import Fielded, Fields, Values
from db.group import MOST, Result
from db.objects import NewObject
from db.progress import Progress
from db.rings import Rings
from db.tombstones import Tombstones
from db.write import Add, Writer

# How long rows gather until they are entered together.
_GATHER_S = 0.015
# The ring whose owner enters the rows of all.
_ENTERS = 0
# A server of one process that takes no rows for so long has no thread for them.
_IDLE_S = 1.0
# When rows could not be entered, and nobody stores or asks, they are tried again after this time.
_RETRY_S = 5.0


_Row = tuple[int, int, Fielded]
"""The ring that a row is in, the position behind it, and the row."""


class Listener(Protocol):
    """Who hears what becomes of rows that were handed over, in the process and thread that entered them."""

    def entered(self, new: NewObject, result: Result) -> None:
        """A row was committed, and there is something to do or to say: see `Added`; or it was refused."""

    def failing(self, error: Exception) -> None:
        """Rows cannot be entered; they stay, and are tried again. Said once until `recovered`."""

    def recovered(self) -> None:
        """They have been entered after all."""


class HandOver:
    """Takes rows of one process in a few microseconds, and enters the rows of all processes in groups.

    Whoever reads or writes the index calls `settle` first, so that rows of a process that was killed are entered by the
    others. When nobody does, a thread in the owner of the first ring enters all of them a moment later: not in the
    processes that receive objects, where it would take the interpreter from them.
    """

    def __init__(
        self,
        database: Database,
        fields: Fields,
        writer: Callable[[], Writer],
        tombstones: Tombstones,
        rings: Rings,
        slot: int = 0,
    ) -> None:
        self.listener: Listener | None = None
        self._database = database
        self._fields = fields
        self._writer = writer
        self._tombstones = tombstones
        self._rings = rings
        self._slot = slot
        self._progress = Progress(database, rings.run)
        self._lock = threading.Lock()
        self._lookup: Lookup | None = None
        self._thread: threading.Thread | None = None
        self._wake = rings.wake
        self._closing = threading.Event()
        database.settle = self.settle
        if rings.count > 1:
            self._wake.set()  # a process that was killed may have left rows, or this half cleared
            if slot == _ENTERS:
                self._begin()

    @property
    def in_flight(self) -> bool:
        """Whether rows wait to be committed."""
        return self._rings.in_flight

    def put(self, uid: str, above: Values, own: Values, device: str, file: str, look: Callable[[], Lookup]) -> bool:
        """Take the row of an object, unless there is one of its SOP instance UID; committed or not, all see it now.

        False, and nothing done, also when there is no room and when rows cannot be entered at present: it must be
        entered in the caller's own transaction then, which tells why. `look` opens what tells whether there is a row.
        """
        record = marshal.dumps((device, file, above, own), 2)
        rings = self._rings
        with self._lock:
            if rings.failures or self._is_there(uid, look) or not self._has_begun():
                return False
            if not rings.put(self._slot, record):
                return False
            if not self._wake.is_set():
                self._wake.set()
        return True

    def settle(self) -> None:
        """Return when all rows that were handed over before are committed. Raises DatabaseError, rows stay then."""
        if self._rings.in_flight:
            self._drain()

    def close(self) -> None:
        """Enter what waits, and end the thread; the next row begins another. Raises nothing: what is left stays."""
        with self._lock:
            thread, self._thread = self._thread, None
            closing, self._closing = self._closing, threading.Event()
            self._let_go_of_lookup()
        if thread is not None:
            closing.set()
            self._wake.set()
            thread.join()
        self._tried()

    # Taking rows

    def _is_there(self, uid: str, look: Callable[[], Lookup]) -> bool:
        """Whether the index has a SOP instance, or cannot say."""
        try:
            if self._lookup is None:
                self._lookup = look()
            return self._lookup(uid)
        except self._database.backend.driver_error:
            self._let_go_of_lookup()
            return True

    def _let_go_of_lookup(self) -> None:
        lookup, self._lookup = self._lookup, None
        if lookup is not None:
            lookup.close()

    # Entering them

    def _has_begun(self) -> bool:
        """Whether there is somebody to enter rows, here or in another process; there may be no room for a thread."""
        if self._thread is None and self._slot == _ENTERS:
            with contextlib.suppress(RuntimeError):
                self._begin()
            return self._thread is not None
        return True

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, args=(self._closing,), name="rows", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self, closing: threading.Event) -> None:
        """Enter rows a moment after the first of them came, until this is closed or nobody comes any more."""
        idle_s = _IDLE_S if self._rings.count == 1 else None
        well = True
        while not closing.is_set():
            if not self._wake.wait(idle_s if well else _RETRY_S) and well and self._rested():
                return
            # What is put before this is entered now, what is put after it wakes again.
            self._wake.clear()
            closing.wait(_GATHER_S)
            well = self._tried()

    def _rested(self) -> bool:
        """Let the thread end, unless a row has just come."""
        with self._lock:
            if not self._wake.is_set():
                self._thread = None
            return self._thread is None

    def _tried(self) -> bool:
        try:
            self.settle()
        except Exception:  # `_drain` has told it, and the rows are still there
            return False
        return True

    def _drain(self) -> None:
        entered: list[tuple[NewObject, Result]] = []
        failures = self._rings.failures
        try:
            with self._rings.draining:
                if self._rings.failures > failures:
                    # It has just been tried by who was here before, maybe for half a minute.
                    raise self._rings.failure()
                self._enter_all(entered)
        finally:
            # What is done about them may read or write the index, so not while others are kept out.
            if self.listener is not None:
                for new, result in entered:
                    self.listener.entered(new, result)

    def _enter_all(self, entered: list[tuple[NewObject, Result]]) -> None:
        """Enter what was put until now, and add to `entered` what there is something to say of."""
        rings, listener, heads = self._rings, self.listener, self._rings.heads()
        try:
            while rows := self._next(heads):
                entered += self._enter(rows)
        except Exception as error:
            first = not rings.failures
            rings.failed(error)
            if first and listener is not None:
                listener.failing(error)
            raise
        if rings.failures:
            rings.recovered()
            if listener is not None:
                listener.recovered()

    def _next(self, heads: Sequence[int]) -> list[_Row]:
        """The oldest rows of all rings that are before these heads, as many as one transaction should have."""
        rows: list[_Row] = []
        for slot, tail in enumerate(self._rings.tails()):
            for end, record in self._rings.records(slot, tail, heads[slot], MOST - len(rows)):
                device, file, above, own = marshal.loads(record)
                rows.append((slot, end, Fielded(above, own, device, file)))
        return rows

    def _enter(self, rows: Sequence[_Row]) -> list[tuple[NewObject, Result]]:
        try:
            entered = self._writer().either_way(lambda add: self._database.enter(partial(self._entered, rows, add)))
        except BaseException:
            self._progress.there = False
            raise
        self._progress.there = True
        tails = self._rings.tails()
        for slot, end, _ in rows:
            tails[slot] = end
        self._rings.let_go(tails)
        return [
            (NewObject(self._fields.values(new), new.device, new.file), result)
            for new, result in entered
            if isinstance(result, Refused) or result.previous is not None or result.warnings
        ]

    def _entered(self, rows: Sequence[_Row], add: Add, session: Session) -> list[tuple[Fielded, Result]]:
        """Enter rows in a transaction, but for those that are in already: their tail was not moved any more."""
        ends = self._progress.read(session, self._rings.count)
        left = [row for row in rows if row[1] > ends[row[0]]]
        for slot, end, _ in left:
            ends[slot] = end
        objects = [new for _, _, new in left]
        results = self._tombstones.of_replaced(session, objects, add(session, objects))
        self._progress.write(session, ends)
        return list(zip(objects, results, strict=True))
