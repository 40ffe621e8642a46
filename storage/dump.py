"""Header dumps in ConQuest's format: one line an element, nested by ``>``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Protocol

from storage.elements import KNOWN_VRS, Cursor, PlainData, open_data
from storage.header import vr_of
from storage.part10 import read_object
from storage.structure import SPECIFIC_CHARACTER_SET
from storage.text import value_text
from storage.transfer import EXPLICIT_LITTLE
from storage.traversal import Kind, Step, steps

# So many bytes of a value are shown; the rest, of pixel data say, is not read.
MAX_SHOWN = 512
# More lines than anybody reads, and few enough to be held in memory.
MAX_LINES = 500_000

_NUMBERS = frozenset(["US", "UL", "SS", "SL", "SV", "UV", "FL", "FD", "AT"])
_BYTES = frozenset(["OB", "OW", "OF", "OD", "OL", "OV", "UN"])
_AMBIGUOUS = {"US or SS": "US", "US or OW": "OW", "US or SS or OW": "OW", "OB or OW": "OW"}
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\a": "\\a", "\b": "\\b", "\v": "\\v"}


class Names(Protocol):
    """What a dictionary knows of elements: keywords, empty when there is none, and VRs, UN when there is none."""

    def keyword_of(self, tag: int) -> str: ...

    def vr_of(self, tag: int) -> str: ...


def dump_header(path: Path, names: Names) -> str:
    """List every element of a DICOM file, file meta information first.

    A line holds the tag in lower-case hexadecimal, the length in 6 columns, the VR, the name cut to 20, the value.
    Pixels are passed over, a deflated file is inflated piece by piece. Raises NotDicom, naming what is wrong with a
    file that is cut or damaged, or OSError.
    """
    listing = _Listing(names)
    with path.open("rb") as source:
        file = read_object(source, path)
        source.seek(0)
        meta = source.read(file.offset)
        meta = meta[132:] if meta[128:132] == b"DICM" else meta
        if meta:
            listing.add(Cursor(PlainData(io.BytesIO(meta)), EXPLICIT_LITTLE))
        source.seek(file.offset)
        listing.add(Cursor(open_data(source, file.transfer_syntax), file.transfer_syntax))
    return "".join(f"{line}\n" for line in listing.lines)


class _Listing:
    """The lines of a dump as they come together."""

    def __init__(self, names: Names) -> None:
        self.lines: list[str] = []
        self._names = names

    def add(self, cursor: Cursor) -> None:
        """List what the cursor stands at the beginning of."""
        charsets = [b""]
        for step in steps(cursor, self._vr_of):
            if len(self.lines) >= MAX_LINES:
                self.lines.append(f"The rest is not listed: there are more than {MAX_LINES} lines")
                return
            marks = ">" * step.depth
            if step.kind is Kind.ITEM:
                charsets.append(charsets[-1])
                if step.number:
                    self.lines.append(f"{marks}{'-' * 40}")
            elif step.kind is Kind.END_OF_ITEM:
                charsets.pop()
            elif step.kind is Kind.VALUE:
                value = cursor.value(min(step.length, MAX_SHOWN))
                if step.tag == SPECIFIC_CHARACTER_SET:
                    charsets[-1] = value
                shown = _shown(step, value, charsets[-1], little_endian=cursor.little_endian)
                self.lines.append(f"{marks}{self._head(step, step.length)}{shown}")
            elif step.kind is Kind.FRAGMENTS:
                self.lines.append(f"{marks}{self._head(step, step.length)}({step.number} fragments)")
            elif step.kind is Kind.SEQUENCE:
                self.lines.append(f"{marks}{self._head(step, 0)}Sequence Item")

    def _head(self, step: Step, length: int) -> str:
        name = self._names.keyword_of(step.tag)[:20]
        vr = "SQ" if step.kind is Kind.SEQUENCE else step.vr
        return f"{step.tag >> 16:04x},{step.tag & 0xFFFF:04x} {length:6d} {vr} {name:<20}   "

    def _vr_of(self, tag: int) -> str:
        found = self._names.vr_of(tag)
        if found.encode("latin-1", "replace") in KNOWN_VRS and found != "UN":
            return found
        found = vr_of(tag)  # of group lengths and private creators, too
        return _AMBIGUOUS.get(found, found)


def _shown(step: Step, value: bytes, charset: bytes, *, little_endian: bool) -> str:
    """A value as ConQuest shows it; a blank follows one that is shown as it is."""
    if not value:
        return "(empty)"
    if step.vr in _NUMBERS:
        text = value_text(step.vr, value, charset, little_endian)
        return f"{_tags(text) if step.vr == 'AT' else text} "
    if step.vr in _BYTES or step.vr.encode("latin-1") not in KNOWN_VRS:
        return _bytes(value, step, little_endian=little_endian)
    text = value_text(step.vr, value, charset, little_endian)
    return '"' + "".join(_ESCAPES.get(c, c if c >= " " else f"\\{ord(c):03o}") for c in text) + '" '


def _tags(text: str) -> str:
    return "\\".join(f"{tag[:4]},{tag[4:]}".lower() for tag in text.split("\\") if tag)


def _bytes(value: bytes, step: Step, *, little_endian: bool) -> str:
    """Hexadecimal pairs with what of them is printable; small private numbers as ConQuest shows them."""
    private = (step.tag >> 16) % 2 == 1
    if private and step.length in (2, 4):
        number = int.from_bytes(value, "little" if little_endian else "big")
        return f"({number}|{number:04x})" if step.length == 2 else f"[{number}|{number:08x}]"
    pairs = value.hex(" ")
    printable = "".join(chr(byte) for byte in value if 32 <= byte < 127)
    return f"{pairs} ({printable}) " if printable else f"{pairs} "
