"""The one way in: check an object, give it its file, enter it in the index, let go of what it replaces."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from server.pipeline.compression import compressed, incoming_code
from server.pipeline.delete import sweep
from server.server import Server
from server.status import Mismatch, cause
from storage.errors import StorageError
from storage.header import Header
from storage.spool import Spool
from storage.store import StoredFile

log = logging.getLogger("dgate")

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018


@dataclass(frozen=True, slots=True)
class Incoming:
    """An object on its way in: its spooled data set, what was said of it, and who brought it to whom.

    `code` is the compression code asked for with ``~xx``; None means the one of the settings.
    """

    spool: Spool
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling: str
    called: str
    code: str | None = None


def ingest(server: Server, incoming: Incoming) -> str:
    """Store one object: when this returns, its file has its final name and its rows are committed.

    Returns the line for the log that says so, which need not keep the sender waiting.

    Whatever fails, a row never names a file that is not there, an earlier copy of the object is still whole, and
    nothing of the new one is left. Raises NotDicom, Mismatch, LinkRefused, MissingUid, DeviceFull, TooLarge,
    DatabaseError or OSError.
    """
    header = _checked_header(server, incoming)
    server.counters.add("ImagesReceived")
    keep = server.storage.settings.IgnoreRewrite
    if keep and server.index.locate(incoming.sop_instance) is not None:
        return f"Object already stored, ignored (IgnoreRewrite): {incoming.sop_instance}"
    spool = incoming.spool
    made = compressed(server, spool, incoming_code(server.storage.settings, incoming.code))
    if made is not None:
        spool.discard()
        spool, header = made
    stored = server.storage.store(spool, header, calling=incoming.calling, called=incoming.called)
    return _enter(server, header, stored, replace=not keep)


def _checked_header(server: Server, incoming: Incoming) -> Header:
    header = incoming.spool.header(server.wanted)
    for tag, said, what in (
        (SOP_INSTANCE_UID, incoming.sop_instance, "instance"),
        (SOP_CLASS_UID, incoming.sop_class, "class"),
    ):
        found = header.text(tag)
        if not found:
            raise Mismatch(f"the data set has no SOP {what} UID")
        if found != said:
            raise Mismatch(f"the SOP {what} UID is not that of the command")
    return header


def _enter(server: Server, header: Header, stored: StoredFile, *, replace: bool) -> str:
    """Commit the rows, then let go of the file that lost: the new one when it is refused, else the earlier copy."""
    try:
        added = server.index.add(header.values, stored.device, stored.file, replace=replace)
    except BaseException:
        _let_go(server, stored.device, stored.file)
        raise
    for warning in added.warnings:
        log.warning("%s in file: %s", warning, stored.path)
    if not added.stored:
        # Another association brought the same object first, and IgnoreRewrite keeps that one.
        _let_go(server, stored.device, stored.file)
        return f"Object already stored, ignored (IgnoreRewrite): {added.sop_instance}"
    server.counters.add("ImagesSaved")
    if added.previous is None:
        return f"Written file: {stored.full_name}"
    # With a database from Windows the row may have named, with other separators, what is the new file now.
    _let_go(server, added.previous.device, added.previous.file, but=stored.path)
    sweep(server)
    return f"Rewritten file: {stored.full_name}"


def _let_go(server: Server, device: str, file: str, *, but: Path | None = None) -> None:
    """Remove a file that no row names: one that stays is litter, and neither undoes a success nor hides a failure."""
    try:
        server.storage.remove(device, file, but=but)
    except (OSError, StorageError) as error:
        log.error("***Cannot remove a file on %s that is not needed any more: %s", device, cause(error))
