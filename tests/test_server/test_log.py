"""The logs: their lines as ConQuest writes them, what goes where, turning over, and what wire text must not do."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import server.log
from server.log import LOG, USER, Logs, console_host, printable

STAMP = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4} "


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    made = Logs(tmp_path, "PACS")
    made.open("trouble.log", "user.log")
    yield made
    made.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_each_line_begins_with_the_time_as_ctime_writes_it(logs: Logs, tmp_path: Path) -> None:
    logs.add("server.log")
    before = int(time.time())
    LOG.info("Written file: %s", "x.dcm")
    (line,) = lines(tmp_path / "server.log")
    assert re.fullmatch(STAMP + "Written file: x.dcm", line)
    assert line[:24] in {time.ctime(second) for second in range(before, before + 3)}


def test_trouble_is_what_holds_three_stars(logs: Logs, tmp_path: Path) -> None:
    logs.add("server.log")
    LOG.info("fine")
    LOG.error("***bad: %s", "reason")
    LOG.warning("odd ***")
    assert [line[25:] for line in lines(tmp_path / "server.log")] == ["fine", "***bad: reason", "odd ***"]
    assert [line[25:] for line in lines(tmp_path / "trouble.log")] == ["***bad: reason", "odd ***"]


def test_what_users_do_is_in_the_user_log_alone(logs: Logs, tmp_path: Path) -> None:
    logs.add("server.log")
    USER.info("%s %s -> %s", "C-Move ", "WS", "PACS")
    assert lines(tmp_path / "server.log") == lines(tmp_path / "trouble.log") == []
    (line,) = lines(tmp_path / "user.log")
    assert re.fullmatch(STAMP + "C-Move  WS -> PACS", line)


def test_debug_lines_are_in_the_debug_log_alone_and_only_from_level_1(logs: Logs, tmp_path: Path) -> None:
    logs.add("server.log")
    logs.add("debug.log", debug=True)
    for level in (0, 1, 4, 0):
        logs.set_debug_level(level)
        LOG.debug("detail %d", level)
    LOG.info("both")
    assert [line[25:] for line in lines(tmp_path / "server.log")] == ["both"]
    assert [line[25:] for line in lines(tmp_path / "debug.log")] == ["detail 1", "detail 4", "both"]


def test_another_destination_takes_over_and_a_bad_one_changes_nothing(logs: Logs, tmp_path: Path) -> None:
    logs.add("first.log")
    LOG.info("one")
    with pytest.raises(OSError, match="Is a directory"):
        logs.switch(".", debug=False)
    LOG.info("two")
    logs.switch("second.log", debug=False)
    LOG.info("three")
    assert [line[25:] for line in lines(tmp_path / "first.log")] == ["one", "two"]
    assert [line[25:] for line in lines(tmp_path / "second.log")] == ["three"]


def test_a_log_is_turned_over_and_the_oldest_goes(logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.log, "ROTATE_BYTES", 1000)
    logs.add("server.log")
    for number in range(400):
        LOG.info("line %04d %s", number, "x" * 60)
    files = sorted(path.name for path in tmp_path.glob("server.log*"))
    assert files == ["server.log", *(f"server.log.{number}" for number in range(1, server.log.ROTATE_KEEP + 1))]
    kept = [line[30:34] for name in (*reversed(files[1:]), "server.log") for line in lines(tmp_path / name)]
    assert kept == [f"{number:04d}" for number in range(400 - len(kept), 400)]
    assert all((tmp_path / name).stat().st_size < 1200 for name in files)


def test_a_log_that_is_there_is_continued_and_counts(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.log, "ROTATE_BYTES", 1000)
    (tmp_path / "server.log").write_text("y" * 990 + "\n")
    logs.add("server.log")
    LOG.info("short")
    LOG.info("after")
    assert len(lines(tmp_path / "server.log.1")) == 2
    assert [line[25:] for line in lines(tmp_path / "server.log")] == ["after"]


def test_wire_text_is_one_line_without_control_characters(logs: Logs, tmp_path: Path) -> None:
    logs.add("server.log")
    LOG.info("AE %s", "X\nFri Nov 20 21:38:34 2026 forged\r\x1b[2J\x00\u2028y")
    (line,) = lines(tmp_path / "server.log")
    assert line[25:] == "AE X?Fri Nov 20 21:38:34 2026 forged??[2J??y"


def test_a_traceback_is_stamped_line_by_line(logs: Logs, tmp_path: Path) -> None:
    logs.add("server.log")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        LOG.exception("*** failed")
    found = lines(tmp_path / "server.log")
    assert all(re.match(STAMP, line) for line in found)
    assert found[0][25:] == "*** failed"
    assert [line[25:] for line in found[-2:]] == ["ValueError: first", "second"]
    assert found == lines(tmp_path / "trouble.log")


def test_a_console_gets_datagrams_with_the_name_of_the_server(logs: Logs) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as console:
        console.bind(("127.0.0.1", 0))
        console.settimeout(10)
        logs.add(str(console.getsockname()[1]))
        LOG.info("AE title %s\nx", "CONQUESTSRV1")
        assert console.recv(1000) == b"[PACS] AE title CONQUESTSRV1?x\n"
    LOG.info("nobody listens any more")


def test_a_disk_that_is_full_is_said_once_and_stops_nothing(
    logs: Logs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full.log").symlink_to("/dev/full")
    logs.add("full.log")
    logs.add("server.log")
    for number in range(3):
        LOG.info("line %d", number)
    assert [line[25:] for line in lines(tmp_path / "server.log")] == ["line 0", "line 1", "line 2"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"{tmp_path}/full.log: ")


def test_nothing_is_left_on_the_loggers(tmp_path: Path) -> None:
    before = list(LOG.handlers), list(USER.handlers)
    made = Logs(tmp_path, "PACS")
    made.open("trouble.log", "user.log")
    made.add("server.log")
    made.add("debug.log", debug=True)
    assert len(LOG.handlers) == len(before[0]) + 3
    made.close()
    assert (list(LOG.handlers), list(USER.handlers)) == before


@pytest.mark.parametrize(("text", "shown"), [("plain ä", "plain ä"), ("a\tb\n", "a?b?"), ("\x1b]0;x\x07", "?]0;x?")])
def test_text_is_made_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable("x" * 1000) == "x" * 400
    assert printable("x" * 1000, 5) == "x" * 5


def test_a_console_that_is_no_host_is_this_machine() -> None:
    assert console_host("127.0.0.1") == "127.0.0.1"
    assert console_host("\\\\.\\pipe\\MicroPACSStatus") == "127.0.0.1"
