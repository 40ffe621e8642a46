"""The sub-operations of a C-MOVE or C-GET: counted over all associations they run on, and reported now and then."""

from __future__ import annotations

import threading
import time

from server.commandset import COMPLETED, FAILED, REMAINING, WARNING, Value
from server.status import Status

# A list of UIDs must fit an element with a length of 16 bits.
_MAX_LIST = 0xFFFE
# Pending responses, which are optional (PS3.4 C.4.2.3.1), are this far apart but for the first and the last.
REPORT_SECONDS = 0.1


class SubOperations:
    """How many sub-operations of one retrieve remain, are done, or failed; counted by any thread."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._room = _MAX_LIST
        self.total = total
        self.remaining = total
        self.completed = 0
        self.warning = 0
        self.failed = 0
        # As many UIDs of what failed as one element can hold; the log names them all.
        self.failed_uids: list[str] = []

    @property
    def sent(self) -> int:
        return self.completed + self.warning

    def done(self, uid: str, status: int) -> bool:
        """Count one sub-operation by the status the receiver gave it; False when that is a failure."""
        with self._lock:
            self.remaining -= 1
            if status == Status.SUCCESS:
                self.completed += 1
            elif status >> 12 == 0xB:
                self.warning += 1
            else:
                self._fail(uid)
                return False
            return True

    def fail(self, uid: str) -> None:
        """Count one sub-operation that never came to an answer of the receiver."""
        with self._lock:
            self.remaining -= 1
            self._fail(uid)

    def _fail(self, uid: str) -> None:
        self.failed += 1
        self._room -= len(uid) + 1
        if self._room >= 0:
            self.failed_uids.append(uid)

    def fields(self, *, final: bool) -> dict[int, Value]:
        """The elements of a response, which hold no more than 65535 each."""
        with self._lock:
            fields: dict[int, Value] = {
                COMPLETED: min(self.completed, 0xFFFF),
                FAILED: min(self.failed, 0xFFFF),
                WARNING: min(self.warning, 0xFFFF),
            }
            if not final or self.remaining:
                fields[REMAINING] = min(self.remaining, 0xFFFF)
            return fields

    @property
    def status(self) -> int:
        """The final status of a retrieve that went to its end."""
        if not self.failed:
            return Status.SUCCESS
        everything = not self.completed and not self.warning
        return Status.CANNOT_PERFORM_SUBOPERATIONS if everything else Status.SUBOPERATION_FAILURES


class Reports:
    """Decides when a pending response is due: for the first sub-operation, the last but one, and in between seldom."""

    def __init__(self, operations: SubOperations) -> None:
        self._operations = operations
        self._reported = operations.total
        self._next = 0.0

    def due(self) -> bool:
        """Whether to report now."""
        remaining = self._operations.remaining
        if remaining == self._reported or not remaining:
            return False
        now = time.monotonic()
        if remaining > 1 and now < self._next:
            return False
        self._reported = remaining
        self._next = now + REPORT_SECONDS
        return True
