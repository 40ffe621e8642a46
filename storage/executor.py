"""The pool of processes for bulk work, seen as a `concurrent.futures.Executor`."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import wait


def bulk_executor(workers: int | None = None) -> Executor:
    """Make a pool of processes, by default one for each processor this one may use.

    Tasks are functions of modules, their arguments and results picklable. Workers start with nothing of this process
    (no threads, sockets or locks held), leave an interrupt to it, and end when it does, however it does.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    return ProcessPoolExecutor(workers or processors(), mp_context=context, initializer=_start_worker)


def processors() -> int:
    """The number of processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True, name="parent watch").start()


def _end_with_parent() -> None:
    """Wait for the parent to end: a worker that waits for tasks would not notice that none can come any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a worker"
    wait([parent.sentinel])
    os._exit(1)
