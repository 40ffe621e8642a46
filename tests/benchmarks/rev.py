"""ReV previews: `dgate rev` beside pfdicom_rev 3.0.4 with the libraries of its time, over the same slices."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.uid import generate_uid

from tests.benchmarks.measure import Contender, Measured, Result, memory_mb, rounds
from tests.benchmarks.report import Bar, Section
from tests.objects import PREFIX, ds, encoded, with_pixels
from tests.servers import environment

# What pfdicom_rev 3.0.4 was used with; later releases of these are not compatible with it.
_ERA = ("pfdicom_rev==3.0.4", "pfdicom==1.7.10", "pftree==2.0.4", "pfmisc==1.3.32", "pydicom<3", "matplotlib")
# It calls these under these very names.
_TOOLS = ("/usr/bin/dcmj2pnm", "/usr/bin/convert", "/usr/bin/mogrify")
_SIZE = 512
_OURS, _THEIRS = "dgate rev", "pfdicom_rev"


def rev(base: Path, runs: int) -> list[Section]:
    """Previews of 200 CT in 10 series, with and without windows, and of 1 000 in one."""
    rival, why = _rival(base)
    sections = [
        _measured(base, "200 CT 512x512 in 10 series", _tree(base / "ten", 10, 20), runs, rival, bar=True),
        _measured(
            base, "200 CT 512x512 in 10 series, without windows", _tree(base / "bare", 10, 20, window=False), runs
        ),
        _thousand(base, runs, rival),
    ]
    if rival is None:
        sections.append(Section("pfdicom_rev", f"Not measured: {why}."))
    return sections


def _rival(base: Path) -> tuple[Path | None, str]:
    """Install pfdicom_rev into an environment of its own; None and the reason where that cannot be."""
    missing = [tool for tool in _TOOLS if not Path(tool).exists()]
    if missing:
        return None, f"{', '.join(missing)} missing (apt-get install dcmtk imagemagick)"
    venv = base / "pfdicom_rev"
    pip = [str(venv / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *_ERA]
    for command in ([sys.executable, "-m", "venv", str(venv)], pip):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None, f"it could not be installed: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"
    return venv / "bin/pfdicom_rev", ""


def _tree(root: Path, series: int, slices: int, *, window: bool = True) -> Path:
    """A library of noisy discs."""
    generator = np.random.default_rng(1)
    rows, columns = np.mgrid[:_SIZE, :_SIZE]
    disc = 1000 * np.exp(-((rows - _SIZE / 2) ** 2 + (columns - _SIZE / 2) ** 2) / 20_000) - 500
    noisy = [(disc + generator.integers(-60, 60, disc.shape)).astype("<i2") for _ in range(4)]
    for number in range(series):
        directory = root / f"00-yr/06-mo/{number // 5:02d}-ex/S{number}"
        directory.mkdir(parents=True)
        uid = generate_uid(PREFIX)
        for one in range(slices):
            made = with_pixels(ds(SeriesInstanceUID=uid, SeriesNumber=number, InstanceNumber=one), 8, 8)
            made.Rows = made.Columns = _SIZE
            made.PixelRepresentation, made.BitsStored, made.HighBit = 1, 16, 15
            if window:
                made.WindowCenter, made.WindowWidth = 40, 400
            made.PixelData = np.roll(noisy[one % len(noisy)], one, 0).tobytes()
            (directory / f"{one:04d}.dcm").write_bytes(encoded(made))
    return root


def _measured(
    base: Path, title: str, tree: Path, runs: int, rival: Path | None = None, *, bar: bool = False
) -> Section:
    """Both over copies of a tree, new for each run; each must have made a strip of every series."""
    contenders = [Contender(_OURS, _run(base, tree, _ours), _OURS)]
    if rival is not None:
        contenders.append(Contender(_THEIRS, _run(base, tree, lambda copy: _theirs(rival, copy)), _OURS))
    result = rounds(Result(f"Previews of {title}", "slices", _slices(tree)), contenders, runs)
    ratio = result.ratio(_OURS, _THEIRS)
    return result.section([Bar("ReV previews of 200 CT vs pfdicom_rev", ratio, 0.2, 0.05)] if bar else [])


def _thousand(base: Path, runs: int, rival: Path | None) -> Section:
    """One series of 1 000: time, and the memory of all processes together. pfdicom_rev runs once and makes no strip."""
    tree = _tree(base / "one", 1, 1000)
    peaks: list[float] = []

    def run(number: int) -> float:
        with _Watch() as watch:
            seconds = _run(base, tree, lambda copy: _ours(copy, watch))(number)
        peaks.append(watch.peak)
        return seconds

    result = rounds(
        Result("Previews of 1 000 CT 512x512 in one series", "slices", 1000), [Contender(_OURS, run, _OURS)], runs
    )
    if rival is not None:
        alone = _run(base, tree, lambda copy: _theirs(rival, copy), strips=False)
        result.runs[_THEIRS] = Measured(_OURS, [alone(0)], [0.0])
    return result.section([Bar("memory for 1 000 CT", max(peaks), 500, 300, " MB")])


def _run(base: Path, tree: Path, command: Callable[[Path], float], *, strips: bool = True) -> Callable[[int], float]:
    def run(number: int) -> float:
        copy = base / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tree, copy)
        seconds = command(copy)
        made = len(list(copy.rglob("preview.jpg")))
        series = len({path.parent for path in tree.rglob("*.dcm")})
        assert made == series or not strips, f"{made} strips of {series} series"
        return seconds

    return run


def _ours(copy: Path, watch: _Watch | None = None) -> float:
    command = [sys.executable, "-m", "dgate", "rev", "-I", str(copy), "-O", "%inputDir", "-v", "0"]
    return _timed(command, watch)


def _theirs(program: Path, copy: Path) -> float:
    return _timed([str(program), "-I", str(copy), "-O", "%inputDir", "--threads", "0", "-v", "0"])


def _timed(command: list[str], watch: _Watch | None = None) -> float:
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        if watch is not None:
            watch.pid = process.pid
        said = process.communicate()[1]
    seconds = time.perf_counter() - start
    assert process.returncode == 0, said
    return seconds


class _Watch:
    """Samples the memory of a process and those below it, ten times a second."""

    def __init__(self) -> None:
        self.pid = 0
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.1):
            try:
                self.peak = max(self.peak, memory_mb(self.pid) if self.pid else 0)
            except OSError:
                continue  # one of them has just ended


def _slices(tree: Path) -> int:
    return sum(1 for _ in tree.rglob("*.dcm"))
