"""What a hostile or broken peer can make the program spend: bounded memory, disk, time, threads and descriptors."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.commandset import encode_command
from server.dimse import MAX_IDENTIFIER
from tests.conformance.dialogue import CONTEXTS, CT, FIND, answered, identifier, request, responses, wait_until
from tests.conformance.processes import descriptors, family, threads, unnamed
from tests.conformance.scu import EXPLICIT, Pdu, Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes
from tests.servers import Program, program, write_map
from tests.soak.life import made_uid, object_bytes

MB = 1 << 20
DEFLATED = "1.2.840.10008.1.2.1.99"
TIMEOUT_S = 1


@dataclass(frozen=True)
class Besieged:
    """A running program, what it spends, and whether it still serves."""

    running: Program

    @property
    def port(self) -> int:
        return self.running.port

    @property
    def processes(self) -> list[int]:
        boss = self.running.process.pid
        return [boss, *family(boss).values()]

    def reset(self) -> int:
        """Forget how much memory was in use at most, and return what is now, in bytes."""
        for pid in self.processes:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        return self.memory("VmRSS")

    def memory(self, what: str = "VmHWM") -> int:
        return sum(_status(pid, what) for pid in self.processes)

    def held(self) -> list[tuple[int, int, int]]:
        """Threads and descriptors of each process."""
        return [(pid, threads(pid), len(descriptors(pid))) for pid in self.processes]

    def serves(self) -> bool:
        with wire(self.port) as peer:
            peer.associate(CONTEXTS)
            return answered(peer, 3, echo_elements()) == 0 and peer.release()

    def on_disk(self) -> int:
        """Bytes in all files of the device but the journal, with those that have no name."""
        device = self.running.directory / "MAG0"
        found = [path for path in device.rglob("*") if path.is_file() and path.suffix in (".dcm", ".part")]
        return sum([*(path.stat().st_size for path in found), *(sum(unnamed(pid, device)) for pid in self.processes)])


def _status(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    directory = tmp_path_factory.mktemp("guards") / "archive"
    with program(
        directory, Workers=2, TCPIPTimeOut=TIMEOUT_S, MaxObjectSize=2, MaxAssociations=20, BindAddress=""
    ) as running:
        one = Besieged(running)
        for _ in range(4):  # what is made once is made
            assert one.serves()
        yield one
        assert one.serves()


def ended(peer: Wire) -> bool:
    """Whether the peer aborts, or closes the connection."""
    with contextlib.suppress(ConnectionError):
        pdu = peer.receive()
        return pdu is None or pdu.kind == 7
    return True


def flood(connection: socket.socket, data: bytes, times: int) -> int:
    """Send something again and again until the other side has enough; how much went out."""
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(times):
            connection.sendall(data)
            sent += len(data)
    return sent


# Lengths


@pytest.mark.parametrize("length", [0xFFFFFFF0, 0x7FFFFFFF, 2 * MB])
def test_an_association_request_of_any_length_takes_no_memory(besieged: Besieged, length: int) -> None:
    before = besieged.reset()
    with wire(besieged.port) as peer:
        peer.socket.sendall(struct.pack(">BBI", 1, 0, length))
        flood(peer.socket, bytes(MB), 100)
        assert ended(peer)
    assert besieged.memory() - before < 8 * MB


@pytest.mark.parametrize("length", [0xFFFFFFF0, 4 * MB])
def test_a_pdu_longer_than_agreed_ends_the_association_at_once(besieged: Besieged, length: int) -> None:
    before = besieged.reset()
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        begun = time.monotonic()
        peer.socket.sendall(struct.pack(">BBI", 4, 0, length) + bytes(100))
        assert ended(peer)
        assert time.monotonic() - begun < TIMEOUT_S
    assert besieged.memory() - before < 8 * MB


def test_a_command_set_without_end_ends_the_association(besieged: Besieged) -> None:
    own = own_address()
    if own is None:
        pytest.skip("this machine has no address but loopback, from which command sets may be long: uploads")
    before = besieged.reset()
    with wire(besieged.port) as peer:
        peer.socket.close()
        peer.socket = socket.create_connection((own, besieged.port), timeout=10)
        peer.associate(CONTEXTS)
        piece = struct.pack(">BBIIBB", 4, 0, 100_006, 100_002, 3, 1) + bytes(100_000)
        assert flood(peer.socket, piece, 200) < 20 * MB
        assert ended(peer)
    assert besieged.memory() - before < 8 * MB


def own_address() -> str | None:
    """An address of this machine at which it is no administrator to the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address
    return None


def test_an_identifier_without_end_takes_bounded_memory(besieged: Besieged) -> None:
    before = besieged.reset()
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(5, request(FIND, 0x0020))
        piece = struct.pack(">BBIIBB", 4, 0, 100_006, 100_002, 5, 0) + bytes(100_000)
        flood(peer.socket, piece, 600)
    assert besieged.memory() - before < 2 * MAX_IDENTIFIER + 4 * MB


# Time


