"""Deleting: rows first, then files, so that a row never names a missing file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial

from db.objects import StoredObject
from db.query import Query
from server.server import Server
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

    Series, studies and patients that become empty go with them; `worklist` takes a deleted patient's worklist rows
    too. Raises DatabaseError with nothing deleted, and OSError or StorageError when a file cannot be removed (its row
    is gone then, and the log names the file).
    """
    chosen = list(objects)
    removed = server.index.delete(chosen, worklist=worklist)
    if not files:
        log.info("Removed %d images from the database, their files stay", len(removed))
        return len(removed)
    log.info("RemoveFiles %d images", len(removed))
    failed: OSError | StorageError | None = None
    for location in removed:
        log.info("Removing object: [%s:%s]", location.device, location.file)
        try:
            server.storage.remove(location.device, location.file)
        except (OSError, StorageError) as error:
            log.error("***Cannot remove [%s:%s]: %s", location.device, location.file, error)
            failed = error
    # A regeneration that had read a file before it went may have entered it again.
    server.index.delete(chosen, worklist=worklist, only=partial(is_gone, server))
    if failed is not None:
        raise failed
    return len(removed)


def is_gone(server: Server, row: StoredObject) -> bool:
    """Whether the file that a row names is on no device any more."""
    try:
        server.storage.locate(row.device, row.file)
    except MissingFile:
        return True
    return False
