"""Many at once: one patient however many bring it, one file an object, and nothing acknowledged is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom.dataset import Dataset

from db.objects import StoredObject
from db.query import Query
from dgate.app import Daemon
from server.commandset import CommandSet
from server.pipeline.delete import delete
from server.pipeline.fsck import fsck
from server.server import Server
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import (
    CONTEXTS,
    CT,
    FIND,
    IMAGES,
    MOVE,
    THE_STUDY,
    answered,
    identifier,
    request,
    responses,
    store_response,
)  # fmt: skip
from tests.conformance.scp import Accepted, listening
from tests.conformance.scu import store_elements, wire
from tests.objects import data_set_bytes, ds, study, with_pixels, write
from tests.servers import program, started, write_ini, write_map


def rows(server: Server) -> dict[str, int]:
    """How many rows each table has."""
    tables = ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")
    return {table: int(next(server.index.raw_query(table, "count(*)"))[0]) for table in tables}


def differences(server: Server) -> list[str]:
    """What fsck finds."""
    return [str(finding) for finding in fsck(server, repair=False, alone=False)]


def together(works: Sequence[Callable[[], None]]) -> None:
    """Run each in a thread of its own, all beginning at once; what one raises is raised."""
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        begin.wait(20)
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result(60)


def storing(port: int, objects: Sequence[tuple[str, bytes]], wanted: Sequence[int] = (0,)) -> Callable[[], None]:
    """Store objects on an association of their own; each status must be one of those wanted."""

    def store() -> None:
        with wire(port) as peer:
            peer.associate(CONTEXTS)
            for uid, data in objects:
                assert answered(peer, 1, store_elements(CT, uid), data) in wanted
            assert peer.release()

    return store


def wired(directory: Path, objects: Sequence[Dataset]) -> list[tuple[str, bytes]]:
    """Objects as they go over the wire, by SOP instance UID."""
    return [(str(made.SOPInstanceUID), data_set_bytes(write(directory, made))) for made in objects]


def test_a_new_patient_that_16_associations_bring_is_one_patient(archive: Archive, tmp_path: Path) -> None:
    first = ds()
    made = [
        ds(PatientID="NEW", StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=first.SeriesInstanceUID)
        for _ in range(64)
    ]
    objects = wired(tmp_path / "made", made)
    together([storing(archive.port, objects[at::16]) for at in range(16)])
    assert rows(archive.daemon.server) == {
        "DICOMPatients": 1, "DICOMStudies": 1, "DICOMSeries": 1, "DICOMImages": 64,
    }  # fmt: skip
    assert len(archive.files()) == 64
    assert differences(archive.daemon.server) == []


def test_an_object_that_8_associations_bring_is_there_once(archive: Archive, tmp_path: Path) -> None:
    objects = wired(tmp_path / "made", [with_pixels(ds(PatientID="SAME"))])
    together([storing(archive.port, objects * 5) for _ in range(8)])
    assert rows(archive.daemon.server)["DICOMImages"] == 1
    (stored,) = archive.files()
    assert data_set_bytes(stored) == objects[0][1]
    assert differences(archive.daemon.server) == []
    assert archive.daemon.server.counters["ImagesSaved"] == 40


def test_an_object_that_8_associations_bring_is_kept_once_with_ignore_rewrite(tmp_path: Path) -> None:
    write_ini(tmp_path, IgnoreRewrite=1)
    objects = wired(tmp_path / "made", [ds(PatientID="SAME")])
    with started(tmp_path) as daemon:
        together([storing(daemon.port, objects * 5) for _ in range(8)])
        assert len(Archive(tmp_path, daemon).files()) == 1
        assert differences(daemon.server) == []
        assert daemon.server.counters["ImagesSaved"] == 1


def test_storing_goes_on_while_others_query_move_and_delete(tmp_path: Path) -> None:
    seen: list[Accepted] = []

    def sink(peer: Accepted) -> None:
        seen.append(peer)
        peer.accept(max_pdu=131072)
        while (pdu := peer.receive()) is not None and pdu.kind == 4:
            control, context, value = pdu.body[5], pdu.body[4], pdu.body[6:]
            if control == 3:
                command = CommandSet.parse(value)
                # The data set follows its command in the PDUs behind it.
            elif control == 2:
                peer.say(context, store_response(command))
        if pdu is not None and pdu.kind == 5:
            peer.send(6, bytes(4))

    made = [obj for number in range(8) for obj in study("FULL", series=1, images=15, StudyID=str(number))]
    objects = wired(tmp_path / "made", made)
    moves = 6
    with listening(sink, connections=moves) as listener:
        write_map(tmp_path, {"SINK": (listener.port, "as")})
        write_ini(tmp_path)
        with started(tmp_path) as daemon:
            together(
                [
                    *(storing(daemon.port, objects[at::4]) for at in range(4)),
                    lambda: _query(daemon.port, 20),
                    lambda: _move(daemon.port, moves, seen),
                    lambda: _delete(daemon, 20),
                ]
            )
            assert differences(daemon.server) == []
            stored = {row.sop_instance for row in daemon.server.index.select_objects(Query(level="IMAGE", keys={}))}
            assert stored <= {uid for uid, _ in objects}
            assert len(Archive(tmp_path, daemon).files()) == len(stored) == rows(daemon.server)["DICOMImages"]


def _query(port: int, times: int) -> None:
    with wire(port) as peer:
        peer.associate(CONTEXTS)
        for number in range(times):
            peer.message(5, request(FIND, 0x0020, number), IMAGES)
            found = responses(peer)
            assert found[-1][0].number(0x0900) == 0
        assert peer.release()


def _move(port: int, times: int, seen: list[Accepted]) -> None:
    """Move what there is until the sink was reached so many times; when there is nothing it is not."""
    done = 0
    with wire(port) as peer:
        peer.associate(CONTEXTS)
        while len(seen) < times:
            peer.message(9, request(MOVE, 0x0021, done, destination="SINK"), THE_STUDY)
            final = responses(peer)[-1][0]
            assert final.number(0x0900) in (0x0000, 0xB000, 0xA702)
            done += 1
            time.sleep(0.02)
        assert peer.release()


def _delete(daemon: Daemon, times: int) -> None:
    chance = random.Random(3)
    for _ in range(times):
        there = list(daemon.server.index.select_objects(Query(level="IMAGE", keys={})))
        delete(daemon.server, chance.sample(there, min(len(there), 2)))
        time.sleep(0.02)


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    made = [with_pixels(ds(PatientID=f"KILLED{number % 5}"), 64, 64) for number in range(2000)]
    objects = wired(tmp_path / "made", made)
    acknowledged: list[str] = []

    def store(port: int, mine: Sequence[tuple[str, bytes]]) -> None:
        with wire(port) as peer:
            peer.associate(CONTEXTS)
            for uid, data in mine:
                try:
                    peer.message(1, store_elements(CT, uid), data)
                    answer = peer.answer()
                except OSError:
                    return
                if answer is None:
                    return
                assert answer[0].number(0x0900) == 0
                acknowledged.append(uid)

    directory = tmp_path / "archive"
    for _ in range(2):
        enough = len(acknowledged) + 150
        with program(directory) as running:
            threads = [
                threading.Thread(target=store, args=(running.port, objects[at + len(acknowledged) :: 4]))
                for at in range(4)
            ]
            for thread in threads:
                thread.start()
            while len(acknowledged) < enough and any(thread.is_alive() for thread in threads):
                time.sleep(0.001)
            running.process.kill()
            running.process.wait()
            for thread in threads:
                thread.join(20)
    assert 300 <= len(acknowledged) < len(objects)
    contents = dict(objects)
    with started(directory) as daemon:
        assert list((directory / "MAG0" / "printer_files").glob("*.part")) == []
        there = {
            row.sop_instance: daemon.server.storage.locate(row.device, row.file)
            for row in daemon.server.index.select_objects(Query(level="IMAGE", keys={}))
        }
        assert set(acknowledged) <= set(there)
        assert all(data_set_bytes(path) == contents[uid] for uid, path in there.items())
        with wire(daemon.port) as peer:
            peer.associate(CONTEXTS)
            peer.message(5, request(FIND, 0x0020), identifier(b"IMAGE ", b"\x08\0\x18\0\0\0\0\0"))
            assert len(responses(peer)) - 1 == len(there)
            assert peer.release()


def test_a_file_replaced_or_deleted_during_a_move_is_looked_for_once_more(tmp_path: Path) -> None:
    received: dict[str, bytes] = {}

    def sink(peer: Accepted) -> None:
        peer.accept(max_pdu=16384)
        for number in range(3):
            context, command, data = peer.hear()
            received[command.text(0x1000)] = data
            if number == 0:
                storing(daemon.port, [replaced])()
                delete(daemon.server, [row for row in _there(daemon) if row.sop_instance == made[2].SOPInstanceUID])
            peer.say(context, store_response(command))
        assert peer.released()

    made = study("FULL", series=1, images=4)
    with listening(sink) as listener:
        write_map(tmp_path, {"SINK": (listener.port, "as")})
        write_ini(tmp_path)
        with started(tmp_path) as daemon:
            Archive(tmp_path, daemon).keep(*made)
            (earlier,) = wired(tmp_path / "earlier", [made[1]])
            made[1].StudyDescription = "stored again, with other bytes"
            (replaced,) = wired(tmp_path / "again", [made[1]])
            with wire(daemon.port) as peer:
                peer.associate(CONTEXTS)
                peer.message(9, request(MOVE, 0x0021, destination="SINK"), THE_STUDY)
                final, failed = responses(peer)[-1]
                assert peer.release()
            assert [final.number(tag) for tag in (0x0900, 0x1021, 0x1022)] == [0xB000, 3, 1]
            assert failed.rstrip(b"\0").endswith(made[2].SOPInstanceUID.encode())
            trouble = (tmp_path / "PacsTrouble.log").read_text().splitlines()
    assert received.keys() == {str(made[number].SOPInstanceUID) for number in (0, 1, 3)}
    # Objects are opened ahead of their turn: either copy is a whole one.
    assert received[replaced[0]] in (earlier[1], replaced[1])
    assert [line[25:] for line in trouble] == [f"***Cannot send {made[2].SOPInstanceUID}: its file is missing"]


def _there(daemon: Daemon) -> list[StoredObject]:
    return list(daemon.server.index.select_objects(Query(level="IMAGE", keys={})))
