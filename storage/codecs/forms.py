"""The compressed transfer syntaxes: decoder, encoder, and what pixels each takes; for codec processes only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from storage.codecs import jpeg, jpeg2000, jpegls, rle
from storage.codecs.pixels import YBR_422, PixelFormat, Pixels
from storage.codecs.table import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
    JPEG_PROGRESSIVE,
    JPEG_SPECTRAL,
    RLE,
)

Decode = Callable[[bytes, PixelFormat], Pixels]
Encode = Callable[[Pixels, PixelFormat, int], bytes]
# The header of what an encoder makes of pixels of a format.
Header = Callable[[PixelFormat], PixelFormat]

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL"})
_EVERY = _GREY | _COLOUR | {"PALETTE COLOR"}


def _as_it_is(form: PixelFormat) -> PixelFormat:
    return form


def _as_dct(form: PixelFormat) -> PixelFormat:
    return replace(form, photometric=YBR_422) if form.samples == 3 else form


def _as_twelve_bits(form: PixelFormat) -> PixelFormat:
    # PS3.5 Table 8.2.1-1; and a DCT rings beyond fewer bits.
    return replace(form, bits_stored=12, high_bit=11)


def _as_all_bits(form: PixelFormat) -> PixelFormat:
    # An error at the edge of the stored bits must not leave them.
    return replace(form, bits_stored=form.bits_allocated, high_bit=form.bits_allocated - 1)


def _as_reversible(form: PixelFormat) -> PixelFormat:
    return replace(form, photometric="YBR_RCT") if form.photometric == "RGB" else form


def _as_irreversible(form: PixelFormat) -> PixelFormat:
    if form.photometric != "RGB" or jpeg2000.is_small(form):
        return _as_reversible(form)
    return replace(form, photometric="YBR_ICT")


@dataclass(frozen=True, slots=True)
class Form:
    """One compressed transfer syntax.

    `decode` gives what the stream holds, colour transforms undone; without `encode` it is read only. Encoded are
    `allocated` bits a value with `stored` from .. to, of the photometric interpretations listed; `header` is the
    format that goes with it. `text` is what a derivation description says. `errors` are what is promised for smooth
    images with noise: quality, largest error, root of the mean square, both in percent of the range of values.
    """

    transfer_syntax: str
    text: str
    decode: Decode
    encode: Encode | None = None
    lossy: bool = False
    allocated: frozenset[int] = frozenset({8, 16})
    stored: tuple[int, int] = (2, 16)
    photometrics: frozenset[str] = _EVERY
    signed: bool = True
    header: Header = _as_it_is
    method: str = ""
    errors: tuple[tuple[int, float, float], ...] = ()
    max_side: int = 0xFFFF

    def misfit(self, form: PixelFormat) -> str:
        """Why pixels of a format cannot be encoded so, "" when they can."""
        low, high = self.stored
        for wrong, reason in (
            (self.encode is None, "is not written here"),
            (form.photometric not in self.photometrics, f"has no {form.photometric}"),
            (form.samples not in (1, 3), f"has no {form.samples} samples a pixel"),
            (form.bits_allocated not in self.allocated, f"has no values of {form.bits_allocated} bits"),
            (not low <= form.bits_stored <= high, f"has {low} to {high} bits, not {form.bits_stored}"),
            (form.signed and not self.signed, "has no signed values"),
            (max(form.rows, form.columns) > self.max_side, f"has at most {self.max_side} pixels a side"),
        ):
            if wrong:
                return f"{self.text} {reason}"
        return ""


_DCT_ERRORS = ((95, 3.0, 0.7), (60, 4.0, 1.0))

_ROWS = (
    Form(
        JPEG_BASELINE,
        "JPEG baseline",
        jpeg.decode,
        jpeg.encode_lossy,
        lossy=True,
        allocated=frozenset({8}),
        stored=(8, 8),
        photometrics=_GREY | _COLOUR,
        signed=False,
        header=_as_dct,
        method="ISO_10918_1",
        errors=_DCT_ERRORS,
        max_side=jpeg.MAX_SIDE,
    ),
    Form(
        JPEG_EXTENDED,
        "JPEG extended",
        jpeg.decode,
        jpeg.encode_lossy,
        lossy=True,
        allocated=frozenset({16}),
        stored=(9, 12),
        photometrics=_GREY,
        signed=False,
        header=_as_twelve_bits,
        method="ISO_10918_1",
        errors=((95, 0.5, 0.1), (60, 1.5, 0.4)),
        max_side=jpeg.MAX_SIDE,
    ),
    Form(JPEG_SPECTRAL, "JPEG spectral selection", jpeg.decode, lossy=True, method="ISO_10918_1"),
    Form(
        JPEG_PROGRESSIVE,
        "JPEG full progression",
        jpeg.decode,
        jpeg.encode_progressive,
        lossy=True,
        allocated=frozenset({8}),
        stored=(8, 8),
        photometrics=_GREY | _COLOUR,
        signed=False,
        header=_as_dct,
        method="ISO_10918_1",
        errors=_DCT_ERRORS,
        max_side=jpeg.MAX_SIDE,
    ),
    Form(JPEG_LOSSLESS, "JPEG lossless", jpeg.decode, jpeg.encode_lossless, max_side=jpeg.MAX_SIDE),
    Form(JPEG_LOSSLESS_SV1, "JPEG lossless", jpeg.decode, jpeg.encode_lossless, max_side=jpeg.MAX_SIDE),
    Form(JPEG_LS_LOSSLESS, "JPEG-LS lossless", jpegls.decode, jpegls.encode_lossless),
    Form(
        JPEG_LS_NEAR,
        "JPEG-LS near-lossless",
        jpegls.decode,
        jpegls.encode_near,
        lossy=True,
        photometrics=_GREY | {"RGB"},
        header=_as_all_bits,
        method="ISO_14495_1",
    ),
    Form(
        JPEG_2000_LOSSLESS,
        "JPEG 2000 lossless",
        jpeg2000.decode,
        jpeg2000.encode_lossless,
        header=_as_reversible,
    ),
    Form(
        JPEG_2000,
        "JPEG 2000",
        jpeg2000.decode,
        jpeg2000.encode_lossy,
        lossy=True,
        photometrics=_GREY | {"RGB"},
        header=_as_irreversible,
        method="ISO_15444_1",
        errors=((5, 2.0, 0.5), (10, 2.5, 0.6), (20, 3.0, 0.7)),
    ),
    *(
        Form(uid, "HTJ2K lossless", jpeg2000.decode, jpeg2000.encode_high_throughput, header=_as_reversible)
        for uid in (HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K)
    ),
    Form(
        RLE,
        "RLE",
        rle.decode,
        rle.encode,
        allocated=frozenset({8, 16, 32}),
        stored=(1, 32),
    ),
)
FORMS = {row.transfer_syntax: row for row in _ROWS}


def decoded_format(form: PixelFormat, transfer_syntax: str) -> PixelFormat:
    """The format of frames as they come out of the decoder of a transfer syntax."""
    decoded = form.decoded()
    photometric = form.photometric
    transformed = photometric in ("YBR_RCT", "YBR_ICT")
    row = FORMS.get(transfer_syntax)
    if transformed or (row is not None and row.decode is jpeg.decode and row.lossy and photometric.startswith("YBR")):
        return replace(decoded, photometric="RGB")
    return decoded
