"""Files on their way to their final name: written whole under a temporary one, then named without replacing any."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from storage.device import STAGING, Device

SUFFIX = ".part"
SCRATCH = ".work"

_serial = itertools.count()

# Signs of a file system without hard links: FAT, exFAT, some network shares.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
# Against deletes that empty a directory and take it away between its making and its use.
_ATTEMPTS = 100
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
# As far as the umask lets it, like ConQuest: web servers and groups share archives.
_MODE = 0o666
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Longer than the steps in which the kernel notes times, 10 ms at most.
_STEP_NS = 100_000_000


class StagedFile:
    """A temporary file on a device: written, then published under a final name or discarded.

    Every method raises DeviceFull when the device runs out of space, and OSError otherwise.
    """

    def __init__(self, device: Device, name: str, descriptor: int) -> None:
        self.device = device
        self._name = name
        self._descriptor = descriptor

    @property
    def path(self) -> Path:
        """Where it is while it has no final name."""
        return Path(self._name)

    @classmethod
    def create(cls, device: Device, *, bare: bool) -> StagedFile:
        """Create an empty one; its name tells the process, and whether it will hold a bare data set."""
        name = _temporary_name(device, "v2" if bare else "dcm")
        with device.reporting_full:
            try:
                descriptor = os.open(name, _WRITE, _MODE)
            except FileNotFoundError:
                device.staging.mkdir(exist_ok=True)
                descriptor = os.open(name, _WRITE, _MODE)
        return cls(device, name, descriptor)

    @classmethod
    def adopt(cls, device: Device, path: Path) -> StagedFile:
        """Take over one that an earlier process left behind, complete."""
        return cls(device, str(path), os.open(path, os.O_RDWR | os.O_CLOEXEC))

    @classmethod
    def take(cls, device: Device, path: Path) -> StagedFile:
        """Take over a complete file of another name on the device, which holds an object with its file meta."""
        name = _temporary_name(device, "dcm")
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.rename(path, name)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(device, name, descriptor)

    def write(self, *buffers: bytes | bytearray | memoryview) -> None:
        """Append buffers, all of them."""
        with self.device.reporting_full:
            written = os.writev(self._descriptor, buffers)
            for buffer in buffers:
                if written >= len(buffer):
                    written -= len(buffer)
                    continue
                rest = memoryview(buffer)[written:]
                written = 0
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]

    def finish(self, *, safe: bool) -> None:
        """Close the file, once; when this returns and it is `safe`, what was written survives a power cut."""
        if self._descriptor < 0:
            return
        with self.device.reporting_full:
            try:
                now = _later()
                os.utime(self._descriptor, ns=(now, now))
                if safe:
                    os.fdatasync(self._descriptor)
            finally:
                self._close()

    def publish(self, name: str) -> str:
        """Give the file its final name below the device root and return it whole; FileExistsError when it is taken."""
        final = f"{self.device.root_name}/{name}"
        with self.device.reporting_full:
            for _ in range(_ATTEMPTS):
                try:
                    self._link(final)
                except FileNotFoundError:
                    _make_directory(Path(final).parent)
                else:
                    return final
        raise FileNotFoundError(errno.ENOENT, "a directory disappears again and again", str(Path(final).parent))

    def discard(self) -> None:
        """Remove the file, unless it has its final name."""
        self._close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name)

    def _link(self, final: str) -> None:
        try:
            os.link(self._name, final)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # The name is reserved first, so that the rename replaces nothing but our own empty file.
            os.close(os.open(final, _WRITE, _MODE))
            try:
                os.rename(self._name, final)
            except OSError:
                os.unlink(final)
                raise
        else:
            # It has its final name: a second one that cannot be taken away is removed at the next start.
            with contextlib.suppress(OSError):
                os.unlink(self._name)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def scratch_file(device: Device) -> Path:
    """Name a file to work on, which is never taken for an object that arrived; whoever makes it removes it."""
    device.staging.mkdir(exist_ok=True)
    return Path(_temporary_name(device, "dcm").removesuffix(SUFFIX) + SCRATCH)


def _temporary_name(device: Device, kind: str) -> str:
    return f"{device.staging_name}/{os.getpid()}-{next(_serial)}-{secrets.token_hex(4)}.{kind}{SUFFIX}"


_clock = threading.Lock()
_latest = 0


def _later() -> int:
    """The time in nanoseconds, later than that of any file before.

    A regeneration enters files in the order of their times, and the kernel's own go in steps of milliseconds.
    """
    global _latest
    with _clock:
        _latest = max(_latest + 1, time.time_ns())
        return _latest


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
                _sync(descriptor)
            finally:
                os.close(descriptor)
            if directory == root:
                break
            above = os.stat(directory.parent)
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


def stale_parts(devices: Iterable[Device], *, alone: bool) -> list[tuple[Device, Path]]:
    """List temporary files that nobody writes any more.

    `alone`: the caller holds the devices and has started no workers, so all are stale; otherwise those of processes
    that still run are left out.
    """
    return _stale(devices, SUFFIX, alone=alone)


def remove_stale_scratch(devices: Iterable[Device], *, alone: bool) -> None:
    """Remove files that were being worked on when their process ended; `alone` as above."""
    for _, path in _stale(devices, SCRATCH, alone=alone):
        path.unlink(missing_ok=True)


def _stale(devices: Iterable[Device], suffix: str, *, alone: bool) -> list[tuple[Device, Path]]:
    found = []
    for device in devices:
        with contextlib.suppress(FileNotFoundError):
            for path in sorted((device.root / STAGING).glob(f"*{suffix}")):
                if alone or not _is_running(path.name.partition("-")[0]):
                    found.append((device, path))
    return found


def _is_running(process: str) -> bool:
    if not (process.isascii() and process.isdigit() and len(process) < 10):
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _make_directory(directory: Path) -> None:
    """Make a directory and those above it, unless a delete takes one away meanwhile: then the caller tries again."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        # One look: it may go, and come, between two.
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(directory).st_mode):
                # Not to be taken for a taken file name, which is answered with the next one.
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from error
    except FileNotFoundError:
        pass


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Network file systems that have no such operation keep names themselves.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
