"""Files that have no name yet, opened in the pause before objects come, so that these need not wait for an inode."""

from __future__ import annotations

import contextlib
import os
import weakref

from storage.device import Device
from storage.durable import sync_names
from storage.filesystem import UNNAMED_FILES, kind_of, names_with_unnamed
from storage.staged import StagedFile, name_unnamed, scratch_file

# No more than that wait for objects, however many associations there are.
_MOST = 8
_UNNAMED = os.O_RDWR | getattr(os, "O_TMPFILE", 0) | os.O_CLOEXEC
_MODE = 0o666


class Spares:
    """Gives out files without a name, where the file system of a device can do that.

    Each time one is discarded another one is opened, so that there are as many as are in use at one time. They lie in
    no directory and vanish with the process. Those that will be `sealed` get a name among the temporary files first,
    the others their final one and no other. Threads share one; forked processes may use their copy of it.
    """

    def __init__(self, *, sealed: bool = False) -> None:
        self._sealed = sealed
        # With each goes the process that opened it: a child has its parent's too, which are not for it to write to.
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        # None for devices where there are none.
        self._known: dict[str, list[tuple[int, int]] | None] = {}
        weakref.finalize(self, _close_all, self._waiting)

    def create(self, device: Device, *, bare: bool) -> StagedFile | None:
        """An empty file, or None where files need a name; raises DeviceFull or OSError."""
        try:
            waiting = self._known[device.name]
        except KeyError:
            waiting = self._known[device.name] = self._find_out(device)
        if waiting is None:
            return None
        process = os.getpid()
        while waiting:
            with contextlib.suppress(IndexError):
                opened_by, descriptor = waiting.pop()
                if opened_by == process:
                    return StagedFile(device, "", descriptor, bare=bare, spares=self, sealed=self._sealed)
                os.close(descriptor)
        try:
            descriptor = self._opened(device)
        except OSError as error:
            device.check_full(error)
            raise
        return StagedFile(device, "", descriptor, bare=bare, spares=self, sealed=self._sealed)

    def refill(self, device: Device) -> None:
        """Open one for the next object; never raises: where it fails the next object will be told."""
        waiting = self._waiting.get(device.name)
        if waiting is not None and len(waiting) < _MOST:
            with contextlib.suppress(OSError):
                waiting.append((os.getpid(), self._opened(device)))

    def close(self) -> None:
        """Let go of those that wait; more are opened when they are needed."""
        _close_all(self._waiting)
        self._known.clear()

    def _opened(self, device: Device) -> int:
        if not self._sealed:
            return os.open(device.root_name, _UNNAMED, _MODE)
        # In the directory of its first name: the sync is to cover that, and ext4 syncs the one it was opened in.
        try:
            return os.open(device.staging_name, _UNNAMED, _MODE)
        except FileNotFoundError:
            device.staging.mkdir(exist_ok=True)
            sync_names(device.root, [device.root])
            return os.open(device.staging_name, _UNNAMED, _MODE)

    def _find_out(self, device: Device) -> list[tuple[int, int]] | None:
        kind = kind_of(device.root_name)
        able = names_with_unnamed(kind) if self._sealed else kind in UNNAMED_FILES
        if not able or not _can_name(device):
            return None
        return self._waiting.setdefault(device.name, [])


def _can_name(device: Device) -> bool:
    """Whether a file of the device can begin without a name and get one, by trying; raises DeviceFull."""
    try:
        name = scratch_file(device)
        descriptor = os.open(device.root_name, _UNNAMED, _MODE)
    except OSError as error:
        device.check_full(error)  # tells nothing of what it can do
        return False
    try:
        name_unnamed(descriptor, str(name))
        name.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _close_all(waiting: dict[str, list[tuple[int, int]]]) -> None:
    for spares in list(waiting.values()):
        while spares:
            with contextlib.suppress(IndexError, OSError):
                os.close(spares.pop()[1])
    waiting.clear()
