"""After a crash, and when files and index have come apart: what was whole is kept, the rest is named and mended."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import subprocess
import tempfile
import time
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from db.query import Query
from dgate.__main__ import main
from server.pipeline.delete import sweep
from server.pipeline.reconcile import adopt_leftovers, after_worker
from storage.device import Device
from storage.store import Storage
from storage.touched import TouchedDirectories
from tests.commands import ask
from tests.conformance.dialogue import CONTEXTS, CT, answered, wait_until
from tests.conformance.scu import store_elements, wire
from tests.conftest import PostgresServer
from tests.objects import data_set_bytes, ds, encoded, with_pixels, write
from tests.servers import dgate, program, started, write_ini


def indexed(directory: Path) -> list[str]:
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    rows = [row[0] for row in connection.execute("SELECT SOPInstanc FROM DICOMImages ORDER BY 1")]
    connection.close()
    return rows


def check(directory: Path, option: str = "--fsck") -> tuple[int, list[str]]:
    """How the program exits, and what it prints."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main([f"-w{directory}", option])
    assert errors.getvalue() == ""
    return status, output.getvalue().splitlines()


def filled(directory: Path, count: int) -> list[Path]:
    """A store of `count` objects; their files."""
    write_ini(directory)
    for number in range(count):
        path = write(directory / "sent", ds(PatientID=f"P{number}"))
        assert main([f"-w{directory}", f"-fa{path}"]) == 0
    return sorted((directory / "MAG0").rglob("*.dcm"))


def test_temporary_files_of_a_crash_are_adopted_when_whole_and_removed_when_not(tmp_path: Path) -> None:
    write_ini(tmp_path)
    staging = tmp_path / "MAG0" / "printer_files"
    staging.mkdir()
    whole, cut = with_pixels(ds(PatientID="WHOLE")), with_pixels(ds(PatientID="CUT"))
    (staging / "99999-1.part").write_bytes(encoded(whole))
    (staging / "99999-2.part").write_bytes(encoded(cut)[:-100])
    (staging / "99999-3.part").write_bytes(b"")
    with started(tmp_path):
        assert list(staging.glob("*.part")) == []
    assert indexed(tmp_path) == [whole.SOPInstanceUID]
    (stored,) = (tmp_path / "MAG0").rglob("*.dcm")
    assert stored.parent.name == "WHOLE"
    assert stored.read_bytes() == encoded(whole)


