"""The tables as they are in the database: making them, and finding out what ConQuest or an older dgate made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import TableClause, column, inspect
from sqlalchemy import table as sql_table
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import Backend
from db.backend import Column as SqlColumn
from db.engine import Database, Session
from db.errors import DatabaseError
from db.schema import (
    ACCESSION_NUMBER,
    FILE_COLUMNS,
    FILE_LENGTH,
    LEVELS,
    OWN_COLUMNS,
    PATIENT_ID,
    PATIENT_NAME,
    STUDY_DATE,
    WORKLIST,
    Column,
    Schema,
    Table,
)

UIDMODS = "UIDMODS"
_UIDMODS_COLUMNS = (
    "MODTime int, OldUID varchar(64), MODType varchar(32), NewUID varchar(64), Stage varchar(32), "
    "Annotation varchar(64)"
)
_UIDMODS_INDICES = (
    ("mods_old", "OldUID"),
    ("mods_stage", "Stage"),
    ("mods_joint", "OldUID, Stage"),
    ("mods_back", "NewUID, Stage"),
)
_TITLES = {"PATIENT": "Patient", "STUDY": "Study", "SERIES": "Series", "IMAGE": "Image", "WORKLIST": "WorkList"}
# Where patients are searched for by name.
_NAMED = ("PATIENT", "STUDY")
# ConQuest renamed these when MySQL 8 reserved the old names.
_FORMER_NAMES = {"qrows": "Rows", "qcolumns": "Columns"}


@dataclass(frozen=True)
class Relation:
    """A table as SQLAlchemy knows it; its columns by lower-case name."""

    sql: TableClause
    columns: Mapping[str, SqlColumn] = field(repr=False)

    def own(self, name: str) -> SqlColumn:
        return self.columns[name.lower()]


@dataclass(frozen=True)
class LiveTable(Relation):
    """A table of the schema as the database has it; `keyed` when its key is kept unique there."""

    definition: Table
    keyed: bool
    groups: SqlColumn | None = None
    """The keys of rows whose patient name has several component groups, where they are kept."""

    def column(self, definition: Column) -> SqlColumn:
        return self.columns[definition.name.lower()]

    @property
    def key(self) -> SqlColumn:
        return self.column(self.definition.key)

    @property
    def link(self) -> SqlColumn:
        return self.column(self.definition.link)


@dataclass(frozen=True)
class LiveTables:
    """All tables as this database has them; `schema` has the names that its columns really bear."""

    schema: Schema
    by_level: Mapping[str, LiveTable]
    uidmods: Relation

    def __getitem__(self, level: str) -> LiveTable:
        return self.by_level[level]

    @property
    def keyed(self) -> bool:
        return all(self.by_level[level].keyed for level in LEVELS)

    def patient_column(self, level: str) -> SqlColumn | None:
        """Return the column of a table that repeats the patient ID: SeriesPat and ImagePat in ConQuest's layout."""
        definition = self.by_level[level].definition.by_path.get(PATIENT_ID)
        return None if definition is None else self.by_level[level].column(definition)


@dataclass(frozen=True)
class _Found:
    columns: Mapping[str, str]
    keyed: bool


def look(database: Database, schema: Schema) -> LiveTables:
    """Compare schema and database; DatabaseError names the table or column that is missing."""
    found = _found_tables(database, schema)
    by_level = {}
    tables = {}
    for level, table in schema.tables.items():
        here = found.get(table.name.lower())
        if here is None:
            raise DatabaseError(f"{database.backend.place} has no table {table.name}; start the server or run dgate -i")
        tables[level] = renamed = _as_found(table, here)
        wanted = [column.name for column in renamed.columns] + list(_server_columns(level))
        missing = [name for name in wanted if name.lower() not in here.columns]
        if missing:
            raise DatabaseError(
                f"{database.backend.place}: table {table.name} has no column {missing[0]}, which dicom.sql wants; "
                "make the database anew with dgate -r, or leave the entry out of dicom.sql"
            )
        relation = _relation(database.backend, table.name, wanted)
        groups = None
        if here.keyed and _groups(table).lower() in found:
            kept = _relation(database.backend, _groups(table), ("name_key",))
            groups = kept.own("name_key")
        by_level[level] = LiveTable(relation.sql, relation.columns, renamed, here.keyed, groups)
    uidmods = _relation(database.backend, UIDMODS, ("MODTime", "OldUID", "MODType", "NewUID", "Stage"))
    return LiveTables(Schema(tables), by_level, uidmods)


