"""Which directories of a device were written to since its index was last known to be whole: a journal on the device.

After a crash or a power cut only what lies in these can differ from the index.
"""

from __future__ import annotations

import errno
import os
import re
import time
from pathlib import Path, PurePosixPath
from urllib.parse import quote_from_bytes, unquote_to_bytes

from storage.device import Device
from storage.durable import sync_names

JOURNAL = "dgate.touched"

# A record stands between two line ends, so that one behind the torn rest of another is still found.
_RECORD = re.compile(rb"(\d{1,20}) (\S+)")
_MOST_REMEMBERED = 100_000
_KEPT = b"kept"
_BOOT = b"boot "
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class TouchedDirectories:
    """Notes a directory before this process first writes to it. Threads share one; forked processes use their copy.

    With `safe` a note survives a power cut when `before_write` returns.
    """

    def __init__(self, *, safe: bool) -> None:
        self._safe = safe
        self._noted: set[tuple[str, str]] = set()
        self._since_ns = time.time_ns()

    def before_write(self, device: Device, name: str) -> None:
        """Note the directory of a file that is about to get a name below the device; raises DeviceFull or OSError."""
        key = (device.name, name.rpartition("/")[0])
        if key not in self._noted:
            directory = quote_from_bytes(os.fsencode(key[1] or "."))
            self._append(device, f"\n{self._since_ns} {directory}\n".encode())
            if len(self._noted) > _MOST_REMEMBERED:
                self._noted = set()  # to be noted twice does no harm
            self._noted.add(key)

    def noted(self, device: Device) -> dict[str, int]:
        """The directories below a device that were noted since `clear`.

        With each comes the time in nanoseconds since when files may have come to it. Raises OSError.
        """
        found: dict[str, int] = {}
        for line in _lines(device):
            record = _RECORD.fullmatch(line)
            directory = os.fsdecode(unquote_to_bytes(record[2])) if record else ".."
            if record is not None and _is_below(directory):
                since = int(record[1])
                directory = "" if directory == "." else directory
                found[directory] = min(since, found.get(directory, since))
        return found

    def is_kept(self, device: Device) -> bool:
        """Whether the index once had all of a device, so that only what was noted can differ. Raises OSError."""
        return _KEPT in _lines(device)

    def booted_since(self, device: Device) -> bool:
        """Whether the machine was started anew since `clear`: what no sync covered may be damaged. Raises OSError."""
        boots = [line for line in _lines(device) if line.startswith(_BOOT)]
        return bool(boots) and boots[-1] != _BOOT + _boot()

    def clear(self, device: Device) -> None:
        """Forget them all: the index is whole and durable, and no other process writes. Raises DeviceFull, OSError."""
        self._noted = {key for key in self._noted if key[0] != device.name}
        path = _journal(device)
        fresh = path.with_suffix(".new")
        with device.reporting_full:
            path.parent.mkdir(exist_ok=True)
            with fresh.open("wb") as file:
                file.write(b"\n".join((b"", _KEPT, _BOOT + _boot(), b"")))
                file.flush()
                if self._safe:
                    os.fsync(file.fileno())
            fresh.replace(path)
            if self._safe:
                sync_names(device.root, [path.parent])

    def keep(self, device: Device) -> None:
        """Note that the index has all of a device but what is noted from now on. Raises DeviceFull or OSError."""
        self._append(device, b"\n" + _KEPT + b"\n")

    def _append(self, device: Device, record: bytes) -> None:
        path = _journal(device)
        with device.reporting_full:
            path.parent.mkdir(exist_ok=True)
            new = not path.exists()
            descriptor = os.open(path, _APPEND, 0o666)
            try:
                if os.write(descriptor, record) != len(record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                if self._safe:
                    os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            if new and self._safe:
                sync_names(device.root, [path.parent])


def _lines(device: Device) -> list[bytes]:
    try:
        return _journal(device).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []


def _boot() -> bytes:
    """What names this run of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b"unknown"  # not Linux


def _journal(device: Device) -> Path:
    return device.staging / JOURNAL


def _is_below(directory: str) -> bool:
    return not directory.startswith("/") and "\0" not in directory and ".." not in PurePosixPath(directory).parts
