"""The first run: a configuration that works, and nothing overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dgate.config import load
from dgate.firstrun import next_steps, write_configuration
from server.amap import AeMap
from server.soplist import SopList

ROOT = Path(__file__).resolve().parents[2]


def test_an_empty_directory_gets_a_configuration_that_is_read_without_complaint(tmp_path: Path) -> None:
    base = tmp_path / "new" / "data"
    written = write_configuration(base)
    assert [path.name for path in written] == ["acrnema.map", "dgatesop.lst", "dicom.ini"]
    found = load(base)
    assert (found.warnings, found.later) == ((), ())
    assert (found.server.MyACRNema, found.server.TCPPort, found.server.BindAddress) == (
        "CONQUESTSRV1",
        5678,
        "127.0.0.1",
    )
    assert (found.storage.MAGDevice, found.storage.FileNameSyntax) == (("./MAG0/",), "4")
    assert (found.storage.IncomingCompression, found.storage.DroppedFileCompression) == ("as", "as")
    assert (found.db.SqLite, found.db.SQLServer) == (True, "dbase/conquest.db3")
    assert (base / "MAG0").is_dir()
    assert (base / "dbase").is_dir()
    own = AeMap(base / found.server.ACRNemaMap).lookup("CONQUESTSRV1")
    assert own is not None
    assert (own.address, own.port) == ("127.0.0.1", "5678")
    assert SopList(base / found.server.SOPClassList).accepts_sop("1.2.3")


def test_a_directory_with_a_dicom_ini_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "dicom.ini").write_text("[sscscp]\n")
    assert write_configuration(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["dicom.ini"]


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / "acrnema.map").write_text("MINE host 104\n")
    assert [path.name for path in write_configuration(tmp_path)] == ["dgatesop.lst", "dicom.ini"]
    assert (tmp_path / "acrnema.map").read_text() == "MINE host 104\n"


def test_what_to_type_next_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    steps = next_steps(Path("/my data"), [Path("/my data/dicom.ini")]).splitlines()
    assert steps[:2] == ["wrote dicom.ini in /my data", "start the server:   dgate '-w/my data' -v"]
    assert next_steps(tmp_path, []).splitlines()[0] == f"{tmp_path} has a dicom.ini"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dgate.firstrun", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_program_writes_the_files_and_says_so(tmp_path: Path) -> None:
    done = run(str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"wrote acrnema.map, dgatesop.lst, dicom.ini in {tmp_path}"
    assert run(str(tmp_path)).stdout.splitlines()[0] == f"{tmp_path} has a dicom.ini"


def test_the_program_says_in_one_line_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot write a configuration in {tmp_path}/file: File exists\n"
    assert run().returncode == 2
