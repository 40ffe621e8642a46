"""What follows when an object's row is committed: the file that lost goes, and the log hears what there is to say."""

from __future__ import annotations

import logging
from pathlib import Path

from db.errors import Refused
from db.objects import Added, NewObject
from db.schema import SOP_INSTANCE
from server.pipeline.delete import sweep
from server.server import Server
from server.status import cause
from storage.errors import StorageError

log = logging.getLogger("dgate")


def follow_up(server: Server, added: Added, device: str, file: str, path: Path) -> None:
    """Let go of the file that lost, the object's new one or an earlier copy's, and log warnings. Never raises."""
    for warning in added.warnings:
        log.warning("%s in file: %s", warning, path)
    if not added.stored:
        let_go(server, device, file)
    elif added.previous is not None:
        # With a database from Windows the row may have named, with other separators, what is the new file now.
        let_go(server, added.previous.device, added.previous.file, but=path)
        sweep(server)


def let_go(server: Server, device: str, file: str, *, but: Path | None = None) -> None:
    """Remove a file that no row names: one that stays is litter, and neither undoes a success nor hides a failure."""
    try:
        server.storage.remove(device, file, but=but)
    except (OSError, StorageError) as error:
        log.error("***Cannot remove a file on %s that is not needed any more: %s", device, cause(error))


class Handed:
    """Hears what becomes of rows that were handed over; their objects have been answered with success."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def entered(self, new: NewObject, result: Added | Refused) -> None:
        """Follow up as for any other object; one that is refused after all was acknowledged, so its file stays."""
        if isinstance(result, Refused):
            uid = new.values.get(SOP_INSTANCE, "")
            log.error("***Stored, but not in the index; its file stays, --fsck names it: %s: %s", uid, result)
            return
        root = self._server.storage.device(new.device).root
        follow_up(self._server, result, new.device, new.file, root / new.file)

    def failing(self, error: Exception) -> None:
        log.error("***Objects that were stored wait for their rows: %s", error)

    def recovered(self) -> None:
        log.info("The rows of all objects that were stored are in the index")
