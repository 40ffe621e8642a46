"""Forking the processes of a server so that none outlives the one that supervises them."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable

log = logging.getLogger("dgate")

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_libc = ctypes.CDLL(None, use_errno=True)


def fork(name: str, run: Callable[[], int]) -> int:
    """Run a function in a new process, which ends with what it returns; return the process's number.

    Tools of the system show it under `name`, of which 15 characters count.

    Only for a process without threads. The new one is killed when this one ends, however that happens.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # else it ended before the line above
            _libc.prctl(_PR_SET_NAME, name.encode())
            _leave_signals()
            status = run()
    except Exception:  # nothing of this process may run on in code of the other one
        log.exception("*** A process of the server failed")
    finally:
        os._exit(status)


def _leave_signals() -> None:
    """Leave SIGTERM and Ctrl-C, which may reach the whole group, to the supervisor.

    They are handled, not ignored, since programs started from here would inherit that.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: None)


def ended(status: int) -> str:
    """How a process ended, from what `os.waitpid` says."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with {os.WEXITSTATUS(status)}"
