"""A server that says exactly what a test tells it to: the accepting side of `scu`."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.conformance.scu import CommandSet, Value, Wire, encode_command

_CONQUEST = b"1.2.826.0.1.3680043.2.135.1066.101"

Script = Callable[["Accepted"], None]


@dataclass(frozen=True)
class Asked:
    """What an association request said: AE titles, abstract and transfer syntaxes by context, maximum PDU length."""

    calling: str
    called: str
    contexts: Mapping[int, tuple[str, list[str]]]
    max_pdu: int


class Accepted(Wire):
    """One connection that was accepted. What it heard stays on it for the test to look at."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pieces: list[int] = []
        self.raw = b""

    def accept(self, *, max_pdu: int = 4096, only: Collection[str] | None = None) -> Asked:
        """Take the association request and accept every context of it with its first transfer syntax.

        `only` are the transfer syntaxes that are known here; a context without any of them is refused.
        """
        pdu = self.receive()
        assert pdu is not None
        assert pdu.kind == 1
        asked = _asked(pdu.body)
        items = pdu.body[68 : 68 + 4 + int.from_bytes(pdu.body[70:72], "big")]  # the application context, as it came
        for number, (_, syntaxes) in asked.contexts.items():
            known = [syntax for syntax in syntaxes if only is None or syntax in only]
            chosen = (known or syntaxes)[0]
            items += _item(0x21, bytes([number, 0, 0 if known else 4, 0]) + _item(0x40, chosen.encode()))
        items += _item(
            0x50, _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, b"1.2.826.0.1.3680043.2.135.1066.101")
        )
        self.send(2, pdu.body[:68] + items)
        return asked

    def hear(self) -> tuple[int, CommandSet, bytes]:
        """The next message: context, command set, data set. `raw` and `pieces` are its bytes and PDV lengths."""
        self.pieces, self.raw, command, data = [], b"", b"", b""
        while True:
            pdu = self.receive()
            assert pdu is not None
            assert pdu.kind == 4, pdu
            body = pdu.body
            self.raw += struct.pack(">BBI", 4, 0, len(body)) + body
            while body:
                length, context, control = struct.unpack(">IBB", body[:6])
                self.pieces.append(length)
                value, body = body[6 : 4 + length], body[4 + length :]
                if control & 1:
                    command += value
                else:
                    data += value
                if control & 2 and (not control & 1 or CommandSet.parse(command).number(0x0800, 0x0101) == 0x0101):
                    return context, CommandSet.parse(command), data

    def say(
        self, context: int, elements: Mapping[int, Value], data: bytes | None = None, *, max_pdu: int = 4096
    ) -> None:
        """Send one message in PDUs of at most `max_pdu` bytes."""
        parts = [(1, encode_command(elements))] + ([] if data is None else [(0, data)])
        for control, whole in parts:
            pieces = [whole[at : at + max_pdu - 6] for at in range(0, len(whole), max_pdu - 6)]
            for number, piece in enumerate(pieces, 1):
                last = 2 if number == len(pieces) else 0
                self.send(4, struct.pack(">IBB", len(piece) + 2, context, control | last) + piece)

    def released(self) -> bool:
        """Wait for the end: True when the peer releases, which is answered, False when it goes otherwise."""
        pdu = self.receive()
        if pdu is None or pdu.kind != 5:
            return False
        self.send(6, bytes(4))
        return True


def _asked(body: bytes) -> Asked:
    called, calling = (body[at : at + 16].decode("latin-1").strip() for at in (4, 20))
    contexts: dict[int, tuple[str, list[str]]] = {}
    max_pdu = 0
    for kind, item in _items(body[68:]):
        if kind == 0x20:
            (abstract, *transfer) = [text.decode() for _, text in _items(item[4:])]
            contexts[item[0]] = (abstract, transfer)
        elif kind == 0x50:
            max_pdu = next(int.from_bytes(value, "big") for inner, value in _items(item) if inner == 0x51)
    return Asked(calling, called, contexts, max_pdu)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, _, length = struct.unpack(">BBH", data[:4])
        yield kind, data[4 : 4 + length]
        data = data[4 + length :]


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


@dataclass
class Listening:
    """Where a scripted server listens, and what went wrong in its thread."""

    port: int
    errors: list[BaseException] = field(default_factory=list)


@contextmanager
def listening(script: Script, *, connections: int = 1) -> Iterator[Listening]:
    """Run `script` on each of so many connections, one after another; what it asserts is raised at the end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        made = Listening(server.getsockname()[1])

        def serve() -> None:
            try:
                for _ in range(connections):
                    connection, _ = server.accept()
                    with connection:
                        script(Accepted(connection))
            except BaseException as error:
                made.errors.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        yield made
        thread.join(30)
        assert not thread.is_alive()
    if made.errors:
        raise made.errors[0]
