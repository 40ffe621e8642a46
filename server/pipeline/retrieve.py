"""The one way out: send stored objects as they are stored, or in another uncompressed form the peer prefers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from pydicom.dataset import Dataset

from db.objects import StoredObject
from server.commandset import COMPLETED, FAILED, REMAINING, WARNING, Value
from server.pipeline.query import build_query, identify
from server.pipeline.sending import Outgoing, Sender, stamp
from server.scu import AssociationFailed
from server.server import Server
from server.status import Answer, Refused, Status, cause
from storage.errors import MissingFile, NotConvertible, NotDicom
from storage.part10 import read_object

log = logging.getLogger("dgate")

# Objects are looked at this many at a time: enough to need one association, few enough to hold nothing large.
BATCH = 500

# A list of UIDs must fit an element with a length of 16 bits.
_MAX_LIST = 0xFFFE


@dataclass(frozen=True, slots=True)
class _Selected:
    """One object of a retrieve as the index has it. There may be a million, so nothing is kept that is not needed."""

    sop_class: str
    sop_instance: str
    patient_id: str
    device: str
    file: str


@dataclass(slots=True)
class _Count:
    """Sub-operations of one retrieve."""

    remaining: int
    completed: int = 0
    failed: list[str] = field(default_factory=list)
    warning: int = 0

    def fields(self, *, final: bool) -> dict[int, Value]:
        fields: dict[int, Value] = {
            COMPLETED: min(self.completed, 0xFFFF),
            FAILED: min(len(self.failed), 0xFFFF),
            WARNING: min(self.warning, 0xFFFF),
        }
        if not final or self.remaining:
            fields[REMAINING] = min(self.remaining, 0xFFFF)
        return fields

    @property
    def status(self) -> int:
        """The final status of a retrieve that went to its end."""
        if not self.failed:
            return Status.SUCCESS
        everything = not self.completed and not self.warning
        return Status.CANNOT_PERFORM_SUBOPERATIONS if everything else Status.SUBOPERATION_FAILURES


class Requestor(Protocol):
    """Who asked for a retrieve, as far as retrieving needs to know: a `server.service.Request`."""

    @property
    def cancelled(self) -> bool: ...

    def identifier(self) -> Dataset: ...

    def encoded(self, identifier: Dataset) -> bytes: ...

    def respond(
        self, status: int, *, comment: str = "", fields: dict[int, Value] | None = None, data: bytes = b""
    ) -> None: ...

    def report(self, fields: dict[int, Value], *, with_next: bool) -> None: ...

    def tally(self, what: str, count: int) -> None: ...


def retrieve(request: Requestor, server: Server, sender: Sender) -> Answer | None:
    """Serve a C-MOVE or C-GET: select, send each object, report, and end with counts and the failed UIDs.

    What cannot be sent counts as failed and the rest goes on; a receiver that is gone fails all that remain.
    """
    identified = identify(request.identifier())
    if not any(identified.keys.values()):
        raise Refused(Status.MISMATCH, "the identifier names nothing to retrieve")
    selected = _selected(server.index.select_objects(build_query(identified, wanted=frozenset())))
    if not selected:
        if server.settings.ConquestStatuses:
            raise Refused(Status.NOTHING_FOUND, "nothing found")
        request.respond(Status.SUCCESS, fields=_Count(0).fields(final=True))
        return None
    count = _Count(len(selected))
    gone = True
    try:
        status = _send_all(request, server, sender, selected, count)
        # The requestor need not wait for the receiver to release.
        _final(request, status, count)
        gone = False
    except AssociationFailed as error:
        log.error("***Retrieve: %s", error)
        if server.settings.ConquestStatuses:
            raise Refused(Status.DESTINATION_UNREACHABLE, str(error)) from error
        count.failed += [row.sop_instance for row in selected[len(selected) - count.remaining :]]
        count.remaining = 0
        _final(request, Status.CANNOT_PERFORM_SUBOPERATIONS, count)
    finally:
        request.tally("sent", count.completed + count.warning)
        sender.finish(failed=gone)
    return None


def _selected(objects: Iterable[StoredObject]) -> list[_Selected]:
    """Keep what retrieving needs of the rows, and of equal texts one copy."""
    texts: dict[str, str] = {}

    def one(text: str) -> str:
        return texts.setdefault(text, text)

    return [
        _Selected(one(row.sop_class), row.sop_instance, one(row.patient_id), one(row.device), row.file)
        for row in objects
    ]


def _send_all(request: Requestor, server: Server, sender: Sender, selected: list[_Selected], count: _Count) -> int:
    """Send everything; returns the final status. Raises AssociationFailed, and PeerGone of the requestor."""
    rows = iter(selected)
    while batch := list(islice(rows, BATCH)):
        opened = [_open(server, row) for row in batch]
        sender.prepare([outgoing for outgoing in opened if outgoing is not None])
        for row, outgoing in zip(batch, opened, strict=True):
            if request.cancelled:
                return Status.CANCEL
            count.remaining -= 1
            _send_one(server, sender, row, outgoing, count)
            if count.remaining:
                request.report(count.fields(final=False), with_next=sender.on_request)
    return count.status


def _open(server: Server, row: _Selected) -> Outgoing | None:
    """Find the file of a row and read its meta; None, with a log line, when it is missing or no longer readable."""
    try:
        try:
            return _read(server, row)
        except (MissingFile, FileNotFoundError):
            return _moved(server, row)
    except (MissingFile, NotDicom, OSError) as error:
        log.error("***Cannot send %s: %s", row.sop_instance, cause(error))
        return None


def _read(server: Server, row: _Selected) -> Outgoing:
    path = server.storage.locate(row.device, row.file)
    with path.open("rb") as source:
        file = read_object(source, path)
        return Outgoing(row.sop_class or file.sop_class, row.sop_instance or file.sop_instance, file, stamp(source))


def _moved(server: Server, row: _Selected) -> Outgoing:
    """Look in the index once more for an object whose file is gone: it may have been stored anew meanwhile."""
    found = server.index.locate(row.sop_instance, row.patient_id or None)
    if found is None:
        raise MissingFile("it has been deleted")
    return _read(server, replace(row, device=found.device, file=found.file))


def _send_one(server: Server, sender: Sender, row: _Selected, outgoing: Outgoing | None, count: _Count) -> None:
    uid = row.sop_instance
    if outgoing is None:
        count.failed.append(uid)
        return
    try:
        try:
            status = sender.send(outgoing)
        except MissingFile:
            status = sender.send(_moved(server, row))
    except AssociationFailed:
        count.failed.append(uid)
        raise
    except (MissingFile, NotConvertible, NotDicom, OSError, EOFError) as error:
        log.error("***Cannot send %s: %s", uid, cause(error))
        count.failed.append(uid)
        return
    if status == Status.SUCCESS:
        count.completed += 1
        server.counters.add("ImagesSent")
    elif status >> 12 == 0xB:
        count.warning += 1
        server.counters.add("ImagesSent")
    else:
        log.error("***%s was refused by the receiver with status 0x%04x", uid, status)
        count.failed.append(uid)


def _final(request: Requestor, status: int, count: _Count) -> None:
    data = b""
    if count.failed:
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = _listed(count.failed)
        data = request.encoded(failed)
    comment = f"{len(count.failed)} sub-operations failed" if count.failed else ""
    request.respond(status, comment=comment, fields=count.fields(final=True), data=data)


def _listed(uids: list[str]) -> list[str]:
    """As many of the UIDs as one element can hold; the log has named them all."""
    room = _MAX_LIST
    for place, uid in enumerate(uids):
        room -= len(uid) + 1
        if room < 0:
            return uids[:place]
    return uids
