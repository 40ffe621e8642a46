"""What a stored file is called: ConQuest's FileNameSyntax 0 to 12 and its `%` templates."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from storage.cleaning import clean, clean_uid, safe_path
from storage.descriptor import parse_descriptor
from storage.header import Header, TagPath
from storage.scan import is_object_name
from storage.transfer import IMPLICIT_LITTLE

# The numbered syntaxes as templates, `%+series` and `%+image` being their plain numbers (not for dicom.ini).
_LONG_NAME = "%seriesuid_%series_%image_%time%counter"
_UIDS = "%studyuid/%seriesuid/%sopuid"
SYNTAXES = {
    0: "%name[0,7]_%id[0,7]/%+series_%+image_%time.v2",
    1: "%name[0,7]_%id[0,7]/%series_%image_%time%counter.v2",
    2: f"%name[0,7]_%id[0,7]/{_LONG_NAME}.v2",
    3: f"%id[0,15]/{_LONG_NAME}.v2",
    4: f"%id[0,15]/{_LONG_NAME}.dcm",
    5: f"%name/{_LONG_NAME}.v2",
    6: f"%id[0,31]/{_UIDS}.v2",
    7: f"{_UIDS}.v2",
    8: f"%id[0,31]/{_UIDS}.dcm",
    9: f"{_UIDS}.dcm",
    10: "Images/%sopuid.dcm",
    11: f"%name/{_UIDS}.dcm",
    12: "%name_%id/%modality_%studyid/%seriesid/%sopuid.dcm",
}


class Naming(NamedTuple):
    """What a name is made of besides the object: who brought it to whom, in which form, when, as the how-manieth."""

    calling: str = ""
    called: str = ""
    transfer_syntax: str = ""
    time_s: int = 0
    counter: int = 0
    limit: int = 255


# How the value of a code is written: from the text of its element, None when that is absent.
_Write = Callable[[str | None], str]


def _number(width: int) -> _Write:
    @lru_cache(maxsize=4096)
    def write(text: str | None) -> str:
        match = re.match(r"\s*([+-]?\d{1,12})", text or "", re.ASCII)
        return f"{int(match[1]) if match else 0:0{width}d}"

    return write


_ELEMENTS: dict[str, tuple[int, _Write]] = {
    "name": (0x00100010, clean),
    "id": (0x00100020, clean),
    "modality": (0x00080060, clean),
    "studyid": (0x00200010, clean),
    "studyuid": (0x0020000D, clean_uid),
    "seriesid": (0x00200011, clean),
    "seriesuid": (0x0020000E, clean_uid),
    "sopuid": (0x00080018, clean_uid),
    "imageid": (0x00540400, clean),
    "imagenum": (0x00200013, clean),
    "image": (0x00200013, _number(6)),
    "series": (0x00200011, _number(4)),
    "studydate": (0x00080020, clean),
    "studydesc": (0x00081030, clean),
    "+image": (0x00200013, _number(0)),
    "+series": (0x00200011, _number(0)),
}
_CIRCUMSTANCES: dict[str, Callable[[Naming], str]] = {
    "time": lambda naming: str(naming.time_s),
    "date": lambda naming: time.strftime("%Y%m%d", time.localtime(naming.time_s)),
    "counter": lambda naming: f"{naming.counter & 0xFFFF:04x}",
    "calledae": lambda naming: clean(naming.called),
    "callingae": lambda naming: clean(naming.calling),
}
# Longest first: %studyid must not be read as %study and `id`, nor %imagenum as %image.
_CODES = sorted((*_ELEMENTS, *_CIRCUMSTANCES), key=len, reverse=True)
_WHOLE = (None, None)
_SLICE = re.compile(r"\[(\d{0,5}),(\d{1,5})\]")


# What a piece of a template gives for the values of an object and the circumstances.
_Render = Callable[[Mapping[TagPath, str], Naming], str]


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a template: literal text, an element of the object, or a circumstance; the latter two cut to `cut`."""

    literal: str = ""
    path: TagPath = ()
    write: _Write = clean
    circumstance: Callable[[Naming], str] | None = None
    cut: tuple[int | None, int | None] = _WHOLE

    def renderer(self) -> _Render:
        """A function for it, which costs less than asking each time what it is."""
        literal, path, write, circumstance, cut = self.literal, self.path, self.write, self.circumstance, self.cut
        if literal:
            return lambda values, naming: literal

        def whole(values: Mapping[TagPath, str], naming: Naming) -> str:
            return circumstance(naming) if circumstance is not None else write(values.get(path))

        piece = slice(*cut)
        return whole if cut is _WHOLE else lambda values, naming: whole(values, naming)[piece]


