"""What SQLite and PostgreSQL must offer alike, and the one place where driver errors become ours."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, bindparam, exc
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.errors import BadValue, DatabaseError, DatabaseLocked

Condition = ColumnElement[bool]
Column = ColumnElement[Any]

LOCK_TIMEOUT_S = 30
QUERY_TIMEOUT_S = 60


def bound(value: object) -> Column:
    """Return a bound parameter without a type, so that PostgreSQL takes the column's own and uses its index."""
    return bindparam(None, value, type_=NULLTYPE, unique=True)


class Lookup:
    """A kept connection of a driver and one SELECT on it, which leaves nothing open behind it.

    For one thread at a time; its errors are the driver's.
    """

    def __init__(self, connection: Any, sql: str) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._sql = sql

    def __call__(self, key: str) -> bool:
        """Whether there is a row of that key."""
        return bool(self._cursor.execute(self._sql, (key,)).fetchall())

    def close(self) -> None:
        self._connection.close()


class Backend(ABC):
    """One database: how it is opened, its errors in our words, and the SQL that differs between databases.

    The SQL means the same on both: text compares by code point, and case by `db.wildcard.variants`.
    """

    database_type: str
    file: Path | None = None
    atomic_groups: bool
    keeps_connection = False  # whether a connection stays good between two transactions, however long that is
    place: str
    driver_error: type[Exception]
    bad_value: tuple[type[Exception], ...]  # what the driver raises for a value that does not fit

    @abstractmethod
    def reader(self) -> Engine: ...

    @abstractmethod
    def writer(self) -> Engine: ...

    @abstractmethod
    def without_transactions(self, engine: Engine) -> Engine:
        """Return the same pool for single SELECTs, which need no transaction around them."""

    @abstractmethod
    def cells(
        self, connection: Any, sql: str, values: object, rows_at_once: int, stop: Callable[[], bool] | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Run a SELECT on a driver's connection that nobody else uses, and yield its rows, some at a time.

        Text comes as the bytes that are stored. `stop` is asked now and then, True ends early.
        """

    @abstractmethod
    def lookup(self, table: str, key: str) -> Lookup:
        """Open a connection of its own that tells whether a table has a row of some key, as cheaply as can be."""

    @abstractmethod
    def begin(self, cursor: Any) -> None:
        """Open a transaction on a driver's cursor that keeps all other writers out until it ends."""

    def ended(self) -> None:
        """Let the writers of other processes have their turn; called at the end of what `begin` began, however."""
        return

    def others_version(self, cursor: Any) -> object:
        """Return, inside a transaction, what differs once another connection has written; None if that is unknown."""
        return None

    def checkpoint(self) -> None:
        """Bring what was written to its place in the background, so that no transaction has to wait for that."""
        return

    @abstractmethod
    def translate(self, error: Exception) -> DatabaseError:
        """Return our exception for one of the driver's; its message quotes no values."""

    @abstractmethod
    def may_retry(self, error: Exception) -> bool:
        """Tell whether the same transaction may succeed when it is run again from its start."""

    @abstractmethod
    def after_writing(self) -> None:
        """Bring the database to rest when this process, which has written, does not use it any more."""

    @abstractmethod
    def check(self) -> None:
        """Raise DatabaseError when there is no database to look at; creates nothing."""

    @abstractmethod
    def select_read_only(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Run one SELECT that a person typed, able to read but to change nothing, bounded in time."""

    @abstractmethod
    def name(self, name: str) -> str:
        """Return a name from dicom.sql as SQLAlchemy shall write it, so that it is ConQuest's."""

    @abstractmethod
    def stored(self, text: str | None) -> str | bytes | None:
        """Return a text as it is handed to the driver for storing."""

    @abstractmethod
    def text_parameter(self, name: str) -> Column:
        """Return the parameter of an INSERT or UPDATE that takes what `stored` returns."""

    @abstractmethod
    def key_parameter(self, column: Column) -> Condition:
        """Return: the column equals what `key_values` is given, for a statement that is prepared once."""

    @abstractmethod
    def key_values(self, text: str) -> dict[str, str | bytes]: ...

    @abstractmethod
    def name_index(self, stem: str, table: str, column: str, key: str) -> tuple[tuple[str, str], ...]:
        """Return name and text behind ON of the indices that make `begins` and `holds` "=" fast on person names."""

    def grouped_names(self, groups: str, table: str, column: str, key: str) -> tuple[str, ...]:
        """Return statements that keep the keys of names with several component groups; none where an index does that.

        They may be run again.
        """
        return ()

    @abstractmethod
    def read(self, column: Column, *, date: bool) -> Column:
        """Return the column as it is selected: text, without padding."""

    @abstractmethod
    def one_of(self, column: Column, texts: list[str]) -> Condition:
        """Return: the column equals one of the texts, however many they are."""

    @abstractmethod
    def like(self, column: Column, pattern: str) -> Condition:
        r"""Return: an ASCII LIKE pattern, escaped by ``\``, matches without regard to case."""

    @abstractmethod
    def same_letters(self, column: Column, text: str) -> Condition:
        """Return: equal to an ASCII text but for case."""

    @abstractmethod
    def begins(self, column: Column, prefix: str) -> Condition:
        """Return: begins with a lower-case ASCII text but for case, perhaps with some more rows, by the name index."""

    @abstractmethod
    def holds(self, column: Column, text: str) -> Condition:
        """Return: the text is somewhere in the column, case and all."""

    @abstractmethod
    def regex(self, column: Column, pattern: str) -> Condition:
        """Return: the pattern is found in the column; `atomic_groups` says which patterns of `db.wildcard` it takes."""

    @abstractmethod
    def name_regex(self, column: Column, pattern: str) -> Condition:
        """Return: the pattern is found in `db.wildcard.name_form` of the column."""

    @abstractmethod
    def number(self, column: Column) -> Column:
        """Return the whole number that a text begins with, 0 when there is none: for sorting."""

    @abstractmethod
    def in_order(self, column: Column) -> Column:
        """Return what to sort by so that texts come by code point, missing ones first."""

    @abstractmethod
    def joined(self, column: Column) -> Column:
        """Return the aggregate that joins the different texts with backslashes."""

    @contextmanager
    def our_errors(self) -> Iterator[None]:
        """Raise what the driver or SQLAlchemy raise inside as DatabaseError or DatabaseLocked.

        Not chained to the original, whose text may quote a row ("Key (patientid)=(...) exists").
        """
        try:
            yield
        except exc.DBAPIError as error:
            raise (self.translate(error.orig) if isinstance(error.orig, Exception) else _unknown(error)) from None
        except exc.TimeoutError:
            raise DatabaseLocked(f"{self.place}: all connections have been busy for {LOCK_TIMEOUT_S} s") from None
        except exc.SQLAlchemyError as error:
            raise _unknown(error) from None
        except self.bad_value as error:
            raise BadValue(f"{self.place}: {first_line(error)}") from None
        except self.driver_error as error:
            raise self.translate(error) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; PostgreSQL puts values into the others."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def behind(prefix: str) -> str:
    """Return the least text behind all that begin with an ASCII text."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def decoded(raw: bytes) -> str:
    """Read what is stored: UTF-8, or else Latin-1, in which ConQuest writes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _unknown(error: exc.SQLAlchemyError) -> DatabaseError:
    return DatabaseError(f"database: {first_line(error)}")
