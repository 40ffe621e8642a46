"""Files on their way to their final name: written whole under a temporary one, then named without replacing any."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import stat
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from storage.device import Device
from storage.durable import sync_names

if TYPE_CHECKING:
    from storage.spares import Spares

Buffer = bytes | bytearray | memoryview

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
# The end of a sealed name: checksum (CRC-32) and size in bytes.
SEALED = re.compile(r"-([0-9a-f]{8})-(\d{1,18})\.(?:dcm|v2)\.part$")


class StagedFile:
    """A temporary file on a device: written, then published under a final name and discarded.

    Most have a name among the temporary files of the device, which tells the process and whether it will hold a bare
    data set. With `spares` it begins without one (`storage/spares.py`), and what was being written of it is gone when
    the process is killed. One that is `sealed` has size and checksum in its name when `finish` returns, by which what
    a power cut left of it is known to be whole; it keeps that name when it is published and discarded, until
    `remove_temporary`.

    Every method raises DeviceFull when the device runs out of space, and OSError otherwise.
    """

    __slots__ = (
        "_adopted",
        "_bare",
        "_checksum",
        "_descriptor",
        "_finished_ns",
        "_name",
        "_published",
        "_size",
        "_spares",
        "device",
        "sealed",
    )

    def __init__(
        self,
        device: Device,
        name: str,
        descriptor: int,
        *,
        bare: bool = False,
        spares: Spares | None = None,
        sealed: bool = False,
        adopted: bool = False,
    ) -> None:
        self.device = device
        self.sealed = sealed
        self._adopted = adopted
        self._name = name
        self._descriptor = descriptor
        self._bare = bare
        self._spares = spares
        self._checksum = self._size = self._finished_ns = 0
        self._published = False

    @property
    def waits(self) -> bool:
        """Whether it is still open behind its publication, to be ended by `discard`."""
        return self._descriptor >= 0

    @property
    def path(self) -> Path:
        """Where it is while it has no final name; one that had no name is given one for good."""
        if not self._name:
            self._name = _temporary_name(self.device, bare=self._bare)
            name_unnamed(self._descriptor, self._name)
        return Path(self._name)

    @classmethod
    def create(cls, device: Device, *, bare: bool) -> StagedFile:
        """Create an empty one."""
        name = _temporary_name(device, bare=bare)
        return cls(device, name, _created(device, name), bare=bare)

    @classmethod
    def create_sealed(cls, device: Device, *, bare: bool, content: Sequence[Buffer] = ()) -> StagedFile:
        """Create one that will be sealed, of all it is to hold or empty.

        What is known from the beginning it has in the name that it is made with.
        """
        name = _temporary_name(device, bare=bare)
        if content:
            name = _sealed_name(name, *_summed(content))
        file = cls(device, name, _created(device, name), bare=bare, sealed=True)
        if content:
            try:
                file.write(*content)
            except BaseException:
                file.discard()
                raise
        return file

    @classmethod
    def adopt(cls, device: Device, path: Path) -> StagedFile:
        """Take over one that an earlier process left behind, complete; its temporary name is the caller's to remove."""
        return cls(device, str(path), os.open(path, os.O_RDWR | os.O_CLOEXEC), adopted=True)

    @classmethod
    def take(cls, device: Device, path: Path) -> StagedFile:
        """Take over a complete file of another name on the device, which holds an object with its file meta."""
        name = _temporary_name(device, bare=False)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.rename(path, name)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(device, name, descriptor)

    def open(self) -> BinaryIO:
        """Return a reader of its own that stands at the beginning of the file."""
        return open(self._name or f"/proc/self/fd/{self._descriptor}", "rb")

    def write(self, *buffers: Buffer) -> None:
        """Append buffers, all of them."""
        try:
            written = os.writev(self._descriptor, buffers)
            if written < sum(map(len, buffers)):
                self._write_rest(buffers, written)
        except OSError as error:
            self.device.check_full(error)
            raise
        if self.sealed:
            self._checksum, self._size = _summed(buffers, self._checksum, self._size)

    def finish(self, *, safe: bool) -> None:
        """Note that the file is complete, once; when this returns and it is `safe`, it survives a power cut.

        So does the name of one that is sealed. One that began without a name stays open until it is discarded.
        """
        if self._finished_ns:
            return
        self._finished_ns = now = _later()
        try:
            try:
                if self.sealed:
                    self._seal()
                if self._name:
                    # Before the sync: a start goes by the times of files, and without a journal the sync of ext4
                    # passes over an inode of which only the number of names has changed since it was written.
                    os.utime(self._descriptor, ns=(now, now))
                if self.sealed:
                    os.fsync(self._descriptor)  # fdatasync need not cover the name
                elif safe:
                    os.fdatasync(self._descriptor)
            finally:
                if self._spares is None:
                    self._close()
        except OSError as error:
            self.device.check_full(error)
            raise

    def publish(self, name: str) -> str:
        """Give the file its final name below the device root and return it whole; FileExistsError when it is taken."""
        final = f"{self.device.root_name}/{name}"
        try:
            for _ in range(_ATTEMPTS):
                try:
                    if self._name:
                        self._link(final)
                    else:
                        name_unnamed(self._descriptor, final)
                except FileNotFoundError:
                    _make_directory(Path(final).parent, self.device.root)
                else:
                    self._published = True
                    return final
        except OSError as error:
            self.device.check_full(error)
            raise
        raise FileNotFoundError(errno.ENOENT, "a directory disappears again and again", str(Path(final).parent))

    def temporary(self) -> str:
        """The name that a published file keeps because it is sealed."""
        return self._name

    def discard(self) -> None:
        """Let go of the file: end what may follow its publication, or remove it, if it has no final name."""
        if self._descriptor >= 0:
            try:
                if self._published and not self._name:
                    os.utime(self._descriptor, ns=(self._finished_ns, self._finished_ns))
            finally:
                self._close()
                if self._spares is not None:
                    self._spares.refill(self.device)
        if self._name and not self._adopted and not (self._published and self.sealed):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name)
            self._name = ""

    def _write_rest(self, buffers: Sequence[Buffer], written: int) -> None:
        for buffer in buffers:
            if written >= len(buffer):
                written -= len(buffer)
                continue
            rest = memoryview(buffer)[written:]
            written = 0
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def _seal(self) -> None:
        """Let the name tell that the file is whole."""
        former = self._name
        if former and SEALED.search(former):
            return
        sealed = _sealed_name(former or _temporary_name(self.device, bare=self._bare), self._checksum, self._size)
        if former:
            os.rename(former, sealed)
        else:
            try:
                name_unnamed(self._descriptor, sealed)
            except FileNotFoundError:
                # Another directory than the one it was opened in: its names are made durable apart.
                self.device.staging.mkdir(exist_ok=True)
                name_unnamed(self._descriptor, sealed)
                sync_names(self.device.root, [self.device.staging])
        self._name = sealed

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
            self.sealed = False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def remove_temporary(name: str) -> None:
    """Take the temporary name of a published file away; one that stays is removed at the next start."""
    with contextlib.suppress(OSError):
        os.unlink(name)


