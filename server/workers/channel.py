"""Messages between the processes of a server: small ones with connections, and long ones of head and payload."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import struct
from array import array
from typing import Any

Message = dict[str, Any]

_MOST = 1 << 14
# One descriptor comes with a message.
_ROOM = socket.CMSG_SPACE(4)

_FRAME = struct.Struct(">IQ")
_MOST_HEAD = 1 << 20
MOST_PAYLOAD = 1 << 32
_PIECE = 1 << 20


class Channel:
    """One end of a pair between two processes, on which whole messages go both ways, connections with them."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Message, file: int | None = None) -> None:
        """Send a message and, it may be, a descriptor, of which the receiver gets its own.

        Raises BlockingIOError when the other end does not read and this one does not wait, OSError when it is gone.
        """
        data = json.dumps(message).encode()
        socket.send_fds(self._end, [data], [] if file is None else [file])

    def receive(self) -> tuple[Message, int | None] | None:
        """The next message and the descriptor with it; None when the other end is gone."""
        # Without the flag, which socket.recv_fds does not pass on, programs that are started later would keep the
        # connections open.
        try:
            data, others, _, _ = self._end.recvmsg(_MOST, _ROOM, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            return None
        if not data:
            return None
        files = array("i", b"".join(content for level, kind, content in others if kind == socket.SCM_RIGHTS))
        for file in files[1:]:
            os.close(file)
        message: Message = json.loads(data)
        return message, files[0] if files else None

    def set_blocking(self, blocking: bool) -> None:
        """Whether this end waits; it must not be in use by other processes."""
        self._end.setblocking(blocking)

    def wait_at_most(self, seconds: int) -> None:
        """Bound how long sending waits, in all processes that use this end."""
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))

    def close(self) -> None:
        self._end.close()


def channels() -> tuple[Channel, Channel]:
    """The two ends of a new pair."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(one), Channel(other)


def send_frame(connection: socket.socket, head: Message, payload: bytes | None = None) -> None:
    """Send head and payload on a stream of their own; raises OSError."""
    encoded = json.dumps(head | {"payload": payload is not None}).encode()
    connection.sendall(_FRAME.pack(len(encoded), len(payload or b"")) + encoded)
    if payload:
        connection.sendall(payload)


def receive_frame(connection: socket.socket) -> tuple[Message, bytes | None]:
    """Receive what `send_frame` sent; raises EOFError when the sender went, ValueError for what is too long."""
    length, size = _FRAME.unpack(_exactly(connection, _FRAME.size))
    if length > _MOST_HEAD or size > MOST_PAYLOAD:
        raise ValueError(f"a message of {length} and {size} bytes")
    head: Message = json.loads(_exactly(connection, length))
    payload = _exactly(connection, size)
    return head, payload if head["payload"] else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    got = io.BytesIO()
    while got.tell() < size:
        piece = b""
        with contextlib.suppress(ConnectionResetError):
            piece = connection.recv(min(_PIECE, size - got.tell()))
        if not piece:
            raise EOFError("the other process has gone")
        got.write(piece)
    return got.getvalue()
