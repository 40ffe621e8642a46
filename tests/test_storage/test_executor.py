"""The pool of processes: real work, no share in interrupts, and an end with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import Dataset

from storage.executor import bulk_executor, processors
from storage.part10 import file_meta
from storage.scan import read_batch

ROOT = Path(__file__).resolve().parents[2]
ID = (0x00100020,)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_batches_are_read_by_other_processes(
    tmp_path: Path, encode: Callable[..., bytes], ds: Callable[..., Dataset]
) -> None:
    paths = []
    for number in range(20):
        path = tmp_path / f"{number:02d}.dcm"
        path.write_bytes(file_meta("1.2", "1.2.3.4", "1.2.840.10008.1.2.1") + encode(ds(PatientID=f"P{number}")))
        paths.append(path)
    with bulk_executor(2) as executor:
        results = list(executor.map(read_batch, [paths[:10], paths[10:]], [[ID]] * 2))
        assert executor.submit(os.getpid).result() != os.getpid()
    headers = [scanned.header for batch in results for scanned in batch]
    assert [header.text(*ID) for header in headers if header] == [f"P{number}" for number in range(20)]


def test_a_worker_leaves_interrupts_to_its_parent() -> None:
    with bulk_executor(1) as executor:
        worker = executor.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)
        assert executor.submit(os.getpid).result() == worker


def test_workers_end_when_their_parent_is_killed() -> None:
    script = (
        "import os, time\n"
        "from storage.executor import bulk_executor\n"
        "if __name__ == '__main__':\n"
        "    pool = bulk_executor(2)\n"
        "    print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert workers
        assert all(is_running(worker) for worker in workers)
        parent.kill()
    deadline = time.monotonic() + 20
    while any(is_running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(worker) for worker in workers)


def test_there_is_a_worker_for_each_processor() -> None:
    assert processors() == len(os.sched_getaffinity(0))
