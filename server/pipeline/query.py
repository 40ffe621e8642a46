"""From an identifier to a query of the index."""

from __future__ import annotations

from db.query import Query
from server.pipeline.identifier import LIMIT, OFFSET, SORT, Identified
from server.status import Refused, Status
from storage.header import TagPath


def build_query(identified: Identified, *, wanted: frozenset[TagPath], combined_datetime: bool = False) -> Query:
    """Make the query of an identifier; ConQuest's sort column, limit and offset are checked, not pasted (spec 16.1)."""
    return Query(
        level=identified.level,
        keys=identified.keys,
        wanted=wanted,
        sort=identified.own.get(SORT, ""),
        limit=_whole_number(identified, LIMIT),
        offset=_whole_number(identified, OFFSET) or 0,
        combined_datetime=combined_datetime,
    )


def _whole_number(identified: Identified, tag: int) -> int | None:
    text = identified.own.get(tag, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise Refused(Status.MISMATCH, f"({tag >> 16:04x},{tag & 0xFFFF:04x}) {text[:16]!r} is no whole number")
    return int(text)
