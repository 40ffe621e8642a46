"""Files that come to be whole or not at all, and DICOM files of one tree made reachable in another."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

Links = Literal["hard", "symlink", "copy"]

# What files are called while they are being written begins with this.
PART = ".rev-part-"
# Signs of another file system, of one without hard links, and of a file with too many.
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


def part_of(directory: Path) -> Path:
    """Where a thread of a process writes what will be a file of the directory."""
    return directory / f"{PART}{os.getpid()}-{threading.get_native_id()}"


def write(path: Path, pieces: bytes | Iterable[bytes]) -> None:
    """Write a file under a temporary name and give it its own then, whatever that named before; raises OSError."""
    part = part_of(path.parent)
    try:
        with part.open("wb") as target:
            for piece in (pieces,) if isinstance(pieces, bytes) else pieces:
                target.write(piece)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_if_new(path: Path, data: bytes) -> bool:
    """Write a file unless it says that already; return whether it was written."""
    try:
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
    except FileNotFoundError:
        pass
    write(path, data)
    return True


def as_json(value: object) -> bytes:
    """JSON as ReV has it: an indent of 4, and no line end."""
    return json.dumps(value, indent=4).encode("ascii")


def read_json(path: Path) -> Any:
    """Read JSON; None when there is no such file, or when it holds none."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None


def make_reachable(source: Path, target: Path, links: Links) -> None:
    """Have the bytes of `source` under the name `target` too; a copy where the file system has no such links."""
    original = source.resolve(strict=True)
    part = part_of(target.parent)
    part.unlink(missing_ok=True)
    try:
        if links == "symlink":
            part.symlink_to(original)
        elif links == "copy" or not _hard_linked(original, part):
            shutil.copy2(original, part)
        # Renaming one of two names of a file onto the other does nothing at all.
        target.unlink(missing_ok=True)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def _hard_linked(original: Path, target: Path) -> bool:
    try:
        target.hardlink_to(original)
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True
