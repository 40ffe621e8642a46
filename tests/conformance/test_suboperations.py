"""The sub-operations of C-MOVE and C-GET: over several associations, reported now and then, counted right."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import MRImageStorage

from server.commandset import CommandSet
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import (
    CONTEXTS,
    CT,
    GET,
    MOVE,
    THE_STUDY,
    answered,
    cancel,
    request,
    responses,
    store_response,
)
from tests.conformance.scp import Accepted
from tests.conformance.scu import EXPLICIT, Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes, study, with_pixels, write
from tests.servers import started, write_ini, write_map

COUNT = 40


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A server with COUNT objects of one study, which moves them over three associations."""
    directory = tmp_path_factory.mktemp("many") / "archive"
    write_ini(directory, MoveAssociations=3)
    with started(directory) as daemon:
        archive = Archive(directory, daemon)
        with wire(archive.port) as peer:
            peer.associate(CONTEXTS)
            for made in study("FULL", series=1, images=COUNT):
                data = data_set_bytes(write(directory / "sent", made))
                assert answered(peer, 1, store_elements(CT, made.SOPInstanceUID), data) == 0
            assert peer.release()
        yield archive


class Sink:
    """A receiver that serves its associations side by side and keeps what each brought, by its number."""

    def __init__(self, status: Callable[[int, int], int | None], delay_s: float) -> None:
        self._status = status
        self._delay_s = delay_s
        self.received: list[list[str]] = []
        self.lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            peer = Accepted(connection)
            peer.accept()
            with self.lock:
                mine: list[str] = []
                number = len(self.received)
                self.received.append(mine)
            while (heard := _heard(peer)) is not None:
                context, command = heard
                time.sleep(self._delay_s)
                status = self._status(number, len(mine))
                mine.append(command.text(0x1000))
                if status is None:
                    return
                peer.say(context, store_response(command, status))


def _heard(peer: Accepted) -> tuple[int, CommandSet] | None:
    """The next C-STORE-RQ; None at the end of the association, which is agreed to."""
    command = b""
    while True:
        pdu = peer.receive()
        if pdu is None or pdu.kind != 4:
            if pdu is not None and pdu.kind == 5:
                peer.send(6, bytes(4))
            return None
        if pdu.body[5] & 1:
            command += pdu.body[6:]
        elif pdu.body[5] & 2:
            return pdu.body[4], CommandSet.parse(command)