def existing(database: Database, schema: Schema) -> frozenset[str]:
    """Return the lower-case names of those tables that are there."""
    return frozenset(_found_tables(database, schema))


def create_tables(database: Database, schema: Schema, mode: int, *, drop: bool) -> list[str]:
    """Make the tables in one transaction; return ConQuest's log lines for it.

    With `drop` what is there goes first, except for a worklist with rows and the UID changes. Mode 1 leaves out
    keys and indices, mode 2 is the worklist alone, rows or not.
    """
    return database.write(lambda session: list(_create(session, database, schema, mode, drop)))


def add_indices(database: Database, tables: LiveTables) -> list[str]:
    """Add our own indices to tables that ConQuest made; return a line for each table that does not allow it."""
    lines = []
    for level in LEVELS:
        if tables[level].keyed:
            table = tables[level].definition
            try:
                database.write(partial(_create_indices, indices=tuple(_own_indices(database, table))))
                # Anew at each start: a ConQuest that made its tables anew has dropped the triggers with them.
                database.write(partial(_keep_groups, database=database, table=table))
            except DatabaseError as error:
                lines.append(f"***Searches in {table.name} may be slow, no index could be added: {error}")
    return lines


def _create(session: Session, database: Database, schema: Schema, mode: int, drop: bool) -> Iterator[str]:
    yield "Initializing Tables"
    worklist = schema.tables[WORKLIST]
    wanted = [worklist] if mode == 2 else [worklist, *(schema.tables[level] for level in LEVELS)]
    if drop:
        yield "Dropping Existing tables (if-any)"
        if mode != 2 and _has_rows(session, database, worklist):
            yield "Worklist contains data"
            wanted.remove(worklist)
        else:
            yield "Dropping worklist"
        if mode != 2:
            yield "Dropping other tables"
        for table in wanted:
            session.execute(f"DROP TABLE IF EXISTS {database.written(table.name)}")
            session.execute(f"DROP TABLE IF EXISTS {database.written(_groups(table))}")
    for table in wanted:
        yield f"{_TITLES[table.level]} Database"
        _create_table(session, database, table, keys=mode != 1)
    session.execute(f"CREATE TABLE IF NOT EXISTS {UIDMODS} ({_UIDMODS_COLUMNS})")
    _create_indices(session, ((name, f"{UIDMODS}({columns})") for name, columns in _UIDMODS_INDICES))


def _has_rows(session: Session, database: Database, table: Table) -> bool:
    name = database.written(table.name)
    # Made when it is missing, so that asking works on both databases; it is dropped again just behind.
    session.execute(f"CREATE TABLE IF NOT EXISTS {name} (placeholder int)")
    return bool(session.execute(f"SELECT 1 FROM {name} LIMIT 1"))


def _create_table(session: Session, database: Database, table: Table, *, keys: bool) -> None:
    parts = [
        f"{database.written(column.name)} " + ("char(8)" if column.is_date else f"varchar({column.length})")
        for column in table.columns
    ]
    if keys and table.level != WORKLIST:
        parts[0] += " PRIMARY KEY not null"
    parts += ["AccessTime int", "qTimeStamp int", "qFlags int", "qSpare varchar(64)"]
    if table.level == "IMAGE":
        parts += [f"ObjectFile varchar({FILE_LENGTH})", "DeviceName varchar(32)"]
    session.execute(f"CREATE TABLE IF NOT EXISTS {database.written(table.name)} ({', '.join(parts)})")
    if keys:
        _create_indices(session, _conquest_indices(database, table))
        _create_indices(session, _own_indices(database, table))
        _keep_groups(session, database, table)


