"""The compression codes of dicom.ini, acrnema.map and AE title suffixes: what each means and proposes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from storage.transfer import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    is_compressed,
    is_jpeg,
)

_JPEG = "1.2.840.10008.1.2.4."
JPEG_BASELINE = _JPEG + "50"
JPEG_EXTENDED = _JPEG + "51"
JPEG_SPECTRAL = _JPEG + "53"
JPEG_PROGRESSIVE = _JPEG + "55"
JPEG_LOSSLESS = _JPEG + "57"
JPEG_LOSSLESS_SV1 = _JPEG + "70"
JPEG_LS_LOSSLESS = _JPEG + "80"
JPEG_LS_NEAR = _JPEG + "81"
JPEG_2000_LOSSLESS = _JPEG + "90"
JPEG_2000 = _JPEG + "91"
HTJ2K_LOSSLESS = _JPEG + "201"
HTJ2K_LOSSLESS_RPCL = _JPEG + "202"
HTJ2K = _JPEG + "203"
RLE = "1.2.840.10008.1.2.5"


def _everything(_: str) -> bool:
    return True


def _uncompressed(transfer_syntax: str) -> bool:
    return not is_compressed(transfer_syntax)


def _uncompressed_or_jpeg(transfer_syntax: str) -> bool:
    return not is_compressed(transfer_syntax) or is_jpeg(transfer_syntax)


def _deflated(transfer_syntax: str) -> bool:
    return transfer_syntax == DEFLATED


def _nothing(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Codec:
    """One code, or a family written alike: `pattern` is what it looks like, with groups ``quality`` and ``factor``.

    `proposes` are the compressed transfer syntaxes that ConQuest's code stands for, best first, and `uncompressed` the
    forms of uncompressed data it asks for, where it does. `keeps` tells which stored objects it leaves as they are.

    `makes` are the compressed transfer syntaxes that storage.transcode brings an object into: the first whose row in
    storage.codecs.forms, which has encoder, decoder, bit depths and photometric interpretations, takes its pixels;
    one that none takes is left as it is, and the result says why. `jpeg` marks the codes that are for images only.
    """

    code: str
    text: str
    pattern: str = ""
    proposes: tuple[str, ...] = ()
    uncompressed: tuple[str, ...] = ()
    lossy: bool = False
    keeps: Callable[[str], bool] = _nothing
    makes: tuple[str, ...] = ()
    jpeg: bool = False


_LOSSLESS = (JPEG_LOSSLESS_SV1, JPEG_LOSSLESS)
# What ConQuest makes of lossy codes for values of more than 12 bits is `j1`.
_DCT = (JPEG_BASELINE, JPEG_EXTENDED, *_LOSSLESS)
_PROGRESSIVE = (JPEG_PROGRESSIVE, JPEG_EXTENDED, *_LOSSLESS)
_HIGH_THROUGHPUT = (HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K)
# Pixels of the larger side, by the character behind the k.
_SIDES = {"1": 1024, "2": 512, "4": 256, "8": 128, "a": 64, "b": 32, "c": 16}
_BOTH_EXPLICIT = (EXPLICIT_LITTLE, EXPLICIT_BIG)
_QUALITY = r"(?P<quality>\d{2})?"
_FACTOR = r"(?P<factor>\d+),(?P<cutoff>\d+)"

CODECS: tuple[Codec, ...] = (
    Codec("as", "unchanged", "(?:as)?", keeps=_everything),
    Codec("is", "unchanged", keeps=_everything),
    Codec("un", "uncompressed", keeps=_uncompressed),
    Codec("ui", "uncompressed, implicit little endian", uncompressed=(IMPLICIT_LITTLE,), keeps=_uncompressed),
    Codec("ul", "uncompressed, explicit little endian", uncompressed=(EXPLICIT_LITTLE,), keeps=_uncompressed),
    Codec("ub", "uncompressed, explicit big endian", uncompressed=(EXPLICIT_BIG,), keeps=_uncompressed),
    Codec("ue", "uncompressed, explicit", uncompressed=_BOTH_EXPLICIT, keeps=_uncompressed),
    Codec("uj", "uncompressed, but JPEG left alone", keeps=_uncompressed_or_jpeg),
    Codec("ud", "deflated, explicit little endian", uncompressed=(DEFLATED,), keeps=_deflated),
    Codec("n0", "uncompressed, without group 0002", keeps=_uncompressed),
    Codec("n", "NKI, modes 1 to 5", "n(?P<mode>[1-5])"),
    Codec("n#", "NKI mode 5 of values divided by F, those below C being 0", f"n#{_FACTOR}", lossy=True),
    Codec("nj", "NKI mode 5, but JPEG left alone", keeps=is_jpeg),
    Codec(
        "j1",
        "JPEG lossless, first order prediction",
        proposes=(JPEG_LOSSLESS, JPEG_LOSSLESS_SV1),
        makes=_LOSSLESS,
        jpeg=True,
    ),
    Codec("j2", "JPEG lossless", proposes=(JPEG_LOSSLESS, JPEG_LOSSLESS_SV1), makes=_LOSSLESS, jpeg=True),
    *(
        Codec(
            code,
            "JPEG baseline or extended",
            code + _QUALITY,
            (JPEG_EXTENDED, JPEG_BASELINE),
            lossy=True,
            makes=_DCT,
            jpeg=True,
        )
        for code in ("j3", "j4")
    ),
    Codec(
        "j5",
        "JPEG spectral selection",
        f"j5{_QUALITY}",
        (JPEG_SPECTRAL, JPEG_EXTENDED, JPEG_BASELINE),
        lossy=True,
        makes=_PROGRESSIVE,
        jpeg=True,
    ),
    Codec(
        "j6",
        "JPEG full progression",
        f"j6{_QUALITY}",
        (JPEG_PROGRESSIVE, JPEG_EXTENDED, JPEG_BASELINE),
        lossy=True,
        makes=_PROGRESSIVE,
        jpeg=True,
    ),
    Codec(
        "j7",
        "JPEG-LS near-lossless",
        f"j7{_QUALITY}",
        (JPEG_LS_NEAR, JPEG_LS_LOSSLESS),
        lossy=True,
        makes=(JPEG_LS_NEAR, JPEG_LS_LOSSLESS),
        jpeg=True,
    ),
    Codec("js", "JPEG-LS lossless", proposes=(JPEG_LS_LOSSLESS,), makes=(JPEG_LS_LOSSLESS,), jpeg=True),
    Codec("jk", "JPEG 2000 lossless", proposes=(JPEG_2000_LOSSLESS,), makes=(JPEG_2000_LOSSLESS,), jpeg=True),
    Codec(
        "jl",
        "JPEG 2000",
        f"jl{_QUALITY}",
        (JPEG_2000, JPEG_2000_LOSSLESS),
        lossy=True,
        makes=(JPEG_2000, JPEG_2000_LOSSLESS),
        jpeg=True,
    ),
    Codec("jh", "HTJ2K lossless", proposes=_HIGH_THROUGHPUT, makes=_HIGH_THROUGHPUT, jpeg=True),
    Codec("jr", "RLE", proposes=(RLE,), makes=(RLE,)),
    Codec(
        "ja",
        "any JPEG, else JPEG lossless",
        proposes=(JPEG_LOSSLESS_SV1, JPEG_LOSSLESS),
        keeps=is_jpeg,
        makes=_LOSSLESS,
        jpeg=True,
    ),
    Codec(
        "j#",
        "JPEG lossless of values divided by F, those below C being 0",
        f"j#{_FACTOR}",
        (JPEG_LOSSLESS, JPEG_LOSSLESS_SV1),
        lossy=True,
        makes=_LOSSLESS,
        jpeg=True,
    ),
    Codec(
        "k", "downsized to 1024 (1), 512 (2), 256 (4), 128 (8), 64 (a), 32 (b), 16 (c) pixels", "k[1248abc]", lossy=True
    ),
    Codec("s", "what script CompressionConverter0 to 9 makes of it", "s[0-9]"),
    Codec("v", "not kept: index entry only", "v."),
)
# ConQuest leaves objects unchanged under a code it does not know.
UNKNOWN = Codec("", "unknown: unchanged", keeps=_everything)
_PATTERNS = tuple((re.compile(row.pattern or re.escape(row.code), re.IGNORECASE), row) for row in CODECS)


@dataclass(frozen=True, slots=True)
class Code:
    """A compression code as it was written: its row, and the quality, factor, cut-off and NKI mode that it carries."""

    text: str
    codec: Codec
    strict: bool = False
    quality: int | None = None
    factor: int | None = None
    cutoff: int | None = None
    mode: int | None = None

    @property
    def known(self) -> bool:
        """Whether there is such a code; under one there is not, objects stay unchanged."""
        return self.codec is not UNKNOWN

    @property
    def side(self) -> int | None:
        """The pixels that the larger side of a downsized image has at most; None for other codes."""
        return _SIDES[self.text[1].lower()] if self.codec.code == "k" else None

    @property
    def uncompressed_syntaxes(self) -> tuple[str, ...]:
        """The transfer syntaxes of uncompressed data that the code insists on, then the fall-back; empty: any."""
        if not self.codec.uncompressed or self.strict or IMPLICIT_LITTLE in self.codec.uncompressed:
            return self.codec.uncompressed
        return (*self.codec.uncompressed, IMPLICIT_LITTLE)

    def keeps(self, transfer_syntax: str) -> bool:
        """Whether an object in that transfer syntax is what the code asks for already."""
        return self.codec.keeps(transfer_syntax)


@lru_cache(maxsize=256)
def parse_code(text: str) -> Code:
    """Read a compression code, in any case; ``!`` at its end leaves out the uncompressed fall-back.

    An unknown one leaves objects unchanged, as in ConQuest; `Code.known` tells.
    """
    written = text.strip()
    bare = written.removesuffix("!")
    for pattern, row in _PATTERNS:
        if match := pattern.fullmatch(bare):
            numbers = {name: int(value) for name, value in match.groupdict().items() if value}
            return Code(written, row, bare != written, **numbers)
    return Code(written, UNKNOWN, bare != written)
