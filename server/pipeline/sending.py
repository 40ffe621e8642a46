"""Ways out: to a C-MOVE destination, or back on the association of a C-GET; and in which transfer syntax."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from server.commandset import Buffer
from server.dimse import Association, PeerGone
from server.scu import (
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
from storage.codecs.native import convert
from storage.codecs.table import Code, parse_code
from storage.errors import MissingFile, NotConvertible
from storage.part10 import ObjectFile
from storage.transfer import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, is_compressed

log = logging.getLogger("dgate")

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a C-MOVE sends to, and the compression code for it."""

    peer: Peer
    code: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored object about to be sent: its UIDs, its file, and what tells that file from another of its name."""

    sop_class: str
    sop_instance: str
    file: ObjectFile
    stamp: tuple[int, int, int]

    def open(self) -> BinaryIO:
        """Open the file at the first byte of the data set; raises MissingFile when it has been replaced or removed."""
        try:
            source = self.file.path.open("rb")
        except FileNotFoundError:
            raise MissingFile("the file has been removed") from None
        if stamp(source) != self.stamp:
            source.close()
            raise MissingFile("the file has been replaced")
        source.seek(self.file.offset)
        return source


def stamp(source: BinaryIO) -> tuple[int, int, int]:
    """What tells an open file from another of its name."""
    found = os.fstat(source.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


class Sender(Protocol):
    """Sends objects to one receiver; `on_request` tells that it uses the association of the request."""

    on_request: bool

    def prepare(self, batch: list[Outgoing]) -> None:
        """Be ready for these objects; raises AssociationFailed when the receiver cannot be reached."""

    def send(self, outgoing: Outgoing) -> int:
        """Send one object and return the receiver's status; NotConvertible when it accepts no form of it."""

    def finish(self, *, failed: bool) -> None:
        """Release what was opened, or abort it."""


class MoveSender:
    """Sends over an association of our own to a C-MOVE destination, opened anew when its contexts do not serve."""

    on_request = False

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

    on_request = True

    def __init__(self, association: Association, code: str, originator: Originator) -> None:
        self._association = association
        self._originator = originator
        self._code = parse_code(code)
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
    if code.strict and not code.uncompressed_syntaxes:
        return (Proposal(outgoing.sop_class, (stored,)),)
    syntaxes = code.uncompressed_syntaxes or (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    fallback = Proposal(outgoing.sop_class, syntaxes)
    if code.uncompressed_syntaxes and not is_compressed(stored):
        return (fallback,)
    own = Proposal(outgoing.sop_class, (stored,))
    return own, fallback


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
            data: Iterable[Buffer] = _stored_bytes(outgoing)
        else:
            data = convert(outgoing.file, syntax)
        return send_c_store(
            association, accepted[syntax], message_id, (outgoing.sop_class, outgoing.sop_instance), data, originator
        )
    raise NotConvertible(f"the receiver accepts {', '.join(accepted)} for it and it is stored as {stored}")


def _preference(stored: str, accepted: dict[str, int], code: Code) -> Iterator[str]:
    """Accepted syntaxes in the order to try: those the code insists on, the stored one, uncompressed ones.

    Compressed data has its own only.
    """
    order: tuple[str, ...] = (stored,)
    if not is_compressed(stored):
        order = (*code.uncompressed_syntaxes, stored, EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
    yield from (syntax for syntax in dict.fromkeys(order) if syntax in accepted)


def _stored_bytes(outgoing: Outgoing) -> Iterator[bytes]:
    """Read the data set in pieces; raises MissingFile before the first, EOFError when the file is cut meanwhile."""
    with outgoing.open() as source:
        left = outgoing.file.length
        while left:
            piece = source.read(min(_PIECE, left))
            if not piece:
                raise EOFError("the file is shorter than it was")
            left -= len(piece)
            yield piece
