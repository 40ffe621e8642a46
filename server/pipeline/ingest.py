"""The one way in: check an object, give it its file, enter it in the index, let go of what it replaces."""

from __future__ import annotations

from dataclasses import dataclass

from db.objects import Checked
from server.pipeline.compression import compressed, incoming_code
from server.pipeline.entered import follow_up, let_go
from server.server import Server
from server.status import Mismatch
from storage.header import Header
from storage.spool import Spool
from storage.store import StoredFile

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018


@dataclass(slots=True)
class Incoming:
    """An object on its way in: its spooled data set, what was said of it, and who brought it to whom.

    `code` is the compression code asked for with ``~xx``; None means the one of the settings. `checked` is kept by
    whoever brings many objects; with it, rows may be handed over instead of committed.
    """

    spool: Spool
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling: str
    called: str
    code: str | None = None
    checked: Checked | None = None


def ingest(server: Server, incoming: Incoming) -> str:
    """Store one object: when this returns, its file has its final name and every query finds it.

    Returns the line for the log that says so, which need not keep the sender waiting.

    Whatever fails, a row never names a file that is not there, an earlier copy of the object is still whole, and
    nothing of the new one is left. Raises NotDicom, Mismatch, LinkRefused, MissingUid, DeviceFull, TooLarge,
    DatabaseError or OSError.
    """
    header = _checked_header(server, incoming)
    server.counters.add("ImagesReceived")
    settings = server.storage.settings
    if settings.IgnoreRewrite and server.index.locate(incoming.sop_instance) is not None:
        return f"Object already stored, ignored (IgnoreRewrite): {incoming.sop_instance}"
    spool = incoming.spool
    made = compressed(server, spool, incoming_code(settings, incoming.code))
    if made is not None:
        spool.discard()
        spool, header = made
    stored = server.storage.store(spool, header, calling=incoming.calling, called=incoming.called)
    return _enter(server, header, stored, incoming.checked, replace=not settings.IgnoreRewrite)


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


def _enter(server: Server, header: Header, stored: StoredFile, checked: Checked | None, *, replace: bool) -> str:
    """Enter the row, then let go of the file that lost: the new one when it is refused, else the earlier copy."""
    index, values = server.index, header.values
    if checked is not None and replace and index.hand_over(values, stored.device, stored.file, checked):
        server.counters.add("ImagesSaved")
        return f"Written file: {stored.full_name}"
    try:
        added = index.add(values, stored.device, stored.file, replace=replace)
    except BaseException:
        let_go(server, stored.device, stored.file)
        raise
    if checked is not None:
        checked.add(values, added)
    follow_up(server, added, stored.device, stored.file, stored.path)
    if not added.stored:
        # Another association brought the same object first, and IgnoreRewrite keeps that one.
        return f"Object already stored, ignored (IgnoreRewrite): {added.sop_instance}"
    server.counters.add("ImagesSaved")
    return f"{'Written' if added.previous is None else 'Rewritten'} file: {stored.full_name}"
