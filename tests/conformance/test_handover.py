"""Objects that are answered before their rows are committed: seen by all, and kept, as if they had been."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from db.query import Query
from db.schema import SERIES_UID
from dgate.app import Daemon
from server.pipeline.fsck import fsck
from tests.conformance.dialogue import (
    CONTEXTS,
    CT,
    FIND,
    answered,
    identifier,
    log_lines,
    request,
    responses,
    wait_until,
)
from tests.conformance.processes import holder, replaced
from tests.conformance.scu import Wire, store_elements, wire
from tests.conformance.test_workers import one_on_each
from tests.objects import data_set_bytes
from tests.servers import Program, dgate, program, started, write_ini
from tests.soak.life import made_uid, object_bytes

STUDY = made_uid(9, 1)
# An ID of odd length comes padded.
PATIENT = "HANDED1"


def uid_of(number: int) -> str:
    return made_uid(9, 1, number)


def store(peer: Wire, number: int, version: int = 0) -> int:
    data = object_bytes(uid_of(number), STUDY, PATIENT, version)
    return answered(peer, 1, store_elements(CT, uid_of(number)), data)


def found(peer: Wire) -> int:
    """How many images of the study a C-FIND finds."""
    level = identifier(b"IMAGE ", b"\x08\0\x18\0\0\0\0\0", b"\x10\0\x20\0\x08\0\0\0HANDED1 ")
    peer.message(5, request(FIND, 0x0020), level)
    return len(responses(peer)) - 1


def files(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "MAG0" / PATIENT).rglob("*.dcm"))


def rows(daemon: Daemon) -> int:
    return daemon.server.index.count(Query("IMAGE", {}))


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay in flight until somebody reads or writes the index."""
    monkeypatch.setattr("db.handover._GATHER_S", 60.0)


def test_each_object_is_found_by_another_worker_when_it_is_answered(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2) as server, one_on_each(server) as (storing, asking):
        for number in range(1, 101):
            assert store(storing, number) == 0
            assert found(asking) == number


def test_what_a_killed_worker_had_answered_is_found_by_the_other_and_nothing_is_left_to_mend(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2) as server:
        boss = server.process.pid
        with one_on_each(server) as (doomed, asking):
            victim = holder(boss, doomed)
            assert [store(doomed, number) for number in range(1, 101)] == [0] * 100
            os.kill(victim, signal.SIGKILL)
            assert found(asking) == 100
        assert store_on_a_new_association(server, 101) == 0
        assert dgate("--fsck", directory=tmp_path).returncode == 0
        assert server.stop() == 0
    assert len(files(tmp_path)) == 101


def store_on_a_new_association(server: Program, number: int) -> int:
    with wire(server.port) as peer:
        peer.associate(CONTEXTS)
        status = store(peer, number)
        assert peer.release()
    return status


@pytest.mark.parametrize("process", ["core", "worker"])
def test_rows_outlive_any_process_but_the_supervisor(tmp_path: Path, process: str) -> None:
    with program(tmp_path, Workers=1) as server:
        boss = server.process.pid
        with wire(server.port) as peer:
            peer.associate(CONTEXTS)
            worker = holder(boss, peer)
            assert [store(peer, number) for number in range(1, 51)] == [0] * 50
            if process == "worker":
                os.kill(worker, signal.SIGKILL)
                assert replaced(boss, "dgate worker 1", worker)
        with wire(server.port) as peer:
            peer.associate(CONTEXTS)
            assert found(peer) == 50
            assert peer.release()
        assert server.stop() == 0
    assert len(files(tmp_path)) == 50


def test_what_was_answered_before_all_processes_were_killed_is_there_when_the_port_answers_again(
    tmp_path: Path,
) -> None:
    with program(tmp_path, Workers=2) as server, wire(server.port) as peer:
        peer.associate(CONTEXTS)
        assert [store(peer, number) for number in range(1, 101)] == [0] * 100
        server.process.kill()
        server.process.wait()
    with started(tmp_path) as daemon, wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        assert found(peer) == 100
        assert peer.release()
    assert len(files(tmp_path)) == 100