@contextmanager
def sink(
    archive: Archive, *, status: Callable[[int, int], int | None] = lambda association, nth: 0, delay_s: float = 0.0,
    at_once: int = 9,
) -> Iterator[Sink]:  # fmt: skip
    """A sink that the archive knows as SINK and that answers objects by number of association and of object.

    None instead of a status ends the association. It serves `at_once` associations; others wait to be accepted.
    """
    made = Sink(status, delay_s)
    threads: list[threading.Thread] = []
    free = threading.Semaphore(at_once)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)
        ended = threading.Event()

        def serve(connection: socket.socket) -> None:
            try:
                made.serve(connection)
            finally:
                free.release()

        def accept() -> None:
            while not ended.is_set():
                if free.acquire(timeout=0.05):
                    try:
                        connection, _ = listening.accept()
                    except TimeoutError:
                        free.release()
                        continue
                    threads.append(threading.Thread(target=serve, args=(connection,)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        write_map(archive.directory, {"SINK": (listening.getsockname()[1], "as")})
        archive.daemon.server.amap.read()
        try:
            yield made
        finally:
            ended.set()
            accepting.join(10)
            for thread in threads:
                thread.join(10)


def moved(archive: Archive) -> list[tuple[CommandSet, bytes]]:
    """The responses to a move of everything to SINK."""
    with wire(archive.port) as peer:
        peer.associate({**CONTEXTS, 9: (MOVE, (EXPLICIT,))})
        peer.message(9, request(MOVE, 0x0021, destination="SINK"), b"\x08\0\x52\0CS\6\0STUDY \x10\0\x20\0LO\4\0FULL")
        found = responses(peer)
        assert peer.release()
        return found


def counts(command: CommandSet) -> list[int]:
    """Status, remaining, completed, failed, warning; -1 for one that is not told."""
    return [command.number(tag, -1) for tag in (0x0900, 0x1020, 0x1021, 0x1022, 0x1023)]


def in_order(archive: Archive) -> list[str]:
    paths = [pydicom.dcmread(path, stop_before_pixels=True) for path in archive.files()]
    return [str(made.SOPInstanceUID) for made in sorted(paths, key=lambda made: made.InstanceNumber)]


def test_a_move_shares_its_objects_among_several_associations(many: Archive) -> None:
    with sink(many, delay_s=0.005) as receiver:
        final = moved(many)[-1][0]
    assert counts(final) == [0, -1, COUNT, 0, 0]
    assert len(receiver.received) == 3
    assert min(map(len, receiver.received)) > 1
    everything = in_order(many)
    assert sorted(uid for one in receiver.received for uid in one) == sorted(everything)
    # Each association has its objects in the order of the series.
    assert all(
        [everything.index(uid) for uid in one] == sorted(map(everything.index, one)) for one in receiver.received
    )


def test_what_each_association_is_refused_is_counted_together(many: Archive) -> None:
    with sink(many, status=lambda association, nth: (0, 0xA700, 0xB000)[nth % 3], delay_s=0.002) as receiver:
        final, listed = moved(many)[-1]
    failed = [uid for one in receiver.received for uid in one[1::3]]
    warned = [uid for one in receiver.received for uid in one[2::3]]
    assert counts(final) == [0xB000, -1, COUNT - len(failed) - len(warned), len(failed), len(warned)]
    assert sorted(listed[8:].rstrip(b"\0").decode().split("\\")) == sorted(failed)


def test_an_association_that_breaks_leaves_its_objects_to_the_others(many: Archive) -> None:
    with sink(
        many, status=lambda association, nth: None if association == 1 and nth == 2 else 0, delay_s=0.005
    ) as receiver:
        final, listed = moved(many)[-1]
    lost = receiver.received[1][2]
    assert counts(final) == [0xB000, -1, COUNT - 1, 1, 0]
    assert listed[8:].rstrip(b"\0").decode() == lost
    assert sum(map(len, receiver.received)) == COUNT


def test_all_that_remains_has_failed_when_every_association_breaks(many: Archive) -> None:
    with sink(many, status=lambda association, nth: None if nth == 2 else 0, delay_s=0.005) as receiver:
        final, listed = moved(many)[-1]
    done = {uid for one in receiver.received for uid in one[:2]}
    assert counts(final) == [0xA702, -1, len(done), COUNT - len(done), 0]
    assert sorted(listed[8:].rstrip(b"\0").decode().split("\\")) == sorted(set(in_order(many)) - done)


def test_a_destination_that_takes_one_association_at_a_time_gets_everything_over_that(many: Archive) -> None:
    start = time.monotonic()
    with sink(many, at_once=1) as receiver:
        final = moved(many)[-1][0]
        assert time.monotonic() - start < 5
    assert counts(final) == [0, -1, COUNT, 0, 0]
    assert receiver.received[0] == in_order(many)
    assert all(one == [] for one in receiver.received[1:])


def test_a_destination_that_cannot_be_reached_fails_all(many: Archive) -> None:
    with sink(many):
        pass  # its port is free again
    ((final, _),) = moved(many)
    assert counts(final) == [0xA702, -1, 0, COUNT, 0]


def test_a_move_over_several_associations_ends_soon_after_it_is_cancelled(many: Archive) -> None:
    with sink(many, delay_s=0.02) as receiver, wire(many.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(9, request(MOVE, 0x0021, 2, destination="SINK"), THE_STUDY)
        assert peer.answer() is not None
        sent = sum(map(len, receiver.received))
        peer.message(9, cancel(2))
        final = responses(peer)[-1][0]
        assert peer.release()
    status, remaining, completed, failed, warning = counts(final)
    assert (status, failed, warning, remaining + completed) == (0xFE00, 0, 0, COUNT)
    assert completed == sum(map(len, receiver.received))
    # What each association was about, and what went on until the C-CANCEL was seen.
    assert completed <= sent + 3 * 6


def test_a_requestor_that_goes_ends_the_associations_to_the_destination(many: Archive) -> None:
    with sink(many, delay_s=0.05) as receiver, wire(many.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(9, request(MOVE, 0x0021, destination="SINK"), THE_STUDY)
        assert peer.answer() is not None
    assert sum(map(len, receiver.received)) < COUNT


# Pending responses


def test_pending_responses_come_first_last_and_seldom_in_between(many: Archive) -> None:
    many.daemon.server.settings = _with(many, MoveAssociations=1)
    try:
        start = time.monotonic()
        with sink(many, delay_s=0.01):
            *pending, (final, _) = moved(many)
        seconds = time.monotonic() - start
    finally:
        many.daemon.server.settings = _with(many, MoveAssociations=3)
    assert counts(final) == [0, -1, COUNT, 0, 0]
    shown = [counts(command) for command, _ in pending]
    assert shown[0] == [0xFF00, COUNT - 1, 1, 0, 0]
    assert shown[-1] == [0xFF00, 1, COUNT - 1, 0, 0]
    assert [one[1] for one in shown] == sorted({one[1] for one in shown}, reverse=True)
    assert all(one[1] + one[2] == COUNT for one in shown)
    assert 3 <= len(shown) <= 2 + seconds / 0.1


def _with(archive: Archive, **settings: object) -> object:
    from dataclasses import replace

    return replace(archive.daemon.server.settings, **settings)  # type: ignore[arg-type]


def test_a_c_get_reports_the_first_and_the_last_too(many: Archive) -> None:
    with wire(many.port) as peer:
        peer.associate({7: (GET, (EXPLICIT,)), 9: (CT, (EXPLICIT,))}, scp_of=(CT,))
        peer.message(7, request(GET, 0x0010), b"\x08\0\x52\0CS\6\0STUDY \x10\0\x20\0LO\4\0FULL")
        shown = list(_got(peer))
        assert peer.release()
    assert shown[0] == [0xFF00, COUNT - 1, 1, 0, 0]
    assert shown[-2:] == [[0xFF00, 1, COUNT - 1, 0, 0], [0, -1, COUNT, 0, 0]]
    assert len(shown) < COUNT / 2


def _got(peer: Wire) -> Iterator[list[int]]:
    """Take every object of a C-GET; the counts of its responses."""
    while True:
        answer = peer.answer()
        assert answer is not None
        command, _ = answer
        if command.number(0x0100) == 0x0001:
            peer.message(9, store_response(command))
            continue
        yield counts(command)
        if command.number(0x0900) != 0xFF00:
            return


# What is sent


def test_kinds_that_alternate_need_no_more_than_one_further_association(tmp_path: Path) -> None:
    """Only the first object of a series is looked at; that others are of another kind shows when their turn comes."""
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        archive = Archive(tmp_path, daemon)
        with wire(archive.port) as peer:
            peer.associate({1: (CT, (EXPLICIT,)), 3: (MRImageStorage, (EXPLICIT,)), 5: (CT, ("1.2.840.10008.1.2.5",))})
            for number, made in enumerate(study("FULL", series=1, images=12)):
                data = data_set_bytes(write(tmp_path / "sent", made))
                context = 5 if number % 2 else 1
                assert answered(peer, context, store_elements(CT, made.SOPInstanceUID), data) == 0
            assert peer.release()
        with sink(archive) as receiver:
            final = moved(archive)[-1][0]
        assert counts(final) == [0, -1, 12, 0, 0]
        assert [len(one) for one in receiver.received] == [1, 11]
        assert [uid for one in receiver.received for uid in one] == in_order(archive)


def test_an_object_that_is_deleted_while_it_waits_for_its_turn_fails(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        archive = Archive(tmp_path, daemon)
        archive.keep(*study("FULL", series=1, images=4))
        uids = in_order(archive)
        paths = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in archive.files()}

        def delete_all(association: int, nth: int) -> int:
            if nth == 0:
                for path in paths.values():
                    path.unlink()
            return 0

        with sink(archive, status=delete_all, delay_s=0.2) as receiver:
            final, listed = moved(archive)[-1]
        assert receiver.received == [uids[:1]]
        assert counts(final) == [0xB000, -1, 1, 3, 0]
        assert listed[8:].rstrip(b"\0").decode().split("\\") == uids[1:]


def test_a_file_that_is_cut_while_it_waits_for_its_turn_ends_the_association_and_nothing_else(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        archive = Archive(tmp_path, daemon)
        archive.keep(*(with_pixels(made, 256, 256) for made in study("FULL", series=1, images=3)))
        uids = in_order(archive)
        paths = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in archive.files()}

        def cut_the_second(association: int, nth: int) -> int:
            if nth == 0:
                os.truncate(paths[uids[1]], 5000)
            return 0

        with sink(archive, status=cut_the_second, delay_s=0.2) as receiver:
            final, listed = moved(archive)[-1]
        assert receiver.received == [uids[:1]]
        assert counts(final) == [0xA702, -1, 1, 2, 0]
        assert listed[8:].rstrip(b"\0").decode().split("\\") == uids[1:]
        with wire(archive.port) as peer:
            peer.associate(CONTEXTS)
            assert answered(peer, 3, echo_elements()) == 0
            assert peer.release()
