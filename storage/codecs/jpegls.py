"""JPEG-LS, lossless and near-lossless, PS3.5 8.2.3; written by CharLS."""

from __future__ import annotations

import imagecodecs
import numpy as np

from storage.codecs.pixels import PixelFormat, Pixels
from storage.codecs.stream import check_size, read_jpeg_header
from storage.errors import CodecFailed

_JPEG_LS = 0xF7


def decode(data: bytes, form: PixelFormat) -> Pixels:
    """Decode one frame; raises CodecFailed."""
    found = read_jpeg_header(data)
    check_size(found, form)
    if found.marker != _JPEG_LS:
        raise CodecFailed(f"a stream is JPEG of process 0x{found.marker:02X}, not JPEG-LS")
    try:
        return imagecodecs.jpegls_decode(data)
    except (imagecodecs.JpeglsError, ValueError) as error:
        raise CodecFailed(f"a JPEG-LS stream is damaged: {error}") from None


def near(quality: int) -> int:
    """The largest error of near-lossless coding for a quality of 1 to 99: 1 for 95 and better, 2 for 90, 8 for 60."""
    return max(1, (100 - quality) // 5)


def encode_lossless(pixels: Pixels, _: PixelFormat, __: int) -> bytes:
    """Encode without loss, at the depth that is allocated."""
    return _encoded(pixels, 0)


def encode_near(pixels: Pixels, form: PixelFormat, quality: int) -> bytes:
    """Encode so that no value is further than `near(quality)` from what it was.

    At the ends of the range of signed values that use every bit it may be twice that.
    """
    error = near(quality)
    if form.signed and form.bits_stored == form.bits_allocated:
        # The codec knows no signs: it would take the largest value one up, to the smallest.
        pixels = np.clip(pixels, form.lowest + error, form.highest - error)
    return _encoded(pixels, error)


def _encoded(pixels: Pixels, error: int) -> bytes:
    # Noise grows; of small images the codec's own guess has no room for that.
    room = 2 * pixels.nbytes + 4096
    return bytes(imagecodecs.jpegls_encode(pixels.view(f"u{pixels.dtype.itemsize}"), level=error, out=room))
