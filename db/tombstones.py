"""Files that the index gave up, in dgate_tombstones: those about to be deleted, and those that stay without rows."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, bindparam, column, delete, insert, inspect, select
from sqlalchemy import table as sql_table
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import bound
from db.engine import Database, Prepared, Session
from db.errors import Refused
from db.fields import Fielded
from db.objects import Added, Location

TOMBSTONES = "dgate_tombstones"
# What becomes of the file: it goes, or it stays although no row names it.
DELETED, DETACHED = "deleted", "detached"
# A mark on a device as a whole: this index has kept it before.
_KEPT = "kept"

_COLUMNS = (
    "device varchar(32) NOT NULL, file varchar(1024) NOT NULL, kind varchar(8) NOT NULL, at bigint NOT NULL, "
    "uid varchar(255) NOT NULL, "
    "PRIMARY KEY (device, file)"
)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A file that the index gave up at a time in nanoseconds; `kind` is DELETED or DETACHED.

    With a SOP instance UID the object itself was deleted then, else its file was replaced.
    """

    location: Location
    kind: str
    at_ns: int
    uid: str


class Tombstones:
    """The tombstones of one database; the table comes with the first of them.

    `unswept` counts those that this process has written since `swept_s`, a time of the monotonic clock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.unswept = 0
        self.swept_s = 0.0
        names = ("device", "file", "kind", "at", "uid")
        columns = {name: column(name, NULLTYPE) for name in names}
        table = sql_table(TOMBSTONES, *columns.values())
        here = [columns[name] == bindparam(name, type_=NULLTYPE) for name in ("device", "file")]
        self._all = select(*columns.values()).order_by(columns["at"])
        self._at = columns["at"]
        self._insert = Prepared(
            insert(table).values({columns[name]: bindparam(name, type_=NULLTYPE) for name in names}), database
        )
        self._delete = Prepared(delete(table).where(*here), database)
        self._there = False

    def put(self, session: Session, kind: str, places: Mapping[Location, str]) -> None:
        """Note places in a transaction, with SOP instance UIDs of deleted objects; earlier notes count no more."""
        at = time.time_ns()
        self.unswept += len(places)
        for place, uid in places.items():
            if not self._there:
                session.execute(f"CREATE TABLE IF NOT EXISTS {TOMBSTONES} ({_COLUMNS})")
            values = {"device": place.device, "file": place.file, "kind": kind, "at": at, "uid": uid}
            session.change(self._delete, values)
            session.change(self._insert, values)

    def add(self, kind: str, place: Location) -> None:
        """Note one place, in a transaction of its own."""
        self._database.write(lambda session: self.put(session, kind, {place: ""}))

    def of_replaced(
        self, session: Session, objects: Sequence[Fielded], results: list[Added | Refused]
    ) -> list[Added | Refused]:
        """Note the files that entering `objects` made superfluous, in the same transaction; returns the results."""
        superfluous = {}
        for new, result in zip(objects, results, strict=True):
            if isinstance(result, Refused) or (result.stored and result.previous is None):
                continue
            place = result.previous if result.stored else Location(new.device, new.file)
            # A row from Windows may name, with other separators, what is the new file now.
            if place is not None and (not result.stored or place.file.replace("\\", "/") != new.file):
                superfluous[place] = ""
        self.put(session, DELETED, superfluous)
        return results

    def all(self) -> list[Tombstone]:
        """Every tombstone, oldest first."""
        return [
            Tombstone(Location(device, file), kind, int(at), uid)
            for device, file, kind, at, uid in self._rows()
            if kind != _KEPT
        ]

    def older(self, than_ns: int) -> list[Location]:
        """The places of files that were given up before a time and were to go, as `all` has them."""
        return [
            Location(device, file)
            for device, file, kind, *_ in self._rows(self._all.where(self._at < bound(than_ns)))
            if kind == DELETED
        ]

    def forget(self, places: Iterable[Location]) -> None:
        """Take tombstones away, in a transaction of its own."""
        chosen = list(places)
        if chosen and self._exists():
            self._database.write(lambda session: self._forget(session, chosen))

    def forget_detached(self, places: Iterable[Location]) -> None:
        """Take away those of files that were entered again."""
        entered = set(places)
        self.forget([each.location for each in self.all() if each.kind == DETACHED and each.location in entered])

    def kept_devices(self) -> frozenset[str]:
        """The devices whose files this index is known to have had all of, once."""
        return frozenset(device for device, _, kind, *_ in self._rows() if kind == _KEPT)

    def keep_device(self, device: str) -> None:
        """Note that this index has all files of a device."""
        self.add(_KEPT, Location(device, ""))

    def _forget(self, session: Session, places: Sequence[Location]) -> None:
        for place in places:
            session.change(self._delete, {"device": place.device, "file": place.file})

    def _rows(self, statement: Executable | None = None) -> list[tuple[Any, ...]]:
        chosen = self._all if statement is None else statement
        return [tuple(row) for row in self._database.stream(chosen)] if self._exists() else []

    def _exists(self) -> bool:
        if not self._there:
            with self._database.reading() as connection:
                self._there = inspect(connection).has_table(TOMBSTONES)
        return self._there
