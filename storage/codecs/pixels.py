"""What the pixels of an object look like (PS3.3 C.7.6.3), and frames as numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import NotConvertible

Pixels = NDArray[Any]

# One frame of whole-slide or of a long detector has less; what claims more is damaged or wants to fill memory.
MAX_FRAME_BYTES = 1 << 30
# More frames than any object has, PS3.3 leaves room for 2**31.
MAX_FRAMES = 10_000_000

YBR_422 = "YBR_FULL_422"


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The image pixel attributes of an object: what its frames hold once they are decoded.

    `samples` are values a pixel, `planar` 1 has them one plane after the other. Bits above `bits_stored` mean nothing.
    """

    rows: int
    columns: int
    frames: int = 1
    samples: int = 1
    photometric: str = "MONOCHROME2"
    planar: int = 0
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    signed: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value in an array: that of the allocated bits; one bit has a byte."""
        return np.dtype(f"{'i' if self.signed else 'u'}{max(1, self.bits_allocated // 8)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame: rows, columns, and samples where there are several."""
        return (self.rows, self.columns, self.samples)[: 2 + (self.samples > 1)]

    @property
    def frame_bits(self) -> int:
        """Bits of one frame in native form; frames of one bit a pixel follow one another without padding."""
        samples = 2 if self.photometric == YBR_422 else self.samples
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames in native form, without padding."""
        return (self.frame_bits * self.frames + 7) // 8

    @property
    def lowest(self) -> int:
        """The smallest value that the stored bits hold."""
        return -(1 << self.bits_stored - 1) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest value that the stored bits hold."""
        return (1 << self.bits_stored - self.signed) - 1

    def check(self) -> None:
        """Raise NotConvertible, naming the attribute, for what no frame can be made of."""
        for name, value, low, high in (
            ("Rows", self.rows, 1, 0xFFFF),
            ("Columns", self.columns, 1, 0xFFFF),
            ("Number of Frames", self.frames, 1, MAX_FRAMES),
            ("Bits Stored", self.bits_stored, 1, self.bits_allocated),
            ("High Bit", self.high_bit, self.bits_stored - 1, self.bits_allocated - 1),
            ("Planar Configuration", self.planar, 0, 1),
        ):
            if not low <= value <= high:
                raise NotConvertible(f"its {name} is {value}")
        if self.samples not in (1, 3, 4):
            raise NotConvertible(f"its Samples per Pixel is {self.samples}")
        if self.bits_allocated not in (1, 8, 16, 32):
            raise NotConvertible(f"its Bits Allocated is {self.bits_allocated}")
        if self.bits_allocated == 1 and self.samples > 1:
            raise NotConvertible("it has several samples of one bit")
        if self.rows * self.columns * self.samples * self.dtype.itemsize > MAX_FRAME_BYTES:
            raise NotConvertible(
                f"its frames of {self.columns} x {self.rows} are larger than {MAX_FRAME_BYTES >> 20} MB"
            )

    def check_native(self) -> None:
        """Raise NotConvertible where uncompressed pixels cannot be of this format."""
        if self.photometric == YBR_422 and (self.samples, self.bits_allocated, self.columns % 2) != (3, 8, 0):
            raise NotConvertible(f"its pixels are no {YBR_422}")

    def decoded(self) -> PixelFormat:
        """The format of frames as arrays: samples together, 4:2:2 spread to every pixel, bits from bit 0 on."""
        photometric = "YBR_FULL" if self.photometric == YBR_422 else self.photometric
        return replace(self, photometric=photometric, planar=0, high_bit=self.bits_stored - 1)


def read_format(values: Mapping[int, bytes], *, little_endian: bool = True) -> PixelFormat:
    """Read a format out of the values of a data set by tag; raises NotConvertible where it has no image.

    What cannot be is not looked at: `PixelFormat.check` does.
    """

    def number(tag: int, default: int) -> int:
        value = values.get(tag, b"")
        return int.from_bytes(value[:2], "little" if little_endian else "big") if len(value) >= 2 else default

    if 0x00280010 not in values or 0x00280011 not in values:
        raise NotConvertible("it has no image")
    allocated = number(0x00280100, 16)
    stored = number(0x00280101, allocated)
    return PixelFormat(
        rows=number(0x00280010, 0),
        columns=number(0x00280011, 0),
        frames=_frames(values.get(0x00280008, b"")),
        samples=number(0x00280002, 1),
        photometric=values.get(0x00280004, b"").decode("latin-1").strip(" \0") or "MONOCHROME2",
        planar=number(0x00280006, 0),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=number(0x00280102, stored - 1),
        signed=number(0x00280103, 0) != 0,
    )


def _frames(value: bytes) -> int:
    text = value.strip(b" \0")
    if not text:
        return 1
    try:
        return int(text[:32])
    except ValueError:
        raise NotConvertible(f"its Number of Frames is {text[:32].decode('latin-1')!r}") from None


def from_native(data: bytes, form: PixelFormat, *, skipped_bits: int = 0, big_endian: bool = False) -> Pixels:
    """Make a frame of its native bytes; of one-bit pixels `skipped_bits` of the first byte are of another frame."""
    if form.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        return bits[skipped_bits : skipped_bits + form.rows * form.columns].reshape(form.shape).astype(form.dtype)
    if form.photometric == YBR_422:
        return _spread_422(np.frombuffer(data, np.uint8), form)
    words = np.frombuffer(data, form.dtype.newbyteorder(">" if big_endian else "<"))
    if form.samples > 1 and form.planar:
        words = words.reshape(form.samples, form.rows, form.columns).transpose(1, 2, 0)
    return normalised(words.reshape(form.shape), form)


def normalised(pixels: Pixels, form: PixelFormat) -> Pixels:
    """Give an array the type of `form`, its stored bits moved down to bit 0 and the bits above them sign or zero."""
    width = form.dtype.itemsize * 8
    up = width - 1 - form.high_bit
    down = width - form.bits_stored
    if form.bits_allocated == 1 or not (up or down):
        return np.ascontiguousarray(pixels, form.dtype)
    unsigned = pixels.astype(f"u{form.dtype.itemsize}", copy=False)
    shifted = (unsigned << up if up else unsigned).view(form.dtype)
    return np.ascontiguousarray(shifted >> down, form.dtype)


def to_native(pixels: Pixels, form: PixelFormat) -> bytes:
    """Write a frame in native little endian form, samples together or, where `form` says so, plane by plane."""
    if form.bits_allocated == 1:
        return np.packbits(pixels.reshape(-1).astype(np.uint8), bitorder="little").tobytes()
    if form.samples > 1 and form.planar:
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, form.dtype.newbyteorder("<")).tobytes()


def _spread_422(data: NDArray[np.uint8], form: PixelFormat) -> Pixels:
    """Give each pixel the colour difference of its pair (PS3.3 C.7.6.3.1.2: Y1 Y2 Cb Cr)."""
    pairs = data.reshape(form.rows, form.columns // 2, 4)
    out = np.empty((form.rows, form.columns // 2, 2, 3), np.uint8)
    out[..., 0] = pairs[..., :2]
    out[..., 1:] = pairs[..., None, 2:]
    return out.reshape(form.shape)
