"""A server of several processes: what it shares, what dies with one of them, and how it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from server.pipeline.regen import PARALLEL_FROM
from tests.commands import ask
from tests.conformance.dialogue import CONTEXTS, CT, GET, MOVE, answered, identifier, request, wait_until
from tests.conformance.processes import (
    alive,
    descriptors,
    family,
    holder,
    replaced,
    seconds_used,
    threads,
    unnamed,
    workers,
)
from tests.conformance.scu import Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes, ds, with_pixels, write
from tests.peers import free_port, running
from tests.servers import Program, dgate, environment, program, write_ini, write_map

_PR_SET_CHILD_SUBREAPER = 36

NOBODY = identifier(b"STUDY ", b"\x10\0\x20\0\x06\0\0\0NOBODY")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A server with two workers, for the tests that leave it as it was."""
    with program(tmp_path_factory.mktemp("two"), Workers=2) as running:
        yield running


@contextmanager
def associations(server: Program, count: int) -> Iterator[list[Wire]]:
    """Open associations, at the same time."""
    with ExitStack() as stack:
        peers = [stack.enter_context(wire(server.port)) for _ in range(count)]
        for peer in peers:
            accepted = peer.associate(CONTEXTS)
            assert accepted is not None
            assert accepted.kind == 2
        yield peers


@contextmanager
def one_on_each(server: Program) -> Iterator[tuple[Wire, Wire]]:
    """Two associations on different workers; others may still be on their way out."""
    with ExitStack() as stack:
        held: dict[int, Wire] = {}
        for _ in range(8):
            (peer,) = stack.enter_context(associations(server, 1))
            held.setdefault(holder(server.process.pid, peer), peer)
            if len(held) == 2:
                break
        one, other = held.values()
        yield one, other


def says(server: Program, line: str) -> str:
    """The text a command replies."""
    reply = ask(server.port, line)
    assert reply.status == 0, reply
    return (reply.payload or b"").rstrip(b"\0").decode()


def settled(server: Program) -> bool:
    """Wait until no worker has an association."""
    return wait_until(lambda: [threads(pid) for pid in workers(server.process.pid)] == [1, 1])


def stored(directory: Path) -> int:
    connection = sqlite3.connect(directory / "dbase" / "conquest.db3")
    (count,) = connection.execute("SELECT COUNT(*) FROM DICOMImages").fetchone()
    connection.close()
    return int(count)


def files(directory: Path) -> list[Path]:
    return [path for path in (directory / "MAG0").rglob("*") if path.suffix in (".dcm", ".part")]


def is_arriving(pid: int, directory: Path, size: int) -> bool:
    """Whether a process has written so many bytes of an object, with or without a temporary name."""
    with contextlib.suppress(FileNotFoundError):
        named = [path.stat().st_size for path in files(directory) if path.suffix == ".part"]
        return max([*named, *unnamed(pid, directory / "MAG0")], default=0) >= size
    return False


# One server


def test_associations_are_spread_over_the_workers(two: Program) -> None:
    assert settled(two)
    with associations(two, 6) as peers:
        held = Counter(holder(two.process.pid, peer) for peer in peers)
    assert sorted(held) == workers(two.process.pid)
    assert list(held.values()) == [3, 3]


def test_the_process_that_forks_has_one_thread(two: Program) -> None:
    assert threads(two.process.pid) == 1
    assert sorted(family(two.process.pid)) == ["dgate core", "dgate worker 1", "dgate worker 2"]


def test_settings_that_were_read_anew_count_in_every_worker_from_the_answer_on(two: Program) -> None:
    with one_on_each(two) as peers:
        for number in range(11):
            says(two, f"put_param:ConquestStatuses,{number % 2}")
            says(two, "read_ini:")
            expected = 0xC004 if number % 2 else 0
            assert [answered(peer, 7, request(GET, 0x0010), NOBODY) for peer in peers] == [expected] * 2


def test_a_changed_map_counts_in_every_worker_from_the_answer_on(two: Program) -> None:
    to = request(MOVE, 0x0021, destination="ELSEWHERE")
    with one_on_each(two) as peers:
        for _ in range(5):
            assert [answered(peer, 9, to, NOBODY) for peer in peers] == [0xA801] * 2
            says(two, "put_amap:0,ELSEWHERE,127.0.0.1,9,un")
            assert [answered(peer, 9, to, NOBODY) for peer in peers] == [0] * 2
            says(two, "delete_amap:0")


def test_lists_of_who_may_call_count_in_every_worker_from_the_answer_on(two: Program) -> None:
    kinds = []
    says(two, "put_remoteae:0,PYTEST,PYTEST")
    for _ in range(4):
        with wire(two.port) as peer:
            pdu = peer.associate(CONTEXTS, calling="STRANGER")
            kinds.append(None if pdu is None else pdu.kind)
    says(two, "delete_remoteae:0")
    with associations(two, 4):
        assert kinds == [3, 3, 3, 3]


