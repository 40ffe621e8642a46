"""The index: the one object through which the rest of dgate finds, enters and removes what is stored."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from db import tables as live
from db.backend import Lookup
from db.computed import COUNTS, IN_STUDY, PLACE
from db.delete import Remover
from db.durable import DurableFile
from db.engine import Database, Session, choose_backend
from db.errors import Refused
from db.fields import Fields
from db.group import GroupCommit
from db.handover import HandOver, Listener
from db.jobs import Jobs
from db.links import Links
from db.matches import Finder, Matches, Rows
from db.objects import Added, Checked, Location, NewObject, StoredObject
from db.query import Planner, Query
from db.raw import bounded, checked_select
from db.rings import Rings
from db.schema import FILE_LENGTH, LEVELS, SOP_INSTANCE, WORKLIST, Schema, TagPath
from db.settings import DbSettings
from db.sorting import default_orders
from db.switch import Switcher
from db.tombstones import DELETED, Tombstones
from db.uidmods import UidChanges
from db.write import Writer

_SELF_TEST = (
    ("create table", "CREATE TABLE dgate_test (name varchar(16))"),
    ("add record", "INSERT INTO dgate_test (name) VALUES ('dgate')"),
    ("query", "SELECT name FROM dgate_test"),
    ("drop table", "DROP TABLE dgate_test"),
)
_PRODUCTS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is made once the tables of the database are known."""

    tables: live.LiveTables
    writer: Writer
    remover: Remover
    switcher: Switcher
    planner: Planner
    finder: Finder
    uids: UidChanges
    links: Links
    takes: Callable[[str], bool]
    """Whether a SOP instance UID can be handed over: its row is found by a key that is unique."""
    lookup: Callable[[], Lookup]


