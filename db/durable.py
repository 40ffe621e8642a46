"""What of a SQLite file survives a power cut: its log synced when a commit must, and whether it is folded in."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from db.errors import DatabaseError


class DurableFile:
    """The file of a SQLite database; None is that of another kind, whose commits are durable by themselves."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._above_synced = False

    def sync(self) -> None:
        """Bring the write-ahead log to the disk, with every commit in it; raises DatabaseError.

        ``synchronous = NORMAL`` leaves that to checkpoints, as most commits may be lost.
        """
        if self._file is None:
            return
        # Never the file itself: to close it would let go of SQLite's locks on it in this process. Its directory, as
        # the log may be new; once the directories above, as they may be.
        directory, *above = self._file.parents
        for path in (self._log, directory, *(() if self._above_synced else above)):
            self._sync(path)
        self._above_synced = True

    @property
    def at_rest(self) -> bool:
        """Whether nothing waits in a log beside the file, so that all of it is in the file and on the disk."""
        if self._file is None:
            return True
        try:
            return self._log.stat().st_size == 0
        except FileNotFoundError:
            return True

    @property
    def _log(self) -> Path:
        assert self._file is not None, "only a file has a log"
        return self._file.with_name(f"{self._file.name}-wal")

    def _sync(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            return  # no log: the commits are in the file; a directory that is not ours was there before
        except OSError as error:
            raise self._failed(error) from error
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise self._failed(error) from error
        finally:
            os.close(descriptor)

    def _failed(self, error: OSError) -> DatabaseError:
        return DatabaseError(f"database {self._file} cannot be synced: {error.strerror}")
