"""C's printf for format arguments of commands, made safe: whatever the format says, it is only ever text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgate.arguments import Call

PrintfValue = str | int | float

# A field may be this wide, and a number have so many decimals; what asks for more is printed as it stands.
MAX_WIDTH = 4096

_CONVERSION = re.compile(
    r"%(?:%|(?:(?P<place>[0-9]{1,3})\$)?(?P<flags>[-+ #0]*)(?P<width>[0-9]{0,5})(?P<precision>\.[0-9]{0,5})?"
    r"(?:hh|h|ll|l|z|j|t|L|q)?(?P<kind>[sdiuxXocfge]))"
)
_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,40})")
_REAL = re.compile(r"\s*([+-]?(?:[0-9]{1,40}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)")


@dataclass(frozen=True, slots=True)
class Printf:
    """A format argument: ``fmt % values`` prints values as C's printf would.

    Flags, width, precision, ``%2$s``, ``%%`` and the conversions ``s d i u x X o c f g e`` are known, anything else
    is printed literally. When there are more conversions than values, the values repeat. A text given to a numeric
    conversion is read as far as it is a number, else as 0.
    """

    text: str

    @classmethod
    def parse(cls, text: str, call: Call) -> Printf:
        """Take any text: a format cannot be wrong."""
        return cls(text)

    def __mod__(self, values: PrintfValue | tuple[PrintfValue, ...]) -> str:
        given = values if isinstance(values, tuple) else (values,)
        taken = 0

        def field(match: re.Match[str]) -> str:
            nonlocal taken
            if match.group() == "%%":
                return "%"
            place = match["place"]
            if not given or not _sensible(match):
                return match.group()
            if place is None:
                taken += 1
            return _field(match, given[((int(place) if place else taken) - 1) % len(given)])

        return _CONVERSION.sub(field, self.text)


NUMBER = Printf("%d")
TEXT = Printf("%s")


def _sensible(match: re.Match[str]) -> bool:
    precision = (match["precision"] or ".")[1:]
    return max(int(match["width"] or 0), int(precision or 0)) <= MAX_WIDTH and match["place"] not in ("0", "00", "000")


def _field(match: re.Match[str], value: PrintfValue) -> str:
    flags, width, kind = match["flags"], match["width"], match["kind"]
    precision = match["precision"] or ""
    if kind == "s":
        text = str(value)
        return _pad(text[: int(precision[1:] or 0)] if precision else text, flags, width)
    if kind == "c":
        return _pad(_character(value), flags, width)
    if kind in "fge":
        return f"%{flags}{width}{precision}{kind}" % _real(value)
    number = _whole(value)
    if kind in "uxXo" and number < 0:
        number &= 0xFFFFFFFF  # as C prints a negative int
    if kind == "o" and "#" in flags:
        return _pad(("0" if number else "") + format(number, "o"), flags, width)  # Python would write 0o17
    if precision:
        flags = flags.replace("0", "")  # as C: a precision says how many digits there are
    return f"%{flags}{width}{precision}{'d' if kind in 'iu' else kind}" % number


def _pad(text: str, flags: str, width: str) -> str:
    return text.ljust(int(width or 0)) if "-" in flags else text.rjust(int(width or 0))


def _character(value: PrintfValue) -> str:
    if isinstance(value, str):
        return value[:1]
    code = int(value)
    return chr(code) if 0 < code < 0xD800 else ""


def _whole(value: PrintfValue) -> int:
    if isinstance(value, str):
        found = _WHOLE.match(value)
        return int(found[1]) if found else 0
    return int(value)


def _real(value: PrintfValue) -> float:
    if isinstance(value, str):
        found = _REAL.match(value)
        return float(found[1]) if found else 0.0
    return float(value)