@pytest.mark.parametrize("associated", [False, True])
def test_a_peer_that_sends_a_byte_now_and_then_does_not_hold_a_pdu_open(besieged: Besieged, associated: bool) -> None:
    with wire(besieged.port) as peer:
        if associated:
            peer.associate(CONTEXTS)
        kind = 4 if associated else 1
        begun = time.monotonic()
        peer.socket.sendall(struct.pack(">BBI", kind, 0, 10_000))
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 8 * TIMEOUT_S:
                peer.socket.sendall(b"\0")
                peer.socket.settimeout(0.2)
                with contextlib.suppress(TimeoutError):
                    assert ended(peer)
                    break
        assert time.monotonic() - begun < 4 * TIMEOUT_S


# Half-open connections and limits


def test_half_open_connections_count_against_no_limit(besieged: Besieged) -> None:
    halves = []
    for number in range(60):
        halves.append(socket.create_connection(("127.0.0.1", besieged.port), timeout=10))
        halves[-1].sendall(b"\x01\0\0\0\1\0"[: number % 7])
    peers = []
    for _ in range(17):
        peers.append(Wire(besieged.port))
        answer = peers[-1].associate(CONTEXTS)
        assert answer is not None
        assert answer.kind == 2
    for each in (*halves, *(peer.socket for peer in peers)):
        each.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_strangers_leave_room_for_the_aes_of_the_map(tmp_path: Path, workers: int) -> None:
    tmp_path.joinpath("archive").mkdir()
    write_map(tmp_path / "archive", {"FRIEND": (11112, "un")})
    with program(tmp_path / "archive", Workers=workers, MaxAssociations=16) as running:
        peers = []

        def ask(calling: str, times: int) -> list[int | None]:
            kinds = []
            for _ in range(times):
                peers.append(Wire(running.port))
                answer = peers[-1].associate(CONTEXTS, calling=calling)
                kinds.append(answer.kind if answer is not None else None)
            return kinds

        assert ask("STRANGER", 16) == [2] * 14 + [3] * 2
        assert ask("FRIEND", 3) == [2, 2, 3]
        for peer in peers:
            peer.socket.close()


# Objects


def test_an_object_larger_than_allowed_is_refused_and_the_association_goes_on(besieged: Besieged) -> None:
    uid = made_uid(71, 1)
    small = object_bytes(made_uid(71, 2), made_uid(71, 3), "LARGE", 1)
    before = besieged.on_disk()
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        data = object_bytes(uid, made_uid(71, 3), "LARGE", 1, 3 * MB)
        assert answered(peer, 1, store_elements(CT, uid), data) == 0xA700
        assert besieged.on_disk() == before
        assert answered(peer, 1, store_elements(CT, made_uid(71, 2)), small) == 0
        assert peer.release()


def test_an_object_without_end_takes_neither_memory_nor_disk(besieged: Besieged) -> None:
    before, disk = besieged.reset(), besieged.on_disk()
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(1, store_elements(CT, made_uid(72, 1)))
        head = object_bytes(made_uid(72, 1), made_uid(72, 2), "ENDLESS", 1)
        peer.send(4, struct.pack(">IBB", len(head) + 2, 1, 0) + head)
        piece = struct.pack(">BBIIBB", 4, 0, 100_006, 100_002, 1, 0) + bytes(100_000)
        flood(peer.socket, piece, 600)
        assert besieged.on_disk() - disk <= 3 * MB
    assert besieged.memory() - before < 16 * MB
    assert wait_until(lambda: besieged.on_disk() == disk)


def test_an_object_in_very_many_small_pieces_is_stored(besieged: Besieged) -> None:
    uid = made_uid(73, 1)
    data = object_bytes(uid, made_uid(73, 2), "PIECES", 1, 40_000)
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(1, store_elements(CT, uid))
        pieces = [data[at : at + 8] for at in range(0, len(data), 8)]
        values = b"".join(
            struct.pack(">BBIIBB", 4, 0, len(piece) + 6, len(piece) + 2, 1, 2 * (number == len(pieces) - 1)) + piece
            for number, piece in enumerate(pieces)
        )
        peer.socket.sendall(values)
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()
    (stored,) = (besieged.running.directory / "MAG0" / "PIECES").glob("*")
    assert data_set_bytes(stored) == data


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_a_value_of_the_header_may_be_large_without_being_held(besieged: Besieged, syntax: str) -> None:
    uid = made_uid(74, len(syntax))
    data = object_bytes(uid, made_uid(74, 2), "VALUE", 1)
    huge = struct.pack("<HH2sHI", 0x0008, 0x0005, b"UT", 0, 1_900_000) + b"x" * 1_900_000
    data = huge + data
    if syntax == DEFLATED:
        data = deflated(data)
    before = besieged.reset()
    with wire(besieged.port) as peer:
        peer.associate({1: (CT, (syntax,))})
        assert answered(peer, 1, store_elements(CT, uid), data) == 0
        assert peer.release()
    assert besieged.memory() - before < 12 * MB


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) & 1)


