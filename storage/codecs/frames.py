"""Frames of stored objects as arrays, whatever their transfer syntax."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from storage.codecs import nki
from storage.codecs.forms import FORMS, decoded_format
from storage.codecs.pixels import PixelFormat, Pixels, from_native, normalised
from storage.codecs.source import GE_BIG_ENDIAN, NKI, StoredPixels, open_pixels
from storage.errors import CodecFailed, NotConvertible, NotDicom
from storage.transfer import NATIVE

if TYPE_CHECKING:
    from storage.pool import CodecPool


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame, its number counted from 0: rows, columns and, where there are several, samples.

    `format` describes the pixels as they are here, PixelFormat.frames being those of the object: values are down at
    bit 0, signed ones with their sign; YBR_FULL_422 is spread to YBR_FULL; lossy JPEG and JPEG 2000 colour is RGB.
    Palettes, YBR_FULL and MONOCHROME1 are as stored.
    """

    number: int
    pixels: Pixels
    format: PixelFormat


def decode_frames(path: Path, frames: Iterable[int] | None = None, pool: CodecPool | None = None) -> Iterator[Frame]:
    """Yield frames of a stored object, all of them or those numbered, in the order asked for.

    With `pool` its workers decode. Without, this process does, which over a hostile stream may crash, hang or run out
    of memory: only inside a worker. Raises CodecFailed, NotConvertible when it has no image or not that frame,
    NotDicom, or OSError; maybe after the first frames.
    """
    if pool is not None:
        yield from pool.decode(path, frames)
        return
    with open_pixels(path) as stored:
        reader = FrameReader(stored)
        for number in range(stored.format.frames) if frames is None else frames:
            yield Frame(number, reader.read(number), reader.format)


class FrameReader:
    """Decodes the frames of an open image; `format` is theirs."""

    def __init__(self, stored: StoredPixels) -> None:
        self._stored = stored
        self._native: bytes | None = None
        self._row = FORMS.get(stored.transfer_syntax)
        if self._row is None and stored.transfer_syntax not in (*NATIVE, GE_BIG_ENDIAN, NKI):
            raise NotConvertible(f"there is no codec for transfer syntax {stored.transfer_syntax}")
        self.format = decoded_format(stored.format, stored.transfer_syntax)

    def read(self, number: int) -> Pixels:
        """Decode a frame, counted from 0; raises CodecFailed, NotDicom, or NotConvertible when there is none."""
        stored, form = self._stored, self._stored.format
        if not 0 <= number < form.frames:
            raise NotConvertible(f"it has no frame {number}, but 0 to {form.frames - 1}")
        if self._row is None:
            data = self._nki(number) if stored.transfer_syntax == NKI else stored.frame(number)
            big_endian = stored.transfer_syntax == GE_BIG_ENDIAN
            return from_native(data, form, skipped_bits=stored.skipped_bits(number), big_endian=big_endian)
        try:
            pixels = self._row.decode(stored.frame(number), form)
        except CodecFailed as error:
            raise CodecFailed(f"frame {number}: {error}" if form.frames > 1 else str(error)) from None
        if pixels.size != form.rows * form.columns * form.samples:
            raise CodecFailed(f"frame {number} has {pixels.size} values")
        return normalised(pixels.reshape(form.shape).astype(form.dtype, copy=False), self.format)

    def _nki(self, number: int) -> bytes:
        """Cut a frame out of NKI data, which is one stream."""
        form = self._stored.format
        if self._native is None:
            if form.native_bytes > nki.MAX_BYTES:
                raise CodecFailed(f"NKI data of {form.native_bytes >> 20} MB, more than {nki.MAX_BYTES >> 20}")
            self._native = nki.decode(self._stored.whole(), (form.native_bytes + 1) // 2)
        first = form.frame_bits * number
        piece = self._native[first // 8 : (first + form.frame_bits + 7) // 8]
        if len(piece) * 8 < form.frame_bits:
            raise NotDicom(f"its NKI data has {len(self._native)} bytes, {form.native_bytes} are declared")
        return piece