def name_unnamed(descriptor: int, name: str) -> None:
    """Give an open file that has no name one, which replaces none; raises OSError.

    By ``linkat``, which Python calls only when it is given a directory; an absolute path has no use for it.
    """
    os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor, follow_symlinks=True)


def _sealed_name(name: str, checksum: int, size: int) -> str:
    """The name of a temporary file with what tells that it is whole."""
    process, dot, kind = name.rpartition(SUFFIX)[0].rpartition(".")
    return f"{process}-{checksum:08x}-{size}{dot}{kind}{SUFFIX}"


def _summed(buffers: Iterable[Buffer], checksum: int = 0, size: int = 0) -> tuple[int, int]:
    for buffer in buffers:
        checksum = zlib.crc32(buffer, checksum)
        size += len(buffer)
    return checksum, size


def _created(device: Device, name: str) -> int:
    """Create a temporary file; the descriptor."""
    try:
        try:
            return os.open(name, _WRITE, _MODE)
        except FileNotFoundError:
            device.staging.mkdir(exist_ok=True)
            sync_names(device.root, [device.root])
            return os.open(name, _WRITE, _MODE)
    except OSError as error:
        device.check_full(error)
        raise


def scratch_file(device: Device) -> Path:
    """Name a file to work on, which is never taken for an object that arrived; whoever makes it removes it."""
    device.staging.mkdir(exist_ok=True)
    return Path(_temporary_name(device, bare=False).removesuffix(SUFFIX) + SCRATCH)


def _temporary_name(device: Device, *, bare: bool) -> str:
    kind = "v2" if bare else "dcm"
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


def _make_directory(directory: Path, root: Path) -> None:
    """Make a directory and those above it, unless a delete takes one away meanwhile: then the caller tries again."""
    if not root.is_dir():
        # What was mounted there is not any more, perhaps.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
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
