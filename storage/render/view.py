"""What is asked of a picture: the frame, its window, part and size, and how it is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from storage.errors import NotRendered

Kind = Literal["PNG", "JPEG", "GIF", "BMP"]
Region = tuple[float, float, float, float]

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

# The longest side of a picture that is enlarged; the pixels of any, an animation's frames together, for so they are in
# memory; and their number.
MOST_SIDE = 16_384
MOST_PIXELS = 1 << 28
MOST_FRAMES = 2000
USUAL_QUALITY = 90


class NoSuchFrame(NotRendered):
    """A frame number that the object does not have; the message says how many there are."""


@dataclass(frozen=True, slots=True)
class Window:
    """Window Centre and Width (0028,1050) (0028,1051) in modality units, and VOI LUT Function (0028,1056)."""

    center: float
    width: float
    function: str = "LINEAR"

    @classmethod
    def usable(cls, center: float, width: float, function: str = "") -> Window | None:
        """The window of these values; None when no picture can be made with it, as of width 0 (PS3.3 C.11.2.1.2)."""
        shape = function if function in FUNCTIONS else "LINEAR"
        if not (math.isfinite(center) and math.isfinite(width)):
            return None
        return cls(center, width, shape) if width >= 1 or (width > 0 and shape != "LINEAR") else None


@dataclass(frozen=True, slots=True)
class View:
    """Which part of an object is wanted, how large, and in which window.

    `frame` counts from 0; None is the first, in a GIF all of them. `region` is left, top, right and bottom as parts of
    the whole, from 0 to 1. The picture is fitted into `rows` and `columns` (0: that side is free), growing if need be,
    its pixels made square; or else whole rows and columns are left out until no side is longer than `longest`.
    """

    frame: int | None = None
    window: Window | None = None
    region: Region | None = None
    rows: int = 0
    columns: int = 0
    longest: int = 0


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a picture is written: `quality` is that of a JPEG, 1 to 100; with `rgb` grey has three samples too."""

    kind: Kind
    quality: int = USUAL_QUALITY
    rgb: bool = False


def draw(path: Path, view: View, encoding: Encoding) -> bytes:
    """The task for the codec pool: what `storage.render.picture.picture` does, loaded where it is done."""
    from storage.render.picture import picture  # here: only a codec process needs the codecs

    return picture(path, view, encoding)
