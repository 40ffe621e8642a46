"""The table of DIMSE services, the request they are given, and the one boundary from exception to status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from server.commandset import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    ERROR_COMMENT,
    MESSAGE_ID,
    NO_DATA_SET,
    REQUESTED_SOP_CLASS,
    RESPONDED_TO,
    RESPONSE,
    STATUS,
    Value,
    encode_command,
    encode_plain_response,
)
from server.dimse import Identifier, Message, PeerGone
from server.log import printable
from server.sopclass import is_storage_class
from server.status import Answer, Refused, Status, answer_for, cause
from storage.transfer import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, is_implicit, is_little_endian

if TYPE_CHECKING:
    from server.association import AcceptedAssociation
    from server.server import Server

log = logging.getLogger("dgate")


@dataclass(frozen=True, slots=True)
class SopClass:
    """A SOP class as the conformance statement names it."""

    uid: str
    name: str


@dataclass(slots=True)
class Request:
    """One DIMSE request: its message and the association it came on.

    `sop_class` is the affected (or requested) SOP class UID of the command, `sop_instance` the affected instance.
    """

    association: AcceptedAssociation
    message: Message
    sop_class: str = field(init=False)
    sop_instance: str = field(init=False)

    def __post_init__(self) -> None:
        command = self.message.command
        self.sop_class = command.text(AFFECTED_SOP_CLASS) or command.text(REQUESTED_SOP_CLASS)
        self.sop_instance = command.text(AFFECTED_SOP_INSTANCE)

    @property
    def message_id(self) -> int:
        return self.message.command.number(MESSAGE_ID)

    @property
    def abstract_syntax(self) -> str:
        return self.association.syntaxes(self.message.context_id)[0]

    @property
    def transfer_syntax(self) -> str:
        return self.association.syntaxes(self.message.context_id)[1]

    @property
    def encoding(self) -> tuple[bool, bool]:
        """(implicit VR, little endian) of the identifier and those in the responses."""
        return is_implicit(self.transfer_syntax), is_little_endian(self.transfer_syntax)

    @property
    def cancelled(self) -> bool:
        """Whether the peer has sent a C-CANCEL for this request."""
        self.association.look()
        return self.message_id in self.association.dimse.cancelled

    def identifier(self) -> Dataset:
        """Decode the identifier that came with the request; Refused when it is missing, no data set, or too long."""
        data = BytesIO(self.identifier_bytes())
        try:
            identifier = decode(data, *self.encoding)
            for _ in identifier.iterall():  # pydicom reads lazily: let damage show here
                pass
        except Exception as error:  # whatever a peer's bytes do inside pydicom is the peer's mistake
            raise Refused(Status.CANNOT_UNDERSTAND, "the identifier cannot be read") from error
        return identifier

    def identifier_bytes(self) -> bytes:
        """The identifier as it came; Refused when it is missing or too long."""
        data = self.message.data
        if not isinstance(data, Identifier):
            raise Refused(Status.CANNOT_UNDERSTAND, "the request has no identifier")
        if data.too_long:
            raise Refused(Status.OUT_OF_RESOURCES, "the identifier is too long")
        return data.getvalue()

    def encoded(self, identifier: Dataset) -> bytes:
        """Encode a data set in the transfer syntax of the request's context."""
        encoded = encode(identifier, *self.encoding)
        assert encoded is not None, "pydicom could not encode a response of ours"
        return encoded

    def respond(
        self, status: int, *, comment: str = "", fields: dict[int, Value] | None = None, data: bytes = b""
    ) -> None:
        """Send one response, pending or final; raises PeerGone."""
        command = self.response(status, comment=comment, fields=fields, data=bool(data))
        self.association.dimse.send(self.message.context_id, command, (data,) if data else None)

    def report(self, fields: dict[int, Value], *, with_next: bool) -> None:
        """Send a pending response; `with_next` lets it leave with the next message to the same peer."""
        pending = self.response(Status.PENDING, fields=fields)
        dimse = self.association.dimse
        (dimse.collect if with_next else dimse.send)(self.message.context_id, pending)

    def let_go(self) -> None:
        """Let go of the data set, wherever it went; may be called again."""
        discard = getattr(self.message.data, "discard", None)
        if discard is not None:
            discard()

    def tally(self, what: str, count: int = 1) -> None:
        """Count something done, for the line that the association leaves in the log."""
        self.association.done[what] += count

    def response(
        self, status: int, *, comment: str = "", fields: dict[int, Value] | None = None, data: bool = False
    ) -> bytes:
        """The command set of a response; `data` tells whether a data set follows."""
        sop_class, sop_instance, kind = self.sop_class, self.sop_instance, self.message.field | RESPONSE
        if sop_class and sop_instance and not comment and not fields:
            return encode_plain_response(kind, self.message_id, status, sop_class, sop_instance, data=data)
        elements: dict[int, Value] = {
            AFFECTED_SOP_CLASS: sop_class,
            COMMAND_FIELD: kind,
            RESPONDED_TO: self.message_id,
            DATA_SET_TYPE: 0x0001 if data else NO_DATA_SET,
            STATUS: status,
        }
        if sop_instance:
            elements[AFFECTED_SOP_INSTANCE] = sop_instance
        if comment:
            elements[ERROR_COMMENT] = printable(comment, 64)
        elements.update(fields or {})
        return encode_command(elements)


