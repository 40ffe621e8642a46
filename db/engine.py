"""Choosing and opening the database of a site; transactions on it."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ClauseElement, Connection, Executable, PoolProxiedConnection

from db.backend import LOCK_TIMEOUT_S, Backend, first_line
from db.errors import DatabaseError, DatabaseLocked, Refused
from db.postgresql import PostgresBackend
from db.settings import DbSettings
from db.sqlite import SqliteBackend

_DEFAULT_FILE = "data/dbase/conquest.db3"
_ATTEMPTS = 3
# How many transactions may pass until what they logged is copied to its place.
_CHECKPOINT_EVERY = 1000
_T = TypeVar("_T")
Row = tuple[Any, ...]


def choose_backend(settings: DbSettings, base: Path, durability: str) -> Backend:
    """Return the database that dicom.ini names; DatabaseError says how to leave one that we do not drive."""
    drivers = [key for key in ("SqLite", "PostGres", "MySQL") if getattr(settings, key)]
    if len(drivers) > 1:
        raise DatabaseError(f"dicom.ini: {' and '.join(drivers)} are 1; choose one database")
    move = "set SqLite = 1 or PostGres = 1 and make the index from the stored files: dgate -r"
    if settings.MySQL:
        raise DatabaseError(f"dicom.ini: MySQL is not supported; {move}")
    if settings.PostGres:
        if not settings.SQLServer:
            raise DatabaseError("dicom.ini: PostGres = 1 needs the database name in SQLServer")
        return PostgresBackend(settings)
    if not drivers and settings.SQLServer:
        kind = "the DBF driver" if (base / settings.SQLServer).is_dir() else "ODBC"
        raise DatabaseError(f"dicom.ini: no driver flag means {kind}, which is not supported; {move}")
    return SqliteBackend(settings, (base / (settings.SQLServer or _DEFAULT_FILE)).absolute(), durability)


class Prepared:
    """A statement compiled once for its database and run on the driver's own cursor, for the paths that are hot."""

    __slots__ = ("_positional", "_sql", "names")

    def __init__(self, statement: ClauseElement, database: "Database", behind: str = "") -> None:
        """Compile it, with `behind` at its end."""
        compiled = statement.compile(dialect=database.dialect)
        self._sql = str(compiled) + behind
        names: list[str] | None = getattr(compiled, "positiontup", None)
        self.names: tuple[str, ...] = tuple(names or compiled.params)
        # One name more than there are: with a single one an itemgetter would not return a tuple.
        self._positional = itemgetter(*names, names[0]) if names else None

    def run(self, cursor: Any, values: Mapping[str, object]) -> None:
        cursor.execute(self._sql, values if self._positional is None else self._positional(values)[:-1])

    def run_many(self, cursor: Any, rows: Sequence[tuple[object, ...]]) -> None:
        """Run it once for each row of values in the order of `names`."""
        named = rows if self._positional is not None else [dict(zip(self.names, row, strict=True)) for row in rows]
        cursor.executemany(self._sql, named)


