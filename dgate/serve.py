"""Serving until a signal or a command ends it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack

from dgate.app import Daemon, Work, announce, build, claim
from dgate.commandline import Invocation
from dgate.config import Configuration
from dgate.starting import Failed, configuration, told
from server.log import Logs
from server.running import Running
from server.server import Server
from server.workers.supervisor import CoreFailed, Supervisor
from storage.executor import processors

log = logging.getLogger("dgate")

# ConQuest appends to this file when it is told to log to one; without any other word we always do.
SERVER_LOG = "serverstatus.log"

# More processes than this serve one machine's disk no faster.
_MOST_AUTO = 4


def serve(invocation: Invocation) -> int:
    """Start the server and wait; 0 after a clean stop, 1 when it could not start."""
    running: Daemon | _Processes
    try:
        with told():
            found = configuration(invocation)
            workers = 0 if invocation.single else worker_count(found.server.Workers)
            if workers:
                running = _Processes(invocation, found, workers)
            else:
                running = Daemon(found, overrides=invocation.overrides, uid_offset=invocation.uid_offset)
                _stop_at_signals(running.server.running)
            add_logs(running.server.logs, invocation)
            running.start()
    except Failed as failed:
        return failed.status
    try:
        running.wait()
    finally:
        running.stop()
    return 0


def worker_count(setting: str) -> int:
    """How many processes the key Workers means; 0 is none but our own. ValueError where there can be no others."""
    possible = hasattr(os, "memfd_create") and hasattr(os, "pidfd_open")
    if setting.lower() == "auto":
        return min(processors(), _MOST_AUTO) if possible else 0
    if int(setting) and not possible:
        raise ValueError(f"Workers = {setting}: this system lets a server have one process only, write 0")
    return int(setting)


class _Processes:
    """A server of several processes, to be used as a `Daemon`."""

    def __init__(self, invocation: Invocation, found: Configuration, workers: int) -> None:
        self.server = build(found, overrides=invocation.overrides, uid_offset=invocation.uid_offset)
        self._warnings = (*found.warnings, *found.later)
        self._workers = workers
        self._held = ExitStack()

    def start(self) -> None:
        """Claim the devices, start the processes and listen; raises Failed and the declared errors of their parts."""
        self._held.callback(self.server.logs.close)
        self._held.enter_context(claim(self.server))
        self._supervisor = Supervisor(self.server, _Told(self.server), self._workers)
        try:
            self._supervisor.start()
        except CoreFailed as error:
            if str(error):
                print(f"dgate: {error}", file=sys.stderr)
            raise Failed(1) from error
        announce(self.server, self._warnings)

    def wait(self) -> None:
        self._supervisor.wait()

    def stop(self) -> None:
        with self._held:
            self._supervisor.stop()
            log.info("DGATE has stopped")


class _Told:
    """The work of a core, which says itself why it cannot begin."""

    def __init__(self, server: Server) -> None:
        self._work = Work(server)
        self.tidy = self._work.tidy
        self.stop = self._work.stop

    def start(self, *, again: bool) -> bool:
        try:
            with told():
                self._work.start(again=again)
        except Failed:
            return False
        return True


def _stop_at_signals(running: Running) -> None:
    """Stop at SIGTERM and SIGINT, told through a pipe.

    A handler could run while the main thread holds the very lock it would have to take, and blocking the signals for
    a thread that waits for them would not reach the threads that numpy has started already.
    """
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)

    def wait() -> None:
        with reading, writing:
            reading.recv(1)
            running.stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def add_logs(logs: Logs, invocation: Invocation, *, default: str = SERVER_LOG) -> None:
    """Open the logs the command line asks for; `default` is the file when it names no other place. Raises OSError."""
    if invocation.single:
        logs.debug_level = 4
    if invocation.verbose or invocation.single:
        logs.add("-", debug=True)
    if invocation.console_port is not None:
        logs.add(str(invocation.console_port))
    if invocation.debug_target is not None:
        logs.debug_level = max(logs.debug_level, 1)
        logs.add(invocation.debug_target, debug=True)
    if invocation.debug_file is not None:
        logs.debug_level = max(logs.debug_level, 1)
        logs.add(invocation.debug_file, debug=True)
    if invocation.log_file is not None or invocation.console_port is None:
        name = invocation.log_file or default
        if name:
            logs.add(name)
