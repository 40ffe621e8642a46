"""The way of a command from the process where it arrived to the one that runs all commands, and of its reply."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from server.authority import Caller
from server.log import printable
from server.server import CommandRunner, Outcome, Server
from server.status import Status
from server.workers.channel import Channel, Message, channels, receive_frame, send_frame

log = logging.getLogger("dgate")

# How long a command waits until the process that runs commands takes it: that one may just be starting again.
_TAKE_SECONDS = 30
_TAKEN = b"\1"


class Door:
    """A pair to be made before the processes that use it: workers knock at `outer`, the core opens at `inner`.

    The supervisor keeps both ends, so that a knock waits while there is no core.
    """

    def __init__(self) -> None:
        self.inner, self.outer = channels()
        self.outer.wait_at_most(_TAKE_SECONDS)

    def close(self) -> None:
        self.inner.close()
        self.outer.close()


def ask(door: Channel) -> CommandRunner:
    """The runner of commands for a worker: it hands them through the door."""

    def run(server: Server, line: str, upload: bytes | Path | None, caller: Caller) -> Outcome:
        payload = upload.read_bytes() if isinstance(upload, Path) else upload
        try:
            mine, theirs = socket.socketpair()
            with mine:
                with theirs:
                    door.send({}, theirs.fileno())
                mine.settimeout(_TAKE_SECONDS)
                if mine.recv(1) != _TAKEN:
                    raise EOFError("the other process has gone")
                mine.settimeout(None)
                send_frame(mine, _asked(line, caller), payload)
                head, reply = receive_frame(mine)
                return Outcome(head["status"], reply)
        except (OSError, EOFError, ValueError) as error:
            name = printable(line.partition(":")[0], 40)
            log.error("*** Command %s from %s got no reply: %s", name, caller.address, error)
            text = f"*** {name} failed: the process that runs commands ended; see what was done, then send it again"
            return Outcome(Status.PROCESSING_FAILURE, text.encode())

    return run


def answer(door: Channel, run: Callable[[str, bytes | None, Caller], Outcome]) -> None:
    """Open to every knock, each in a thread of its own; returns when the supervisor has gone."""
    while (received := door.receive()) is not None:
        file = received[1]
        if file is None:
            continue
        try:
            threading.Thread(target=_answer, args=(socket.socket(fileno=file), run), name="command").start()
        except RuntimeError as error:
            log.error("*** A command cannot be run: %s", error)
            os.close(file)


def _answer(connection: socket.socket, run: Callable[[str, bytes | None, Caller], Outcome]) -> None:
    with connection:
        try:
            connection.sendall(_TAKEN)
            head, payload = receive_frame(connection)
            outcome = run(head["line"], payload, _caller(head))
            send_frame(connection, {"status": outcome.status}, outcome.payload)
        except (OSError, EOFError, ValueError) as error:
            log.info("A worker ended before its command was answered: %s", error)


def _asked(line: str, caller: Caller) -> Message:
    return {
        "line": line,
        "address": caller.address,
        "calling": caller.calling,
        "called": caller.called,
        "rights": caller.rights,
        "export_root": None if caller.export_root is None else str(caller.export_root),
    }


def _caller(head: Message) -> Caller:
    root = head["export_root"]
    return Caller(
        head["address"], head["calling"], head["called"], head["rights"], None if root is None else Path(root)
    )
