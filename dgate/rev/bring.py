"""The DICOM files of a series on their way to the output tree: anonymised, linked, copied or decompressed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dgate.rev.anonymise import anonymised
from dgate.rev.errors import BadRequest
from dgate.rev.files import make_reachable, part_of, write
from dgate.rev.options import Copying
from storage.part10 import read_object_file
from storage.pool import CodecPool
from storage.transcode import Wanted, transcode
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE

# What the loader of the viewer decodes: native little endian, JPEG baseline, extended and lossless, JPEG 2000.
_READABLE = frozenset(
    {IMPLICIT_LITTLE, EXPLICIT_LITTLE, *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 90, 91))}
)

Note = Callable[[str, str], None]


class Bringer:
    """Has the files of one series in its output directory.

    `in_place` allows to write over sources; without it, what would do so raises BadRequest.
    """

    def __init__(
        self, source: Path, target: Path, copying: Copying, pool: CodecPool, *, in_place: bool, note: Note
    ) -> None:
        self._source = source
        self._target = target
        self._copying = copying
        self._pool = pool
        self._in_place = in_place
        self._note = note
        self.written: list[str] = []
        # Those of which the contents are not what they were.
        self.changed: set[str] = set()

    def bring(self, name: str) -> Path:
        """Have a file in the output directory and return where it is read from then.

        Raises what the stages on the way do: SubstitutionFailed, NotConvertible, NotDicom, OSError.
        """
        source, target = self._source / name, self._target / name
        same = _is_same(source, target)
        if self._copying.anonymisation is not None:
            self._may_write(source, target, same=same)
            write(target, anonymised(source, self._copying.anonymisation))
            self.written.append(name)
            self.changed.add(name)
            source, same = target, True
        if self._copying.transcode and read_object_file(source).transfer_syntax not in _READABLE:
            self._may_write(self._source / name, target, same=same)
            if self._transcode(source, target):
                return target
        if not same and not _is_link(source, target, self._copying.links):
            make_reachable(source, target, self._copying.links)
            self.written.append(name)
        return target

    def _may_write(self, source: Path, target: Path, *, same: bool) -> None:
        if same and not self._in_place and _is_same(source, target):
            raise BadRequest("it would be overwritten: only -O %inputDir allows that")

    def _transcode(self, source: Path, target: Path) -> bool:
        """Write a file anew whose pixels the viewer could not read; False when they cannot be read here either."""
        part = part_of(self._target)
        try:
            done = self._pool.run(transcode, source, Wanted(EXPLICIT_LITTLE), part)
            if done.changed:
                part.replace(target)
                self.written.append(target.name)
                self.changed.add(target.name)
                return True
        finally:
            part.unlink(missing_ok=True)
        self._note(target.name, f"it stays compressed: {done.reason}")
        return False


def remove_others(directory: Path, names: set[str], before: tuple[str, ...]) -> Iterator[str]:
    """Remove files that an earlier run has brought and that are no longer in the series; yield their names."""
    for name in before:
        path = directory / name
        if name not in names and Path(name).name == name and path.is_file():
            path.unlink()
            yield name


def _is_same(source: Path, target: Path) -> bool:
    """Whether writing `target` would write over `source`: the same name in the same directory."""
    return source.name == target.name and os.path.realpath(source.parent) == os.path.realpath(target.parent)


def _is_link(source: Path, target: Path, links: str) -> bool:
    """Whether the target leads to the source already, in the way that is asked for."""
    try:
        if links == "symlink":
            return target.is_symlink() and target.samefile(source)
        return links == "hard" and not target.is_symlink() and target.samefile(source)
    except FileNotFoundError:
        return False
