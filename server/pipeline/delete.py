"""Deleting: rows first, with tombstones, then files: a row never names a missing file, and none comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from db.errors import DatabaseError
from db.objects import Location, StoredObject
from db.query import Query
from db.tombstones import DELETED, DETACHED
from server.server import Server
from storage.device import relative_names
from storage.durable import sync_names
from storage.errors import MissingFile, StorageError
from storage.header import TagPath

log = logging.getLogger("dgate")


class TooWide(Exception):
    """Keys that would select more for deletion than they name; the text says which element is to blame."""


def select(server: Server, keys: Mapping[TagPath, str]) -> list[StoredObject]:
    """The objects that all `keys` name, for `delete`.

    What would restrict nothing in a query is refused here: an empty value, an element that the database has no column
    for and, unless WildcardDelete is set, wildcards. Raises TooWide and DatabaseError.
    """
    for path, value in keys.items():
        tag = f"({path[-1] >> 16:04x},{path[-1] & 0xFFFF:04x})"
        if not value.strip(" \0"):
            raise TooWide(f"the value of {tag} is empty")
        if not server.index.knows(path):
            raise TooWide(f"the database has no column for {tag}, so nothing can be selected by it")
        if not server.settings.WildcardDelete and ("*" in value or "?" in value):
            raise TooWide(f"the value of {tag} has a wildcard: set WildcardDelete = 1 in dicom.ini to allow that")
    assert keys, "something to select by"
    return list(server.index.select_objects(Query(level="IMAGE", keys=keys)))


def delete(server: Server, objects: Iterable[StoredObject], *, files: bool = True, worklist: bool = False) -> int:
    """Take objects out of the index and, unless told otherwise, off the disk; returns how many there were.

    When this returns no crash brings them back: tombstones are committed with the rows, before the first file goes.
    Series, studies and patients that become empty go with them; `worklist` takes a deleted patient's worklist rows
    too. Raises DatabaseError with nothing deleted, and OSError or StorageError when a file cannot be removed (its row
    is gone then, the log names the file, and the next start tries again).
    """
    chosen = list(objects)
    removed = server.index.delete(chosen, worklist=worklist, tombstones=DELETED if files else DETACHED)
    if is_safe(server):
        server.index.sync()
    if not files:
        if is_safe(server):
            _sync_names(server, removed)
        log.info("Removed %d images from the database, their files stay", len(removed))
        return len(removed)
    log.info("RemoveFiles %d images", len(removed))
    failed = _remove_files(server, removed)
    # A regeneration that had read a file before it went may have entered it again.
    server.index.delete(chosen, worklist=worklist, only=partial(is_gone, server))
    if failed is not None:
        raise failed
    return len(removed)


def delete_file(server: Server, location: Location) -> None:
    """Delete a file that no row names. Raises DatabaseError, OSError or StorageError."""
    server.index.tombstones.add(DELETED, location)
    if is_safe(server):
        server.index.sync()
    failed = _remove_files(server, [location])
    if failed is not None:
        raise failed


def sweep(server: Server, *, least: int = 1000, every_s: float = 60, older_s: float = 600) -> None:
    """Forget old tombstones of files that are gone, once this process has written so many. Never raises.

    Young ones are kept: what a killed process left of an object that was deleted since is told by them.
    """
    tombstones, now_s = server.index.tombstones, time.monotonic()
    if tombstones.unswept < least or now_s - tombstones.swept_s < every_s:
        return
    tombstones.unswept, tombstones.swept_s = 0, now_s
    try:
        dead = tombstones.older(time.time_ns() - int(older_s * 1e9))
        settle(server, [location for location in dead if not any(path.exists() for path in paths_of(server, location))])
    except (DatabaseError, StorageError, OSError) as error:
        # They are litter: the next sweep or start takes them.
        log.error("***Tombstones of files that are gone cannot be taken away: %s", error)


def is_safe(server: Server) -> bool:
    """Whether what was acknowledged must survive a power cut."""
    return server.storage.settings.Durability == "safe"


def paths_of(server: Server, location: Location) -> list[Path]:
    """Where the file of a location may be, on its own device and the mirror of that; [] when there can be none."""
    try:
        device = server.storage.device(location.device.partition(".")[0])
        return [root / name for root in device.roots for name in relative_names(location.file)]
    except StorageError:
        return []


def is_gone(server: Server, row: StoredObject) -> bool:
    """Whether the file that a row names is on no device any more."""
    try:
        server.storage.locate(row.device, row.file)
    except MissingFile:
        return True
    return False


def _remove_files(server: Server, locations: Iterable[Location]) -> OSError | StorageError | None:
    """Remove files, and old tombstones with them; return the last error, after trying them all."""
    failed: OSError | StorageError | None = None
    for location in locations:
        log.info("Removing object: [%s:%s]", location.device, location.file)
        try:
            server.storage.remove(location.device, location.file)
        except (OSError, StorageError) as error:
            log.error("***Cannot remove [%s:%s]: %s", location.device, location.file, error)
            failed = error
    sweep(server)
    return failed


def settle(server: Server, locations: Iterable[Location]) -> None:
    """Forget tombstones of files that are gone, which first must be so after a power cut too."""
    gone = list(locations)
    if is_safe(server):
        _sync_names(server, gone)
    server.index.tombstones.forget(gone)


def _sync_names(server: Server, locations: Iterable[Location]) -> None:
    """Make it survive a power cut whether there are files at these places."""
    below = {path.parent for location in locations for path in paths_of(server, location)}
    for device in server.storage.devices:
        here = [path for path in below if path.is_relative_to(device.root)]
        # The temporary names they had once must not come back either, for the next start to adopt.
        sync_names(device.root, [*here, device.staging] if here else [])
