"""Outgoing associations: C-ECHO, C-STORE, C-FIND, C-MOVE and ConQuest's command channel as SCU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from server.commandset import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    MOVE_DESTINATION,
    NO_DATA_SET,
    ORIGINATOR_AE,
    ORIGINATOR_ID,
    PRIORITY,
    STATUS,
    Buffer,
    Value,
    encode_command,
)
from server.dimse import (
    Association,
    Identifier,
    Message,
    PeerGone,
)
from server.upper import Connection, prepare
from storage.part10 import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION
from storage.transfer import IMPLICIT_LITTLE

VERIFICATION = "1.2.840.10008.1.1"

# PS3.8 9.3.2.2: context IDs are odd numbers up to 255.
MAX_CONTEXTS = 128

CONSOLE_TEXT = 0x99990300
CONSOLE_COMMAND = 0x99990400
CONSOLE_RESPONSE = 0x99990401
CONSOLE_DATA = 0x99990402
CONSOLE_ODD = 0x99990404

# A reply may be a file.
_MAX_REPLY = 1 << 30

# How long a peer may take to agree that an association is over.
_RELEASE_SECONDS = 10.0

# The line ConQuest's own client sends for the server's operator log.
_CONSOLE_LINE = "Server command sent using DGATE -- option"


class AssociationFailed(Exception):
    """The peer could not be reached or did not accept; the text says which, with its address."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to connect to: called AE title, host and port."""

    ae: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae} ({self.host}:{self.port})"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Originator:
    """Who asked for a C-STORE sub-operation: the C-MOVE requestor's AE title and message ID."""

    ae: str
    message_id: int


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The answer of a command channel: DIMSE status and payload, None when element (9999,0401) is absent."""

    status: int
    payload: bytes | None


class OutgoingAssociation(Association):
    """An association we requested; used by one thread, which sends and waits for each response itself."""

    def __init__(self, ae: ApplicationEntity) -> None:
        super().__init__(ae, MODE_REQUESTOR)
        self._last_id = 0
        # Its reactor never runs: responses are taken by whoever sent the request.
        self._is_paused = True

    def next_id(self) -> int:
        """A message ID for the next request."""
        self._last_id = self._last_id % 0xFFFF + 1
        return self._last_id

    def keep_proposed(self, proposals: Sequence[Proposal]) -> None:
        """Forget contexts that the peer accepted in a transfer syntax which was not proposed for them."""
        for number, context in list(self._accepted_cx.items()):
            accepted = [str(syntax) for syntax in context.transfer_syntax]
            if not set(accepted[:1]) & set(proposals[number // 2].transfer_syntaxes):
                self._rejected_cx.append(self._accepted_cx.pop(number))

    def context_for(self, abstract_syntax: str) -> tuple[int, str] | None:
        """(context ID, transfer syntax) of the first accepted context of a class."""
        for number, context in self.contexts_by_id.items():
            if context.abstract_syntax == abstract_syntax:
                return number, str(context.transfer_syntax[0])
        return None


@contextmanager
def associate(
    peer: Peer, calling: str, proposals: Sequence[Proposal], *, timeout_s: float, pdu_size: int = 131072
) -> Iterator[OutgoingAssociation]:
    """Open an association for the time of a `with` block: released at its end, aborted when it ends with an exception.

    `timeout_s` bounds connecting, the answer to the association request, and each response. Raises AssociationFailed.
    """
    association = connect(peer, calling, proposals, timeout_s=timeout_s, pdu_size=pdu_size)
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    association.release()


def connect(
    peer: Peer, calling: str, proposals: Sequence[Proposal], *, timeout_s: float, pdu_size: int = 131072
) -> OutgoingAssociation:
    """Open an association that the caller will release or abort; raises AssociationFailed."""
    association = _prepare(peer, calling, proposals, timeout_s, pdu_size)
    try:
        association.request()
        if association.is_established:
            association.keep_proposed(proposals)
            association.acse_timeout = min(timeout_s, _RELEASE_SECONDS)
            if association.contexts_by_id:
                return association
            association.abort()
    except (OSError, ValueError) as error:
        raise AssociationFailed(f"{peer}: {error}") from None
    finally:
        if not association.is_established:
            association.close()
    if association.is_rejected and association.acceptor.primitive is not None:
        raise AssociationFailed(f"{peer} rejected the association: {association.acceptor.primitive.reason_str}")
    if association.rejected_contexts:
        raise AssociationFailed(f"{peer} accepted none of the proposed presentation contexts")
    raise AssociationFailed(f"{peer} cannot be reached or does not answer")


def _prepare(
    peer: Peer, calling: str, proposals: Sequence[Proposal], timeout_s: float, pdu_size: int
) -> OutgoingAssociation:
    try:
        ae = ApplicationEntity(ae_title=calling)
    except ValueError as error:
        raise AssociationFailed(f"calling AE title {calling!r}: {error}") from None
    ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = timeout_s
    ae.network_timeout = None
    association = OutgoingAssociation(ae)
    association.name = f"association to {peer.ae}"
    remote = AddressInformation.from_addr_port(peer.host, peer.port)
    local = AddressInformation.from_tuple(("", 0) if remote.is_ipv4 else ("::0", 0))
    association.bind(evt.EVT_CONN_OPEN, lambda event: prepare(association.dul.socket.socket, timeout_s))  # type: ignore
    association.set_socket(Connection(association, address=local))
    try:
        association.acceptor.ae_title = peer.ae
    except ValueError as error:
        raise AssociationFailed(f"called AE title {peer.ae!r}: {error}") from None
    association.acceptor.address_info = remote
    association.requestor.address_info = local
    association.requestor.ae_title = calling
    association.requestor.maximum_length = pdu_size
    association.requestor.implementation_class_uid = UID(IMPLEMENTATION_CLASS)
    association.requestor.implementation_version_name = IMPLEMENTATION_VERSION
    association.requestor.requested_contexts = [_context(i, row) for i, row in enumerate(proposals[:MAX_CONTEXTS])]
    return association


def _context(index: int, proposal: Proposal) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = UID(proposal.abstract_syntax)
    context.transfer_syntax = [UID(ts) for ts in proposal.transfer_syntaxes]
    context.context_id = 2 * index + 1
    return context


def exchange(
    association: Association, context_id: int, elements: dict[int, Value], data: Iterable[Buffer] | None = None
) -> Message:
    """Send one request and wait for its one response; raises PeerGone."""
    command = encode_command(elements)
    association.dimse.send(context_id, command, data)
    return association.wait_response(int(elements[MESSAGE_ID]), association.dimse_timeout)


def begin_c_store(
    association: Association,
    context_id: int,
    message_id: int,
    sop: tuple[str, str],
    data: Iterable[Buffer],
    originator: Originator | None = None,
) -> None:
    """Send one object, its data set encoded as the context's transfer syntax says; `store_status` is the peer's answer.

    `sop` is (SOP class UID, SOP instance UID). Raises PeerGone.
    """
    elements: dict[int, Value] = {
        AFFECTED_SOP_CLASS: sop[0],
        COMMAND_FIELD: C_STORE_RQ,
        MESSAGE_ID: message_id,
        PRIORITY: 0,
        DATA_SET_TYPE: 0x0001,
        AFFECTED_SOP_INSTANCE: sop[1],
    }
    if originator is not None:
        elements[ORIGINATOR_AE] = originator.ae
        elements[ORIGINATOR_ID] = originator.message_id
    association.dimse.send(context_id, encode_command(elements), data)


def store_status(association: Association, message_id: int) -> int:
    """Wait for the peer's status of the object that was sent with this message ID. Raises PeerGone."""
    return association.wait_response(message_id, association.dimse_timeout).command.number(STATUS)


