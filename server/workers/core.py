"""The core: the process of a server that runs commands and everything else that is no association."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Protocol

from server.authority import Caller
from server.running import Running
from server.server import CommandRunner, Outcome, Server
from server.status import Status
from server.workers.channel import Channel
from server.workers.children import CORE
from server.workers.door import answer
from server.workers.page import OPEN, THREADS, Page
from server.workers.state import Follower, Publisher

log = logging.getLogger("dgate")

# How long commands that run get to end when the server stops; long ones look whether it does.
_END_SECONDS = 3.0


class Work(Protocol):
    """What a server does beside associations; all of it in the process that calls `start`."""

    def start(self, *, again: bool) -> bool:
        """Begin; False when that cannot be, which has been said. `again`: another process had begun, and was killed."""

    def tidy(self) -> None:
        """Deal with what a worker that was killed left behind."""

    def stop(self, *, clean: bool = True) -> None:
        """End, and leave database and files at rest; not `clean`: a worker had to be killed."""


class CoreRunning(Running):
    """The associations of all processes, and the wish to stop, which goes to the supervisor."""

    def __init__(self, channel: Channel, page: Page) -> None:
        super().__init__()
        self._channel = channel
        self._page = page

    @property
    def threads(self) -> int:
        return self._page.cells[THREADS]

    @property
    def open_threads(self) -> int:
        return self._page.cells[OPEN]

    def stop(self) -> None:
        self._channel.send({"kind": "stop"})

    def stop_when_idle(self) -> None:
        self._channel.send({"kind": "stop when idle"})


def run_core(server: Server, work: Work, channel: Channel, door: Channel, page: Page, *, again: bool) -> int:
    """Be the core until the supervisor says stop; the exit status."""
    server.running = running = CoreRunning(channel, page)
    server.index.share(page.rows, CORE)
    Follower(server, page)()
    if not work.start(again=again):
        channel.send({"kind": "failed"})
        return 1
    commands = _Commands(server, Publisher(server, page))
    threading.Thread(target=answer, args=(door, commands.run), name="door", daemon=True).start()
    channel.send({"kind": "ready"})
    while (received := channel.receive()) is not None:
        message = received[0]
        if message["kind"] == "stop":
            running.stopping.set()
            # What a command was about may be between a file and its row.
            ended = commands.wait_for_all(_END_SECONDS)
            work.stop(clean=message["clean"] and ended)
            break
        if message["kind"] == "stopping":
            running.stopping.set()
            continue
        threading.Thread(target=work.tidy, name="tidy", daemon=True).start()
    server.logs.close()
    return 0


class _Commands:
    """Runs commands and makes known what they change before they are answered."""

    def __init__(self, server: Server, publisher: Publisher) -> None:
        self._server = server
        self._run: CommandRunner = server.run_command
        self._publisher = publisher
        self._changed = threading.Condition()
        self._under_way = 0

    def wait_for_all(self, seconds: float) -> bool:
        """Wait until no command runs; False when one still does after so long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._under_way == 0, seconds)

    def run(self, line: str, upload: bytes | Path | None, caller: Caller) -> Outcome:
        with self._changed:
            self._under_way += 1
        try:
            return self._published(line, upload, caller)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _published(self, line: str, upload: bytes | Path | None, caller: Caller) -> Outcome:
        outcome = self._run(self._server, line, upload, caller)
        try:
            self._publisher.publish()
        except ValueError as error:
            log.error("*** What a command changed does not reach the other processes: %s", error)
            return Outcome(Status.PROCESSING_FAILURE, f"*** it has no effect: {error}".encode())
        return outcome
