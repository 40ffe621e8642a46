"""Names of files and directories made to survive a power cut."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Longer than the steps in which the kernel notes times, 10 ms at most.
_STEP_NS = 100_000_000


class DurableDirectories:
    """Makes names of files survive a power cut, remembering which directories are known to.

    Threads may share one.
    """

    def __init__(self) -> None:
        # What a name was and was in when both were synced: another one is told by the inodes, which are given out
        # again at once, and by the time at which the directory above changed.
        self._known: dict[str, tuple[int, int, int]] = {}

    def settle(self, directory: Path, root: Path) -> None:
        """Sync `directory`, and those above it up to `root` whose own names this process has not made durable yet."""
        new: dict[str, tuple[int, int, int]] = {}
        while True:
            descriptor = os.open(directory, _DIRECTORY)
            try:
                inode = os.fstat(descriptor).st_ino
                sync(descriptor)
            finally:
                os.close(descriptor)
            if directory == root:
                break
            above = directory.parent.stat()
            sign = (inode, above.st_ino, above.st_mtime_ns)
            if self._known.get(str(directory)) == sign:
                break
            # The time goes in steps: in one that is not over a second change would leave it as it is.
            if time.time_ns() - above.st_mtime_ns > _STEP_NS:
                new[str(directory)] = sign
            directory = directory.parent
        if len(self._known) > 100_000:
            self._known.clear()
        self._known.update(new)

    def settle_all(self, root: Path, directories: Iterable[Path]) -> None:
        """Settle each directory below `root`, or for one that is gone itself the one where its name was."""
        for directory in directories:
            here = directory
            while True:
                try:
                    self.settle(here, root)
                    break
                except (FileNotFoundError, NotADirectoryError):
                    if here == root:
                        raise
                    here = here.parent


def sync_names(root: Path, directories: Iterable[Path]) -> None:
    """Make changes to the names in directories below `root` survive a power cut; raises OSError.

    For a directory that is gone itself this is done where its name was.
    """
    DurableDirectories().settle_all(root, directories)


def sync(descriptor: int) -> None:
    """Sync a directory; raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Network file systems that have no such operation keep names themselves.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
