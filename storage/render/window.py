"""From values to greys of 0 to 255: the VOI functions of PS3.3 C.11.2, and a window where there is none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.render.view import Window

WHITE = 255

# Of an object without window, this part of its values is black, and as much white.
DARKEST, BRIGHTEST = 0.5, 99.5
# As many values are looked at to find the two; of larger objects, as many spread over them.
MOST_VALUES = 4_000_000
# Beyond, there is no room for arithmetic; nothing that is measured comes near.
_LARGEST = 1e300


def windowed(values: NDArray[Any], window: Window) -> NDArray[np.float64]:
    """Map values to 0 (black) to WHITE by the formula of the function, not yet rounded; NaN is black."""
    values = np.nan_to_num(values.astype(np.float64), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if window.function == "SIGMOID":
        # The exponential of more than 700 overflows, and is black or white long before.
        steepness = np.clip(-4 * (values - window.center) / window.width, -700, 700)
        return np.asarray(WHITE / (1 + np.exp(steepness)))
    exact = window.function == "LINEAR_EXACT"
    center, width = (window.center, window.width) if exact else (window.center - 0.5, window.width - 1)
    if width == 0:
        return np.where(values > center, float(WHITE), 0.0)
    values = np.clip(values, center - width, center + width)
    # In this order halves come out as halves.
    return np.clip((values - center) * WHITE / width + WHITE / 2, 0, WHITE)


def automatic_window(frames: Iterable[NDArray[Any]], count: int) -> Window:
    """A window for `count` frames of modality values: percentiles 0.5 and 99.5, padding and NaN left out beforehand.

    When these are equal, as in a nearly empty mask, the least and the greatest value; values all equal are black.
    """
    share = max(4096, MOST_VALUES // max(count, 1))
    kept = [_thinned(frame, share) for frame in frames]
    values = np.concatenate(kept) if kept else np.empty(0)
    values = values[np.abs(values) < _LARGEST]
    if not values.size:
        return Window(0.5, 1, "LINEAR_EXACT")
    low, high = (float(value) for value in np.percentile(values, (DARKEST, BRIGHTEST)))
    if low == high:
        low, high = float(values.min()), float(values.max())
    if low == high:
        high = low + 1
    return Window(low / 2 + high / 2, high - low, "LINEAR_EXACT")


def _thinned(values: NDArray[Any], most: int) -> NDArray[np.float64]:
    flat = values.reshape(-1)
    return flat[:: -(-flat.size // most) or 1].astype(np.float64)
