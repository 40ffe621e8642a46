"""C-FIND by a client that costs next to nothing: prepared bytes go out, responses are counted as they come in."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

from server.commandset import Value, encode_command
from tests.benchmarks.rivals import Running
from tests.conformance.scu import IMPLICIT, Wire

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = (0xFF00, 0xFF01)


def identifier(patient_id: str) -> bytes:
    """A study query for one patient, or for all with ``*``: date, accession number, name, ID, UID, study ID."""
    elements = {
        0x00080020: b"", 0x00080050: b"", 0x00080052: b"STUDY ", 0x00100010: b"",
        0x00100020: patient_id.encode() + b" " * (len(patient_id) % 2), 0x0020000D: b"", 0x00200010: b"",
    }  # fmt: skip
    return b"".join(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw for tag, raw in elements.items())


def ask(server: Running, patients: Sequence[str], expected: int) -> float:
    """Query for each patient over one association; seconds from the first request to the last response.

    Each must have `expected` matches.
    """
    peer = Wire(server.port, timeout_s=60)
    accepted = peer.associate({1: (STUDY_ROOT, (IMPLICIT,))}, called=server.ae, max_pdu=131072)
    assert accepted is not None
    assert accepted.kind == 2
    requests = [_message(number, identifier(patient)) for number, patient in enumerate(patients)]
    start = time.perf_counter()
    for request in requests:
        peer.socket.sendall(request)
        found = _count(peer)
        assert found == expected, f"{found} matches instead of {expected}"
    seconds = time.perf_counter() - start
    peer.release()
    peer.socket.close()
    return seconds


def _message(number: int, data: bytes) -> bytes:
    elements: dict[int, Value] = {
        0x0002: STUDY_ROOT, 0x0100: 0x0020, 0x0110: number % 0xFFFF + 1, 0x0700: 0, 0x0800: 1,
    }  # fmt: skip
    command = encode_command(elements)
    return b"".join(
        struct.pack(">BBIIBB", 4, 0, len(value) + 6, len(value) + 2, 1, control) + value
        for control, value in ((3, command), (2, data))
    )


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
