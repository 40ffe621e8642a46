"""The series of a library: which directories hold DICOM files, and which files those are."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from dgate.rev.files import PART
from dgate.rev.layout import LARGE_STRIP, PICTURES, STATE, STRIP, TAGS, Example, Place, place_of
from dgate.rev.state import Stamp, read_state

_OURS = frozenset({LARGE_STRIP, STATE, STRIP, TAGS})
_PREFIX_AT = 128
_USUAL_SUFFIXES = (".dcm", ".ima", ".dicom", ".v2")


@dataclass(frozen=True, slots=True)
class Found:
    """A directory of a library with files that may be those of a series, in the order of their names."""

    place: Place
    files: tuple[Stamp, ...]


@dataclass(frozen=True, slots=True)
class Stray:
    """A directory with DICOM files that is not where a series belongs."""

    path: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files count: those whose path contains `only` and whose name ends in `extension`.

    `apart` is a directory that is passed over: the output tree, where that lies inside.
    """

    only: str = ""
    extension: str = ""
    follow_links: bool = False
    apart: Path | None = None

    def takes(self, directory: str, name: str) -> bool:
        suffix = self.extension and f".{self.extension.removeprefix('.')}".lower()
        return name.lower().endswith(suffix) and self.only in f"{directory}/{name}"


def claims_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, by its name or by its prefix; False for what cannot be read."""
    if path.name.lower().endswith(_USUAL_SUFFIXES):
        return True
    try:
        with path.open("rb") as source:
            source.seek(_PREFIX_AT)
            return source.read(4) == b"DICM"
    except OSError:
        return False


def series_below(
    root: Path, wanted: Wanted, on_error: Callable[[OSError], None], only: Collection[Example] | None = None
) -> Iterator[Found | Stray]:
    """Walk a library in the order of its names, or the examples `only`; what cannot be read goes to `on_error`.

    What earlier runs have made is passed over. Links to files count, those to directories only if they are to be
    followed, and then no directory counts twice.
    """
    walk = _Walk(root, wanted, on_error)
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        if only is not None and len(parts) >= 3 and Example(*parts[:3]) not in only:
            continue
        found, directories = walk.directory(parts)
        if found is not None:
            yield found
        pending.extend((*parts, name) for name in sorted(directories, reverse=True))


class _Walk:
    def __init__(self, root: Path, wanted: Wanted, on_error: Callable[[OSError], None]) -> None:
        self._root = root
        self._wanted = wanted
        self._on_error = on_error
        self._visited: set[tuple[int, int]] = set()
        apart = wanted.apart
        self._apart = None if apart is None or not apart.exists() else _identity(apart.stat())

    def directory(self, parts: tuple[str, ...]) -> tuple[Found | Stray | None, list[str]]:
        """What a directory holds, and the directories in it to go on with."""
        directory, below = self._root.joinpath(*parts), "/".join(parts)
        place = place_of(parts)
        files: list[Stamp] = []
        directories: list[str] = []
        try:
            identity = _identity(directory.stat())
            if identity in self._visited or (parts and identity == self._apart):
                return None, []
            self._visited.add(identity)
            if place is not None and self._is_output(directory, place):
                return None, []
            with os.scandir(directory) as entries:
                for entry in entries:
                    self._sort(entry, below, place, files, directories)
        except OSError as error:
            self._on_error(error)
            return None, []
        files.sort(key=lambda stamp: stamp.name)
        if place is not None:
            return (Found(place, tuple(files)) if files else None), directories
        stray = any(claims_dicom(directory / stamp.name) for stamp in files)
        return (Stray(below or ".") if stray else None), directories

    def _sort(
        self, entry: os.DirEntry[str], below: str, place: Place | None, files: list[Stamp], directories: list[str]
    ) -> None:
        try:
            if entry.is_dir():
                if (self._wanted.follow_links or not entry.is_symlink()) and not (place and entry.name in PICTURES):
                    directories.append(entry.name)
            elif entry.is_file() and not _is_none(entry.name) and self._wanted.takes(below, entry.name):
                status = entry.stat()
                files.append(Stamp(entry.name, status.st_size, status.st_mtime_ns))
        except OSError as error:
            # It went meanwhile, or is a link to itself: nothing is there.
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                self._on_error(error)

    def _is_output(self, directory: Path, place: Place) -> bool:
        """Whether a directory was made of another one, under another name (--outputLeafDir)."""
        state = read_state(directory)
        if state is None or "%s" not in state.leaf:
            return False
        above, _, series = state.source.rpartition("/")
        return above == place.example.path and series != place.series == state.leaf.replace("%s", series)


def _is_none(name: str) -> bool:
    """Whether a file of that name is none of a series: one of ours, or a list of others."""
    return name in _OURS or name.startswith(PART) or name.lower() == "dicomdir"


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
