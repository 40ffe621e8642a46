"""The database a crawl works in: what each file is, kept on disk so that memory does not grow with their number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dgate.crawl.errors import CrawlBusyError
from dgate.crawl.extract import Fields, Place, Read
from dgate.crawl.walk import Found

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (identity TEXT);
CREATE TABLE IF NOT EXISTS read (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER,
    sop TEXT, series TEXT, sub TEXT, modality TEXT, patient TEXT, reason TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fields (path BLOB PRIMARY KEY, json TEXT, warnings TEXT) WITHOUT ROWID;
DROP TABLE IF EXISTS found;
CREATE TABLE found (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER) WITHOUT ROWID;
DROP INDEX IF EXISTS read_sop;
DROP TABLE IF EXISTS twice;
DROP TABLE IF EXISTS twin;
DROP TABLE IF EXISTS entry;
"""
_CHANGED = """
FROM found LEFT JOIN read USING (path)
WHERE (read.path IS NULL OR read.size <> found.size OR read.mtime_ns <> found.mtime_ns)
"""
_NEW_ENTRIES = """
CREATE TABLE entry (
    number INTEGER PRIMARY KEY, series TEXT, sub TEXT, first BLOB, files INTEGER, mixed INTEGER,
    UNIQUE (series, sub)
);
INSERT INTO entry (series, sub, first, files, mixed)
SELECT series, sub, first, files, mixed FROM (
    SELECT series, sub, min(path) AS first, count(*) AS files,
        min(modality) <> max(modality) OR min(patient) <> max(patient) AS mixed
    FROM read WHERE series IS NOT NULL GROUP BY series, sub
) ORDER BY min(first) OVER (PARTITION BY series), first;
"""
# UIDs that several files have, and those that several files of one entry have.
_DOUBLES = """
CREATE INDEX read_sop ON read (sop);
CREATE TABLE twice (sop TEXT PRIMARY KEY, first BLOB, last BLOB) WITHOUT ROWID;
INSERT INTO twice
SELECT sop, min(path), max(path) FROM read WHERE sop IS NOT NULL GROUP BY sop HAVING count(*) > 1;
CREATE TABLE twin (number INTEGER, sop TEXT, first BLOB, last BLOB, files INTEGER, PRIMARY KEY (number, sop))
WITHOUT ROWID;
INSERT INTO twin
SELECT number, sop, min(path), max(path), count(*)
FROM twice CROSS JOIN read USING (sop) CROSS JOIN entry USING (series, sub)
GROUP BY number, sop HAVING count(*) > 1;
"""
_BATCH = 5000
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Entry:
    """One series and acquisition: its number in the output, its first file, its instances.

    `mixed` when its files differ in modality or patient.
    """

    number: int
    series: str
    sub: str
    first: bytes
    instances: int
    mixed: bool


