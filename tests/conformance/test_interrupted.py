"""Services that a peer cancels or gives up half-way, or that it makes wait."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path

import pytest

from server.commandset import CommandSet
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
    cancel,
    fill,
    identifier,
    request,
    responses,
    store_response,
    wait_until,
)
from tests.conformance.processes import unnamed
from tests.conformance.scp import Accepted, listening
from tests.conformance.scu import Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes, ds, study, with_pixels, write
from tests.servers import started, write_ini, write_map

# Cancelled


def test_a_query_that_is_cancelled_ends_so_and_the_association_goes_on(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        rows = ((f"1.2.3.{number}", number) for number in range(30_000))
        fill(daemon.server.index, rows)
        with wire(daemon.port) as peer:
            peer.associate(CONTEXTS)
            peer.message(5, request(FIND, 0x0020, 5), IMAGES)
            assert peer.answer() is not None
            peer.message(5, cancel(5))
            found = responses(peer)
            assert found[-1][0].number(0x0900) == 0xFE00
            assert len(found) < 30_000
            # Once more under the same number: that was another query.
            peer.message(5, cancel(5))
            peer.message(5, request(FIND, 0x0020, 5), identifier(b"STUDY ", b"\x10\0\x20\0\0\0\0\0"))
            assert [command.number(0x0900) for command, _ in responses(peer)] == [0xFF00, 0]
            assert peer.release()


def test_a_c_get_that_is_cancelled_says_what_remains(full: Archive) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS, scp_of=(CT,))
        peer.message(7, request(GET, 0x0010, 9), THE_STUDY)
        sent = 0
        while True:
            answer = peer.answer()
            assert answer is not None
            command = answer[0]
            if command.number(0x0100) == 0x0001:
                sent += 1
                if sent == 10:
                    peer.message(7, cancel(9))
                peer.message(1, store_response(command))
            elif command.number(0x0900) != 0xFF00:
                break
        counts = [command.number(tag) for tag in (0x0900, 0x1020, 0x1021, 0x1022, 0x1023)]
        assert counts == [0xFE00, 290, 10, 0, 0]
        assert answered(peer, 3, echo_elements()) == 0
        assert peer.release()


def test_a_c_move_that_is_cancelled_says_what_remains(tmp_path: Path) -> None:
    heard: list[str] = []

    def sink(peer: Accepted) -> None:
        peer.accept()
        while True:
            context, command, _ = peer.hear()
            heard.append(command.text(0x1000))
            if len(heard) == 3:
                requestor.message(9, cancel(2))
                time.sleep(0.3)
            peer.say(context, store_response(command))
            if len(heard) == 3:
                assert peer.released()
                return

    with listening(sink) as listener:
        write_map(tmp_path, {"SINK": (listener.port, "as")})
        write_ini(tmp_path)
        with started(tmp_path) as daemon:
            Archive(tmp_path, daemon).keep(*study("FULL", series=1, images=8))
            requestor = Wire(daemon.port)
            requestor.associate(CONTEXTS)
            requestor.message(9, request(MOVE, 0x0021, 2, destination="SINK"), THE_STUDY)
            final = responses(requestor)[-1][0]
            assert [final.number(tag) for tag in (0x0900, 0x1020, 0x1021, 0x1022)] == [0xFE00, 5, 3, 0]
            assert requestor.release()
            requestor.socket.close()
    assert len(heard) == 3


# Given up


@pytest.mark.parametrize("service", ["find", "get"])
@pytest.mark.parametrize("how", ["release", "abort", "close"])
def test_a_peer_may_end_the_association_in_the_middle(full: Archive, service: str, how: str) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS, scp_of=(CT,))
        if service == "find":
            peer.message(5, request(FIND, 0x0020), IMAGES)
        else:
            peer.message(7, request(GET, 0x0010), THE_STUDY)
        assert peer.answer() is not None
        if how == "release":
            peer.send(5, bytes(4))
            while (pdu := peer.receive()) is not None and pdu.kind == 4:
                pass
            assert pdu is not None
            assert pdu.kind == 6
        elif how == "abort":
            peer.send(7, bytes(4))
    assert wait_until(lambda: full.daemon.server.running.open_threads == 0)
    with wire(full.port) as peer:
        peer.associate(CONTEXTS)
        assert answered(peer, 3, echo_elements()) == 0
        assert peer.release()


@pytest.mark.parametrize("service", ["find", "get"])
def test_a_peer_that_stops_reading_holds_nothing_for_long(tmp_path: Path, service: str) -> None:
    write_ini(tmp_path, TCPIPTimeOut=1)
    with started(tmp_path) as daemon:
        if service == "find":
            fill(daemon.server.index, ((f"1.2.3.{number}", number) for number in range(60_000)))
        else:
            made = with_pixels(ds(PatientID="FULL"), rows=1024, columns=1024, frames=8)
            Archive(tmp_path, daemon).keep(made)
        peer = Wire.__new__(Wire)
        peer.socket = socket.socket()
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.socket.settimeout(20)
        peer.socket.connect(("127.0.0.1", daemon.port))
        peer.associate(CONTEXTS, scp_of=(CT,))
        peer.message(*((5, request(FIND, 0x0020), IMAGES) if service == "find" else (7, request(GET, 16), THE_STUDY)))
        assert wait_until(lambda: daemon.server.running.open_threads == 0, 15)
        peer.socket.close()


def sizes(device: Path) -> list[int]:
    """The sizes of temporary files, with and without a name."""
    named = [path.stat().st_size for path in (device / "printer_files").glob("*.part")]
    return [*named, *unnamed(os.getpid(), device)]


def test_an_object_whose_rest_never_comes_leaves_nothing(tmp_path: Path) -> None:
    write_ini(tmp_path, TCPIPTimeOut=1, Durability="safe")
    made = with_pixels(ds(), rows=1024, columns=1024, frames=2)
    data = data_set_bytes(write(tmp_path / "made", made))
    with started(tmp_path) as daemon:
        archive = Archive(tmp_path, daemon)
        with wire(archive.port) as peer:
            peer.associate(CONTEXTS)
            peer.message(1, store_elements(CT, made.SOPInstanceUID))
            for at in range(0, 3 << 20, 100_000):
                peer.send(4, struct.pack(">IBB", 100_002, 1, 0) + data[at : at + 100_000])
            assert wait_until(lambda: max(sizes(tmp_path / "MAG0"), default=0) > 2 << 20)
            pdu = peer.receive()
            assert pdu is not None
            assert pdu.kind == 7
        assert wait_until(lambda: daemon.server.running.open_threads == 0)
        assert archive.files() == []
        assert [size for size in sizes(tmp_path / "MAG0") if size] == []


def test_a_receiver_may_answer_before_it_has_all_of_an_object(tmp_path: Path) -> None:
    def sink(peer: Accepted) -> None:
        peer.accept(max_pdu=16384)
        for _ in range(2):
            pdu = peer.receive()
            assert pdu is not None
            command = CommandSet.parse(pdu.body[6:])
            peer.say(pdu.body[4], store_response(command, 0xA700))
            while (pdu := peer.receive()) is not None and pdu.body[5] != 2:
                pass
        assert peer.released()

    with listening(sink) as listener:
        write_map(tmp_path, {"SINK": (listener.port, "as")})
        write_ini(tmp_path)
        with started(tmp_path) as daemon:
            made = [with_pixels(obj, rows=1024, columns=1024) for obj in study("FULL", series=1, images=2)]
            Archive(tmp_path, daemon).keep(*made)
            with wire(daemon.port) as requestor:
                requestor.associate(CONTEXTS)
                requestor.message(9, request(MOVE, 0x0021, destination="SINK"), THE_STUDY)
                final, failed = responses(requestor)[-1]
                assert [final.number(tag) for tag in (0x0900, 0x1021, 0x1022)] == [0xA702, 0, 2]
                assert all(obj.SOPInstanceUID.encode() in failed for obj in made)
                assert requestor.release()


def test_a_long_move_does_not_end_the_association_it_was_asked_on(tmp_path: Path) -> None:
    def sink(peer: Accepted) -> None:
        peer.accept()
        for _ in range(4):
            context, command, _ = peer.hear()
            time.sleep(0.7)
            peer.say(context, store_response(command))
        assert peer.released()

    with listening(sink) as listener:
        write_map(tmp_path, {"SINK": (listener.port, "as")})
        write_ini(tmp_path, TCPIPTimeOut=1)
        with started(tmp_path) as daemon:
            Archive(tmp_path, daemon).keep(*study("FULL", series=1, images=4))
            with wire(daemon.port) as requestor:
                requestor.associate(CONTEXTS)
                requestor.message(9, request(MOVE, 0x0021, destination="SINK"), THE_STUDY)
                assert responses(requestor)[-1][0].number(0x0900) == 0
                assert answered(requestor, 3, echo_elements()) == 0
                assert requestor.release()