def test_logs_are_switched_in_every_worker_at_once(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2) as server, one_on_each(server) as peers:
        says(server, "debuglevel:1")
        says(server, "debuglog_on:other.log")
        for peer in peers:
            assert answered(peer, 5, {**request(CT, 0x0020), 0x0100: 0x0FF0}, NOBODY) == 0x0211
            assert peer.release()
            peer.socket.close()
        assert wait_until(lambda: (tmp_path / "other.log").read_text().count(": PEER (127.0.0.1) ->") == 2)
        lines = (tmp_path / "other.log").read_text().splitlines()
        assert sum(": PYTEST (127.0.0.1) ->" in line for line in lines) >= 1
    assert sum("Command 0x0ff0" in line for line in lines) == 2
    assert "Command 0x0ff0" not in (tmp_path / "serverstatus.log").read_text()


def test_lines_of_all_processes_are_whole(two: Program) -> None:
    with associations(two, 8) as peers:
        for _ in range(10):
            for peer in peers:
                peer.message(3, {**echo_elements(), 0x99990300: "x" * 300})
        for peer in peers:
            for _ in range(10):
                assert peer.answer() is not None
    lines = [line[25:] for line in (two.directory / "serverstatus.log").read_text().splitlines()]
    assert {line for line in lines if "xxx" in line} == {"x" * 300}
    assert lines.count("x" * 300) == 80


def test_counters_are_summed(two: Program) -> None:
    def echoes() -> int:
        return int(says(two, "display_status:").partition("Echo:")[2].partition(",")[0])

    before = echoes()
    with one_on_each(two) as peers:
        for peer in peers:
            assert [answered(peer, 3, echo_elements()) for _ in range(3)] == [0, 0, 0]
    assert echoes() == before + 6


def test_a_file_sent_with_a_command_and_a_long_reply_come_through(two: Program, tmp_path: Path) -> None:
    path = write(tmp_path, with_pixels(ds(PatientID="UPLOAD"), 1024, 1024, 3))
    ran = dgate(f"-w{two.directory}", f"--addlocalfile:{path}", directory=tmp_path)
    assert (ran.stdout, ran.returncode) == (b"0", 255)
    assert says(two, "patientfinder:local|UPLOAD|%2$s") == "UPLOAD\n"
    assert says(two, "patientfinder:local|UPLOAD|" + "%2$s" * 12_000) == "UPLOAD" * 12_000 + "\n"
    says(two, "deletepatient:UPLOAD")


def test_limits_hold_over_all_workers_and_are_given_back(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2, MaxAssociations=5, MaxAssociationsPerHost=4) as server:
        boss = server.process.pid
        with associations(server, 4) as peers, wire(server.port) as late:
            pdu = late.associate(CONTEXTS)
            assert pdu is not None
            assert (pdu.kind, pdu.body) == (3, bytes([0, 2, 3, 2]))
            victim = holder(boss, peers[0])
            name = next(name for name, pid in family(boss).items() if pid == victim)
            lost = sum(holder(boss, peer) == victim for peer in peers)
            assert lost == 2
            os.kill(victim, signal.SIGKILL)
            assert replaced(boss, name, victim)
            with associations(server, lost), wire(server.port) as later:
                pdu = later.associate(CONTEXTS)
                assert pdu is not None
                assert pdu.kind == 3


def test_room_is_kept_for_peers_of_the_map_over_all_workers(tmp_path: Path) -> None:
    write_map(tmp_path, {"KNOWN": (11112, "un")})
    with program(tmp_path, Workers=2, MaxAssociations=8) as server, associations(server, 7):
        kinds = []
        for calling in ("STRANGER", "KNOWN"):
            with wire(server.port) as peer:
                pdu = peer.associate(CONTEXTS, calling=calling)
                kinds.append(None if pdu is None else pdu.kind)
    assert kinds == [3, 2]
    log = (tmp_path / "PacsTrouble.log").read_text()
    assert "1 of 8 are kept for those it does (MaxAssociations)" in log


def test_fifty_idle_associations_cost_nothing(two: Program) -> None:
    processes = [two.process.pid, *family(two.process.pid).values()]
    with associations(two, 50) as peers:
        before = sum(map(seconds_used, processes))
        time.sleep(1)
        used = sum(map(seconds_used, processes)) - before
        assert used <= 0.02
        assert [answered(peer, 3, echo_elements()) for peer in peers] == [0] * 50


