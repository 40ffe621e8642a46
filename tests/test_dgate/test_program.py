"""The program as its users run it: start, stop, a second one beside it, one-shot actions, `--check`."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

from tests.objects import ds, study, write
from tests.peers import dcmtk, free_port, needs_dcmtk, running
from tests.servers import dgate, environment, program, write_ini


def one_line(ran: subprocess.CompletedProcess[bytes]) -> str:
    """The one line that a failed program wrote to standard error."""
    assert ran.returncode != 0
    lines = ran.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path) as server:
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
    log = (tmp_path / "serverstatus.log").read_text()
    assert "DGATE has stopped" in log
    assert not list((tmp_path / "dbase").glob("*-wal"))


def test_quit_and_safequit_stop_the_server(tmp_path: Path) -> None:
    for name, command in (("a", "--quit:"), ("b", "--safequit:")):
        with program(tmp_path / name) as server:
            assert dgate(f"-w{server.directory}", command, directory=tmp_path).returncode == 0
            assert server.process.wait(30) == 0


def test_a_second_server_on_the_port_says_so_and_leaves_the_first_alone(tmp_path: Path) -> None:
    with program(tmp_path / "first") as first:
        write_ini(tmp_path / "second", TCPPort=first.port)
        ran = dgate(f"-w{tmp_path / 'second'}", directory=tmp_path)
        assert "TCPPort" in one_line(ran)
        assert str(first.port) in one_line(ran)
        asked = dgate(f"-w{first.directory}", "--get_param:MyACRNema", directory=tmp_path)
        assert asked.stdout == b"CONQUESTSRV1"


def test_a_second_server_on_the_data_says_so_and_leaves_the_first_alone(tmp_path: Path) -> None:
    with program(tmp_path / "first") as first:
        ran = dgate(f"-w{first.directory}", f"-p{free_port()}", directory=tmp_path)
        assert "MAG0" in one_line(ran)
        assert str(first.process.pid) in one_line(ran)
        ran = dgate(f"-w{first.directory}", "-r", directory=tmp_path)
        assert str(first.process.pid) in one_line(ran)
        asked = dgate(f"-w{first.directory}", "--get_param:MyACRNema", directory=tmp_path)
        assert asked.stdout == b"CONQUESTSRV1"


def test_a_server_can_be_started_again_at_once(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(3):
        write_ini(tmp_path, TCPPort=port)
        command = [sys.executable, "-m", "dgate", f"-w{tmp_path}"]
        with running(command, port, stdout=subprocess.DEVNULL, env=environment()):
            assert dgate(f"-p{port}", f"-w{tmp_path}", "--genuid:", directory=tmp_path).returncode == 255


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TCPPort": "high"}, ["dicom.ini:4", "TCPPort", "high"]),
        ({"MAGDevice0": "nowhere/"}, ["MAGDevice0", "nowhere"]),
        ({"FileNameSyntax": "lua:x"}, ["FileNameSyntax"]),
        ({"Durability": "sometimes"}, ["Durability", "sometimes", "safe"]),
        ({"MySQL": 1, "SQLite": 0}, ["MySQL", "-r"]),
        ({"PostGres": 1, "SQLite": 0, "SQLHost": "127.0.0.1:1"}, ["127.0.0.1:1", "cannot be reached"]),
    ],
)
def test_bad_settings_are_one_line_with_a_remedy(tmp_path: Path, settings: dict[str, object], said: list[str]) -> None:
    write_ini(tmp_path, **settings)
    line = one_line(dgate(f"-w{tmp_path}", directory=tmp_path))
    for word in said:
        assert word in line


def test_without_a_configuration_the_error_says_where_it_was_looked_for(tmp_path: Path) -> None:
    line = one_line(dgate("-v", directory=tmp_path))
    assert "dicom.ini" in line
    assert str(tmp_path) in one_line(dgate(f"-w{tmp_path}", directory=tmp_path))


def test_unknown_keys_are_no_reason_not_to_start(tmp_path: Path) -> None:
    with program(tmp_path, Colour="green", FilNameSyntax=4) as server:
        assert dgate(f"-w{server.directory}", "--get_param:Colour", directory=tmp_path).stdout == b"green"
    assert "FilNameSyntax" in (tmp_path / "serverstatus.log").read_text()


def test_check_shows_values_with_their_origins_and_finds_what_keeps_the_server_from_starting(tmp_path: Path) -> None:
    write_ini(tmp_path, TCPPort=free_port(), Colour="green", ForwardCollectDelay=5)
    ran = dgate(f"-w{tmp_path}", "--check", directory=tmp_path)
    shown = ran.stdout.decode()
    assert ran.returncode == 0, shown
    assert "(dicom.ini:3)" in next(line for line in shown.splitlines() if line.startswith("MyACRNema"))
    assert "(default)" in next(line for line in shown.splitlines() if line.startswith("PDUSize"))
    assert "Colour" in shown
    assert "ForwardCollectDelay" in shown
    assert "the server can start" in shown
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write_ini(tmp_path, TCPPort=taken.getsockname()[1], MAGDevice0="gone/")
        ran = dgate(f"-w{tmp_path}", "--check", directory=tmp_path)
    assert ran.returncode == 1
    failed = [line for line in ran.stdout.decode().splitlines() if line.startswith("FAILED")]
    assert len(failed) == 2
    assert "gone" in failed[0]
    assert "TCPPort" in failed[1]


def test_check_warns_of_a_device_that_nothing_is_stored_on_and_of_a_missing_mirror(tmp_path: Path) -> None:
    write_ini(tmp_path, TCPPort=free_port(), MAGDeviceFullThreshold=1 << 40, MIRRORDevices=1, MIRRORDevice0="mirror/")
    ran = dgate(f"-w{tmp_path}", "--check", directory=tmp_path)
    assert ran.returncode == 0
    full, mirror = [line for line in ran.stdout.decode().splitlines() if line.startswith("warning")]
    assert full.endswith(f"MB free: nothing is stored there, as MAGDeviceFullThreshold = {1 << 40}")
    assert mirror == f"warning  MIRRORDevice0 = {tmp_path}/mirror: there is no such directory"


def test_check_does_not_tell_the_password(tmp_path: Path) -> None:
    write_ini(tmp_path, TCPPort=free_port(), Password="hunter2")
    assert b"hunter2" not in dgate(f"-w{tmp_path}", "--check", directory=tmp_path).stdout


def test_help_lists_options_and_commands_and_explains_one(tmp_path: Path) -> None:
    shown = dgate("--help", directory=tmp_path)
    assert shown.returncode == 0
    assert b"-wDIR" in shown.stdout
    assert b"--studyfinder:" in shown.stdout
    one = dgate("--help:studyfinder", directory=tmp_path)
    assert one.returncode == 0
    assert b"study UID" in one.stdout
    unknown = dgate("--help:studyfindr", directory=tmp_path)
    assert unknown.returncode == 2
    assert b"studyfinder" in unknown.stderr


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("-0", "-0"),
        ("--chek", "--chek"),
        ("start", "start"),
        ("-pabc", "-pabc"),
        ("-ff10", "-ffMB"),
        ("-x!99", "-x[!]PORT"),
    ],
)
def test_an_unusable_option_is_one_line_and_exit_status_2(tmp_path: Path, word: str, said: str) -> None:
    ran = dgate(word, directory=tmp_path)
    assert ran.returncode == 2
    assert said in one_line(ran)


def test_exit_status_is_conquests_unless_the_value_is_asked_for(tmp_path: Path) -> None:
    with program(tmp_path) as server:
        where = f"-w{server.directory}"
        assert dgate(where, "--checksum:a", directory=tmp_path).returncode == 255
        assert dgate(where, "--nosuch:a", directory=tmp_path).returncode == 0
        assert dgate(where, "--exit-value", "--get_param:MyACRNema", directory=tmp_path).returncode == 0
        assert dgate(where, "--exit-value", "--addimagefile:none.dcm", directory=tmp_path).returncode == 1
    gone = dgate(where, "--checksum:a", directory=tmp_path)
    assert gone.returncode == 1
    assert "cannot be reached" in one_line(gone)


def test_addlocalfile_sends_the_file_from_where_it_is_typed(tmp_path: Path) -> None:
    client = tmp_path / "client"
    path = write(client, ds(PatientID="LOCAL"))
    with program(tmp_path / "server") as server:
        ran = dgate(f"-w{server.directory}", f"--addlocalfile:{path.name}", directory=client)
        assert (ran.stdout, ran.returncode) == (b"0", 255)
        missing = dgate(f"-w{server.directory}", "--addlocalfile:none.dcm", directory=client)
        assert "none.dcm" in one_line(missing)
        found = dgate(f"-w{server.directory}", "--patientfinder:local|LOCAL|%2$s", directory=client)
        assert found.stdout == b"LOCAL\n"


@needs_dcmtk
def test_a_rebuilt_index_equals_the_one_it_replaces(tmp_path: Path) -> None:
    with program(tmp_path) as server:
        made = [obj for number in range(60) for obj in study(f"P{number}", series=2, images=4)]
        changed = ds(PatientID="P1", PatientName="DOE^RENAMED")
        paths = [write(tmp_path / "sent", obj) for obj in [*made, changed]]
        for start in range(0, len(paths), 100):
            ran = dcmtk("storescu", "localhost", server.port, *paths[start : start + 100])
            assert ran.code == 0, ran.output
        assert server.stop() == 0
    before = rows(tmp_path)
    ran = dgate(f"-w{tmp_path}", "-r", directory=tmp_path)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.decode().splitlines()
    assert lines[:3] == ["Regen Database", "Step 1: Re-intialize SQL Tables", "Initializing Tables"]
    assert "Regen Device 'MAG0'" in lines
    assert lines[-2:] == ["481 files entered, 0 failed", "Regeneration Complete"]
    assert rows(tmp_path) == before
    (name,) = {row["PatientNam"] for row in before["DICOMPatients"] if row["PatientID"] == "P1"}
    assert name == "DOE^RENAMED"


def rows(directory: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of the four tables, AccessTime aside."""
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    connection.row_factory = sqlite3.Row
    tables = ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")
    found: dict[str, list[dict[str, object]]] = {}
    for table in tables:
        listed = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
        for row in listed:
            del row["AccessTime"]
        found[table] = sorted(listed, key=repr)
    connection.close()
    return found


