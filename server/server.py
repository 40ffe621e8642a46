"""The server as everything above sees it: configuration, storage, index and counters in one object."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from db.index import Index
from server.amap import AeMap
from server.authority import Caller
from server.dictionary import DicomDictionary
from server.ini import IniFile
from server.log import Logs
from server.settings import ServerSettings
from server.soplist import SopList
from server.uid import UidMaker
from storage.header import TagPath
from storage.store import Storage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command answers: the DIMSE status and the bytes of (9999,0401), None when there are none."""

    status: int
    payload: bytes | None = None


CommandRunner = Callable[["Server", str, bytes | Path | None, Caller], Outcome]


class Counters:
    """The integers of display_status, added to from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, int] = {}

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            self._values[name] = self._values.get(name, 0) + amount

    def __getitem__(self, name: str) -> int:
        return self._values.get(name, 0)


@dataclass(slots=True)
class Running:
    """What changes while the server runs: open associations, the wish to stop."""

    stopping: threading.Event = field(default_factory=threading.Event)
    when_idle: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0
    open_threads: int = 0
    admitted: dict[str, int] = field(default_factory=dict)

    def begin(self) -> int:
        """Count an association in and return its thread number."""
        with self.lock:
            self.threads += 1
            self.open_threads += 1
            return self.threads

    def end(self) -> None:
        """Count an association out; the last one ends a server that was told to `safequit`."""
        with self.lock:
            self.open_threads -= 1
            idle = self.open_threads <= 0
        if idle and self.when_idle:
            self.stopping.set()

    def admit(self, host: str, limit: int, per_host: int) -> str:
        """Count an association of `host` in, or say why there are too many already; 0 is no limit."""
        with self.lock:
            if limit and sum(self.admitted.values()) >= limit:
                return f"{limit} associations are open (MaxAssociations)"
            mine = self.admitted.get(host, 0)
            if per_host and mine >= per_host:
                return f"{mine} associations of its host are open (MaxAssociationsPerHost)"
            self.admitted[host] = mine + 1
            return ""

    def leave(self, host: str) -> None:
        """Count an association out that `admit` let in."""
        with self.lock:
            self.admitted[host] -= 1
            if not self.admitted[host]:
                del self.admitted[host]

    def stop(self) -> None:
        """Stop now: the listener closes and open associations are aborted."""
        self.stopping.set()

    def stop_when_idle(self) -> None:
        """Stop as soon as no association is open."""
        self.when_idle = True
        with self.lock:
            idle = self.open_threads <= 0
        if idle:
            self.stopping.set()


@dataclass
class Server:
    """Everything a service, command or pipeline step needs, built once by `dgate.app`.

    `settings` is replaced as a whole by `read_ini:`; take it anew for each request.
    """

    base: Path
    ini: IniFile
    settings: ServerSettings
    storage: Storage
    index: Index
    amap: AeMap
    sops: SopList
    dictionary: DicomDictionary
    logs: Logs
    run_command: CommandRunner
    reload: Callable[[Server], None]
    new_uid: UidMaker
    counters: Counters = field(default_factory=Counters)
    running: Running = field(default_factory=Running)
    started: float = field(default_factory=time.time)
    status_string: str = ""
    port: int = 0

    @property
    def ae_title(self) -> str:
        return self.settings.MyACRNema

    @cached_property
    def wanted(self) -> frozenset[TagPath]:
        """What is read of every object's header: the columns of the index and what its file name is made of."""
        return self.index.schema.paths | self.storage.name_tags
