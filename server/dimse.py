"""DIMSE messages as bytes: how a command set and the data set behind it cross an association.

pynetdicom negotiates and has the state machine; this module takes the presentation data values that the upper layer
delivers and sends ours. Data sets are never decoded on their way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import queue
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association as PynetdicomAssociation
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from server.commandset import (
    C_CANCEL_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    NO_DATA_SET,
    RESPONDED_TO,
    RESPONSE,
    Buffer,
    CommandSet,
    ProtocolError,
)
from server.outbox import MAX_PDU, Outbox
from server.outbox import PeerGone as PeerGone
from server.upper import UpperLayer

# Identifiers and attribute lists are small; anything larger than this is not one.
MAX_IDENTIFIER = 16 << 20

_VALUE_HEAD = struct.Struct(">IBB")


class DataSink(Protocol):
    """Where the data set of a message goes while it arrives; never raises into the network thread."""

    def write(self, chunk: Buffer, /) -> object: ...


@dataclass(slots=True)
class Message:
    """One complete DIMSE message as it arrived: context ID, command set and field, and where its data set went."""

    context_id: int
    command: CommandSet
    data: Any = None
    field: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.field = self.command.number(COMMAND_FIELD)


class Identifier(io.BytesIO):
    """The data set of a message that is no C-STORE-RQ, in memory; what passes MAX_IDENTIFIER is dropped and told."""

    too_long = False

    def write(self, chunk: Buffer, /) -> int:  # type: ignore[override]
        if self.tell() + len(chunk) > MAX_IDENTIFIER:
            self.too_long = True
        return 0 if self.too_long else super().write(chunk)


@dataclass(slots=True)
class _Arriving:
    """The message whose fragments are arriving; `command` has those of its command set but for a single one."""

    context_id: int
    command: bytearray = field(default_factory=bytearray)
    complete: CommandSet | None = None
    sink: Any = None


class DimseProvider(Outbox, DIMSEServiceProvider):
    """Assembles messages out of presentation data values, and sends ours (PS3.7 6.3, PS3.8 Annex E).

    `receive_primitive` runs in the thread that reads the socket, everything else in the association's own.
    """

    def __init__(self, assoc: Association) -> None:
        DIMSEServiceProvider.__init__(self, assoc)
        Outbox.__init__(self)
        self._association = assoc
        self.msg_queue = cast(Any, queue.SimpleQueue())  # pynetdicom's own takes a lock in Python for each message
        self._arriving: _Arriving | None = None
        self.cancelled: set[int] = set()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA-TF PDU; anything not allowed aborts the association."""
        try:
            for context_id, value in primitive.presentation_data_value_list:
                if not value:
                    raise ProtocolError("an empty presentation data value")
                self._fragment(context_id, value[0], memoryview(value)[1:])
        except ProtocolError as error:
            self._association.protocol_error(error)
            self.dul.event_queue.put("Evt19")

    def take_values(self, values: memoryview) -> bool:
        """Take the presentation data values of one P-DATA-TF PDU as they are in the receive buffer.

        Returns whether more of the message they belong to is to come.
        """
        try:
            position, last = 0, len(values)
            while position < last:
                if position + 6 > last:
                    raise ProtocolError("a presentation data value ends inside its head")
                length, context_id, control = _VALUE_HEAD.unpack_from(values, position)
                end = position + 4 + length
                if length < 2 or end > last:
                    raise ProtocolError(f"a presentation data value of {length} bytes does not fit its PDU")
                self._fragment(context_id, control, values[position + 6 : end])
                position = end
        except ProtocolError as error:
            self._association.protocol_error(error)
            self.dul.event_queue.put("Evt19")
        return self._arriving is not None

    def _fragment(self, context_id: int, control: int, fragment: memoryview) -> None:
        arriving = self._arriving
        if arriving is None:
            if not control & 1:
                raise ProtocolError("a data set without a command")
            if context_id not in self._association.contexts_by_id:
                raise ProtocolError(f"presentation context {context_id} was not accepted")
            arriving = self._arriving = _Arriving(context_id)
        if context_id != arriving.context_id:
            raise ProtocolError("a message changes its presentation context")
        if control & 1:
            self._command_fragment(arriving, fragment, last=bool(control & 2))
            return
        if arriving.complete is None:
            raise ProtocolError("a data set before the end of its command")
        arriving.sink.write(fragment)
        if control & 2:
            self._deliver(arriving)

    def _command_fragment(self, arriving: _Arriving, fragment: memoryview, *, last: bool) -> None:
        if arriving.complete is not None:
            raise ProtocolError("a command inside a data set")
        if len(arriving.command) + len(fragment) > self._association.max_command:
            raise ProtocolError(f"a command set longer than {self._association.max_command} bytes")
        if arriving.command or not last:
            arriving.command += fragment
        if not last:
            return
        command = arriving.complete = CommandSet.parse(arriving.command or fragment)
        if COMMAND_FIELD not in command:
            raise ProtocolError("a command set without a command field")
        if command.number(DATA_SET_TYPE, NO_DATA_SET) == NO_DATA_SET:
            self._deliver(arriving)
        else:
            arriving.sink = self._association.open_sink(arriving.context_id, command)

    def _deliver(self, arriving: _Arriving) -> None:
        self._arriving = None
        message = Message(arriving.context_id, cast(CommandSet, arriving.complete), arriving.sink)
        if message.field == C_CANCEL_RQ:
            if len(self.cancelled) < 64:
                self.cancelled.add(message.command.number(RESPONDED_TO))
            return
        if self.cancelled:
            # What was cancelled under this number before is over.
            self.cancelled.discard(message.command.number(MESSAGE_ID))
        self.msg_queue.put((message.context_id, cast(Any, message)))

    def discard(self) -> None:
        """Let go of messages that nobody will take any more, and of the one that was still arriving."""
        sinks = [self._arriving.sink] if self._arriving else []
        self._arriving = None
        while not self.msg_queue.empty():
            _, message = self.msg_queue.get()
            sinks.append(getattr(message, "data", None))
        for sink in sinks:
            if hasattr(sink, "discard"):
                sink.discard()

    @property
    def _largest(self) -> int:
        return self.maximum_pdu_size or 0

    def _transmit(self, parts: Sequence[Buffer]) -> None:
        self._association.transmit(parts)

    def _give_up(self) -> None:
        self._association.abort()


