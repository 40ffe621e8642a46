"""The rows of one transaction that enters objects, and what the next one may still know of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.sql.sqltypes import NULLTYPE

from db.backend import Column as SqlColumn
from db.engine import Database, Prepared, Session
from db.errors import LinkRefused
from db.fields import Fielded, Values
from db.schema import TagPath
from db.settings import DbSettings
from db.tables import LiveTable
from db.values import RowMaker

Cells = list[str | None]
# How many patients, studies and series are remembered from one transaction to the next.
_KNOWN_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it is stored; of an image also its place."""

    cells: Cells
    access_time: int | None
    place: tuple[str | None, ...]

    @property
    def link(self) -> str:
        return self.cells[-1] or ""


@dataclass(frozen=True, slots=True)
class Example:
    """What the last object of a series said above the image, the AccessTime it was entered at, and what it became.

    `linked` is what the row of its image repeats of that; `ids` are those of its patient, study and series.
    """

    above: Values
    now: int
    linked: tuple[Any, ...]
    ids: tuple[str, str, str]


class Known:
    """What the last transaction left above the images, good for the next as long as nobody else writes between them.

    `examples` has the last object of each series, by the UID as that said it.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = {}
        self.examples: dict[str | None, Example] = {}
        self._after = 0
        self._version: object = None

    def as_of(self, session: Session) -> Self:
        """Return this, emptied unless the transaction follows the one it was kept in."""
        version = session.others_version()
        follows = session.number == self._after + 1 and version == self._version and version is not None
        if not follows or len(self.rows) > _KNOWN_MOST:
            self.clear()
        self._version, self._after = version, 0
        return self

    def keep(self, session: Session) -> None:
        """Hold on to it behind a transaction; one that fails after all is followed by one of another number."""
        self._after = session.number

    def clear(self) -> None:
        self.rows.clear()
        self.examples.clear()


class Batch:
    """The objects of one transaction: rows above the image that one of them has seen are not read for the next.

    `waiting` are images that are entered together, with their rows.
    """

    def __init__(self, session: Session, levels: Mapping[str, Level], known: Known) -> None:
        self.session = session
        self.now = int(time.time()) & ~31  # as ConQuest keeps AccessTime
        self.waiting: list[tuple[Fielded, tuple[Any, ...]]] = []
        self._levels = levels
        self._known = known

    def example(self, series: str | None, above: Values) -> Example | None:
        """What became of the last object of the series, if that said the same: all but the image is there then."""
        example = self._known.examples.get(series)
        return example if example is not None and example.above == above and example.now == self.now else None

    def remember(self, series: str | None, example: Example | None) -> None:
        """Remember what was entered above the image; None for an object that there was something to say of."""
        if example is None:
            self._known.examples.pop(series, None)
        else:
            self._known.examples[series] = example

    def find(self, level: str, key: str) -> Row | None:
        known = self._known.rows.get((level, key))
        if known is None:
            known = self._levels[level].find(self.session, key)
            if known is not None and level != "IMAGE":
                self._known.rows[(level, key)] = known
        return known

    def put(
        self, level: str, values: Mapping[TagPath, str], before: Row | None, new: Fielded, warnings: list[str]
    ) -> Cells:
        cells = self._levels[level].put(self.session, values, before, self.now, warnings, new)
        if level != "IMAGE":
            if before is None or before.cells != cells or before.access_time != self.now:
                # Other series have said something else of this patient or study: their next object says it again.
                self._known.examples.clear()
            self._known.rows[(level, cells[0] or "")] = Row(cells, self.now, ())
        return cells

    def forget(self) -> None:
        self._known.clear()


class Level:
    """The rows of one table: find one by its key, enter or update one."""

    def __init__(self, database: Database, live: LiveTable, settings: DbSettings) -> None:
        backend = database.backend
        self.stored = backend.stored
        self._key_values = backend.key_values
        self._definition = live.definition
        self._maker = RowMaker(live.definition, settings)
        columns = [live.column(column) for column in live.definition.columns]
        self._width = len(columns)
        files = [live.own("DeviceName"), live.own("ObjectFile")] if live.definition.level == "IMAGE" else []
        read = [
            backend.read(column, date=definition.is_date)
            for column, definition in zip(columns, live.definition.columns, strict=True)
        ]
        same_key = backend.key_parameter(live.key)
        self._find = Prepared(select(*read, live.own("AccessTime"), *files).where(same_key), database)
        self.names = [f"c{number}" for number in range(self._width)]
        new_values: dict[SqlColumn, SqlColumn] = {
            column: backend.text_parameter(name) for name, column in zip(self.names, columns, strict=True)
        }
        new_values[live.own("AccessTime")] = bindparam("access_time", type_=NULLTYPE)
        for column, name in zip(files, ("device", "file"), strict=False):
            new_values[column] = backend.text_parameter(name)
        self._insert = Prepared(insert(live.sql).values(new_values), database)
        # Only a table that keeps keys unique can tell at once that a row is there.
        skip = " ON CONFLICT DO NOTHING"
        self.insert_new = Prepared(insert(live.sql).values(new_values), database, skip) if live.keyed else None
        self._update = Prepared(update(live.sql).where(same_key).values(new_values), database)

    def find(self, session: Session, key: str) -> Row | None:
        rows = session.rows(self._find, self._key_values(key))
        if not rows:
            return None
        if len(rows) > 1 and self._definition.level != "PATIENT":
            raise LinkRefused(f"***Duplicate found in {self._definition.name}: {self._definition.key.name} = '{key}'")
        cells = list(rows[0])
        return Row(cells[: self._width], cells[self._width], tuple(cells[self._width + 1 :]))

    def put(
        self,
        session: Session,
        values: Mapping[TagPath, str],
        before: Row | None,
        now: int,
        warnings: list[str],
        new: Fielded,
    ) -> Cells:
        """Enter a row, or bring the one that is there up to date; return its cells."""
        cells = self._maker.row(values, new.file, warnings)
        is_image = self._definition.level == "IMAGE"
        if before is not None and not is_image and before.cells == cells and before.access_time == now:
            return cells
        parameters = self._parameters(cells, now, new)
        if before is None:
            session.change(self._insert, parameters)
        else:
            session.change(self._update, parameters | self._key_values(cells[0] or ""))
        return cells

    def _parameters(self, cells: Cells, now: int, new: Fielded) -> dict[str, object]:
        parameters: dict[str, object] = dict(zip(self.names, map(self.stored, cells), strict=True))
        parameters["access_time"] = now
        if self._definition.level == "IMAGE":
            parameters["device"], parameters["file"] = self.stored(new.device), self.stored(new.file)
        return parameters

    def refusal(self, uid: str) -> str:
        table = self._definition
        return f"***Refused to enter inconsistent link {table.link.name} into {table.name}: {table.key.name} = '{uid}'"