@pytest.mark.usefixtures("gathering")
def test_an_object_that_comes_twice_at_once_is_kept_once_as_it_came_last(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon, wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        assert store(peer, 1) == 0
        assert [store(peer, 2, version) for version in (1, 2)] == [0, 0]
        assert len(files(tmp_path)) == 3
        assert daemon.server.index.in_flight
        assert rows(daemon) == 2
        place = daemon.server.index.locate(uid_of(2))
        assert place is not None
        kept = daemon.server.storage.locate(place.device, place.file)
        assert data_set_bytes(kept) == object_bytes(uid_of(2), STUDY, PATIENT, 2)
        assert len(files(tmp_path)) == 2
        assert list(fsck(daemon.server, repair=False, alone=True)) == []
        assert peer.release()


@pytest.mark.usefixtures("gathering")
def test_an_object_that_is_refused_when_it_was_answered_already_stays_and_is_named(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon, wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        assert store(peer, 1) == 0
        before = files(tmp_path)
        assert store(peer, 2) == 0
        (unnamed,) = set(files(tmp_path)) - set(before)
        # Another program enters it under another series.
        database = sqlite3.connect(tmp_path / "dbase" / "conquest.db3")
        database.execute(
            "INSERT INTO DICOMImages (SOPInstanc, SeriesInst, ObjectFile, DeviceName) VALUES (?, '1.2.3', 'x', 'MAG0')",
            (uid_of(2),),
        )
        database.commit()
        database.close()
        assert rows(daemon) == 2
        assert store(peer, 3) == 0
        findings = [str(finding) for finding in fsck(daemon.server, repair=False, alone=True)]
        assert findings == [f"second copy {unnamed} of {uid_of(2)}, indexed as [MAG0:x]"]
        assert peer.release()
    told = [line for line in log_lines(tmp_path, "PacsTrouble.log") if "not in the index" in line]
    refusal = f"SeriesInst into DICOMImages: SOPInstanc = '{uid_of(2)}', Old='1.2.3', Refused='{STUDY}.1'"
    what = f"***Stored, but not in the index; its file stays, --fsck names it: {uid_of(2)}"
    assert told == [f"{what}: ***Refused to enter inconsistent link {refusal}"]


def test_while_rows_cannot_be_entered_stores_fail_and_when_they_can_all_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waiting() -> list[str]:
        return [line for line in log_lines(tmp_path, "PacsTrouble.log") if "wait for their rows" in line]

    monkeypatch.setattr("db.sqlite.LOCK_TIMEOUT_S", 0.2)
    write_ini(tmp_path)
    with started(tmp_path) as daemon, wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        assert store(peer, 1) == 0
        daemon.server.index.close()  # connections have their patience from when they were opened
        lock = sqlite3.connect(tmp_path / "dbase" / "conquest.db3", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        assert store(peer, 2) == 0
        assert wait_until(lambda: len(waiting()) == 1)
        assert [store(peer, number) for number in (3, 4)] == [0xA700, 0xA700]
        peer.message(5, request(FIND, 0x0020), identifier(b"IMAGE ", b"\x08\0\x18\0\0\0\0\0"))
        assert [command.number(0x0900) for command, _ in responses(peer)] == [0xA700]
        lock.execute("COMMIT")
        lock.close()
        assert store(peer, 3) == 0
        assert found(peer) == 3
        assert len(files(tmp_path)) == 3
        assert peer.release()
    assert len(waiting()) == 1


@pytest.mark.usefixtures("gathering")
def test_a_clean_stop_leaves_nothing_to_be_compared(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        with wire(daemon.port) as peer:
            peer.associate(CONTEXTS)
            assert [store(peer, number) for number in range(1, 11)] == [0] * 10
            assert daemon.server.index.in_flight
            assert peer.release()
        storage = daemon.server.storage
    assert [storage.touched.noted(device) for device in storage.devices] == [{}]
    with started(tmp_path) as daemon:
        assert sum(1 for _ in daemon.server.index.select_objects(Query("SERIES", {SERIES_UID: f"{STUDY}.1"}))) == 10


@pytest.mark.usefixtures("gathering")
def test_a_stop_that_leaves_rows_behind_is_not_clean_and_the_next_start_enters_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon, wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        assert [store(peer, number) for number in (1, 2)] == [0, 0]
        assert daemon.server.index.in_flight
        assert peer.release()

        def fail(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr("db.write.Writer.add_many", fail)
        daemon.stop()
        monkeypatch.undo()
    assert any("the next start does it from their files" in line for line in log_lines(tmp_path, "PacsTrouble.log"))
    with started(tmp_path) as daemon:
        assert rows(daemon) == 2