def test_regen_names_what_it_cannot_read_and_enters_the_rest(tmp_path: Path) -> None:
    write_ini(tmp_path)
    write(tmp_path / "MAG0" / "P1", ds(PatientID="P1"))
    (tmp_path / "MAG0" / "P1" / "broken.dcm").write_bytes(b"not DICOM" * 100)
    (tmp_path / "MAG0" / "P1" / "notes.txt").write_text("skipped")
    ran = dgate(f"-w{tmp_path}", "-r", directory=tmp_path)
    assert ran.returncode == 0
    assert b"1 files entered, 1 failed" in ran.stdout
    assert "broken.dcm -FAILED: Error on Load" in (tmp_path / "PacsTrouble.log").read_text()


def test_one_shot_actions_do_what_their_options_say(tmp_path: Path) -> None:
    write_ini(tmp_path)
    where = f"-w{tmp_path}"
    made = study("P1", series=2, images=1)
    paths = [write(tmp_path / "sent", obj) for obj in made]

    def act(option: str) -> str:
        ran = dgate(where, option, directory=tmp_path)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.decode()

    assert "Patient Database" in act("-i")
    for path in paths:
        act(f"-fa{path}")
    assert [len(rows(tmp_path)[table]) for table in ("DICOMPatients", "DICOMSeries", "DICOMImages")] == [1, 2, 2]
    assert "MByte" in act("-d")
    assert "AE / IP-PORT Map dump" in act("-m")
    assert "0x0010,0x0020" in act("-k")
    assert act(f"-f?{paths[0]}").strip() == made[0].SOPInstanceUID
    assert act("-fu").startswith("99999.99999.6.")
    assert "10:" in act("-o")
    act("-t")
    act(f"-fs{made[0].SeriesInstanceUID}")
    assert len(rows(tmp_path)["DICOMImages"]) == 1
    stored = sorted((tmp_path / "MAG0").rglob("*.dcm"))
    assert len(stored) == 2
    (lost,) = (p for p in stored if pydicom.dcmread(p).SOPInstanceUID == made[0].SOPInstanceUID)
    act(f"-fe{lost}")
    assert len(rows(tmp_path)["DICOMImages"]) == 2
    act(f"-fd{lost}")
    assert lost.exists()
    act("-arMAG0")
    assert len(rows(tmp_path)["DICOMImages"]) == 2
    act(f"-fz{lost}")
    assert not lost.exists()
    act("-frMAG0,P1")
    act(f"-ftP1:{made[0].StudyInstanceUID}")
    assert rows(tmp_path)["DICOMPatients"] == []
    act("-r")
    act("-zP1")
    assert sorted((tmp_path / "MAG0").rglob("*.dcm")) == []
    assert rows(tmp_path)["DICOMPatients"] == []
    outside = dgate(where, f"-fe{paths[0]}", directory=tmp_path)
    assert "File to enter is not on a MAG device" in one_line(outside)


