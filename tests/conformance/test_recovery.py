"""After a crash, and when files and index have come apart: what was whole is kept, the rest is named and mended."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.objects import ds, encoded, with_pixels, write
from tests.servers import dgate, program, started, write_ini


def indexed(directory: Path) -> list[str]:
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    rows = [row[0] for row in connection.execute("SELECT SOPInstanc FROM DICOMImages ORDER BY 1")]
    connection.close()
    return rows


def filled(directory: Path, count: int) -> list[Path]:
    """A store of `count` objects; their files."""
    write_ini(directory)
    for number in range(count):
        path = write(directory / "sent", ds(PatientID=f"P{number}"))
        assert dgate(f"-w{directory}", f"-fa{path}", directory=directory).returncode == 0
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

    def run(option: str) -> tuple[int, list[str]]:
        ran = dgate(f"-w{tmp_path}", option, directory=tmp_path)
        assert ran.stderr == b""
        return ran.returncode, ran.stdout.decode().splitlines()

    def check() -> None:
        code, lines = run("--fsck")
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
        code, lines = run("--fsck:repair")
        assert code == 1
        assert [line.rpartition(": ")[2] for line in lines[:2]] == ["taken out of the index", "entered"]
        copy.unlink()
        noise.unlink()
        assert run("--fsck:repair") == (0, [])
        assert run("--fsck") == (0, [])

    if up:
        with program(tmp_path):
            check()
    else:
        check()
    assert orphan.SOPInstanceUID in indexed(tmp_path)
    assert len(indexed(tmp_path)) == 2


def test_fsck_that_cannot_run_says_why_and_exits_with_2(tmp_path: Path) -> None:
    assert dgate(f"-w{tmp_path}", "--fsck", directory=tmp_path).returncode == 2
    write_ini(tmp_path)
    ran = dgate(f"-w{tmp_path}", "--fsck", directory=tmp_path)
    assert ran.returncode == 2
    assert len(ran.stderr.decode().splitlines()) == 1
    assert dgate(f"-w{tmp_path}", "--fsck:everything", directory=tmp_path).returncode == 2
