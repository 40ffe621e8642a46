"""Timing: rounds in which every contender runs once, in turn, so that the machine's moods hit all of them."""

from __future__ import annotations

import mmap
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.report import Bar, Section, table
from tests.peers import ENVIRONMENT

_TICK = os.sysconf("SC_CLK_TCK")
_LEFT_MB = 3072
_SPARED_MB = 128


@dataclass(frozen=True)
class Contender:
    """Something that is measured: what a run does, given its number, and the processes of the server that does it.

    `ours` names the contender of ours that its time is compared to.
    """

    name: str
    run: Callable[[int], float]
    ours: str
    pid: int = 0


@dataclass
class Measured:
    """Wall seconds and the server's CPU seconds of each run of one contender."""

    ours: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


@dataclass
class Result:
    """What rounds gave, by contender; `count` is how many of `unit` one run handles."""

    title: str
    unit: str
    count: int
    runs: dict[str, Measured] = field(default_factory=dict)

    def ratio(self, ours: str, other: str) -> float | None:
        """Our median time by the other's; None when either did not run."""
        if ours not in self.runs or other not in self.runs:
            return None
        return self.runs[ours].median / self.runs[other].median

    def section(self, bars: Sequence[Bar] = ()) -> Section:
        """A table: median, range, rate, CPU, and the ratio of our time to each rival's."""
        rows = []
        for name, measured in self.runs.items():
            ratio = self.ratio(measured.ours, name)
            rows.append(
                [
                    name,
                    f"{measured.median:.4f}",
                    f"{min(measured.wall):.4f} - {max(measured.wall):.4f}",
                    f"{self.count / measured.median:.0f}",
                    f"{statistics.median(measured.cpu):.2f}",
                    "" if ratio is None or measured.ours == name else f"{ratio:.2f} ({measured.ours})",
                ]
            )
        heads = ["", "median s", "range s", f"{self.unit}/s", "server CPU s", "our time / this"]
        return Section(self.title, table(heads, rows), tuple(bars))


def rounds(
    result: Result,
    contenders: Sequence[Contender],
    runs: int,
    before: Callable[[int], None] = lambda number: None,
) -> Result:
    """Run every contender `runs` times, in turn, after a round that does not count.

    `before` is called ahead of each round. What was written before a run is on the disk when it begins, and the memory
    that it will use has been in use.
    """
    for number in range(runs + 1):
        before(number)
        for contender in contenders:
            os.sync()
            warm_memory()
            spent = cpu_seconds(contender.pid)
            wall = contender.run(number)
            if number:
                measured = result.runs.setdefault(contender.name, Measured(contender.ours))
                measured.wall.append(wall)
                measured.cpu.append(cpu_seconds(contender.pid) - spent)
    return result


@contextmanager
def scarce_memory() -> Iterator[None]:
    """Hold the free memory but for some, so that what is used meanwhile is the same again and again.

    A virtual machine gives free memory back to its host; the next use of a page is several times slower, and whom that
    hits is chance.
    """
    with _used_memory(_LEFT_MB):
        yield


def warm_memory() -> None:
    """Where memory is scarce, use what is left of it and let go of it, so that what is written next is quick."""
    if _free_mb() < 2 * _LEFT_MB:
        with _used_memory(_SPARED_MB):
            pass


@contextmanager
def _used_memory(but_mb: int) -> Iterator[None]:
    size = _free_mb() - but_mb << 20
    if size <= 0:
        yield
        return
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        yield


def _free_mb() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) >> 10
    return 0


def timed(commands: Sequence[Sequence[str]]) -> float:
    """Run programs side by side; seconds until the last has ended, all of them well."""
    start = time.perf_counter()
    running = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for command in commands
    ]
    said = [process.communicate()[1] for process in running]
    seconds = time.perf_counter() - start
    failed = [(process.args, error) for process, error in zip(running, said, strict=True) if process.returncode]
    assert not failed, failed
    return seconds


def cpu_seconds(pid: int) -> float:
    """What a process and those below it have used, ended ones included; 0 for no process."""
    while pid:
        try:
            return sum(sum(map(int, _stat(one)[11:15])) for one in family(pid)) / _TICK
        except (FileNotFoundError, ProcessLookupError):
            _stat(pid)  # one of those below has ended meanwhile, and counts with its parent now
    return 0.0


def memory_mb(pid: int) -> float:
    """The memory of a process and those below it but for files, pages that they share counted once (anonymous PSS)."""
    total = 0
    for one in family(pid):
        for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                total += int(line.split()[1])
    return total / 1024


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def children_of_ours() -> list[int]:
    """The processes that this one has started and that still run."""
    return [one for one in family(os.getpid())[1:] if int(_stat(one)[1]) == os.getpid() and _stat(one)[0] != "Z"]
