"""A tagStruct: which elements get which text, by keyword or by expressions that keywords match."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag

from dgate.rev.errors import TagStructError
from dgate.rev.template import Template, parse
from dgate.rev.values import SETTABLE

EXPRESSION = "re:"
# Others refer to an object by these, they say how the rest is to be read, or what was done here.
_FIXED = frozenset({
    "SOPInstanceUID", "SOPClassUID", "SpecificCharacterSet", "TransferSyntaxUID",
    "PatientIdentityRemoved", "DeidentificationMethod",
})  # fmt: skip
_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Anonymisation:
    """What --tagStruct and the options beside it ask for; can be sent between processes.

    `seed` is the key of invented names; `strict` refuses templates that refer to absent elements.
    """

    text: str
    seed: str = ""
    strict: bool = False
    remove_private: bool = False

    @property
    def mark(self) -> str:
        """A name of this tagStruct that tells nothing of the seed; for DeidentificationMethod."""
        plain = f"{self.text}\0{self.strict}\0{self.remove_private}"
        return f"dgate rev tagStruct {hashlib.sha256(plain.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class TagStruct:
    """A tagStruct, understood."""

    exact: Mapping[int, Template]
    expressions: tuple[tuple[re.Pattern[str], str], ...]

    def of(self, tag: int) -> Template | None:
        """The template of an element, None when it stays; an exact key goes before expressions, of which the first."""
        if tag in self.exact:
            return self.exact[tag]
        keyword = keyword_for_tag(tag) if self.expressions else ""
        if not keyword or keyword in _FIXED or tag >> 16 == 2 or not settable(tag):
            return None
        return next((_of_tag(text, keyword) for pattern, text in self.expressions if pattern.match(keyword)), None)


@lru_cache(maxsize=1024)
def _of_tag(text: str, keyword: str) -> Template:
    return parse(text.replace("#tag", keyword))


def settable(tag: int) -> bool:
    """Whether an element can hold what a template makes."""
    return dictionary_VR(tag) in SETTABLE


def read_tag_struct(text: str) -> TagStruct:
    """Read ``{"PatientID": "%_md5|4_PatientID", "re:.*hysician": "%_md5|4_#tag"}``; raises TagStructError."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TagStructError(f"--tagStruct is no JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TagStructError('--tagStruct is no object of texts: write {"PatientID": "anon"}')
    if len(found) > _MOST_KEYS:
        raise TagStructError(f"--tagStruct has more than {_MOST_KEYS} keys")
    exact: dict[int, Template] = {}
    expressions = []
    for key, value in found.items():
        if key.startswith(EXPRESSION):
            expressions.append((_expression(key), value))
            _of_tag(value, "PatientID")  # so that a mistake is found before work begins
            continue
        _check_key(key)
        exact[keyword_dict[key]] = parse(value)
    return TagStruct(exact, tuple(expressions))


def _expression(key: str) -> re.Pattern[str]:
    try:
        return re.compile(key.removeprefix(EXPRESSION))
    except re.error as error:
        raise TagStructError(f"{key!r} is no regular expression: {error}") from None


def _check_key(key: str) -> None:
    if key not in keyword_dict:
        raise TagStructError(f"{key!r} is no keyword of DICOM; expressions begin with {EXPRESSION}")
    if key in _FIXED or keyword_dict[key] >> 16 == 2:
        raise TagStructError(f"{key} cannot be replaced: objects are known or read by it, or it tells what was done")
    if not settable(keyword_dict[key]):
        raise TagStructError(f"{key} holds no text and no number")