def test_two_hundred_associations_leave_nothing_open(two: Program) -> None:
    boss = two.process.pid
    with associations(two, 10) as peers:
        for peer in peers:
            assert peer.release()
    assert settled(two)
    processes = family(boss)
    before = {pid: (len(descriptors(pid)), threads(pid)) for pid in (boss, *processes.values())}
    for number in range(200):
        with wire(two.port) as peer:
            peer.associate(CONTEXTS)
            if number % 3:
                peer.release()
    assert settled(two)

    def now() -> dict[int, tuple[int, int]]:
        return {pid: (len(descriptors(pid)), threads(pid)) for pid in before}

    assert wait_until(lambda: now() == before), (before, now())
    assert family(boss) == processes


# What dies


def test_a_killed_worker_takes_its_own_associations_alone_and_is_replaced(tmp_path: Path) -> None:
    small = [write(tmp_path / "sent", ds(PatientID="A")) for _ in range(4)]
    large = data_set_bytes(write(tmp_path / "sent", with_pixels(ds(PatientID="B"), 1024, 1024, 2)))

    def store(peer: Wire, path: Path) -> int:
        return answered(peer, 1, store_elements(CT, path.stem), data_set_bytes(path))

    with program(tmp_path / "archive", Workers=2, Durability="safe") as server:
        boss = server.process.pid
        with one_on_each(server) as (lasting, doomed):
            assert [store(lasting, small[0]), store(doomed, small[1])] == [0, 0]
            doomed.message(1, store_elements(CT, "1.2.3"))
            for start in range(0, len(large) - 16000, 16000):
                doomed.send(4, struct.pack(">IBB", 16002, 1, 0) + large[start : start + 16000])
            victim = holder(boss, doomed)
            assert wait_until(lambda: is_arriving(victim, server.directory, len(large) - 20000))
            name = next(name for name, pid in family(boss).items() if pid == victim)
            os.kill(victim, signal.SIGKILL)
            assert doomed.receive() is None
            assert store(lasting, small[2]) == 0
            assert replaced(boss, name, victim)
            assert store(lasting, small[3]) == 0
        with one_on_each(server) as peers:
            assert [answered(peer, 3, echo_elements()) for peer in peers] == [0, 0]
        assert sorted(family(boss)) == ["dgate core", "dgate worker 1", "dgate worker 2"]
        assert wait_until(lambda: len(files(server.directory)) == 4)
        assert stored(server.directory) == 4
        assert server.stop() == 0
    log = (server.directory / "PacsTrouble.log").read_text()
    assert f"*** The {name[6:]} (process {victim}) was killed by SIGKILL; 1 connections are lost" in log


def test_after_the_core_is_killed_commands_work_and_what_they_changed_counts(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2, DebugLevel=0) as server, one_on_each(server) as peers:
        says(server, "put_amap:0,ELSEWHERE,127.0.0.1,9,un")
        says(server, "put_param:ConquestStatuses,1")
        says(server, "read_ini:")
        says(server, "put_param:ConquestStatuses,0")
        boss = server.process.pid
        for _ in range(2):
            core = family(boss)["dgate core"]
            os.kill(core, signal.SIGKILL)
            assert says(server, "get_param:MyACRNema") == "CONQUESTSRV1"
            assert family(boss)["dgate core"] != core
            assert says(server, "get_amap:0,%s") == "ELSEWHERE"
        to = request(MOVE, 0x0021, destination="ELSEWHERE")
        assert [answered(peer, 9, to, NOBODY) for peer in peers] == [0xC004, 0xC004]
        says(server, "read_ini:")
        assert [answered(peer, 9, to, NOBODY) for peer in peers] == [0, 0]


def test_a_command_that_dies_with_the_core_is_no_success(tmp_path: Path) -> None:
    with program(tmp_path, Workers=1) as server:
        core = family(server.process.pid)["dgate core"]
        os.kill(core, signal.SIGSTOP)
        with wire(server.port) as peer:
            peer.associate(CONTEXTS)
            peer.message(3, {**echo_elements(), 0x99990400: "display_status:"})
            time.sleep(0.1)
            os.kill(core, signal.SIGKILL)
            answer = peer.answer()
        # It had not been taken by the core that died, so the next one ran it.
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert b"DICOM server" in answer[0].get(0x99990401, b"")


def test_when_the_supervisor_is_killed_nothing_is_left_and_a_new_one_starts(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2) as server:
        processes = list(family(server.process.pid).values())
        with associations(server, 2) as peers:
            server.process.kill()
            server.process.wait()
            assert wait_until(lambda: not any(map(alive, processes)), 5)
            assert [peer.receive() for peer in peers] == [None, None]
        command = [sys.executable, "-m", "dgate", f"-w{tmp_path}"]
        with running(command, server.port, env=environment(), stdout=subprocess.DEVNULL) as again:
            assert says(server, "get_param:MyACRNema") == "CONQUESTSRV1"
            again.terminate()
            assert again.wait(30) == 0


