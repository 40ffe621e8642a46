"""Colour spaces to RGB of 8 bits: PALETTE COLOR, YBR_FULL and RGB of any depth (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.errors import NotRendered
from storage.render.lookup import LookupTable

Picture = NDArray[np.uint8]
Palette = tuple[LookupTable, LookupTable, LookupTable]

# What each of Y, Cb and Cr adds to red, green and blue.
_YBR_FULL = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def is_colour(photometric: str) -> bool:
    """Whether a photometric interpretation is shown in colour."""
    return not photometric.startswith("MONOCHROME")


def to_rgb(samples: NDArray[Any], photometric: str, bits: int) -> Picture:
    """Make RGB of 8 bits of colour samples (rows, columns, 3) that have `bits` bits.

    Raises NotRendered for the retired interpretations, which nobody can show today.
    """
    if samples.ndim != 3 or samples.shape[2] < 3:
        raise NotRendered(f"{photometric} has fewer than three samples per pixel")
    samples = samples[:, :, :3]
    if photometric == "RGB":
        return samples if samples.dtype == np.uint8 and bits == 8 else eight_bits(samples, bits)
    # Lossy JPEG and JPEG 2000 are RGB already when they come out of their decoders.
    if photometric == "YBR_FULL":
        return _from_ybr(samples, bits)
    raise NotRendered(f"pictures of photometric interpretation {photometric or '(none)'} cannot be made")


def through_palette(samples: NDArray[Any], palette: Palette) -> Picture:
    """Make RGB of 8 bits of palette indices (rows, columns)."""
    small = (
        replace(table, entries=eight_bits(table.entries, table.bits).astype(np.uint16), bits=8) for table in palette
    )
    return np.stack([table.of(samples) for table in small], axis=-1).astype(np.uint8)


def eight_bits(samples: NDArray[Any], bits: int) -> Picture:
    """Scale unsigned samples of `bits` bits to 0 to 255."""
    return _rounded(samples.astype(np.float64) * (255 / (2**bits - 1)))


def _from_ybr(samples: NDArray[Any], bits: int) -> Picture:
    middle = 2.0 ** (bits - 1)
    planes = samples.astype(np.float32) - np.array([0, middle, middle], np.float32)
    return _rounded(planes @ np.array(_YBR_FULL, np.float32).T * (255 / (2**bits - 1)))


def _rounded(values: NDArray[Any]) -> Picture:
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
