"""A peer that says exactly what a test tells it to: DIMSE messages over a plain socket, sane or not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from server.commandset import CommandSet, Value, encode_command

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


@dataclass
class Pdu:
    """One PDU as it was received."""

    kind: int
    body: bytes


class Wire:
    """A socket that speaks PDUs."""

    def __init__(self, port: int, timeout_s: float = 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, kind: int, body: bytes) -> None:
        self.socket.sendall(struct.pack(">BBI", kind, 0, len(body)) + body)

    def receive(self) -> Pdu | None:
        """The next PDU; None when the peer closed the connection."""
        head = self._exactly(6)
        if head is None:
            return None
        kind, _, length = struct.unpack(">BBI", head)
        body = self._exactly(length)
        return None if body is None else Pdu(kind, body)

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            data += piece
        return data

    def associate(
        self,
        contexts: Mapping[int, tuple[str, tuple[str, ...]]],
        *,
        calling: str | bytes = "PEER",
        called: str | bytes = "CONQUESTSRV1",
        application: str = APPLICATION_CONTEXT,
        max_pdu: int | None = 16384,
        scp_of: tuple[str, ...] = (),
        user_items: bytes = b"",
        version: int = 1,
    ) -> Pdu | None:
        """Send an A-ASSOCIATE-RQ and return what comes back; `scp_of` are classes to take the SCP role of."""
        items = _item(0x10, application.encode())
        for number, (abstract, syntaxes) in contexts.items():
            inner = _item(0x30, abstract.encode()) + b"".join(_item(0x40, ts.encode()) for ts in syntaxes)
            items += _item(0x20, bytes([number, 0, 0, 0]) + inner)
        user = (b"" if max_pdu is None else _item(0x51, struct.pack(">I", max_pdu))) + _item(0x52, b"1.2.3.4")
        for uid in scp_of:
            user += role_item(uid, scu=1, scp=1)
        items += _item(0x50, user + user_items)
        self.send(1, struct.pack(">HH", version, 0) + _title(called) + _title(calling) + bytes(32) + items)
        return self.receive()

    def message(
        self, context_id: int, elements: Mapping[int, Value], data: bytes | None = None, *, piece: int = 16000
    ) -> None:
        """Send one DIMSE message."""
        command = encode_command(elements)
        for start in range(0, len(command), piece):
            self.send(4, _pdv(context_id, 3 if start + piece >= len(command) else 1, command[start : start + piece]))
        if data is None:
            return
        pieces = [data[i : i + piece] for i in range(0, len(data), piece)] or [b""]
        for index, chunk in enumerate(pieces):
            self.send(4, _pdv(context_id, 2 if index == len(pieces) - 1 else 0, chunk))

    def answer(self) -> tuple[CommandSet, bytes] | None:
        """The next DIMSE message: command set and data set; None when the association ended instead."""
        command, data, complete = b"", b"", False
        while True:
            pdu = self.receive()
            if pdu is None or pdu.kind != 4:
                return None
            body = pdu.body
            while body:
                (length,) = struct.unpack(">I", body[:4])
                control, value = body[5], body[6 : 4 + length]
                body = body[4 + length :]
                if control & 1:
                    command += value
                else:
                    data += value
                complete = bool(control & 2) and (
                    not control & 1 or CommandSet.parse(command).number(0x0800, 0x0101) == 0x0101
                )
            if complete:
                return CommandSet.parse(command), data

    def release(self) -> bool:
        """Release the association; whether the peer agreed."""
        self.send(5, bytes(4))
        answer = self.receive()
        return answer is not None and answer.kind == 6


def contexts_of(pdu: Pdu) -> dict[int, tuple[int, str]]:
    """The presentation contexts of an A-ASSOCIATE-AC: context ID -> (result, transfer syntax)."""
    return {
        body[0]: (body[2], body[8:].decode().rstrip("\0") if body[2] == 0 else "")
        for kind, body in _items(pdu.body[68:])
        if kind == 0x21
    }


def user_items_of(pdu: Pdu) -> list[tuple[int, bytes]]:
    """The user information items of an A-ASSOCIATE-AC: type and value."""
    return [item for kind, body in _items(pdu.body[68:]) if kind == 0x50 for item in _items(body)]


def role_item(uid: str, *, scu: int, scp: int) -> bytes:
    """An SCP/SCU role selection item (PS3.7 D.3.3.4)."""
    return _item(0x54, struct.pack(">H", len(uid)) + uid.encode() + bytes([scu, scp]))


def extended_item(uid: str, information: bytes) -> bytes:
    """A SOP class extended negotiation item (PS3.7 D.3.3.5)."""
    return _item(0x56, struct.pack(">H", len(uid)) + uid.encode() + information)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, _, length = struct.unpack(">BBH", data[:4])
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _title(text: str | bytes) -> bytes:
    raw = text.encode("latin-1") if isinstance(text, str) else text
    return raw[:16].ljust(16)


def _pdv(context_id: int, control: int, value: bytes) -> bytes:
    return struct.pack(">IBB", len(value) + 2, context_id, control) + value


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    """A connection for the time of a `with` block."""
    opened = Wire(port)
    try:
        yield opened
    finally:
        opened.socket.close()


def echo_elements(message_id: int = 1) -> dict[int, Value]:
    """The command set of a C-ECHO-RQ."""
    return {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: message_id, 0x0800: 0x0101}


def store_elements(sop_class: str, sop_instance: str, message_id: int = 1) -> dict[int, Value]:
    """The command set of a C-STORE-RQ."""
    return {
        0x0002: sop_class, 0x0100: 0x0001, 0x0110: message_id, 0x0700: 0, 0x0800: 0x0001, 0x1000: sop_instance,
    }  # fmt: skip
