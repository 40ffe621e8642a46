"""The decoded frames of a stored object, whichever element holds them: integers of any syntax, or floats."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from storage.codecs.frames import FrameReader
from storage.codecs.native import rewritten
from storage.codecs.pixels import PixelFormat, Pixels
from storage.codecs.source import open_pixels
from storage.elements import PIXEL_DATA, Cursor, PlainData
from storage.errors import NotConvertible, NotDicom
from storage.header import read_header, vr_of
from storage.part10 import read_object
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE, NATIVE
from storage.traversal import Kind, steps

# Float and Double Float Pixel Data (PS3.3 C.7.6.24 and C.7.6.25), with the bytes of a value.
_FLOATS = {0x7FE00008: 4, 0x7FE00009: 8}
_ROWS, _COLUMNS, _FRAMES, _PHOTOMETRIC = (0x00280010,), (0x00280011,), (0x00280008,), (0x00280004,)


@dataclass(frozen=True, slots=True)
class Samples:
    """Frames of one object: `frame(number)`, from 0, decodes one as `form` says it is."""

    form: PixelFormat
    frame: Callable[[int], Pixels]


@contextmanager
def open_samples(path: Path) -> Iterator[Samples]:
    """Open the image of a stored object; decoding is for a codec process only.

    Raises NotConvertible when it has none or one that cannot be, NotDicom or OSError; `Samples.frame` CodecFailed too.
    """
    with ExitStack() as stack:
        try:
            stored = stack.enter_context(open_pixels(path))
        except NotConvertible:
            floats = stack.enter_context(_open_floats(path))
            if floats is None:
                raise
            yield floats
            return
        reader = FrameReader(stored)
        yield Samples(replace(reader.format, frames=stored.format.frames), reader.read)


@contextmanager
def _open_floats(path: Path) -> Iterator[Samples | None]:
    """Open float pixels, None where there are none; deflated and big endian ones by way of a temporary file."""
    with path.open("rb") as stored, tempfile.TemporaryFile() as plain:
        found = read_object(stored, path)
        stored.seek(found.offset)
        if found.transfer_syntax not in NATIVE:
            yield None
        elif found.transfer_syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE):
            yield _floats(stored, found.transfer_syntax)
        else:
            for piece in rewritten(stored, found.transfer_syntax, EXPLICIT_LITTLE):
                plain.write(piece)
            plain.seek(0)
            yield _floats(plain, EXPLICIT_LITTLE)


def _floats(source: BinaryIO, transfer_syntax: str) -> Samples | None:
    start = source.tell()
    cursor = Cursor(PlainData(source), transfer_syntax)
    for step in steps(cursor, vr_of):
        if step.depth == 0 and step.kind is Kind.VALUE and step.tag in _FLOATS:
            break
        if step.depth == 0 and step.tag >= PIXEL_DATA:
            return None
    else:
        return None
    source.seek(start)
    header = read_header(source, transfer_syntax, (_ROWS, _COLUMNS, _FRAMES, _PHOTOMETRIC))
    width = _FLOATS[step.tag]
    form = PixelFormat(
        rows=_whole(header.text(*_ROWS)),
        columns=_whole(header.text(*_COLUMNS)),
        frames=_whole(header.text(*_FRAMES) or "1"),
        photometric=header.text(*_PHOTOMETRIC) or "MONOCHROME2",
        # One integer of the same size: the limits on what is read are the same.
        bits_allocated=32,
        bits_stored=32,
        high_bit=31,
    )
    form.check()
    position, length, size = start + step.position, step.length, form.rows * form.columns * width
    if length < size * form.frames:
        raise NotDicom(f"its pixel data has {length} bytes, {size * form.frames} are declared")

    def frame(number: int) -> Pixels:
        source.seek(position + size * number)
        return np.frombuffer(source.read(size), f"<f{width}").reshape(form.rows, form.columns)

    return Samples(form, frame)


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
