"""The upper layer of PS3.8 without a thread of its own: the association's thread reads, decides and sends.

pynetdicom runs its state machine in a second thread that polls; its tables and actions serve as well when the thread
that owns the association drives them. P-DATA-TF PDUs, nearly all of the traffic, go from the receive buffer to the
DIMSE layer without becoming objects on the way.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import InvalidEventError

if TYPE_CHECKING:
    from server.dimse import Association

_P_DATA = 4
_KINDS = range(1, 8)
_HEAD = struct.Struct(">BxI")

# A-ASSOCIATE-RQ of 128 contexts with 50 transfer syntaxes each has some 200 KB; release and abort PDUs have 4 bytes.
_MAX_ASSOCIATE = 1 << 20
_MAX_OTHER = 1024
# Some peers count the head of a presentation data value beyond the maximum they were told.
_SLACK = 128
# How much is read at once at the least.
_LEAST_BUFFER = 256 << 10
# How long a peer may take to close its side after release or abort.
_LINGER_S = 2.0


class UpperLayer(DULServiceProvider):
    """Drives pynetdicom's state machine from the association's own thread, which blocks in `wait`.

    What a peer may do is bounded: the length of each PDU, and the time from its first byte to its last.
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._association = assoc
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0
        self._timeout_s: float | None = -1.0

    # What pynetdicom asks of a running thread

    def start(self) -> None:
        """Begin: acts on what is queued, such as the connection that was accepted."""
        self._idle_timer.start()
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

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for one PDU and act on it; False when nothing, or not all of it, came within `timeout_s`."""
        if not self._open():
            return False
        if self.state_machine.current_state == "Sta13":
            self._linger()
            return True
        self._set_timeout(timeout_s)
        try:
            if self._need(6, timeout_s):
                length = self._checked_length()
                if length is None:
                    self.event_queue.put("Evt19")
                elif self._need(6 + length, timeout_s):
                    self._take()
        except TimeoutError:
            return False
        self._drain()
        return True

    def look(self) -> None:
        """Act on what has arrived already, without waiting: a C-CANCEL, a release, an abort."""
        while self._open() and self.state_machine.current_state == "Sta6" and self.assoc.dimse.msg_queue.empty():
            if not self._arrived():
                return
            self.wait(self._timeout_s if self._timeout_s != -1.0 else None)

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
        if timeout_s != self._timeout_s:
            self._timeout_s = timeout_s
            connection = self._connection()
            assert connection is not None, "the connection is open"
            seconds = timeout_s or 0.0
            value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
            connection.setblocking(True)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)

    def _checked_length(self) -> int | None:
        """The length of the PDU whose head is in the buffer; None when there is no such PDU or it is too long."""
        kind, length = _HEAD.unpack_from(self._view, self._begin)
        most = _MAX_ASSOCIATE if kind < _P_DATA else _MAX_OTHER
        if kind == _P_DATA:
            most = self._association.own_maximum_length + _SLACK
        if kind in _KINDS and length <= most:
            return int(length)
        what = f"a PDU of type 0x{kind:02x} and {length} bytes" if kind in _KINDS else "bytes that are no PDU"
        self._association.refused(what)
        return None

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
            try:
                got = connection.recv_into(self._view[self._end :])
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

    def _take(self) -> None:
        """Act on the complete PDU at the beginning of the buffer."""
        start = self._begin
        end = start + 6 + _HEAD.unpack_from(self._view, start)[1]
        self._begin = end
        raw = self._view[start:end]
        if end == self._end:
            self._begin = self._end = 0
        self._idle_timer.restart()
        if raw[0] == _P_DATA and self.state_machine.current_state == "Sta6":
            self._association.dimse.take_values(raw[6:])
            return
        try:
            pdu, event = self._decode_pdu(bytearray(raw))
        except Exception as error:  # what a peer's bytes do inside pynetdicom is the peer's mistake
            self._association.refused(f"a PDU that cannot be read: {error}")
            self.event_queue.put("Evt19")
            return
        # The action for the event fetches the PDU.
        self._recv_pdu.put(pdu)
        self.event_queue.put(event)

    def _drain(self) -> None:
        """Run the state machine until nothing is left to act on."""
        while True:
            try:
                event = self.event_queue.get_nowait()
            except queue.Empty:
                if self._process_recv_primitive():
                    continue
                return
            try:
                self.state_machine.do_action(event)
            except InvalidEventError:
                # Something that no state allows, after the peer broke the protocol: nothing more can be said.
                self._kill_thread = True
                return

    def finish(self) -> None:
        """End the connection: after release or abort once the peer has closed its side, else now."""
        if self._open() and self.state_machine.current_state == "Sta13":
            self._linger()
        self._close()
        self._kill_thread = True

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
        connection = self._connection()
        if connection is not None and self.socket is not None:
            self.socket.close()
            # pynetdicom's close leaves the socket open when the peer was faster in shutting it down.
            connection.close()
        self._drain()
