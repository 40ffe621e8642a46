"""The upper layer of PS3.8 without a thread of its own: the association's thread reads, decides and sends.

pynetdicom runs its state machine in a second thread that polls; its tables and actions serve as well when the thread
that owns the association drives them. P-DATA-TF PDUs, nearly all of the traffic, go from the receive buffer to the
DIMSE layer without becoming objects on the way.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.transport import AssociationSocket

from server.commandset import Buffer

if TYPE_CHECKING:
    from server.dimse import Association

log = logging.getLogger("dgate")

_A_ASSOCIATE_RQ = 1
_NEGOTIATION = (1, 2, 3)
_P_DATA = 4
_KINDS = range(1, 8)
_HEAD = struct.Struct(">BxI")

# A-ASSOCIATE-RQ of 128 contexts with 50 transfer syntaxes each has some 200 KB; release and abort PDUs have 4 bytes.
_MAX_ASSOCIATE = 1 << 20
_MAX_OTHER = 1024
# Some peers count the head of a presentation data value beyond the maximum they were told.
_SLACK = 128
# Where an A-ASSOCIATE PDU has its called and then its calling AE title (PS3.8 Table 9-11).
_TITLES = slice(10, 42)
_LEAST_BUFFER = 256 << 10
# How much is read when it is not known how much is to come.
_AT_ONCE = 16 << 10
# How long a peer may take to close its side after release or abort.
_LINGER_S = 2.0


class Connection(AssociationSocket):
    """The connection of an association, always closed: pynetdicom forgets a socket that its peer was faster to end."""

    def _shutdown_socket(self) -> None:
        connection = self.socket
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class UpperLayer(DULServiceProvider):
    """Drives pynetdicom's state machine from the association's own thread, which blocks in `wait`.

    What a peer may do is bounded: the length of each PDU, and the time from its first byte to its last.
    `called` and `calling` are the AE titles of the request; empty when the peer left them empty, and before it.
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._association = assoc
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0
        self._timeout_s: float | None = -1.0
        # The longest P-DATA-TF PDU that the peer may send; known when both have said theirs.
        self._most_data = 0
        # The AE titles of the request as they came, which need not be what pynetdicom can carry.
        self._titles = bytes(32)
        self.called = ""
        self.calling = ""

    # What pynetdicom asks of a running thread

    def start(self) -> None:
        """Begin: acts on what is queued, such as the connection that was accepted."""
        self.assoc._dul_ready.set()
        self._drain()

    def is_alive(self) -> bool:
        """Whether the association has not ended."""
        return not self._kill_thread

    def stop_dul(self) -> bool:
        """End; always done at once."""
        self.finish()
        return True

    def send_pdu(self, primitive: Any) -> None:
        """Send an association control PDU now."""
        super().send_pdu(primitive)
        self._drain()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """Return the next association control primitive; waits for it up to `timeout` seconds between two PDUs."""
        while wait and self.to_user_queue.empty() and self.is_alive():
            if not self.wait(timeout):
                break
        return super().receive_pdu(False)

    # Reading

    def wait(self, timeout_s: float | None, *, whole: bool = True) -> bool:
        """Wait for one PDU, or with `whole` for a whole message, and act on it.

        False when nothing, or not all of it, came within `timeout_s` for each PDU.
        """
        if not self._open():
            return False
        if self.state_machine.current_state == "Sta13":
            self._linger()
            return True
        if timeout_s != self._timeout_s:
            self._set_timeout(timeout_s)
        try:
            more = True
            while more and self._need(6, timeout_s):
                kind, length = _HEAD.unpack_from(self._buffer, self._begin)
                if (kind != _P_DATA or length > self._most_data) and not self._may_come(kind, length):
                    self.event_queue.put("Evt19")
                    break
                if not self._need(6 + length, timeout_s):
                    break
                more = self._take(6 + length) and whole
        except TimeoutError:
            return False
        if self.event_queue.queue or self.to_provider_queue.queue:
            self._drain()
        return True

    def look(self) -> None:
        """Act on what has arrived already, without waiting: a C-CANCEL, a release, an abort."""
        while self._open() and self.state_machine.current_state == "Sta6" and self.assoc.dimse.msg_queue.empty():
            if not self._arrived():
                return
            if not self.wait(self._timeout_s if self._timeout_s != -1.0 else None, whole=False):
                self.lose()

    def _arrived(self) -> bool:
        if self._end > self._begin:
            return True
        connection = self._connection()
        try:
            return connection is not None and connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) is not None
        except BlockingIOError:
            return False
        except OSError:
            return True  # let `wait` meet it

    def _open(self) -> bool:
        return self.is_alive() and self._connection() is not None

    def _connection(self) -> socket.socket | None:
        return self.socket.socket if self.socket is not None else None

    def _set_timeout(self, timeout_s: float | None) -> None:
        """Bound each receive by the kernel: a Python timeout would cost a poll before each call."""
        self._timeout_s = timeout_s
        connection = self._connection()
        assert connection is not None, "the connection is open"
        seconds = timeout_s or 0.0
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        connection.setblocking(True)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)

    def _may_come(self, kind: int, length: int) -> bool:
        """Whether there is such a PDU, of a length that it may have."""
        most = _MAX_ASSOCIATE if kind < _P_DATA else _MAX_OTHER
        if kind == _P_DATA:
            most = self._association.own_maximum_length + _SLACK
            if self.state_machine.current_state == "Sta6":
                self._most_data = most
        if kind in _KINDS and length <= most:
            return True
        what = f"a PDU of type 0x{kind:02x} and {length} bytes" if kind in _KINDS else "bytes that are no PDU"
        self._association.refused(what)
        return False

    def _need(self, count: int, timeout_s: float | None) -> bool:
        """Have `count` bytes in the buffer; False when the connection ended. Raises TimeoutError."""
        if self._end - self._begin >= count:
            return True
        if self._begin + count > len(self._buffer):
            self._make_room(count)
        connection = self._connection()
        assert connection is not None, "the connection is open"
        deadline = None
        while self._end - self._begin < count:
            missing = count - (self._end - self._begin)
            try:
                if missing > _AT_ONCE:
                    # In one call, and nothing of the next PDU: that would have to be moved afterwards.
                    got = connection.recv_into(self._view[self._end :], missing, socket.MSG_WAITALL)
                else:
                    got = connection.recv_into(self._view[self._end : self._end + _AT_ONCE])
            except BlockingIOError:
                raise TimeoutError from None
            except OSError:
                got = 0
            if not got:
                self.event_queue.put("Evt17")
                return False
            self._end += got
            if self._end - self._begin < count and timeout_s:
                now = time.monotonic()
                deadline = deadline or now + timeout_s
                if now > deadline:
                    raise TimeoutError
        return True

    def _make_room(self, count: int) -> None:
        size = max(_LEAST_BUFFER, count)
        if len(self._buffer) < size:
            larger = bytearray(size)
            larger[: self._end - self._begin] = self._view[self._begin : self._end]
            self._buffer, self._view = larger, memoryview(larger)
        elif self._begin:
            # Rarely more than the head of a PDU: the rest has been taken.
            self._buffer[: self._end - self._begin] = bytes(self._view[self._begin : self._end])
        self._end -= self._begin
        self._begin = 0

    # Acting

    def _take(self, size: int) -> bool:
        """Act on the complete PDU at the beginning of the buffer; return whether more of its message is to come."""
        start = self._begin
        end = self._begin = start + size
        raw = self._view[start:end]
        if end == self._end:
            self._begin = self._end = 0
        if raw[0] == _P_DATA and self.state_machine.current_state == "Sta6":
            return self._association.dimse.take_values(raw[6:]) and not self.event_queue.queue
        try:
            pdu, event = self._decode_pdu(self._carried(bytearray(raw)))
            if raw[0] in _NEGOTIATION:
                # The state machine does this again, where it must not fail.
                pdu.to_primitive()
        except Exception as error:  # what a peer's bytes do inside pynetdicom is the peer's mistake
            self._association.refused(f"a PDU of type {raw[0]} that cannot be read ({type(error).__name__})")
            self.event_queue.put("Evt19")
            return False
        # The action for the event fetches the PDU.
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)
        return False

    def _carried(self, pdu: bytearray) -> bytearray:
        """Keep the AE titles of a request, and give pynetdicom ones that it takes: ASCII, printable, not empty."""
        if pdu[0] == _A_ASSOCIATE_RQ and len(pdu) >= _TITLES.stop:
            self._titles = bytes(pdu[_TITLES])
            self.called, self.calling = ae_title(self._titles[:16]), ae_title(self._titles[16:])
            carried = (_printable_ascii(title) or "?" for title in (self.called, self.calling))
            pdu[_TITLES] = b"".join(title.encode().ljust(16) for title in carried)
        return pdu

    def _send(self, pdu: Any) -> None:
        """Send a PDU of the state machine; an acceptance names the titles as the request had them (PS3.8 9.3.3)."""
        if isinstance(pdu, A_ASSOCIATE_AC) and self.socket is not None:
            encoded = bytearray(pdu.encode())
            encoded[_TITLES] = self._titles
            self.socket.send(bytes(encoded))
        else:
            super()._send(pdu)

    def _drain(self) -> None:
        """Run the state machine until nothing is left to act on."""
        while True:
            try:
                event = self.event_queue.get_nowait()
            except queue.Empty:
                # What waits to be sent when the connection has ended, a request of ours too, stays unsent.
                if not self._kill_thread and self._process_recv_primitive():
                    continue
                return
            if self._kill_thread and self.state_machine.current_state == "Sta1":
                continue  # said twice: it is over
            try:
                self.state_machine.do_action(event)
            except InvalidEventError:
                # Something that no state allows, after the peer broke the protocol: nothing more can be said.
                self.lose()
                return
            except Exception:
                log.exception("*** Upper layer: event %s failed", event)
                self.lose()
                return

    def lose(self) -> None:
        """Give the connection up without a word to the peer, which is beyond hearing one."""
        self._kill_thread = True
        connection = self._connection()
        if connection is not None:
            connection.close()
        self._association.dimse.msg_queue.put((None, None))

    def finish(self) -> None:
        """End the connection: after release or abort once the peer has closed its side, else now."""
        if self._open() and self.state_machine.current_state == "Sta13":
            self._linger()
        self._close()
        self._kill_thread = True
        # Associations are parts of cycles: the buffer would stay until the collector comes round.
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0

    def _linger(self) -> None:
        """Wait a moment for the peer to close: closing over unread bytes would reset what it has not read yet."""
        connection = self._connection()
        assert connection is not None, "the connection is open"
        end = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(_LINGER_S)
            while time.monotonic() < end and connection.recv(65536):
                pass
        self._close()

    def _close(self) -> None:
        """Close the connection and tell the state machine."""
        if self._connection() is not None and self.socket is not None:
            self.socket.close()
        self._drain()


