"""What is sent: directories of objects with UIDs that no run has seen before."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.objects import study, with_pixels, write


@dataclass(frozen=True)
class Kind:
    """A kind of object: its name, its rows and columns (16 bit), and how many a run sends."""

    name: str
    size: int
    count: int


CT = Kind("CT 512x512", 512, 200)
SMALL = Kind("small 64x64", 64, 1000)


@dataclass(frozen=True)
class Batch:
    """Files of one run, split into directories for senders that work side by side."""

    kind: Kind
    directories: tuple[Path, ...]


def fresh(base: Path, kind: Kind, senders: int = 1) -> Batch:
    """Write the objects of one run; what an earlier run left at the same place is removed."""
    shutil.rmtree(base, ignore_errors=True)
    directories = []
    for sender in range(senders):
        directory = base / f"sender{sender}"
        for obj in study(f"BENCH{sender}", series=5, images=kind.count // (5 * senders)):
            write(directory, with_pixels(obj, kind.size, kind.size))
        directories.append(directory)
    return Batch(kind, tuple(directories))


def files(directory: Path) -> int:
    """How many objects a server has stored below a directory."""
    return sum(1 for path in directory.rglob("*") if path.is_file() and path.stat().st_size > 4096)