class Work:
    """The database of one crawl; another crawl on the same file raises CrawlBusyError.

    `identity` says what the crawl asks for: what an earlier crawl left behind is taken over when it asked for the
    same, and removed otherwise, as it is when it was damaged by a crash.
    """

    def __init__(self, path: Path, identity: str, *, fresh: bool) -> None:
        self.path = path
        try:
            self._database = self._opened(identity, fresh)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise CrawlBusyError(f"another crawl is writing to {path.parent}") from error
            self.discard()
            self._database = self._opened(identity, fresh)

    def _opened(self, identity: str, fresh: bool) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=0, isolation_level=None)
        try:
            # Exclusive, or the log would need memory shared between processes, which network file systems lack.
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = OFF"):
                database.execute(f"PRAGMA {pragma}")
            database.execute("BEGIN EXCLUSIVE")
            database.execute("COMMIT")
            database.executescript(_TABLES)
            if fresh or database.execute("SELECT identity FROM meta").fetchone() not in (None, (identity,)):
                database.executescript("DELETE FROM read; DELETE FROM fields; DELETE FROM meta")
            database.execute("INSERT INTO meta SELECT ? WHERE NOT EXISTS (SELECT * FROM meta)", (identity,))
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        self._database.close()

    def discard(self) -> None:
        """Remove the file and what SQLite keeps beside it."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    # Reading

    def know(self, reads: Iterable[Read]) -> None:
        """Take over what an earlier crawl found, where this one has not found out for itself."""
        self._add(reads, "INSERT OR IGNORE")

    def add(self, reads: Iterable[Read]) -> int:
        """Enter what files turned out to be, which survives the end of the process; return how many that are."""
        return self._add(reads, "INSERT OR REPLACE")

    def forget(self) -> None:
        """Drop what is known of every file."""
        self._database.executescript("DELETE FROM read; DELETE FROM fields")

    def has(self, read: Read) -> bool:
        """Whether a file is known as the same instance."""
        row = self._database.execute("SELECT sop, series, sub FROM read WHERE path = ?", (read.path,)).fetchone()
        return read.place is not None and row == (read.place.sop, read.place.series, read.place.sub)

    def _add(self, reads: Iterable[Read], insert: str) -> int:
        count = 0
        self._database.execute("BEGIN")
        for batch in _batches(reads):
            rows, fields = [], []
            for read in batch:
                place = read.place
                known = (place.sop, place.series, place.sub, place.modality, place.patient) if place else (None,) * 5
                rows.append((read.path, read.size, read.mtime_ns, *known, read.reason))
                if read.fields is not None:
                    fields.append((read.path, json.dumps(read.fields), json.dumps(read.warnings)))
            if insert == "INSERT OR REPLACE":
                self._database.executemany("DELETE FROM fields WHERE path = ?", ((row[0],) for row in rows))
            self._database.executemany(f"{insert} INTO read VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._database.executemany(f"{insert} INTO fields VALUES (?, ?, ?)", fields)
            count += len(batch)
        self._database.execute("COMMIT")
        return count

    def find(self, files: Iterable[Found]) -> int:
        """Enter what the walk found; return how many files that are."""
        self._database.execute("BEGIN")
        for batch in _batches(files):
            rows = ((found.path, found.size, found.mtime_ns) for found in batch)
            self._database.executemany("INSERT OR REPLACE INTO found VALUES (?, ?, ?)", rows)
        self._database.execute("COMMIT")
        return self._count("SELECT count(*) FROM found")

    def changed(self) -> int:
        """How many of the files found are not known as they are now."""
        return self._count(f"SELECT count(*) {_CHANGED}")

    def to_read(self) -> Iterator[list[bytes]]:
        """Yield those files in order of their paths, many at a time; they may be added meanwhile."""
        last = b""
        while True:
            rows = self._database.execute(
                f"SELECT found.path {_CHANGED} AND found.path > ? ORDER BY found.path LIMIT {_BATCH}", (last,)
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [path for (path,) in rows]

    def forget_vanished(self) -> int:
        """Drop what is known of files that were not found; return how many that are."""
        gone = "path NOT IN (SELECT path FROM found)"
        self._database.execute(f"DELETE FROM fields WHERE {gone}")
        return self._database.execute(f"DELETE FROM read WHERE {gone}").rowcount

    def firsts_to_read(self) -> list[bytes]:
        """The first files of series whose fields are not known: an earlier first one has vanished."""
        rows = self._database.execute(
            "SELECT first FROM (SELECT min(path) AS first FROM read WHERE series IS NOT NULL GROUP BY series, sub) "
            "LEFT JOIN fields ON fields.path = first WHERE fields.path IS NULL ORDER BY first"
        )
        return [path for (path,) in rows]

    # Results

    def settle(self) -> None:
        """Number the entries, in the order of their first files; nothing is added afterwards."""
        self._database.executescript(_NEW_ENTRIES)
        self._database.executescript(_DOUBLES)

    def entries(self) -> list[Entry]:
        """All entries; their number is that of series, so they fit in memory."""
        surplus = dict(self._database.execute("SELECT number, sum(files - 1) FROM twin GROUP BY number"))
        rows = self._database.execute("SELECT number, series, sub, first, files, mixed FROM entry ORDER BY number")
        return [
            Entry(number, series, sub, first, files - surplus.get(number, 0), bool(mixed))
            for number, series, sub, first, files, mixed in rows
        ]

    def fields(self, path: bytes) -> tuple[Fields, list[str]]:
        """The fields of the first file of a series, and what could not be worked out."""
        fields, warnings = self._database.execute(
            "SELECT json, warnings FROM fields WHERE path = ?", (path,)
        ).fetchone()
        return json.loads(fields), json.loads(warnings)

    def instances(self) -> Iterator[tuple[int, bytes, str]]:
        """Yield (entry, path, SOP instance UID), by entry and path; of one UID in an entry the last file counts."""
        twins = self._has("twin")
        rows = self._database.execute(
            "SELECT entry.number, read.path, read.sop FROM entry JOIN read USING (series, sub) "
            "ORDER BY entry.number, read.path"
        )
        for number, path, sop in rows:
            twin = None
            if twins:
                twin = self._database.execute(
                    "SELECT first, last FROM twin WHERE number = ? AND sop = ?", (number, sop)
                ).fetchone()
            if twin is None:
                yield number, path, sop
            elif path == twin[0]:
                yield number, twin[1], sop

    def sop_map(self) -> Iterator[tuple[str, str]]:
        """Yield (SOP instance UID, series) in the order of the paths; of one UID the last file counts."""
        doubles = self._has("twice")
        for path, sop, series in self._database.execute(
            "SELECT path, sop, series FROM read WHERE sop IS NOT NULL ORDER BY path"
        ):
            double = None
            if doubles:
                double = self._database.execute("SELECT first FROM twice WHERE sop = ?", (sop,)).fetchone()
            if double is None:
                yield sop, series
            elif path == double[0]:
                yield sop, self.series_of(sop) or series

    def series_of(self, sop: str) -> str | None:
        """The series of an instance, None when it is not in the tree."""
        row = self._database.execute(
            "SELECT series FROM read WHERE sop = ? ORDER BY path DESC LIMIT 1", (sop,)
        ).fetchone()
        return None if row is None else str(row[0])

    def doubles(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (series, files, one of them) for each series with files whose UID an earlier file has."""
        yield from self._database.execute(
            "SELECT series, count(*), min(path) FROM twice CROSS JOIN read USING (sop) WHERE path > first "
            "GROUP BY series ORDER BY series"
        )

    def all_read(self) -> Iterator[Read]:
        """Yield every file known, in the order of the paths, without its fields."""
        for path, size, mtime_ns, sop, series, sub, modality, patient, reason in self._database.execute(
            "SELECT * FROM read ORDER BY path"
        ):
            place = None if series is None else Place(sop, series, sub, modality, patient)
            yield Read(path, size, mtime_ns, place, reason=reason)

    def skipped(self) -> Iterator[tuple[bytes, str]]:
        """Yield path and reason of each file that is to be reported."""
        yield from self._database.execute(
            "SELECT path, reason FROM read WHERE series IS NULL AND reason <> '' ORDER BY path"
        )

    def count_skipped(self) -> int:
        return self._count("SELECT count(*) FROM read WHERE series IS NULL AND reason <> ''")

    def _has(self, table: str) -> bool:
        return self._database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None

    def _count(self, statement: str) -> int:
        return int(self._database.execute(statement).fetchone()[0])


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