def _create_indices(session: Session, indices: Iterable[tuple[str, str]]) -> None:
    for name, target in indices:
        session.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {target}")


def _keep_groups(session: Session, database: Database, table: Table) -> None:
    """Begin to keep the keys of names with several component groups."""
    name = table.by_path.get(PATIENT_NAME)
    if name is not None and table.level in _NAMED:
        written = (database.written(each) for each in (_groups(table), table.name, name.name, table.key.name))
        for statement in database.backend.grouped_names(*written):
            session.execute(statement)


def _groups(table: Table) -> str:
    return f"dgate_{table.name}_groups"


def _found_tables(database: Database, schema: Schema) -> dict[str, _Found]:
    named = [_groups(table) for table in schema.tables.values() if table.level in _NAMED]
    names = [*(table.name for table in schema.tables.values()), UIDMODS, *named]
    found = {}
    with database.looking() as connection:
        inspector = inspect(connection)
        for name in names:
            real = database.backend.name(name)
            if inspector.has_table(real):
                columns = {each["name"].lower(): each["name"] for each in inspector.get_columns(real)}
                keyed = bool(inspector.get_pk_constraint(real)["constrained_columns"])
                found[name.lower()] = _Found(columns, keyed)
    return found


def _as_found(table: Table, found: _Found) -> Table:
    """Take former names of columns where the database still has them."""
    entries = []
    for entry in table.entries:
        former = _FORMER_NAMES.get(entry.name.lower())
        if former and entry.name.lower() not in found.columns and former.lower() in found.columns:
            entries.append(replace(entry, name=former))
        else:
            entries.append(entry)
    return replace(table, entries=tuple(entries))


def _relation(backend: Backend, table: str, names: Iterable[str]) -> Relation:
    # SQLAlchemy knows columns by name too, but in the case that the database has.
    columns = {name.lower(): column(backend.name(name), NULLTYPE) for name in names}
    return Relation(sql_table(backend.name(table), *columns.values()), columns)


def _server_columns(level: str) -> tuple[str, ...]:
    # The other three are ConQuest's users' own; an older database need not have them.
    return (OWN_COLUMNS[0], *(FILE_COLUMNS if level == "IMAGE" else ()))


def _conquest_indices(database: Database, table: Table) -> Iterator[tuple[str, str]]:
    name, key, link = (database.written(each) for each in (table.name, table.key.name, table.link.name))
    patient = table.by_path.get(PATIENT_ID)
    if table.level == "STUDY":
        yield "study_lnk", f"{name}({link})"
        yield "idx_patientid", f"{name}({link})"  # ConQuest puts it on PatientSex
        yield "idx_patientid_studyinsta", f"{name}({link}, {key})"
    elif table.level == "SERIES":
        yield "series_lnk", f"{name}({link})"
        yield "idx_studyinsta_seriesinst", f"{name}({link}, {key})"
        if patient:
            yield "series_pat", f"{name}({database.written(patient.name)})"
    elif table.level == "IMAGE":
        # ConQuest has one on the link alone as well, which this one does for; each costs every object that comes.
        yield "idx_seriesinst_sopinstanc", f"{name}({link}, {key})"
        if patient:
            yield "images_pat", f"{name}({database.written(patient.name)})"


def _own_indices(database: Database, table: Table) -> Iterator[tuple[str, str]]:
    name, key = database.written(table.name), database.written(table.key.name)
    patient_name = table.by_path.get(PATIENT_NAME)
    if patient_name and table.level in _NAMED:
        stem = f"dgate_{table.name}_{patient_name.name}"
        yield from database.backend.name_index(stem, name, database.written(patient_name.name), key)
    if table.level == "STUDY":
        for path in (STUDY_DATE, ACCESSION_NUMBER):
            definition = table.by_path.get(path)
            if definition:
                yield f"dgate_{table.name}_{definition.name}", f"{name}({database.written(definition.name)})"
