"""The files of a tree that a crawl looks at."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_DICOMDIR = "dicomdir"


@dataclass(frozen=True, slots=True)
class Found:
    """A file: its path as bytes, which begins with the name of the root, its size and the time of its last change."""

    path: bytes
    size: int
    mtime_ns: int


def files_below(root: Path, extensions: Collection[str], on_error: Callable[[OSError], None]) -> Iterator[Found]:
    """Walk all files below `root` whose last suffix is one of `extensions`, in either case; "" takes every file.

    Links are followed, those to directories after all real directories, and no directory is visited twice, so that
    of two ways to one the real one counts. Hidden files count, DICOMDIR and dangling links do not. What cannot be
    read goes to `on_error`.
    """
    suffixes = {f".{extension.lower().removeprefix('.')}" if extension else "" for extension in extensions}
    walk = _Walk(root, suffixes, on_error)
    while walk.real or walk.linked:
        yield from walk.directory(walk.real.pop() if walk.real else walk.linked.popleft())


class _Walk:
    """One walk: the directories it still has to visit, below the root, and those it has visited."""

    def __init__(self, root: Path, suffixes: Collection[str], on_error: Callable[[OSError], None]) -> None:
        self.real = [""]
        self.linked = deque[str]()
        self.visited: set[tuple[int, int]] = set()
        self._root = root
        self._top = os.fsencode(root.name) + b"/"
        self._suffixes = suffixes
        self._on_error = on_error

    def directory(self, below: str) -> Iterator[Found]:
        """Yield the files of a directory and remember the directories in it."""
        directories: list[str] = []
        links: list[str] = []
        try:
            identity = _identity((self._root / below).stat())
            if identity in self.visited:
                return
            self.visited.add(identity)
            with os.scandir(self._root / below) as entries:
                for entry in entries:
                    path = f"{below}/{entry.name}" if below else entry.name
                    try:
                        if entry.is_dir():
                            (links if entry.is_symlink() else directories).append(path)
                        elif _is_taken(entry.name, self._suffixes) and entry.is_file():
                            status = entry.stat()
                            yield Found(self._top + os.fsencode(path), status.st_size, status.st_mtime_ns)
                    except OSError as error:
                        # It went meanwhile, or is a link to itself: nothing is there.
                        if error.errno not in (errno.ENOENT, errno.ELOOP):
                            self._on_error(error)
        except OSError as error:
            self._on_error(error)
        # The last one is visited next.
        self.real.extend(sorted(directories, reverse=True))
        self.linked.extend(sorted(links))


def _is_taken(name: str, suffixes: Collection[str]) -> bool:
    if name.lower() == _DICOMDIR:
        return False
    # A name such as ".dcm" has no suffix to med-imagetools either.
    stem, dot, suffix = name.rpartition(".")
    return "" in suffixes or (bool(stem) and f"{dot}{suffix.lower()}" in suffixes)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
