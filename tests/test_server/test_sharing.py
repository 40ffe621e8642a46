"""What processes of a server share: lines of logs, UIDs, counters, the state, and the messages between them."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import server.log
from server.log import LOG, Logs
from server.running import COUNTERS, Counters, Running
from server.uid import UidMaker
from server.workers.channel import channels, receive_frame, send_frame
from server.workers.children import BackOff, Child
from server.workers.page import Page
from server.workers.process import ended, fork


def in_processes(count: int, run: Callable[[int], None]) -> None:
    """Run a function at the same time in so many processes, which must succeed."""

    def body(number: int) -> int:
        run(number)
        return 0

    forked = [fork("test", lambda number=number: body(number)) for number in range(count)]  # type: ignore[misc]
    assert [os.waitpid(pid, 0)[1] for pid in forked] == [0] * count


def test_uids_of_all_processes_differ(tmp_path: Path) -> None:
    page = Page()
    maker = UidMaker("1.2.3", 7)
    first = maker()
    maker.share(page.uid_cells, page.uid_lock)
    in_processes(
        4, lambda number: (tmp_path / str(number)).write_text("\n".join(maker() for _ in range(3000))) and None
    )
    made = [first, maker(), *(uid for number in range(4) for uid in (tmp_path / str(number)).read_text().split())]
    assert len(made) == 12_002
    assert len(set(made)) == 12_002
    assert all(re.fullmatch(r"1\.2\.3\.6\.\d+\.\d+", uid) for uid in made)


def test_counters_of_all_processes_are_summed() -> None:
    page = Page()
    counters = Counters()

    def count(number: int) -> None:
        counters.share(page.counters, number)
        for _ in range(100):
            counters.add("Echo", number)

    in_processes(4, count)
    counters.share(page.counters, 4)
    counters.add("Echo")
    assert [counters[name] for name in COUNTERS] == [601] + [0] * (len(COUNTERS) - 1)


def test_the_state_in_force_is_whole_while_others_are_published(tmp_path: Path) -> None:
    page = Page()
    assert page.state() == (0, b"")

    def run(number: int) -> None:
        if number == 0:
            for made in range(1, 2001):
                assert page.publish(str(made).encode() * 2000) == made
            return
        generation = 0
        while generation < 2000:
            generation, state = page.state()
            assert state == str(generation).encode() * (2000 if generation else 0)

    in_processes(3, run)
    assert page.state() == (2000, b"2000" * 2000)
    with pytest.raises(ValueError, match="too long to be shared"):
        page.publish(bytes(5 << 20))
    assert page.generation == 2000


def test_a_lock_ends_with_the_process_that_held_it() -> None:
    page = Page()

    def die(number: int) -> None:
        page.uid_lock.__enter__()
        os._exit(0)

    in_processes(1, die)
    with page.uid_lock:
        pass


def test_lines_of_several_processes_are_whole_though_the_log_is_turned_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.log, "ROTATE_BYTES", 40_000)
    monkeypatch.setattr(server.log, "ROTATE_KEEP", 20)
    logs = Logs(tmp_path, "PACS")
    logs.open("trouble.log", "user.log")
    logs.add("server.log")

    def write(number: int) -> None:
        for line in range(1000):
            LOG.info("%d %04d %s", number, line, "x" * 50)

    in_processes(4, write)
    logs.close()
    files = list(tmp_path.glob("server.log*"))
    assert 4 <= len(files) <= 9
    lines = [line[25:] for file in files for line in file.read_text().splitlines()]
    assert sorted(lines) == [f"{number} {line:04d} {'x' * 50}" for number in range(4) for line in range(1000)]


@given(st.text(max_size=2000), st.none() | st.binary(max_size=70_000))
def test_a_frame_comes_as_it_was_sent(text: str, payload: bytes | None) -> None:
    one, other = socket.socketpair()
    with one, other:
        threading.Thread(target=send_frame, args=(one, {"text": text}, payload)).start()
        head, received = receive_frame(other)
    assert (head["text"], received) == (text, payload)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_frame_are_an_error(data: bytes) -> None:
    one, other = socket.socketpair()
    with other:
        with one:
            one.sendall(data)
        with pytest.raises((EOFError, ValueError, KeyError, TypeError)):
            receive_frame(other)


def test_a_message_carries_a_connection() -> None:
    one, other = channels()
    mine, theirs = socket.socketpair()
    with mine, theirs:
        one.send({"number": 1}, theirs.fileno())
        received = other.receive()
        assert received is not None
        message, file = received
        assert message == {"number": 1}
        assert file is not None
        assert not os.get_inheritable(file)
        with socket.socket(fileno=file) as passed:
            passed.sendall(b"x")
        assert mine.recv(2) == b"x"
    one.close()
    assert other.receive() is None
    other.close()


def test_what_a_process_does_not_read_waits_and_comes_in_order() -> None:
    mine, theirs = channels()
    mine.set_blocking(False)
    child = Child(1, 0, os.dup(0), mine)
    for number in range(5000):
        child.post({"number": number})
    assert child.unsent
    received = []
    while len(received) < 5000:
        child.flush()
        one = theirs.receive()
        assert one is not None
        received.append(one[0]["number"])
    assert received == list(range(5000))
    theirs.close()
    child.post({"number": 5000})
    assert not child.unsent
    child.close()


def test_a_process_that_ends_at_once_is_replaced_later_and_later() -> None:
    mine, theirs = channels()
    child = Child(1, 0, os.dup(0), mine)
    pauses = BackOff()
    assert [pauses.after(child) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    child.started -= 2
    assert pauses.after(child) == 0
    child.started += 2
    assert pauses.after(child) == 0.1
    child.close()
    theirs.close()


def test_how_a_process_ended_is_said() -> None:
    assert ended(os.waitpid(fork("test", lambda: 3), 0)[1]) == "ended with 3"
    assert ended(os.waitpid(fork("test", lambda: os.kill(os.getpid(), 9) or 0), 0)[1]) == "was killed by SIGKILL"


def test_a_server_that_is_to_stop_when_idle_stops_with_its_last_connection() -> None:
    running = Running()
    first, second = running.begin(), running.begin()
    assert (first, second, running.threads, running.open_threads) == (1, 2, 2, 2)
    running.stop_when_idle()
    running.end(first)
    assert not running.stopping.is_set()
    running.end(second)
    assert running.stopping.is_set()
    assert (running.threads, running.open_threads) == (2, 0)
