"""Building the index anew: in parallel and in order of file times, beside all that goes on in a running server."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from db.query import Query
from dgate.__main__ import main
from server.log import LOG
from server.pipeline import regen
from server.pipeline.regen import regenerate, regenerate_file
from server.server import Server
from tests.conformance.scu import EXPLICIT, store_elements, wire
from tests.conformance.test_vectors import ask
from tests.objects import PREFIX, data_set_bytes, ds, encoded, with_pixels
from tests.servers import environment, program, started, write_ini

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY, SERIES = f"{PREFIX}1", f"{PREFIX}1.1"
OLD = 1_500_000_000
# Enough for the parallel path, and for batches that are read long before they are entered.
MANY = 455


def image(number: int, **more: object) -> Dataset:
    """Image `number` of the one study that these tests have."""
    return ds(
        **{
            "PatientID": "P1",
            "StudyInstanceUID": STUDY,
            "SeriesInstanceUID": SERIES,
            "SOPInstanceUID": f"{SERIES}.{number:06d}",
            "InstanceNumber": number,
            **more,
        }
    )


def put(path: Path, made: Dataset, age: int) -> Path:
    """Write a file that is as old as `age` says: the larger the later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(made))
    os.utime(path, (OLD + age, OLD + age))
    return path


def put_many(directory: Path, count: int) -> list[Path]:
    """Write images 0 to `count`, whose names sort against their times."""
    directory.mkdir(parents=True, exist_ok=True)
    name = "DOE^000000"
    raw = encoded(image(0, PatientName=name, InstanceNumber=None))
    paths = []
    for number in range(count):
        path = directory / f"{count - number:06d}.dcm"
        uid, of = f"{SERIES}.{number:06d}".encode(), f"DOE^{number:06d}".encode()
        path.write_bytes(raw.replace(f"{SERIES}.000000".encode(), uid).replace(name.encode(), of))
        os.utime(path, (OLD + number, OLD + number))
        paths.append(path)
    return paths


def log_of(directory: Path) -> list[str]:
    """The lines of the server log without their time stamps."""
    return [line[25:] for line in (directory / "serverstatus.log").read_text().splitlines()]


def indexed(server: Server) -> dict[str, Path]:
    """Where the index says that each object is."""
    rows = server.index.select_objects(Query("IMAGE", {}))
    return {row.sop_instance: server.storage.device(row.device).root / row.file for row in rows}


def patient_name(server: Server) -> str:
    (row,) = server.index.find(Query("PATIENT", {}, wanted=[(0x00100010,)]))
    return row[(0x00100010,)]


