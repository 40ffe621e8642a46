"""Objects with chosen pixels, and the greys that PS3.3 wants for them, worked out in exact numbers."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from tests.objects import ds


def image_of(values: NDArray[Any], **keywords: Any) -> Dataset:
    """An object whose stored values these are: (rows, columns), or (frames, rows, columns)."""
    made = ds(**keywords)
    shape = values.shape[-2:]
    made.Rows, made.Columns = shape
    if values.ndim == 3:
        made.NumberOfFrames = len(values)
    made.SamplesPerPixel = 1
    for keyword, value in (("PhotometricInterpretation", "MONOCHROME2"), ("BitsStored", 8 * values.itemsize)):
        if keyword not in made:
            setattr(made, keyword, value)
    made.BitsAllocated = 8 * values.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if len(made.PixelData) % 2:
        made.PixelData += b"\0"
    made["PixelData"].VR = "OW"
    return made


def half_up(value: float | Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def linear(value: Fraction, center: Fraction, width: Fraction) -> int:
    """PS3.3 C.11.2.1.2.1, word for word, in exact numbers."""
    if value <= center - Fraction(1, 2) - (width - 1) / 2:
        return 0
    if value > center - Fraction(1, 2) + (width - 1) / 2:
        return 255
    return half_up(((value - (center - Fraction(1, 2))) / (width - 1) + Fraction(1, 2)) * 255)


def opened(raw: bytes) -> Image.Image:
    """A picture file read by Pillow, whole."""
    image = Image.open(io.BytesIO(raw))
    image.load()
    return image
