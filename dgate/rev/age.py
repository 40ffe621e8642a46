"""Age at a scan as the ReV viewer counts it, and the example of a library that is nearest to an age."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from dgate.rev.errors import BadRequest

By = Literal["rev", "months"]

_ENTRY = re.compile(r"(?:\./)?(\d\d)-yr/(\d\d)-mo/(\d\d)-ex")


@dataclass(frozen=True, slots=True, order=True)
class Age:
    """Completed years, and completed months beyond them."""

    years: int
    months: int

    @property
    def directory(self) -> str:
        """Where examples of this age are, below the root of a library: ``02-yr/11-mo``."""
        return f"{self.years:02d}-yr/{self.months:02d}-mo"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """An example of a library: an age, and its number among those of that age."""

    years: int
    months: int
    example: int

    @classmethod
    def read(cls, path: str) -> Entry:
        """Make one of a path of map.json; raises BadRequest for what is none."""
        match = _ENTRY.fullmatch(path)
        if match is None:
            raise BadRequest(f"{path!r} is no example of a library: write 02-yr/11-mo/00-ex")
        return cls(*map(int, match.groups()))

    @property
    def key(self) -> int:
        """Year, month and example read as one number of six digits, which is what the viewer compares."""
        return (self.years * 100 + self.months) * 100 + self.example

    @property
    def path(self) -> str:
        """Where it is, below the root of its library."""
        return f"{Age(self.years, self.months).directory}/{self.example:02d}-ex"


def age_between(birth: date, scan: date) -> Age:
    """The age at a scan in completed years and months; dates the wrong way round change places."""
    birth, scan = min(birth, scan), max(birth, scan)
    months = (scan.year - birth.year) * 12 + scan.month - birth.month - (scan.day < birth.day)
    return Age(*divmod(months, 12))


def read_date(text: str) -> date:
    """Read YYYYMMDD; raises BadRequest for anything else."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if re.fullmatch(r"[0-9]{8}", text) else _no_date(text)
    except ValueError:
        return _no_date(text)


def _no_date(text: str) -> date:
    raise BadRequest(f"{text!r} is no date: write YYYYMMDD")


def nearest(entries: Sequence[Entry], wanted: Entry, by: By = "rev") -> Entry:
    """The entry that is closest; of two as close the lower one. Raises BadRequest when there are none.

    `rev` compares six-digit numbers, as the viewer does, to which 01-yr 11-mo is far from 02-yr 00-mo; `months`
    compares ages.
    """
    if not entries:
        raise BadRequest("the library has no examples")
    if by == "rev":
        return min(sorted(entries), key=lambda entry: abs(entry.key - wanted.key))
    return min(
        sorted(entries),
        key=lambda entry: (
            abs(12 * (entry.years - wanted.years) + entry.months - wanted.months),
            abs(entry.example - wanted.example),
        ),
    )
