"""Maintenance commands over the wire: tables made anew, files entered again, the server stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from tests.commands import Reply, Site, ask, site
from tests.conformance.scu import IMPLICIT, VERIFICATION, echo_elements, wire
from tests.objects import data_set_bytes, ds, write
from tests.peers import dcmtk, needs_dcmtk
from tests.servers import program

NOTHING = Reply(None, None, 0)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A site of two devices, with an object of P1 and one of P2 on the first."""
    directory = tmp_path / "site"
    (directory / "MAG1").mkdir(parents=True)
    with site(directory, MAGDevices=2, MAGDevice1="MAG1/") as running:
        running.keep(ds(PatientID="P1"), ds(PatientID="P2"))
        running.daemon.server.logs.add("own.log")
        yield running


def execute(running: Site, statement: str) -> None:
    with sqlite3.connect(running.directory / "dbase" / "conquest.db3") as connection:
        connection.execute(statement)
    connection.close()


def patients(running: Site) -> list[object]:
    return [patient for (patient,) in running.rows("DICOMPatients", "PatientID")]


def indices(running: Site) -> int:
    return len(running.rows("sqlite_master WHERE type='index' AND tbl_name LIKE 'DICOM%'", "name"))


@pytest.mark.parametrize("mode", ["", "0", "1"])
def test_initializetables_empties_the_tables_and_leaves_files_worklist_and_uid_changes(own: Site, mode: str) -> None:
    execute(own, "INSERT INTO DICOMWorkList (PatientID) VALUES ('W1')")
    own.says(f"addimagefile:{write(own.directory / 'sent', ds())},NEW")
    changed = len(own.rows("UIDMODS", "NewUID"))
    files = own.files()
    before = indices(own)
    assert own.ask(f"initializetables:{mode}") == NOTHING
    assert own.counts() == (0, 0, 0, 0)
    assert own.rows("DICOMWorkList", "PatientID") == [("W1",)]
    assert len(own.rows("UIDMODS", "NewUID")) == changed > 0
    assert own.files() == files
    assert (indices(own) == before, indices(own) == 0) == ((False, True) if mode == "1" else (True, False))
    own.keep(ds(PatientID="P3"))
    assert patients(own) == ["P3"]


def test_mode_2_empties_the_worklist_alone(own: Site) -> None:
    execute(own, "INSERT INTO DICOMWorkList (PatientID) VALUES ('W1')")
    assert own.ask("initializetables:2") == NOTHING
    assert own.counts() == (2, 2, 2, 2)
    assert own.rows("DICOMWorkList", "PatientID") == []


@pytest.mark.parametrize("mode", ["3", "-1", "all", "1,2"])
def test_other_modes_do_nothing(own: Site, mode: str) -> None:
    assert own.says(f"initializetables:{mode}").startswith("*** initializetables: ")
    assert own.counts() == (2, 2, 2, 2)


def fill_by_hand(own: Site) -> None:
    """Files that nobody has entered, on both devices, and what is none of the archive's."""
    first, second = own.directory / "MAG0", own.directory / "MAG1"
    write(first / "P3", ds(PatientID="P3"))
    write(second / "P4", ds(PatientID="P4"))
    bare = write(first / "P5", ds(PatientID="P5"), ImplicitVRLittleEndian)
    (first / "P5" / "old.v2").write_bytes(data_set_bytes(bare))
    bare.unlink()
    (first / "P3" / "notes.txt").write_text("not looked at")
    write(first / "incoming", ds(PatientID="P6"))
    (first / "P3" / "broken.dcm").write_bytes(write(own.directory / "sent", ds(PatientID="P7")).read_bytes()[:300])


def test_regen_enters_the_files_of_all_devices_again(own: Site) -> None:
    fill_by_hand(own)
    own.says("initializetables:")
    assert own.ask("regen:") == NOTHING
    assert patients(own) == ["P1", "P2", "P3", "P4", "P5"]
    rows = own.rows("DICOMImages", "DeviceName, ObjectFile")
    assert sum(device == "MAG1" for device, _ in rows) == 1
    assert ("MAG0", "P5/old.v2") in rows
    broken = own.directory / "MAG0" / "P3" / "broken.dcm"
    assert f"***[Regen] {broken} -FAILED: Error on Load" in own.log()
    assert own.log("own.log").count(" -SUCCESS") == 5
    # Once more changes nothing.
    assert own.ask("regen:") == NOTHING
    assert own.rows("DICOMImages", "DeviceName, ObjectFile") == rows