def store(port: int, made: Dataset) -> None:
    raw = encoded(made)
    with wire(port) as peer:
        peer.associate({1: (CT, (EXPLICIT,))})
        data = raw[144 + int.from_bytes(raw[140:144], "little") :]
        peer.message(1, store_elements(CT, str(made.SOPInstanceUID)), data)
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with an empty index and a log."""
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        daemon.server.logs.add("serverstatus.log")
        yield daemon.server


def test_many_files_are_entered_in_the_order_of_their_times(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regen, "REPORT_SECONDS", 0.0)
    paths = put_many(tmp_path / "MAG0" / "P1", MANY)
    broken = tmp_path / "MAG0" / "P1" / "broken.dcm"
    broken.write_bytes(b"no DICOM" * 100)
    cut = put(tmp_path / "MAG0" / "P1" / "cut.dcm", image(MANY), MANY)
    cut.write_bytes(cut.read_bytes()[:200])
    (tmp_path / "MAG0" / "P1" / "notes.txt").write_text("not looked at")
    other = put(tmp_path / "MAG0" / "P2" / "other.dcm", image(3, StudyInstanceUID=f"{PREFIX}2"), MANY + 2)
    told: list[tuple[int, int]] = []
    result = regenerate(server, [tmp_path / "MAG0"], lambda done, total: told.append((done, total)))
    assert (result.entered, result.failed) == (MANY, 3)
    # The patient has the name of the newest file, which comes first in the directory.
    assert patient_name(server) == f"DOE^{MANY - 1:06d}"
    assert indexed(server) == {f"{SERIES}.{number:06d}": path for number, path in enumerate(paths)}
    total = MANY + 3
    assert told == [(0, total), (100, total), (200, total), (300, total), (400, total), (total, total)]
    lines = log_of(tmp_path)
    assert [line for line in lines if line.endswith("-SUCCESS")] == [f"[Regen] {path} -SUCCESS" for path in paths]
    progress = [line for line in lines if line.startswith("Regen: ")]
    assert [line.split(" files, ")[0] for line in progress] == [f"Regen: {done} of {total}" for done, _ in told[1:]]
    assert all(re.fullmatch(r"Regen: \d+ of \d+ files, \d+/s, \d+ s left", line) for line in progress)
    assert lines[-1] == f"Regeneration Complete: {MANY} entered, 3 failed"
    trouble = (tmp_path / "PacsTrouble.log").read_text().splitlines()
    assert f"***[Regen] {broken} -FAILED: Error on Load: it is no DICOM file" in trouble[0] + trouble[1]
    assert f"***[Regen] {cut} -FAILED: Error on Load: " in trouble[0] + trouble[1]
    assert f"***[Regen] {other} -FAILED: Error SQL Add: ***Refused to enter inconsistent link" in trouble[2]
    assert len(trouble) == 3


def test_of_two_files_of_one_object_the_later_counts_and_both_stay(server: Server, tmp_path: Path) -> None:
    later = put(tmp_path / "MAG0" / "A" / "later.dcm", image(1, PatientName="DOE^LATER"), 20)
    older = put(tmp_path / "MAG0" / "B" / "older.dcm", image(1, PatientName="DOE^OLDER"), 10)
    assert regenerate(server, [tmp_path / "MAG0"]).entered == 2
    assert indexed(server) == {f"{SERIES}.000001": later}
    assert patient_name(server) == "DOE^LATER"
    trouble = (tmp_path / "PacsTrouble.log").read_text()
    assert f"***[Regen] {later}: {older} holds this SOP instance too" in trouble
    assert older.exists()
    # A part of the device holds the older file alone: the later one counts all the same.
    assert ask(server.port, "regendir:MAG0,B").payload is None
    assert indexed(server) == {f"{SERIES}.000001": later}
    assert patient_name(server) == "DOE^LATER"


def test_files_whose_names_are_no_utf_8_are_entered_and_found(server: Server, tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + "/MAG0/Müller^J_P1/1_1.dcm".encode("latin-1")))
    put(path, image(1), 1)
    assert regenerate(server, [tmp_path / "MAG0"]).entered == 1
    (row,) = server.index.select_objects(Query("IMAGE", {}))
    assert row.file == "Müller^J_P1/1_1.dcm"
    assert server.storage.locate(row.device, row.file) == path
    assert ask(server.port, "deletepatient:P1").payload is None
    assert not path.exists()


def test_files_that_go_meanwhile_leave_no_row(server: Server, tmp_path: Path) -> None:
    paths = put_many(tmp_path / "MAG0" / "P1", MANY)

    def interfere(done: int, total: int) -> None:
        if done == 0:
            paths[0].unlink()  # listed, not read yet
        if done == 100:
            time.sleep(0.5)  # all the others are read by now
            paths[-1].unlink()

    result = regenerate(server, [tmp_path / "MAG0"], interfere)
    assert (result.entered, result.failed) == (MANY - 2, 1)
    assert set(indexed(server).values()) == set(paths[1:-1])


def test_what_is_deleted_and_stored_meanwhile_is_deleted_and_stored(server: Server, tmp_path: Path) -> None:
    paths = put_many(tmp_path / "MAG0" / "P1", MANY)
    assert regenerate(server, [tmp_path / "MAG0"]).entered == MANY
    resent, new = image(MANY - 2, PatientName="DOE^RESENT"), image(MANY)

    def interfere(done: int, total: int) -> None:
        if done == 100:
            time.sleep(0.5)
            assert ask(server.port, f"deleteimage:{SERIES}.{MANY - 1:06d}").payload is None
            store(server.port, resent)
            store(server.port, new)

    regenerate(server, [tmp_path / "MAG0"], interfere)
    found = indexed(server)
    assert len(found) == MANY
    assert f"{SERIES}.{MANY - 1:06d}" not in found
    assert not paths[-1].exists()
    assert not paths[-2].exists()
    assert data_set_bytes(found[str(resent.SOPInstanceUID)])
    assert [path for path in found.values() if not path.exists()] == []
    assert patient_name(server) == "DOE^RESENT"


def test_a_file_entered_again_while_it_is_being_deleted_leaves_no_row(server: Server, tmp_path: Path) -> None:
    path = put(tmp_path / "MAG0" / "P1" / "1.dcm", image(1), 1)
    regenerate_file(server, path)

    class Between(logging.Handler):
        """Runs when the row is gone and the file is not yet."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Removing object"):
                assert (indexed(server), path.exists()) == ({}, True)
                assert regenerate_file(server, path).entered == 1
                assert indexed(server) == {f"{SERIES}.000001": path}

    between = Between()
    LOG.addHandler(between)
    try:
        assert ask(server.port, "deletepatient:P1").payload is None
    finally:
        LOG.removeHandler(between)
    assert not path.exists()
    assert indexed(server) == {}


