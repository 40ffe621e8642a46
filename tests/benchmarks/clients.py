"""Clients that cost next to nothing: prepared bytes go out, what comes back is counted and thrown away."""

from __future__ import annotations

import multiprocessing
import struct
import time
from collections.abc import Sequence
from typing import Any

from server.commandset import Value, encode_command
from tests.benchmarks.material import Object
from tests.benchmarks.rivals import Running
from tests.conformance.scu import EXPLICIT, IMPLICIT, Wire

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_PENDING = (0xFF00, 0xFF01)
_PDU = 131072
_STORED = b"\0\0\0\x09\2\0\0\0\0\0"


def associated(server: Running, contexts: dict[int, tuple[str, tuple[str, ...]]], scp_of: tuple[str, ...] = ()) -> Wire:
    """An association that takes PDUs of 128 KB."""
    peer = Wire(server.port, timeout_s=120)
    accepted = peer.associate(contexts, called=server.ae, max_pdu=_PDU, scp_of=scp_of)
    assert accepted is not None
    assert accepted.kind == 2, f"{server.ae} does not take the association"
    return peer


def identifier(level: bytes, **keys: bytes) -> bytes:
    """A query in implicit little endian for date, accession number, name, ID, UID and study ID, by these keys."""
    elements = {
        0x00080020: keys.get("date", b""),
        0x00080050: keys.get("accession", b""),
        0x00080052: level,
        0x00100010: keys.get("name", b""),
        0x00100020: keys.get("patient", b""),
        0x0020000D: b"",
        0x00200010: b"",
    }
    return b"".join(
        struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw) + len(raw) % 2) + raw + b" " * (len(raw) % 2)
        for tag, raw in elements.items()
    )


def message(context: int, elements: dict[int, Value], data: bytes) -> bytes:
    """One message as it goes over the wire."""
    parts = [_pdu(context, 3, encode_command(elements))]
    room = _PDU - 6
    for at in range(0, len(data), room):
        parts.append(_pdu(context, 2 if at + room >= len(data) else 0, data[at : at + room]))
    return b"".join(parts)


def _pdu(context: int, control: int, value: bytes) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(value) + 6, len(value) + 2, context, control) + value


def find(server: Running, identifiers: Sequence[bytes], expected: int) -> list[float]:
    """Query over one association; seconds from each request to its last response, each with `expected` matches."""
    peer = associated(server, {1: (STUDY_ROOT, (IMPLICIT,))})
    elements: dict[int, Value] = {0x0002: STUDY_ROOT, 0x0100: 0x0020, 0x0700: 0, 0x0800: 1}
    requests = [message(1, {**elements, 0x0110: n % 0xFFFF + 1}, one) for n, one in enumerate(identifiers)]
    seconds = []
    for request in requests:
        start = time.perf_counter()
        peer.socket.sendall(request)
        found = _count(peer)
        seconds.append(time.perf_counter() - start)
        assert found == expected, f"{found} matches instead of {expected}"
    peer.release()
    peer.socket.close()
    return seconds


def _count(peer: Wire) -> int:
    """Read the responses to one query; how many were pending. The status is the last element of a command set."""
    data, place, matches = bytearray(), 0, 0
    while True:
        while len(data) - place >= 6:
            (length,) = struct.unpack_from(">I", data, place + 2)
            end = place + 6 + length
            if end > len(data):
                break
            assert data[place] == 4, f"PDU of type {data[place]}"
            place += 6
            while place < end:
                (size,) = struct.unpack_from(">I", data, place)
                control = data[place + 5]
                place += 4 + size
                if control == 3:
                    (status,) = struct.unpack_from("<H", data, place - 2)
                    if status not in _PENDING:
                        assert status == 0, f"status 0x{status:04x}"
                        return matches
                    matches += 1
        del data[:place]
        place = 0
        piece = peer.socket.recv(1 << 18)
        assert piece, "the server has closed the connection"
        data += piece