def test_what_killed_processes_leave_behind_is_no_zombie(tmp_path: Path) -> None:
    def adopt() -> None:  # as the first process of a container does
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    port = free_port()
    write_ini(tmp_path, TCPPort=port, Workers=1)
    first = write(tmp_path / "MAG0" / "A", ds(PatientID="A"))
    for number in range(PARALLEL_FROM):
        first.with_name(f"{number}.dcm").hardlink_to(first)
    command = [sys.executable, "-m", "dgate", f"-w{tmp_path}"]
    with running(command, port, env=environment(), stdout=subprocess.DEVNULL, preexec_fn=adopt) as process:
        says(Program(tmp_path, port, process), "regen:")  # for which the core has started helpers
        core = family(process.pid)["dgate core"]
        assert family(core)
        os.kill(core, signal.SIGKILL)
        assert replaced(process.pid, "dgate core", core)
        assert wait_until(lambda: sorted(family(process.pid)) == ["dgate core", "dgate worker 1"])


# How it ends


def test_safequit_waits_for_the_last_association_of_any_worker(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2) as server, one_on_each(server) as (one, other):
        says(server, "safequit:")
        assert one.release()
        one.socket.close()
        time.sleep(0.3)
        assert server.process.poll() is None
        assert answered(other, 3, echo_elements()) == 0
        assert other.release()
        other.socket.close()
        assert server.process.wait(10) == 0


def test_quit_is_answered_and_ends_all_processes(tmp_path: Path) -> None:
    with program(tmp_path, Workers=2) as server, associations(server, 3):
        processes = list(family(server.process.pid).values())
        assert ask(server.port, "quit:").status == 0
        assert server.process.wait(10) == 0
        assert not any(map(alive, processes))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_is_a_clean_stop(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    write_ini(tmp_path, TCPPort=port, Workers=2)
    command = [sys.executable, "-m", "dgate", f"-w{tmp_path}"]
    path = write(tmp_path / "sent", ds(PatientID="A"))
    with running(command, port, env=environment(), start_new_session=True, stderr=subprocess.PIPE) as group:
        with wire(port) as peer:
            peer.associate(CONTEXTS)
            assert answered(peer, 1, store_elements(CT, path.stem), data_set_bytes(path)) == 0
            os.killpg(group.pid, number)
            assert group.communicate(timeout=30)[1] == b""
        assert group.returncode == 0
    assert [found.name for found in (tmp_path / "dbase").iterdir()] == ["conquest.db3"]
    assert stored(tmp_path) == 1
    assert (tmp_path / "serverstatus.log").read_text().endswith("DGATE has stopped\n")


def test_a_core_that_cannot_begin_is_one_line(tmp_path: Path) -> None:
    write_ini(tmp_path, Workers=2)
    (tmp_path / "dbase").mkdir()
    (tmp_path / "dbase" / "conquest.db3").write_bytes(b"no database" * 1000)
    ran = dgate(f"-w{tmp_path}", directory=tmp_path)
    assert ran.returncode == 1
    (line,) = ran.stderr.decode().splitlines()
    assert "conquest.db3" in line


# How many


@pytest.mark.parametrize(
    ("setting", "option", "expected"),
    [
        (0, None, 0),
        (2, "-b", 0),
        (1, None, 1),
        (3, None, 3),
        ("auto", None, min(4, len(os.sched_getaffinity(0)))),
    ],
)
def test_there_are_as_many_workers_as_the_setting_says(
    tmp_path: Path, setting: object, option: str | None, expected: int
) -> None:
    port = free_port()
    write_ini(tmp_path, TCPPort=port, Workers=setting)
    command = [sys.executable, "-m", "dgate", f"-w{tmp_path}", *([option] if option else [])]
    with running(command, port, env=environment(), stdout=subprocess.DEVNULL) as process:
        server = Program(tmp_path, port, process)
        assert says(server, "get_param:MyACRNema") == "CONQUESTSRV1"
        assert len(workers(process.pid)) == expected
        assert len(family(process.pid)) == (expected + 1 if expected else 0)
        assert server.stop() == 0


def test_pynetdicoms_own_network_works_in_workers(tmp_path: Path) -> None:
    path = write(tmp_path / "sent", ds(PatientID="A"))
    with program(tmp_path / "archive", Workers=2, StockNetwork=1) as server:
        with one_on_each(server) as (one, other):
            assert answered(one, 1, store_elements(CT, path.stem), data_set_bytes(path)) == 0
            assert answered(other, 3, echo_elements()) == 0
            assert says(server, "patientfinder:local|A|%2$s") == "A\n"
            assert one.release()
        assert server.stop() == 0
    assert stored(server.directory) == 1
