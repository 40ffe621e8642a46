"""From a C-FIND, C-MOVE or C-GET identifier to a query of the index, and from its rows to response identifiers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom.charset import encode_string, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from db.query import Query
from server.server import Server
from server.status import Refused, Status
from storage.header import TagPath

log = logging.getLogger("dgate")

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
_OWN_GROUP = 0x9999

# VRs that cannot be matched or returned from an index of short texts.
_BULK_VRS = {"OB", "OW", "OF", "OD", "OL", "OV", "UN", "UT"}

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
    level = str(identifier.get("QueryRetrieveLevel", "") or "").strip().upper()
    if level not in LEVELS:
        raise Refused(Status.LEVEL_MISSING, f"query level {level[:16]!r} is none of {' '.join(LEVELS)}")
    try:
        keys = dict(_keys(identifier, ()))
    except Exception as error:  # pydicom meets the peer's values here: what it cannot read is the peer's mistake
        raise Refused(Status.CANNOT_UNDERSTAND, "a key of the identifier cannot be read") from error
    return Identified(level, keys, identifier)


def _keys(data_set: Dataset, parents: TagPath) -> Iterator[tuple[TagPath, str]]:
    for element in data_set:
        tag = int(element.tag)
        if element.tag.group == _OWN_GROUP or tag in (CHARACTER_SET, LEVEL, RETRIEVE_AE):
            continue
        if element.tag.element == 0:  # group lengths of old peers
            continue
        if element.VR == "SQ":
            items = element.value or []
            if items:
                yield from _keys(items[0], (*parents, tag))
            else:
                yield (*parents, tag), ""
        elif element.VR not in _BULK_VRS:
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


class Responder:
    """Builds the response identifiers of one query: every requested key, empty where nothing is known of it.

    Text is answered in the query's own character set when that can hold it, else in UTF-8; `QueriesReturnISO_IR`
    overrides both.
    """

    def __init__(self, server: Server, identified: Identified) -> None:
        self._server = server
        self._identified = identified
        forced = server.settings.QueriesReturnISO_IR
        asked = identified.data_set.get("SpecificCharacterSet", "") or ""
        self._charsets = [f"ISO_IR {forced}"] if forced else [str(asked)] if asked and isinstance(asked, str) else []

    def identifier(self, row: Row) -> Dataset:
        """One response; raises nothing for any row the index can hold."""
        answer = _mirror(self._identified.data_set, row, ())
        texts = [text for text in row.values() if not text.isascii()]
        charset = self._charset(texts)
        if charset:
            answer.SpecificCharacterSet = charset
        answer.QueryRetrieveLevel = self._identified.level
        answer.RetrieveAETitle = self._server.ae_title
        if Tag(AVAILABILITY) in answer:
            answer.InstanceAvailability = "ONLINE"
        if self._identified.level == "IMAGE":
            for tag in (OBJECT_FILE, DEVICE_NAME):
                if Tag(tag) in self._identified.data_set:
                    answer.add_new(tag, "LO", row.get((tag,), ""))
        return answer

    def _charset(self, texts: list[str]) -> str:
        """The value of (0008,0005); empty when every text is ASCII and nobody asked for another set."""
        if not texts:
            return self._charsets[0] if self._charsets else ""
        for name in self._charsets:
            encoding = python_encoding.get(name)
            if encoding is not None and all(_fits(text, encoding) for text in texts):
                return name
        return "ISO_IR 192"


def _fits(text: str, encoding: str) -> bool:
    try:
        encode_string(text, [encoding])
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def _mirror(keys: Dataset, row: Row, parents: TagPath) -> Dataset:
    """The keys of the query with the values of a row in their places."""
    answer = Dataset()
    for element in keys:
        tag = int(element.tag)
        path = (*parents, tag)
        if element.tag.group == _OWN_GROUP or element.tag.element == 0 or tag in (CHARACTER_SET, LEVEL, RETRIEVE_AE):
            continue
        if element.VR == "SQ":
            items = [_mirror(element.value[0], row, path)] if element.value else []
            answer.add_new(element.tag, "SQ", Sequence(items))
        else:
            _set(answer, element, row.get(path, ""))
    return answer


def _set(answer: Dataset, element: DataElement, text: str) -> None:
    """Set one value as text; a value that does not fit its VR is answered empty rather than ending the query."""
    vr = element.VR
    if vr == "UN":
        try:
            vr = dictionary_VR(element.tag)
        except KeyError:
            vr = "LO"
    try:
        answer.add_new(element.tag, vr, _typed(vr, text))
    except (ValueError, TypeError, OverflowError):
        answer.add_new(element.tag, vr, None)


def _typed(vr: str, text: str) -> object:
    if not text or vr in _BULK_VRS:
        return None
    if vr in ("US", "UL", "SS", "SL", "SV", "UV"):
        numbers = [int(part) for part in text.split("\\")]
        return numbers if len(numbers) > 1 else numbers[0]
    if vr in ("FL", "FD"):
        values = [float(part) for part in text.split("\\")]
        return values if len(values) > 1 else values[0]
    if vr == "AT":
        return int(text, 16)
    return text