def test_regendevice_regendir_and_regenfile_enter_what_they_name(own: Site) -> None:
    fill_by_hand(own)
    assert own.ask("regendevice:MAG1") == NOTHING
    assert patients(own) == ["P1", "P2", "P4"]
    assert own.ask("regendir:MAG0,P5") == NOTHING
    assert patients(own) == ["P1", "P2", "P4", "P5"]
    (path,) = (own.directory / "MAG0" / "P3").glob("1.*.dcm")
    assert own.ask(f"regenfile:{path}") == NOTHING
    assert patients(own) == ["P1", "P2", "P3", "P4", "P5"]
    own.says("initializetables:")
    assert own.ask(f"regenfile:MAG0/P3/{path.name}") == NOTHING
    assert own.ask(f"regendir:mag1,{own.directory}/MAG1/P4") == NOTHING
    assert own.ask("regendir:MAG0,P1/../P2") != NOTHING
    assert patients(own) == ["P3", "P4"]


def test_a_directory_that_was_moved_to_another_disk_and_linked_is_regenerated(own: Site, tmp_path: Path) -> None:
    write(tmp_path / "disk" / "P9", ds(PatientID="P9"))
    (own.directory / "MAG0" / "P9").symlink_to(tmp_path / "disk" / "P9")
    assert own.ask("regendir:MAG0,P9") == NOTHING
    assert patients(own) == ["P1", "P2", "P9"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("regendevice:MAG2", "no device"),
        ("regendevice:..", "no device"),
        ("regendevice:CACHE0", "no device"),
        ("regendir:MAG2,P1", "no device"),
        ("regendir:MAG0,..", "no directory"),
        ("regendir:MAG0,../sent", "no directory"),
        ("regendir:MAG0,P1/../../sent", "no directory"),
        ("regendir:MAG0,/etc", "no directory"),
        ("regendir:MAG0,nosuch", "no directory"),
        ("regendir:MAG0,P1\0", "no directory"),
        ("regendir:MAG0,incoming", "not regenerated"),
        ("regendir:MAG0,printer_files", "not regenerated"),
        ("regenfile:/etc/passwd", "not on a MAG device"),
        ("regenfile:sent", "not on a MAG device"),
        ("regenfile:MAG0", "not on a MAG device"),
        ("regenfile:MAG0/../dicom.ini", "not on a MAG device"),
        ("regenfile:MAG0/P1/nosuch.dcm", "not on a MAG device"),
        ("regenfile:MAG0/P3/broken.dcm", "trouble log"),
        ("regenfile:MAG0/P3/notes.txt", "trouble log"),
    ],
)
def test_what_lies_elsewhere_or_is_no_object_is_not_entered(own: Site, line: str, said: str) -> None:
    fill_by_hand(own)
    assert said in own.says(line)
    assert patients(own) == ["P1", "P2"]


@pytest.mark.parametrize("line", ["regendevice:", "regendir:", "regendir:MAG0", "regendir:MAG0,", "regenfile: "])
def test_without_their_arguments_they_do_nothing(own: Site, line: str) -> None:
    fill_by_hand(own)
    assert own.ask(line) == NOTHING
    assert patients(own) == ["P1", "P2"]


def test_quit_stops_the_server_whatever_is_open(own: Site) -> None:
    stopping = own.daemon.server.running.stopping
    with wire(own.port) as peer:
        peer.associate({1: (VERIFICATION, (IMPLICIT,))})
        assert not stopping.is_set()
        assert own.ask("quit:") == NOTHING
        assert stopping.wait(10)


def test_safequit_waits_for_the_last_association(own: Site) -> None:
    stopping = own.daemon.server.running.stopping
    with wire(own.port) as first, wire(own.port) as second:
        first.associate({1: (VERIFICATION, (IMPLICIT,))})
        second.associate({1: (VERIFICATION, (IMPLICIT,))})
        assert own.ask("safequit:") == NOTHING
        assert not stopping.wait(0.3)
        assert first.release()
        assert not stopping.wait(0.3)
        second.message(1, echo_elements())
        answer = second.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert second.release()
        assert stopping.wait(10)


def test_safequit_counts_an_association_that_is_cut_off_as_ended(own: Site) -> None:
    stopping = own.daemon.server.running.stopping
    with wire(own.port) as first:
        first.associate({1: (VERIFICATION, (IMPLICIT,))})
        own.says("safequit:")
        assert not stopping.wait(0.3)
    assert stopping.wait(10)


@needs_dcmtk
def test_a_program_told_to_safequit_ends_with_status_0_and_everything_stored(tmp_path: Path) -> None:
    path = write(tmp_path / "sent", ds(PatientID="P1"))
    with program(tmp_path / "site") as server:
        with wire(server.port) as peer:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
            assert ask(server.port, "safequit:") == NOTHING
            assert dcmtk("storescu", "localhost", server.port, path).code == 0
            assert server.process.poll() is None
            assert peer.release()
        assert server.process.wait(30) == 0
