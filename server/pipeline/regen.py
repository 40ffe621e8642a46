"""Entering files that are already on a device: parsed in parallel, committed in the order of their file times."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from db.errors import Refused
from db.objects import Added, Location, NewObject, StoredObject
from server.pipeline.delete import is_gone
from server.server import Server
from storage.errors import MissingFile
from storage.executor import bulk_executor
from storage.scan import Scanned, object_files, read_batch

log = logging.getLogger("dgate")

# Files a task reads, and tasks that wait for their turn to be committed.
BATCH = 100
WINDOW = 16
# Below this many files starting processes costs more than it saves.
PARALLEL_FROM = 400
REPORT_SECONDS = 10.0

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Regenerated:
    """How many files were entered, and how many could not be read or were refused."""

    entered: int = 0
    failed: int = 0


def regenerate(server: Server, directories: Iterable[Path], progress: Progress | None = None) -> Regenerated:
    """Enter every object file below `directories`, which lie on MAG devices, into the index.

    Newest values win in the index, so files are committed in the order of their times: a rebuilt index equals the one
    it replaces. Of two files of one SOP instance the later counts; both stay. A file that cannot be read or entered is
    logged and the rest goes on. Objects may be stored and deleted meanwhile; a server that is told to stop ends it.
    `progress` is told (done, total). Raises DatabaseError and OSError.
    """
    paths = _by_time(stored_files(server, directories))
    report = _Reporter(len(paths), progress)
    result = Regenerated()
    for batch in _scan(paths, server):
        if server.running.stopping.is_set():
            log.warning("***Regeneration interrupted: %d of %d files entered", result.entered, len(paths))
            return result
        _enter(server, batch, result)
        report.add(len(batch))
    log.info("Regeneration Complete: %d entered, %d failed", result.entered, result.failed)
    return result


def regenerate_file(server: Server, path: Path) -> Regenerated:
    """Enter one file that lies on a MAG device."""
    result = Regenerated()
    _enter(server, read_batch([path], server.wanted), result)
    return result


def _unreadable(error: OSError) -> None:
    log.error("***[Regen] %s -FAILED: %s", error.filename, error.strerror)


def stored_files(
    server: Server, directories: Iterable[Path], on_error: Callable[[OSError], None] = _unreadable
) -> Iterator[Path]:
    """The object files below directories of devices; not what SQLite keeps beside an index that is on one, too."""
    index = server.index.file
    beside = os.path.realpath(index.parent) if index is not None else ""
    for directory in directories:
        for path in object_files(directory, on_error):
            if index is None or not path.name.startswith(index.name) or os.path.realpath(path.parent) != beside:
                yield path


def _by_time(paths: Iterable[Path]) -> list[Path]:
    timed = []
    for path in paths:
        try:
            timed.append((path.stat().st_mtime_ns, path))
        except OSError as error:
            _unreadable(error)
    return [path for _, path in sorted(timed)]


def _scan(paths: Sequence[Path], server: Server) -> Iterator[list[Scanned]]:
    """Read the files' headers, batch by batch in the order given."""
    batches = iter([paths[start : start + BATCH] for start in range(0, len(paths), BATCH)])
    if len(paths) < PARALLEL_FROM:
        for batch in batches:
            yield read_batch(batch, server.wanted)
        return
    with bulk_executor() as executor:
        waiting = deque(_submit(executor, batches, server, WINDOW))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(_submit(executor, batches, server, 1))


def _submit(
    executor: Executor, batches: Iterator[Sequence[Path]], server: Server, count: int
) -> list[Future[list[Scanned]]]:
    return [executor.submit(read_batch, batch, server.wanted) for batch in islice(batches, count)]


def _enter(server: Server, batch: Sequence[Scanned], result: Regenerated) -> None:
    entries, readable = [], []
    for scanned in batch:
        place = server.storage.place(scanned.path)
        if scanned.header is None or place is None:
            log.error("***[Regen] %s -FAILED: Error on Load: %s", scanned.path, scanned.error or "not on a MAG device")
            result.failed += 1
            continue
        entries.append(NewObject(scanned.header.values, *place))
        readable.append(scanned)
    entered = []
    for scanned, new, outcome in zip(readable, entries, server.index.add_many(entries), strict=True):
        if isinstance(outcome, Refused):
            log.error("***[Regen] %s -FAILED: Error SQL Add: %s", scanned.path, outcome)
            result.failed += 1
            continue
        log.info("[Regen] %s -SUCCESS", scanned.path)
        result.entered += 1
        _settle_twins(server, scanned, outcome.previous)
        entered.append((scanned.path, _row(new, outcome)))
    server.index.tombstones.forget_detached(Location(row.device, row.file) for _, row in entered)
    # Files that went between reading and entering; deletes look once more themselves for those that go later.
    missing = [row for path, row in entered if not path.exists()]
    if missing:
        result.entered -= len(server.index.delete(missing, only=partial(is_gone, server)))


def _row(new: NewObject, added: Added) -> StoredObject:
    uids = (added.sop_instance, added.patient_id, added.study_uid, added.series_uid)
    return StoredObject("", *uids, new.device, new.file)


def _settle_twins(server: Server, scanned: Scanned, other: Location | None) -> None:
    """Of two files of one SOP instance let the later count: the other may be one that was stored just now."""
    while other is not None:
        try:
            path = server.storage.locate(other.device, other.file)
            later = (path.stat().st_mtime_ns, path) > (scanned.mtime_ns, scanned.path)
        except (MissingFile, OSError):
            return
        if path == scanned.path:
            return
        log.warning("***[Regen] %s: %s holds this SOP instance too", scanned.path, path)
        if not later:
            return
        (scanned,) = read_batch([path], server.wanted)
        if scanned.header is None:
            return
        (outcome,) = server.index.add_many([NewObject(scanned.header.values, other.device, other.file)])
        other = None if isinstance(outcome, Refused) else outcome.previous


class _Reporter:
    """Tells progress after each batch, and the log every few seconds with rate and time left."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._started = self._reported = time.monotonic()
        if progress is not None:
            progress(0, total)

    def add(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported = now
            rate = self._done / (now - self._started)
            left = (self._total - self._done) / rate
            log.info("Regen: %d of %d files, %.0f/s, %.0f s left", self._done, self._total, rate, left)
