"""The decoding task of the codec processes."""

from __future__ import annotations

from pathlib import Path

from storage.codecs.frames import Frame, FrameReader
from storage.codecs.source import open_pixels

# What is decoded at a time, in bytes: enough that opening the file costs little, little enough to be held twice.
_BATCH = 64 << 20


def decode_batch(path: Path, numbers: list[int] | None, begin: int) -> tuple[list[Frame], int]:
    """Decode some of the frames asked for, from the `begin`-th on, and tell how many were asked for."""
    with open_pixels(path) as stored:
        reader = FrameReader(stored)
        asked = range(stored.format.frames) if numbers is None else numbers
        batch: list[Frame] = []
        size = 0
        for number in asked[begin:]:
            pixels = reader.read(number)
            batch.append(Frame(number, pixels, reader.format))
            size += pixels.nbytes
            if size >= _BATCH:
                break
        return batch, len(asked)
