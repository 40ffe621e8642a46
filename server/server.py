"""The server as everything above sees it: configuration, storage, index and counters in one object."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from db.index import Index
from server.amap import AeMap
from server.authority import Caller
from server.dictionary import DicomDictionary
from server.ini import IniFile
from server.log import Logs
from server.running import Counters, Running
from server.settings import ServerSettings
from server.soplist import SopList
from server.uid import UidMaker
from storage.header import TagPath
from storage.pool import CodecPool
from storage.store import Storage

if TYPE_CHECKING:
    from server.jobs import JobRunner


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command answers: the DIMSE status and the bytes of (9999,0401), None when there are none."""

    status: int
    payload: bytes | None = None


CommandRunner = Callable[["Server", str, bytes | Path | None, Caller], Outcome]


@dataclass
class Server:
    """Everything a service, command or pipeline step needs, built once by `dgate.app`.

    `settings` is replaced as a whole by `read_ini:`; take it anew for each request. Each process of a server has its
    own; in workers `refresh` brings it up to date.
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
    codecs: CodecPool = field(default_factory=CodecPool)
    status_string: str = ""
    port: int = 0
    # In the process that runs commands: what does their jobs.
    jobs: JobRunner | None = None
    # In a worker: takes over what commands have changed in another process.
    follow: Callable[[], None] | None = None

    def refresh(self) -> None:
        """See what commands that were answered have changed; called before each request and each association."""
        if self.follow is not None:
            self.follow()

    @property
    def ae_title(self) -> str:
        return self.settings.MyACRNema

    @cached_property
    def wanted(self) -> frozenset[TagPath]:
        """What is read of every object's header: the columns of the index and what its file name is made of."""
        return self.index.schema.paths | self.storage.name_tags
