"""The first run: a configuration that works, and nothing overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dgate.config import load
from dgate.firstrun import container_settings, next_steps, program, write_configuration
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
    assert steps[0] == "wrote dicom.ini in /my data"
    assert steps[2] == f"is it there?        {program()} '-w/my data' --echo:CONQUESTSRV1"
    assert next_steps(tmp_path, []).splitlines()[0] == f"{tmp_path} has a dicom.ini"


def test_dgate_is_called_by_the_path_it_has_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    assert program() == "dgate"
    (programs / "dgate").touch(mode=0o755)
    assert program() == str(programs / "dgate")
    monkeypatch.chdir(tmp_path)
    assert program() == ".venv/bin/dgate"
    monkeypatch.setenv("PATH", str(programs))
    assert program() == "dgate"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
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
    assert run("--container").returncode == 2


def test_in_a_container_it_listens_on_all_interfaces(tmp_path: Path) -> None:
    done = run("--container", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"wrote acrnema.map, dgatesop.lst, dicom.ini in {tmp_path}\n")
    found = load(tmp_path)
    assert (found.server.BindAddress, found.db.SqLite, found.db.PostGres) == ("", True, False)
    assert found.origins["BindAddress"].startswith("dicom.ini:")


def test_in_a_container_the_environment_names_the_database(tmp_path: Path) -> None:
    variables = {"DGATE_DB_HOST": "database:5433", "DGATE_DB_PASSWORD": "pass word"}
    assert run("--container", str(tmp_path), **variables).returncode == 0
    found = load(tmp_path)
    assert (found.db.PostGres, found.db.SqLite) == (True, False)
    assert (found.db.SQLHost, found.db.SQLServer) == ("database:5433", "conquest")
    assert (found.db.Username, found.db.Password) == ("conquest", "pass word")
    assert (found.warnings, found.later) == ((), ())
    assert (tmp_path / "dicom.ini").stat().st_mode & 0o777 == 0o600
    again = run("--container", str(tmp_path), **variables)
    assert again.stdout.splitlines() == [
        f"{tmp_path} has a dicom.ini",
        "DGATE_DB_HOST and the others count on the first run only: change the database in that file",
    ]


def test_name_and_user_of_the_database_may_be_given_too() -> None:
    environment = {"DGATE_DB_HOST": "h", "DGATE_DB_PASSWORD": "p", "DGATE_DB_NAME": "pacs", "DGATE_DB_USER": "dicom"}
    settings = container_settings(environment)
    assert (settings["SQLServer"], settings["Username"]) == ("pacs", "dicom")


@pytest.mark.parametrize("password", ['"quoted"', "'", " blanks ", "#;=[x]", '""', "Zoë"])
def test_any_password_comes_back_from_the_file_as_it_was(tmp_path: Path, password: str) -> None:
    write_configuration(tmp_path, container_settings({"DGATE_DB_HOST": "h", "DGATE_DB_PASSWORD": password}))
    assert load(tmp_path).db.Password == password


@pytest.mark.parametrize(
    ("password", "said"), [("", "DGATE_DB_PASSWORD must be, too"), ("s3cr\nt", "DGATE_DB_PASSWORD has a line break")]
)
def test_a_password_that_cannot_be_used_is_one_line_that_does_not_show_it(
    tmp_path: Path, password: str, said: str
) -> None:
    done = run("--container", str(tmp_path), DGATE_DB_HOST="h", DGATE_DB_PASSWORD=password)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert said in done.stderr
    assert "s3cr" not in done.stderr
    assert list(tmp_path.iterdir()) == []
