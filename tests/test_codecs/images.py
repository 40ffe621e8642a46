"""Images of every kind for the codec tests, as arrays and as objects, and other people's decoders."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from storage.codecs.frames import decode_frames
from storage.transcode import Transcoded, Wanted, transcode
from tests.objects import ds, write

Array = NDArray[Any]

JPEG = "1.2.840.10008.1.2.4."


@dataclass(frozen=True)
class Kind:
    """A kind of image; `name` is what a test is called after."""

    name: str
    bits: int = 8
    allocated: int = 8
    signed: bool = False
    photometric: str = "MONOCHROME2"
    samples: int = 1
    planar: int = 0
    frames: int = 1
    rows: int = 37
    columns: int = 51

    def pixels(self, seed: int = 1) -> Array:
        """Waves with noise that reach both ends of the range: frames, rows, columns, samples."""
        random = np.random.default_rng(seed)
        y, x = np.mgrid[0 : self.rows, 0 : self.columns]
        top = (1 << self.bits) - 1
        planes = []
        for number in range(self.frames * self.samples):
            wave = (np.sin(x / 19 + number) + np.cos(y / 23) + 2) / 4 * top
            planes.append(wave + random.normal(0, top / 200, wave.shape))
        values = np.clip(np.array(planes), 0, top).astype(np.int64)
        values[:, 0, 0], values[:, -1, -1] = 0, top
        if self.signed:
            values -= 1 << self.bits - 1
        shaped = values.reshape(self.frames, self.samples, self.rows, self.columns).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(shaped, f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    def made(self, pixels: Array | None = None, **keywords: Any) -> Dataset:
        """An object with these pixels, those of `pixels()` by default."""
        values = self.pixels() if pixels is None else pixels
        single = SecondaryCaptureImageStorage if self.samples > 1 else CTImageStorage
        made = ds(
            SOPClassUID=single if self.frames == 1 else MultiFrameTrueColorSecondaryCaptureImageStorage,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )
        made.Rows, made.Columns, made.SamplesPerPixel = self.rows, self.columns, self.samples
        made.PhotometricInterpretation = self.photometric
        made.BitsAllocated, made.BitsStored, made.HighBit = self.allocated, self.bits, self.bits - 1
        made.PixelRepresentation = int(self.signed)
        if self.samples > 1:
            made.PlanarConfiguration = self.planar
            if self.planar:
                values = values.transpose(0, 3, 1, 2)
        if self.frames > 1:
            made.NumberOfFrames = self.frames
        if self.photometric == "PALETTE COLOR":
            for colour in ("Red", "Green", "Blue"):
                setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
                setattr(made, f"{colour}PaletteColorLookupTableData", bytes(512))
        raw = np.ascontiguousarray(values).tobytes()
        made.PixelData = raw + b"\0" * (len(raw) % 2)
        made["PixelData"].VR = "OW" if self.allocated > 8 else "OB"
        for keyword, value in keywords.items():
            setattr(made, keyword, value)
        return made

    def written(self, directory: Path, **keywords: Any) -> Path:
        return write(directory, self.made(**keywords))


GREY = tuple(
    Kind(f"{'signed' if signed else 'unsigned'} {bits} of {allocated} bits", bits, allocated, signed)
    for bits, allocated in ((8, 8), (8, 16), (10, 16), (12, 16), (16, 16))
    for signed in (False, True)
)
RGB = Kind("RGB", photometric="RGB", samples=3, frames=2)
COLOUR = (
    RGB,
    replace(RGB, name="RGB plane by plane", planar=1),
    replace(RGB, name="RGB of 16 bits", bits=16, allocated=16, frames=1),
    replace(RGB, name="YBR_FULL", photometric="YBR_FULL"),
    Kind("palette", photometric="PALETTE COLOR", frames=3),
)
ODD = (
    Kind("one pixel", rows=1, columns=1),
    Kind("one row", 12, 16, rows=1, columns=77),
    Kind("one column", 16, 16, signed=True, rows=65, columns=1),
    Kind("five odd frames", 12, 16, photometric="MONOCHROME1", frames=5, rows=65, columns=97),
)
EVERY = (*GREY, *COLOUR, *ODD)
CT = Kind("CT", 12, 16, rows=96, columns=120)


def names(kinds: tuple[Kind, ...]) -> list[str]:
    return [kind.name for kind in kinds]


def decoded(path: Path) -> Array:
    """All frames as our decoders give them: frames, rows, columns, samples."""
    frames = [frame.pixels for frame in decode_frames(path)]
    return np.array(frames).reshape(len(frames), *frames[0].shape[:2], -1)


def changed(path: Path, to: str, out: Path, **wanted: Any) -> Transcoded:
    """Transcode an object that must not stay as it is."""
    done = transcode(path, Wanted(to, **wanted), out)
    assert done.changed, done.reason
    return done


def by_program(command: list[str], source: Path, out: Path) -> Array:
    """All frames as a program writes them uncompressed: the stored bits, with their sign."""
    ran = subprocess.run([*command, str(source), str(out)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
    return native(pydicom.dcmread(out))


def native(made: Dataset) -> Array:
    """The frames of an uncompressed object, read without any of our code."""
    frames, samples = int(made.get("NumberOfFrames", 1)), made.SamplesPerPixel
    shape = (frames, made.Rows, made.Columns, samples)
    kind = np.dtype(f"<u{made.BitsAllocated // 8}")
    values = np.frombuffer(made.PixelData, kind, int(np.prod(shape))).astype(np.int64)
    if samples > 1 and made.get("PlanarConfiguration", 0):
        values = values.reshape(frames, samples, made.Rows, made.Columns).transpose(0, 2, 3, 1)
    values = values.reshape(shape) & (1 << made.BitsStored) - 1
    if made.PixelRepresentation:
        values = np.where(values >> made.BitsStored - 1, values - (1 << made.BitsStored), values)
    return values
