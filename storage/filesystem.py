"""What kind of file system a directory is on, for what only some of them promise."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Local ones that can give a name to a file that began without, and whose close reports nothing that a write did not.
UNNAMED_FILES = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})
# Those on which a sync of a file that was made just now covers the name that it was made with, or got in the same
# directory since: see docs/adr/0010. Not "ext2", which may be the driver of that name, which does not.
_NAMES_WITH_FILES = frozenset({"btrfs", "ext3", "ext4", "xfs"})
# Those of them where that is as true of the first name of a file that was opened without one in that directory.
_NAMES_WITH_UNNAMED = frozenset({"ext3", "ext4", "xfs"})
_NAMES_WITH_FILES_SINCE = (5, 0)

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def kind_of(directory: str) -> str:
    """The type of the file system that a directory is on as /proc/self/mountinfo has it, "" where nobody tells.

    The mount is found by the number that an open file gives, as device numbers of btrfs and overlays do not tell.
    Raises OSError when the directory is gone.
    """
    descriptor = os.open(directory, _DIRECTORY)
    try:
        return _mounted(_mount_of(descriptor))
    finally:
        os.close(descriptor)


def names_with_files(kind: str) -> bool:
    """Whether the first sync of a file on a file system of this type covers its name."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    version = (int(release[1]), int(release[2])) if release else (0, 0)
    return kind in _NAMES_WITH_FILES and version >= _NAMES_WITH_FILES_SINCE


def names_with_unnamed(kind: str) -> bool:
    """Whether on such a file system a sync covers the first name of a file that was opened without, linked before it.

    The name must be in the directory that the file was opened in.
    """
    return kind in _NAMES_WITH_UNNAMED and names_with_files(kind)


def _mount_of(descriptor: int) -> str:
    for line in _lines(f"/proc/self/fdinfo/{descriptor}"):
        key, _, value = line.partition(":")
        if key == "mnt_id":
            return value.strip()
    return ""


def _mounted(number: str) -> str:
    for line in _lines("/proc/self/mountinfo"):
        mount, _, source = line.partition(" - ")
        if number and mount.partition(" ")[0] == number:
            return source.partition(" ")[0]
    return ""


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []  # no Linux, or no /proc