def test_wildcards_do_not_delete_unless_allowed(tmp_path: Path) -> None:
    write_ini(tmp_path)
    dgate(f"-w{tmp_path}", f"-fa{write(tmp_path / 'sent', ds(PatientID='P1'))}", directory=tmp_path)
    assert "WildcardDelete" in one_line(dgate(f"-w{tmp_path}", "-zP*", directory=tmp_path))
    assert "WildcardDelete" in one_line(dgate(f"-w{tmp_path}", "-fp*", directory=tmp_path))
    assert len(rows(tmp_path)["DICOMPatients"]) == 1
    write_ini(tmp_path, WildcardDelete=1)
    assert dgate(f"-w{tmp_path}", "-zP*", directory=tmp_path).returncode == 0
    assert rows(tmp_path)["DICOMPatients"] == []


def test_logs_go_where_the_command_line_says(tmp_path: Path) -> None:
    port = free_port()
    write_ini(tmp_path, TCPPort=port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as console:
        console.bind(("127.0.0.1", 0))
        console.settimeout(20)
        number = console.getsockname()[1]
        command = [sys.executable, "-m", "dgate", f"-w{tmp_path}", "-^own.log", f"-!{number}", "-v"]
        with running(command, port, stdout=subprocess.PIPE, env=environment()) as process:
            first = console.recv(4096).decode()
            dgate(f"-p{port}", "--debuglevel:1", directory=tmp_path)
            process.send_signal(signal.SIGTERM)
            shown = process.communicate(timeout=30)[0].decode()
    assert first.startswith("[MicroPACS] ")
    assert "DGATE has stopped" in shown
    log = (tmp_path / "own.log").read_text()
    assert "Server command sent using DGATE -- option" in log
    assert log.splitlines()[0][:3] in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    assert "THREAD" in log
    assert not (tmp_path / "serverstatus.log").exists()


def test_no_log_ever_holds_a_patients_name(tmp_path: Path) -> None:
    path = write(tmp_path / "sent", ds(PatientName="SECRET^NAME", PatientID="P1"))
    with program(tmp_path) as server:
        where = f"-w{server.directory}"
        for line in (
            f"addimagefile:{path}",
            "patientfinder:local|SECRET",
            "deletepatient:P1",
            "studyfinder:local|=SECRET",
        ):
            dgate(where, f"--{line}", directory=tmp_path)
        assert server.stop() == 0
    for log in tmp_path.glob("*.log"):
        assert "SECRET" not in log.read_text(), log


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_device_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_ini(tmp_path)
    (tmp_path / "MAG0").chmod(0o500)
    assert "MAG0" in one_line(dgate(f"-w{tmp_path}", directory=tmp_path))
