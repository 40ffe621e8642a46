"""The rows of a query as the database has them, and statements that are made once for all queries of one shape."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from db.backend import decoded
from db.computed import IN_STUDY
from db.engine import Database
from db.matching import Likeness, likeness
from db.query import Planner, Query
from db.schema import Column, TagPath
from db.tables import LiveTables

# A cell as it is stored: text in UTF-8, or Latin-1 where ConQuest wrote it, a computed number, or nothing.
Cell = bytes | int | None
Rows = Sequence[tuple[Cell, ...]]

# How many rows are handed on at a time: enough to be worth a send, few enough to hold and to notice a C-CANCEL between.
ROWS_AT_ONCE = 200
# Queries of as many shapes are remembered; a peer that asks in ever new ways makes them forgotten, no more.
_MOST_SHAPES = 256

_Values = tuple[object, ...] | Mapping[str, object]
_Shape = tuple[object, ...]


def text_of(cell: Cell) -> str:
    """Return a cell as text, "" for nothing."""
    return decoded(cell) if isinstance(cell, bytes) else "" if cell is None else str(cell)


@dataclass(frozen=True, slots=True)
class Matches:
    """What a query found: the elements that the first cells of each row hold, and the rows, some at a time."""

    paths: tuple[TagPath, ...]
    rows: Iterator[Rows]


@dataclass(frozen=True, slots=True)
class _Statement:
    """SQL text, its parameters, and which of these are texts of keys: parameter -> (number of the key, of its text)."""

    sql: str
    values: Mapping[str, object]
    from_keys: Mapping[str, tuple[int, int]]
    positions: Sequence[str] | None
    paths: tuple[TagPath, ...]

    def filled(self, texts: Sequence[Sequence[str]]) -> _Values:
        """The parameters with the texts of other keys of the same kinds."""
        values = dict(self.values)
        for name, (key, number) in self.from_keys.items():
            values[name] = texts[key][number]
        return values if self.positions is None else tuple([values[name] for name in self.positions])


class Finder:
    """Runs the queries of C-FIND in one database."""

    def __init__(self, database: Database, tables: LiveTables, planner: Planner) -> None:
        self._database = database
        self._tables = tables
        self._planner = planner
        self._statements: dict[_Shape, _Statement] = {}

    def find(self, query: Query, stop: Callable[[], bool] | None) -> Matches:
        """Return the matches; QueryRefused at once. `stop` is asked now and then, also between two rows: True ends."""
        likenesses = self._likenesses(query)
        if likenesses is None:
            statement = self._made(query)
            values = statement.filled(())
        else:
            statement = self._remembered(query, likenesses)
            values = statement.filled([each.texts for each in likenesses])
        return Matches(statement.paths, self._database.cells(statement.sql, values, ROWS_AT_ONCE, stop))

    def objects(self, query: Query) -> Iterator[Rows]:
        """Return the rows of `Planner.objects`."""
        compiled = self._planner.objects(query).compile(dialect=self._database.dialect)
        made = _Statement(str(compiled), compiled.params, {}, getattr(compiled, "positiontup", None), ())
        return self._database.cells(made.sql, made.filled(()), ROWS_AT_ONCE)

    def _likenesses(self, query: Query) -> list[Likeness] | None:
        """Return how each key compares; None when the query is one of a kind."""
        if query.limit is not None or query.offset or query.combined_datetime:
            return None
        found = []
        for path, key in query.keys.items():
            column = self._column(path, query.level)
            if column is None and path in IN_STUDY:
                return None
            like = Likeness("any") if column is None else likeness(column, key, atomic=self._atomic)
            if like is None:
                return None
            found.append(like)
        return found

    def _column(self, path: TagPath, level: str) -> Column | None:
        found = self._tables.schema.find(path, level)
        return None if found is None else found[1]

    @property
    def _atomic(self) -> bool:
        return self._database.backend.atomic_groups

    def _remembered(self, query: Query, likenesses: Sequence[Likeness]) -> _Statement:
        kinds = tuple([like.kind for like in likenesses])
        shape = (query.level, tuple(query.keys), kinds, frozenset(query.wanted), query.sort)
        statement = self._statements.get(shape)
        if statement is None:
            if len(self._statements) >= _MOST_SHAPES:
                self._statements.clear()
            statement = self._statements[shape] = self._made_for_all(query, likenesses)
        return statement

    def _made_for_all(self, query: Query, likenesses: Sequence[Likeness]) -> _Statement:
        """Make the statement with keys that stand for any of their kind, and see where their texts come to stand."""
        samples = {
            path: like.sample(number) for number, (path, like) in enumerate(zip(query.keys, likenesses, strict=True))
        }
        made = self._made(replace(query, keys=samples))
        places: dict[object, tuple[int, int]] = {}
        for number, (path, sample) in enumerate(samples.items()):
            column = self._column(path, query.level)
            like = None if column is None else likeness(column, sample, atomic=self._atomic)
            for place, text in enumerate(like.texts if like else ()):
                places[text] = (number, place)
        from_keys = {name: places[value] for name, value in made.values.items() if value in places}
        assert set(from_keys.values()) == set(places.values()), "every text of a key is a parameter"
        return replace(made, from_keys=from_keys)

    def _made(self, query: Query) -> _Statement:
        plan = self._planner.find(query)
        compiled = plan.statement.compile(dialect=self._database.dialect)
        positions: list[str] | None = getattr(compiled, "positiontup", None)
        return _Statement(str(compiled), compiled.params, {}, positions, plan.paths)
