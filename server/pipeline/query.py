"""From a C-FIND, C-MOVE or C-GET identifier to a query of the index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from db.query import Query
from server.status import Refused, Status
from storage.header import TagPath

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
BULK_VRS = {"OB", "OW", "OF", "OD", "OL", "OV", "UN", "UT"}

Row = Mapping[TagPath, str]


@dataclass(frozen=True, slots=True)
class Identified:
    """An identifier taken apart: its level, its keys as text by path, and the data set itself."""

    level: str
    keys: Mapping[TagPath, str]
    data_set: Dataset

    @property
    def wanted(self) -> frozenset[TagPath]:
        """What to return: every key, and where the file is when ConQuest's elements ask for that."""
        own = {(tag,) for tag in (OBJECT_FILE, DEVICE_NAME) if Tag(tag) in self.data_set}
        return frozenset(self.keys) | (own if self.level == "IMAGE" else frozenset())

    def own(self, tag: int) -> str:
        """The text of one of ConQuest's own elements (group 9999), empty when absent."""
        element = self.data_set.get(Tag(tag))
        if element is None or element.value is None:
            return ""
        raw = element.value
        return (raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)).strip(" \0")


def identify(identifier: Dataset) -> Identified:
    """Read the level and the keys of an identifier; a missing or unknown level is ConQuest's 0xC001."""
    try:
        level = str(identifier.get("QueryRetrieveLevel", "") or "").strip(" \0").upper()
        keys = dict(_keys(identifier, ()))
    except Exception as error:  # pydicom meets the peer's values here: what it cannot read is the peer's mistake
        raise Refused(Status.CANNOT_UNDERSTAND, "a key of the identifier cannot be read") from error
    if level not in LEVELS:
        raise Refused(Status.LEVEL_MISSING, f"query level {level[:16]!r} is none of {' '.join(LEVELS)}")
    return Identified(level, keys, identifier)


def _keys(data_set: Dataset, parents: TagPath) -> Iterator[tuple[TagPath, str]]:
    for element in data_set:
        tag = int(element.tag)
        if element.tag.group == OWN_GROUP or tag in (CHARACTER_SET, LEVEL, RETRIEVE_AE):
            continue
        if element.tag.element == 0:  # group lengths of old peers
            continue
        if element.VR == "SQ":
            items = element.value or []
            if items:
                yield from _keys(items[0], (*parents, tag))
            else:
                yield (*parents, tag), ""
        elif element.VR not in BULK_VRS:
            yield (*parents, tag), _text(element)


def _text(element: DataElement) -> str:
    value = element.value
    if value is None:
        return ""
    if isinstance(value, (list, tuple)) or (hasattr(value, "__iter__") and not isinstance(value, (str, bytes))):
        return "\\".join(str(part) for part in value) if element.VM > 1 else str(value)
    return str(value).rstrip(" \0")


def build_query(identified: Identified, *, wanted: frozenset[TagPath], combined_datetime: bool = False) -> Query:
    """Make the query of an identifier; ConQuest's sort column, limit and offset are checked, not pasted (spec 16.1)."""
    return Query(
        level=identified.level,
        keys=identified.keys,
        wanted=wanted,
        sort=identified.own(SORT),
        limit=_whole_number(identified, LIMIT),
        offset=_whole_number(identified, OFFSET) or 0,
        combined_datetime=combined_datetime,
    )


def _whole_number(identified: Identified, tag: int) -> int | None:
    text = identified.own(tag)
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise Refused(Status.MISMATCH, f"({tag >> 16:04x},{tag & 0xFFFF:04x}) {text[:16]!r} is no whole number")
    return int(text)
