"""The index in a SQLite file."""

import contextlib
import fcntl
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    Engine,
    Integer,
    QueuePool,
    Text,
    bindparam,
    collate,
    create_engine,
    distinct,
    false,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.sqltypes import NULLTYPE
from sqlalchemy.types import LargeBinary

from db.backend import (
    LOCK_TIMEOUT_S,
    QUERY_TIMEOUT_S,
    Backend,
    Column,
    Condition,
    Lookup,
    behind,
    bound,
    decoded,
    first_line,
)
from db.errors import DatabaseError, DatabaseFull, DatabaseLocked, DatabaseMissing, QueryRefused
from db.mounts import network_file_system
from db.settings import DbSettings
from db.wildcard import name_form

_PRIMARY_CODE = 0xFF
# What is wrong with the database or the disk, whatever the query.
_NOT_THE_QUERY = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM,
    }
)  # fmt: skip
# A search asks after so many steps of SQLite whether to go on; some milliseconds.
_STEPS_UNTIL_ASKED = 200_000
_RESERVED = frozenset(SQLiteDialect_pysqlite.preparer.reserved_words)


class SqliteBackend(Backend):
    """A SQLite file in WAL mode.

    `durability` "fast" is the only one in which `SQLiteStartup` may set ``synchronous``; in any other a
    commit survives the process, and a power cut takes at most the last ones (``synchronous = NORMAL``).
    """

    database_type = "built-in SQLite driver"
    atomic_groups = True
    keeps_connection = True
    driver_error = sqlite3.Error
    bad_value = (sqlite3.DataError, sqlite3.InterfaceError, OverflowError)

    def __init__(self, settings: DbSettings, path: Path, durability: str) -> None:
        self.path = self.file = path
        self.place = f"database {path}"
        self._turns = -1
        self._checkpointing = threading.Lock()
        self._latin1 = not settings.UTF8ToDB
        self._startup = [
            statement
            for statement in (part.strip() for part in settings.SQLiteStartup.split(";"))
            if statement and (durability == "fast" or not re.match(r"(?i)pragma\s+(\w+\.)?synchronous\b", statement))
        ]

    # How it is opened

    def reader(self) -> Engine:
        def connect() -> sqlite3.Connection:
            connection = self._open("rw")
            connection.execute("PRAGMA query_only = ON")
            return connection

        return create_engine("sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=-1)

    def writer(self) -> Engine:
        return create_engine(
            "sqlite+pysqlite://", creator=self._open_for_writing, poolclass=QueuePool, pool_size=1, max_overflow=0
        )

    def without_transactions(self, engine: Engine) -> Engine:
        return engine  # the connections are in SQLite's own autocommit mode

    def cells(
        self, connection: Any, sql: str, values: object, rows_at_once: int, stop: Callable[[], bool] | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        stopped: list[bool] = []

        def asked() -> bool:
            if stop is not None and stop():
                stopped.append(True)
            return bool(stopped)

        connection.text_factory = bytes
        if stop is not None:
            connection.set_progress_handler(asked, _STEPS_UNTIL_ASKED)
        cursor = connection.cursor()
        try:
            cursor.execute(sql, values)
            while rows := cursor.fetchmany(rows_at_once):
                yield rows
        except sqlite3.OperationalError as error:
            # An error inside `stop` interrupts too, and is none of the ways to end well.
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_INTERRUPT or not stopped:
                raise
        finally:
            cursor.close()
            connection.set_progress_handler(None, 0)
            connection.text_factory = decoded

    def lookup(self, table: str, key: str) -> Lookup:
        return Lookup(self._open("rw"), f"SELECT 1 FROM {table} WHERE {key} = ?")

    def begin(self, cursor: Any) -> None:
        # SQLite waits for another writer by looking again after longer and longer pauses; the kernel hands over.
        if self._turns < 0:
            self._turns = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._turns, fcntl.LOCK_EX)
        cursor.execute("BEGIN IMMEDIATE")

    def ended(self) -> None:
        if self._turns >= 0:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def others_version(self, cursor: Any) -> object:
        return cursor.execute("PRAGMA data_version").fetchone()

    def checkpoint(self) -> None:
        if self._checkpointing.acquire(blocking=False):
            threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True).start()

    def _checkpoint(self) -> None:
        try:
            # What cannot be copied now is copied the next time.
            with contextlib.suppress(sqlite3.Error), contextlib.closing(self._open("rw")) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            self._checkpointing.release()

    def check(self) -> None:
        self._refuse_network()
        if not self.path.is_file():
            raise DatabaseMissing(
                f"{self.place} does not exist yet; the server makes it when it starts, as does dgate -i"
            )

    def after_writing(self) -> None:
        if self._turns >= 0:
            os.close(self._turns)
            self._turns = -1
        # What cannot be folded in now stays in the log, which is read when the file is opened next.
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._open("rw")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open_for_writing(self) -> sqlite3.Connection:
        self._refuse_network()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"{self.place}: its directory cannot be made: {error.strerror}") from error
        connection = self._open("rwc")
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute("PRAGMA wal_autocheckpoint = 16000")  # should `checkpoint` not keep up
            self._run_startup(connection)
        except (sqlite3.Error, DatabaseError):
            connection.close()
            raise
        return connection

    def _run_startup(self, connection: sqlite3.Connection) -> None:
        for statement in self._startup:
            try:
                connection.execute(statement).close()
            except sqlite3.Error as error:
                raise DatabaseError(f"SQLiteStartup in dicom.ini: {statement}: {first_line(error)}") from None

    def _open(self, mode: str) -> sqlite3.Connection:
        file = f"file:{quote(str(self.path))}?mode={mode}"
        connection = sqlite3.connect(
            file, uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = decoded
        connection.create_function("dgate_regex", 2, _regex, deterministic=True)
        connection.create_function("dgate_name_regex", 2, _name_regex, deterministic=True)
        return connection

    def _refuse_network(self) -> None:
        kind = network_file_system(self.path)
        if kind:
            raise DatabaseError(
                f"{self.place} is on a network file system ({kind}), where SQLite loses data; "
                "put SQLServer on a local disk, or use PostGres = 1"
            )

    def select_read_only(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with self.our_errors(), contextlib.closing(self._open("ro")) as connection:
            connection.execute("PRAGMA query_only = ON")
            deadline = time.monotonic() + QUERY_TIMEOUT_S
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            connection.set_authorizer(_only_reading)
            try:
                yield from connection.execute(sql)
            except (sqlite3.Error, sqlite3.Warning) as error:
                code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
                if code in _NOT_THE_QUERY:
                    raise
                if code == sqlite3.SQLITE_INTERRUPT:
                    raise QueryRefused(f"the query took more than {QUERY_TIMEOUT_S} s") from None
                raise QueryRefused(f"the query cannot be run: {first_line(error)}") from None

    # Errors

    def may_retry(self, error: Exception) -> bool:
        return False  # one writer at a time: nobody can have come in between

    def translate(self, error: Exception) -> DatabaseError:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return DatabaseLocked(f"{self.place} has been locked by another program for {LOCK_TIMEOUT_S} s")
        if code == sqlite3.SQLITE_FULL:
            return DatabaseFull(f"{self.place}: the disk is full")
        if code == sqlite3.SQLITE_CANTOPEN and not self.path.exists():
            return DatabaseMissing(f"{self.place} does not exist; start the server or run dgate -i")
        causes = {
            sqlite3.SQLITE_READONLY: "is read-only for this user; change its owner or rights, and its directory's",
            sqlite3.SQLITE_CANTOPEN: "cannot be opened; check its directory's rights",
            sqlite3.SQLITE_CORRUPT: "is damaged; restore it, or make it anew with dgate -r",
            sqlite3.SQLITE_NOTADB: "is no SQLite database; check SQLServer in dicom.ini",
            sqlite3.SQLITE_PERM: "may not be opened by this user; change its owner or rights",
        }
        return DatabaseError(f"{self.place} {causes[code]}" if code in causes else f"{self.place}: {first_line(error)}")

    # SQL

    def name(self, name: str) -> str:
        return quoted_name(name, quote=name.lower() in _RESERVED)

    def stored(self, text: str | None) -> str | bytes | None:
        if text is None or not self._latin1 or text.isascii():
            return text
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            return text

    def text_parameter(self, name: str) -> Column:
        parameter = bindparam(name, type_=NULLTYPE)
        # Bytes become text of those bytes; text stays as it is.
        return sql_cast(parameter, Text) if self._latin1 else parameter

    def key_parameter(self, column: Column) -> Condition:
        latin1 = sql_cast(bindparam("key_latin1", type_=NULLTYPE), Text)
        return column.in_([bindparam("key", type_=NULLTYPE), latin1])

    def key_values(self, text: str) -> dict[str, str | bytes]:
        # Also the row that was written in the other encoding.
        try:
            return {"key": text, "key_latin1": text.encode("latin-1")}
        except UnicodeEncodeError:
            return {"key": text, "key_latin1": text}

    def name_index(self, stem: str, table: str, column: str, key: str) -> tuple[tuple[str, str], ...]:
        # The key makes it covering, so that the search for "=" reads the index alone. Nothing newer than
        # SQLite 3.8: the one inside ConQuest must still be able to open the file.
        return ((stem, f"{table}({column} COLLATE NOCASE, {key})"),)

    def grouped_names(self, groups: str, table: str, column: str, key: str) -> tuple[str, ...]:
        # Triggers, so that what ConQuest enters is kept too. A key whose name has changed since does no harm.
        keep = f"WHEN instr(NEW.{column}, '=') > 0 BEGIN INSERT OR IGNORE INTO {groups} VALUES (NEW.{key}); END"
        return (
            f"CREATE TABLE IF NOT EXISTS {groups} (name_key varchar(64) PRIMARY KEY not null)",
            f"CREATE TRIGGER IF NOT EXISTS {groups}_new AFTER INSERT ON {table} {keep}",
            f"CREATE TRIGGER IF NOT EXISTS {groups}_set AFTER UPDATE OF {column} ON {table} {keep}",
            f"INSERT OR IGNORE INTO {groups} SELECT {key} FROM {table} WHERE instr({column}, '=') > 0",
        )

    def read(self, column: Column, *, date: bool) -> Column:
        return column

    def one_of(self, column: Column, texts: list[str]) -> Condition:
        plain = [text for text in texts if text.isascii()]
        conditions: list[Condition] = []
        if len(plain) == 1:
            conditions.append(column == bound(plain[0]))
        elif plain:
            values = func.json_each(bound(json.dumps(plain))).table_valued("value")
            conditions.append(column.in_(select(values.c.value)))
        for text in texts:
            if not text.isascii():
                conditions.append(column == bound(text))
                with contextlib.suppress(UnicodeEncodeError):
                    # A row of ConQuest's, whose text is Latin-1.
                    conditions.append(column == sql_cast(bound(text.encode("latin-1")), Text))
        return or_(false(), *conditions)

    def like(self, column: Column, pattern: str) -> Condition:
        return column.like(bound(pattern), escape="\\")

    def same_letters(self, column: Column, text: str) -> Condition:
        return collate(column, "NOCASE") == bound(text)

    def begins(self, column: Column, prefix: str) -> Condition:
        folded = collate(column, "NOCASE")
        return (folded >= bound(prefix)) & (folded < bound(behind(prefix)))

    def holds(self, column: Column, text: str) -> Condition:
        return func.instr(column, bound(text)) > literal_column("0")

    def regex(self, column: Column, pattern: str) -> Condition:
        return self._found("dgate_regex", column, pattern)

    def name_regex(self, column: Column, pattern: str) -> Condition:
        return self._found("dgate_name_regex", column, pattern)

    def _found(self, function: str, column: Column, pattern: str) -> Condition:
        # As bytes: a function that is handed text fails on ConQuest's Latin-1.
        found: Condition = getattr(func, function)(bound(pattern), sql_cast(column, LargeBinary)) == literal_column("1")
        if pattern.isascii():
            return found
        # What is not ASCII in a pattern must be in the value: SQLite itself sorts out most rows.
        return column.op("GLOB", is_comparison=True)(literal_column("'*[^ -~]*'")) & found

    def number(self, column: Column) -> Column:
        return func.coalesce(sql_cast(func.trim(column), Integer), literal_column("0"))

    def in_order(self, column: Column) -> Column:
        return column

    def joined(self, column: Column) -> Column:
        # With DISTINCT it takes no separator of one's own; neither UIDs nor modalities have commas.
        return func.replace(func.group_concat(distinct(column)), literal_column("','"), literal_column("'\\'"))


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL; SQLite's own wait for locks does not cover this statement."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return  # where the file system cannot do it SQLite keeps the journal it has
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _regex(pattern: str, value: bytes | None) -> bool | None:
    return None if value is None else _compiled(pattern)(decoded(value)) is not None


def _name_regex(pattern: str, value: bytes | None) -> bool | None:
    return None if value is None else _compiled(pattern)(name_form(decoded(value))) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(pattern, re.DOTALL).search


def _only_reading(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Authorize what a SELECT over our own tables needs; `db.raw` has looked at its words before."""
    if action == sqlite3.SQLITE_SELECT:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ and first is not None and not first.lower().startswith("sqlite_"):
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() != "load_extension":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