class Session:
    """One transaction that writes; `number` counts those of its `Database`, the failed ones too."""

    __slots__ = ("_backend", "_cursor", "number")

    def __init__(self, cursor: Any, backend: Backend, number: int) -> None:
        self._cursor = cursor
        self._backend = backend
        self.number = number

    def others_version(self) -> object:
        """Return what is another value once some other connection has written; None when that cannot be told."""
        return self._backend.others_version(self._cursor)

    def rows(self, statement: Prepared, values: Mapping[str, object]) -> list[Row]:
        statement.run(self._cursor, values)
        found: list[Row] = self._cursor.fetchall()
        return found

    def change(self, statement: Prepared, values: Mapping[str, object]) -> int:
        """Run an INSERT, UPDATE or DELETE; return how many rows it touched."""
        statement.run(self._cursor, values)
        touched: int = self._cursor.rowcount
        return touched

    def change_many(self, statement: Prepared, rows: Sequence[tuple[object, ...]]) -> int:
        """Run a statement once for each row of values in the order of its names; return how many rows were touched."""
        statement.run_many(self._cursor, rows)
        touched: int = self._cursor.rowcount
        return touched

    def execute(self, sql: str) -> list[Row]:
        """Run a statement made of names alone, such as a CREATE TABLE; return its rows if it has any."""
        self._cursor.execute(sql)
        return [] if self._cursor.description is None else list(self._cursor.fetchall())

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside when it raises; a value that the database cannot take raises Refused."""
        self._cursor.execute("SAVEPOINT one_row")
        try:
            yield
        except self._backend.bad_value as error:
            self._cursor.execute("ROLLBACK TO SAVEPOINT one_row")
            raise Refused(f"***Error saving to SQL: {first_line(error)}") from None
        except Refused:
            self._cursor.execute("ROLLBACK TO SAVEPOINT one_row")
            raise
        self._cursor.execute("RELEASE SAVEPOINT one_row")


class Database:
    """The open database: any number of readers, one writer at a time.

    Threads share one. Processes do not: open it in the process that uses it, after any fork.
    Nothing is opened before the first use.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._readers = backend.reader()
        self._single = backend.without_transactions(self._readers)
        self._writers = backend.writer()
        self._turn = threading.Lock()
        self._connection: PoolProxiedConnection | None = None
        self._cursor: Any = None
        self._transactions = 0
        self._has_written = False
        # Called before anything is read or written: what was handed over is to be seen.
        self.settle: Callable[[], None] = _nothing
        self.dialect = self._readers.dialect

    def written(self, name: str) -> str:
        """Return a table or column name of dicom.sql as it stands in SQL text."""
        return self.dialect.identifier_preparer.quote(self.backend.name(name))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for single SELECTs, each of which sees one consistent state."""
        self.settle()
        with self.looking() as connection:
            yield connection

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """Do what `reading` does without what was handed over: for those who enter that."""
        with self.backend.our_errors(), self._single.connect() as connection:
            yield connection

    def stream(self, statement: Executable, rows_at_once: int = 500) -> Iterator[Row]:
        """Run a SELECT and yield its rows, holding no more than `rows_at_once` of them."""
        self.settle()
        with (
            self.backend.our_errors(),
            self._readers.connect() as connection,
            connection.execution_options(yield_per=rows_at_once).execute(statement) as result,
        ):
            for part in result.partitions():
                yield from part

    def cells(
        self, sql: str, values: object, rows_at_once: int, stop: Callable[[], bool] | None = None
    ) -> Iterator[list[Row]]:
        """Run the text of a SELECT and yield its rows, some at a time, with text as the bytes that are stored."""
        self.settle()
        with self.backend.our_errors():
            connection = self._readers.raw_connection()
            try:
                yield from self.backend.cells(connection.driver_connection, sql, values, rows_at_once, stop)
            finally:
                connection.close()

    def select_read_only(self, sql: str) -> Iterator[Row]:
        """Run one SELECT that a person typed, able to read but to change nothing, bounded in time."""
        self.settle()
        return self.backend.select_read_only(sql)

    def write(self, work: Callable[[Session], _T]) -> _T:
        """Run `work` in one transaction that no other writer, in any process, runs beside.

        `work` may be run again when another program got in between, so it must do nothing but
        database work. Any exception undoes everything.
        """
        self.settle()
        return self.enter(work)

    def enter(self, work: Callable[[Session], _T]) -> _T:
        """Do what `write` does without what was handed over: for those who enter that."""
        if not self._turn.acquire(timeout=LOCK_TIMEOUT_S):
            raise DatabaseLocked(f"{self.backend.place} has been busy for {LOCK_TIMEOUT_S} s")
        try:
            with self.backend.our_errors():
                for _ in range(_ATTEMPTS - 1):
                    try:
                        return self._transaction(work)
                    except self.backend.driver_error as error:
                        if not self.backend.may_retry(error):
                            raise
                return self._transaction(work)
        finally:
            self._turn.release()

    def _transaction(self, work: Callable[[Session], _T]) -> _T:
        connection, cursor = self._writing()
        self._transactions += 1
        try:
            self.backend.begin(cursor)
            result = work(Session(cursor, self.backend, self._transactions))
            connection.commit()
        except BaseException:
            self._transactions += 1
            self._give_up()
            raise
        finally:
            self.backend.ended()
        if not self.backend.keeps_connection:
            self._give_back()
        if self._transactions % _CHECKPOINT_EVERY == 0:
            self.backend.checkpoint()
        return result

    def _writing(self) -> tuple[PoolProxiedConnection, Any]:
        """Return the connection that writes, and its cursor; they stay open from one transaction to the next."""
        if self._connection is None:
            self._connection = self._writers.raw_connection()
            self._cursor = self._connection.cursor()
            self._has_written = True
        return self._connection, self._cursor

    def _give_up(self) -> None:
        """Undo the transaction; the pool looks at whether the connection still is one."""
        assert self._connection is not None, "a transaction has a connection"
        try:
            self._connection.rollback()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._cursor.close()
            connection.close()

    def close(self) -> None:
        """Close all connections and leave the database as a single file at rest; the next use opens it again."""
        with self._turn:
            self._give_back()
        self._readers.dispose()
        self._writers.dispose()
        if self._has_written:
            self.backend.after_writing()
            self._has_written = False


def _nothing() -> None:
    """Nothing is handed over."""
