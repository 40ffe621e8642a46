"""ConQuest's own lossless compression (NKI): differences of 16-bit words in one to three bytes, modes 1 to 5."""

from __future__ import annotations

import zlib
from struct import pack, unpack_from
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.codecs.nki_tokens import Tokens, find_tokens
from storage.errors import CodecFailed, NotConvertible

Words = NDArray[np.uint16]
Array = NDArray[Any]

# Header fields are of 32 bits and everything is one stream: what is larger is better off with frames.
MAX_BYTES = 1 << 30

_WITH_LENGTH = (2, 4, 5)
_WITH_CRC = (2, 4)
_KEPT_BITS = 0x1FFF
_MAX_RUN = 255
_MAX_RUN_5 = 32
# Shortest run of zeros, and of small differences, that is packed in modes 3 and 4; and the longest of the latter.
_LEAST_ZEROS = 5
_LEAST_NIBBLES = 6
_MOST_NIBBLES = 254

# So many words or bytes are worked on at a time, at some 60 bytes of memory each: what a processor's cache holds.
_BLOCK = 1 << 16


def checksum(data: bytes) -> int:
    """CRC-32 as ConQuest computes it: from 0, without inversion."""
    return zlib.crc32(data, 0xFFFFFFFF) ^ 0xFFFFFFFF


def encode(data: bytes, mode: int) -> bytes:
    """Compress native little endian pixels, byte for byte what ConQuest writes; mode 5 keeps 13 bits of each word.

    The result has even length. Raises NotConvertible for an odd number of bytes, or none.
    """
    if not data or len(data) % 2:
        raise NotConvertible(f"NKI compression is of whole 16-bit words, not of {len(data)} bytes")
    words = np.frombuffer(data, "<u2")
    stream = b"".join(_encoded_blocks(words, mode))
    if mode in _WITH_CRC and len(stream) % 2:
        stream += b"\0"
    header = pack("<LL", len(words), mode)
    if mode in _WITH_LENGTH:
        original = checksum(data) if mode in _WITH_CRC else 0
        header += pack("<LLL", len(stream), original, checksum(stream) if mode == 2 else 0)
    return header + stream + b"\0" * ((len(header) + len(stream)) % 2)


def _encoded_blocks(words: Words, mode: int) -> list[bytes]:
    """Encode block by block; a block ends where nothing is packed across."""
    values: Array = words & _KEPT_BITS if mode == 5 else words.view(np.int16)
    first = int(words[0]) & (_KEPT_BITS if mode == 5 else 0xFFFF)
    blocks = [bytes((first >> 8, first & 0xFF)) if mode == 5 else bytes((first & 0xFF, first >> 8))]
    begin, count = 1, len(words)
    while begin < count:
        end = _block_end(values, begin, min(count, begin + _BLOCK), _MAX_RUN_5 if mode == 5 else _MAX_RUN)
        block = values[begin - 1 : end].astype(np.int32)
        last = end == count
        if mode == 5:
            blocks.append(_encoded_13_bits(block, last))
        elif mode in (1, 2):
            blocks.append(_encoded_bytes(block, last))
        else:
            blocks.append(_encoded_nibbles(block, last))
        begin = end
    return blocks


def _block_end(values: Array, begin: int, end: int, limit: int) -> int:
    """Where to end a block, at `end` or behind: before a large difference, or behind a run of zeros of full length."""
    while end < len(values):
        piece = values[end - 1 : end + _BLOCK].astype(np.int32)
        large = np.flatnonzero(np.abs(np.diff(piece)) > 8)
        if len(large):
            return end + int(large[0])
        if piece[0] == piece[1]:
            steps = np.flatnonzero(np.diff(values[begin - 1 : end].astype(np.int32)))
            start = begin + int(steps[-1]) + 1 if len(steps) else begin
            if end - start >= limit:
                return end - (end - start) % limit
        end = min(len(values), end + _BLOCK)
    return end


