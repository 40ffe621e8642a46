"""Response identifiers of a query, written straight from the rows of the index: there may be very many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct, error, pack
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from server.pipeline.query import (
    AVAILABILITY,
    BULK_VRS,
    CHARACTER_SET,
    DEVICE_NAME,
    LEVEL,
    OBJECT_FILE,
    OWN_GROUP,
    RETRIEVE_AE,
    Identified,
    Row,
)
from storage.header import TagPath

# PS3.5 7.1.2: these have a length of 32 bits behind two reserved bytes.
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_ITEM = 0xFFFEE000
_ASCII = "ISO_IR 6"
_UTF8 = "ISO_IR 192"
# Single values of (0008,0005) that need no escape sequences (PS3.3 C.12.1.1.2).
_PLAIN_SETS = frozenset(name for name in python_encoding if name.startswith("ISO_IR ")) | {"GB18030", "GBK"}

_Piece = bytes | Callable[[Row, str], bytes]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written in a transfer syntax."""

    implicit: bool
    little_endian: bool

    @property
    def order(self) -> str:
        return "<" if self.little_endian else ">"

    def element(self, tag: int, vr: str, value: bytes) -> bytes:
        """One element; `value` is padded already. What a length of 16 bits cannot hold is left out."""
        head = pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit or tag == _ITEM:
            return head + pack(self.order + "I", len(value)) + value
        if vr in _LONG_VRS:
            return head + vr.encode() + pack(self.order + "HI", 0, len(value)) + value
        if len(value) > 0xFFFF:
            value = b""
        return head + vr.encode() + pack(self.order + "H", len(value)) + value


class Answers:
    """Encodes the responses of one query: every requested key, empty where nothing is known of it.

    Text is answered in the query's own character set when that can hold it, else in UTF-8; `forced` is the ISO_IR
    number that overrides both (QueriesReturnISO_IR, 0 is none).
    """

    def __init__(self, identified: Identified, encoding: Encoding, *, ae_title: str, forced: int = 0) -> None:
        self._encoding = encoding
        asked = f"ISO_IR {forced}" if forced else str(identified.data_set.get("SpecificCharacterSet", "") or "")
        self._asked = asked if asked in _PLAIN_SETS else ""
        pieces = dict(self._keys(identified.data_set, ()))
        pieces[CHARACTER_SET] = self._character_set
        pieces[LEVEL] = encoding.element(LEVEL, "CS", _padded(identified.level.encode()))
        pieces[RETRIEVE_AE] = encoding.element(RETRIEVE_AE, "AE", _padded(ae_title.encode("ascii", "replace")))
        if AVAILABILITY in pieces:
            pieces[AVAILABILITY] = encoding.element(AVAILABILITY, "CS", b"ONLINE")
        if identified.level == "IMAGE":
            for tag in (OBJECT_FILE, DEVICE_NAME):
                if tag in identified.data_set:
                    pieces[tag] = self._value((tag,), "LO")
        self._pieces = [piece for _, piece in sorted(pieces.items(), key=lambda row: row[0])]

    def encode(self, row: Row) -> bytes:
        """The response for one row, which may hold anything that the index does."""
        name = self._name(row.values())
        return b"".join([piece if isinstance(piece, bytes) else piece(row, name) for piece in self._pieces])

    def _keys(self, keys: Dataset, parents: TagPath) -> Mapping[int, _Piece]:
        pieces: dict[int, _Piece] = {}
        for element in keys:
            tag = int(element.tag)
            if element.tag.group == OWN_GROUP or element.tag.element == 0 or tag in (CHARACTER_SET, LEVEL, RETRIEVE_AE):
                continue
            vr = _vr(tag, element.VR)
            if vr == "SQ":
                items = element.value if element.VR == "SQ" and element.value else []
                pieces[tag] = self._sequence(tag, [self._keys(item, (*parents, tag)) for item in items[:1]])
            elif vr in BULK_VRS:
                pieces[tag] = self._encoding.element(tag, vr, b"")
            else:
                pieces[tag] = self._value((*parents, tag), vr)
        return pieces

    def _sequence(self, tag: int, items: Iterable[Mapping[int, _Piece]]) -> _Piece:
        encoding = self._encoding
        inner = [piece for item in items for piece in item.values()]

        def encode(row: Row, name: str) -> bytes:
            content = b"".join([piece if isinstance(piece, bytes) else piece(row, name) for piece in inner])
            return encoding.element(tag, "SQ", encoding.element(_ITEM, "", content))

        return encode if inner else encoding.element(tag, "SQ", b"")

    def _value(self, path: TagPath, vr: str) -> _Piece:
        """What writes one element; a value that does not fit its VR is answered empty rather than ending the query."""
        encoding, tag = self._encoding, path[-1]
        empty = encoding.element(tag, vr, b"")
        wide = encoding.implicit or vr in _LONG_VRS
        head, length = empty[: -4 if wide else -2], Struct(encoding.order + ("I" if wide else "H"))
        most = 0xFFFFFFFE if wide else 0xFFFE
        binary = _NUMBERS.get(vr) or ("T" if vr == "AT" else "")
        pad = b"\0" if vr == "UI" else b" "

        def encode(row: Row, name: str) -> bytes:
            text = row.get(path)
            if not text:
                return empty
            value = _binary(text, binary, encoding.order) if binary else text.encode(python_encoding[name], "replace")
            if len(value) & 1:
                value += pad
            return head + length.pack(len(value)) + value if len(value) <= most else empty

        return encode

    def _character_set(self, row: Row, name: str) -> bytes:
        shown = "" if name == _ASCII and not self._asked else name
        return self._encoding.element(CHARACTER_SET, "CS", _padded(shown.encode())) if shown else b""

    def _name(self, texts: Iterable[str]) -> str:
        """The character set that one response is written in."""
        others = [text for text in texts if not text.isascii()]
        if not others:
            return self._asked or _ASCII
        return self._asked if self._asked and all(_fits(text, self._asked) for text in others) else _UTF8


def _vr(tag: int, asked: str) -> str:
    """The VR to answer with: that of the dictionary, the first one where it has several, else that of the query."""
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        vr = "LO" if asked == "UN" else asked
    return vr[:2]


def _fits(text: str, name: str) -> bool:
    if name == _ASCII:
        return False
    try:
        encoded = text.encode(python_encoding[name])
    except UnicodeError:
        return False
    # Codecs such as that of ISO_IR 13 know more than the one byte a character that the set has.
    return len(encoded) == len(text) or name in (_UTF8, "GB18030", "GBK")


def _binary(text: str, code: str, order: str) -> bytes:
    """Numbers separated by backslashes, or nothing when they are none."""
    try:
        values: list[Any] = [_number(part, code) for part in text.split("\\")]
        return b"".join(pack(order + ("HH" if code == "T" else code), *value) for value in values)
    except (ValueError, OverflowError, error):
        return b""


def _number(text: str, code: str) -> tuple[Any, ...]:
    if code == "T":
        tag = int(text, 16)
        return tag >> 16, tag & 0xFFFF
    return (float(text) if code in "fd" else int(text),)


def _padded(value: bytes) -> bytes:
    return value + b" " * (len(value) & 1)
