"""Header dumps in ConQuest's format: one line an element, nested by ``>``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from storage.errors import NotDicom

# Values are shown up to here; pixel data and the like are not read at all beyond it.
MAX_SHOWN = 512
_BYTES = {"OB", "OW", "OF", "OD", "OL", "OV", "UN"}
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\a": "\\a", "\b": "\\b", "\v": "\\v"}

NameOf = Callable[[int], str]


def dump_header(path: Path, name_of: NameOf) -> str:
    """List every element of a DICOM file; `name_of` gives the keyword of a tag, empty when it has none.

    A line holds the tag in lower-case hexadecimal, the length in 6 columns, the VR, the name cut to 20, the value.
    Raises NotDicom or OSError.
    """
    try:
        data_set = pydicom.dcmread(path, force=True, defer_size=1 << 16)
        lines = [*_lines(data_set.file_meta, name_of, ""), *_lines(data_set, name_of, "")]
    except (InvalidDicomError, ValueError, KeyError, AttributeError, EOFError, RecursionError) as error:
        raise NotDicom(f"the header cannot be listed: {error}") from error
    if not lines:
        raise NotDicom("it is no DICOM file")
    return "".join(f"{line}\n" for line in lines)


def _lines(data_set: Dataset, name_of: NameOf, marks: str) -> Iterator[str]:
    for tag in sorted(data_set.keys()):
        raw_length = _length(data_set, tag)
        element = data_set[tag]
        name = name_of(int(element.tag))[:20]
        head = f"{marks}{tag.group:04x},{tag.element:04x} {raw_length:6d} {element.VR} {name:<20}   "
        if element.VR != "SQ":
            yield f"{head}{_value(element)} "
            continue
        yield f"{head}Sequence Item"
        for number, item in enumerate(element.value or []):
            if number:
                yield f"{marks}>{'-' * 40}"
            yield from _lines(item, name_of, f"{marks}>")


def _length(data_set: Dataset, tag: pydicom.tag.BaseTag) -> int:
    """The length as it is in the file; 0 for a sequence, as ConQuest prints it."""
    raw = data_set.get_item(tag)
    length = getattr(raw, "length", None)
    if length is None:
        value = data_set[tag].value
        return len(value) if isinstance(value, (bytes, str)) else 0
    return 0 if length == 0xFFFFFFFF else int(length)


def _value(element: DataElement) -> str:
    value = element.value
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return "(empty)"
    if element.VR in _BYTES:
        return _bytes(value, private=element.tag.is_private)
    if element.VR in ("US", "UL", "SS", "SL", "SV", "UV", "FL", "FD"):
        many = value if isinstance(value, (list, tuple)) or element.VM > 1 else [value]
        return "\\".join(str(number) for number in many)
    if element.VR == "AT":
        many = value if element.VM > 1 else [value]
        return "\\".join(f"{int(tag) >> 16:04x},{int(tag) & 0xFFFF:04x}" for tag in many)
    text = "\\".join(str(part) for part in value) if element.VM > 1 else str(value)
    return '"' + "".join(_ESCAPES.get(c, c if c >= " " else f"\\{ord(c):03o}") for c in text[:MAX_SHOWN]) + '"'


def _bytes(value: bytes, *, private: bool) -> str:
    """Hexadecimal pairs with what of them is printable; small private numbers as ConQuest shows them."""
    if private and len(value) == 2:
        number = int.from_bytes(value, "little")
        return f"({number}|{number:04x})"
    if private and len(value) == 4:
        number = int.from_bytes(value, "little")
        return f"[{number}|{number:08x}]"
    shown = value[:MAX_SHOWN]
    pairs = " ".join(f"{byte:02x}" for byte in shown)
    printable = "".join(chr(byte) for byte in shown if 32 <= byte < 127)
    return f"{pairs} ({printable})" if printable else pairs
