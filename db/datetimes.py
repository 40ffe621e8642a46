"""Dates and times as keys: what a value or range of PS3.4 C.2.2.2.1 and C.2.2.2.5 includes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DATE = re.compile(r"\d{4}(?:\d{2}(?:\d{2})?)?|\d{4}\.\d{2}\.\d{2}")
_TIME = re.compile(r"\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?")
_OFFSET = r"[+-](?:0\d|1[0-4])[0-5]\d"
_DATETIME = rf"\d{{4}}(?:\d{{2}}){{0,4}}(?:\d{{2}}(?:\.\d{{1,6}})?)?(?:{_OFFSET})?"
_DATETIME_RANGE = re.compile(rf"({_DATETIME})?-({_DATETIME})?")

# What follows a time or date-time of any precision to make it whole: the first moment, the last moment.
TIME_START, TIME_END = "000000.000000", "235959.999999"
DATETIME_START, DATETIME_END = "00000101000000.000000", "99991231235959.999999"

# The dates and times that one range may span together (PS3.4 C.2.2.2.5.1), by their tags.
COMBINED: Mapping[int, int] = {
    0x00080020: 0x00080030,  # study
    0x00080021: 0x00080031,  # series
    0x00080022: 0x00080032,  # acquisition
    0x00080023: 0x00080033,  # content
    0x00100030: 0x00100032,  # birth
    0x00400002: 0x00400003,  # scheduled procedure step
    0x00400244: 0x00400245,  # performed procedure step
}


@dataclass(frozen=True, slots=True)
class Span:
    """The first and last text that a key includes, None where it is open; texts compare by code point."""

    first: str | None
    last: str | None

    @property
    def is_open(self) -> bool:
        return self.first is None and self.last is None


def date_span(key: str) -> Span | None:
    """Return what a DA key includes; None when it is no date or range, which then equals nothing but itself.

    ``yyyy.mm.dd`` of ACR-NEMA is taken too. A bound of four or six digits is that text, as ConQuest compares it.
    """
    ends = _ends(key)
    if ends is None or not all(end == "" or _DATE.fullmatch(end) for end in ends):
        return None
    first, last = (end.replace(".", "") for end in ends)
    if "-" not in key and len(first) != 8:
        return None
    return Span(first or None, last or None)


def time_span(key: str) -> Span | None:
    """Return what a TM key includes, as whole times ``hhmmss.ffffff``; None when it is no time or range.

    A time stands for all of its precision: ``10`` from 10:00 to the last moment before 11:00, as a
    range's end likewise. ``hh:mm:ss`` of ACR-NEMA is taken too.
    """
    ends = _ends(key.replace(":", ""))
    if ends is None or not all(end == "" or _TIME.fullmatch(end) for end in ends):
        return None
    first, last = ends
    return Span((first and _whole(first, TIME_START)) or None, (last and _whole(last, TIME_END)) or None)


def datetime_span(key: str) -> Span | None:
    """Return what a DT key includes, as whole date-times; offsets from UTC are left out of the comparison."""
    if re.fullmatch(_DATETIME, key):
        first = last = key
    else:
        match = _DATETIME_RANGE.fullmatch(key)
        if match is None:
            return None
        first, last = match.group(1) or "", match.group(2) or ""
    first, last = (re.sub(rf"{_OFFSET}\Z", "", end) for end in (first, last))
    return Span((first and _whole(first, DATETIME_START)) or None, (last and _whole(last, DATETIME_END)) or None)


def combined_span(date: str, time: str) -> Span | None:
    """Return what a date key and a time key include when they are one range of moments, ``yyyymmddhhmmss.ffffff``."""
    days, times = date_span(date), time_span(time)
    if days is None or times is None or any(end is not None and len(end) != 8 for end in (days.first, days.last)):
        return None
    return Span(
        None if days.first is None else days.first + (times.first or TIME_START),
        None if days.last is None else days.last + (times.last or TIME_END),
    )


def _ends(key: str) -> tuple[str, str] | None:
    parts = [part.strip() for part in key.split("-")]
    if len(parts) > 2:
        return None
    return parts[0], parts[-1]


def _whole(text: str, pattern: str) -> str:
    return text + pattern[len(text) :]
