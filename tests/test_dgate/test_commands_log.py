"""Logging commands over the wire: where lines go, what the status says, how full devices are."""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Reply, Site, expected, site
from tests.objects import ds
from tests.peers import free_port

NOTHING = Reply(None, None, 0)
STAMP = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} ")
MB = 1024 * 1024


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("log")
    (directory / "mirror").mkdir()
    (directory / "MAG1").mkdir()
    with site(directory, MAGDevices=2, MAGDevice1="MAG1/", MIRRORDevices=1, MIRRORDevice0="mirror/") as running:
        running.daemon.server.logs.add("stays.log")
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as running:
        yield running


def lines(path: Path) -> list[str]:
    """The lines of a log; each must have its time stamp, which is taken off."""
    found = path.read_text().splitlines()
    assert all(STAMP.match(line) for line in found), found
    return [STAMP.sub("", line, count=1) for line in found]


SENT = "Server command sent using DGATE -- option"


def test_log_on_sends_lines_to_a_file_and_to_that_alone(own: Site) -> None:
    assert own.ask("log_on:one.log") == NOTHING
    own.says("genuid:")
    assert own.ask(f"log_on:{own.directory}/two.log") == NOTHING
    own.says("genuid:")
    assert lines(own.directory / "one.log").count(SENT) == 2
    assert lines(own.directory / "two.log").count(SENT) == 1


def test_debug_lines_come_with_debuglog_on_and_a_level_and_stop_with_log_on(own: Site) -> None:
    refused = "query:nosuch|x"
    assert own.ask("debuglog_on:debug.log") == NOTHING
    own.says(refused)
    assert "Query refused" not in lines(own.directory / "debug.log")
    assert own.ask("debuglevel:1") == NOTHING
    own.says(refused)
    assert lines(own.directory / "debug.log").count("Query refused") == 1
    assert own.ask("debuglevel:0") == NOTHING
    own.says(refused)
    assert own.ask("debuglevel:4") == NOTHING
    own.says("log_on:normal.log")
    own.says(refused)
    assert lines(own.directory / "debug.log").count("Query refused") == 1
    assert "Query refused" not in lines(own.directory / "normal.log")
    assert SENT in lines(own.directory / "normal.log")


@pytest.mark.parametrize("command", ["log_on", "debuglog_on"])
def test_a_port_is_that_of_the_operator_console(own: Site, command: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as console:
        console.bind(("127.0.0.1", 0))
        console.settimeout(20)
        assert own.ask(f"{command}:{console.getsockname()[1]}") == NOTHING
        heard = ""
        while SENT not in heard:
            own.says("genuid:")
            heard = console.recv(8192).decode()
    assert heard == f"[MicroPACS] {SENT}\n"
    # A console that has gone is no error.
    assert own.says("checksum:1") != ""


def test_a_pipe_that_somebody_reads_gets_the_lines_and_one_that_nobody_reads_is_refused(own: Site) -> None:
    pipe = own.directory / "pipe"
    os.mkfifo(pipe)
    assert "pipe" in own.says("log_on:pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert own.ask(f"log_on:{pipe}") == NOTHING
        own.says("genuid:")
        own.says("log_on:file.log")
        assert SENT in os.read(reader, 65536).decode().splitlines()
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    "line",
    [
        "log_on:0",
        "log_on:70000",
        "log_on:1file.log",
        "debuglog_on:/no/such/directory/file.log",
        "log_on:.",
        "debuglevel:5",
        "debuglevel:-1",
        "debuglevel:much",
    ],
)
def test_where_nothing_can_be_logged_the_log_stays(shared: Site, line: str) -> None:
    assert shared.says(line).startswith(f"*** {line.partition(':')[0]}: ")
    before = lines(shared.directory / "stays.log").count(SENT)
    shared.says("genuid:")
    assert lines(shared.directory / "stays.log").count(SENT) == before + 1
    assert not (shared.directory / "1file.log").exists()


@pytest.mark.parametrize("line", ["log_on:", "debuglog_on: ", "debuglevel:"])
def test_without_an_argument_nothing_is_switched(shared: Site, line: str) -> None:
    assert shared.ask(line) == NOTHING


STATUS = """\
DICOM server 'CONQUESTSRV1' \\(version [^,]+, port {port}, bits 64\\) was started on {stamp}
Old JPEG decoder=0, JPEGLIB jpeg codec=[01], LIBJASPER jpeg2000 codec=[01]
Run time \\(s\\) total \\d+, query \\d+, load \\d+, save \\d+, compress \\d+, process \\d+, gpps 0
Associations=\\d+; Threads=\\d+ \\(\\d+ open\\); Images sent={sent}, recieved={received}, forwarded=0
Images printed=0, in color=0
Activity: Echo:{echo}, Find:{find}, Move:{move}, Unknown:0, gpps:0
Images \\(de\\)compressed: NKI 0, JPEG 0, JPEG2000 0, RLE 0, Planes removed 0, Palettes removed 0, Downsize 0
Space on MAG0  : \\d+ MByte
Database type: built-in SQLite driver
"""


def test_display_status_has_the_lines_that_monitoring_scripts_read(own: Site) -> None:
    def pattern(sent: int, received: int, echo: int, find: int, move: int) -> str:
        stamp = STAMP.pattern.rstrip()
        return STATUS.format(port=own.port, stamp=stamp, sent=sent, received=received, echo=echo, find=find, move=move)

    assert re.fullmatch(pattern(0, 0, 0, 0, 0), own.says("display_status:"))
    own.keep(ds(PatientID="P1"))
    own.says("echo:CONQUESTSRV1")
    own.says("patientfinder:CONQUESTSRV1|P1")
    own.says("movepatient:CONQUESTSRV1,NOWHERE,P1")
    status = own.says("display_status:")
    assert re.fullmatch(pattern(0, 1, 1, 2, 1), status), status


def test_status_texts_go_to_browsers_and_files(own: Site) -> None:
    plain = own.says("display_status:")
    assert own.says("display_status:binary").splitlines()[1] == plain.splitlines()[1]
    assert own.says("display_status:cgi").startswith("Content-type: text/html\n\n<pre>DICOM server '")
    assert own.says("display_status:pre").startswith("<pre>DICOM server '")
    assert own.ask(f"display_status:{own.directory}/status.txt") == NOTHING
    assert (own.directory / "status.txt").read_text().startswith("DICOM server '")
    assert own.ask("display_status:below.txt") == NOTHING
    assert (own.directory / "below.txt").read_text().endswith("Database type: built-in SQLite driver\n")
    refused = own.ask("display_status:no/such/directory/status.txt")
    assert refused.status == 0x0110
    assert b"No such file or directory" in (refused.payload or b"")


def test_status_string_is_empty_until_something_is_submitted(own: Site) -> None:
    assert own.ask("status_string:") == NOTHING
    assert own.ask("status_string:cgi") == expected("Content-type: text/plain\n\n")
    assert own.ask("status_string:pre") == expected("<pre>")
    own.daemon.server.status_string = "Process=3 of 9"
    assert own.ask("status_string:") == expected("Process=3 of 9")
    assert own.ask("status_string:cgi") == expected("Content-type: text/plain\n\nProcess=3 of 9")
    assert own.ask("status_string:out.txt") == NOTHING
    assert (own.directory / "out.txt").read_text() == "Process=3 of 9"


def near(text: str, path: Path) -> bool:
    """Whether a number is about the free space of a path: others write meanwhile."""
    return abs(int(text) - shutil.disk_usage(path).free // MB) < 2000


@pytest.mark.parametrize("device", ["MAG0", "mag0", " MAG1 ", "MIRROR0"])
def test_free_space_is_in_mebibytes(shared: Site, device: str) -> None:
    assert near(shared.says(f"get_freestore:{device}"), shared.directory)
    shown = shared.says(f"get_freestore:{device},%8d MB free")
    assert len(shown) == 16
    assert near(shown[:8], shared.directory)


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("MAG2", "0"),
        ("MAG", "0"),
        ("MIRROR1", "0"),
        ("CACHE0", "0"),
        ("JUKEBOX0", "-1"),
        ("C:", "-1"),
        ("", "-1"),
        ("MAG9,<%d>", "<0>"),
        ("NO,<%s>", "<-1>"),
    ],
)
def test_unknown_devices_have_conquests_numbers(shared: Site, argument: str, reply: str) -> None:
    assert shared.ask(f"get_freestore:{argument}") == expected(reply)


