"""One frame, from decoded samples to a picture: the one place where pixels become what somebody looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.codecs.pixels import PixelFormat, Pixels
from storage.errors import NotRendered
from storage.render.colour import Picture, is_colour, through_palette, to_rgb
from storage.render.look import Look
from storage.render.view import Window
from storage.render.window import WHITE, automatic_window, windowed

# Above so many different values a table of them costs more than the values.
_TABLE = 1 << 16
_BAND = 1 << 21


def needs_window(form: PixelFormat, look: Look, frame: int) -> bool:
    """Whether a frame is grey and its object says nothing of how its greys are to be shown."""
    return (
        not is_colour(form.photometric) and look.of(frame).window is None and look.voi is None and form.bits_stored > 1
    )


def window_of(frames: Iterable[tuple[int, Pixels]], count: int, look: Look) -> Window:
    """The automatic window of `count` frames, each with its number: padding is left out."""
    return automatic_window((image_values(pixels, look, frame) for frame, pixels in frames), count)


def render(pixels: Pixels, form: PixelFormat, look: Look, frame: int, window: Window | None = None) -> Picture:
    """Make the picture of a frame in its own size: (rows, columns) in grey, or (rows, columns, 3) in RGB.

    `pixels` are samples as `form` says: stored values, or floats. Grey ones pass the modality LUT, then `window`, else
    the object's own first window, else its VOI LUT, else a window made of the frame itself; colour is not windowed.
    Raises NotRendered for what has no meaning.
    """
    if form.photometric == "PALETTE COLOR":
        if look.palette is None or pixels.ndim != 2:
            raise NotRendered("its pixels are PALETTE COLOR and there is no palette for them")
        return through_palette(pixels, look.palette)
    if is_colour(form.photometric):
        return to_rgb(pixels, form.photometric, form.bits_stored)
    if pixels.ndim != 2:
        raise NotRendered(f"its pixels are {form.photometric} and have several samples")
    if window is None and needs_window(form, look, frame):
        window = window_of([(frame, pixels)], 1, look)
    low, high = (0, _TABLE) if pixels.dtype.kind == "f" else (int(pixels.min()), int(pixels.max()))
    if high - low >= _TABLE:
        return _in_bands(pixels, lambda band: _grey(band, form, look, frame, window))
    table = _grey(np.arange(low, high + 1), form, look, frame, window)
    return _in_bands(pixels, lambda band: table[band.astype(np.intp) - low])


def _in_bands(pixels: Pixels, shown: Callable[[Pixels], Picture]) -> Picture:
    """Do a frame some rows at a time: what is made on the way is eight times as large as the picture."""
    step = max(1, _BAND // pixels.shape[1])
    bands = [shown(pixels[first : first + step]) for first in range(0, len(pixels), step)]
    return bands[0] if len(bands) == 1 else np.concatenate(bands)


def modality_values(pixels: Pixels, look: Look, frame: int) -> NDArray[Any]:
    """The values of a frame in modality units, such as HU, Bq/ml or Gy (PS3.3 C.11.1)."""
    if look.modality is not None and pixels.dtype.kind != "f":
        return look.modality.of(pixels)
    rescale = look.of(frame).rescale
    return pixels.astype(np.float64) * rescale.slope + rescale.intercept


def _grey(pixels: Pixels, form: PixelFormat, look: Look, frame: int, window: Window | None) -> Picture:
    values = modality_values(pixels, look, frame)
    window = window or look.of(frame).window
    if window is not None:
        shown = windowed(values, window)
    elif look.voi is not None:
        shown = look.voi.of(values).astype(np.float64) * (WHITE / look.voi.top)
    else:
        # One bit: there is nothing between black and white.
        shown = np.clip(pixels.astype(np.float64) - form.lowest, 0, 1) * WHITE
    shown = WHITE - shown if look.inverted else shown
    return np.asarray(np.floor(shown + 0.5), np.uint8)


def image_values(pixels: Pixels, look: Look, frame: int) -> NDArray[Any]:
    """The modality values of a frame that `automatic_window` is to be made of: those of padding are left out."""
    if look.padding is not None:
        low, high = look.padding
        kept = pixels[(pixels < low) | (pixels > high)]
        pixels = kept if kept.size else pixels
    return modality_values(pixels, look, frame)
