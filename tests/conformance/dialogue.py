"""What the tests on a bare wire say again and again: requests, identifiers, responses, and a server full of objects."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom.uid import CTImageStorage

from db.index import Index
from db.objects import NewObject
from server.commandset import CommandSet, Value
from tests.conformance.scu import EXPLICIT, IMPLICIT, VERIFICATION, Wire

CT = str(CTImageStorage)
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
CONTEXTS = {
    1: (CT, (EXPLICIT,)),
    3: (VERIFICATION, (IMPLICIT,)),
    5: (FIND, (IMPLICIT,)),
    7: (GET, (IMPLICIT,)),
    9: (MOVE, (IMPLICIT,)),
}


def answered(peer: Wire, context_id: int, elements: dict[int, Value], data: bytes | None = None) -> int:
    """The status of the one response to a message."""
    peer.message(context_id, elements, data)
    answer = peer.answer()
    assert answer is not None
    return answer[0].number(0x0900)


def request(sop_class: str, field: int, message_id: int = 1, **more: Value) -> dict[int, Value]:
    elements: dict[int, Value] = {0x0002: sop_class, 0x0100: field, 0x0110: message_id, 0x0700: 0, 0x0800: 1}
    return {**elements, **({0x0600: more["destination"]} if "destination" in more else {})}


def identifier(level: bytes, *more: bytes) -> bytes:
    """Level and further elements, in implicit little endian."""
    return b"\x08\0\x52\0" + struct.pack("<I", len(level)) + level + b"".join(more)


IMAGES = identifier(b"IMAGE ", b"\x08\0\x18\0\0\0\0\0", b"\x10\0\x20\0\x04\0\0\0FULL")
THE_STUDY = identifier(b"STUDY ", b"\x10\0\x20\0\x04\0\0\0FULL")


def cancel(message_id: int) -> dict[int, Value]:
    return {0x0100: 0x0FFF, 0x0120: message_id, 0x0800: 0x0101}


def responses(peer: Wire) -> list[tuple[CommandSet, bytes]]:
    """The responses to a query, up to the final one."""
    found = []
    while True:
        answer = peer.answer()
        assert answer is not None
        found.append(answer)
        if answer[0].number(0x0900) not in (0xFF00, 0xFF01):
            return found


def store_response(command: CommandSet, status: int = 0) -> dict[int, Value]:
    """What answers a C-STORE-RQ."""
    return {
        0x0002: command.text(0x0002), 0x0100: 0x8001, 0x0120: command.number(0x0110), 0x0800: 0x0101,
        0x0900: status, 0x1000: command.text(0x1000),
    }  # fmt: skip


def fill(index: Index, rows: Iterable[tuple[str, int]]) -> None:
    """Enter objects of one series without files."""
    index.add_many(
        [
            NewObject(
                {
                    (0x00080016,): CT,
                    (0x00080018,): uid,
                    (0x00080060,): "CT",
                    (0x00100010,): "DOE^JOHN",
                    (0x00100020,): "FULL",
                    (0x0020000D,): "1.2.3",
                    (0x0020000E,): "1.2.3.4",
                    (0x00200013,): str(number),
                },
                "MAG0",
                f"FULL/{uid}.dcm",
            )
            for uid, number in rows
        ]
    )


def log_lines(directory: Path, name: str = "test.log") -> list[str]:
    """The lines of a log without their time stamps."""
    path = directory / name
    return [line[25:] for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something becomes true; for what happens in the server behind the peer's back."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
