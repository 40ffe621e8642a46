"""Response identifiers of a query, written straight from the rows of the index: there may be very many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, repeat
from struct import Struct, error, pack
from typing import Any

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR

from db.matches import Cell, Rows, text_of
from server.pipeline.identifier import (
    AVAILABILITY,
    BULK_VRS,
    CHARACTER_SET,
    DEVICE_NAME,
    LEVEL,
    OBJECT_FILE,
    RETRIEVE_AE,
    Asked,
    Identified,
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
# A text up to this length fits its element in every encoding and character set.
_ALWAYS_FITS = 0x3FFF


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


class _Value:
    """Writes one element out of one cell of each row; `before` stands in front of it and never changes."""

    def __init__(self, place: int, tag: int, vr: str, encoding: Encoding) -> None:
        wide = encoding.implicit or vr in _LONG_VRS
        self.place = place
        self.before = b""
        self._order = encoding.order
        self._empty = encoding.element(tag, vr, b"")
        self._head = self._empty[: -4 if wide else -2]
        self._length = Struct(encoding.order + ("I" if wide else "H"))
        self._most = 0xFFFFFFFE if wide else 0xFFFE
        self._binary = _NUMBERS.get(vr) or ("T" if vr == "AT" else "")
        self._pad = b"\0" if vr == "UI" else b" "
        self._heads = _Heads(self)

    def head(self, size: int) -> bytes:
        """What stands in front of a value of that even length."""
        return self.before + self._head + self._length.pack(size)

    def column(self, texts: Sequence[bytes]) -> list[bytes]:
        """Write the element of each row; for values in ASCII of ordinary length."""
        if self._binary:
            return [self.before + self.one(text, _ASCII) for text in texts]
        heads, pad = self._heads, self._pad
        return [heads[size + 1] + value + pad if (size := len(value)) & 1 else heads[size] + value for value in texts]

    def one(self, cell: Cell, name: str) -> bytes:
        """Write the element of one row; a value that does not fit its VR is answered empty rather than ending all."""
        text = text_of(cell)
        if not text:
            return self._empty
        value = _binary(text, self._binary, self._order) if self._binary else _encoded(text, name)
        if len(value) & 1:
            value += self._pad
        return self._head + self._length.pack(len(value)) + value if len(value) <= self._most else self._empty


class _Heads(dict[int, bytes]):
    """Element heads by the length of the value, made when first wanted; there are as many as lengths in one column."""

    def __init__(self, value: _Value) -> None:
        super().__init__()
        self._value = value

    def __missing__(self, size: int) -> bytes:
        made = self[size] = self._value.head(size)
        return made


class _CharacterSet:
    """Writes (0008,0005), which ASCII text needs only where the query had it."""

    def __init__(self, encoding: Encoding, asked: str) -> None:
        self._encoding = encoding
        self.of_ascii = asked or _ASCII
        self._silent = "" if asked else _ASCII

    def written(self, name: str) -> bytes:
        if name == self._silent:
            return b""
        return self._encoding.element(CHARACTER_SET, "CS", _padded(name.encode()))


class _Items:
    """Writes a sequence of one item, whose length depends on what is in it."""

    def __init__(self, tag: int, inner: Sequence[_Piece], encoding: Encoding) -> None:
        self._tag = tag
        self._inner = inner
        self._encoding = encoding

    def written(self, row: Sequence[Cell], name: str) -> bytes:
        content = b"".join([_written(piece, row, name) for piece in self._inner])
        return self._encoding.element(self._tag, "SQ", self._encoding.element(_ITEM, "", content))


_Piece = bytes | _Value | _Items | _CharacterSet


def _written(piece: _Piece, row: Sequence[Cell], name: str) -> bytes:
    """One piece of the response for one row, in a character set."""
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, _Value):
        return piece.one(row[piece.place], name)
    return piece.written(name) if isinstance(piece, _CharacterSet) else piece.written(row, name)


@dataclass(frozen=True, slots=True)
class Form:
    """What decides the form of responses: level, elements, character set ("" for none), and the cells of a row."""

    level: str
    asked: tuple[Asked, ...]
    places: tuple[int, ...]
    character_set: str
    paths: tuple[TagPath, ...]
    encoding: Encoding
    ae_title: str


class Answers:
    """Writes the responses of one query: every requested key, empty where nothing is known of it.

    Text is answered in the query's own character set when that can hold it, else in UTF-8. Cells behind those that the
    form names are passed over: the database needed them for sorting.
    """

    def __init__(self, form: Form) -> None:
        encoding = self._encoding = form.encoding
        self._asked = form.character_set
        self._cells = len(form.paths)
        self._places = {path: number for number, path in enumerate(form.paths)}
        pieces = self._keys(form.asked, ())
        pieces[CHARACTER_SET] = _CharacterSet(encoding, form.character_set)
        pieces[LEVEL] = encoding.element(LEVEL, "CS", _padded(form.level.encode()))
        pieces[RETRIEVE_AE] = encoding.element(RETRIEVE_AE, "AE", _padded(form.ae_title.encode("ascii", "replace")))
        if AVAILABILITY in pieces:
            pieces[AVAILABILITY] = encoding.element(AVAILABILITY, "CS", b"ONLINE")
        pieces.update({tag: self._value((tag,), "LO") for tag in form.places})
        self._pieces = [piece for _, piece in sorted(pieces.items(), key=lambda row: row[0])]
        self._values, self._behind = self._in_columns()

    def encode(self, rows: Rows) -> list[bytes]:
        """The responses for rows, which may hold anything that the index does."""
        if not self._values:
            return [self._row(row) for row in rows]
        columns = [_texts(column) for column in islice(zip(*rows, strict=True), self._cells)]
        joined = [b"".join(column) for column in columns]
        if max(map(len, joined)) > _ALWAYS_FITS and any(len(text) > _ALWAYS_FITS for row in columns for text in row):
            return [self._row(row) for row in rows]
        written = [value.column(columns[value.place]) for value in self._values]
        answers = list(map(b"".join, zip(*written, repeat(self._behind, len(rows)), strict=True)))
        if not all(map(bytes.isascii, joined)):
            for number, row in enumerate(zip(*columns, strict=True)):
                if not all(map(bytes.isascii, row)):
                    answers[number] = self._row(row)
        return answers

    def _row(self, row: Sequence[Cell]) -> bytes:
        name = self._name([text_of(cell) for cell in row[: self._cells]])
        return b"".join([_written(piece, row, name) for piece in self._pieces])

    def _in_columns(self) -> tuple[list[_Value], bytes]:
        """The values, each with what stands before it, and what stands behind the last, for rows in ASCII.

        No values when the form has items, whose lengths differ from row to row.
        """
        values: list[_Value] = []
        constant = b""
        for piece in self._pieces:
            if isinstance(piece, _Items):
                return [], b""
            if isinstance(piece, _Value):
                piece.before, constant = constant, b""
                values.append(piece)
            else:
                constant += piece if isinstance(piece, bytes) else piece.written(piece.of_ascii)
        return values, constant

    def _keys(self, asked: Iterable[Asked], parents: TagPath) -> dict[int, _Piece]:
        pieces: dict[int, _Piece] = {}
        for key in asked:
            vr = _vr(key.tag, key.vr)
            if vr == "SQ":
                inner = list(self._keys(key.items, (*parents, key.tag)).values())
                empty = self._encoding.element(key.tag, "SQ", b"")
                pieces[key.tag] = _Items(key.tag, inner, self._encoding) if inner else empty
            elif vr in BULK_VRS:
                pieces[key.tag] = self._encoding.element(key.tag, vr, b"")
            else:
                pieces[key.tag] = self._value((*parents, key.tag), vr)
        return pieces

    def _value(self, path: TagPath, vr: str) -> _Piece:
        place = self._places.get(path)
        if place is None:
            return self._encoding.element(path[-1], vr, b"")
        return _Value(place, path[-1], vr, self._encoding)

    def _name(self, texts: Iterable[str]) -> str:
        """The character set that one response is written in."""
        others = [text for text in texts if not text.isascii()]
        if not others:
            return self._asked or _ASCII
        return self._asked if self._asked and all(_fits(text, self._asked) for text in others) else _UTF8


def answers_for(
    identified: Identified, paths: tuple[TagPath, ...], encoding: Encoding, *, ae_title: str, forced: int = 0
) -> Answers:
    """What writes the responses to an identifier, from rows whose cells hold `paths`.

    `forced` is the ISO_IR number that overrides the character set of the query (QueriesReturnISO_IR, 0 is none).
    """
    asked = f"ISO_IR {forced}" if forced else identified.character_set
    places = [tag for tag in (OBJECT_FILE, DEVICE_NAME) if tag in identified.own and identified.level == "IMAGE"]
    character_set = asked if asked in _PLAIN_SETS else ""
    return _answers(Form(identified.level, identified.asked, tuple(places), character_set, paths, encoding, ae_title))


@lru_cache(maxsize=64)
def _answers(form: Form) -> Answers:
    return Answers(form)


def _texts(cells: Sequence[Cell]) -> list[bytes]:
    """Cells as the bytes of their texts; nothing for what is not there."""
    if all(type(cell) is bytes for cell in cells):
        return cells  # type: ignore[return-value]
    return [cell if isinstance(cell, bytes) else b"" if cell is None else b"%d" % cell for cell in cells]


def _vr(tag: int, asked: str) -> str:
    """The VR to answer with: that of the dictionary, the first one where it has several, else that of the query."""
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        vr = "LO" if asked == "UN" else asked
    return vr[:2]


def _encoded(text: str, name: str) -> bytes:
    return text.encode(python_encoding[name], "replace")


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
