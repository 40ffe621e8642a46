"""One key of a query as a condition on its column (PS3.4 C.2.2.2, with ConQuest's leniency)."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import and_, case, false, func, literal_column, or_, select, true, union_all

from db import wildcard
from db.backend import Backend, Condition, behind, bound
from db.backend import Column as SqlColumn
from db.datetimes import DATETIME_START, TIME_START, Span, combined_span, date_span, datetime_span, time_span
from db.errors import QueryRefused
from db.schema import Column
from db.tables import LiveTable

_MOST_ALTERNATIVES = 500
# No index holds longer texts, and longer keys are not worth remembering a statement for.
_LONGEST_ALIKE = 128
_NUMBERS = ("IS", "DS", "US", "UL", "SS", "SL", "FL", "FD")
_SPANS: dict[str, Callable[[str], Span | None]] = {"DA": date_span, "TM": time_span, "DT": datetime_span}


@dataclass(frozen=True, slots=True)
class Likeness:
    """What keys have in common whose conditions differ in `texts` alone, so that one statement serves them all."""

    kind: str
    texts: tuple[str, ...] = ()

    def sample(self, number: int) -> str:
        """Return a key of this kind whose texts are no other's; `number` tells the keys of one query apart."""
        return _SAMPLES[self.kind].format(number)


_SAMPLES = {
    "any": "",
    "is": "is{:04}",
    "one of": "one{:04}",
    "name": "name{:04}x*",
    "on": "{:04}0101",
    "from": "{:04}0202-",
    "to": "-{:04}0303",
    "within": "{0:04}0404-{0:04}0505",
}


def likeness(definition: Column, key: str, *, atomic: bool) -> Likeness | None:
    """Return what `key_condition` makes of a key, as far as it is like others; None for a key of its own kind."""
    value = _without_padding(key)
    if wildcard.is_universal(value):
        return Likeness("any")
    plain = value.isascii() and value.isprintable() and "\\" not in value and len(value) <= _LONGEST_ALIKE
    if not plain:
        return None
    if definition.vr == "PN":
        prefix = "" if "=" in value else wildcard.name_prefix(value)
        pattern = wildcard.name_regex(value, atomic=atomic)
        return Likeness("name", (prefix, behind(prefix), pattern)) if prefix else None
    if wildcard.has_wildcard(value) or definition.dicom_type == "DT_ISTR":
        return None
    if definition.dicom_type == "DT_MSTR":
        return Likeness("one of", (f"\\{value}\\",))
    if definition.vr in _SPANS:
        span = date_span(value) if definition.vr == "DA" else None
        return None if span is None else _alike(span)
    return Likeness("is", (value,))


def _alike(span: Span) -> Likeness | None:
    if span.first is not None and span.first == span.last:
        return Likeness("on", (span.first,))
    texts = tuple(end for end in (span.first, span.last) if end is not None)
    kind = "" if span.is_open else "from" if span.last is None else "to" if span.first is None else "within"
    return Likeness(kind, texts) if kind else None


def key_condition(backend: Backend, table: LiveTable, definition: Column, key: str) -> Condition | None:
    """Return what a row must fulfil to match one key, None when the key asks for everything.

    Backslashes separate alternatives. ``*`` and ``?`` are wildcards in every VR, and whatever has one
    compares without case, as names always do. Everything else compares exactly, without padding.
    """
    key = _without_padding(key)
    if wildcard.is_universal(key):
        return None
    if "\0" in key or len(key.encode("utf-8", "ignore").decode()) != len(key):
        return false()
    # An empty alternative asks for nothing: "CT\\" is not everything.
    values = [value.strip(" ") for value in key.split("\\") if value.strip(" ")]
    if any(wildcard.is_universal(value) for value in values):
        return None
    return _any_of(backend, table, definition, values)


def combined_condition(dates: SqlColumn, times: SqlColumn, date_key: str, time_key: str) -> Condition | None:
    """Return the condition for a date and a time key that are one range of moments; None when they are not."""
    date_key, time_key = _without_padding(date_key), _without_padding(time_key)
    if wildcard.is_universal(date_key) or wildcard.is_universal(time_key):
        return None
    span = combined_span(date_key, time_key)
    if span is None:
        return None
    moment = dates.op("||")(_whole_time(func.coalesce(times, literal_column("''"))))
    return _within(dates, moment, span)


