"""Pixel data elements: encapsulated streams (PS3.5 A.4), native pixels and NKI data, made frame by frame."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from struct import pack
from typing import BinaryIO, Protocol

import numpy as np

from storage.codecs import nki
from storage.codecs.forms import Form
from storage.codecs.native import Element
from storage.codecs.pixels import PixelFormat, Pixels, normalised, to_native
from storage.elements import UNDEFINED
from storage.errors import CodecFailed, NotConvertible

_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
_PIECE = 1 << 20
_LARGEST = 0xFFFFFFFE


class Frames(Protocol):
    """Decoded frames of an object by number, and what they are."""

    format: PixelFormat

    def read(self, number: int) -> Pixels: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """The frames `numbers` of an image, made smaller by taking each `step`-th pixel, values divided and cut off."""

    frames: Frames
    numbers: Sequence[int]
    step: int = 1
    factor: int = 0
    cutoff: int = 0

    @property
    def format(self) -> PixelFormat:
        """What the frames are after that."""
        form = self.frames.format
        return replace(
            form,
            rows=max(1, form.rows // self.step),
            columns=max(1, form.columns // self.step),
            frames=len(self.numbers),
        )

    def __iter__(self) -> Iterator[Pixels]:
        form = self.format
        for number in self.numbers:
            pixels = self.frames.read(number)
            if self.step > 1:
                pixels = pixels[:: self.step, :: self.step][: form.rows, : form.columns]
            if self.factor:
                # Halves of negative values go towards zero, as C divides.
                wide = pixels.astype(np.int64)
                pixels = np.where(wide < self.cutoff, 0, np.sign(wide) * (np.abs(wide) // self.factor))
            yield np.ascontiguousarray(pixels, form.dtype)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encapsulated pixels in a temporary file: the element to write, the bytes of all streams."""

    element: Element
    size: int


@contextmanager
def encapsulated(selection: Selection, row: Form, quality: int) -> Iterator[Encoded]:
    """Encode frames one by one; the streams lie on disk until the element is written, for its head has their places.

    Raises CodecFailed for what the encoder refuses.
    """
    assert row.encode is not None, "a form that is only read"
    form = selection.format
    lengths: list[int] = []
    with tempfile.TemporaryFile() as streams:
        for number, pixels in enumerate(selection):
            try:
                stream = row.encode(pixels, form, quality)
            except (RuntimeError, ValueError) as error:
                raise CodecFailed(f"{row.text} does not take frame {number}: {error}") from None
            stream += b"\0" * (len(stream) % 2)
            streams.write(stream)
            lengths.append(len(stream))
        streams.seek(0)
        yield Encoded(Element("OB", UNDEFINED, _items(streams, lengths)), sum(lengths))


def _items(streams: BinaryIO, lengths: Sequence[int]) -> Iterator[bytes]:
    """The basic offset table, empty where its 32 bits do not do, and an item a frame."""
    offsets = [0]
    for length in lengths[:-1]:
        offsets.append(offsets[-1] + 8 + length)
    table = pack(f"<{len(offsets)}L", *offsets) if offsets[-1] <= _LARGEST else b""
    yield _ITEM + pack("<L", len(table)) + table
    for length in lengths:
        yield _ITEM + pack("<L", length)
        left = length
        while left:
            piece = streams.read(min(left, _PIECE))
            left -= len(piece)
            yield piece
    yield _END


def native(selection: Selection) -> Element:
    """The element of uncompressed little endian pixels; frames are decoded while it is written."""
    form = selection.format
    size = form.native_bytes
    if size > _LARGEST:
        raise NotConvertible(f"{size >> 20} MB of pixels do not fit in one uncompressed element")
    vr = "OW" if form.bits_allocated > 8 else "OB"
    return Element(vr, size + size % 2, _native_pieces(selection, size % 2))


def _native_pieces(selection: Selection, padding: int) -> Iterator[bytes]:
    form = selection.format
    if form.bits_allocated == 1 and form.frame_bits % 8:
        # Frames follow one another bit by bit.
        yield to_native(np.concatenate([pixels.reshape(-1) for pixels in selection]), form)
    else:
        for pixels in selection:
            yield to_native(pixels, form)
    yield b"\0" * padding


def nki_data(selection: Selection, mode: int) -> tuple[Element, int]:
    """The element of NKI data, and the mode it is in: 4 instead of 5 where 13 bits do not hold the values."""
    form = selection.format
    data = b"".join(_native_pieces(selection, form.native_bytes % 2))
    if mode == 5 and not _fits_13_bits(data, form):
        mode = 4
    stream = nki.encode(data, mode)
    return Element("OW" if form.bits_allocated > 8 else "OB", len(stream), (stream,)), mode


def _fits_13_bits(data: bytes, form: PixelFormat) -> bool:
    words = np.frombuffer(data, "<u2")
    if int(words.max()) < 1 << 13:
        return True
    if form.bits_allocated != 16 or form.bits_stored > 13:
        return False
    # What is above the stored bits is a sign, which readers find again.
    kept = normalised((words & 0x1FFF).view(form.dtype), form)
    return bool(np.array_equal(kept, words.view(form.dtype)))
