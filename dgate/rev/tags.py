"""tag-raw.txt: the elements of an object, a line each, for people to read."""

from __future__ import annotations

from pathlib import Path

from pydicom.datadict import keyword_for_tag

from storage.elements import STRING_VRS, Cursor, name, open_data
from storage.header import vr_of
from storage.part10 import read_object_file
from storage.structure import SPECIFIC_CHARACTER_SET
from storage.text import value_text
from storage.traversal import Kind, Step, steps

_LONGEST = 256
# More than anybody reads; each line is held in memory.
_MOST_LINES = 100_000
_NUMBERS = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
_TEXTS = frozenset(vr.decode() for vr in STRING_VRS) | _NUMBERS
# Bytes that hold more than _LONGEST characters of any text or numbers.
_READ = 8 * _LONGEST


def tag_lines(path: Path) -> list[str]:
    """The lines of an object: ``(gggg,eeee) VR Keyword: value``, sequences indented by two blanks a level.

    Values are cut at 256 characters, those of bulk data are told by their length. Raises NotDicom and OSError.
    """
    file = read_object_file(path)
    lines: list[str] = []
    with path.open("rb") as source:
        source.seek(file.offset)
        cursor = Cursor(open_data(source, file.transfer_syntax), file.transfer_syntax)
        charsets = [b""]
        for step in steps(cursor, vr_of):
            if len(lines) >= _MOST_LINES:
                lines.append(f"more than {_MOST_LINES} lines: the rest is not listed")
                break
            if step.kind is Kind.ITEM:
                charsets.append(charsets[-1])
                lines.append(f"{_indent(step)}item {step.number + 1}")
            elif step.kind is Kind.END_OF_ITEM:
                charsets.pop()
            elif step.kind in (Kind.VALUE, Kind.SEQUENCE, Kind.FRAGMENTS):
                lines.append(_line(step, cursor, charsets))
    return lines


def _line(step: Step, cursor: Cursor, charsets: list[bytes]) -> str:
    keyword = keyword_for_tag(step.tag) or ("Private" if step.tag >> 16 & 1 else "Unknown")
    vr = "SQ" if step.kind is Kind.SEQUENCE else step.vr
    head = f"{_indent(step)}{name(step.tag)} {vr} {keyword}:"
    if step.kind is Kind.SEQUENCE:
        return head
    if step.kind is Kind.FRAGMENTS:
        return f"{head} {step.length} bytes in {step.number} fragments"
    if step.vr not in _TEXTS:
        return f"{head} {step.length} bytes"
    value = cursor.value(min(step.length, _READ))
    if step.tag == SPECIFIC_CHARACTER_SET:
        charsets[-1] = value
    text = value_text(step.vr, value, charsets[-1], cursor.little_endian)
    # A value has one line, whatever it holds.
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return f"{head} {text[:_LONGEST]}".rstrip(" ")


def _indent(step: Step) -> str:
    return "  " * step.depth
