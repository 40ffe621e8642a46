"""In which form an object goes to a receiver: what to propose to it, and the best of what it accepts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from server.pipeline.compression import NOT_OF_PIXELS, makes_nki
from server.pipeline.reader import Kind
from server.scu import Proposal
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
    RLE,
    Code,
)
from storage.transfer import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, NATIVE

# What to make of an object that a receiver does not take as it is, best first: nothing is lost before the last line.
_FALLBACKS = (
    *(EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED),
    *(JPEG_LS_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K),
    *(JPEG_2000_LOSSLESS, RLE),
    *(JPEG_LS_NEAR, JPEG_2000, JPEG_BASELINE, JPEG_EXTENDED, JPEG_PROGRESSIVE),
)
# Codes that ask for uncompressed data and no more.
_UNCOMPRESSED = ("un", "ui", "ul", "ub", "ue", "uj", "ud", "n0")
# ConQuest's own compression, whose element stands where the pixels would.
_NKI_ELEMENT = b"\xdf\x7f\x10\x00"
_LOOKED_AT = 64 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """How an object goes out: brought by a codec into the first of `made` that it fits, else in the syntax `plain`.

    `made` are compression codes and transfer syntaxes. `plain` takes no codec: the stored form, or another uncompressed
    one; "" when the receiver accepts none.
    """

    made: tuple[str, ...]
    plain: str


def route(stored: str, accepted: Collection[str], code: Code, *, nki: bool = False) -> Route:
    """Choose among the transfer syntaxes that a receiver accepts for an object's SOP class.

    The stored bytes go where the code leaves them and the receiver takes them; else what the code asks for, else what
    loses nothing, uncompressed first. `nki`: its pixels may be ConQuest's own compression.
    """
    if code.strict and code.codec.makes:
        accepted = [syntax for syntax in accepted if syntax not in NATIVE]
    plain = next(_plain(stored, accepted, code), "")
    made: tuple[str, ...] = ()
    if nki and not makes_nki(code):
        made = tuple(syntax for syntax in _FALLBACKS if syntax in accepted)
    elif not _stays(stored, code) and _possible(code, accepted):
        made = (code.text,)
    if not plain:
        made += tuple(syntax for syntax in _FALLBACKS if syntax in accepted)
    return Route(tuple(dict.fromkeys(made)), plain)


def proposals(kind: Kind, code: Code) -> tuple[Proposal, ...]:
    """What to propose for an object: each form its code asks for in a context of its own, then what it falls back to.

    An object that its code leaves alone is offered as it is stored. What the receiver accepts of it is known then, not
    just what it likes best.
    """
    stored = kind.transfer_syntax
    forms: tuple[tuple[str, ...], ...]
    uncompressed = code.uncompressed_syntaxes or (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
    if makes_nki(code) and not code.keeps(stored):
        forms = ((IMPLICIT_LITTLE,),)
    elif code.codec.makes and not code.keeps(stored):
        forms = tuple((syntax,) for syntax in code.codec.makes)
        forms = forms if code.strict else (*forms, uncompressed)
    elif not _stays(stored, code) or (code.codec.uncompressed and stored in NATIVE):
        forms = (uncompressed,)
    else:
        forms = ((stored,),)
        if not code.strict or code.uncompressed_syntaxes:
            forms = (*forms, uncompressed)
    return tuple(Proposal(kind.sop_class, form) for form in dict.fromkeys(forms))


def may_be_nki(path: Path, stored: str) -> bool:
    """Whether a file may hold ConQuest's own compression, which only `.v2` files do as a rule."""
    if path.suffix.lower() != ".v2" or stored not in NATIVE:
        return False
    with path.open("rb") as source:
        return _NKI_ELEMENT in source.read(_LOOKED_AT)


def _stays(stored: str, code: Code) -> bool:
    """Whether a code asks for nothing that a codec must do with objects of a transfer syntax."""
    plain = code.codec.code in _UNCOMPRESSED and stored in NATIVE
    return plain or code.codec.code in NOT_OF_PIXELS or code.keeps(stored)


def _possible(code: Code, accepted: Collection[str]) -> bool:
    """Whether the receiver accepts anything that the code may make."""
    if makes_nki(code):
        return IMPLICIT_LITTLE in accepted
    return not set(code.codec.makes or NATIVE).isdisjoint(accepted)


def _plain(stored: str, accepted: Collection[str], code: Code) -> Iterator[str]:
    """Accepted syntaxes that take no codec: those the code insists on, the stored one, other uncompressed ones."""
    order: tuple[str, ...] = (stored,)
    if stored in NATIVE:
        order = (*code.uncompressed_syntaxes, stored, EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
    return (syntax for syntax in dict.fromkeys(order) if syntax in accepted)
