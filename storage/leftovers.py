"""Temporary files that processes left behind, and what is known of them."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from storage.device import STAGING, Device
from storage.staged import SCRATCH, SEALED, SUFFIX

_PIECE = 1 << 20


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


def is_sealed(path: Path) -> bool:
    """Whether a temporary file is whole by the size and the checksum in its name; raises OSError."""
    match = SEALED.search(path.name)
    if match is None or path.stat().st_size != int(match[2]):
        return False
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    return checksum == int(match[1], 16)