@dataclass(frozen=True, slots=True)
class Template:
    """A FileNameSyntax, read: the elements it needs, and whether another counter gives another name.

    It is `bare` when it ends in ``.v2``, `plain` in ``.dcm``.
    """

    renderers: tuple[_Render, ...]
    tags: frozenset[TagPath]
    counted: bool
    bare: bool
    plain: bool

    def is_bare(self, transfer_syntax: str) -> bool:
        """Whether objects of that transfer syntax are written as `.v2`, which can hold implicit little endian only."""
        return self.bare and transfer_syntax == IMPLICIT_LITTLE

    def name(self, header: Header, naming: Naming) -> str:
        """Make the path below the device root: relative, ``/`` separated, always safe, always one regen takes."""
        values = header.values
        path = "".join([render(values, naming) for render in self.renderers])
        if self.plain:
            return safe_path(path, naming.limit)
        if path[-3:].lower() == ".v2" and naming.transfer_syntax != IMPLICIT_LITTLE:
            path = f"{path[:-3]}.dcm"
        elif not is_object_name(path.rpartition("/")[2]):
            path += ".dcm"
        return safe_path(path, naming.limit)


def object_name(syntax: str, header: Header, naming: Naming) -> str:
    """Make the name of an object by a FileNameSyntax; see `Template.name`. Raises ValueError as `check_syntax`."""
    return read_syntax(syntax).name(header, naming)


def check_syntax(syntax: str) -> None:
    """Raise ValueError, saying what to change, for a FileNameSyntax that cannot be used."""
    read_syntax(syntax)


@lru_cache(maxsize=32)
def read_syntax(syntax: str) -> Template:
    """Read a FileNameSyntax: a number (0 for an unknown one, as ConQuest does), or a template when it has a ``%``."""
    text = syntax.strip()
    if text.lower().startswith("lua:"):
        raise ValueError(f"FileNameSyntax = {text}: names made by Lua are not available; use a number or a template")
    if "%" not in text:
        match = re.match(r"\d+", text, re.ASCII)
        text = SYNTAXES.get(int(match[0]) if match else 0, SYNTAXES[0])
    if not text.isprintable():
        raise ValueError(f"FileNameSyntax = {text!r}: it has control characters; remove them")
    # dicom.ini files from Windows have its separator.
    parts = _read_parts(text.replace("\\", "/"))
    if not any(part.path or part.circumstance for part in parts):
        raise ValueError(f"FileNameSyntax = {text}: every file would have one name; use %sopuid or another code")
    shape = "".join(part.literal or "value" for part in parts)
    if any(not component.strip(".") for component in shape.split("/")):
        raise ValueError(f"FileNameSyntax = {text}: a part is empty or of dots only; name files below the device")
    return Template(
        tuple(part.renderer() for part in parts),
        frozenset(part.path for part in parts if part.path),
        any(part.circumstance is _CIRCUMSTANCES["counter"] for part in parts),
        text.lower().endswith(".v2"),
        text.endswith(".dcm"),
    )


def _read_parts(text: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    literal = ""
    position = 0
    while position < len(text):
        at = text.find("%", position)
        literal += text[position:] if at < 0 else text[position:at]
        if at < 0:
            break
        part, position = _read_code(text, at + 1)
        if part is not None:
            parts += (_Part(literal=re.sub("/+", "/", literal)), part) if literal else (part,)
            literal = ""
    if literal:
        parts.append(_Part(literal=re.sub("/+", "/", literal)))
    return tuple(parts)


def _read_code(text: str, start: int) -> tuple[_Part | None, int]:
    """Read the code at `start`, behind its ``%``: the part and where it ends; none for an unknown one, left as text."""
    code = next((code for code in _CODES if text.startswith(code, start)), None)
    if code is None:
        descriptor = parse_descriptor(text, start + 1) if text.startswith("v", start) else None
        if descriptor is None:
            return None, start
        cut, end = _read_slice(text, start + 1 + descriptor.length)
        return _Part(path=descriptor.path, cut=cut), end
    cut, end = _read_slice(text, start + len(code))
    if code in _CIRCUMSTANCES:
        return _Part(circumstance=_CIRCUMSTANCES[code], cut=cut), end
    tag, write = _ELEMENTS[code]
    return _Part(path=(tag,), write=write, cut=cut), end


def _read_slice(text: str, start: int) -> tuple[tuple[int | None, int | None], int]:
    """Read ``[a,b]``, characters a to b inclusive from 0, or ``[,n]``, the last n; without one, all."""
    match = _SLICE.match(text, start)
    if match is None:
        return _WHOLE, start
    if match[1]:
        return (int(match[1]), int(match[2]) + 1), match.end()
    return (-int(match[2]), None) if int(match[2]) else (0, 0), match.end()
