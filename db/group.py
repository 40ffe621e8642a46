"""Group commit: objects that arrive on several threads at one time are entered in one transaction."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from db.errors import Refused
from db.objects import Added, NewObject

# A transaction of more than this holds back the first of its objects for nothing.
MOST = 500

Result = Added | Refused


@dataclass(slots=True)
class _Waiting:
    """One object and the thread that waits for it."""

    new: NewObject
    done: threading.Event | None = None  # a leader waits for nobody
    result: Result | None = None
    error: BaseException | None = None


class GroupCommit:
    """Enters objects one by one for many threads; a group is whatever waits when the one before is committed.

    There is no thread of its own: the first to come enters what has gathered, and hands that over to the next.
    """

    def __init__(self, add_many: Callable[[Sequence[NewObject]], Sequence[Result]]) -> None:
        self._add_many = add_many
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._busy = False

    def add(self, new: NewObject) -> Result:
        """Enter an object; committed when this returns. Raises what `add_many` raises, in every thread of its group."""
        mine = _Waiting(new)
        with self._lock:
            leads = not self._busy
            self._busy = True
            if not leads:
                mine.done = threading.Event()
            self._queue.append(mine)
        if mine.done is not None:
            mine.done.wait()
            leads = mine.result is None and mine.error is None
        if leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        assert mine.result is not None, "a group that was committed has a result for each object"
        return mine.result

    def _lead(self) -> None:
        """Enter one group, the leader's own object in it; then make the first of those that came meanwhile lead."""
        with self._lock:
            group = [self._queue.popleft() for _ in range(min(MOST, len(self._queue)))]
        try:
            results = self._add_many([waiting.new for waiting in group])
            for waiting, result in zip(group, results, strict=True):
                waiting.result = result
        except BaseException as error:
            for waiting in group:
                waiting.error = error
        with self._lock:
            next_leader = self._queue[0] if self._queue else None
            self._busy = next_leader is not None
        for each in (*group, next_leader):
            if each is not None and each.done is not None:
                each.done.set()