def send_c_echo(association: OutgoingAssociation) -> int:
    """C-ECHO on an association that proposed Verification; returns the peer's status. Raises PeerGone."""
    context = association.context_for(VERIFICATION)
    if context is None:
        raise PeerGone("the peer does not accept Verification")
    elements: dict[int, Value] = {
        AFFECTED_SOP_CLASS: VERIFICATION,
        COMMAND_FIELD: C_ECHO_RQ,
        MESSAGE_ID: association.next_id(),
        DATA_SET_TYPE: NO_DATA_SET,
    }
    return exchange(association, context[0], elements).command.number(STATUS)


def send_c_find(association: OutgoingAssociation, sop_class: str, identifier: Dataset) -> Iterator[Dataset]:
    """C-FIND: yields the identifier of each match; raises PeerGone, also when the final status is a failure."""
    message_id = association.next_id()
    _, syntax = _sent(association, sop_class, C_FIND_RQ, message_id, identifier, {})
    while True:
        response = association.wait_response(message_id, association.dimse_timeout)
        status = response.command.number(STATUS)
        if status not in (0xFF00, 0xFF01):
            if status != 0:
                raise PeerGone(f"the query ended with status 0x{status:04x}")
            return
        if isinstance(response.data, Identifier):
            response.data.seek(0)
            yield decode(response.data, syntax == IMPLICIT_LITTLE, True)


