"""The one way out: send stored objects as they are stored, or in another uncompressed form the peer prefers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from pydicom.dataset import Dataset

from db.objects import StoredObject
from server.dimse import COMPLETED, FAILED, REMAINING, WARNING, Association, Buffer, PeerGone, Value, chunks
from server.pipeline.query import build_query, identify
from server.scu import (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    MAX_CONTEXTS,
    AssociationFailed,
    Originator,
    OutgoingAssociation,
    Peer,
    Proposal,
    connect,
    send_c_store,
)
from server.server import Server
from server.service import Request
from server.status import Answer, Refused, Status
from storage.codecs.native import convert
from storage.codecs.table import Code, parse_code
from storage.errors import MissingFile, NotConvertible, NotDicom
from storage.part10 import ObjectFile, read_object_file
from storage.transfer import is_compressed

log = logging.getLogger("dgate")

# Objects are looked at this many at a time: enough to need one association, few enough to hold nothing large.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a C-MOVE sends to, and the compression code for it."""

    peer: Peer
    code: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored object about to be sent: its UIDs and its file."""

    sop_class: str
    sop_instance: str
    file: ObjectFile


class Sender(Protocol):
    """Sends objects to one receiver."""

    def prepare(self, batch: list[Outgoing]) -> None:
        """Be ready for these objects; raises AssociationFailed when the receiver cannot be reached."""

    def send(self, outgoing: Outgoing) -> int:
        """Send one object and return the receiver's status; NotConvertible when it accepts no form of it."""

    def finish(self, *, failed: bool) -> None:
        """Release what was opened, or abort it."""


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


def retrieve(request: Request, server: Server, sender: Sender) -> Answer | None:
    """Serve a C-MOVE or C-GET: select, send each object, report, and end with counts and the failed UIDs.

    What cannot be sent counts as failed and the rest goes on; a receiver that is gone fails all that remain.
    """
    identified = identify(request.identifier())
    if not any(identified.keys.values()):
        raise Refused(Status.MISMATCH, "the identifier names nothing to retrieve")
    objects = list(server.index.select_objects(build_query(identified, wanted=frozenset())))
    if not objects:
        if server.settings.ConquestStatuses:
            raise Refused(Status.NOTHING_FOUND, "nothing found")
        request.respond(Status.SUCCESS, fields=_Count(0).fields(final=True))
        return None
    count = _Count(len(objects))
    gone = True
    try:
        status = _send_all(request, server, sender, objects, count)
        gone = False
    except AssociationFailed as error:
        log.error("***Retrieve: %s", error)
        if server.settings.ConquestStatuses:
            raise Refused(Status.DESTINATION_UNREACHABLE, str(error)) from error
        status = Status.CANNOT_PERFORM_SUBOPERATIONS
        count.failed += [row.sop_instance for row in objects[len(objects) - count.remaining :]]
        count.remaining = 0
    finally:
        sender.finish(failed=gone)
    request.association.done["sent"] += count.completed + count.warning
    _final(request, status, count)
    return None


def _send_all(request: Request, server: Server, sender: Sender, objects: list[StoredObject], count: _Count) -> int:
    """Send everything; returns the final status. Raises AssociationFailed, and PeerGone of the requestor."""
    rows = iter(objects)
    while batch := list(islice(rows, BATCH)):
        opened = {row.sop_instance: _open(server, row) for row in batch}
        sender.prepare([outgoing for outgoing in opened.values() if outgoing is not None])
        for row in batch:
            if request.cancelled:
                return Status.CANCEL
            _send_one(server, sender, row.sop_instance, opened[row.sop_instance], count)
            if count.remaining:
                request.respond(Status.PENDING, fields=count.fields(final=False))
    if not count.failed:
        return Status.SUCCESS
    everything = not count.completed and not count.warning
    return Status.CANNOT_PERFORM_SUBOPERATIONS if everything else Status.SUBOPERATION_FAILURES


def _open(server: Server, row: StoredObject) -> Outgoing | None:
    """Find the file of a row and read its meta; None, with a log line, when it is missing or no longer readable."""
    try:
        file = read_object_file(server.storage.locate(row.device, row.file))
    except (MissingFile, NotDicom, OSError) as error:
        log.error("***Cannot send %s: %s", row.sop_instance, error)
        return None
    return Outgoing(row.sop_class or file.sop_class, row.sop_instance or file.sop_instance, file)


def _send_one(server: Server, sender: Sender, uid: str, outgoing: Outgoing | None, count: _Count) -> None:
    count.remaining -= 1
    if outgoing is None:
        count.failed.append(uid)
        return
    try:
        status = sender.send(outgoing)
    except AssociationFailed:
        count.failed.append(uid)
        raise
    except (NotConvertible, NotDicom, OSError, EOFError) as error:
        log.error("***Cannot send %s: %s", uid, error)
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


def _final(request: Request, status: int, count: _Count) -> None:
    data = b""
    if count.failed:
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = count.failed
        data = request.encoded(failed)
    comment = f"{len(count.failed)} sub-operations failed" if count.failed else ""
    request.respond(status, comment=comment, fields=count.fields(final=True), data=data)


