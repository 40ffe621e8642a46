"""What changes while the server runs: open associations, counters, the wish to stop."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence

from server.limits import Admissions, Limits, Peer

# What is counted, in the order of the cells that processes share.
COUNTERS = (
    "Echo",
    "Find",
    "Move",
    "Get",
    "Unknown",
    "ImagesReceived",
    "ImagesSaved",
    "ImagesSent",
    "ImagesForwarded",
    "CodecNKI",
    "CodecJPEG",
    "CodecJPEG2000",
    "CodecRLE",
    "CodecDownsize",
)


class Counters:
    """The integers of display_status, added to from many threads; each process adds to a row of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = {name: place for place, name in enumerate(COUNTERS)}
        self._own: array[int] | memoryview = array("q", [0] * len(COUNTERS))
        self._rows: Sequence[array[int] | memoryview] = (self._own,)

    def share(self, rows: Sequence[array[int] | memoryview], own: int) -> None:
        """Count in `rows` of shared memory from now on, in row `own` what this process does."""
        self._rows, self._own = rows, rows[own]

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._own[self._places[name]] += amount

    def __getitem__(self, name: str) -> int:
        """What all processes have counted."""
        place = self._places[name]
        return sum(row[place] for row in self._rows)


class Running:
    """The associations of a server that is one process, and the wish to stop it."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._when_idle = False
        self._lock = threading.Lock()
        self._threads = 0
        self._open = 0
        self._admissions = Admissions()

    @property
    def threads(self) -> int:
        """How many connections there have been."""
        return self._threads

    @property
    def open_threads(self) -> int:
        """How many connections are open."""
        return self._open

    @property
    def admitted(self) -> dict[str, int]:
        """How many associations of each host are open."""
        with self._lock:
            return dict(self._admissions.of_host)

    def begin(self, number: int = 0) -> int:
        """Count a connection in and return its thread number: `number`, if it has one already."""
        with self._lock:
            self._threads += 1
            self._open += 1
            return number or self._threads

    def end(self, number: int) -> None:
        """Count a connection and its association out; the last one ends a server that was told to `safequit`."""
        with self._lock:
            self._open -= 1
            self._admissions.leave(number)
            idle = self._open <= 0
        if idle and self._when_idle:
            self.stopping.set()

    def admit(self, number: int, peer: Peer, limits: Limits) -> str:
        """Count an association in, or say why there are too many already."""
        with self._lock:
            return self._admissions.admit(number, peer, limits)

    def stop(self) -> None:
        """Stop now: the listener closes and open associations are aborted."""
        self.stopping.set()

    def stop_when_idle(self) -> None:
        """Stop as soon as no association is open."""
        with self._lock:
            self._when_idle = True
            idle = self._open <= 0
        if idle:
            self.stopping.set()
