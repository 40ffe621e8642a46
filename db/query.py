"""Queries of C-FIND and of the commands: from keys to one SELECT."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, exists, func, literal_column, select

from db.backend import Backend, Condition
from db.backend import Column as SqlColumn
from db.computed import COUNTS, IN_STUDY, PLACE, below, count_column, first_below, in_study_column
from db.datetimes import COMBINED
from db.errors import QueryRefused
from db.matching import combined_condition, key_condition
from db.schema import ACCESSION_NUMBER, LEVELS, PATIENT_NAME, SOP_CLASS, STUDY_DATE, Column, TagPath
from db.sorting import Order, parse_order
from db.tables import LiveTables
from db.wildcard import has_wildcard

_MOST_ROWS = 2**62  # numbers beyond are no numbers to a database


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for, and what of it to return.

    `keys` are the identifier's values as text, by element path; one that is empty or nothing but ``*`` restricts
    nothing, and neither does an element that the schema does not know. Keys of any level may be given at
    any level. `wanted` are the elements to return. `sort` is a column of the level or above it
    (``StudyDate``, ``DICOMStudies.StudyDate DESC``), as (9999,0c00) has it. With `combined_datetime` a date
    range and a time range are one range of moments (PS3.4 C.2.2.2.5.1).
    """

    level: str
    keys: Mapping[TagPath, str]
    wanted: Collection[TagPath] = ()
    sort: str = ""
    limit: int | None = None
    offset: int = 0
    combined_datetime: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A SELECT, and the elements that its first columns hold; what is behind those is there for sorting only."""

    statement: Select[Any]
    paths: tuple[TagPath, ...]


class Planner:
    """Makes the SELECTs for one database; `default_orders` and `counts` come from dicom.ini."""

    def __init__(
        self, backend: Backend, tables: LiveTables, default_orders: Mapping[str, tuple[Order, ...]], *, counts: bool
    ) -> None:
        self._backend = backend
        self._tables = tables
        self._default_orders = default_orders
        self._counts = counts

    def find(self, query: Query) -> Plan:
        """Return the SELECT for a query; QueryRefused when there is no such level or sort column."""
        level = query.level
        if level not in LEVELS:
            raise QueryRefused(f"{level!r} is no query level")
        if query.offset < 0 or (query.limit or 0) < 0:
            raise QueryRefused("limit and offset count from 0")
        used = {level}
        chosen = dict(self._chosen(level, query.wanted, used))
        conditions = self._conditions(query, used)
        orders = self._orders(query, used)
        table = self._tables[level]
        columns = list(chosen.values()) or [table.key]
        # One row per key needs no DISTINCT, which would hold back the first row until the last is known.
        distinct = not (self._tables.keyed and table.definition.key.path in chosen)
        if distinct:
            columns += [column for column, _ in orders]
        statement = select(*columns).select_from(self._joined(level, used)).where(*conditions)
        if distinct:
            statement = statement.distinct()
        for column, descending in orders:
            statement = statement.order_by(column.desc().nulls_last() if descending else column.asc().nulls_first())
        if query.limit is not None:
            statement = statement.limit(min(query.limit, _MOST_ROWS))
        if query.offset:
            statement = statement.offset(min(query.offset, _MOST_ROWS))
        return Plan(statement, tuple(chosen))

    def count(self, query: Query) -> Select[Any]:
        rows = self.find(query).statement.order_by(None).subquery()
        return select(func.count()).select_from(rows)

    def objects(self, query: Query) -> Select[Any]:
        """Return the SELECT of class, instance, patient, study, series, device and file of every object that matches.

        In the order in which a viewer wants them: series by number, images by number.
        """
        tables, backend = self._tables, self._backend
        used = {"IMAGE", "SERIES"}
        images, series = tables["IMAGE"], tables["SERIES"]
        patient = tables.patient_column("IMAGE")
        if patient is None:
            patient = tables["STUDY"].link
            used.add("STUDY")
        sop_class = images.definition.by_path.get(SOP_CLASS)
        columns = (
            literal_column("''") if sop_class is None else images.column(sop_class),
            images.key,
            patient,
            series.link,
            images.link,
            images.own("DeviceName"),
            images.own("ObjectFile"),
        )
        at_images = Query("IMAGE", query.keys, combined_datetime=query.combined_datetime)
        conditions = self._conditions(at_images, used)
        statement = select(*columns).select_from(self._joined("IMAGE", used)).where(*conditions)
        return statement.order_by(
            backend.in_order(patient),
            backend.in_order(series.link),
            *self._numbers("SERIES", (0x00200011,)),
            backend.in_order(images.link),
            *self._numbers("IMAGE", (0x00200013,)),
            backend.in_order(images.key),
        )

    def _chosen(self, level: str, wanted: Collection[TagPath], used: set[str]) -> Iterator[tuple[TagPath, SqlColumn]]:
        """Yield the elements that can be returned and their columns; add the levels they need to `used`."""
        for path in wanted:
            found = self._tables.schema.find(path, level)
            if found is not None:
                holder, definition = found
                column = self._backend.read(self._tables[holder].column(definition), date=definition.is_date)
            else:
                computed = self._computed(path)
                if computed is None:
                    continue
                holder, column = computed
            if LEVELS.index(holder) <= LEVELS.index(level):
                used.add(holder)
                yield path, column

    def _computed(self, path: TagPath) -> tuple[str, SqlColumn] | None:
        if path in COUNTS:
            return (COUNTS[path].level, count_column(self._tables, COUNTS[path])) if self._counts else None
        if path in IN_STUDY:
            column = in_study_column(self._backend, self._tables, *IN_STUDY[path])
            return None if column is None else ("STUDY", column)
        if path in PLACE:
            return "IMAGE", self._tables["IMAGE"].own(PLACE[path])
        return None

    def _conditions(self, query: Query, used: set[str]) -> list[Condition]:
        """Return the conditions on a row of the query's level; add the levels above that they need to `used`."""
        place = LEVELS.index(query.level)
        conditions: list[Condition] = []
        lower: defaultdict[str, list[Condition]] = defaultdict(list)
        selective = False
        for path, holder, definition, condition in self._key_conditions(query):
            if LEVELS.index(holder) <= place:
                used.add(holder)
                conditions.append(condition)
            else:
                lower[holder].append(condition)
                is_key = definition is not None and definition == self._tables[holder].definition.key
                has_index = is_key or path in (STUDY_DATE, ACCESSION_NUMBER)
                selective = selective or (has_index and not has_wildcard(query.keys[path]))
        if lower:
            conditions.append(self._has_below(query.level, lower, selective=selective))
        return conditions

    def _key_conditions(self, query: Query) -> Iterator[tuple[TagPath, str, Column | None, Condition]]:
        done: set[TagPath] = set()
        if query.combined_datetime:
            for path, holder, both in self._combined(query):
                done |= {path, (*path[:-1], COMBINED[path[-1]])}
                yield path, holder, None, both
        for path, key in query.keys.items():
            if path in done:
                continue
            found = self._tables.schema.find(path, query.level)
            holder, definition = found or ("STUDY", None)
            condition: Condition | None = None
            if definition is not None:
                condition = key_condition(self._backend, self._tables[holder], definition, key)
            elif path in IN_STUDY:
                condition = self._in_study_condition(*IN_STUDY[path], key)
            if condition is not None:
                yield path, holder, definition, condition

    def _combined(self, query: Query) -> Iterator[tuple[TagPath, str, Condition]]:
        for path, key in query.keys.items():
            time_path = (*path[:-1], COMBINED.get(path[-1], 0))
            dates = self._tables.schema.find(path, query.level)
            times = self._tables.schema.find(time_path, query.level)
            if dates is None or times is None or dates[0] != times[0]:
                continue
            table = self._tables[dates[0]]
            condition = combined_condition(
                table.column(dates[1]), table.column(times[1]), key, query.keys.get(time_path, "")
            )
            if condition is not None:
                yield path, dates[0], condition

    def _in_study_condition(self, level: str, path: TagPath, key: str) -> Condition | None:
        table = self._tables[level]
        definition = table.definition.by_path.get(path)
        condition = None if definition is None else key_condition(self._backend, table, definition, key)
        if condition is None:
            return None
        studies = select(first_below(self._tables, "STUDY")).select_from(below(self._tables, "STUDY", level))
        return self._tables["STUDY"].key.in_(studies.where(condition).correlate(None))

    def _has_below(self, level: str, lower: Mapping[str, list[Condition]], *, selective: bool) -> Condition:
        """Return: one and the same object below fulfils all these conditions.

        By a list of keys when few rows below can match, else by looking below each row.
        """
        tables = self._tables
        deepest = max(lower, key=LEVELS.index)
        rows = below(tables, level, deepest)
        conditions = [condition for each in lower.values() for condition in each]
        link, key = first_below(tables, level), tables[level].key
        if selective:
            return key.in_(select(link).select_from(rows).where(*conditions).correlate(None))
        inner: Select[Any] = select(literal_column("1")).select_from(rows).where(link == key, *conditions)
        return exists(inner.correlate(tables[level].sql))

    def _joined(self, level: str, used: set[str]) -> FromClause:
        """Return the tables from `level` up to the highest one used, joined."""
        tables, place = self._tables, LEVELS.index(level)
        joined: FromClause = tables[level].sql
        for number in range(place - 1, min(LEVELS.index(each) for each in used) - 1, -1):
            above, here = tables[LEVELS[number]], tables[LEVELS[number + 1]]
            joined = joined.join(above.sql, here.link == above.key)
        return joined

    def _orders(self, query: Query, used: set[str]) -> list[tuple[SqlColumn, bool]]:
        """Return what to sort by: the query's own column, else the name when it is asked for, else as in dicom.ini."""
        if query.sort:
            orders = parse_order(query.sort, query.level, self._tables)
        elif PATIENT_NAME in query.wanted and (name := self._tables.schema.find(PATIENT_NAME, query.level)):
            orders = (Order(name[0], self._tables[name[0]].column(name[1])),)
        else:
            orders = self._default_orders[query.level]
        used.update(order.level for order in orders)
        columns = [(order.expression(self._backend), order.descending) for order in orders]
        if query.limit is not None or query.offset:
            # Pages must not depend on how the database feels about equal rows.
            columns.append((self._backend.in_order(self._tables[query.level].key), False))
        return columns

    def _numbers(self, level: str, path: TagPath) -> Iterator[ColumnElement[Any]]:
        definition = self._tables[level].definition.by_path.get(path)
        if definition is not None:
            yield self._backend.number(self._tables[level].column(definition))
