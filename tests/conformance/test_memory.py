"""What large objects and long answers cost: the memory of the program as its users run it stays where it was."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dgate.app import build
from dgate.config import load
from server.commandset import CommandSet
from tests.conformance.dialogue import CONTEXTS, CT, FIND, GET, IMAGES, THE_STUDY, answered, fill, request
from tests.conformance.processes import family
from tests.conformance.scu import Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes, ds, with_pixels, write
from tests.servers import Program, program, write_ini

MB = 1 << 20
MATCHES = 20_000
LARGE = 300 * MB


@dataclass(frozen=True)
class Filled:
    """A running program whose index knows MATCHES images."""

    running: Program

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def processes(self) -> list[int]:
        boss = self.running.process.pid
        return [boss, *family(boss).values()]

    def memory(self, what: str = "VmRSS") -> int:
        """Resident memory of all processes in bytes; VmHWM is the highest value of each since `reset`."""
        total = 0
        for pid in self.processes:
            status = Path(f"/proc/{pid}/status").read_text()
            total += next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what))
        return total

    def reset(self) -> int:
        """Forget the highest values, and return what is in use now."""
        for pid in self.processes:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self.memory()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    directory = tmp_path_factory.mktemp("memory") / "archive"
    write_ini(directory)
    server = build(load(directory, {}))
    server.index.ensure_tables()
    fill(server.index, ((f"1.2.826.0.1.3680043.10.1.2.{number:09d}", number) for number in range(MATCHES)))
    server.index.close()
    with program(directory, MaxObjectSize=0) as running:
        made = Filled(running)
        with wire(made.port) as peer:
            peer.associate(CONTEXTS)
            small = ds(PatientID="SMALL")
            data = data_set_bytes(write(directory / "sent", small))
            assert answered(peer, 1, store_elements(CT, small.SOPInstanceUID), data) == 0
            assert peer.release()
        yield made


def test_an_object_of_300_mb_comes_and_goes_in_pieces(filled: Filled, tmp_path: Path) -> None:
    made = with_pixels(ds(PatientID="LARGE"))
    del made.PixelData
    head = data_set_bytes(write(tmp_path, made)) + b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<I", LARGE)
    with wire(filled.port) as peer:
        peer.associate(CONTEXTS, max_pdu=131072, scp_of=(CT,))
        before = filled.reset()
        peer.message(1, store_elements(CT, made.SOPInstanceUID))
        _send(peer, head, LARGE)
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert filled.memory("VmHWM") - before < 16 * MB
        before = filled.reset()
        peer.message(7, request(GET, 0x0010), THE_STUDY.replace(b"\4\0\0\0FULL", b"\6\0\0\0LARGE "))
        command, received = _receive(peer)
        assert (command.text(0x1000), received) == (made.SOPInstanceUID, len(head) + LARGE)
        peer.message(1, {0x0100: 0x8001, 0x0120: command.number(0x0110), 0x0800: 0x0101, 0x0900: 0})
        answer = peer.answer()
        assert answer is not None
        assert [answer[0].number(tag) for tag in (0x0900, 0x1021)] == [0, 1]
        assert filled.memory("VmHWM") - before < 16 * MB
        assert peer.release()


def _send(peer: Wire, head: bytes, zeros: int) -> None:
    """A data set: some bytes, and so many zeros behind them."""
    peer.send(4, struct.pack(">IBB", len(head) + 2, 1, 0) + head)
    body = bytes(100_000)
    full = struct.pack(">BBIIBB", 4, 0, len(body) + 6, len(body) + 2, 1, 0) + body
    for _ in range(zeros // len(body)):
        peer.socket.sendall(full)
    rest = bytes(zeros % len(body))
    peer.send(4, struct.pack(">IBB", len(rest) + 2, 1, 2) + rest)


def _receive(peer: Wire) -> tuple[CommandSet, int]:
    """One C-STORE-RQ: its command, and how long its data set is."""
    command, size = b"", 0
    while True:
        pdu = peer.receive()
        assert pdu is not None
        assert pdu.kind == 4
        if pdu.body[5] & 1:
            command += pdu.body[6:]
        else:
            size += len(pdu.body) - 6
        if pdu.body[5] == 2:
            return CommandSet.parse(command), size


def test_20000_matches_are_answered_as_they_are_read(filled: Filled) -> None:
    with wire(filled.port) as peer:
        peer.associate(CONTEXTS, max_pdu=131072)
        before = filled.reset()
        peer.message(5, request(FIND, 0x0020), IMAGES)
        data = bytearray()
        while not data.endswith(struct.pack("<HHIH", 0, 0x0900, 2, 0)):
            data += peer.socket.recv(1 << 20)
        assert filled.memory("VmHWM") - before < 16 * MB
        assert data.count(b"IMAGE ") == MATCHES
        assert peer.release()


def test_associations_leave_no_memory_behind(filled: Filled) -> None:
    def once() -> None:
        with wire(filled.port) as peer:
            peer.associate(CONTEXTS)
            assert answered(peer, 3, echo_elements()) == 0
            assert peer.release()

    for _ in range(100):
        once()
    before = filled.memory()
    for _ in range(300):
        once()
    assert filled.memory() - before < 8 * MB