def send_c_move(
    association: OutgoingAssociation, sop_class: str, identifier: Dataset, destination: str, message_id: int
) -> Message:
    """C-MOVE: waits for the end and returns the final response; raises PeerGone."""
    _sent(association, sop_class, C_MOVE_RQ, message_id, identifier, {MOVE_DESTINATION: destination})
    while True:
        response = association.wait_response(message_id, association.dimse_timeout)
        if response.command.number(STATUS) != 0xFF00:
            return response


def _sent(
    association: OutgoingAssociation,
    sop_class: str,
    command_field: int,
    message_id: int,
    identifier: Dataset,
    more: dict[int, Value],
) -> tuple[int, str]:
    context = association.context_for(sop_class)
    if context is None:
        raise PeerGone(f"the peer does not accept {UID(sop_class).name}")
    elements: dict[int, Value] = {
        AFFECTED_SOP_CLASS: sop_class,
        COMMAND_FIELD: command_field,
        MESSAGE_ID: message_id,
        PRIORITY: 0,
        DATA_SET_TYPE: 0x0001,
        **more,
    }
    encoded = encode(identifier, context[1] == IMPLICIT_LITTLE, True)
    assert encoded is not None, "pydicom could not encode an identifier of ours"
    association.dimse.send(context[0], encode_command(elements), (encoded,))
    return context


def send_command(peer: Peer, calling: str, line: str, *, upload: bytes | None = None, timeout_s: float) -> CommandReply:
    """Send one ConQuest command, without its dashes, on an association of its own (spec section 1).

    Odd payloads carry (9999,0404); towards servers that do not know it one padding byte may stay, as from ConQuest.
    Raises AssociationFailed and PeerGone.
    """
    with associate(peer, calling, [Proposal(VERIFICATION, (IMPLICIT_LITTLE,))], timeout_s=timeout_s) as association:
        elements: dict[int, Value] = {
            AFFECTED_SOP_CLASS: VERIFICATION,
            COMMAND_FIELD: C_ECHO_RQ,
            MESSAGE_ID: association.next_id(),
            DATA_SET_TYPE: NO_DATA_SET,
            CONSOLE_TEXT: _CONSOLE_LINE,
            CONSOLE_COMMAND: line.encode("utf-8", "surrogateescape"),
        }
        if upload is not None:
            elements[CONSOLE_DATA] = upload
            if len(upload) & 1:
                elements[CONSOLE_ODD] = 1
        # A command may take as long as it takes (regen and moves answer when they are done), and answer with a file.
        association.dimse_timeout = None
        association.max_command = _MAX_REPLY
        response = exchange(association, 1, elements).command
    payload = response.get(CONSOLE_RESPONSE)
    if payload is not None and response.number(CONSOLE_ODD) == 1:
        payload = payload[:-1]
    return CommandReply(response.number(STATUS), payload)
