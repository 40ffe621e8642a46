"""Strips: the pictures of a series below one another in one file, as many as a JPEG can hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dgate.rev.draw import jpeg
from dgate.rev.overlay import write_lines


def chosen(count: int, most: int) -> list[int]:
    """Which of `count` pictures a strip of at most `most` shows: all, or as many spread evenly over them."""
    if count <= most:
        return list(range(count))
    return [(2 * number + 1) * count // (2 * most) for number in range(most)]


def strip(pictures: Sequence[Path], size: tuple[int, int], highest: int, *, colour: bool) -> tuple[bytes, int]:
    """Glue pictures of one size top to bottom, in at most `highest` pixels; return the JPEG and how many it shows."""
    numbers = chosen(len(pictures), highest // size[1])
    whole = Image.new("RGB" if colour else "L", (size[0], size[1] * len(numbers)))
    for place, number in enumerate(numbers):
        with Image.open(pictures[number], formats=("JPEG",)) as picture:
            whole.paste(picture.convert(whole.mode), (0, place * size[1]))
    return jpeg(whole), len(numbers)


def placeholder(modality: str, size: tuple[int, int]) -> bytes:
    """A dark tile that says that there is no image."""
    tile = Image.new("L", size, 24)
    write_lines(tile, [modality, "no image"])
    return jpeg(tile)
