"""Text as the value of an element: what each VR takes (PS3.5 6.2), and the bytes of it."""

from __future__ import annotations

import re
from datetime import date
from struct import error as StructError
from struct import pack

from dgate.rev.errors import SubstitutionFailed
from storage.text import encoded_text

# Characters of a value, of a component group for PN; what is longer is cut.
_LONGEST = {
    "AE": 16, "CS": 16, "LO": 64, "LT": 10240, "PN": 64, "SH": 16, "ST": 1024,
    "UC": 1 << 20, "UR": 1 << 16, "UT": 1 << 20,
}  # fmt: skip
# What cannot be cut without becoming another value has to fit.
_FORMS = {
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9 _]*"),
    "DA": re.compile(r"[0-9]{8}"),
    "DS": re.compile(r"(?=.{1,16}$)[+-]?[0-9]*\.?[0-9]+\.?([eE][+-]?[0-9]+)?"),
    "DT": re.compile(r"[0-9]{4}([0-9]{2}){0,5}(\.[0-9]{1,6})?([+-][0-9]{4})?"),
    "IS": re.compile(r"[+-]?[0-9]{1,11}"),
    "TM": re.compile(r"[0-9]{2}([0-9]{2}([0-9]{2}(\.[0-9]{1,6})?)?)?"),
    "UI": re.compile(r"(?=.{1,64}$)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*"),
}
_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# A backslash is text in these, and lines may end.
_WHOLE = frozenset({"LT", "ST", "UR", "UT"})
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")

SETTABLE = frozenset({*_LONGEST, *_FORMS, *_NUMBERS})


def encoded(vr: str, keyword: str, text: str, charset: bytes, *, little_endian: bool) -> bytes:
    """Make the value of an element, of even length; several values have backslashes between them.

    Text is cut where the VR has no room for it; SubstitutionFailed names an element whose VR does not take it.
    """
    if vr in _NUMBERS:
        return _numbers(vr, keyword, text, "<" if little_endian else ">")
    if vr in _WHOLE:
        text = _NOT_TEXT.sub("", text)[: _LONGEST[vr]]
    else:
        text = "\\".join(_fitted(vr, keyword, value) for value in _CONTROL.sub("", text).split("\\"))
    value = encoded_text(text, charset)
    return value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)


def _fitted(vr: str, keyword: str, value: str) -> str:
    value = value.upper().strip(" ") if vr == "CS" else value.strip(" ") if vr in _FORMS else value
    if vr == "PN":
        return "=".join(group[: _LONGEST["PN"]] for group in value.split("=")[:3])
    if vr in _LONGEST:
        value = value[: _LONGEST[vr]]
    if vr in _FORMS and value and not (_FORMS[vr].fullmatch(value) and (vr != "DA" or _is_date(value))):
        raise SubstitutionFailed(f"{keyword} cannot be what its template makes: that is no {vr}")
    return value


def _is_date(value: str) -> bool:
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True


def _numbers(vr: str, keyword: str, text: str, order: str) -> bytes:
    convert = float if vr in ("FL", "FD") else int
    try:
        return b"".join(pack(order + _NUMBERS[vr], convert(word)) for word in text.split("\\") if word.strip())
    except (ValueError, OverflowError, StructError):
        raise SubstitutionFailed(f"{keyword} cannot be what its template makes: that is no {vr}") from None
