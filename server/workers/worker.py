"""A worker: a process of a server that holds associations."""

from __future__ import annotations

import logging
import queue
import socket
from dataclasses import asdict

from server.limits import Limits, Peer
from server.listener import Associations
from server.running import Running
from server.server import Server
from server.workers.channel import Channel
from server.workers.door import ask
from server.workers.page import Page
from server.workers.state import Follower

log = logging.getLogger("dgate")

# How long an association waits for leave to begin; the supervisor does nothing that takes time.
_LEAVE_SECONDS = 20


class WorkerRunning(Running):
    """The associations of one worker, known to the supervisor, which alone can tell whether they are too many."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._asked: dict[int, queue.SimpleQueue[str]] = {}

    def end(self, number: int) -> None:
        super().end(number)
        self._channel.send({"kind": "end", "number": number})

    def admit(self, number: int, peer: Peer, limits: Limits) -> str:
        answer: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked[number] = answer
        self._channel.send({"kind": "admit", "number": number, "peer": asdict(peer), "limits": asdict(limits)})
        try:
            return answer.get(timeout=_LEAVE_SECONDS)
        except queue.Empty:
            return "the supervisor does not answer"
        finally:
            del self._asked[number]

    def answered(self, number: int, why: str) -> None:
        """Pass the supervisor's word on to the association that waits for it."""
        waiting = self._asked.get(number)
        if waiting is not None:
            waiting.put(why)


def run_worker(server: Server, channel: Channel, door: Channel, page: Page, slot: int, waiting: int) -> int:
    """Be a worker until the supervisor says stop; the exit status."""
    server.running = running = WorkerRunning(channel)
    server.counters.share(page.counters, slot)
    server.index.share(page.rows, slot)
    server.run_command = ask(door)
    server.follow = Follower(server, page)
    associations = Associations(server, waiting)
    while (received := channel.receive()) is not None:
        message, file = received
        if message["kind"] == "stop":
            break
        if message["kind"] == "admitted":
            running.answered(message["number"], message["why"])
        elif file is None:
            log.error("***Connection from %s failed: too many open files", message["address"][0])
            running.end(message["number"])
        else:
            _begin(associations, running, socket.socket(fileno=file), message["number"], message["address"])
    associations.stop()
    server.codecs.close()
    server.storage.close()
    server.index.close()
    server.logs.close()
    return 0


def _begin(
    associations: Associations, running: WorkerRunning, connection: socket.socket, number: int, address: list[str | int]
) -> None:
    try:
        associations.begin(connection, tuple(address), number)
    except (OSError, RuntimeError) as error:  # gone already, or no thread can be started
        log.error("***Connection from %s failed: %s", address[0], error)
        connection.close()
        running.end(number)
