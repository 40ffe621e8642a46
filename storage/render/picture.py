"""Pictures as files: frames of an object chosen, cut, scaled and written as PNG, JPEG, GIF or BMP."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from storage.errors import NotRendered
from storage.part10 import read_object_file
from storage.render.colour import Picture
from storage.render.frame import needs_window, render, window_of
from storage.render.look import Look, read_look
from storage.render.samples import Samples, open_samples
from storage.render.view import MOST_FRAMES, MOST_PIXELS, MOST_SIDE, Encoding, NoSuchFrame, View, Window

# No format here takes more, whatever the object has.
_LONGEST_SIDE = 65_500
# Frames that an automatic window for all of them is made of.
_LOOKED_AT = 32


def picture(path: Path, view: View, encoding: Encoding) -> bytes:
    """Make the picture of a stored object and return it as a file.

    This decodes pixels that anybody may have sent: it belongs into the codec pool. Raises NoSuchFrame, NotRendered,
    NotConvertible, NotDicom or OSError.
    """
    with open_samples(path) as samples:
        numbers = _chosen(samples.form.frames, view, encoding)
        look = read_look(read_object_file(path), numbers)
        size = _size(samples, look, view)
        if len(numbers) * size[0] * size[1] > MOST_PIXELS:
            raise NotRendered(f"{len(numbers)} frames of {size[0]} x {size[1]} are too many for an animation")
        window = view.window or _common_window(samples, look, numbers)
        pictures = _pictures(samples, look, view, numbers, window, size)
        return _written(pictures, encoding, len(numbers), look.delay_ms)


def _chosen(frames: int, view: View, encoding: Encoding) -> Sequence[int]:
    if view.frame is None:
        if encoding.kind == "GIF" and frames > MOST_FRAMES:
            raise NotRendered(f"its {frames} frames are too many for an animation: ask for one of them")
        return range(frames) if encoding.kind == "GIF" else (0,)
    if not 0 <= view.frame < frames:
        raise NoSuchFrame(f"it has {frames} frame{'s' * (frames > 1)}")
    return (view.frame,)


def _common_window(samples: Samples, look: Look, numbers: Sequence[int]) -> Window | None:
    """One window for all frames that have none of their own: an animation must not flicker."""
    bare = [number for number in numbers if needs_window(samples.form, look, number)]
    if len(bare) < len(numbers) or not bare:
        return None
    chosen = bare[:: -(-len(bare) // _LOOKED_AT)]
    return window_of(((number, samples.frame(number)) for number in chosen), len(chosen), look)


def _box(samples: Samples, view: View) -> tuple[int, int, int, int]:
    """The region in pixels: left, top, right, bottom; never empty."""
    columns, rows = samples.form.columns, samples.form.rows
    left, top, right, bottom = view.region or (0.0, 0.0, 1.0, 1.0)
    first_column, first_row = min(math.floor(left * columns), columns - 1), min(math.floor(top * rows), rows - 1)
    return (
        first_column,
        first_row,
        max(first_column + 1, min(columns, math.ceil(right * columns))),
        max(first_row + 1, min(rows, math.ceil(bottom * rows))),
    )


def _step(width: int, height: int, longest: int) -> int:
    """Of how many rows and columns one stays."""
    return -(-max(width, height) // longest) if longest else 1


def _size(samples: Samples, look: Look, view: View) -> tuple[int, int]:
    """Width and height of the picture; raises NotRendered when it would be too large."""
    left, top, right, bottom = _box(samples, view)
    width, height = right - left, bottom - top
    if view.rows or view.columns:
        square = height * look.aspect
        scale = min(
            view.columns / width if view.columns else math.inf,
            view.rows / square if view.rows else math.inf,
        )
        width, height = max(1, round(width * scale)), max(1, round(square * scale))
    else:
        step = _step(width, height, view.longest)
        width, height = max(1, width // step), max(1, height // step)
    enlarged = (width, height) != (right - left, bottom - top) and max(width, height) > MOST_SIDE
    if enlarged or max(width, height) > _LONGEST_SIDE or width * height > MOST_PIXELS:
        raise NotRendered(f"a picture of {width} x {height} is too large")
    return width, height


def _pictures(
    samples: Samples, look: Look, view: View, numbers: Sequence[int], window: Window | None, size: tuple[int, int]
) -> Iterator[Image.Image]:
    left, top, right, bottom = _box(samples, view)
    step = 1 if view.rows or view.columns else _step(right - left, bottom - top, view.longest)
    for number in numbers:
        pixels = samples.frame(number)
        own = window
        if own is None and needs_window(samples.form, look, number):
            own = window_of([(number, pixels)], 1, look)
        part = pixels[top:bottom:step, left:right:step]
        part = part if view.rows or view.columns else part[: size[1], : size[0]]
        drawn = render(part, samples.form, look, number, own)
        yield _scaled(drawn, size)


def _scaled(drawn: Picture, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(drawn)
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def _written(pictures: Iterator[Image.Image], encoding: Encoding, count: int, delay_ms: int) -> bytes:
    first = next(pictures)
    if encoding.rgb:
        first = first.convert("RGB")
    out = io.BytesIO()
    if encoding.kind == "JPEG":
        first.save(out, "JPEG", quality=encoding.quality)
    elif encoding.kind == "GIF":
        # Pillow writes the older form where the newer one is not needed, and no grey that does not occur.
        first.info["version"] = b"89a"
        if count == 1:
            first.save(out, "GIF", optimize=False)
        else:
            first.save(
                out, "GIF", save_all=True, append_images=pictures, duration=delay_ms, loop=0, optimize=False, disposal=1
            )
    else:
        # Of a PNG: deflate at its usual level takes longer than all the rest, for a tenth of the size.
        first.save(out, encoding.kind, compress_level=3)
    return out.getvalue()
