"""JPEG 2000 (PS3.5 8.2.4) and HTJ2K (8.2.16); written by OpenJPEG and OpenJPH."""

from __future__ import annotations

import sys

import imagecodecs
import numpy as np
from openjpeg.utils import encode_array

from storage.codecs.pixels import PixelFormat, Pixels
from storage.codecs.stream import check_end, check_size, read_jpeg_2000_header
from storage.errors import CodecFailed

_CAP = b"\xff\x50"
_COD = b"\xff\x52"
_SOD = b"\xff\x93"
# OpenJPEG's five decompositions need that much; below it there is little to gain by losing anything.
_LOSSY_SIDE = 64
# ConQuest's documentation gives rates of 1 to 20.
MAX_RATE = 20
_USUAL_RATE = 10
_MONOCHROME, _RGB = 2, 1


def decode(data: bytes, form: PixelFormat) -> Pixels:
    """Decode one frame of JPEG 2000 or HTJ2K; colour transforms of the codestream are undone. Raises CodecFailed."""
    check_size(read_jpeg_2000_header(data), form)
    # The high-throughput block coder is announced by a CAP marker, in front of COD (ISO/IEC 15444-15 A.3).
    high_throughput = data.find(_CAP, 0, max(0, data.find(_COD))) > 0
    try:
        if high_throughput:
            check_end(data, _SOD, "HTJ2K")
            return _high_throughput(data)
        return imagecodecs.jpeg2k_decode(data, numthreads=1)
    except (imagecodecs.Jpeg2kError, imagecodecs.Htj2kError, ValueError) as error:
        raise CodecFailed(f"a JPEG 2000 stream is damaged: {error}") from None


def _high_throughput(data: bytes) -> Pixels:
    """Decode HTJ2K; what OpenJPH raises in the middle of it reaches this process in no other way than the hook."""
    refused: list[str] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: refused.append(str(unraisable.exc_value))
    try:
        pixels = imagecodecs.htj2k_decode(data, planar=False)
    finally:
        sys.unraisablehook = before
    if refused:
        raise CodecFailed(f"a JPEG 2000 stream is damaged: {refused[0]}")
    return pixels


def rate(quality: int) -> int:
    """The compression ratio that a quality of a code or of LossyQuality stands for: itself up to 20, else 10."""
    return quality if 1 <= quality <= MAX_RATE else _USUAL_RATE


def is_small(form: PixelFormat) -> bool:
    """Whether frames are so small that they are encoded reversibly even where loss is allowed."""
    return min(form.rows, form.columns) < _LOSSY_SIDE


def encode_lossless(pixels: Pixels, form: PixelFormat, _: int) -> bytes:
    """Encode reversibly; RGB through the reversible colour transform."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels,
            level=0,
            codecformat="j2k",
            reversible=True,
            mct=form.photometric == "RGB",
            bitspersample=form.bits_stored,
            numthreads=1,
        )
    )


def encode_lossy(pixels: Pixels, form: PixelFormat, quality: int) -> bytes:
    """Encode irreversibly to one part in `rate(quality)` of the size; small images reversibly."""
    if is_small(form):
        return encode_lossless(pixels, form, quality)
    colour = form.photometric == "RGB"
    try:
        return encode_array(
            pixels,
            bits_stored=form.bits_stored,
            photometric_interpretation=_RGB if colour else _MONOCHROME,
            use_mct=colour,
            compression_ratios=[rate(quality)],
        )
    except RuntimeError as error:
        raise CodecFailed(f"JPEG 2000 does not take it: {error}") from None


def encode_high_throughput(pixels: Pixels, form: PixelFormat, _: int) -> bytes:
    """Encode reversibly as HTJ2K, in RPCL order with a tile-part length marker, so that all three syntaxes hold it."""
    # OpenJPH is given whole bytes with a sign. Level shift and depth live in the header alone (ISO/IEC 15444-1 G.1):
    # the shift is made here and the true depth written there.
    centred = pixels if form.signed else _shifted(pixels, form)
    levels = min(5, max(1, min(form.rows, form.columns).bit_length() - 1))
    colour = form.photometric == "RGB"
    if form.samples > 1 and not colour:
        if form.columns == 1:
            raise CodecFailed(f"HTJ2K does not take {form.photometric} of one column")
        centred = np.ascontiguousarray(centred.transpose(2, 0, 1))
    encoded = imagecodecs.htj2k_encode(
        centred,
        reversible=True,
        rgb=colour,
        planar=form.samples > 1 and not colour,
        resolutions=levels,
        tlm=True,
    )
    return _with_depth(bytes(encoded), form)


def _shifted(pixels: Pixels, form: PixelFormat) -> Pixels:
    half = 1 << form.bits_stored - 1
    return (pixels.astype(np.int32) - half).astype(f"i{pixels.dtype.itemsize}")


def _with_depth(encoded: bytes, form: PixelFormat) -> bytes:
    out = bytearray(encoded)
    depth = form.bits_stored - 1 | (0x80 if form.signed else 0)
    for component in range(form.samples):
        out[42 + 3 * component] = depth
    return bytes(out)
