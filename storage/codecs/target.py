"""What a compression code makes of an image: the transfer syntax, and what is done to the pixels on the way."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from storage.codecs import nki
from storage.codecs.forms import FORMS, Form, decoded_format
from storage.codecs.source import NKI, StoredPixels
from storage.codecs.table import JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEG_PROGRESSIVE, JPEG_SPECTRAL, Code
from storage.errors import NotConvertible
from storage.transfer import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, NATIVE

_MODALITY = 0x00080060
# ConQuest keeps JPEG away from these, whatever they carry; and from fewer bits than 8.
_NO_IMAGES = ("PR", "SR")
_LEAST_BITS = 8
_PROCESS_14 = frozenset({JPEG_LOSSLESS, JPEG_LOSSLESS_SV1})
_UNCOMPRESSED = {
    "ui": (IMPLICIT_LITTLE,),
    "n0": (IMPLICIT_LITTLE,),
    "ub": (EXPLICIT_BIG,),
    "ud": (DEFLATED,),
}
_WITHOUT_IMAGE = ("un", "ui", "ul", "ub", "ue", "uj", "ud", "n0")
_USUAL = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)


@dataclass(frozen=True, slots=True)
class Target:
    """What to make of an object: encoded as `row` says, NKI of `mode`, or uncompressed in `transfer_syntax`.

    Values below `cutoff` become 0 and the others are divided by `factor`; the larger side is at most `side` pixels.
    `bare` files have no group 0002. `notes` are for the log.
    """

    transfer_syntax: str
    row: Form | None = None
    mode: int = 0
    factor: int = 0
    cutoff: int = 0
    side: int = 0
    bare: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether uncompressed pixels are fit as they are."""
        return not (self.row or self.mode or self.factor or self.side)


def choose(code: Code, stored: StoredPixels, accepted: Collection[str] | None = None, *, anew: bool = False) -> Target:
    """Choose what a code makes of an image, of transfer syntaxes that are `accepted` where those are given.

    With `anew` it is encoded even where it is in that form already. Raises NotConvertible, with the reason, for an
    image that stays as it is.
    """
    name = code.codec.code
    if not code.known or name in ("s", "v", "as", "is"):
        raise NotConvertible(f"code {code.text!r} leaves pixels alone")
    if code.keeps(stored.transfer_syntax):
        raise NotConvertible(f"it is {stored.transfer_syntax} already")
    if code.codec.makes:
        return _compressed(code, stored, accepted, anew=anew)
    if name in ("n", "n#", "nj"):
        return _nki(code, stored)
    if name == "k":
        return _downsized(code, stored, accepted)
    return uncompressed(_UNCOMPRESSED.get(name, _USUAL), accepted, bare=name == "n0")


def choose_without_image(
    code: Code, transfer_syntax: str, accepted: Collection[str] | None, why: NotConvertible
) -> Target:
    """Choose for an object that has no image, `why` says which it lacks: only uncompressed codes do anything to it."""
    if code.keeps(transfer_syntax):
        raise NotConvertible(f"it is {transfer_syntax} already")
    if code.codec.makes or code.codec.code not in _WITHOUT_IMAGE:
        raise why
    return uncompressed(_UNCOMPRESSED.get(code.codec.code, _USUAL), accepted, bare=code.codec.code == "n0")


def choose_syntax(transfer_syntax: str, stored: StoredPixels) -> Target:
    """The target for a transfer syntax that somebody insists on; raises NotConvertible when it takes no such pixels."""
    if transfer_syntax in NATIVE:
        return Target(transfer_syntax)
    row = FORMS.get(transfer_syntax)
    if row is None:
        raise NotConvertible(f"there is no codec for transfer syntax {transfer_syntax}")
    if misfit := row.misfit(decoded_format(stored.format, stored.transfer_syntax)):
        raise NotConvertible(misfit)
    return Target(transfer_syntax, row)


def uncompressed(wanted: Collection[str], accepted: Collection[str] | None, *, bare: bool = False) -> Target:
    """The target in the first of `wanted` that is accepted; raises NotConvertible when none is."""
    for syntax in wanted:
        if accepted is None or syntax in accepted:
            return Target(syntax, bare=bare)
    raise NotConvertible("no uncompressed transfer syntax is accepted")


def _compressed(code: Code, stored: StoredPixels, accepted: Collection[str] | None, *, anew: bool) -> Target:
    form = decoded_format(stored.format, stored.transfer_syntax)
    refuse_overlay(stored)
    if code.codec.jpeg:
        modality = stored.text(_MODALITY).upper()
        if modality in _NO_IMAGES or modality.startswith("RT"):
            raise NotConvertible(f"modality {modality} is not compressed")
        if form.bits_stored < _LEAST_BITS:
            raise NotConvertible(f"JPEG is for 8 bits and more, not {form.bits_stored}")
    anew = anew or code.factor is not None
    if code.factor == 0:
        raise NotConvertible(f"code {code.text!r} divides by 0")
    misfits: list[str] = []
    for syntax in code.codec.makes:
        if accepted is not None and syntax not in accepted:
            continue
        row = FORMS[syntax]
        if misfit := row.misfit(form):
            misfits.append(misfit)
            continue
        same = {stored.transfer_syntax, syntax} <= _PROCESS_14 and accepted is None
        if not anew and (same or stored.transfer_syntax == syntax):
            raise NotConvertible(f"it is {stored.transfer_syntax} already")
        notes = _notes(code, row, misfits)
        return Target(syntax, row, factor=code.factor or 0, cutoff=code.cutoff or 0, notes=notes)
    raise NotConvertible(misfits[0] if misfits else "none of the transfer syntaxes of its code is accepted")


def _notes(code: Code, row: Form, misfits: list[str]) -> tuple[str, ...]:
    if misfits and code.codec.lossy and code.factor is None and not row.lossy:
        return (f"{misfits[0]}: written as {row.text}",)
    if row.transfer_syntax == JPEG_PROGRESSIVE and JPEG_SPECTRAL in code.codec.proposes:
        return ("spectral selection is written as full progression",)
    return ()


def _nki(code: Code, stored: StoredPixels) -> Target:
    form = stored.format
    mode = code.mode or 5
    if code.factor == 0:
        raise NotConvertible(f"code {code.text!r} divides by 0")
    if stored.transfer_syntax == NKI and stored.nki_mode == mode and code.factor is None:
        raise NotConvertible(f"it is NKI compressed in mode {mode} already")
    if form.native_bytes > nki.MAX_BYTES:
        raise NotConvertible(f"NKI compression is for {nki.MAX_BYTES >> 20} MB at most")
    refuse_overlay(stored)
    return Target(IMPLICIT_LITTLE, mode=mode, factor=code.factor or 0, cutoff=code.cutoff or 0, bare=True)


def _downsized(code: Code, stored: StoredPixels, accepted: Collection[str] | None) -> Target:
    side = code.side
    assert side is not None, "not a code that downsizes"
    form = stored.format
    if max(form.rows, form.columns) <= side:
        if stored.transfer_syntax in NATIVE:
            raise NotConvertible(f"its {form.columns} x {form.rows} pixels are few enough")
        return uncompressed(_USUAL, accepted)
    refuse_overlay(stored)
    syntax = uncompressed(_USUAL, accepted).transfer_syntax
    return Target(syntax, side=side)


def refuse_overlay(stored: StoredPixels) -> None:
    """Raise NotConvertible for an image with an overlay in its unused bits, which every decoding would lose."""
    if stored.embedded_overlay:
        raise NotConvertible("an overlay lies in the unused bits of its pixels")
