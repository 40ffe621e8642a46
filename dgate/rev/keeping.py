"""A library that is kept current: studies become jobs some time after their last object arrived."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from db.errors import DatabaseError, QueryRefused
from dgate.rev.files import as_json, read_json, write
from dgate.rev.job import REV, arguments
from server.server import Server

log = logging.getLogger("dgate")

# In the root of the library: up to which AccessTime of the archive's studies all have been asked for.
MARK = ".rev-archive.json"
# AccessTime goes in steps of so many seconds, as ConQuest keeps it.
_STEP = 32
# An object may be so much younger than the AccessTime of its study.
_YOUNGER_S = 32
_INTERVAL_S = 10.0


@dataclass(slots=True)
class Arrivals:
    """Which studies have become quiet: `through` is the AccessTime up to which all are dealt with."""

    through: int
    _asked: dict[str, int] = field(default_factory=dict)

    def ready(self, rows: Iterable[tuple[str, int]], now: float, delay: float) -> list[str]:
        """Take the studies that changed since `through`; return those to be done now.

        A study is done when nothing has arrived for `delay` seconds, and again when something does afterwards.
        """
        found = []
        latest, waiting = self.through, []
        for uid, access in rows:
            if access < self.through:
                continue
            latest = max(latest, access)
            if now - access < delay + _YOUNGER_S:
                waiting.append(access)
            elif self._asked.get(uid, -1) < access:
                self._asked[uid] = access
                found.append(uid)
        self.through = min([*waiting, latest])
        self._asked = {uid: access for uid, access in self._asked.items() if access >= self.through}
        return sorted(found)


class Keeper:
    """The thread that looks for studies that have arrived; RevLibrary of dicom.ini may come and go meanwhile."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._library: Path | None = None
        self._arrivals = Arrivals(0)

    def start(self) -> None:
        """Begin to look. The tables of the index are there."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._serve, name="rev library", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what has not been asked for is at the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None

    def _serve(self) -> None:
        while not self._stopping.wait(min(_INTERVAL_S, self._server.settings.RevDelay or 1)):
            if not self._server.settings.RevLibrary:
                self._library = None
                continue
            try:
                self._look(self._server.base / self._server.settings.RevLibrary)
            except (DatabaseError, QueryRefused, OSError) as error:
                log.error("*** The ReV library is not kept current: %s", " ".join(str(error).split()))

    def _look(self, library: Path) -> None:
        if library != self._library:
            library.mkdir(parents=True, exist_ok=True)
            self._arrivals = Arrivals(self._begin(library))
            self._library = library
        before = self._arrivals.through
        rows = self._changed_since(before)
        for uid in self._arrivals.ready(rows, time.time(), self._server.settings.RevDelay):
            assert self._server.jobs is not None
            number = self._server.jobs.submit(REV.name, arguments(library, "", uid))
            log.info("Study %s goes into the ReV library with job %d", uid, number)
        if self._arrivals.through != before:
            write(library / MARK, as_json({"through": self._arrivals.through}))

    def _begin(self, library: Path) -> int:
        """Where the last server left off; of a new library now, for what is in the archive is asked for with rev:."""
        found = read_json(library / MARK)
        if isinstance(found, dict) and isinstance(through := found.get("through"), int):
            return through
        now = int(time.time()) & ~(_STEP - 1)
        write(library / MARK, as_json({"through": now}))
        return now

    def _changed_since(self, access: int) -> list[tuple[str, int]]:
        table = self._server.index.schema.tables["STUDY"]
        rows = self._server.index.raw_query(table.name, f"{table.key.name}, AccessTime", f"AccessTime >= {access}")
        return [(uid, int(time)) for uid, time in rows if time.lstrip("-").isdigit()]