def ae_title(raw: bytes) -> str:
    """An AE title without padding: blanks, or the NUL of ConQuest's PadAEWithZeros, behind which nothing counts."""
    return raw.partition(b"\0")[0].decode("latin-1").strip(" ")


def _printable_ascii(text: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c != "\\" else "?" for c in text)


def prepare(connection: socket.socket, timeout_s: float) -> None:
    """Send small segments at once; let a peer whose window stays closed hold a thread no longer than the timeout."""
    limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


_PDU_HEAD = struct.Struct(">BBIIBB")


def pdus(context_id: int, command: bytes, data: Iterable[Buffer] | None, limit: int) -> Iterator[Buffer]:
    """Cut a message into P-DATA-TF PDUs of one presentation data value each, `limit` bytes of payload at most."""
    for start in range(0, len(command), limit):
        piece = command[start : start + limit]
        yield _head(context_id, 3 if start + limit >= len(command) else 1, len(piece))
        yield piece
    if data is None:
        return
    previous: Buffer = b""
    for chunk in data:
        view = memoryview(chunk)
        for start in range(0, len(view), limit):
            if previous:
                yield _head(context_id, 0, len(previous))
                yield previous
            previous = view[start : start + limit]
    yield _head(context_id, 2, len(previous))
    yield previous


def pdv(context_id: int, command: bytes) -> bytes:
    """A whole command set as one P-DATA-TF PDU; the caller knows that it fits."""
    return _head(context_id, 3, len(command)) + command


def _head(context_id: int, control: int, size: int) -> bytes:
    return _PDU_HEAD.pack(4, 0, size + 6, size + 2, context_id, control)
