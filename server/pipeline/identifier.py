"""Identifiers of C-FIND, C-MOVE and C-GET taken apart: the level, the keys as text, and how each one was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from typing import Protocol

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from server.status import Refused, Status
from storage.elements import SHORT_VRS
from storage.header import TagPath, vr_of

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")

CHARACTER_SET = 0x00080005
LEVEL = 0x00080052
RETRIEVE_AE = 0x00080054
AVAILABILITY = 0x00080056

# ConQuest's own elements in identifiers (spec 1.11).
OBJECT_FILE = 0x99990800
DEVICE_NAME = 0x99990801
SORT = 0x99990C00
LIMIT = 0x99990C01
OFFSET = 0x99990C02
OWN_GROUP = 0x9999

# VRs that cannot be matched or returned from an index of short texts.
BULK_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN", "UT"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One element that a response must have: its tag, the VR it was asked with, and the same of its first item (SQ)."""

    tag: int
    vr: str
    items: tuple[Asked, ...] = ()


@dataclass(frozen=True)
class Identified:
    """An identifier taken apart: level, keys as text by path, what to answer, and ConQuest's elements.

    `character_set` is that of the identifier when it has a single one, else "".
    """

    level: str
    keys: Mapping[TagPath, str]
    character_set: str
    asked: tuple[Asked, ...]
    own: Mapping[int, str]

    @cached_property
    def wanted(self) -> frozenset[TagPath]:
        """What to return: every key, and where the file is when ConQuest's elements ask for that."""
        own = {(tag,) for tag in (OBJECT_FILE, DEVICE_NAME) if tag in self.own}
        return frozenset(self.keys) | (own if self.level == "IMAGE" else frozenset())


class Questioner(Protocol):
    """A request that came with an identifier: a `server.service.Request`."""

    @property
    def encoding(self) -> tuple[bool, bool]: ...

    def identifier(self) -> Dataset: ...

    def identifier_bytes(self) -> bytes: ...


def identified(request: Questioner) -> Identified:
    """Take the identifier of a request apart; Refused when it cannot be read or has no level that is known."""
    plain = read_plain(request.identifier_bytes(), *request.encoding)
    return identify(request.identifier()) if plain is None else plain


def identify(identifier: Dataset) -> Identified:
    """Read the level and the keys of an identifier; a missing or unknown level is ConQuest's 0xC001."""
    try:
        level = str(identifier.get("QueryRetrieveLevel", "") or "")
        keys = dict(_keys(identifier, ()))
        asked = _asked(identifier)
        charset = str(identifier.get("SpecificCharacterSet", "") or "")
        own = {int(element.tag): _own_text(element) for element in identifier if element.tag.group == OWN_GROUP}
    except Exception as error:  # pydicom meets the peer's values here: what it cannot read is the peer's mistake
        raise Refused(Status.CANNOT_UNDERSTAND, "a key of the identifier cannot be read") from error
    return Identified(_known_level(level), keys, charset, asked, own)


def _known_level(text: str) -> str:
    level = text.strip(" \0").upper()
    if level not in LEVELS:
        raise Refused(Status.LEVEL_MISSING, f"query level {level[:16]!r} is none of {' '.join(LEVELS)}")
    return level


def _is_asked(tag: int) -> bool:
    """Whether an element is a key and comes back in responses; group lengths of old peers are none."""
    return tag >> 16 != OWN_GROUP and tag & 0xFFFF != 0 and tag not in (CHARACTER_SET, LEVEL, RETRIEVE_AE)


def _keys(data_set: Dataset, parents: TagPath) -> Iterator[tuple[TagPath, str]]:
    for element in data_set:
        tag = int(element.tag)
        if not _is_asked(tag):
            continue
        if element.VR == "SQ":
            items = element.value or []
            if items:
                yield from _keys(items[0], (*parents, tag))
            else:
                yield (*parents, tag), ""
        elif element.VR not in BULK_VRS:
            yield (*parents, tag), _text(element)


