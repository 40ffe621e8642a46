"""Templates of a tagStruct: text with references such as `%PatientID` and `%_md5|4_PatientID`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.datadict import keyword_dict

from dgate.rev.errors import SubstitutionFailed, TagStructError
from dgate.rev.names import invented_name

FUNCTIONS = ("md5", "strmsk", "nospc", "name")

_HEAD = re.compile(r"%_([a-zA-Z0-9]+)(\|)?")
_WORD = re.compile(r"[A-Za-z0-9]+")
_LONGEST_TEMPLATE = 10_000

# Returns the value of a keyword as text, None when it is absent.
Lookup = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference of a template: a keyword, the function that its value passes and the argument of that."""

    keyword: str
    function: str = ""
    argument: str = ""

    def expanded(self, lookup: Lookup, seed: str, *, strict: bool) -> str:
        """The text that takes its place; raises SubstitutionFailed for what is absent when `strict`."""
        value = lookup(self.keyword)
        if value is None:
            if strict:
                raise SubstitutionFailed(f"{self.keyword} is absent, and a template refers to it")
            return ""
        match self.function:
            case "md5":
                digest = hashlib.md5(value.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
                return digest[: int(self.argument)] if self.argument else digest
            case "strmsk":
                return "".join(own if mask == "*" else mask for own, mask in zip(value, self.argument, strict=False))
            case "nospc":
                return self.argument.join(re.findall(r"\w+", value))
            case "name":
                return invented_name(lookup(self._same) or "" if self._same else value, seed)
        return value

    @property
    def _same(self) -> str:
        """The keyword whose values tell names apart: written with a lower-case first letter."""
        return self.argument[:1].upper() + self.argument[1:]

    def keywords(self) -> frozenset[str]:
        """All keywords whose values are looked up."""
        return frozenset({self.keyword, self._same} if self.function == "name" and self.argument else {self.keyword})


@dataclass(frozen=True, slots=True)
class Template:
    """A template: literal text and references, in their order."""

    parts: tuple[str | Reference, ...]

    def expanded(self, lookup: Lookup, seed: str = "", *, strict: bool = False) -> str:
        """The text that it stands for; an absent element counts as empty, or raises SubstitutionFailed if `strict`."""
        return "".join(
            part if isinstance(part, str) else part.expanded(lookup, seed, strict=strict) for part in self.parts
        )

    def keywords(self) -> frozenset[str]:
        """All keywords whose values are looked up."""
        return frozenset[str]().union(*(part.keywords() for part in self.parts if isinstance(part, Reference)))


def parse(text: str) -> Template:
    """Read a template, from left to right; a keyword is the longest that the dictionary has.

    `%` in front of what can be no reference is literal, and so is one of `%%`. Raises TagStructError for a function or
    a keyword that does not exist.
    """
    if len(text) > _LONGEST_TEMPLATE:
        raise TagStructError(f"a template of {len(text)} characters is longer than {_LONGEST_TEMPLATE}")
    parts: list[str | Reference] = []
    literal = ""
    place = 0
    while place < len(text):
        if text.startswith("%%", place):
            literal, place = literal + "%", place + 2
        elif text[place] == "%" and (text[place + 1 : place + 2] == "_" or text[place + 1 : place + 2].isalpha()):
            reference, place = _reference(text, place)
            parts += [literal, reference] if literal else [reference]
            literal = ""
        else:
            literal, place = literal + text[place], place + 1
    return Template((*parts, literal) if literal else tuple(parts))


def _reference(text: str, place: int) -> tuple[Reference, int]:
    """The reference that begins at `place`, and where it ends."""
    if text[place + 1] != "_":
        keyword = _keyword(text, place + 1)
        if not keyword:
            raise TagStructError(f"{_shown(text, place)} begins with no keyword of DICOM; write %% for a percent sign")
        return Reference(keyword), place + 1 + len(keyword)
    match = _HEAD.match(text, place)
    function = match[1] if match else ""
    if match is None or function not in FUNCTIONS:
        raise TagStructError(f"{_shown(text, place)} names no function: there are {', '.join(FUNCTIONS)}")
    # The argument may hold underscores itself: it ends at the first one that a keyword follows.
    at = match.end() if match[2] else text.find("_", match.end())
    first = at
    while (at := text.find("_", at)) >= 0:
        if (match[2] or at == match.end()) and (keyword := _keyword(text, at + 1)):
            argument = text[first:at] if match[2] else ""
            _check(function, argument, has_argument=bool(match[2]))
            return Reference(keyword, function, argument), at + 1 + len(keyword)
        at += 1
    raise TagStructError(f"{_shown(text, place)} lacks a keyword: write %_{function}_PatientID")


def _check(function: str, argument: str, *, has_argument: bool) -> None:
    if function == "md5" and has_argument and not (re.fullmatch("[0-9]{1,2}", argument) and 1 <= int(argument) <= 32):
        raise TagStructError(f"md5|{argument}: the argument is a number from 1 to 32")
    if function == "strmsk" and not argument:
        raise TagStructError("strmsk needs a mask: write %_strmsk|******01_PatientBirthDate")
    keyword = argument[:1].upper() + argument[1:]
    if function == "name" and has_argument and (argument[:1].isupper() or keyword not in keyword_dict):
        raise TagStructError(f"name|{argument}: the argument is a keyword with a small first letter, such as patientID")


def _keyword(text: str, place: int) -> str:
    """The longest keyword that stands at `place`, "" for none."""
    match = _WORD.match(text, place)
    word = match[0] if match else ""
    return next((word[:length] for length in range(len(word), 0, -1) if word[:length] in keyword_dict), "")


def _shown(text: str, place: int) -> str:
    return repr(text[place : place + 40])