class MoveSender:
    """Sends over an association of our own to a C-MOVE destination, opened anew when its contexts do not serve."""

    def __init__(self, server: Server, destination: Destination, originator: Originator) -> None:
        self._server = server
        self._destination = destination
        self._originator = originator
        self._code = parse_code(destination.code)
        self._association: OutgoingAssociation | None = None
        self._proposed: set[Proposal] = set()
        if not self._code.available:
            log.info("Compression %r is not done yet: %s gets objects as stored", self._code.text, destination.peer)

    def prepare(self, batch: list[Outgoing]) -> None:
        """Open an association that proposes every form of these objects, unless the present one does."""
        needed = list(dict.fromkeys(proposal for row in batch for proposal in _proposals(row, self._code)))
        if self._association is not None and self._proposed.issuperset(needed):
            return
        self.finish(failed=False)
        self._open(needed[:MAX_CONTEXTS])

    def _open(self, proposals: list[Proposal]) -> None:
        if not proposals:
            return
        settings = self._server.settings
        self._association = connect(
            self._destination.peer,
            settings.MyACRNema,
            proposals,
            timeout_s=settings.TCPIPTimeOut,
            pdu_size=settings.PDUSize,
        )
        self._proposed = set(proposals)

    def send(self, outgoing: Outgoing) -> int:
        """Send one object; a batch of more than 128 contexts gets a second association in the middle."""
        if not self._proposed.issuperset(_proposals(outgoing, self._code)):
            self.prepare([outgoing])
        association = self._association
        assert association is not None, "prepare was not called"
        try:
            return _transfer(association, association.next_id(), outgoing, self._originator, self._code)
        except PeerGone as error:
            association.abort()
            self._association = None
            raise AssociationFailed(f"{self._destination.peer}: {error}") from error

    def finish(self, *, failed: bool) -> None:
        """Release the association, or abort it when sending ended in the middle."""
        association, self._association, self._proposed = self._association, None, set()
        if association is None:
            return
        if failed:
            association.abort()
        else:
            association.release()


class GetSender:
    """Sends on the association a C-GET came on, in the contexts it has."""

    def __init__(self, server: Server, association: Association, originator: Originator) -> None:
        self._association = association
        self._originator = originator
        self._code = parse_code("as")
        self._sent = 0

    def prepare(self, batch: list[Outgoing]) -> None:
        """Nothing to do: the requestor chose the contexts."""

    def send(self, outgoing: Outgoing) -> int:
        self._sent = self._sent % 0xFFFF + 1
        return _transfer(self._association, self._sent, outgoing, self._originator, self._code)

    def finish(self, *, failed: bool) -> None:
        """Nothing to do: the association is the requestor's."""


def _proposals(outgoing: Outgoing, code: Code) -> tuple[Proposal, ...]:
    """What to propose for an object: its stored syntax in a context of its own, then what the code falls back to."""
    stored = outgoing.file.transfer_syntax
    syntaxes = code.uncompressed_syntaxes or (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    fallback = Proposal(outgoing.sop_class, syntaxes)
    if code.uncompressed_syntaxes and not is_compressed(stored) and stored not in syntaxes:
        return (fallback,)
    own = Proposal(outgoing.sop_class, (stored,))
    return (own, fallback) if not is_compressed(stored) or not code.strict else (own,)


def _transfer(association: Association, message_id: int, outgoing: Outgoing, originator: Originator, code: Code) -> int:
    """Send an object in the best accepted context: as stored, else converted between uncompressed syntaxes."""
    stored = outgoing.file.transfer_syntax
    accepted = {
        str(context.transfer_syntax[0]): number
        for number, context in association.contexts_by_id.items()
        if context.abstract_syntax == outgoing.sop_class and (association.is_requestor or context.as_scu)
    }
    if not accepted:
        raise NotConvertible(f"the receiver does not accept its SOP class {outgoing.sop_class}")
    for syntax in _preference(stored, accepted, code):
        if syntax == stored:
            data: Iterable[Buffer] = _stored_bytes(outgoing.file)
        else:
            data = convert(outgoing.file, syntax)
        return send_c_store(
            association, accepted[syntax], message_id, (outgoing.sop_class, outgoing.sop_instance), data, originator
        )
    raise NotConvertible(f"the receiver accepts {', '.join(accepted)} for it and it is stored as {stored}")


def _preference(stored: str, accepted: dict[str, int], code: Code) -> Iterator[str]:
    """Accepted syntaxes in the order to try: stored, then uncompressed ones; compressed data has its own only."""
    if stored in accepted:
        yield stored
    if not is_compressed(stored):
        order = (*code.uncompressed_syntaxes, EXPLICIT_LITTLE, IMPLICIT_LITTLE, "1.2.840.10008.1.2.2")
        yield from (syntax for syntax in order if syntax in accepted)


def _stored_bytes(file: ObjectFile) -> Iterator[bytes]:
    with file.path.open("rb") as source:
        source.seek(file.offset)
        yield from chunks(source, file.length)