def _runs(differences: Array, last: bool, limit: int) -> tuple[Array, Array]:
    """Where codes begin, and how many words each is for: zeros in runs up to `limit`, everything else alone."""
    count = len(differences)
    zero = differences == 0
    begins = zero.copy()
    begins[1:] &= ~zero[:-1]
    if last:  # ConQuest counts one word less than are left
        begins[-1] = zero[-1]
    index = np.arange(count)
    in_run = index - np.maximum.accumulate(np.where(begins, index, 0))
    at = np.flatnonzero(~zero | (in_run % limit == 0))
    return at, np.diff(at, append=count)


def _classes(differences: Array, least: int) -> tuple[Array, Array, Array]:
    """Which differences fit into one byte, from `least` on; which into two; and which need their value in three."""
    small = (differences >= least) & (differences <= 63)
    large = (differences < -0x3F00) | (differences > 0x3EFF)
    return small, ~small & ~large, large


def _written(size: int, *pieces: tuple[Array, Array]) -> bytes:
    out = np.empty(size, np.uint8)
    for at, values in pieces:
        out[at] = values & 0xFF
    return out.tobytes()


def _encoded_bytes(block: Array, last: bool) -> bytes:
    """Modes 1 and 2; `block` begins with the word before it."""
    differences = np.diff(block)
    at, counts = _runs(differences, last, _MAX_RUN)
    codes, values = differences[at], block[1:][at]
    run = counts > 1
    _, two, three = _classes(codes, -64)
    sizes = 1 + run + two + 2 * three
    ends = np.cumsum(sizes)
    places = ends - sizes
    return _written(
        int(ends[-1]),
        (places, np.where(run, 0x80, np.where(two, codes >> 8 ^ 0x40, np.where(three, 0x7F, codes)))),
        (places[run] + 1, counts[run]),
        (places[two] + 1, codes[two]),
        (places[three] + 1, values[three] >> 8),
        (places[three] + 2, values[three]),
    )


def _encoded_nibbles(block: Array, last: bool) -> bytes:
    """Modes 3 and 4: short zero runs byte by byte, and runs of small differences at four bits each."""
    differences = np.diff(block)
    at, counts = _runs(differences, last, _MAX_RUN)
    # A short run of zeros is written as so many codes.
    at = np.repeat(at, np.where(counts < _LEAST_ZEROS, counts, 1))
    counts = np.repeat(counts, np.where(counts < _LEAST_ZEROS, counts, 1))
    codes, values = differences[at], block[1:][at]
    run = (codes == 0) & (counts >= _LEAST_ZEROS)
    _, two, three = _classes(codes, -63)
    packed, in_group, sizes_of_groups = _groups((codes >= -8) & (codes <= 7) & ~run, last)
    begins, pairs = packed & (in_group == 0), packed & (in_group % 2 == 0)
    sizes = np.where(packed, pairs + 2 * begins, 1 + run + two + 2 * three)
    ends = np.cumsum(sizes)
    places = ends - sizes
    pair = np.flatnonzero(pairs)
    plain = ~packed
    first = np.where(run, 0x80, np.where(two, codes >> 8 ^ 0x40, np.where(three, 0x7F, codes)))
    return _written(
        int(ends[-1]),
        (places[plain], first[plain]),
        (places[run] + 1, counts[run]),
        (places[two] + 1, codes[two]),
        (places[three] + 1, values[three] >> 8),
        (places[three] + 2, values[three]),
        (places[begins], np.full(np.count_nonzero(begins), 0xC0)),
        (places[begins] + 1, sizes_of_groups[begins]),
        (places[pair] + 2 * begins[pair], (codes[pair] & 15) << 4 | codes[pair + 1] & 15),
    )


def _groups(small: Array, last: bool) -> tuple[Array, Array, Array]:
    """Which of the codes are packed at four bits; for those their place in their group, and the size of that."""
    count = len(small)
    index = np.arange(count)
    begins, ends = small.copy(), small.copy()
    begins[1:] &= ~small[:-1]
    ends[:-1] &= ~small[1:]
    first, behind = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    lengths = np.repeat(behind - first, behind - first)
    starts = np.repeat(first, behind - first)
    place = index[small] - starts
    rest = lengths % _MOST_NIBBLES
    in_rest = place >= lengths - rest
    # What is still open at the end of the image is not packed, nor is the odd one at the beginning.
    open_end = (starts + lengths == count) if last else np.zeros(len(place), bool)
    odd = rest % 2
    place_in_rest = place - (lengths - rest) - odd
    rest_packed = in_rest & (rest >= _LEAST_NIBBLES) & ~open_end & (place_in_rest >= 0)
    packed = np.zeros(count, bool)
    packed[small] = ~in_rest | rest_packed
    in_group = np.zeros(count, np.int64)
    in_group[small] = np.where(in_rest, place_in_rest, place % _MOST_NIBBLES)
    sizes = np.zeros(count, np.int64)
    sizes[small] = np.where(in_rest, rest - odd, _MOST_NIBBLES)
    return packed, in_group, sizes


