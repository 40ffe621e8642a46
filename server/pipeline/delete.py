"""Deleting: rows first, then files, so that a row never names a missing file."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from db.objects import StoredObject
from server.server import Server

log = logging.getLogger("dgate")


def delete(server: Server, objects: Iterable[StoredObject], *, files: bool = True, worklist: bool = False) -> int:
    """Take objects out of the index and, unless told otherwise, off the disk; returns how many there were.

    Series, studies and patients that become empty go with them; `worklist` takes a deleted patient's worklist rows
    too. Raises DatabaseError with nothing deleted, and OSError when a file cannot be removed (its row is gone then,
    and the log names the file).
    """
    chosen = list(objects)
    removed = server.index.delete(chosen, worklist=worklist)
    log.info("RemoveFiles %d images", len(removed) if files else 0)
    if not files:
        return len(removed)
    failed: OSError | None = None
    for location in removed:
        log.info("Removing object: [%s:%s]", location.device, location.file)
        try:
            server.storage.remove(location.device, location.file)
        except OSError as error:
            log.error("***Cannot remove [%s:%s]: %s", location.device, location.file, error)
            failed = error
    if failed is not None:
        raise failed
    return len(removed)
