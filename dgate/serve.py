"""Serving until a signal or a command ends it."""

from __future__ import annotations

import signal
import socket
import threading

from dgate.app import Daemon
from dgate.commandline import Invocation
from dgate.starting import Failed, configuration, told
from server.log import Logs
from server.server import Running

# ConQuest appends to this file when it is told to log to one; without any other word we always do.
SERVER_LOG = "serverstatus.log"


def serve(invocation: Invocation) -> int:
    """Start the server and wait; 0 after a clean stop, 1 when it could not start."""
    try:
        with told():
            daemon = Daemon(configuration(invocation), overrides=invocation.overrides, uid_offset=invocation.uid_offset)
            _stop_at_signals(daemon.server.running)
            add_logs(daemon.server.logs, invocation)
            daemon.start()
    except Failed as failed:
        return failed.status
    daemon.wait()
    daemon.stop()
    return 0


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
