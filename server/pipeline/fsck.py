"""Comparing files and index: what one has and the other has not, and mending it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from db.objects import Location, StoredObject
from db.query import Query
from db.schema import SOP_INSTANCE
from db.tombstones import DELETED, DETACHED, Tombstone
from server.pipeline.delete import delete_file, is_gone
from server.pipeline.regen import regenerate_file, stored_files
from server.server import Server
from storage.errors import MissingFile, NotDicom
from storage.header import read_header
from storage.part10 import read_object_file

log = logging.getLogger("dgate")

# How long objects that come, are replaced and go beside a running server are given to come to rest.
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, and what was done about it; `settled` when nothing is left to do."""

    what: str
    done: str = ""
    settled: bool = False

    def __str__(self) -> str:
        return f"{self.what}: {self.done}" if self.done else self.what


def fsck(server: Server, *, repair: bool, alone: bool) -> Iterator[Finding]:
    """Yield everything found, in the order it is found; with `repair` each is mended first where that is safe.

    A row without file is taken out of the index; a file without row is entered, or removed if it was deleted; a file
    whose SOP instance the index has elsewhere is only named: nobody but its owner can say which copy is wanted. One
    whose row alone was deleted is named, and nothing is wrong with it. With `alone` (no server runs) temporary files
    that a crash left count too, and are removed: the next start would adopt the whole ones. Memory grows with the
    number of objects. Raises DatabaseError and OSError.
    """
    indexed: set[Path] = set()
    lost = []
    for row in server.index.select_objects(Query(level="IMAGE", keys={})):
        try:
            indexed.add(server.storage.locate(row.device, row.file).resolve())
        except MissingFile:
            lost.append(row)
    unnamed = [
        path
        for device in server.storage.devices
        for path in stored_files(server, [device.root], _unreadable)
        if path.resolve() not in indexed
    ]
    given_up = {each.location: each for each in server.index.tombstones.all()}
    unexplained = [path for path in unnamed if _location(server, path) not in given_up]
    if not alone and (lost or unexplained):
        time.sleep(_PATIENCE_S)
    for row in lost:
        if is_gone(server, row) and server.index.locate(row.sop_instance) == Location(row.device, row.file):
            yield _row_without_file(server, row, repair=repair)
    for path in unnamed:
        if path.exists():
            yield from _file_without_row(server, path, given_up, repair=repair)
    if alone:
        for leftover in server.storage.leftovers(alone=True):
            if repair:
                leftover.unlink(missing_ok=True)
            yield Finding(f"stale temporary {leftover}", "removed" if repair else "", repair)


def _location(server: Server, path: Path) -> Location:
    place = server.storage.place(path)
    assert place is not None, "it lies on a device"
    return Location(*place)


def _unreadable(error: OSError) -> None:
    log.error("***[fsck] %s cannot be read: %s", error.filename, error.strerror)


def _row_without_file(server: Server, row: StoredObject, *, repair: bool) -> Finding:
    if repair:
        server.index.delete([row], only=partial(is_gone, server))
    what = f"row without file {row.sop_instance} [{row.device}:{row.file}]"
    return Finding(what, "taken out of the index" if repair else "", repair)


def _file_without_row(
    server: Server, path: Path, given_up: Mapping[Location, Tombstone], *, repair: bool
) -> Iterator[Finding]:
    location = _location(server, path)
    tombstone = given_up.get(location)
    kind = tombstone.kind if tombstone is not None and path.stat().st_mtime_ns <= tombstone.at_ns else ""
    try:
        uid = _sop_instance(path)
    except (NotDicom, OSError) as error:
        yield Finding(f"file that is no object {path} ({error})")
        return
    other = server.index.locate(uid)
    if other == location:
        return  # entered since the walk began
    if kind == DETACHED:
        yield Finding(f"detached file {path}", "its row was deleted, --regen enters it again", True)
        return
    if kind == DELETED:
        if repair:
            delete_file(server, location)
        yield Finding(f"deleted file {path}", "removed" if repair else "", repair)
        return
    if other is not None:
        yield Finding(f"second copy {path} of {uid}, indexed as [{other.device}:{other.file}]")
        return
    entered = repair and bool(regenerate_file(server, path).entered)
    done = "entered" if entered else "cannot be entered, see the log" if repair else ""
    yield Finding(f"orphan file {path}", done, entered)


def _sop_instance(path: Path) -> str:
    found = read_object_file(path)
    with path.open("rb") as source:
        source.seek(found.offset)
        return read_header(source, found.transfer_syntax, [SOP_INSTANCE]).text(*SOP_INSTANCE)