def test_objects_are_stored_while_a_running_server_regenerates(tmp_path: Path) -> None:
    with program(tmp_path) as running:
        paths = put_many(tmp_path / "MAG0" / "P1", MANY)
        assert ask(running.port, "regen:").payload is None
        replies: list[bytes | None] = []

        def command() -> None:
            replies.extend(ask(running.port, "regen:").payload for _ in range(3))

        thread = threading.Thread(target=command)
        thread.start()
        stored = 0
        while thread.is_alive() or stored < 20:
            # Every second one comes again, in the place of the file that is being entered.
            store(running.port, with_pixels(image(stored if stored % 2 else MANY + stored)))
            stored += 1
        thread.join()
        assert replies == [None] * 3
        listed = ask(running.port, "imagelister:local|P1|").payload
        assert listed is not None
        files = {Path(os.fsdecode(name)) for name in listed.rstrip(b"\0").split(b"*")}
        assert running.stop() == 0
    assert len(files) == MANY + (stored + 1) // 2
    assert files == set((tmp_path / "MAG0").rglob("*.dcm"))
    assert sum(path.exists() for path in paths) == MANY - stored // 2


def test_a_stop_ends_it_and_leaves_no_process_behind(tmp_path: Path) -> None:
    put_many(tmp_path / "MAG0" / "P1", 6000)
    with program(tmp_path) as running:
        command = [sys.executable, "-m", "dgate", f"-p{running.port}", "--regen:"]
        with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as client:
            while "-SUCCESS" not in (tmp_path / "serverstatus.log").read_text():
                time.sleep(0.02)
            workers = descendants(running.process.pid)
            begun = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - begun < 4
            client.wait(30)
    lines = log_of(tmp_path)
    assert len([line for line in lines if line.startswith("***Regeneration interrupted: ")]) == 1
    assert lines[-1] == "DGATE has stopped"
    assert not list((tmp_path / "dbase").glob("*-wal"))
    assert workers
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and they, and so on."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [process]
    for each in found:
        found += children.get(each, [])
    return found[1:]


@pytest.fixture
def two_devices(tmp_path: Path) -> Iterator[Server]:
    """Two images on MAG0, in directories of their own, and one on MAG1."""
    write_ini(tmp_path, MAGDevices=2, MAGDevice1="MAG1/")
    put(tmp_path / "MAG0" / "A" / "1.dcm", image(1), 1)
    put(tmp_path / "MAG0" / "B" / "2.dcm", image(2), 2)
    put(tmp_path / "MAG1" / "A" / "3.dcm", image(3), 3)
    with started(tmp_path) as daemon:
        yield daemon.server


@pytest.mark.parametrize(
    ("command", "entered"),
    [
        ("regendevice:MAG0", [1, 2]),
        ("regendevice:mag1", [3]),
        ("regendir:MAG0,A", [1]),
        ("regendir:MAG0,A/", [1]),
        ("regendir:MAG1,A", [3]),
        ("regenfile:MAG0/B/2.dcm", [2]),
        ("regen:", [1, 2, 3]),
    ],
)
def test_a_device_or_a_directory_is_entered_alone(two_devices: Server, command: str, entered: list[int]) -> None:
    assert ask(two_devices.port, command).payload is None
    assert sorted(indexed(two_devices)) == [f"{SERIES}.{number:06d}" for number in entered]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("regendevice:MAG2", "*** regendevice: MAG2 is no device of this server: they are MAG0, MAG1"),
        ("regendir:MAG0,C", "*** regendir: C is no directory of MAG0"),
        ("regendir:MAG0,../MAG1", "*** regendir: ../MAG1 is no directory of MAG0"),
        ("regenfile:dicom.ini", "*** regenfile: File to enter is not on a MAG device"),
    ],
)
def test_what_is_no_place_of_this_server_is_refused(two_devices: Server, command: str, reply: str) -> None:
    payload = ask(two_devices.port, command).payload
    assert payload is not None
    assert payload.rstrip(b"\0").decode() == reply
    assert indexed(two_devices) == {}


def die(*arguments: object) -> None:
    """What a worker process runs that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_process_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ini(tmp_path)
    put_many(tmp_path / "MAG0", MANY)
    monkeypatch.setattr(regen, "read_batch", die)
    assert main([f"-w{tmp_path}", "-r"]) == 1
    assert capsys.readouterr().err == (
        "dgate: a worker process was killed, by lack of memory perhaps; run the same again\n"
    )
