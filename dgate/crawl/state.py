"""crawl-state.json: what each file was at the last crawl, so that the next one reads only what has changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from dgate.crawl.extract import Fields, Place, Read

# A state of another version is not understood, and everything is read again.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Known:
    """One series and acquisition as the state has it."""

    series: str
    sub: str
    fields: Fields
    warnings: tuple[str, ...]

    @property
    def usual(self) -> tuple[str, str]:
        """Modality and patient of its first file, which most others have too."""
        return str(self.fields["Modality"]), str(self.fields["PatientID"])


def write_state(target: TextIO, extensions: Sequence[str], entries: Sequence[Known], reads: Iterable[Read]) -> None:
    """Write the state as JSON with a line for each entry and file, so that it can be read line by line.

    `reads` are all files in the order of their paths. A file is ``[path, size, mtime_ns, SOP instance UID, number of
    its entry]``, with modality and patient behind that where they are not those of the entry, or ``[path, size,
    mtime_ns, null, reason]``.
    """
    numbers = {(entry.series, entry.sub): number for number, entry in enumerate(entries)}
    target.write(f'{{"version": {VERSION},\n"extensions": {json.dumps(list(extensions))},\n"entries": [\n')
    _lines(target, ([entry.series, entry.sub, entry.fields, list(entry.warnings)] for entry in entries))
    target.write('],\n"files": [\n')
    count = _lines(target, (_row(read, numbers, entries) for read in reads))
    target.write(f'],\n"count": {count}}}\n')


def _row(read: Read, numbers: dict[tuple[str, str], int], entries: Sequence[Known]) -> list[object]:
    row: list[object] = [os.fsdecode(read.path), read.size, read.mtime_ns]
    if read.place is None:
        return [*row, None, read.reason]
    number = numbers[read.place.series, read.place.sub]
    mine = (read.place.modality, read.place.patient)
    return [*row, read.place.sop, number, *(() if mine == entries[number].usual else mine)]


def _lines(target: TextIO, rows: Iterable[object]) -> int:
    count = 0
    for row in rows:
        target.write(",\n" if count else "")
        target.write(json.dumps(row))
        count += 1
    target.write("\n" if count else "")
    return count


def read_state(path: Path, extensions: Sequence[str]) -> Iterator[Read]:
    """Yield the files of a state, the first of each entry with the fields, if it was made for these extensions.

    Nothing is yielded for a state of another version or of other extensions, or when there is none. A damaged one
    is good up to the damage. Files whose size and time are still the same need not be read again.
    """
    try:
        with path.open(encoding="utf-8") as source:
            if source.readline() != f'{{"version": {VERSION},\n':
                return
            if source.readline() != f'"extensions": {json.dumps(list(extensions))},\n':
                return
            entries = [_entry(row) for row in _rows(source, '"entries": [\n')]
            told = [False] * len(entries)
            for row in _rows(source, '"files": [\n'):
                yield _read(row, entries, told)
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return


def _rows(source: TextIO, head: str) -> Iterator[Any]:
    if source.readline() != head:
        raise ValueError("not a crawl state")
    for line in source:
        if line.startswith("]"):
            return
        yield json.loads(line.removesuffix("\n").removesuffix(","))
    raise ValueError("the crawl state is cut short")


def _entry(row: Any) -> Known:
    series, sub, fields, warnings = row
    return Known(str(series), str(sub), dict(fields), tuple(warnings))


def _read(row: Any, entries: Sequence[Known], told: list[bool]) -> Read:
    name, size, mtime_ns, sop, what, *differing = row
    path, size, mtime_ns = os.fsencode(str(name)), int(size), int(mtime_ns)
    if sop is None:
        return Read(path, size, mtime_ns, reason=str(what))
    entry = entries[what]
    modality, patient = differing or entry.usual
    place = Place(str(sop), entry.series, entry.sub, str(modality), str(patient))
    if told[what]:
        return Read(path, size, mtime_ns, place)
    told[what] = True
    return Read(path, size, mtime_ns, place, entry.fields, warnings=entry.warnings)
