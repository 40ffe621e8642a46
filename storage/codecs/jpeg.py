"""JPEG: baseline, extended and progressive (DCT), and lossless, PS3.5 8.2.1; written by libjpeg-turbo."""

from __future__ import annotations

import io
from struct import unpack_from

import imagecodecs
import numpy as np
from PIL import Image

from storage.codecs.pixels import PixelFormat, Pixels
from storage.codecs.stream import StreamHeader, check_end, check_size, read_jpeg_header
from storage.errors import CodecFailed

# The processes libjpeg-turbo reads; hierarchical and arithmetic ones no scanner ever wrote.
_LOSSY_PROCESSES = frozenset((0xC0, 0xC1, 0xC2))
_LOSSLESS = 0xC3
_SCAN = b"\xff\xda"

# Libjpeg takes no more.
MAX_SIDE = 65500


def decode(data: bytes, form: PixelFormat) -> Pixels:
    """Decode one frame of any of the processes; YBR becomes RGB where it was lossy, else nothing is converted.

    Values of DCT processes are kept within what the object's stored bits hold. Raises CodecFailed.
    """
    found = read_jpeg_header(data)
    check_size(found, form)
    check_end(data, _SCAN, "JPEG")
    lossy = found.marker in _LOSSY_PROCESSES
    if not lossy and found.marker != _LOSSLESS:
        raise CodecFailed(f"a JPEG stream is of process 0x{found.marker:02X}, which no codec here reads")
    space, wanted = _spaces(found, form) if lossy else ("RGB", "RGB")
    try:
        if form.samples == 1:
            pixels = imagecodecs.jpeg8_decode(data)
        else:
            pixels = imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=wanted)
    except (imagecodecs.Jpeg8Error, ValueError) as error:
        raise CodecFailed(f"a JPEG stream is damaged: {error}") from None
    # A DCT rings beyond the values it was given; cut off bits would turn white into black.
    return np.clip(pixels, max(0, form.lowest), form.highest) if lossy and not form.signed else pixels


def _spaces(found: StreamHeader, form: PixelFormat) -> tuple[str, str]:
    """Colour space of a lossy stream, and the one to decode it to."""
    if form.photometric.startswith("YBR"):
        return "YCBCR", "RGB"
    # Streams of objects called RGB that were converted to YCbCr all the same say so, in one of these markers.
    converted = found.adobe == 1 or (found.jfif and found.components == b"\1\2\3" and found.adobe < 0)
    return ("YCBCR", "RGB") if converted else ("RGB", "RGB")


def encode_lossy(pixels: Pixels, form: PixelFormat, quality: int) -> bytes:
    """Encode 8 bits as baseline, up to 12 as extended process; RGB becomes YCbCr 4:2:2 (PS3.5 Table 8.2.1-1)."""
    if form.bits_allocated == 8:
        if form.samples == 1:
            return bytes(imagecodecs.jpeg8_encode(pixels, level=quality))
        space = "RGB" if form.photometric == "RGB" else "YCBCR"
        return bytes(
            imagecodecs.jpeg8_encode(pixels, level=quality, colorspace=space, outcolorspace="YCBCR", subsampling="422")
        )
    return bytes(imagecodecs.jpeg8_encode(pixels, level=quality, bitspersample=12))


def encode_progressive(pixels: Pixels, form: PixelFormat, quality: int) -> bytes:
    """Encode 8 bits as full progression; RGB as YCbCr 4:2:2."""
    if form.samples == 1:
        image = Image.fromarray(pixels)
    else:
        image = Image.fromarray(pixels, "RGB" if form.photometric == "RGB" else "YCbCr")
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, progressive=True, subsampling=1)
    return out.getvalue()


def encode_lossless(pixels: Pixels, form: PixelFormat, _: int) -> bytes:
    """Encode with first-order prediction (process 14, selection value 1): the stored bits, signs cut off."""
    # Readers take the size of a value from the stream: what is allocated 16 bits must not look like 8.
    bits = max(form.bits_stored, 9 if form.bits_allocated == 16 else 2)
    unsigned = pixels.view(f"u{pixels.dtype.itemsize}") & ((1 << form.bits_stored) - 1)
    if form.samples == 1:
        return bytes(imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=1, bitspersample=bits))
    # As RGB whatever it is: with a Huffman table of their own for colour differences, libjpeg-turbo 3.1 writes lossless
    # streams that nobody can read, itself included.
    stream = imagecodecs.jpeg8_encode(
        unsigned, lossless=True, predictor=1, bitspersample=bits, colorspace="RGB", outcolorspace="RGB"
    )
    return bytes(stream) if form.photometric == "RGB" else _not_rgb(bytes(stream))


def _not_rgb(stream: bytes) -> bytes:
    """Take from a stream that libjpeg wrote what calls it RGB: the Adobe marker, and components named R, G and B."""
    (adobe,) = unpack_from(">H", stream, 4)
    out = bytearray(stream[:2] + stream[4 + adobe :])
    position = 2
    while True:
        marker, length = unpack_from(">HH", out, position)
        if marker in (0xFFC3, 0xFFDA):
            first, step = (position + 10, 3) if marker == 0xFFC3 else (position + 5, 2)
            out[first : first + 3 * step : step] = b"\1\2\3"
        if marker == 0xFFDA:
            return bytes(out)
        position += 2 + length