# Identifiers are short, so nobody deflates them, and what inflates is not worth its dangers here.
IDENTIFIER_SYNTAXES = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)


Handler = Callable[["Request", "Server"], Answer | None]


@dataclass(frozen=True, slots=True)
class Service:
    """One row of the table: which command on which SOP classes is answered by which function.

    `sop_classes` empty stands for every storage class, private ones included.
    """

    name: str
    command_field: int
    sop_classes: tuple[SopClass, ...]
    handler: Handler
    text: str


SERVICES: list[Service] = []


def service(name: str, command_field: int, sop_classes: Iterable[SopClass] = ()) -> Callable[[Handler], Handler]:
    """Declare the SCP of a DIMSE service; the docstring's first line stands in the conformance statement.

    A handler answers by returning the final Answer, or sends its responses itself and returns None.
    """

    def register(handler: Handler) -> Handler:
        text = (handler.__doc__ or "").strip().splitlines()[0]
        SERVICES.append(Service(name, command_field, tuple(sop_classes), handler, text))
        _find.cache_clear()
        is_storage.cache_clear()
        return handler

    return register


@lru_cache(maxsize=1024)
def is_storage(uid: str) -> bool:
    """Whether C-STORE serves an abstract syntax: every storage class, and every private UID no other service has."""
    return is_storage_class(uid) and not any(sop.uid == uid for row in SERVICES for sop in row.sop_classes)


def is_served(uid: str) -> bool:
    """Whether some service of the table answers on this abstract syntax."""
    return is_storage(uid) or any(sop.uid == uid for row in SERVICES for sop in row.sop_classes)


@lru_cache(maxsize=1024)
def _find(command_field: int, abstract_syntax: str) -> Service | None:
    for row in SERVICES:
        classes = row.sop_classes
        served = any(sop.uid == abstract_syntax for sop in classes) if classes else is_storage(abstract_syntax)
        if row.command_field == command_field and served:
            return row
    return None


def serve(request: Request, server: Server) -> None:
    """Answer one request; every exception of a handler ends here as a status (PeerGone alone ends the association)."""
    if request.message.field & RESPONSE:
        log.info("A response that nobody awaits was dropped: command field 0x%04x", request.message.field)
        return
    server.refresh()
    row = _find(request.message.field, request.abstract_syntax)
    answer = None
    try:
        answer = _answered(request, row, server)
        if answer is not None:
            request.respond(answer.status, comment=answer.comment)
    finally:
        # What is left to do the peer need not wait for.
        request.let_go()
        if answer is not None and answer.note:
            log.info("%s", answer.note)


def _answered(request: Request, row: Service | None, server: Server) -> Answer | None:
    """What the service answers, or why it does not; None when it has sent its responses itself."""
    try:
        return _unserved(request) if row is None else row.handler(request, server)
    except PeerGone:
        raise
    except Exception as error:
        known = answer_for(error, server.settings.StorageFailedErrorCode)
        answer = known or Answer(Status.PROCESSING_FAILURE, "internal error, see the server log")
        name = _named(request, row)
        if known is None:
            log.exception("*** %s failed", name)
        else:
            log.error("***%s refused with 0x%04x: %s", name, answer.status, cause(error))
        request.let_go()  # whoever hears of a failure finds nothing left of what he sent
        return answer


def _unserved(request: Request) -> Answer:
    known = any(row.command_field == request.message.field for row in SERVICES)
    if known:
        raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, "not a service of this SOP class")
    raise Refused(Status.UNRECOGNISED_OPERATION, f"command field 0x{request.message.field:04x} is not known")


def _named(request: Request, row: Service | None) -> str:
    """A request as the log names it."""
    name = row.name if row else f"Command 0x{request.message.field:04x}"
    return printable(
        " ".join(part for part in (name, request.sop_instance, "from", request.association.calling) if part)
    )