def _asked(data_set: Dataset) -> tuple[Asked, ...]:
    return tuple(
        Asked(int(element.tag), element.VR, _asked(element.value[0]) if element.VR == "SQ" and element.value else ())
        for element in data_set
        if _is_asked(int(element.tag))
    )


def _text(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, (str, bytes))):
        return "\\".join(str(part) for part in value) if element.VM > 1 else str(value)
    return str(value).rstrip(" \0")


def _own_text(element: DataElement) -> str:
    raw = element.value
    if raw is None:
        return ""
    return (raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)).strip(" \0")


# What most identifiers consist of, read here in a tenth of the time: short elements of one value in ASCII. Whatever is
# not like that, or not allowed, is pydicom's to read or refuse.
_TEXT_VRS = frozenset(vr.decode() for vr in SHORT_VRS) - {
    "AT",
    "DS",
    "FD",
    "FL",
    "IS",
    "LT",
    "SL",
    "SS",
    "ST",
    "UL",
    "US",
}
_ONE_VALUE = re.compile(rb"([!-\[\]-~](?:[ -\[\]-~]*[!-\[\]-~])?)[ \0]*")
_UIDS = re.compile(rb"([0-9.]+(?:\\[0-9.]+)*)\0?")
_IMPLICIT_HEAD = {True: Struct("<HHI"), False: Struct(">HHI")}
_EXPLICIT_HEAD = {True: Struct("<HH2sH"), False: Struct(">HH2sH")}
_SHORT = {vr: vr.decode() for vr in SHORT_VRS}
# Character sets in which those bytes mean what they mean in ASCII.
_LIKE_ASCII = frozenset(
    {"", "GB18030", "GBK"}
    | {f"ISO_IR {number}" for number in (6, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 192, 203)}
)


def read_plain(data: bytes, implicit: bool, little_endian: bool) -> Identified | None:
    """Read an identifier that is plain in every respect; None when pydicom must look at it.

    What this returns is what `identify` makes of the same bytes. Raises Refused for the level alone.
    """
    head = (_IMPLICIT_HEAD if implicit else _EXPLICIT_HEAD)[little_endian].unpack_from
    keys: dict[TagPath, str] = {}
    asked: list[Asked] = []
    other = {CHARACTER_SET: "", LEVEL: ""}
    own: dict[int, str] = {}
    position, before = 0, 0x00080000
    while position < len(data):
        if position + 8 > len(data):
            return None
        if implicit:
            group, element, length = head(data, position)
            tag = group << 16 | element
            vr = "LO" if group == OWN_GROUP else vr_of(tag)
        else:
            group, element, raw_vr, length = head(data, position)
            tag = group << 16 | element
            vr = _SHORT.get(raw_vr, "")
        position += 8
        text = _plain_text(data[position : position + length], vr) if length <= len(data) - position else None
        if text is None or tag <= before or not element or (group & 1 and group != OWN_GROUP):
            return None
        position, before = position + length, tag
        if group == OWN_GROUP:
            own[tag] = text
        elif tag in other:
            other[tag] = text
        elif tag != RETRIEVE_AE:
            keys[(tag,)] = text
            asked.append(Asked(tag, vr))
    if other[CHARACTER_SET] not in _LIKE_ASCII:
        return None
    return Identified(_known_level(other[LEVEL]), keys, other[CHARACTER_SET], tuple(asked), own)


def _plain_text(value: bytes, vr: str) -> str | None:
    """The text of a plain value, None for any other."""
    if vr not in _TEXT_VRS:
        return "" if not value and vr in ("IS", "DS", "US") else None
    if not value:
        return ""
    match = (_UIDS if vr == "UI" else _ONE_VALUE).fullmatch(value)
    if match is None or (vr == "PN" and b"=" in value):
        return None
    return match[1].decode("ascii")
