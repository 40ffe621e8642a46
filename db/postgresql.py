"""The index in a PostgreSQL database, through psycopg 3."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    BigInteger,
    Engine,
    QueuePool,
    Text,
    any_,
    bindparam,
    collate,
    create_engine,
    distinct,
    event,
    func,
    literal_column,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.engine import URL
from sqlalchemy.sql import quoted_name
from sqlalchemy.sql.sqltypes import NULLTYPE

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
from db.errors import DatabaseError, DatabaseFull, DatabaseLocked, QueryRefused
from db.settings import DbSettings

if TYPE_CHECKING:
    import psycopg

# What writers of one index take turns on; any number does that all of them know.
_WRITER_LOCK = 0x64676174
_CONNECT_TIMEOUT_S = 10
_LOCKED = ("55P03", "40P01", "40001")  # lock not available, deadlock, serialization failure
_RETRY = ("40P01", "40001", "23505")  # the last: ConQuest inserted the same key meanwhile
_TEXT_TYPES = ("text", "varchar", "bpchar", "name", '"char"')
_NO_ROOM = ("53100", "53200")


class PostgresBackend(Backend):
    """A PostgreSQL database that exists already; `SQLHost` is host, host:port, or the directory of a socket.

    In one with encoding SQL_ASCII, where ConQuest may have written Latin-1, such text is read but not matched by keys
    that are not ASCII, and ``?`` stands for a byte.
    """

    database_type = "PostgreSQL driver"
    atomic_groups = False

    def __init__(self, settings: DbSettings) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise DatabaseError(
                f"PostGres = 1 in dicom.ini needs psycopg ({error}); install it: pip install 'dgate[postgresql]'"
            ) from None
        self._psycopg = psycopg
        self.driver_error = psycopg.Error
        self.bad_value = (psycopg.DataError, UnicodeEncodeError)
        self._startup = settings.PostGreSQLStartup.strip()
        self._connection = {
            **_host_and_port(settings.SQLHost),
            "dbname": settings.SQLServer,
            "user": settings.Username,
            "password": settings.Password,
            "client_encoding": "UTF8",
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": "dgate",
        }
        self.place = f"database {settings.SQLServer} on {settings.SQLHost}"

    # How it is opened

    def reader(self) -> Engine:
        return self._engine(pool_size=8, max_overflow=32)

    def writer(self) -> Engine:
        return self._engine(pool_size=1, max_overflow=0)

    def _engine(self, **pool: int) -> Engine:
        engine = create_engine(
            URL.create("postgresql+psycopg"),
            connect_args=self._connection,
            poolclass=QueuePool,
            pool_timeout=LOCK_TIMEOUT_S,
            pool_pre_ping=True,
            **pool,
        )
        event.listen(engine, "connect", self._prepare)
        return engine

    def _prepare(self, connection: "psycopg.Connection[Any]", _record: object) -> None:
        _read_any_encoding(connection)
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {round(LOCK_TIMEOUT_S * 1000)}".encode())
            if self._startup:
                try:
                    cursor.execute(self._startup.encode())
                except self._psycopg.Error as error:
                    raise DatabaseError(f"PostGreSQLStartup in dicom.ini: {first_line(error)}") from None
        connection.commit()

    def without_transactions(self, engine: Engine) -> Engine:
        return engine.execution_options(isolation_level="AUTOCOMMIT")

    def cells(
        self, connection: Any, sql: str, values: Any, rows_at_once: int, stop: Callable[[], bool] | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        from psycopg.adapt import Loader

        class Stored(Loader):
            def load(self, data: "bytes | bytearray | memoryview") -> bytes:
                return bytes(data)

        with connection.cursor(name="dgate_cells") as cursor:
            for kind in _TEXT_TYPES:
                cursor.adapters.register_loader(kind, Stored)
            cursor.execute(sql, values)
            while not (stop and stop()) and (rows := cursor.fetchmany(rows_at_once)):
                yield rows

    def lookup(self, table: str, key: str) -> Lookup:
        connection = self._psycopg.connect(**self._connection, autocommit=True)  # type: ignore[arg-type]
        return Lookup(connection, f"SELECT 1 FROM {table} WHERE {key} = %s")

    def begin(self, cursor: Any) -> None:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITER_LOCK,))

    def check(self) -> None:
        """Nothing to look at before connecting: that fails by itself, and makes nothing."""

    def after_writing(self) -> None:
        """PostgreSQL is at rest by itself."""

    def select_read_only(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with self.our_errors(), contextlib.closing(self._psycopg.connect(**self._connection)) as connection:  # type: ignore[arg-type]
            _read_any_encoding(connection)
            connection.commit()
            connection.read_only = True
            connection.execute(f"SET LOCAL statement_timeout = {round(QUERY_TIMEOUT_S * 1000)}".encode())
            try:
                # stream() uses the extended protocol, in which the server refuses a second statement.
                with connection.cursor() as cursor:
                    yield from cursor.stream(sql.encode())
            except self._psycopg.errors.QueryCanceled:
                raise QueryRefused(f"the query took more than {QUERY_TIMEOUT_S} s") from None
            except self._psycopg.Error as error:
                raise QueryRefused(f"the query cannot be run: {first_line(error)}") from None

    # Errors

    def may_retry(self, error: Exception) -> bool:
        return getattr(error, "sqlstate", None) in _RETRY

    def translate(self, error: Exception) -> DatabaseError:
        state = getattr(error, "sqlstate", None)
        if state in _LOCKED:
            return DatabaseLocked(f"{self.place} has been locked by another program for {LOCK_TIMEOUT_S} s")
        if state in _NO_ROOM:
            return DatabaseFull(f"{self.place}: no room: {first_line(error)}")
        if state is None and isinstance(error, self._psycopg.OperationalError):
            lines = str(error).strip().splitlines() or ["no answer"]
            return DatabaseError(f"{self.place} cannot be reached: {lines[-1].strip()}")
        if state == "25006":
            return DatabaseError(f"{self.place} is read-only")
        return DatabaseError(f"{self.place}: {first_line(error)}")

    # SQL

    def name(self, name: str) -> str:
        # ConQuest writes names without quotes, which PostgreSQL folds to lower case.
        return quoted_name(name.lower(), quote=None)

    def stored(self, text: str | None) -> str | bytes | None:
        return text

    def text_parameter(self, name: str) -> Column:
        return bindparam(name, type_=NULLTYPE)

    def key_parameter(self, column: Column) -> Condition:
        return column == bindparam("key", type_=NULLTYPE)

    def key_values(self, text: str) -> dict[str, str | bytes]:
        return {"key": text}

    def name_index(self, stem: str, table: str, column: str, key: str) -> tuple[tuple[str, str], ...]:
        return (
            (stem, f'{table}(lower({column} COLLATE "C"))'),
            (f"{stem}_groups", f"{table}({key}) WHERE strpos({column}, '=') > 0"),
        )

    def read(self, column: Column, *, date: bool) -> Column:
        # char(8) comes padded with blanks; as text it does not.
        return sql_cast(column, Text) if date else column

    def one_of(self, column: Column, texts: list[str]) -> Condition:
        return column == (bound(texts[0]) if len(texts) == 1 else any_(bound(texts)))

    def like(self, column: Column, pattern: str) -> Condition:
        return self._folded(column).like(bound(pattern.lower()), escape="\\")

    def same_letters(self, column: Column, text: str) -> Condition:
        return self._folded(column) == bound(text.lower())

    def begins(self, column: Column, prefix: str) -> Condition:
        return (self._folded(column) >= bound(prefix)) & (self._folded(column) < bound(behind(prefix)))

    def holds(self, column: Column, text: str) -> Condition:
        value = literal_column("'='") if text == "=" else bound(text)  # as it stands in the partial index
        return func.strpos(column, value) > literal_column("0")

    def regex(self, column: Column, pattern: str) -> Condition:
        return cast(Condition, collate(column, "C").op("~", is_comparison=True)(bound(pattern)))

    def name_regex(self, column: Column, pattern: str) -> Condition:
        trimmed = func.btrim(collate(column, "C"), literal_column("' '"))
        form = _replaced(_replaced(trimmed, " *([=^]) *"), r"\^+(=|$)")
        return cast(Condition, func.rtrim(form, literal_column("'='")).op("~", is_comparison=True)(bound(pattern)))

    def number(self, column: Column) -> Column:
        digits = func.substring(func.btrim(column), literal_column("'^[+-]?[0-9]{1,18}'"))
        return func.coalesce(sql_cast(digits, BigInteger), literal_column("0"))

    def in_order(self, column: Column) -> Column:
        return collate(column, "C")

    def joined(self, column: Column) -> Column:
        return func.string_agg(distinct(column), literal_column("'\\'"))

    def _folded(self, column: Column) -> Column:
        return func.lower(collate(column, "C"))


def _replaced(text: Column, pattern: str) -> Column:
    """Return the text with each match of a pattern reduced to its first group."""
    return func.regexp_replace(
        text, literal_column(f"'{pattern}'"), literal_column(r"'\1'"), literal_column("'g'"), type_=Text
    )


def _host_and_port(host: str) -> dict[str, str]:
    """Split SQLHost; a directory or an IPv6 address in brackets may have a port too."""
    name, colon, port = host.strip().rpartition(":")
    if not colon or not port.isdigit() or (":" in name and not name.endswith("]") and not name.startswith("/")):
        name, port = host.strip(), ""
    found = {"host": name.strip("[]")} if name else {}
    return found | ({"port": port} if port else {})


def _read_any_encoding(connection: "psycopg.Connection[Any]") -> None:
    """Read the text of a SQL_ASCII database, into which ConQuest writes raw bytes, as UTF-8 or else Latin-1."""
    if connection.info.parameter_status("server_encoding") != "SQL_ASCII":
        return
    from psycopg.adapt import Loader

    connection.execute("SET client_encoding = 'SQL_ASCII'")  # else the server refuses to send bytes that are no UTF-8

    class AnyEncoding(Loader):
        def load(self, data: "bytes | bytearray | memoryview") -> str:
            return decoded(bytes(data))

    for kind in _TEXT_TYPES:
        connection.adapters.register_loader(kind, AnyEncoding)
