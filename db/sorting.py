"""Sort orders as dicom.ini and (9999,0c00) write them: columns, each perhaps with its table and a direction."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from db.backend import Backend
from db.backend import Column as SqlColumn
from db.errors import DatabaseError, QueryRefused
from db.schema import LEVELS
from db.settings import DbSettings
from db.tables import LiveTables

_ITEM = re.compile(r"\s*(?:(?P<table>\w+)\s*\.\s*)?(?P<column>\w+)(?:\s+(?P<direction>asc|desc))?\s*", re.IGNORECASE)
_WHOLE_NUMBERS = ("IS", "US", "UL")


@dataclass(frozen=True, slots=True)
class Order:
    """One column to sort by, and the level of its table; `kind` is text, digits (a number kept as text) or integer."""

    level: str
    column: SqlColumn
    kind: str = "text"
    descending: bool = False

    def expression(self, backend: Backend) -> SqlColumn:
        if self.kind == "integer":
            return self.column
        return backend.number(self.column) if self.kind == "digits" else backend.in_order(self.column)


def parse_order(text: str, level: str, tables: LiveTables) -> tuple[Order, ...]:
    """Read a sort order for queries at `level`; QueryRefused when it is anything but known columns.

    A column may be written in full or cut, and stands in the table of the level or of one above it.
    """
    return tuple(_order(item, level, tables) for item in text.split(",")) if text.strip() else ()


def default_orders(settings: DbSettings, tables: LiveTables) -> Mapping[str, tuple[Order, ...]]:
    """Read the four ...QuerySortOrder keys; DatabaseError names the one that is wrong."""
    orders = {}
    for level in LEVELS:
        key = f"{level.capitalize()}QuerySortOrder"
        try:
            orders[level] = parse_order(getattr(settings, key), level, tables)
        except QueryRefused as error:
            raise DatabaseError(f"dicom.ini: {key}: {error}") from error
    return orders


def _order(item: str, level: str, tables: LiveTables) -> Order:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise QueryRefused(f"{item.strip()!r} is no column to sort by")
    descending = (match["direction"] or "").lower() == "desc"
    name = match["column"].lower()
    for candidate in reversed(LEVELS[: LEVELS.index(level) + 1]):
        table = tables[candidate]
        if match["table"] and match["table"].lower() != table.definition.name.lower():
            continue
        definition = table.definition.by_name.get(name)
        if definition is not None:
            kind = "digits" if definition.vr in _WHOLE_NUMBERS else "text"
            return Order(candidate, table.column(definition), kind, descending)
        if name == "accesstime":
            return Order(candidate, table.own(name), "integer", descending)
    raise QueryRefused(f"{item.strip()!r} is no column to sort {level} queries by")