def test_fsck_is_silent_and_0_on_a_clean_store_with_the_server_down_or_up(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    ran = dgate(f"-w{tmp_path}", "--fsck", directory=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    with program(tmp_path):
        ran = dgate(f"-w{tmp_path}", "--fsck", directory=tmp_path)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.mark.parametrize("up", [False, True])
def test_fsck_names_each_difference_and_repair_mends_what_can_be(tmp_path: Path, up: bool) -> None:
    gone, kept = filled(tmp_path, 2)
    gone.unlink()
    orphan = ds(PatientID="ORPHAN")
    path = write(tmp_path / "MAG0" / "ORPHAN", orphan)
    copy = tmp_path / "MAG0" / "copy.dcm"
    copy.write_bytes(kept.read_bytes())
    noise = tmp_path / "MAG0" / "noise.dcm"
    noise.write_bytes(b"no DICOM" * 99)

    def compare() -> None:
        code, lines = check(tmp_path)
        assert code == 1
        assert [line.split()[:2] for line in lines] == [
            ["row", "without"],
            ["orphan", "file"],
            ["second", "copy"],
            ["file", "that"],
        ]
        assert str(path) in lines[1]
        assert str(copy) in lines[2]
        assert str(noise) in lines[3]
        code, lines = check(tmp_path, "--fsck:repair")
        assert code == 1
        assert [line.rpartition(": ")[2] for line in lines[:2]] == ["taken out of the index", "entered"]
        copy.unlink()
        noise.unlink()
        assert check(tmp_path, "--fsck:repair") == (0, [])
        assert check(tmp_path) == (0, [])

    if up:
        with program(tmp_path):
            compare()
    else:
        compare()
    assert orphan.SOPInstanceUID in indexed(tmp_path)
    assert len(indexed(tmp_path)) == 2


def test_fsck_that_cannot_run_says_why_and_exits_with_2(tmp_path: Path) -> None:
    assert dgate(f"-w{tmp_path}", "--fsck", directory=tmp_path).returncode == 2
    write_ini(tmp_path)
    ran = dgate(f"-w{tmp_path}", "--fsck", directory=tmp_path)
    assert ran.returncode == 2
    assert len(ran.stderr.decode().splitlines()) == 1
    assert dgate(f"-w{tmp_path}", "--fsck:everything", directory=tmp_path).returncode == 2


# What a crash left between a file and its row


def touch(directory: Path, *below: str, since_ns: int = 0) -> None:
    """Note directories of MAG0 as a server does before it writes to them."""
    device = Device("MAG0", directory / "MAG0")
    touched = TouchedDirectories(safe=False)
    touched._since_ns = since_ns
    for name in below:
        touched.before_write(device, f"{name}/file.dcm" if name else "file.dcm")


def forget_row(directory: Path, uid: str) -> None:
    """Take an image's row away behind the server's back, as a power cut does that takes the last commits."""
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    connection.execute("DELETE FROM DICOMImages WHERE SOPInstanc = ?", (uid,))
    connection.commit()
    connection.close()


def keep(port: int, made: Dataset, directory: Path) -> None:
    with wire(port) as peer:
        peer.associate(CONTEXTS)
        data = data_set_bytes(write(directory / "sent", made))
        assert answered(peer, 1, store_elements(CT, made.SOPInstanceUID), data) == 0
        assert peer.release()


def files(directory: Path) -> list[Path]:
    return sorted((directory / "MAG0").rglob("*.dcm"))


def test_an_object_whose_row_a_crash_took_is_there_again_before_the_port_answers(tmp_path: Path) -> None:
    first, second = ds(PatientID="LOST"), ds(PatientID="KEPT")
    with program(tmp_path) as running:
        for made in (first, second):
            keep(running.port, made, tmp_path)
        running.process.kill()
        running.process.wait()
    forget_row(tmp_path, first.SOPInstanceUID)
    with program(tmp_path):
        assert indexed(tmp_path) == sorted([first.SOPInstanceUID, second.SOPInstanceUID])
    assert check(tmp_path) == (0, [])


def test_after_a_clean_stop_nothing_is_compared(tmp_path: Path) -> None:
    made = ds(PatientID="LOST")
    with program(tmp_path) as running:
        keep(running.port, made, tmp_path)
        assert running.stop() == 0
    assert (tmp_path / "MAG0" / "printer_files" / "dgate.touched").read_bytes().startswith(b"\nkept\nboot ")
    forget_row(tmp_path, made.SOPInstanceUID)
    with started(tmp_path):
        assert indexed(tmp_path) == []


def test_of_two_files_the_later_counts_and_the_earlier_goes_when_a_crash_came_between(tmp_path: Path) -> None:
    earlier = ds(PatientID="TWICE", StudyDescription="earlier")
    later = deepcopy(earlier)
    later.StudyDescription = "later"
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        keep(daemon.port, earlier, tmp_path)
    (old,) = files(tmp_path)
    touch(tmp_path, "TWICE")
    new = old.with_name("later.dcm")
    new.write_bytes(encoded(later))
    with started(tmp_path):
        pass
    assert files(tmp_path) == [new]
    assert indexed(tmp_path) == [earlier.SOPInstanceUID]
    assert check(tmp_path) == (0, [])


def test_a_copy_that_was_there_before_is_left_to_its_owner(tmp_path: Path) -> None:
    made = ds(PatientID="TWICE")
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        keep(daemon.port, made, tmp_path)
    (stored,) = files(tmp_path)
    copy = stored.with_name("copy.dcm")
    copy.write_bytes(stored.read_bytes())
    touch(tmp_path, "TWICE", since_ns=time.time_ns())
    with started(tmp_path):
        pass
    assert files(tmp_path) == sorted([stored, copy])
    code, lines = check(tmp_path)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith(f"second copy {copy} ")


def test_with_ignore_rewrite_it_is_the_earlier_file_that_stays(tmp_path: Path) -> None:
    made = ds(PatientID="TWICE")
    write_ini(tmp_path, IgnoreRewrite=1)
    with started(tmp_path) as daemon:
        keep(daemon.port, made, tmp_path)
    (old,) = files(tmp_path)
    touch(tmp_path, "TWICE")
    old.with_name("later.dcm").write_bytes(encoded(made))
    with started(tmp_path):
        pass
    assert files(tmp_path) == [old]


def test_a_file_whose_row_is_refused_stays_and_is_named(tmp_path: Path) -> None:
    made = ds(PatientID="LINKED")
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        keep(daemon.port, made, tmp_path)
    (stored,) = files(tmp_path)
    touch(tmp_path, "LINKED")
    refused = ds(PatientID="LINKED", SeriesInstanceUID=made.SeriesInstanceUID)
    unnamed = stored.with_name("refused.dcm")
    unnamed.write_bytes(encoded(refused))
    with started(tmp_path):
        pass
    assert sorted(files(tmp_path)) == sorted([stored, unnamed])
    assert check(tmp_path) == (1, [f"orphan file {unnamed}"])


def test_a_row_whose_file_went_with_the_power_goes_too_and_others_stay(tmp_path: Path) -> None:
    gone, kept = filled(tmp_path, 2)
    gone.unlink()
    touch(tmp_path, "P0", "P1", "never/was")
    with started(tmp_path):
        pass
    assert len(indexed(tmp_path)) == 1
    assert files(tmp_path) == [kept]
    trouble = (tmp_path / "PacsTrouble.log").read_text()
    assert trouble.count("***Taken out of the index, its file is missing") == 1


def test_what_is_no_whole_object_in_a_directory_that_was_written_to_is_left_and_named(tmp_path: Path) -> None:
    write_ini(tmp_path)
    (tmp_path / "MAG0" / "P").mkdir()
    cut = tmp_path / "MAG0" / "P" / "cut.dcm"
    cut.write_bytes(encoded(with_pixels(ds()))[:-100])
    touch(tmp_path, "P", "")
    with started(tmp_path):
        pass
    assert cut.exists()
    assert indexed(tmp_path) == []
    assert f"***No row names {cut}, which cannot be entered: " in (tmp_path / "PacsTrouble.log").read_text()


def test_a_device_whose_journal_is_lost_is_compared_as_a_whole_while_the_server_runs(tmp_path: Path) -> None:
    made = [ds(PatientID=f"P{number}") for number in range(3)]
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        for one in made:
            keep(daemon.port, one, tmp_path)
    forget_row(tmp_path, made[1].SOPInstanceUID)
    journal = tmp_path / "MAG0" / "printer_files" / "dgate.touched"
    journal.unlink()
    with started(tmp_path):
        assert wait_until(lambda: len(indexed(tmp_path)) == 3)
        assert wait_until(lambda: journal.exists() and b"kept" in journal.read_bytes())
    assert check(tmp_path) == (0, [])


def test_a_site_that_is_taken_over_is_not_compared(tmp_path: Path) -> None:
    write_ini(tmp_path)
    write(tmp_path / "MAG0" / "P", ds())
    with started(tmp_path):
        time.sleep(0.3)
    assert indexed(tmp_path) == []
    assert check(tmp_path)[0] == 1


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_journal(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as base:
        device = Device("MAG0", Path(base))
        device.staging.mkdir()
        (device.staging / "dgate.touched").write_bytes(data)
        touched = TouchedDirectories(safe=False)
        touched.before_write(device, "a b/\udcff\n1 x/file")
        noted = touched.noted(device)
        assert "a b/\udcff\n1 x" in noted
        assert all((device.root / name).resolve().is_relative_to(device.root.resolve()) for name in noted)


# Deleted


def test_a_delete_that_a_crash_ended_in_the_middle_is_brought_to_its_end(tmp_path: Path) -> None:
    made = [ds(PatientID="GONE") for _ in range(2)] + [ds(PatientID="STAYS")]
    with program(tmp_path) as running:
        for one in made:
            keep(running.port, one, tmp_path)
        stored = {path: path.read_bytes() for path in files(tmp_path)}
        assert ask(running.port, "deletepatient:GONE").status == 0
        running.process.kill()
        running.process.wait()
    gone = [path for path in stored if path.parent.name == "GONE"]
    assert [path.exists() for path in gone] == [False, False]
    # The power went before the names did: the files are there again, and a tombstone for each.
    bury(tmp_path, gone, stored)
    with program(tmp_path):
        assert indexed(tmp_path) == [made[2].SOPInstanceUID]
        assert [path.exists() for path in gone] == [False, False]
    assert check(tmp_path) == (0, [])


def bury(directory: Path, gone: list[Path], stored: dict[Path, bytes]) -> None:
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    root = directory / "MAG0"
    for path in gone:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(stored[path])
        place = ("MAG0", path.relative_to(root).as_posix(), "deleted", time.time_ns(), "")
        connection.execute("INSERT OR REPLACE INTO dgate_tombstones VALUES (?, ?, ?, ?, ?)", place)
    connection.commit()
    connection.close()


def test_a_tombstone_takes_neither_a_file_that_a_row_names_nor_one_that_came_after_it(tmp_path: Path) -> None:
    write_ini(tmp_path)
    named, later = ds(PatientID="NAMED"), ds(PatientID="LATER")
    with started(tmp_path) as daemon:
        for one in (named, later):
            keep(daemon.port, one, tmp_path)
        assert ask(daemon.port, f"deleteimage:{ds().SOPInstanceUID}").status == 0
        daemon.server.index.tombstones.keep_device("MAG0")
    stored = {path: path.read_bytes() for path in files(tmp_path)}
    bury(tmp_path, list(stored), stored)
    forget_row(tmp_path, later.SOPInstanceUID)
    for path in stored:
        if path.parent.name == "LATER":
            os.utime(path, (time.time() + 5, time.time() + 5))
    touch(tmp_path, "LATER")
    with started(tmp_path) as daemon:
        assert files(tmp_path) == sorted(stored)
        assert indexed(tmp_path) == sorted([named.SOPInstanceUID, later.SOPInstanceUID])
        assert daemon.server.index.tombstones.all() == []


def test_a_file_whose_row_alone_was_deleted_stays_out_until_a_regeneration(tmp_path: Path) -> None:
    made = ds(PatientID="DETACHED")
    with program(tmp_path) as running:
        keep(running.port, made, tmp_path)
        (stored,) = files(tmp_path)
        assert ask(running.port, f"deleteimagefromdb:{stored}").status == 0
        assert check(tmp_path)[0] == 0
        running.process.kill()
        running.process.wait()
    with program(tmp_path) as running:
        assert indexed(tmp_path) == []
        assert check(tmp_path) == (0, [f"detached file {stored}: its row was deleted, --regen enters it again"])
        assert check(tmp_path, "--fsck:repair")[0] == 0
        assert indexed(tmp_path) == []
        assert ask(running.port, "regen:").status == 0
        assert indexed(tmp_path) == [made.SOPInstanceUID]
    assert check(tmp_path) == (0, [])


def test_tombstones_of_replaced_files_are_swept_and_forgotten_at_the_next_start(tmp_path: Path) -> None:
    write_ini(tmp_path, Durability="safe")
    made = ds(PatientID="AGAIN")
    with started(tmp_path) as daemon:
        for _ in range(5):
            keep(daemon.port, made, tmp_path)
        tombstones = daemon.server.index.tombstones
        assert len(tombstones.all()) == 4
        sweep(daemon.server, least=4, every_s=0)
        assert len(tombstones.all()) == 4
        tombstones.unswept = 4
        sweep(daemon.server, least=4, every_s=0, older_s=0)
        assert (tombstones.all(), tombstones.unswept) == ([], 0)
        keep(daemon.port, made, tmp_path)
    with started(tmp_path) as daemon:
        assert daemon.server.index.tombstones.all() == []
    assert len(files(tmp_path)) == 1
    assert check(tmp_path) == (0, [])


def test_a_file_that_cannot_be_removed_is_named_now_and_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ini(tmp_path)
    made = ds(PatientID="STUCK")
    with started(tmp_path) as daemon:
        keep(daemon.port, made, tmp_path)
        (stored,) = files(tmp_path)

        def refuse(self: Storage, device: str, file: str) -> None:
            raise PermissionError(1, "Operation not permitted", file)

        with monkeypatch.context() as patched:
            patched.setattr(Storage, "remove", refuse)
            assert ask(daemon.port, "deletepatient:STUCK").status != 0
        assert indexed(tmp_path) == []
        assert stored.exists()
    assert check(tmp_path) == (1, [f"deleted file {stored}"])
    with started(tmp_path):
        assert files(tmp_path) == []
    assert check(tmp_path) == (0, [])


# What a worker left that was killed beside others


def test_what_a_killed_worker_left_is_entered_unless_something_later_was_heard(tmp_path: Path) -> None:
    write_ini(tmp_path)
    unheard, deleted, replaced, late = (ds(PatientID="WORKER") for _ in range(4))
    with started(tmp_path) as daemon:
        for one in (deleted, replaced):
            keep(daemon.port, one, tmp_path)
        left = {}
        for name, made in (("unheard", unheard), ("deleted", deleted), ("replaced", replaced)):
            left[name] = tmp_path / "MAG0" / "WORKER" / f"{name}.dcm"
            left[name].write_bytes(encoded(made))
        died_ns = time.time_ns()
        assert ask(daemon.port, f"deleteimage:{deleted.SOPInstanceUID}").status == 0
        keep(daemon.port, replaced, tmp_path)
        left["late"] = left["unheard"].with_name("late.dcm")
        left["late"].write_bytes(encoded(late))
        after_worker(daemon.server, died_ns)
        assert [path.exists() for path in left.values()] == [True, False, False, True]
        assert indexed(tmp_path) == sorted([unheard.SOPInstanceUID, replaced.SOPInstanceUID])
    assert check(tmp_path) == (1, [f"orphan file {left['late']}"])


def test_temporary_files_of_a_worker_that_was_killed_go_and_those_of_others_stay(tmp_path: Path) -> None:
    write_ini(tmp_path)
    staging = tmp_path / "MAG0" / "printer_files"
    with started(tmp_path) as daemon:
        gone = subprocess.Popen(["true"])
        gone.wait()
        for pid in (gone.pid, os.getppid()):
            (staging / f"{pid}-1-aa.dcm.part").write_bytes(encoded(ds()))
        adopt_leftovers(daemon.server, alone=False)
        assert [path.name for path in staging.glob("*.part")] == [f"{os.getppid()}-1-aa.dcm.part"]
        assert indexed(tmp_path) == []


# On PostgreSQL


def test_all_of_this_holds_on_postgresql_too(tmp_path: Path, postgresql: PostgresServer) -> None:
    place = {"SQLite": 0, "PostGres": 1, "SQLHost": postgresql.socket, "Username": "dgate"}
    name = postgresql.create_database()
    write_ini(tmp_path, SQLServer=name, **place)
    lost, deleted, kept = (ds(PatientID=patient) for patient in ("LOST", "DELETED", "KEPT"))
    with started(tmp_path) as daemon:
        for one in (lost, deleted, kept):
            keep(daemon.port, one, tmp_path)
        index = daemon.server.index
        index.delete(index.select_objects(Query("IMAGE", {(0x00100020,): "LOST"})))
        (path,) = (tmp_path / "MAG0" / "DELETED").iterdir()
        data, status = path.read_bytes(), path.stat()
        assert ask(daemon.port, "deletepatient:DELETED").status == 0
    assert check(tmp_path)[0] == 1
    path.parent.mkdir()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    touch(tmp_path, "LOST", "DELETED")
    with started(tmp_path) as daemon:
        rows = daemon.server.index.places()
        assert {uid for uid, _ in rows} == {str(lost.SOPInstanceUID), str(kept.SOPInstanceUID)}
        assert not path.exists()
    assert check(tmp_path) == (0, [])
    postgresql.drop_database(name)
