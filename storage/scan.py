"""The files of a device by ConQuest's rules of regeneration, and their headers a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.cleaning import RESERVED
from storage.errors import NotDicom
from storage.header import Header, TagPath, read_header
from storage.part10 import ObjectFile, read_object

_EXTENSIONS = (".v2", ".dcm", ".img")


def is_object_name(name: str) -> bool:
    """Whether a file of that name is an object: ``.v2``, ``.dcm``, ``.img``, or no dot in its last four characters."""
    return name.lower().endswith(_EXTENSIONS) or "." not in name[-4:]


def object_files(root: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Walk all objects below `root`, directories and files in alphabetical order.

    Directories called INCOMING, PRINTER_FILES and BIN are passed over. A symbolic link to a directory is followed
    when it leads out of `root`, and nothing out there is visited twice; what it leads to inside is visited in its
    own place. What cannot be read goes to `on_error`, or raises OSError without it.
    """
    walk = _Walk(root, on_error)
    pending = [walk.entries(root, outside=False)]
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif entry.directory:
            pending.append(walk.entries(entry.path, outside=entry.outside))
        else:
            yield entry.path


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    directory: bool
    outside: bool


class _Walk:
    """One walk over a device, and the directories outside of it that were visited."""

    def __init__(self, root: Path, on_error: Callable[[OSError], None] | None) -> None:
        self._root = Path(os.path.realpath(root))
        self._on_error = on_error
        self._seen = {_identity(root)}

    def entries(self, directory: Path, *, outside: bool) -> Iterator[_Entry]:
        """Yield what is to be visited in a directory: objects, and directories to go into."""
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self._report(error)
            return
        for entry in entries:
            try:
                visit = self._visit(entry, outside)
            except OSError as error:
                self._report(error)
                continue
            if visit is not None:
                yield visit

    def _visit(self, entry: os.DirEntry[str], outside: bool) -> _Entry | None:
        path = Path(entry.path)
        if not entry.is_dir():
            return _Entry(path, False, outside) if is_object_name(entry.name) and entry.is_file() else None
        if entry.name.lower() in RESERVED:
            return None
        if entry.is_symlink():
            if Path(os.path.realpath(path)).is_relative_to(self._root):
                return None
            outside = True
        if outside:
            identity = _identity(path)
            if identity in self._seen:
                return None
            self._seen.add(identity)
        return _Entry(path, True, outside)

    def _report(self, error: OSError) -> None:
        if self._on_error is None:
            raise error
        self._on_error(error)


def _identity(directory: Path) -> tuple[int, int]:
    status = directory.stat()
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True)
class Scanned:
    """What one file turned out to be: an object and its header, or why not. Can be sent between processes."""

    path: Path
    file: ObjectFile | None = None
    header: Header | None = None
    size: int = 0
    mtime_ns: int = 0
    error: str = ""


def read_batch(paths: Sequence[Path], wanted: Collection[TagPath]) -> list[Scanned]:
    """Read the headers of files, in their order; one that cannot be read is reported, not raised."""
    wanted = frozenset(wanted)
    return [_read(path, wanted) for path in paths]


def _read(path: Path, wanted: frozenset[TagPath]) -> Scanned:
    try:
        with path.open("rb") as source:
            status = os.fstat(source.fileno())
            file = read_object(source, path)
            source.seek(file.offset)
            header = read_header(source, file.transfer_syntax, wanted)
    except NotDicom as error:
        return Scanned(path, error=str(error))
    except OSError as error:
        return Scanned(path, error=error.strerror or type(error).__name__)
    return Scanned(path, file, header, status.st_size, status.st_mtime_ns)
