"""Timing: rounds in which every contender runs once, in turn, so that the machine's moods hit all of them."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import ENVIRONMENT


@dataclass
class Result:
    """Seconds per contender, one a round; the first contender is what the others are compared to."""

    title: str
    unit: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    count: int = 1

    def markdown(self) -> str:
        """A table: median, range, rate, and the ratio of our time to each rival's."""
        ours = statistics.median(next(iter(self.seconds.values())))
        rows = [
            f"### {self.title}",
            "",
            f"| | median s | range s | {self.unit}/s | ours / this |",
            "|---|---|---|---|---|",
        ]
        for name, values in self.seconds.items():
            middle = statistics.median(values)
            rows.append(
                f"| {name} | {middle:.3f} | {min(values):.3f} - {max(values):.3f} | {self.count / middle:.0f} "
                f"| {ours / middle:.2f} |"
            )
        return "\n".join([*rows, ""])


def rounds(result: Result, contenders: Mapping[str, Callable[[int], float]], runs: int, where: Path) -> Result:
    """Run every contender `runs` times, in turn, after a round that does not count; `where` is on the disk measured."""
    for number in range(-1, runs):
        for name, contender in contenders.items():
            with tempfile.TemporaryDirectory(dir=where) as directory:
                warm_memory(Path(directory))
            seconds = contender(number + 1)
            if number >= 0:
                result.seconds.setdefault(name, []).append(seconds)
    return result


def warm_memory(directory: Path, megabytes: int = 512) -> None:
    """Write files and delete them, so that what is written next goes to memory that was in use before.

    The first use of a page is ten times slower on a virtual machine, and whom that hits is chance.
    """
    block = bytes(1 << 20)
    with (directory / "warm").open("wb") as target:
        for _ in range(megabytes):
            target.write(block)


def timed(commands: list[list[str]]) -> float:
    """Run programs side by side; seconds until the last has ended, all of them well."""
    start = time.perf_counter()
    running = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for command in commands
    ]
    failed = [
        (process.args, error) for process in running if (error := process.communicate()[1]) and process.returncode
    ]
    seconds = time.perf_counter() - start
    assert not failed, failed
    assert not [process.args for process in running if process.returncode], "a client failed"
    return seconds


def machine() -> str:
    """One paragraph on what was measured on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{os.cpu_count()} cores ({model}), {platform.system()}, Python {platform.python_version()}; "
        f"load before: {load}; clients and servers share the cores; TCP_NODELAY=1 and 128 KB PDUs for DCMTK programs."
    )
