"""What measurements look like: tables in Markdown, the bars they are held to, the machine, the file that keeps them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_BARS = ["work", "measured", "first bar", "", "then", ""]


@dataclass(frozen=True)
class Bar:
    """One figure of the design's table: what was measured and the two marks it is held to.

    `measured` is None when what it is compared with is not installed. With `high` more is better.
    """

    work: str
    measured: float | None
    first: float
    then: float
    unit: str = ""
    high: bool = False

    def row(self) -> list[str]:
        relation = "≥" if self.high else "≤"
        digits = 0 if self.measured is not None and abs(self.measured) >= 100 else 2
        cells = [self.work, "not measured" if self.measured is None else f"{self.measured:,.{digits}f}{self.unit}"]
        for mark in (self.first, self.then):
            met = self.measured is not None and (self.measured >= mark if self.high else self.measured <= mark)
            cells += [f"{relation} {mark:,g}{self.unit}", "" if self.measured is None else "met" if met else "missed"]
        return cells


@dataclass(frozen=True)
class Section:
    """One measurement as it is printed and kept."""

    title: str
    body: str
    bars: tuple[Bar, ...] = ()

    def markdown(self) -> str:
        parts = [f"### {self.title}", self.body]
        if self.bars:
            parts.append(table(_BARS, [bar.row() for bar in self.bars]))
        return "\n\n".join(parts)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_HEAD = """# Benchmarks

What `make bench ARGS="--write docs/benchmarks.md"` measured last; it writes this file, a section a part.

Every contender of a table ran in the same rounds, in turn, after a round that does not count, with the same files,
whose UIDs no run had seen before; afterwards the objects were counted. Clients and servers share the cores. DCMTK
programs and Orthanc send without delay (`TCP_NODELAY`) and in PDUs of 128 KB. *fast* and *safe* are our `Durability`,
with the index on; each is compared with what is as durable: *fast* with programs that do not sync, *safe* with those
that do. *limit* is `tests/benchmarks/limit.c`, which receives, writes, perhaps syncs, renames and answers, and does
nothing else. CPU seconds are those of the server and its children. A virtual machine gives memory that is free back to
its host, and its next use is slow: all but 3 GB of it is held while measuring, and most of that is used just before
each run.
"""
_PART = re.compile(r"<!-- part ([\w-]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def kept(path: Path, parts: Mapping[str, str], order: Sequence[str]) -> str:
    """The text of the file with these parts anew and the others as they were, below a table of all their bars."""
    before = dict(_PART.findall(path.read_text())) if path.exists() else {}
    together = {**before, **parts}
    sections = [f"<!-- part {name} -->\n{together[name].strip()}\n<!-- end -->\n" for name in order if name in together]
    bars = [line for section in sections for line in section.splitlines() if _is_bar(line)]
    summary = "\n".join([table(_BARS, []), *bars, ""])
    return "\n".join([_HEAD, "## Bars", "", summary, "## Measurements", "", *sections])


def _is_bar(line: str) -> bool:
    cells = [cell.strip() for cell in line.split("|")]
    return len(cells) == len(_BARS) + 2 and cells[3][:1] in ("≤", "≥")


def machine(where: Path) -> str:
    """One paragraph on what was measured on, and with which programs."""
    cpu = _value("/proc/cpuinfo", "model name", ":") or platform.processor() or "unknown"
    memory = int((_value("/proc/meminfo", "MemTotal", ":") or "0").split()[0]) / (1 << 20)
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    versions = [
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        *(f"{name} {version(name)}" for name in ("pynetdicom", "pydicom", "SQLAlchemy")),
        *(filter(None, (_program("DCMTK", "storescp", "--version"), _program("Orthanc", "Orthanc", "--version")))),
    ]
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB, {platform.system()} {platform.release()}, "
        f"{_file_system(where)}; {', '.join(versions)}. Load average before: {load}."
    )


def _value(path: str, key: str, separator: str) -> str:
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(separator)
        if name.strip() == key:
            return value.strip()
    return ""


def _program(name: str, *command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(?:\.\d+)?", said.stdout + said.stderr)
    return f"{name} {found[0]}" if found else name


def _file_system(where: Path) -> str:
    """The file system of a directory and its options that matter."""
    best, shown = "", "unknown file system"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, options, *_ = line.split()
        if where.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, shown = mount, f"{kind} ({options})"
    return shown