def store(server: Running, shares: Sequence[Sequence[Object]]) -> float:
    """C-STORE each share on an association of its own, a process each; seconds from the first start to the last end."""
    if len(shares) == 1:
        begun, ended = _store(server, _encoded(shares[0]))
        return ended - begun
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(len(shares))
    times = context.SimpleQueue()
    processes = [context.Process(target=_sender, args=(server, share, ready, times)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert not any(process.exitcode for process in processes), "a sender failed"
    # Their clock is the machine's.
    begun, ended = zip(*(times.get() for _ in processes), strict=True)
    return max(ended) - min(begun)


def _sender(server: Running, share: Sequence[Object], ready: Any, times: Any) -> None:
    messages = _encoded(share)
    ready.wait()
    times.put(_store(server, messages))


def _encoded(share: Sequence[Object]) -> list[bytes]:
    elements: dict[int, Value] = {0x0002: CT, 0x0100: 0x0001, 0x0700: 0, 0x0800: 1}
    return [
        message(1, {**elements, 0x0110: number % 0xFFFF + 1, 0x1000: made.uid}, made.data_set)
        for number, made in enumerate(share)
    ]


def _store(server: Running, messages: Sequence[bytes]) -> tuple[float, float]:
    """Send messages; when that began, and when the last answer and the release were there."""
    begun = time.perf_counter()
    peer = associated(server, {1: (CT, (EXPLICIT,))})
    for one in messages:
        peer.socket.sendall(one)
        answer = peer.socket.recv(4096)
        while len(answer) < 6 or len(answer) < 6 + int.from_bytes(answer[2:6], "big"):
            piece = peer.socket.recv(4096)
            assert piece, "the server has closed the connection"
            answer += piece
        assert _STORED in answer, f"an object was not stored: {answer!r}"
    peer.release()
    ended = time.perf_counter()
    peer.socket.close()
    return begun, ended


def get(server: Running, patient: str) -> tuple[int, int]:
    """C-GET everything of a patient, which is thrown away; how many objects and bytes came."""
    peer = associated(server, {1: (CT, (EXPLICIT,)), 3: (STUDY_ROOT_GET, (IMPLICIT,))}, scp_of=(CT,))
    elements: dict[int, Value] = {0x0002: STUDY_ROOT_GET, 0x0100: 0x0010, 0x0110: 1, 0x0700: 0, 0x0800: 1}
    keys = identifier(b"STUDY ", patient=patient.encode())
    peer.socket.sendall(message(3, elements, keys))
    buffer = memoryview(bytearray(_PDU + 6))
    objects = size = 0
    while True:
        _exactly(peer, buffer[:6])
        (length,) = struct.unpack_from(">I", buffer, 2)
        _exactly(peer, buffer[:length])
        context, control = buffer[4], buffer[5]
        if context == 3:
            (final,) = struct.unpack_from("<H", bytes(buffer[:length]).partition(b"\0\0\0\x09\2\0\0\0")[2])
            if final not in _PENDING:
                assert final == 0, f"status 0x{final:04x}"
                break
        elif control & 1:
            command = bytes(buffer[6:length])
        else:
            size += length - 6
            if control & 2:
                objects += 1
                peer.socket.sendall(_stored(command))
    peer.release()
    peer.socket.close()
    return objects, size


def _stored(command: bytes) -> bytes:
    """The success that answers a C-STORE-RQ."""
    (number,) = struct.unpack_from("<H", command.partition(b"\0\0\x10\1\2\0\0\0")[2])
    elements: dict[int, Value] = {0x0002: CT, 0x0100: 0x8001, 0x0120: number, 0x0800: 0x0101, 0x0900: 0}
    return _pdu(1, 3, encode_command(elements))


def _exactly(peer: Wire, target: memoryview) -> None:
    while len(target):
        got = peer.socket.recv_into(target)
        assert got, "the server has closed the connection"
        target = target[got:]
