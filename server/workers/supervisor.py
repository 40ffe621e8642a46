"""The supervisor: the process of a server that accepts connections, hands them out, and replaces what dies."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from server.limits import Admissions, Limits, Peer
from server.listener import RETRY_SECONDS, WAITING, bound, listen
from server.server import Server
from server.workers.channel import Channel, Message
from server.workers.children import CORE, BackOff, Child, start
from server.workers.core import Work, run_core
from server.workers.door import Door
from server.workers.page import OPEN, THREADS, Page
from server.workers.process import ended
from server.workers.worker import run_worker

log = logging.getLogger("dgate")

# How many connections are accepted before the other processes are looked at.
_AT_ONCE = 32
# How long processes may take to end when they are told to; they give associations and jobs less.
_STOP_SECONDS = 20.0


class CoreFailed(Exception):
    """The core could not begin; it has said why unless there is a text here."""


class Supervisor:
    """Serves with processes until a signal or a command ends it.

    It has no threads, since it forks, and opens no database: what can go wrong there must not close the port.
    """

    def __init__(self, server: Server, work: Work, workers: int) -> None:
        """Take the port, but do not listen yet. Raises ListenError."""
        self._server = server
        self._work = work
        self._workers = workers
        self._listening = self._accepting = False
        self._stopping = self._when_idle = False
        self._clean = True
        self._children: dict[int, Child] = {}
        self._pauses = {slot: BackOff() for slot in range(workers + 1)}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._admissions = Admissions()
        self._threads = 0
        self._page = Page(workers + 1)
        self._socket = bound(server.settings.BindAddress, server.settings.TCPPort)
        server.port = self._socket.getsockname()[1]
        self._socket.setblocking(False)
        self._door = Door()
        self._selector = selectors.DefaultSelector()
        self._signals, self._woken = socket.socketpair()

    def start(self) -> None:
        """Start the core and, when that is ready, the workers; listen. A signal in between leaves that out.

        Raises CoreFailed, ListenError and OSError; then nothing is left running.
        """
        server, page = self._server, self._page
        server.counters.share(page.counters[: self._workers + 1], CORE)
        server.new_uid.share(page.uid_cells, page.uid_lock)
        self._catch_signals()
        gc.collect()
        gc.freeze()  # what is here already stays shared memory in all processes
        try:
            self._start(CORE)
            self._turn_until(lambda: self._listening or self._stopping)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Serve until somebody stops the server: a signal, `quit:`, `safequit:`."""
        self._turn_until(lambda: self._stopping)

    # The loop

    def _catch_signals(self) -> None:
        self._woken.setblocking(False)
        self._signals.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: None)
        self._selector.register(self._signals, selectors.EVENT_READ, lambda: self._signalled())

    def _signalled(self) -> None:
        came = set(self._signals.recv(64))
        if came & {signal.SIGTERM, signal.SIGINT}:
            self._stopping = True
        self._reap()

    def _reap(self) -> None:
        """In a container the supervisor is the first process: what its children leave behind becomes its own."""
        ours = {child.pid for child in self._children.values()}
        with contextlib.suppress(ChildProcessError):
            while (other := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and other.si_pid not in ours:
                os.waitpid(other.si_pid, 0)

    def _turn_until(self, done: Callable[[], bool], deadline: float | None = None) -> None:
        """Do what there is to do until `done`, or the deadline."""
        while not done() and (deadline is None or time.monotonic() < deadline):
            now = time.monotonic()
            due = [what for when, what in self._later if when <= now]
            self._later = [(when, what) for when, what in self._later if when > now]
            for what in due:
                what()
            if done():
                return
            whens = [when for when, _ in self._later] + ([] if deadline is None else [deadline])
            timeout = max(0.0, min(whens) - time.monotonic()) if whens else None
            for key, _ in self._selector.select(timeout):
                present = self._selector.get_map().get(key.fd)
                if present is not None and present.fileobj is key.fileobj:  # not gone by what an earlier one did
                    present.data()

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, what))

    # Processes

    def _start(self, slot: int, *, again: bool = False) -> None:
        """Start the process of a slot; later if the system has no room for it. Raises OSError for the first."""
        if self._stopping:
            return
        try:
            child = start(slot, functools.partial(self._be, slot, again))
        except OSError as error:
            if not self._listening:
                raise
            log.error("*** Cannot start a process: %s", error.strerror)
            self._after(RETRY_SECONDS, functools.partial(self._start, slot, again=again))
            return
        self._children[slot] = child
        self._selector.register(child.channel, selectors.EVENT_READ, functools.partial(self._hear, child))
        self._selector.register(child.watch, selectors.EVENT_READ, functools.partial(self._bury, child))
        self._look_at_socket()

    def _be(self, slot: int, again: bool, channel: Channel) -> int:
        """What the new process does: let go of what is the supervisor's, then its own work."""
        for other in self._children.values():
            other.close()
        self._selector.close()
        self._socket.close()
        self._signals.close()
        self._woken.close()
        if slot == CORE:
            self._door.outer.close()
            return run_core(self._server, self._work, channel, self._door.inner, self._page, again=again)
        self._door.inner.close()
        waiting = max(1, WAITING // self._workers)
        return run_worker(self._server, channel, self._door.outer, self._page, slot, waiting)

    def _bury(self, child: Child) -> None:
        """A process has ended: take its associations off the books and start another."""
        self._hear(child)
        _, status = os.waitpid(child.pid, 0)
        self._forget(child)
        self._reap()
        if self._stopping:
            self._clean = self._clean and status == 0
            return
        if child.slot == CORE and not self._listening:
            raise CoreFailed(f"the process that was to open the database {ended(status)}")
        count = len(child.connections)
        log.error("*** The %s (process %d) %s; %d connections are lost", child.name, child.pid, ended(status), count)
        for number in child.connections:
            self._admissions.leave(number)
        self._count()
        if child.slot != CORE and CORE in self._children:
            self._post(self._children[CORE], {"kind": "tidy"})
        again = functools.partial(self._start, child.slot, again=True)
        self._after(self._pauses[child.slot].after(child), again)

    def _forget(self, child: Child) -> None:
        del self._children[child.slot]
        self._unregister(child.channel)
        self._unregister(child.watch)
        child.close()
        self._look_at_socket()

    def _unregister(self, file: Channel | int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(file)

    def _hear(self, child: Child) -> None:
        """Take the messages of a process; go on sending it what it had no room for."""
        child.flush()
        while True:
            try:
                received = child.channel.receive()
            except BlockingIOError:
                break
            if received is None:
                # Its end is closed: `watch` tells when it has ended.
                self._unregister(child.channel)
                return
            self._act(child, received[0])
        self._attend(child)

    def _post(self, child: Child, message: Message, file: int | None = None) -> None:
        child.post(message, file)
        self._attend(child)

    def _attend(self, child: Child) -> None:
        """Watch whether a process has something to say, and whether there is room for what it is to be told."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.unsent else 0)
        key = self._selector.get_map().get(child.channel)
        if key is not None and key.events != wanted:
            self._selector.modify(child.channel, wanted, key.data)

    def _act(self, child: Child, message: Message) -> None:
        match message["kind"]:
            case "admit":
                number = message["number"]
                why = self._admissions.admit(number, Peer(**message["peer"]), Limits(**message["limits"]))
                self._post(child, {"kind": "admitted", "number": number, "why": why})
            case "end":
                self._admissions.leave(message["number"])
                child.connections.discard(message["number"])
                self._count()
            case "ready":
                self._open()
            case "failed":
                if not self._listening:
                    raise CoreFailed
            case "stop":
                self._stopping = True
            case "stop when idle":
                self._when_idle = True
                self._count()

    def _count(self) -> None:
        """Write down how many connections are open, and stop if none is and that was waited for."""
        count = sum(len(child.connections) for child in self._children.values())
        self._page.cells[OPEN] = count
        if self._when_idle and not count:
            self._stopping = True

    # Connections

    def _open(self) -> None:
        """The core is ready: start the workers and listen, if it is the first."""
        if self._listening:
            return
        listen(self._socket)
        self._listening = True
        for slot in range(1, self._workers + 1):
            self._start(slot)

    def _look_at_socket(self) -> None:
        """Accept connections while there is a worker to give them to; meanwhile they wait in the kernel."""
        wanted = self._listening and not self._stopping and any(slot != CORE for slot in self._children)
        if wanted and not self._accepting:
            self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        elif self._accepting and not wanted:
            self._selector.unregister(self._socket)
        self._accepting = wanted

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("***Cannot accept a connection: %s", error.strerror)
                # Out of file descriptors, most likely: it passes.
                self._selector.unregister(self._socket)
                self._accepting = False
                self._after(RETRY_SECONDS, self._look_at_socket)
                return
            self._hand_out(connection, address)

    def _hand_out(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Give a connection to the worker with the fewest."""
        workers = (child for child in self._children.values() if child.slot != CORE)
        child = min(workers, key=lambda worker: len(worker.connections))
        self._threads += 1
        self._page.cells[THREADS] = self._threads
        child.connections.add(self._threads)
        self._count()
        self._post(child, {"kind": "connection", "number": self._threads, "address": address}, connection.detach())

    # The end

    def stop(self) -> None:
        """Close the port, end the workers, then the core, which has the database to close."""
        self._stopping = True
        self._later.clear()
        self._look_at_socket()
        self._socket.close()
        if CORE in self._children:
            # What it has under way, a regeneration it may be, ends while the workers do.
            self._post(self._children[CORE], {"kind": "stopping"})
        self._end_some(lambda child: child.slot != CORE)
        self._end_some(lambda child: True)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._signals.close()
        self._woken.close()
        self._door.close()

    def _end_some(self, which: Callable[[Child], bool]) -> None:
        chosen = [child for child in self._children.values() if which(child)]
        for child in chosen:
            self._post(child, {"kind": "stop", "clean": self._clean})
        deadline = time.monotonic() + _STOP_SECONDS
        self._turn_until(lambda: not any(child.slot in self._children for child in chosen), deadline)
        for child in chosen:
            if child.slot in self._children:
                log.error("*** The %s does not end and is killed", child.name)
                self._clean = False
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                self._forget(child)
