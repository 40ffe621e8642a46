"""Elements that no column holds and a query answers all the same: counts, and what a study consists of."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import FromClause, func, select

from db.backend import Backend
from db.backend import Column as SqlColumn
from db.schema import LEVELS, MODALITIES_IN_STUDY, MODALITY, SOP_CLASS, TagPath
from db.tables import LiveTables

SOP_CLASSES_IN_STUDY = (0x00080062,)


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows of level `of` belong to a row of `level`."""

    level: str
    of: str


COUNTS: Mapping[TagPath, Count] = {
    (0x00201200,): Count("PATIENT", "STUDY"),
    (0x00201202,): Count("PATIENT", "SERIES"),
    (0x00201204,): Count("PATIENT", "IMAGE"),
    (0x00201206,): Count("STUDY", "SERIES"),
    (0x00201208,): Count("STUDY", "IMAGE"),
    (0x00201209,): Count("SERIES", "IMAGE"),
}
# What is in a study: the level and the element whose different values are meant.
IN_STUDY: Mapping[TagPath, tuple[str, TagPath]] = {
    MODALITIES_IN_STUDY: ("SERIES", MODALITY),  # where dicom.sql has no StudyModality
    SOP_CLASSES_IN_STUDY: ("IMAGE", SOP_CLASS),
}

# Where an object's file is, as ConQuest's own elements (9999,0800) and (9999,0801) ask for it.
PLACE: Mapping[TagPath, str] = {(0x99990800,): "ObjectFile", (0x99990801,): "DeviceName"}


def below(tables: LiveTables, level: str, deepest: str) -> FromClause:
    """Return the tables under `level` down to `deepest`, joined; the first of them has the link to `level`."""
    first, *rest = LEVELS[LEVELS.index(level) + 1 : LEVELS.index(deepest) + 1]
    joined: FromClause = tables[first].sql
    for above, here in zip((first, *rest), rest, strict=False):
        joined = joined.join(tables[here].sql, tables[here].link == tables[above].key)
    return joined


def first_below(tables: LiveTables, level: str) -> SqlColumn:
    """Return the column by which the table under `level` is linked to it."""
    return tables[LEVELS[LEVELS.index(level) + 1]].link


def count_column(tables: LiveTables, count: Count) -> SqlColumn:
    here = tables[count.level]
    counted = select(func.count()).select_from(below(tables, count.level, count.of))
    return counted.where(first_below(tables, count.level) == here.key).correlate(here.sql).scalar_subquery()


def in_study_column(backend: Backend, tables: LiveTables, level: str, path: TagPath) -> SqlColumn | None:
    """Return the different values of an element in a study, joined with backslashes; None without a column for it."""
    definition = tables[level].definition.by_path.get(path)
    if definition is None:
        return None
    studies = tables["STUDY"]
    values = select(backend.joined(tables[level].column(definition))).select_from(below(tables, "STUDY", level))
    return values.where(first_below(tables, "STUDY") == studies.key).correlate(studies.sql).scalar_subquery()