class Association(PynetdicomAssociation):
    """An association of pynetdicom whose messages are ours; subclassed for each role.

    `max_command` bounds an arriving command set, which on the command channel may hold an uploaded file.
    """

    max_command = 1 << 20

    def __init__(self, ae: ApplicationEntity, mode: str, *, stock: bool = False) -> None:
        super().__init__(ae, mode)
        self.dimse: DimseProvider = DimseProvider(self)
        self.upper: UpperLayer | None = None
        self._syntaxes: dict[int, tuple[str, str]] = {}
        if not stock:
            self.upper = UpperLayer(self)
            self.dul = self.upper
            self.network_timeout = ae.network_timeout

    @property
    def own_maximum_length(self) -> int:
        """The maximum PDU length that we told the peer."""
        own = self.acceptor if self.is_acceptor else self.requestor
        return int(own.maximum_length or MAX_PDU)

    def refused(self, what: str) -> None:
        """Hear of a PDU that aborts the association."""
        self.protocol_error(ProtocolError(what))

    def kill(self) -> None:
        """End the association's thread and its connection."""
        if self.upper is None:
            super().kill()
            return
        self._reactor_checkpoint.set()
        self._kill = True
        self.is_established = False
        self._is_paused = True
        self.upper.finish()

    def _abort_blocking(self, block: bool = True) -> None:
        """Send an A-ABORT and end; only for the thread that owns the association (`hang_up` is for others).

        This is what `abort` does: pynetdicom puts it there after each event.
        """
        if self.upper is None:
            super()._abort_blocking(block)
            return
        if self._sent_abort or self.is_released:
            return
        self._sent_abort = True
        self.is_aborted = True
        if self.upper.is_alive():
            self.acse.send_abort(0x00)
        evt.trigger(self, evt.EVT_ABORTED, {})
        self.kill()

    def hang_up(self) -> None:
        """End the association from another thread: its own one finds the connection closed."""
        connection = self.dul.socket.socket if self.dul.socket is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, whatever became of the association."""
        connection = self.dul.socket.socket if self.dul.socket is not None else None
        if connection is not None:
            connection.close()

    def _run_reactor(self) -> None:
        """Serve messages until release or abort, blocking on the socket in between; pynetdicom calls this."""
        if self.upper is None:
            super()._run_reactor()
            return
        messages, events = self.dimse.msg_queue, self.dul.to_user_queue.queue
        while not self._kill:
            if not messages.empty():
                context_id, message = messages.get_nowait()
                if message is not None:
                    self._serve_request(message, cast(int, context_id))
            elif (events or not self.upper.is_alive()) and self._ended():
                self.kill()
            elif not self.upper.wait(self.network_timeout) and self.upper.is_alive():
                self.fell_silent()
                self.abort()

    def _ended(self) -> bool:
        """Whether the peer has released or aborted the association, or is gone; answers a release."""
        if self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released = True
        elif self.acse.is_aborted() or (self.upper is not None and not self.upper.is_alive()):
            self.is_aborted = True
        else:
            return False
        self.is_established = False
        evt.trigger(self, evt.EVT_RELEASED if self.is_released else evt.EVT_ABORTED, {})
        return True

    @property
    def contexts_by_id(self) -> Mapping[int, PresentationContext]:
        """The accepted presentation contexts."""
        return self._accepted_cx

    def syntaxes(self, context_id: int) -> tuple[str, str]:
        """The abstract syntax of an accepted presentation context, and its transfer syntax."""
        known = self._syntaxes.get(context_id)
        if known is None:
            context = self.contexts_by_id[context_id]
            known = self._syntaxes[context_id] = str(context.abstract_syntax), str(context.transfer_syntax[0])
        return known

    def open_sink(self, context_id: int, command: CommandSet) -> DataSink:
        """Choose where the data set of an arriving message goes; C-STORE SCPs spool it."""
        return Identifier()

    def fell_silent(self) -> None:
        """Hear that the association is about to be aborted because the peer said nothing for too long."""

    def protocol_error(self, error: ProtocolError) -> None:
        """Hear why the association is about to be aborted; the accepting side logs it."""

    def transmit(self, parts: Sequence[Buffer]) -> None:
        """Write encoded P-DATA, in up to 1000 parts, waiting while the peer's window is closed; raises PeerGone."""
        sock = self.dul.socket.socket if self.dul.socket is not None else None
        if sock is None or self.dul.state_machine.current_state != "Sta6":
            raise PeerGone("the association has ended")
        try:
            if len(parts) == 1:
                sock.sendall(parts[0])
                return
            sent = sock.sendmsg(parts)
            # The kernel takes all of it but for a timeout or a signal.
            for part in parts:
                if sent < len(part):
                    sock.sendall(memoryview(part)[max(sent, 0) :])
                sent -= len(part)
        except OSError as error:
            # Nothing more can be said to a peer that does not listen.
            if self.upper is None:
                self.dul.event_queue.put("Evt17")
            else:
                self.upper.lose()
            raise PeerGone(f"sending failed: {error.strerror or error}") from error

    def wait_response(self, message_id: int, timeout_s: float | None) -> Message:
        """Wait for the response to `message_id`; raises PeerGone when the peer goes or stays silent for `timeout_s`.

        Only for the thread that owns the association, while nothing else takes messages from it.
        """
        while True:
            try:
                _, message = self._next(timeout_s)
            except queue.Empty:
                self.abort()
                raise PeerGone(f"no response within {timeout_s:g} s") from None
            if message is None:
                self.dimse.msg_queue.put((None, None))  # the next one to wait must hear it too
                raise PeerGone("the peer closed the association")
            received = cast(Message, message)
            if received.field & RESPONSE and received.command.number(RESPONDED_TO) == message_id:
                return received
            self.unexpected(received)

    def _next(self, timeout_s: float | None) -> tuple[Any, Any]:
        if self.upper is None:
            return self.dimse.msg_queue.get(timeout=timeout_s)
        while self.dimse.msg_queue.empty():
            if self.dul.state_machine.current_state != "Sta6":
                return None, None
            if not self.upper.wait(timeout_s) and self.upper.is_alive():
                raise queue.Empty
        return self.dimse.msg_queue.get_nowait()

    def look(self) -> None:
        """Take in what has arrived meanwhile, a C-CANCEL perhaps; nothing to do where another thread reads."""
        if self.upper is not None:
            self.upper.look()

    def unexpected(self, message: Message) -> None:
        """Deal with a message that arrives while a response is awaited; it is dropped unless a subclass serves it."""
        if hasattr(message.data, "discard"):
            message.data.discard()
