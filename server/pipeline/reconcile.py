"""After a crash: what was still being written when the server died is taken in when it is whole, else removed."""

from __future__ import annotations

import logging
from pathlib import Path

from db.errors import Refused
from server.pipeline.ingest import Incoming, ingest
from server.server import Server
from server.status import Mismatch
from storage.errors import StorageError

log = logging.getLogger("dgate")


def adopt_leftovers(server: Server) -> None:
    """Deal with the temporary files of earlier processes; only for who holds the devices alone.

    None of them was acknowledged, so nothing is lost by removing one; but a peer may not send again what it believes to
    have sent. Raises DatabaseError: then the files stay for the next start.
    """
    for leftover in server.storage.leftovers(alone=True):
        if _adopted(server, leftover):
            log.info("Adopted an object that was whole when the server stopped: %s", leftover.name)
        else:
            leftover.unlink(missing_ok=True)
            log.info("Removed what was written of an object when the server stopped: %s", leftover.name)


def _adopted(server: Server, leftover: Path) -> bool:
    try:
        spool = server.storage.adopt(leftover)
        ingest(
            server,
            Incoming(
                spool=spool,
                sop_class=spool.sop_class,
                sop_instance=spool.sop_instance,
                transfer_syntax=spool.transfer_syntax,
                calling="",
                called=server.ae_title,
            ),
        )
    except (StorageError, Mismatch, Refused, OSError) as error:
        log.info("%s is not whole: %s", leftover.name, error)
        return False
    return True
