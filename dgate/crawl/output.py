"""The files of a crawl: crawl_db.json, its cache, sop_map.json and index.csv, as med-imagetools writes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from json.encoder import encode_basestring_ascii as _text  # what dumps does for text, without its detours
from pathlib import Path
from typing import TextIO

CRAWL_DB = "crawl_db.json"
CACHE = "crawl-cache.json"
SOP_MAP = "sop_map.json"
INDEX = "index.csv"
ERRORS = "crawl-errors.csv"
STATE = "crawl-state.json"

_INDENT = 4


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A row of index.csv; the names are its columns. Everything is text but the number of instances."""

    PatientID: str
    StudyInstanceUID: str
    SeriesInstanceUID: str
    SubSeries: str
    Modality: str
    ReferencedModality: str
    ReferencedSeriesUID: str
    instances: int
    folder: str

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


COLUMNS = tuple(each.name for each in fields(IndexRow))


def create(path: Path) -> TextIO:
    """Open a new file for writing as all of these are: UTF-8, the bytes of file names kept, plain line ends."""
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


class SeriesWriter:
    """Writes ``{series: {acquisition: entry}}`` entry by entry, as `json.dump` with an indent of 4 would."""

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self._series: str | None = None
        self._members = 0
        self._before = ""
        target.write("{")

    def begin(self, series: str, sub: str, members: Iterable[tuple[str, object]]) -> None:
        """Begin an entry with its first members; entries of a series come one after another."""
        write = self._target.write
        if series == self._series:
            write(",")
        else:
            write(f"\n{_blanks(1)}}},\n" if self._series is not None else "\n")
            write(f"{_blanks(1)}{json.dumps(series)}: {{")
            self._series = series
        write(f"\n{_blanks(2)}{json.dumps(sub)}: {{")
        self._members = 0
        self.add(members)

    def add(self, members: Iterable[tuple[str, object]]) -> None:
        """Write further members of the entry."""
        for key, value in members:
            text = json.dumps(value, indent=_INDENT).replace("\n", f"\n{_blanks(3)}")
            self._member(f"{json.dumps(key)}: {text}")

    def begin_instances(self) -> None:
        """Begin the member ``instances``."""
        self._member('"instances": {')
        self._before = "\n"

    def instance(self, uid: str, name: str) -> None:
        """Write one instance and its file name."""
        self._target.write(f"{self._before}{_blanks(4)}{_text(uid)}: {_text(name)}")
        self._before = ",\n"

    def end_instances(self) -> None:
        """End the member ``instances``, which has at least one."""
        self._target.write(f"\n{_blanks(3)}}}")

    def end(self) -> None:
        """End the entry."""
        self._target.write(f"\n{_blanks(2)}}}")

    def close(self) -> None:
        """End the file's text."""
        self._target.write("}" if self._series is None else f"\n{_blanks(1)}}}\n}}")

    def _member(self, text: str) -> None:
        self._target.write(",\n" if self._members else "\n")
        self._target.write(f"{_blanks(3)}{text}")
        self._members += 1


def _blanks(level: int) -> str:
    return " " * (_INDENT * level)


def write_sop_map(target: TextIO, pairs: Iterable[tuple[str, str]]) -> None:
    """Write ``{SOP instance UID: series UID}``."""
    before = "{\n"
    for sop, series in pairs:
        target.write(f"{before}{_blanks(1)}{_text(sop)}: {_text(series)}")
        before = ",\n"
    target.write("{}" if before == "{\n" else "\n}")


def write_index(target: TextIO, rows: Iterable[IndexRow]) -> None:
    """Write index.csv."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(row.as_dict().values())


def slim(rows: Sequence[IndexRow], *, all_subseries: bool) -> list[IndexRow]:
    """The rows of index.csv: of those that are equal but for their sub-series the first, or all of them.

    med-imagetools refuses a table with such pairs.
    """
    if all_subseries:
        return list(rows)
    seen: dict[tuple[object, ...], IndexRow] = {}
    for row in rows:
        values = row.as_dict()
        del values["SubSeries"]
        seen.setdefault(tuple(values.values()), row)
    return list(seen.values())


def write_errors(target: TextIO, skipped: Iterable[tuple[str, str]]) -> None:
    """Write crawl-errors.csv from paths and reasons."""
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(("path", "reason"))
    writer.writerows(skipped)
