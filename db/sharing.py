"""A lock and an event between processes that were forked from one."""

import contextlib
import fcntl
import os
import select
import threading


class FileLock:
    """One byte of a file as a lock between the processes that have it, and between the threads of each.

    It is the kernel's, by process, and ends with it, so that one who is killed holds up nobody.
    """

    def __init__(self, file: int, byte: int) -> None:
        self._file = file
        self._byte = byte
        self._threads = threading.Lock()

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, self._byte)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *about: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte)
        self._threads.release()


class SharedEvent:
    """A `threading.Event` that any process sets and one thread of one of them waits for."""

    def __init__(self, cell: memoryview) -> None:
        """`cell` is of 64 bits, in memory that they share."""
        self._cell = cell
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def is_set(self) -> bool:
        """One look into memory."""
        return bool(self._cell[0])

    def set(self) -> None:
        self._cell[0] = 1
        os.eventfd_write(self._file, 1)

    def clear(self) -> None:
        # In this order: what sets it in between wakes once too often, instead of never.
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._file)
        self._cell[0] = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; False after so many seconds."""
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
