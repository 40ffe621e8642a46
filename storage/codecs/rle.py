"""RLE, PS3.5 Annex G: byte planes of every sample, each row packed on its own."""

from __future__ import annotations

from struct import pack, unpack_from

import imagecodecs
import numpy as np

from storage.codecs.pixels import PixelFormat, Pixels
from storage.errors import CodecFailed

_HEADER = 64
_MAX_SEGMENTS = 15


def decode(data: bytes, form: PixelFormat) -> Pixels:
    """Decode one frame; raises CodecFailed."""
    width = form.dtype.itemsize
    count = width * form.samples
    if len(data) < _HEADER:
        raise CodecFailed("an RLE frame is cut in its header")
    found, *offsets = unpack_from("<16L", data)
    if found != count:
        raise CodecFailed(f"an RLE frame has {found} segments, the object says {count}")
    begins = offsets[:count]
    ends = [*begins[1:], len(data)]
    out = np.empty((form.samples, width, form.rows, form.columns), np.uint8)
    for segment, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if not _HEADER <= begin <= end <= len(data):
            raise CodecFailed(f"RLE segment {segment + 1} lies from byte {begin} to {end} of {len(data)}")
        sample, plane = divmod(segment, width)
        out[sample, width - 1 - plane] = _unpacked(data[begin:end], segment, form).reshape(form.rows, form.columns)
    # Bytes of a value side by side, least significant first, samples of a pixel behind one another.
    pixels = np.ascontiguousarray(out.transpose(2, 3, 0, 1)).view(form.dtype.newbyteorder("<"))
    return pixels.reshape(form.shape)


def _unpacked(packed: bytes, segment: int, form: PixelFormat) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    size = form.rows * form.columns
    # A pair of bytes stands for 128 at most: what claims less than it can hold is not even tried.
    if len(packed) * 64 < size:
        raise CodecFailed(f"RLE segment {segment + 1} of {len(packed)} bytes cannot hold {size}")
    # Longer ones, whose padding a careless writer packed too, decode to no more than 64 times their length.
    if len(packed) > 2 * size + 1024:
        raise CodecFailed(f"RLE segment {segment + 1} of {len(packed)} bytes is too long for {size}")
    try:
        plain = imagecodecs.packbits_decode(packed)
    except (imagecodecs.PackbitsError, ValueError):
        # Some writers leave the zero that makes a segment even where it looks like one more literal.
        plain = _without_padding(packed, segment)
    if len(plain) < size:
        raise CodecFailed(f"RLE segment {segment + 1} holds {len(plain)} of {size} bytes")
    return np.frombuffer(plain, np.uint8, size)


def _without_padding(packed: bytes, segment: int) -> bytes:
    try:
        return bytes(imagecodecs.packbits_decode(packed[:-1]))
    except (imagecodecs.PackbitsError, ValueError):
        raise CodecFailed(f"RLE segment {segment + 1} is damaged") from None


def encode(pixels: Pixels, form: PixelFormat, _: int) -> bytes:
    """Encode one frame of up to 15 byte planes."""
    width = form.dtype.itemsize
    planes = np.ascontiguousarray(pixels, form.dtype.newbyteorder("<")).view(np.uint8)
    planes = planes.reshape(form.rows, form.columns, form.samples, width)
    segments = []
    for sample in range(form.samples):
        for plane in reversed(range(width)):
            packed = imagecodecs.packbits_encode(np.ascontiguousarray(planes[:, :, sample, plane]), axis=-1)
            segments.append(bytes(packed) + b"\0" * (len(packed) % 2))
    offsets = [_HEADER]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    header = pack("<16L", len(segments), *offsets, *[0] * (_MAX_SEGMENTS - len(segments)))
    return header + b"".join(segments)