def test_what_unpacks_to_a_thousand_times_its_size_takes_no_memory(besieged: Besieged) -> None:
    uid = made_uid(75, 1)
    head = object_bytes(uid, made_uid(75, 2), "BOMB", 1)
    head += struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 100 * MB)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(head) + b"".join(packer.compress(bytes(MB)) for _ in range(100)) + packer.flush()
    data += b"\0" * (len(data) & 1)
    assert len(data) < MB
    before = besieged.reset()
    with wire(besieged.port) as peer:
        peer.associate({1: (CT, (DEFLATED,))})
        status = answered(peer, 1, store_elements(CT, uid), data)
        assert peer.release()
    assert status in (0, 0xA700, 0xC000)
    assert besieged.memory() - before < 12 * MB


@pytest.mark.parametrize("depth", [65, 1000, 20_000])
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_in_sequences_end_somewhere(besieged: Besieged, depth: int, undefined: bool) -> None:
    nested = b""
    if undefined:
        nested = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
            "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
        )
        nested *= depth
    else:
        for _ in range(depth):
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
            nested = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, len(item)) + item
    uid = made_uid(76, depth, int(undefined))
    data = object_bytes(uid, made_uid(76, 1), "DEEP", 1) + nested
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        # With lengths they are passed over as a whole, and nobody looks into them.
        assert answered(peer, 1, store_elements(CT, uid), data) == (0xC000 if undefined else 0)
        assert peer.release()


def test_a_query_with_sequences_in_sequences_is_refused(besieged: Besieged) -> None:
    nested = b""
    for _ in range(3000):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(nested)) + nested
        nested = struct.pack("<HHI", 0x0040, 0xA730, len(item)) + item
    with wire(besieged.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(5, request(FIND, 0x0020), identifier(b"STUDY ", nested))
        assert responses(peer)[-1][0].number(0x0900) >> 12 in (0xA, 0xC)
        assert peer.release()


# Garbage


def nothing(peer: Wire) -> None:
    """A connection that has said nothing."""


def associated(peer: Wire) -> None:
    peer.associate(CONTEXTS)


def rejected(peer: Wire) -> None:
    assert peer.associate(CONTEXTS, version=2) == Pdu(3, bytes([0, 1, 2, 2]))


def inside_a_command(peer: Wire) -> None:
    peer.associate(CONTEXTS)
    command = encode_command(store_elements(CT, made_uid(77, 1)))
    peer.send(4, struct.pack(">IBB", 12, 1, 1) + command[:10])


def inside_a_data_set(peer: Wire) -> None:
    peer.associate(CONTEXTS)
    peer.message(1, store_elements(CT, made_uid(77, 1)))
    peer.send(4, struct.pack(">IBB", 102, 1, 0) + bytes(100))


def while_answers_come(peer: Wire) -> None:
    peer.associate(CONTEXTS)
    peer.message(5, request(FIND, 0x0020), identifier(b"IMAGE ", b"\x08\0\x18\0\0\0\0\0"))


def behind_the_release(peer: Wire) -> None:
    peer.associate(CONTEXTS)
    assert peer.release()


@pytest.mark.parametrize(
    "state",
    [nothing, associated, rejected, inside_a_command, inside_a_data_set, while_answers_come, behind_the_release],
)
def test_garbage_ends_the_connection_whenever_it_comes(besieged: Besieged, state: Callable[[Wire], None]) -> None:
    chance = random.Random(state.__name__)
    before, disk = besieged.reset(), besieged.on_disk()
    for number in range(12):
        with wire(besieged.port) as peer:
            state(peer)
            kind = number % 10 if number % 2 else chance.randrange(256)
            body = chance.randbytes(chance.choice((0, 1, 4, 5, 68, 200, 5000)))
            length = len(body) if number % 3 else chance.choice((0, 1, 3, 100_000))
            # A clean end is none of garbage, so that it is not mistaken for one.
            kind = kind if kind not in (5, 7) else 9
            with contextlib.suppress(ConnectionError):
                peer.socket.sendall(struct.pack(">BBI", kind, 0, length) + body)
                peer.socket.shutdown(socket.SHUT_WR)
                while peer.receive() is not None:
                    pass
    assert besieged.serves()
    assert wait_until(lambda: besieged.on_disk() == disk)
    assert besieged.memory() - before < 16 * MB


# Very many


def test_ten_thousand_connections_and_rejections_leave_nothing(besieged: Besieged) -> None:
    def bare() -> None:
        socket.create_connection(("127.0.0.1", besieged.port), timeout=10).close()

    def refused() -> None:
        with wire(besieged.port) as peer:
            rejected(peer)

    for _ in range(200):
        bare()
        refused()
    assert besieged.serves()
    settled(besieged)
    before, held = besieged.memory("VmRSS"), besieged.held()
    for number in range(10_000):
        (bare if number % 5 else refused)()
    assert besieged.serves()
    assert wait_until(lambda: besieged.held() == held), (held, besieged.held())
    assert besieged.memory("VmRSS") - before < 8 * MB


def settled(besieged: Besieged) -> None:
    """Wait until threads and descriptors do not change any more."""
    last = besieged.held()
    for _ in range(50):
        time.sleep(0.1)
        now = besieged.held()
        if now == last:
            return
        last = now
