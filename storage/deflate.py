"""Deflating data sets; `storage.inflate` is the way back."""

import zlib
from collections.abc import Iterable, Iterator


def deflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Deflate (PS3.5 A.5), with the one NUL that makes the length even."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for piece in pieces:
        out = deflate.compress(piece)
        length += len(out)
        if out:
            yield out
    out = deflate.flush()
    yield out + b"\0" * ((length + len(out)) % 2)
