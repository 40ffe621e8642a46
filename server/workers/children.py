"""The processes of a server as their supervisor sees them."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.workers.channel import Channel, Message, channels
from server.workers.process import fork

# The slot of the core; workers have those from 1.
CORE = 0
# A process that ended sooner than this after its start is replaced later and later.
_SOON_S = 1.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


@dataclass(slots=True)
class Child:
    """A process, its end of a channel, and the connections it was handed and has not reported ended."""

    slot: int
    pid: int
    watch: int
    channel: Channel
    started: float = field(default_factory=time.monotonic)
    connections: set[int] = field(default_factory=set)
    unsent: deque[tuple[Message, int | None]] = field(default_factory=deque)

    @property
    def name(self) -> str:
        return name_of(self.slot)

    def post(self, message: Message, file: int | None = None) -> None:
        """Send a message without waiting, later if need be; `file` is closed here once it is sent."""
        self.unsent.append((message, file))
        self.flush()

    def flush(self) -> None:
        """Send what can be sent."""
        while self.unsent:
            message, file = self.unsent[0]
            try:
                self.channel.send(message, file)
            except BlockingIOError:
                return
            except OSError:  # it has ended, which `watch` tells
                self._drop()
                return
            self.unsent.popleft()
            if file is not None:
                os.close(file)

    def close(self) -> None:
        """Let go of everything; the process itself is not touched."""
        self._drop()
        self.channel.close()
        os.close(self.watch)

    def _drop(self) -> None:
        for _, file in self.unsent:
            if file is not None:
                os.close(file)
        self.unsent.clear()


def name_of(slot: int) -> str:
    """What logs and the system call the process of a slot."""
    return "core" if slot == CORE else f"worker {slot}"


def start(slot: int, run: Callable[[Channel], int]) -> Child:
    """Fork a process that runs a function with its end of a channel; raises OSError."""
    mine, theirs = channels()
    try:

        def begin() -> int:
            mine.close()
            return run(theirs)

        pid = fork(f"dgate {name_of(slot)}", begin)
        watch = _watch(pid)
    except BaseException:
        mine.close()
        raise
    finally:
        theirs.close()
    mine.set_blocking(False)
    return Child(slot, pid, watch, mine)


def _watch(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # nothing may run that is not watched
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


@dataclass(slots=True)
class BackOff:
    """How long to wait before a process is replaced that ended."""

    pause_s: float = 0.0

    def after(self, child: Child) -> float:
        """Seconds until the next start."""
        if time.monotonic() - child.started > _SOON_S:
            self.pause_s = 0.0
            return 0.0
        self.pause_s = min(max(2 * self.pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        return self.pause_s