def test_a_device_whose_directory_is_gone_has_no_room(own: Site) -> None:
    (own.directory / "MAG0").rename(own.directory / "away")
    try:
        assert own.ask("get_freestore:MAG0") == expected("0")
        assert "\nSpace on MAG0  : 0 MByte\n" in own.says("display_status:")
    finally:
        (own.directory / "away").rename(own.directory / "MAG0")


def test_echo_says_whether_a_server_of_the_map_answers(own: Site) -> None:
    with site(own.directory / "other", MyACRNema="OTHER") as other:
        own.says(f"put_amap:0,OTHER,127.0.0.1,{other.port},un")
        own.says(f"put_amap:1,DOWN,127.0.0.1,{free_port()},un")
        assert own.ask("echo:OTHER") == expected("OTHER is UP")
        assert own.ask("echo: OTHER ") == expected("OTHER is UP")
        assert own.ask("echo:OTHER,cgi") == expected("Content-type: text/html\n\n<pre>OTHER is UP")
        assert own.ask("echo:OTHER,pre") == expected("<pre>OTHER is UP")
        assert own.ask("echo:OTHER,echo.txt") == NOTHING
        assert (own.directory / "echo.txt").read_text() == "OTHER is UP"
        # A server that does not want to talk to us is no server to us.
        other.says("put_remoteae:0,PYTEST,Test")
        assert own.ask("echo:OTHER") == expected("OTHER is DOWN")
    for name in ("OTHER", "DOWN", "NOWHERE", f"127.0.0.1:{own.port}", "AN AE TITLE TOO LONG FOR ONE"):
        assert own.ask(f"echo:{name}") == expected(f"{name} is DOWN")
    assert own.ask("echo:CONQUESTSRV1") == expected("CONQUESTSRV1 is UP")
    assert own.ask("echo:") == NOTHING


def test_a_server_that_accepts_connections_and_says_nothing_is_down(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, site(tmp_path, TCPIPTimeOut=1) as running:
        held: list[socket.socket] = []
        thread = threading.Thread(target=lambda: held.append(silent.accept()[0]))
        thread.start()
        running.says(f"put_amap:0,SILENT,127.0.0.1,{silent.getsockname()[1]},un")
        assert running.ask("echo:SILENT") == expected("SILENT is DOWN")
        thread.join()
        held[0].close()
