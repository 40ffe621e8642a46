"""The files in a zip, tar or gzip file, one after another, without trusting what it says of itself."""

from __future__ import annotations

import errno
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from storage.errors import StorageError

# What an archive may unpack to, so that a small one cannot fill the disk: this much, and this many times its own size.
UNPACKED_LEAST = 256 << 20
UNPACKED_RATIO = 200
# A file in an archive may be empty, so their number is bounded too.
MOST_FILES = 1_000_000

_PIECE = 1 << 20
_SUFFIXES = (".gz", ".zip", ".tar")
# The other methods of zip may ask for gigabytes of memory; few programs write them.
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TAR_MAGIC = 257, b"ustar"

# What the standard library raises for archives that are cut, damaged or made to hurt.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError,
    EOFError, RuntimeError, ValueError, OverflowError, struct.error,
)  # fmt: skip


class NotUnpacked(StorageError):
    """An archive that cannot be unpacked; the message says why and names none of the files in it."""


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name: ``.zip``, ``.tar`` or ``.gz``."""
    return path.suffix.lower() in _SUFFIXES


def unpacked(path: Path, directory: Path) -> Iterator[Path]:
    """Unpack the files of an archive below `directory`; each is there until the next one is asked for.

    A ``.gz`` holds one file, or a tar. Names inside the archive are never used, links and directories passed over,
    archives in archives left as they are. Raises NotUnpacked, also when there is far more in it than its size lets
    expect, or OSError.
    """
    budget = _Budget(max(UNPACKED_LEAST, UNPACKED_RATIO * path.stat().st_size))
    target = directory / "file"
    for source in _sources(path, directory / "tar", budget):
        with source as opened, target.open("wb") as out:
            _copy(opened, out, budget)
        yield target
    target.unlink(missing_ok=True)


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, most: int) -> None:
        self._bytes = most
        self._files = MOST_FILES

    def spend(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise NotUnpacked("it unpacks to far more than its size")

    def next_file(self) -> None:
        self._files -= 1
        if self._files < 0:
            raise NotUnpacked(f"it holds more than {MOST_FILES} files")


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise NotUnpacked("it is damaged, or not what its name says") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # zipfile seeks to where a damaged directory says a file begins, before the beginning of the archive too.
        raise NotUnpacked("it is damaged, or not what its name says") from error


def _copy(source: IO[bytes], out: IO[bytes], budget: _Budget) -> None:
    while True:
        with _reported():
            piece = source.read(_PIECE)
        if not piece:
            return
        budget.spend(len(piece))
        out.write(piece)


def _sources(path: Path, inner: Path, budget: _Budget) -> Iterator[IO[bytes]]:
    """Open the files of an archive one by one; `inner` is a place for a tar in a gzip file."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return _zipped(path, budget)
    if suffix == ".tar":
        return _tarred(path, budget)
    with path.open("rb") as raw, inner.open("wb") as out:
        _copy(gzip.GzipFile(fileobj=raw), out, budget)  # type: ignore[arg-type]
    # Unpacked first: tarfile reads some headers whole, and those of a small file must not come from a bomb.
    return _tarred(inner, budget) if _is_tar(inner) else iter([inner.open("rb")])


def _zipped(path: Path, budget: _Budget) -> Iterator[IO[bytes]]:
    with _reported():
        archive = zipfile.ZipFile(path)
    with archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            budget.next_file()
            if info.compress_type not in _ZIP_METHODS:
                raise NotUnpacked("it is compressed in a way that is not unpacked: use deflate")
            if info.flag_bits & 1:
                raise NotUnpacked("it is encrypted")
            with _reported():
                opened = archive.open(info)
            yield opened


def _is_tar(path: Path) -> bool:
    place, magic = _TAR_MAGIC
    with path.open("rb") as file:
        file.seek(place)
        return file.read(len(magic)) == magic


def _tarred(path: Path, budget: _Budget) -> Iterator[IO[bytes]]:
    with _reported():
        archive = tarfile.open(path, "r:")  # noqa: SIM115
    with archive:
        while True:
            with _reported():
                member = archive.next()
            if member is None:
                return
            # tarfile keeps what it has seen; nothing is asked for by name.
            archive.members = []  # type: ignore[attr-defined]
            budget.next_file()
            if member.isfile():
                opened = archive.extractfile(member)
                assert opened is not None, "a regular file of an archive can be opened"
                yield opened
