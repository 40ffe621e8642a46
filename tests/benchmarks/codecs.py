"""Encoding and decoding of whole objects, file to file in one process, beside the tools of DCMTK and GDCM."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storage.pool import CodecPool
from storage.transcode import Wanted, transcode
from storage.transfer import EXPLICIT_LITTLE
from tests.benchmarks.measure import timed
from tests.benchmarks.report import Section, table
from tests.objects import ds, write

_SIDE = 512
_FRAMES = 64
_MB = 1e6


@dataclass(frozen=True)
class Code:
    """A code of ours, and the command lines that do the same; empty where a program cannot."""

    code: str
    text: str
    dcmtk: tuple[str, ...] = ()
    dcmtk_back: tuple[str, ...] = ()
    gdcm: tuple[str, ...] = ()


_CODES = (
    Code("j1", "JPEG lossless", ("dcmcjpeg", "+e1"), ("dcmdjpeg",), ("--jpeg",)),
    Code("j3", "JPEG extended, 12 bits", ("dcmcjpeg", "+ee"), ("dcmdjpeg",)),
    Code("js", "JPEG-LS lossless", ("dcmcjpls", "+el"), ("dcmdjpls",), ("--jpegls",)),
    Code("j7", "JPEG-LS near-lossless", ("dcmcjpls", "+en", "+md", "1"), ("dcmdjpls",)),
    Code("jk", "JPEG 2000 lossless", gdcm=("--j2k",)),
    Code("jl", "JPEG 2000, rate 10", gdcm=("--j2k", "--lossy", "-r", "10")),
    Code("jh", "HTJ2K lossless"),
    Code("jr", "RLE", ("dcmcrle",), ("dcmdrle",), ("--rle",)),
    Code("n2", "NKI mode 2"),
    Code("n4", "NKI mode 4"),
    Code("n5", "NKI mode 5"),
    Code("ud", "deflated", ("dcmconv", "+td"), ("dcmconv", "+te")),
)


def slices() -> bytes:
    """Pixels like those of CT: 12 bits, air around a body of soft edges, noise of 12 units in it."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    frames = []
    for number in range(_FRAMES):
        body = (x**2 + 1.3 * y**2) < 0.7 + 0.002 * number
        tissue = 1000 + 120 * np.sin(5 * x + number / 9) * np.cos(7 * y) + random.normal(0, 12, x.shape)
        frames.append(np.where(body, tissue, 24).clip(0, 4095).astype("<u2"))
    return b"".join(frame.tobytes() for frame in frames)


def codecs(base: Path, runs: int) -> list[Section]:
    """MB/s of uncompressed pixels, medians; what is not installed or not possible stays empty."""
    made = ds(SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3", Modality="OT", NumberOfFrames=_FRAMES)
    made.Rows = made.Columns = _SIDE
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = slices()
    made["PixelData"].VR = "OW"
    source = write(base, made)
    rows = []
    with CodecPool(1) as pool:
        for code in _CODES:
            rows.append(_row(pool, source, base, code, runs))
    heads = ["", "size %", "encode", "DCMTK", "GDCM", "decode", "DCMTK", "GDCM"]
    title = f"Codecs, MB/s on one core: an object of {_FRAMES} frames of {_SIDE}x{_SIDE}, 12 bits, file to file"
    return [Section(title, table(heads, rows))]


def _row(pool: CodecPool, source: Path, base: Path, code: Code, runs: int) -> list[str]:
    out, back = base / "encoded", base / "back"

    def encode() -> float:
        return _ours(pool, source, code.code, out)

    def decode() -> float:
        return _ours(pool, out, EXPLICIT_LITTLE, back)

    contenders: list[Callable[[], float] | None] = [
        encode,
        _program(code.dcmtk, source, base / "dcmtk"),
        _program(("gdcmconv", *code.gdcm) if code.gdcm else (), source, base / "gdcm"),
        decode,
        _program(code.dcmtk_back, out, base / "dcmtk"),
        _program(("gdcmconv", "--raw") if code.gdcm else (), out, base / "gdcm"),
    ]
    seconds: list[list[float]] = [[] for _ in contenders]
    for number in range(runs + 1):
        for found, contender in zip(seconds, contenders, strict=True):
            if contender is not None:
                taken = contender()
                if number:
                    found.append(taken)
    size = source.stat().st_size
    speeds = [f"{size / _MB / statistics.median(found):.0f}" if found else "" for found in seconds]
    return [f"`{code.code}` {code.text}", f"{100 * out.stat().st_size / size:.0f}", *speeds]


def _ours(pool: CodecPool, source: Path, to: str, out: Path) -> float:
    start = time.perf_counter()
    done = pool.run(transcode, source, Wanted(to), out)
    seconds = time.perf_counter() - start
    assert done.changed, done.reason
    return seconds


def _program(command: tuple[str, ...], source: Path, out: Path) -> Callable[[], float] | None:
    if not command or shutil.which(command[0]) is None:
        return None
    return lambda: timed([[*command, str(source), str(out)]])
