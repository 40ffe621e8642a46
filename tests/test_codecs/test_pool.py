"""The pool of codec processes: what goes wrong in one of them costs one task, and is told truthfully."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.errors import CodecFailed, NotConvertible
from storage.pool import CodecPool
from storage.transcode import Wanted, transcode
from tests.test_codecs.images import CT, RGB, changed, decoded


def identity() -> int:
    return os.getpid()


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def leave() -> None:
    os._exit(3)


def hang(mark: Path | None = None) -> None:
    if mark is not None:
        mark.write_text(str(os.getpid()))
    time.sleep(3600)


def eat(megabytes: int) -> int:
    return int(np.ones(megabytes << 20, np.uint8).sum())


def refuse() -> None:
    raise NotConvertible("not this one")


def missing() -> None:
    Path("/nonexistent/file").read_bytes()


def stumble() -> None:
    raise KeyError("one\nline")


def array(size: int) -> NDArray[np.uint16]:
    return np.arange(size, dtype=np.uint16)


def add(first: int, *, second: int) -> int:
    return first + second


@pytest.fixture
def pool() -> Iterator[CodecPool]:
    with CodecPool(1, memory_mb=700, seconds=20) as made:
        yield made


def test_a_task_gets_its_arguments_and_gives_its_result(pool: CodecPool) -> None:
    assert pool.run(add, 2, second=3) == 5
    assert pool.run(identity) != os.getpid()


def test_temporary_files_are_where_they_are_told_to_be(tmp_path: Path) -> None:
    with CodecPool(1, temporary=tmp_path) as made:
        assert made.run(tempfile.gettempdir) == str(tmp_path)


def chatter() -> None:
    os.write(1, b"talk")
    os.write(2, b"talk")


def test_what_codecs_print_is_not_heard(pool: CodecPool, capfd: pytest.CaptureFixture[str]) -> None:
    pool.run(chatter)
    assert capfd.readouterr() == ("", "")


def test_nothing_runs_until_there_is_a_task() -> None:
    with CodecPool(2) as made:
        assert made.worker_ids() == ()
        first = made.run(identity)
        assert made.worker_ids() == (first,)
        assert made.run(identity) == first


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (crash, "the codec process was ended by SIGSEGV"),
        (leave, "the codec process ended with 3"),
        (stumble, r"KeyError: 'one\\nline'"),
    ],
)
def test_a_crash_costs_one_task(pool: CodecPool, task: object, message: str) -> None:
    with pytest.raises(CodecFailed, match=f"^{message}$"):
        pool.run(task)  # type: ignore[arg-type]
    assert pool.run(add, 2, second=3) == 5


def test_a_hang_costs_one_task() -> None:
    with CodecPool(1, seconds=2) as made:
        worker = made.run(identity)
        with pytest.raises(CodecFailed, match=r"^no result within 2 s$"):
            made.run(hang)
        assert made.run(identity) != worker
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


def test_a_flood_of_memory_costs_one_task(pool: CodecPool) -> None:
    assert pool.run(eat, 10) == 10 << 20
    with pytest.raises(CodecFailed, match=r"^it needs more than 700 MB of memory$"):
        pool.run(eat, 700)
    assert pool.run(eat, 10) == 10 << 20


def test_a_worker_killed_in_the_middle_costs_one_task(pool: CodecPool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with ThreadPoolExecutor(1) as threads:
        failing = threads.submit(pool.run, hang, mark)
        while not mark.exists() or not mark.read_text():
            time.sleep(0.01)
        os.kill(int(mark.read_text()), signal.SIGKILL)
        with pytest.raises(CodecFailed, match=r"^the codec process was ended by SIGKILL$"):
            failing.result(20)
    assert pool.run(add, 2, second=3) == 5


def test_a_worker_killed_between_tasks_costs_none(pool: CodecPool) -> None:
    worker = pool.run(identity)
    os.kill(worker, signal.SIGKILL)
    while _running(worker):
        time.sleep(0.01)
    assert pool.run(add, 2, second=3) == 5


def _running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("task", "kind"), [(refuse, NotConvertible), (missing, FileNotFoundError)])
def test_what_a_task_refuses_reaches_its_caller(pool: CodecPool, task: object, kind: type[Exception]) -> None:
    worker = pool.run(identity)
    with pytest.raises(kind):
        pool.run(task)  # type: ignore[arg-type]
    assert pool.run(identity) == worker


@pytest.mark.parametrize("size", [0, 1, 5, 50_000_000])
def test_arrays_come_back_whole(pool: CodecPool, size: int) -> None:
    found = pool.run(array, size)
    assert found.dtype == np.uint16
    assert np.array_equal(found, array(size))


def test_many_threads_share_it() -> None:
    with CodecPool(2) as made, ThreadPoolExecutor(8) as threads:
        sums = [threads.submit(made.run, add, number, second=1) for number in range(100)]
        failures = [threads.submit(made.run, crash) for _ in range(4)]
        assert [one.result(30) for one in sums] == list(range(1, 101))
        assert all(isinstance(one.exception(30), CodecFailed) for one in failures)
        assert len(made.worker_ids()) <= 2


def test_submitted_tasks_run_side_by_side_and_in_order() -> None:
    with CodecPool(2) as made:
        waiting = [made.submit(add, number, second=1) for number in range(20)]
        assert [one.result(30) for one in waiting] == list(range(1, 21))


def test_closing_ends_what_is_under_way(tmp_path: Path) -> None:
    made = CodecPool(1)
    mark = tmp_path / "mark"
    with ThreadPoolExecutor(2) as threads:
        hanging = threads.submit(made.run, hang, mark)
        while not mark.exists() or not mark.read_text():
            time.sleep(0.01)
        waiting = threads.submit(made.run, identity)
        time.sleep(0.05)
        made.close()
        for one in (hanging, waiting):
            assert isinstance(one.exception(20), CodecFailed)
    assert not _running(int(mark.read_text()))
    with pytest.raises(CodecFailed, match="have been ended"):
        made.run(identity)


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "holder.py"
    script.write_text(
        textwrap.dedent("""
        import os, time
        from storage.pool import CodecPool
        if __name__ == "__main__":
            pool = CodecPool(1)
            print(pool.run(os.getpid), flush=True)
            time.sleep(60)
        """)
    )
    holder = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert holder.stdout is not None
    worker = int(holder.stdout.readline())
    assert _running(worker)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    end = time.monotonic() + 20
    while _running(worker) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _running(worker)


def test_a_process_that_decodes_nothing_loads_no_codec() -> None:
    code = "import sys, storage.pool, storage.codecs.table; print({'numpy', 'imagecodecs', 'PIL'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_frames_come_from_a_worker_in_the_order_asked_for(pool: CodecPool, tmp_path: Path) -> None:
    changed(RGB.written(tmp_path), "jk", tmp_path / "out")
    expected = RGB.pixels()
    frames = list(pool.decode(tmp_path / "out"))
    assert [frame.number for frame in frames] == [0, 1]
    assert all(np.array_equal(frame.pixels, expected[frame.number]) for frame in frames)
    assert [frame.number for frame in pool.decode(tmp_path / "out", [1, 0, 1])] == [1, 0, 1]
    with pytest.raises(NotConvertible, match="it has no frame 2, but 0 to 1"):
        list(pool.decode(tmp_path / "out", [2]))


def test_objects_are_transcoded_in_it_by_many_at_once(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    with CodecPool(2) as made:
        codes = ("j1", "js", "jk", "jh", "jr", "n4", "j3", "k8")
        waiting = [made.submit(transcode, source, Wanted(code), tmp_path / code) for code in codes]
        done = {code: one.result(30) for code, one in zip(codes, waiting, strict=True)}
    assert [code for code in codes if not done[code].changed] == ["k8"]
    assert all(np.array_equal(decoded(tmp_path / code), CT.pixels()) for code in codes[:6])


def test_waiting_for_a_worker_is_ended_by_closing() -> None:
    made = CodecPool(1, seconds=30)
    started = threading.Event()

    def first() -> None:
        started.set()
        with pytest.raises(CodecFailed):
            made.run(hang)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(first)
        started.wait()
        time.sleep(0.2)
        made.close()
        running.result(20)