def _any_of(backend: Backend, table: LiveTable, definition: Column, values: list[str]) -> Condition:
    column = table.column(definition)
    exact: list[str] = []
    others: list[Condition] = []
    for value in dict.fromkeys(values):
        if len(wildcard.squeeze(value)) > wildcard.LONGEST_KEY:
            continue
        condition = _special(backend, table, definition, value)
        if condition is None:
            exact.append(value)
        else:
            others.append(condition)
    if len(others) > _MOST_ALTERNATIVES:
        raise QueryRefused(f"more than {_MOST_ALTERNATIVES} values with wildcards or ranges for {definition.keyword}")
    if exact:
        plain = func.trim(column) if definition.vr in _NUMBERS else column
        others.append(backend.one_of(plain, exact))
    return or_(false(), *others)


def _special(backend: Backend, table: LiveTable, definition: Column, value: str) -> Condition | None:
    """Return the condition for one value, None when it is plain equality."""
    column, vr = table.column(definition), definition.vr
    if vr == "PN":
        return _name(backend, table, column, value)
    if definition.dicom_type == "DT_MSTR":
        return _component(backend, column, value)
    if wildcard.has_wildcard(value):
        value = wildcard.squeeze(value)
        if value.isascii():
            return backend.like(column, wildcard.like_pattern(value))
        return backend.regex(column, wildcard.text_regex(value, fold=True, atomic=backend.atomic_groups))
    if vr in _SPANS:
        span = _SPANS[vr](value)
        return None if span is None else _in_span(column, vr, span)
    if definition.dicom_type == "DT_ISTR":
        if value.isascii():
            return backend.same_letters(column, value)
        return backend.regex(column, wildcard.text_regex(value, fold=True, atomic=backend.atomic_groups))
    return None


def _name(backend: Backend, table: LiveTable, column: SqlColumn, value: str) -> Condition:
    """Match a person name: any component group, without case, without padding.

    The pattern decides. The rest is there for speed: an index gives it the rows whose name begins as the key does, and
    those few that have several groups or begin with a blank.
    """
    if wildcard.is_universal(wildcard.name_form(wildcard.squeeze(value)).replace("=", "")):
        return true()
    pattern = wildcard.name_regex(value, atomic=backend.atomic_groups)
    decides = backend.name_regex(column, pattern)
    prefix = wildcard.name_prefix(value)
    if prefix:
        beginnings = [backend.begins(column, prefix), backend.begins(column, " ")]
        if "=" not in value:
            grouped = None if table.groups is None else table.key.in_(select(table.groups).correlate(None))
            beginnings.append(backend.holds(column, "=") if grouped is None else grouped)
        return table.key.in_(
            union_all(*(select(table.key).where(beginning, decides).correlate(None) for beginning in beginnings))
        )
    part = wildcard.plain_part(value)
    if part:
        return and_(backend.like(column, wildcard.like_pattern(f"*{part}*")), decides)
    return decides


def _component(backend: Backend, column: SqlColumn, value: str) -> Condition:
    """Match any one of the values in a column that holds several."""
    exact = not wildcard.has_wildcard(value)
    if exact and value.isascii():
        separated = literal_column("'\\'").op("||")(column).op("||")(literal_column("'\\'"))
        return backend.holds(separated, f"\\{value}\\")
    value = wildcard.squeeze(value)
    return backend.regex(column, wildcard.component_regex(value, fold=not exact, atomic=backend.atomic_groups))


def _in_span(column: SqlColumn, vr: str, span: Span) -> Condition:
    if vr == "DA":
        if span.first == span.last and span.first is not None:
            return column == bound(span.first)
        return _within(column, column, span)
    return _within(column, _whole_time(column) if vr == "TM" else _whole_datetime(column), span)


def _within(column: SqlColumn, compared: SqlColumn, span: Span) -> Condition:
    """Return: the value is there, not empty, and within the span."""
    conditions: list[Condition] = [column != literal_column("''")]
    if span.first is not None:
        conditions.append(compared >= bound(span.first))
    if span.last is not None:
        conditions.append(compared <= bound(span.last))
    return and_(*conditions)


def _whole_time(column: SqlColumn) -> SqlColumn:
    text = func.replace(column, literal_column("':'"), literal_column("''"))
    return _filled_up(text, TIME_START)


def _whole_datetime(column: SqlColumn) -> SqlColumn:
    # An offset from UTC is a sign and four digits at the end.
    sign = func.substr(column, func.length(column) - literal_column("4"), literal_column("1"))
    local = func.substr(column, literal_column("1"), func.length(column) - literal_column("5"))
    has_offset = sign.in_([literal_column("'+'"), literal_column("'-'")])
    return _filled_up(case((has_offset, local), else_=column), DATETIME_START)


def _filled_up(text: SqlColumn, pattern: str) -> SqlColumn:
    rest = func.substr(literal_column(f"'{pattern}'"), func.length(text) + literal_column("1"))
    return text.op("||")(rest)


def _without_padding(key: str) -> str:
    return key.rstrip("\0").strip(" ")
