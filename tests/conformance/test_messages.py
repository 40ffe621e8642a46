"""DIMSE messages as PS3.7 has them: in pieces of any size, several at a time, and not what they should be."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import pytest

from server.commandset import CommandSet, Value, encode_command
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import (
    CONTEXTS,
    CT,
    FIND,
    GET,
    IMAGES,
    MOVE,
    THE_STUDY,
    answered,
    log_lines,
    request,
    store_response,
    wait_until,
)
from tests.conformance.scu import VERIFICATION, Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes, ds, study, with_pixels, write

# Pieces


def values(context_id: int, message: bytes, data: bytes, size: int) -> list[bytes]:
    """A message as presentation data values of `size` bytes of it each."""
    found = []
    for control, whole in ((1, message), (0, data)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        for number, piece in enumerate(pieces, 1):
            last = 2 if number == len(pieces) else 0
            found.append(struct.pack(">IBB", len(piece) + 2, context_id, control | last) + piece)
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("together", [1, 2, 50, 100_000])
def test_pieces_of_any_size_and_any_number_in_a_pdu_are_one_message(
    archive: Archive, tmp_path: Path, size: int, together: int
) -> None:
    made = with_pixels(ds())
    data = data_set_bytes(write(tmp_path / "made", made))
    pieces = values(1, encode_command(store_elements(CT, made.SOPInstanceUID)), data, size)
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        peer.socket.sendall(
            b"".join(
                struct.pack(">BBI", 4, 0, len(body)) + body
                for body in (b"".join(pieces[at : at + together]) for at in range(0, len(pieces), together))
            )
        )
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()
    (stored,) = archive.files()
    assert data_set_bytes(stored) == data


def test_empty_pieces_and_empty_pdus_change_nothing(archive: Archive, tmp_path: Path) -> None:
    made = ds()
    data = data_set_bytes(write(tmp_path / "made", made))
    command = encode_command(store_elements(CT, made.SOPInstanceUID))
    empty_command, empty_data, end = (struct.pack(">IBB", 2, 1, control) for control in (1, 0, 2))
    parts = [
        empty_command + struct.pack(">IBB", len(command) + 2, 1, 1) + command,
        b"",
        struct.pack(">IBB", 2, 1, 3),
        empty_data,
        struct.pack(">IBB", len(data) + 2, 1, 0) + data + empty_data,
        end,
    ]
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        for part in parts:
            peer.send(4, part)
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()
    (stored,) = archive.files()
    assert data_set_bytes(stored) == data


@pytest.mark.parametrize("max_pdu", [0, 8, 64, 4096, 16384, 131072, 1 << 20, None])
def test_no_pdu_to_a_peer_is_longer_than_it_takes(full: Archive, max_pdu: int | None) -> None:
    lengths = []
    with wire(full.port) as peer:
        peer.associate(CONTEXTS, max_pdu=max_pdu)
        peer.message(5, request(FIND, 0x0020), IMAGES)
        command, matches = b"", 0
        while True:
            pdu = peer.receive()
            assert pdu is not None
            assert pdu.kind == 4
            lengths.append(len(pdu.body))
            length, _, control = struct.unpack(">IBB", pdu.body[:6])
            assert length == len(pdu.body) - 4
            if control & 1:
                command += pdu.body[6:]
            if control == 3:
                status, command = CommandSet.parse(command).number(0x0900), b""
                if status == 0:
                    break
                matches += 1
        assert peer.release()
    assert matches == 300
    assert max(lengths) <= (max_pdu or 131072)


@pytest.mark.parametrize("length", [131072, 131072 + 1000, 0xFFFFFFFF])
def test_a_pdu_may_be_as_long_as_we_said_and_not_much_longer(archive: Archive, tmp_path: Path, length: int) -> None:
    made = with_pixels(ds(), rows=512, columns=512)
    data = data_set_bytes(write(tmp_path / "made", made))
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(1, store_elements(CT, made.SOPInstanceUID))
        size = min(length, 132072)
        peer.socket.sendall(struct.pack(">BBIIBB", 4, 0, length, size - 4, 1, 0) + data[: size - 6])
        if length == 131072:
            body = data[size - 6 :]
            for at in range(0, len(body), 130000):
                piece = body[at : at + 130000]
                last = 2 if at + 130000 >= len(body) else 0
                peer.send(4, struct.pack(">IBB", len(piece) + 2, 1, last) + piece)
            answer = peer.answer()
            assert answer is not None
            assert answer[0].number(0x0900) == 0
            assert peer.release()
        else:
            pdu = peer.receive()
            assert pdu is None or pdu.kind == 7
    assert len(archive.files()) == (length == 131072)


# Several at a time


def test_requests_sent_without_waiting_are_answered_in_order(archive: Archive, tmp_path: Path) -> None:
    made = study("P1", series=1, images=20)
    whole = b""
    for number, obj in enumerate(made):
        data = data_set_bytes(write(tmp_path / "made", obj))
        command = encode_command(store_elements(CT, obj.SOPInstanceUID, 2 * number))
        whole += b"".join(struct.pack(">BBI", 4, 0, len(v)) + v for v in values(1, command, data, 16000))
        (echo,) = values(3, encode_command(echo_elements(2 * number + 1)), b"", 1000)
        whole += struct.pack(">BBI", 4, 0, len(echo)) + echo
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        peer.socket.sendall(whole)
        answers = [peer.answer() for _ in range(40)]
        assert [(a[0].number(0x0120), a[0].number(0x0900)) for a in answers if a] == [(n, 0) for n in range(40)]
        assert peer.release()
    assert len(archive.files()) == 20


def test_a_request_during_a_c_get_is_answered_after_it(full: Archive) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS, scp_of=(CT,))
        peer.message(7, request(GET, 0x0010, 1), THE_STUDY)
        peer.message(3, echo_elements(2))
        sent = 0
        while True:
            answer = peer.answer()
            assert answer is not None
            command = answer[0]
            if command.number(0x0100) == 0x0001:
                sent += 1
                if sent == 5:
                    peer.message(3, echo_elements(3))
                # A response to nothing is passed over.
                peer.message(1, {**store_response(command), 0x0120: 4711})
                peer.message(1, store_response(command))
            elif command.number(0x0900) != 0xFF00:
                break
        assert (command.number(0x0100), command.number(0x0900), command.number(0x1021)) == (0x8010, 0, 300)
        assert sent == 300
        echoed = [peer.answer(), peer.answer()]
        assert [(a[0].number(0x0120), a[0].number(0x0100)) for a in echoed if a] == [(2, 0x8030), (3, 0x8030)]
        assert peer.release()


def test_a_response_that_nobody_awaits_is_dropped(full: Archive) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(3, {0x0002: VERIFICATION, 0x0100: 0x8030, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0})
        assert answered(peer, 3, echo_elements(7)) == 0
        assert peer.release()


# Not what it should be


def test_a_service_is_asked_on_a_context_of_its_own_class_only(full: Archive, tmp_path: Path) -> None:
    made = ds(SOPClassUID=VERIFICATION)
    data = data_set_bytes(write(tmp_path / "made", made))
    with wire(full.port) as peer:
        peer.associate(CONTEXTS)
        assert answered(peer, 3, store_elements(VERIFICATION, made.SOPInstanceUID), data) == 0x0122
        assert answered(peer, 5, store_elements(FIND, made.SOPInstanceUID), data) == 0x0122
        assert answered(peer, 1, request(CT, 0x0020), IMAGES) == 0x0122
        assert answered(peer, 9, request(MOVE, 0x0020), IMAGES) == 0x0122
        assert peer.release()
    assert len(full.files()) == 300


def test_a_request_without_its_data_set_cannot_be_understood(full: Archive) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS)
        none: dict[int, Value] = {0x0800: 0x0101}
        assert answered(peer, 1, {**store_elements(CT, "1.2.3"), **none}) == 0xC000
        assert answered(peer, 5, {**request(FIND, 0x0020), **none}) == 0xC000
        assert answered(peer, 7, {**request(GET, 0x0010), **none}) == 0xC000
        assert peer.release()


def test_an_identifier_beyond_all_measure_is_not_cut_but_refused(full: Archive) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(5, request(FIND, 0x0020), IMAGES + bytes(17 << 20), piece=120_000)
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0xA700
        assert peer.release()


def test_damaged_bytes_never_bring_down_more_than_their_association(archive: Archive, tmp_path: Path) -> None:
    """The same conversation 300 times, with a few bytes of it changed."""
    archive.daemon.server.logs.add("test.log")
    made = ds()
    data = data_set_bytes(write(tmp_path / "made", made))
    whole = [recorded(archive), *_conversation(made.SOPInstanceUID, data)]
    chance = random.Random(7)
    for _ in range(300):
        pdus = [bytearray(pdu) for pdu in whole]
        for _ in range(chance.randint(1, 4)):
            pdu = chance.choice(pdus)
            pdu[chance.randrange(6, len(pdu))] = chance.randrange(256)
        with socket.create_connection(("127.0.0.1", archive.port), timeout=20) as peer:
            peer.sendall(b"".join(pdus))
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass
    assert wait_until(lambda: archive.daemon.server.running.open_threads == 0)
    assert [line for line in log_lines(archive.directory) if "Traceback" in line or "internal" in line] == []
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        assert answered(peer, 3, echo_elements()) == 0
        assert peer.release()


def _conversation(uid: str, data: bytes) -> list[bytes]:
    messages = [
        *values(1, encode_command(store_elements(CT, uid)), data, 16000),
        *values(3, encode_command(echo_elements(2)), b"", 16000),
        *values(5, encode_command(request(FIND, 0x0020, 3)), IMAGES, 16000),
        *values(7, encode_command(request(GET, 0x0010, 4)), THE_STUDY, 16000),
    ]
    return [struct.pack(">BBI", 4, 0, len(value)) + value for value in messages] + [b"\5\0\0\0\0\4\0\0\0\0"]


def recorded(archive: Archive) -> bytes:
    """The association request that `Wire` sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Wire(server.getsockname()[1])
        peer.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            peer.associate(CONTEXTS, scp_of=(CT,))
        connection, _ = server.accept()
        with connection:
            sent = connection.recv(65536)
        peer.socket.close()
    return sent
