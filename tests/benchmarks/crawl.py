"""The crawler beside med-imagetools' own, which is installed for it: time and peak memory, cold and with its cache."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measure import Contender, Result, rounds
from tests.benchmarks.report import Bar, Section, table
from tests.objects import encoded, with_pixels
from tests.servers import environment
from tests.test_crawl.material import by_series, ct, dose, plan, put, refers, structure_set, uid

VERSION = "2.16.0"
_PER_SERIES = 100
# A process inherits the peak of the one that starts it, so that has to be a small one.
_LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(seconds, used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(code)
"""
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dgate-bench"


def imgtools() -> Path | None:
    """med-imagetools' program, installed below the cache directory when it is not there yet; None when it cannot be."""
    directory = _CACHE / f"med-imagetools-{VERSION}"
    program = directory / "bin" / "imgtools"
    if not program.exists():
        shutil.rmtree(directory, ignore_errors=True)
        try:
            venv.create(directory, with_pip=True)
            pip = [directory / "bin" / "python", "-m", "pip", "install", "--quiet", f"med-imagetools=={VERSION}"]
            subprocess.run(pip, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"SKIPPED: med-imagetools {VERSION} cannot be installed in {directory}: {error}", file=sys.stderr)
            return None
    return program


def trees(root: Path, files: int) -> None:
    """Write CT series of 100 images of 64x64 with a structure set, plan and dose for every tenth, `files` in all."""
    for series in range(1, files // _PER_SERIES + 1):
        directory = root / f"P{series:05}"
        patient = {"PatientID": f"P{series}", "StudyInstanceUID": f"{uid(series)}.0"}
        image = with_pixels(ct(series, Manufacturer="Scanners", SpecificCharacterSet=None, **patient), 64, 64)
        others = 3 if series % 10 == 0 else 0
        # Numbers of five digits, so that images differ in nothing but their UID.
        image.SOPInstanceUID = f"{uid(series)}.10000"
        raw = encoded(image)
        (directory / "CT").mkdir(parents=True)
        for number in range(10_000, 10_000 + _PER_SERIES - others):
            sop = f"{uid(series)}.{number}".encode()
            (directory / "CT" / f"{number}.dcm").write_bytes(raw.replace(image.SOPInstanceUID.encode(), sop))
        if others:
            put(directory / "RS" / "1.dcm", structure_set(f"{series}1", by_series(series)))
            put(directory / "RP" / "1.dcm", plan(f"{series}2", f"{series}1"))
            put(directory / "RD" / "1.dcm", dose(f"{series}3", ReferencedRTPlanSequence=refers(f"{series}2")))


@dataclass
class _Program:
    """One program on one tree: its command line, and of each run that counts its peak memory in MB and its CPU time."""

    command: list[str]
    files: int
    peaks: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self, number: int) -> float:
        launched = [sys.executable, "-I", "-c", _LAUNCHER, *self.command]
        ran = subprocess.run(launched, env=environment(), capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        seconds, kilobytes, cpu = map(float, ran.stdout.split())
        rows = (Path(self.command[-1]) / "DICOM" / "index.csv").read_text().splitlines()[1:]
        counted = sum(int(row.split(",")[-2]) for row in rows)
        assert counted == self.files, f"{counted} of {self.files} files are indexed"
        if number:
            self.peaks.append(kilobytes / 1024)
            self.cpu.append(cpu)
        return seconds


def crawl(base: Path, files: int, runs: int) -> list[Section]:
    """`dgate crawl` and `imgtools index`, one process each, program start included; again: with what it left behind."""
    root = base / "DICOM"
    trees(root, files)
    ours = [sys.executable, "-m", "dgate", "crawl", str(root), "--n-jobs", "1", "-q"]
    where = ["--output-dir", str(base / "ours")]
    programs = {
        "dgate crawl": _Program([*ours, "--force", *where], files),
        "dgate crawl, again": _Program([*ours, *where], files),
    }
    rival = imgtools()
    if rival is not None:
        theirs = [str(rival), "index", "--dicom-dir", str(root), "--n-jobs", "1"]
        where = ["--output-dir", str(base / "theirs")]
        programs["imgtools index"] = _Program([*theirs, "--force", *where], files)
        programs["imgtools index, again"] = _Program([*theirs, *where], files)
    contenders = [
        Contender(name, one.run, "dgate crawl, again" if name.endswith("again") else "dgate crawl")
        for name, one in programs.items()
    ]
    result = rounds(Result(f"Crawling {files} small files", "files", files), contenders, runs)
    cold = result.ratio("dgate crawl", "imgtools index")
    bars = (Bar(f"crawl of {files} small files vs med-imagetools' crawler", cold, 0.5, 0.2),)
    rows = [
        [name, f"{statistics.median(one.peaks):.0f}", f"{statistics.median(one.cpu):.2f}"]
        for name, one in programs.items()
    ]
    return [result.section(bars), Section("Memory and CPU time of the crawlers", table(["", "peak MB", "CPU s"], rows))]