class Index:
    """The index of one site, for any number of threads; nothing is opened before the first call.

    A process that forks makes its own afterwards. Several processes may use one database: writers take
    turns. Every method raises `DatabaseError`, of which `DatabaseLocked` may go away by itself and `DatabaseFull` by
    making room, and DatabaseError also when dicom.ini names a database that dgate does not drive.
    """

    def __init__(self, settings: DbSettings, schema: Schema, base: Path, *, durability: str = "safe") -> None:
        """Name the database; a relative `SQLServer` is below `base`, `durability` is the key of that name."""
        self.schema = schema
        self._settings = settings
        self._database = Database(choose_backend(settings, base, durability))
        self._group = GroupCommit(self.add_many)
        self._durable = DurableFile(self.file)
        self.tombstones = Tombstones(self._database)
        self.jobs = Jobs(self._database)
        self._fields = Fields(schema)
        self._handing: HandOver | None = None
        self._listener: Listener | None = None
        self._opening = threading.Lock()
        self._parts: _Opened | None = None
        # How many times the tables were made, or looked at, anew.
        self.remade = 0

    @property
    def file(self) -> Path | None:
        """The file that holds the index, beside which SQLite makes others of that name and more; None for a server."""
        return self._database.backend.file

    @property
    def database_type(self) -> str:
        """The text behind "Database type:" in the status."""
        return self._database.backend.database_type

    # Tables

    def ensure_tables(self) -> list[str]:
        """Make the database ready: what is missing is made, what ConQuest made stays; return lines for the log.

        Our own indices are added to tables with keys. DatabaseError names a column of dicom.sql that is not there.
        """
        self._database.write(lambda session: None)  # a SQLite file comes into being
        there = live.existing(self._database, self.schema)
        wanted = {table.name.lower() for table in self.schema.tables.values()} | {live.UIDMODS.lower()}
        lines = [] if wanted <= there else live.create_tables(self._database, self.schema, 0, drop=False)
        self._forget()
        lines += live.add_indices(self._database, self._open().tables)
        self._forget()
        return lines

    def create_tables(self, mode: int = 0, *, drop: bool = True) -> list[str]:
        """Make the tables anew and empty; return ConQuest's lines for it (`-i`, `initializetables:`).

        Mode 1 leaves out keys and indices, mode 2 is the worklist alone. A worklist with rows stays in modes 0
        and 1, UID changes always. Without `drop` only what is missing is made.
        """
        lines = live.create_tables(self._database, self.schema, mode, drop=drop)
        self._forget()
        return lines

    def check(self) -> list[str]:
        """Look at the database and write nothing: its product and version, and the rows of each table."""
        self._database.backend.check()
        tables = self._open().tables
        with self._database.reading() as connection:
            version = ".".join(str(part) for part in connection.dialect.server_version_info or ())
            lines = [f"{self._database.backend.place}: {_PRODUCTS[connection.dialect.name]} {version}"]
            for level in (*LEVELS, WORKLIST):
                rows = connection.execute(select(func.count()).select_from(tables[level].sql)).scalar()
                lines.append(f"{tables[level].definition.name}: {rows} rows")
        return lines

    def self_test(self) -> Iterator[str]:
        """Open the database, make a table, enter and read a row, drop the table, close; yield each step (`-o`)."""
        yield f"open {self._database.backend.place}"
        for step, sql in _SELF_TEST:
            self._database.write(lambda session, sql=sql: session.execute(sql))  # type: ignore[misc]
            yield step
        self._database.close()
        yield "close"

    def close(self) -> None:
        """Close the database and leave it whole in its one file; a later call opens it again.

        Rows that were handed over are entered first; see `in_flight`.
        """
        if self._handing is not None:
            self._handing.close()
        self._database.close()

    def sync(self) -> None:
        """Make every commit so far survive a power cut; PostgreSQL's do anyway."""
        self._durable.sync()

    @property
    def at_rest(self) -> bool:
        """Whether, after `close`, everything is in its final place, durably."""
        return self._durable.at_rest and not self.in_flight

    # Objects

    def add(self, values: Mapping[TagPath, str], device: str, file: str, *, replace: bool = True) -> Added:
        """Enter one object, with others that come at the same time; committed when this returns.

        Raises Refused: LinkRefused, MissingUid.
        """
        result = self._group.add(NewObject(values, device, file, replace))
        if isinstance(result, Refused):
            raise result
        return result

    def hand_over(self, values: Mapping[TagPath, str], device: str, file: str, checked: Checked) -> bool:
        """Enter one object that the index does not have, of a series that it has; committed a moment later.

        It links that as the object does, which `checked` knows or is told. From now on the object is seen by every
        process of the server that shares its rings. False, and nothing done, when it must go through `add`, which
        tells why: there is an earlier copy, or the index cannot be written at present.
        """
        parts, uid = self._parts, values.get(SOP_INSTANCE, "")
        if parts is None or not parts.takes(uid) or len(file) > FILE_LENGTH or not file.isascii():
            return False
        if values not in checked:
            if not parts.links.are_there(values):
                return False
            checked.note(values)
        handing = self._handing or self.share(Rings(), 0)
        return handing.put(uid, *self._fields.split(values), device, file, parts.lookup)

    def share(self, rings: Rings, slot: int) -> HandOver:
        """Use rings that all processes of a server have, and own the one of `slot`; once, before anything is read."""
        with self._opening:
            if self._handing is None:
                database = self._database
                self._handing = HandOver(
                    database, self._fields, lambda: self._open().writer, self.tombstones, rings, slot
                )
                self._handing.listener = self._listener
            return self._handing

    def report_to(self, listener: Listener) -> None:
        """Tell somebody what becomes of rows that are handed over from now on."""
        self._listener = listener
        if self._handing is not None:
            self._handing.listener = listener

    @property
    def in_flight(self) -> bool:
        """Whether rows that were handed over wait to be committed."""
        return self._handing is not None and self._handing.in_flight

    def add_many(self, objects: Sequence[NewObject]) -> list[Added | Refused]:
        """Enter objects in one transaction; return for each what `add` would return or raise.

        The newest values of patient, study and series count. An object whose series, study or patient is
        another than the index knows is refused. All or none are committed, but for those refused. Files that became
        superfluous by it get a tombstone; they are the caller's to remove.
        """
        note = self.tombstones.of_replaced
        rows = [self._fields.of(new) for new in objects]
        return self._open().writer.either_way(
            lambda add: self._database.write(lambda session: note(session, rows, add(session, rows)))
        )

    def locate(self, sop_instance: str, patient: str | None = None) -> Location | None:
        """Return where an object is, None when the index has no such one (of that patient)."""
        tables = self._open().tables
        images = tables["IMAGE"]
        statement = select(images.own("DeviceName"), images.own("ObjectFile")).where(
            self._database.backend.one_of(images.key, [sop_instance])
        )
        of_patient = tables.patient_column("IMAGE")
        if patient is not None and of_patient is not None:
            statement = statement.where(self._database.backend.one_of(of_patient, [patient]))
        with self._database.reading() as connection:
            row = connection.execute(statement.limit(1)).first()
        return None if row is None else Location(row[0] or "", row[1] or "")

    def places(self) -> Iterator[tuple[str, Location]]:
        """Return the SOP instance UID and the place of every object there is, in no order."""
        images = self._open().tables["IMAGE"]
        statement = select(images.key, images.own("DeviceName"), images.own("ObjectFile"))
        rows = self._database.stream(statement)
        return ((uid or "", Location(device or "", file or "")) for uid, device, file in rows)

    def find(self, query: Query) -> Iterator[Mapping[TagPath, str]]:
        """Return the matches, each with those of the wanted elements that the index knows; "" for what is absent.

        Rows come as they are read, however many there are; close the iterator to stop early. QueryRefused at
        once for a level or a sort column that there is not.
        """
        plan = self._open().planner.find(query)
        return (
            {
                path: value if type(value) is str else "" if value is None else str(value)
                for path, value in zip(plan.paths, row, strict=False)
            }
            for row in self._database.stream(plan.statement)
        )

    def matches(self, query: Query, stop: Callable[[], bool] | None = None) -> Matches:
        """Return what `find` does for answering it: rows as they are stored, some at a time, of few or of very many.

        `stop` is asked now and then while the database searches; True ends that early.
        """
        return self._open().finder.find(query, stop)

    def knows(self, path: TagPath) -> bool:
        """Whether a query can ask for an element: it has a column, or is computed."""
        counted = path in COUNTS and self._settings.EnableComputedFields
        return self.schema.knows(path) or counted or path in IN_STUDY or path in PLACE

    def count(self, query: Query) -> int:
        """Return how many matches `find` would return."""
        statement = self._open().planner.count(query)
        with self._database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def select_objects(self, query: Query) -> Iterator[StoredObject]:
        """Return every object below what matches, by patient, study, series number and image number.

        Only level, keys and `combined_datetime` of the query count. No keys mean everything there is.
        """
        statement = self._open().planner.objects(query)
        return (StoredObject(*(value or "" for value in row)) for row in self._database.stream(statement))

    def object_rows(self, query: Query) -> Iterator[Rows]:
        """Return what `select_objects` does as rows as they are stored, some at a time: the fields of StoredObject."""
        return self._open().finder.objects(query)

    def switch(self, sop_instance: str, values: Mapping[TagPath, str], old: Location, new: Location) -> bool:
        """Let an object's row name another file, which holds it in another form with these header values.

        False, and nothing done, when the row names another file than `old`, or is gone: the object was stored or
        deleted meanwhile. The old file gets a tombstone; it is the caller's to remove.
        """
        switcher = self._open().switcher

        def switched(session: Session) -> bool:
            done = switcher.switch(session, sop_instance, values, old, new)
            if done:
                self.tombstones.put(session, DELETED, {old: ""})
            return done

        return self._database.write(switched)

    def delete(
        self,
        objects: Iterable[StoredObject],
        *,
        worklist: bool = False,
        only: Callable[[StoredObject], bool] | None = None,
        tombstones: str = "",
    ) -> list[Location]:
        """Remove objects, and the series, studies and patients that are empty then; return their files.

        The files are the caller's to remove. An object that is gone, or was stored elsewhere since it was selected, is
        passed over. With `worklist` the worklist rows of removed patients go too. `only` is asked for each object
        while nobody else can enter one, and maybe more than once. `tombstones` is the kind that their files get.
        """
        remover, chosen = self._open().remover, list(objects)
        uids = {Location(each.device, each.file): each.sop_instance for each in chosen}

        def remove(session: Session) -> list[Location]:
            files = remover.remove(session, chosen, worklist=worklist, only=only)
            if tombstones:
                self.tombstones.put(session, tombstones, {file: uids[file] for file in files})
            return files

        return self._database.write(remove)

    def delete_worklist(self, patient: str) -> int:
        """Remove the worklist rows of a patient, who need have no objects; return how many there were."""
        remover = self._open().remover
        return self._database.write(lambda session: remover.remove_worklist(session, patient))

    # UID changes

    def change_uid(self, old: str, kind: str, stage: str, new_uid: Callable[[], str]) -> str:
        """Return what replaces a UID in a stage ("" for none), now and always; `new_uid` makes it the first time.

        `kind` is a note on who asked: an element's keyword, or one of ConQuest's words such as ``--changeuid``.
        """
        return self._open().uids.change(old, kind, stage, new_uid)

    def original_uid(self, new: str, stage: str = "") -> str | None:
        """Return the UID that `new` replaced in a stage, None when that is not known."""
        return self._open().uids.original(new, stage)

    # SQL of an operator

    def raw_query(self, table: str, fields: str, where: str = "") -> Iterator[tuple[str, ...]]:
        """Run ``SELECT fields FROM table [WHERE where]`` for the `query:` command; rows of at most 48 fields.

        It can read the index's own tables and nothing else, and change nothing. QueryRefused, here or with
        the first row, for anything more, for SQL that the database does not understand and for what takes a minute.
        """
        sql = checked_select(self._open().tables, table, fields, where)
        return bounded(self._database.select_read_only(sql))

    def _open(self) -> _Opened:
        """Return the parts that depend on what is in the database, looked at once."""
        with self._opening:
            if self._parts is None:
                database, settings = self._database, self._settings
                tables = live.look(database, self.schema)
                images = tables["IMAGE"]
                key = images.definition.key
                whole = re.compile(rf"[!-~]{{1,{key.length}}}").fullmatch
                names = database.written(images.definition.name), database.written(key.name)
                planner = Planner(
                    database.backend, tables, default_orders(settings, tables), counts=settings.EnableComputedFields
                )
                self._parts = _Opened(
                    tables,
                    Writer(database, tables, settings, self._fields),
                    Remover(database, tables),
                    Switcher(database, tables, settings),
                    planner,
                    Finder(database, tables, planner),
                    UidChanges(database, tables),
                    Links(database, tables),
                    lambda uid: images.keyed and whole(uid) is not None,
                    partial(database.backend.lookup, *names),
                )
            return self._parts

    def follow(self, remade: int) -> None:
        """Look at the tables anew when another process has made them: `remade` is what its index says."""
        with self._opening:
            if remade != self.remade:
                self.remade = remade
                self._parts = None

    def _forget(self) -> None:
        with self._opening:
            self.remade += 1
            self._parts = None
