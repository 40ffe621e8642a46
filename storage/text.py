"""Element values as text: character sets (PS3.5 6.1, PS3.3 C.12.1.1.2), numbers, and plain strings."""

import re
from functools import lru_cache
from struct import iter_unpack, pack, unpack
from types import ModuleType

from storage.errors import NotConvertible

_ESCAPE = b"\x1b"
_FRAGMENT = re.compile(b"^[^\x1b]+|\x1b[^\x1b]*")
# What ends the effect of an escape sequence of a single-byte set (PS3.5 6.1.2.5.3); a backslash parts values.
_RESETS_IN_NAMES = re.compile(rb"[\^=\\]")
_RESETS_IN_TEXT = re.compile(rb"[\r\n\t\f\\]")

# Python's codecs of these read the escape sequence themselves.
_KEEP_ESCAPES = frozenset({"iso2022_jp", "iso2022_jp_2"})

_NAME_VRS = frozenset({"PN"})
_CHARSET_VRS = frozenset({"PN", "LO", "LT", "SH", "ST", "UC", "UT", "UN"})
_ASCII_ONLY = frozenset({b"", b"ISO_IR 6", b"ISO 2022 IR 6"})
_BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ"})
# Format and size of one number, and the digits that floats may need.
_NUMBERS = {
    "US": ("H", 2),
    "SS": ("h", 2),
    "UL": ("L", 4),
    "SL": ("l", 4),
    "UV": ("Q", 8),
    "SV": ("q", 8),
    "FL": ("f", 4),
    "FD": ("d", 8),
    "AT": ("HH", 4),
}
_INTEGERS = frozenset("HhLlQq")
_DIGITS = {"FL": (6, 9), "FD": (15, 17)}


def value_text(vr: str, value: bytes, charset: bytes, little_endian: bool) -> str:
    """Write an element value as text: several values joined by backslashes, without trailing blanks and NULs.

    Strings stay as they were written (DS, IS, PN with ``^`` and ``=``); binary numbers become decimal ones, AT eight
    hexadecimal digits. Bytes that carry no text (OB, OW, ... SQ) give "". Nothing is refused: an unknown character
    set reads as Latin-1, an undecodable byte as U+FFFD, and text ends at its first NUL, as ConQuest's does.
    """
    if vr in _NUMBERS:
        return _numbers(vr, value, "<" if little_endian else ">")
    if vr in _BINARY_VRS:
        return ""
    value = value.rstrip(b" \0").partition(b"\0")[0]
    if vr not in _CHARSET_VRS or (value.isascii() and _ESCAPE not in value):
        return value.decode("latin-1").rstrip(" ")
    return _decode(value, _encodings(charset), _RESETS_IN_NAMES if vr in _NAME_VRS else _RESETS_IN_TEXT).rstrip(" ")


def plain_text(value: bytes) -> str | None:
    """Write a string of printable ASCII signs as `value_text` does, whatever its VR; None for any other."""
    text = value.rstrip(b" \0").decode("latin-1")
    return text if text.isascii() and text.isprintable() else None


def encoded_text(text: str, charset: bytes) -> bytes:
    """Write text as a value in the character set of a (0008,0005) value; NotConvertible when that has no such signs."""
    first = charset.partition(b"\\")[0].strip(b" \0")
    codec = "ascii" if text.isascii() or first in _ASCII_ONLY else _encodings(charset)[0]
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        raise NotConvertible("the character set of the object does not have what is to be written") from None


def _numbers(vr: str, value: bytes, order: str) -> str:
    form, size = _NUMBERS[vr]
    if len(value) == size and form in _INTEGERS:  # nearly always
        return str(unpack(order + form, value)[0])
    whole = value[: len(value) - len(value) % size]
    numbers = iter_unpack(order + form, whole)
    if vr == "AT":
        return "\\".join(f"{group:04X}{element:04X}" for group, element in numbers)
    if vr in _DIGITS:
        return "\\".join(_shortest(vr, number) for (number,) in numbers)
    return "\\".join(str(number) for (number,) in numbers)


def _shortest(vr: str, number: float) -> str:
    """Write a float with as few digits as read back to the same number of that size."""
    form, _ = _NUMBERS[vr]
    least, most = _DIGITS[vr]
    for digits in range(least, most):
        text = f"{number:.{digits}g}"
        if unpack(form, pack(form, float(text)))[0] == number:
            return text
    return f"{number:.{most}g}"


@lru_cache(maxsize=1)
def _charset() -> ModuleType:
    """pydicom's tables of character sets, loaded when a value is not ASCII: it takes a tenth of a second."""
    from pydicom import charset

    return charset


@lru_cache(maxsize=64)
def _encodings(charset: bytes) -> tuple[str, ...]:
    """The Python codecs of a (0008,0005) value, the first being the one that text begins in."""
    terms = [term.strip(" \0") for term in charset.decode("latin-1").split("\\")]
    codecs = [_codec(term) for term in terms]
    alone = _charset().STAND_ALONE_ENCODINGS
    if terms[0] in alone:
        return (codecs[0],)
    return (
        codecs[0],
        *(codec for term, codec in zip(terms[1:], codecs[1:], strict=True) if term not in alone),
    )


def _codec(term: str) -> str:
    known: dict[str, str] = _charset().python_encoding
    found = known.get(term)
    if found is None:
        # Common misspellings: ISO-IR 100, ISO IR 100, iso_ir 192, ISO 2022-IR-87.
        words = re.sub(r"[^A-Z0-9]+", " ", term.upper()).strip()
        found = known.get(words) or known.get(words.replace("ISO IR", "ISO_IR"))
    return found or "latin-1"


def _decode(value: bytes, encodings: tuple[str, ...], resets: re.Pattern[bytes]) -> str:
    if _ESCAPE not in value:
        return value.decode(encodings[0], "replace")
    return "".join(_fragment(piece, encodings, resets) for piece in _FRAGMENT.findall(value))


def _fragment(piece: bytes, encodings: tuple[str, ...], resets: re.Pattern[bytes]) -> str:
    """Decode a piece of text that begins with an escape sequence, or the one before the first."""
    if not piece.startswith(_ESCAPE):
        return piece.decode(encodings[0], "replace")
    length = 4 if piece.startswith((b"\x1b$(", b"\x1b$)")) else 3
    codec = _charset().CODES_TO_ENCODINGS.get(piece[:length])
    if codec is None or (codec not in encodings and codec != _charset().default_encoding):
        return piece.decode(encodings[0], "replace")
    if codec in _KEEP_ESCAPES:
        return piece.decode(codec, "replace")
    piece = piece[length:]
    reset = resets.search(piece)
    until = reset.start() if reset else len(piece)
    return piece[:until].decode(codec, "replace") + piece[until:].decode(encodings[0], "replace")
