"""What a compressed stream says of itself, read before a codec gets it: JPEG and JPEG-LS, JPEG 2000."""

from __future__ import annotations

from dataclasses import dataclass
from struct import error, unpack_from

from storage.codecs.pixels import PixelFormat
from storage.errors import CodecFailed

_SOI, _SOS, _EOI = 0xD8, 0xDA, 0xD9
_END = b"\xff\xd9"
# Start of frame of every JPEG process, JPEG-LS included; not DHT, JPG and DAC, which lie among them.
_FRAMES = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_APP0, _APP14 = 0xE0, 0xEE


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """The frame header of a stream: `marker` is the JPEG process (0xC0 baseline ...), `components` are their IDs.

    `adobe` is the colour transform that an Adobe marker names, -1 without one; `jfif` tells of a JFIF marker.
    """

    marker: int
    precision: int
    rows: int
    columns: int
    components: bytes
    adobe: int = -1
    jfif: bool = False


def read_jpeg_header(data: bytes) -> StreamHeader:
    """Read a JPEG or JPEG-LS stream up to its frame header; raises CodecFailed where there is none."""
    position, adobe, jfif = 2, -1, False
    try:
        if data[:2] != b"\xff\xd8":
            raise CodecFailed("a frame does not begin as JPEG does")
        while True:
            fill, marker = unpack_from("BB", data, position)
            if fill != 0xFF or marker in (_SOI, _SOS, _EOI):
                raise CodecFailed("a JPEG stream has no frame header")
            if marker == 0xFF or marker in _ALONE:
                position += 1 if marker == 0xFF else 2
                continue
            (length,) = unpack_from(">H", data, position + 2)
            if marker in _FRAMES:
                precision, rows, columns, count = unpack_from(">BHHB", data, position + 4)
                components = bytes(unpack_from(f"{3 * count}B", data, position + 10)[::3])
                return StreamHeader(marker, precision, rows, columns, components, adobe, jfif)
            if marker == _APP0 and data[position + 4 : position + 9] == b"JFIF\0":
                jfif = True
            elif marker == _APP14 and data[position + 4 : position + 9] == b"Adobe" and length >= 14:
                (adobe,) = unpack_from("B", data, position + 15)
            position += 2 + max(length, 2)
    except error:
        raise CodecFailed("a JPEG stream is cut in its header") from None


def read_jpeg_2000_header(data: bytes) -> StreamHeader:
    """Read the size marker of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 file; raises CodecFailed."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 64 * 1024)
    if start < 0 or (start > 0 and data[4:8] != b"jP  "):
        raise CodecFailed("a frame does not begin as JPEG 2000 does")
    try:
        right, bottom, left, top = unpack_from(">LLLL", data, start + 8)
        (count,) = unpack_from(">H", data, start + 40)
        sizes = unpack_from(f"{3 * count}B", data, start + 42)
    except error:
        raise CodecFailed("a JPEG 2000 stream is cut in its header") from None
    if any(step != 1 for step in (*sizes[1::3], *sizes[2::3])):
        raise CodecFailed("a JPEG 2000 stream has subsampled components")
    precisions = {size & 0x7F for size in sizes[::3]}
    if len(precisions) != 1:
        raise CodecFailed("a JPEG 2000 stream has components of different depths")
    return StreamHeader(0x51, precisions.pop() + 1, bottom - top, right - left, bytes(range(count & 0xFF)))


def check_end(data: bytes, begin: bytes, name: str) -> None:
    """Raise CodecFailed when no end marker follows the last `begin` marker of a stream: it is cut.

    Codecs fill up what is missing and say nothing. Neither marker occurs in coded data (ISO/IEC 10918-1 B.1.1.5,
    15444-1 A.1).
    """
    if data.rfind(_END) <= data.rfind(begin):
        raise CodecFailed(f"a {name} stream ends before its end marker")


def check_size(found: StreamHeader, form: PixelFormat) -> None:
    """Raise CodecFailed when a stream is not what the object declares: the codec would fill memory, or the wrong."""
    if (found.rows, found.columns) != (form.rows, form.columns):
        raise CodecFailed(
            f"a stream holds {found.columns} x {found.rows} pixels, the object says {form.columns} x {form.rows}"
        )
    if len(found.components) != form.samples:
        raise CodecFailed(f"a stream has {len(found.components)} components, the object says {form.samples}")
    if found.precision > form.bits_allocated:
        raise CodecFailed(f"a stream has {found.precision} bits a value, the object allocates {form.bits_allocated}")
