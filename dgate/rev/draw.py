"""Frames to pictures: the tasks for the codec processes, which alone decode what anybody may have sent."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dgate.rev.layout import SMALL_SIZE
from dgate.rev.overlay import write_lines
from storage.errors import StorageError
from storage.part10 import read_object_file
from storage.render.frame import image_values, needs_window, render
from storage.render.look import Look, read_look
from storage.render.samples import Samples, open_samples
from storage.render.view import Window

QUALITY = 90
# Resizing to less than this part is done in two steps, of which the first is fast.
_GAP = 3.0
# A file of which so many frames fail one after another is given up.
MOST_FAILURES = 20


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames `first` to before `stop` of a file; `lines` are for its large images, each perhaps with `{window}`."""

    path: Path
    first: int
    stop: int
    lines: tuple[tuple[str, ...], ...] = ()

    @property
    def numbers(self) -> range:
        return range(self.first, self.stop)

    @property
    def frames(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pictures of a frame as JPEG files: in its own size, large and small; or what is wrong with it."""

    path: Path
    frame: int
    raw: bytes = b""
    large: bytes = b""
    small: bytes = b""
    colour: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Values of frames that need a window, thinned out, to make one of; `error` is why there are no more."""

    values: tuple[NDArray[Any], ...] = ()
    error: str = ""


def sample(pieces: Sequence[Piece], share: int) -> Sampled:
    """Collect at most `share` image values of each frame that has no window of its own."""
    found: list[NDArray[Any]] = []
    for piece in pieces:
        # What cannot be decoded is told when it is drawn.
        with suppress(StorageError, OSError), open_samples(piece.path) as samples:
            numbers = range(piece.first, min(piece.stop, samples.form.frames))
            look = _look(piece, samples)
            found += _values(samples, look, numbers, share)
    return Sampled(tuple(found))


def _values(samples: Samples, look: Look, numbers: Iterable[int], share: int) -> list[NDArray[Any]]:
    found = []
    failures = 0
    for number in numbers:
        if needs_window(samples.form, look, number):
            try:
                flat = samples.frame(number).reshape(-1)
            except StorageError:
                failures += 1
                if failures > MOST_FAILURES:
                    break
                continue
            found.append(image_values(flat[:: -(-flat.size // share) or 1], look, number).astype(np.float32))
    return found


def draw(pieces: Sequence[Piece], window: Window | None, large: tuple[int, int]) -> list[Drawn]:
    """Draw frames; those without a window of their own in `window`. What cannot be drawn is told, not raised."""
    found: list[Drawn] = []
    for piece in pieces:
        try:
            with open_samples(piece.path) as samples:
                found += _frames(piece, samples, window, large)
        except (StorageError, OSError) as error:
            found.append(Drawn(piece.path, piece.first, error=_one_line(error)))
    return found


def _frames(piece: Piece, samples: Samples, window: Window | None, large: tuple[int, int]) -> list[Drawn]:
    look = _look(piece, samples)
    found: list[Drawn] = []
    failures = 0
    for number in range(piece.first, piece.stop):
        try:
            found.append(_frame(piece, samples, look, number, window, large))
        except StorageError as error:
            found.append(Drawn(piece.path, number, error=_one_line(error)))
            failures += 1
            if failures > MOST_FAILURES:
                found.append(Drawn(piece.path, number + 1, error=f"given up after {failures} frames that failed"))
                break
    return found


def _look(piece: Piece, samples: Samples) -> Look:
    numbers = range(piece.first, piece.stop) if samples.form.frames > 1 else ()
    return read_look(read_object_file(piece.path), numbers)


def _frame(
    piece: Piece, samples: Samples, look: Look, number: int, window: Window | None, large: tuple[int, int]
) -> Drawn:
    used = window if needs_window(samples.form, look, number) else None
    image = Image.fromarray(render(samples.frame(number), samples.form, look, number, used))
    big = fitted(image, large, look.aspect)
    if piece.lines:
        shown = look.of(number).window or used
        write_lines(big, [_filled(line, shown) for line in piece.lines[number - piece.first]])
    return Drawn(
        piece.path, number, jpeg(image), jpeg(big), jpeg(fitted(image, SMALL_SIZE, look.aspect)), image.mode == "RGB"
    )


def _filled(line: str, window: Window | None) -> str:
    text = "" if window is None else f"W {window.width:g} L {window.center:g}"
    return line.replace("{window}", text)


def fitted(image: Image.Image, box: tuple[int, int], aspect: float = 1.0) -> Image.Image:
    """Scale an image to a box, up or down, keeping its proportions, centred on black.

    `aspect` is the height of its pixels over their width.
    """
    height = image.height * aspect
    scale = min(box[0] / image.width, box[1] / height)
    size = max(1, round(image.width * scale)), max(1, round(height * scale))
    scaled = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_GAP)
    if size == box:
        return scaled
    whole = Image.new(image.mode, box)
    whole.paste(scaled, ((box[0] - size[0]) // 2, (box[1] - size[1]) // 2))
    return whole


def jpeg(image: Image.Image) -> bytes:
    """Write a picture as all of these are: quality 90, colour 4:2:0."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, subsampling="4:2:0" if image.mode == "RGB" else 0)
    return out.getvalue()


def _one_line(error: Exception) -> str:
    text = error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
    return " ".join(text.split())