def _encoded_13_bits(block: Array, last: bool) -> bytes:
    """Mode 5."""
    differences = np.diff(block)
    at, counts = _runs(differences, last, _MAX_RUN_5)
    codes, values = differences[at], block[1:][at]
    two = (codes < -96) | (codes > 95)
    sizes = 1 + two
    ends = np.cumsum(sizes)
    places = ends - sizes
    first = np.where(two, values >> 8, np.where(codes == 0, 0xDF + counts, codes + 0x80))
    return _written(int(ends[-1]), (places, first), (places[two] + 1, values[two]))


def decode(data: bytes, expected: int) -> bytes:
    """Decompress NKI data of `expected` 16-bit words into native little endian pixels.

    Raises CodecFailed where the data is cut or damaged, has another number of words, or fails its checksum.
    """
    if len(data) < 10:
        raise CodecFailed("NKI data is cut in its header")
    count, mode = unpack_from("<LL", data)
    if not 1 <= mode <= 5:
        raise CodecFailed(f"NKI data is of mode {mode}")
    if count != expected:
        raise CodecFailed(f"NKI data is of {count} words, the object has {expected}")
    start, original = 8, 0
    end = len(data)
    if mode in _WITH_LENGTH:
        if len(data) < 22:
            raise CodecFailed("NKI data is cut in its header")
        length, original, _ = unpack_from("<LLL", data, 8)
        start = 20
        if start + length > len(data):
            raise CodecFailed(f"NKI data of {length} bytes is cut to {len(data) - start}")
        end = start + length
    decoded = _decoded(np.frombuffer(data, np.uint8)[start:end], count, mode).tobytes()
    if mode in _WITH_CRC and checksum(decoded) != original:
        raise CodecFailed("NKI data fails its checksum")
    return decoded


def _decoded(stream: NDArray[np.uint8], count: int, mode: int) -> Words:
    # Nothing stands for more than 254 words a byte: what claims more would only fill memory.
    if count > 255 * len(stream):
        raise CodecFailed(f"NKI data of {len(stream)} bytes cannot hold {count} words")
    out = np.empty(count, "<u2")
    high, low = (0, 1) if mode == 5 else (1, 0)
    out[0] = int(stream[high]) << 8 & (_KEPT_BITS if mode == 5 else 0xFFFF) | int(stream[low])
    done, position = 1, 2
    while done < count:
        tokens = find_tokens(stream, position, _BLOCK, mode)
        if not len(tokens.at):
            raise CodecFailed(f"NKI data ends behind {done} of {count} words")
        tokens = tokens.up_to(count - done)
        words = _summed(tokens, int(out[done - 1]), mode)
        out[done : done + len(words)] = words
        done += len(words)
        position = tokens.end
    return out


def _summed(tokens: Tokens, before: int, mode: int) -> Words:
    """The words that tokens stand for, added up from the word before them."""
    places = tokens.places
    differences = np.zeros(tokens.total, np.int32)
    differences[places[tokens.single]] = tokens.differences
    for at, nibbles in tokens.nibbles():
        differences[at] = nibbles
    sums = np.cumsum(differences, dtype=np.int32)
    sums += before
    absolute = tokens.absolute
    if len(absolute):
        at = places[absolute]
        offsets = tokens.values - sums[at]
        sums[at[0] :] += np.repeat(offsets, np.diff(at, append=tokens.total)).astype(np.int32)
    return (sums & (_KEPT_BITS if mode == 5 else 0xFFFF)).astype("<u2")
