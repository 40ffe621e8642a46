"""Stored objects brought under another code: the new file first, then the row, then the earlier file goes."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from db.errors import DatabaseError
from db.objects import Location, StoredObject
from db.query import Query
from server.pipeline.compression import SOP_INSTANCE, code_of, count, makes_nki, may_hold_nki
from server.pipeline.delete import sweep
from server.server import Server
from server.status import cause
from storage.errors import StorageError
from storage.header import Header, read_header
from storage.part10 import read_object_file

log = logging.getLogger("dgate")

REPORT_SECONDS = 10.0

CHANGED, KEPT, FAILED = "changed", "kept", "failed"
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Recompressed:
    """What came of some objects: how many were changed, stayed as they are, and failed, which the log names."""

    changed: int = 0
    kept: int = 0
    failed: int = 0

    def count(self, what: str) -> None:
        """Count one."""
        setattr(self, what, getattr(self, what) + 1)

    @property
    def total(self) -> int:
        return self.changed + self.kept + self.failed

    def __str__(self) -> str:
        return f"{self.changed} recompressed, {self.kept} left as they are, {self.failed} failed"


def recompress(server: Server, sop_instance: str, old: Location, text: str) -> str:
    """Bring one stored object under a code; CHANGED, or KEPT where it stays, which the log gives the reason of.

    A crash at any moment leaves one of both files whole and named by the row. Raises StorageError, DatabaseError or
    OSError; then the object is as it was.
    """
    path = server.storage.locate(old.device, old.file)
    place = server.storage.place(path)
    if place is None:
        log.info("Compression %r: %s stays as it is: it lies on no MAG device", text, sop_instance)
        return KEPT
    out = server.storage.scratch()
    try:
        if not _transcoded(server, path, text, out):
            return KEPT
        spool = server.storage.take(out)
        try:
            header = _header(server, spool.file(out))
            stored = server.storage.store_beside(spool, *place)
        finally:
            spool.discard()
    finally:
        out.unlink(missing_ok=True)
    new = Location(stored.device, stored.file)
    try:
        switched = server.index.switch(sop_instance, header.values, old, new)
    except BaseException:
        server.storage.remove(new.device, new.file)
        raise
    if not switched:
        # Stored again or deleted meanwhile: that counts.
        server.storage.remove(new.device, new.file)
        return KEPT
    server.storage.remove(*place, but=stored.path)
    sweep(server)
    log.info("Recompressed to %r: %s", text, stored.full_name)
    return CHANGED


def _header(server: Server, path: Path) -> Header:
    file = read_object_file(path)
    with path.open("rb") as source:
        source.seek(file.offset)
        return read_header(source, file.transfer_syntax, server.wanted, whole=True)


def _transcoded(server: Server, path: Path, text: str, out: Path) -> bool:
    code = code_of(text)
    nki_here = path.suffix.lower() == ".v2" or may_hold_nki(server)
    to = "un" if makes_nki(code) and not nki_here else code.text
    return not _why_kept(server, path, to, out, meta=True)


def _why_kept(server: Server, path: Path, text: str, out: Path, *, meta: bool | None = None, uid: str = "") -> str:
    """Write an object in another form to `out`; the reason when nothing is written because it stays as it is."""
    from storage.recoding import transcode_first  # here: most servers keep objects as they come
    from storage.transcode import Wanted

    wanted = Wanted(text, quality=server.storage.settings.LossyQuality, new_uid=uid, meta=meta)
    done = server.codecs.run(transcode_first, path, (wanted,), out)
    for note in done.notes:
        log.info("%s: %s", done.sop_instance, note)
    if done.changed:
        count(server, read_object_file(path).transfer_syntax, done, text)
    else:
        log.info("Compression %r: %s stays as it is: %s", text, done.sop_instance, done.reason)
    return done.reason if not done.changed else ""


def write_compressed(server: Server, path: Path, out: Path, text: str) -> None:
    """Write a copy of an object under a code to `out`, which is replaced when all of it is there.

    What the code does not fit is copied as it is. A copy whose pixels lose something has a new SOP instance UID.
    Raises StorageError or OSError.
    """
    part = out.with_name(f".{out.name}.part")
    try:
        if _why_kept(server, path, text, part, uid=server.new_uid()):
            shutil.copyfile(path, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def recompress_file(server: Server, path: Path, text: str) -> str:
    """Bring a file under a code, in its place; returns the reason when it stays as it is.

    A file that a row of the index names is replaced as `recompress` does, any other under its own name. Raises
    StorageError, DatabaseError or OSError; then the file is as it was.
    """
    named = _row_of(server, path)
    if named is not None:
        done = recompress(server, *named, text)
        return "" if done == CHANGED else "the log says why"
    part = path.with_name(f".{path.name}.part")
    try:
        why = _why_kept(server, path, text, part)
        if not why:
            shutil.copymode(path, part)
            with part.open("rb") as written:
                os.fsync(written.fileno())
            part.replace(path)
        return why
    finally:
        part.unlink(missing_ok=True)


def _row_of(server: Server, path: Path) -> tuple[str, Location] | None:
    """The SOP instance UID and the place of the object whose row names this very file."""
    if server.storage.place(path) is None:
        return None
    uid = _header(server, path).text(*SOP_INSTANCE)
    found = server.index.locate(uid)
    if found is None or not server.storage.locate(found.device, found.file).samefile(path):
        return None
    return uid, found


def recompress_device(server: Server, device: str, text: str, progress: Progress | None = None) -> Recompressed:
    """Bring every object of a device under a code, as many at a time as there are codec processes.

    What cannot be done is in the log and does not stop the rest. `progress` is told how many of how many are done; what
    it raises ends the work between two objects. Raises DatabaseError for a database that fails.
    """
    rows = [row for row in server.index.select_objects(Query(level="IMAGE", keys={})) if _is_on(row, device)]
    result = Recompressed()
    reported = time.monotonic()
    for outcome in _in_parallel(server, rows, text):
        result.count(outcome)
        if progress is not None:
            progress(result.total, len(rows))
        if time.monotonic() - reported >= REPORT_SECONDS:
            reported = time.monotonic()
            log.info("Recompression of %s to %r: %d of %d objects", device, text, result.total, len(rows))
    log.info("Recompression of %s to %r: %s", device, text, result)
    return result


def _is_on(row: StoredObject, device: str) -> bool:
    return row.device.partition(".")[0].upper() == device.upper()


def _in_parallel(server: Server, rows: list[StoredObject], text: str) -> Iterator[str]:
    """Do one after the other with a few at a time; yields what came of each, in their order."""
    # One more than there are processes: the files of one are named while the others are worked on.
    threads = server.codecs.workers + 1
    waiting: deque[Future[str]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="recompress") as executor:
        left = iter(rows)
        waiting.extend(executor.submit(_tried, server, row, text) for row in islice(left, 2 * threads))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(executor.submit(_tried, server, row, text) for row in islice(left, 1))
        finally:
            for future in waiting:
                future.cancel()


def _tried(server: Server, row: StoredObject, text: str) -> str:
    try:
        return recompress(server, row.sop_instance, Location(row.device, row.file), text)
    except (StorageError, OSError) as error:
        log.error("***Recompression of %s failed: %s", row.sop_instance, cause(error))
    except DatabaseError as error:
        log.error("***Recompression of %s failed: %s", row.sop_instance, error)
    return FAILED
