"""Which DICOM attributes the index keeps, in which tables and columns (dicom.sql)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydicom.datadict import dictionary_VR

from db.errors import SchemaError
from db.layout import DEFAULT_LAYOUT
from db.settings import DbSettings
from db.sqldef import SECTIONS, Entry, parse_sqldef, render_sqldef

TagPath = tuple[int, ...]

LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
WORKLIST = "WORKLIST"

PATIENT_ID = (0x00100020,)
PATIENT_NAME = (0x00100010,)
STUDY_UID = (0x0020000D,)
SERIES_UID = (0x0020000E,)
SOP_INSTANCE = (0x00080018,)
SOP_CLASS = (0x00080016,)
STUDY_DATE = (0x00080020,)
ACCESSION_NUMBER = (0x00080050,)
MODALITY = (0x00080060,)
MODALITIES_IN_STUDY = (0x00080061,)
# ConQuest finds the UIDs of some old objects here when the real elements are missing.
OLD_STUDY_UID = (0x00211070,)
OLD_SERIES_UID = (0x00211071,)

NEEDED = frozenset({MODALITY, OLD_STUDY_UID, OLD_SERIES_UID, PATIENT_NAME})
_KEYS = {"PATIENT": PATIENT_ID, "STUDY": STUDY_UID, "SERIES": SERIES_UID, "IMAGE": SOP_INSTANCE}
_LINKS = {"STUDY": PATIENT_ID, "SERIES": STUDY_UID, "IMAGE": SERIES_UID}
# Columns that ConQuest adds to every table, and to the image table.
OWN_COLUMNS = ("AccessTime", "qTimeStamp", "qFlags", "qSpare")
FILE_COLUMNS = ("ObjectFile", "DeviceName")
# What ObjectFile has room for.
FILE_LENGTH = 255
_TYPE_VR = {"DT_DATE": "DA", "DT_TIME": "TM", "DT_UI": "UI", "DT_UINT16": "US", "DT_UINT32": "UL"}
_MARKERS = ("DT_STARTSEQUENCE", "DT_ENDSEQUENCE")


@dataclass(frozen=True, slots=True)
class Column:
    """One entry of dicom.sql: `name` is `keyword` cut to TruncateFieldNames, `length` obeys MaxFieldLength.

    `path` names the element, behind the tags of the sequences around it. The two sequence marks
    are entries too (`get_sqldef` and `-k` list them), told by `dicom_type`; they are no columns.
    """

    path: TagPath
    keyword: str
    name: str
    length: int
    sql_type: str
    dicom_type: str
    hl7: str
    line: int = field(default=0, compare=False)

    @property
    def is_marker(self) -> bool:
        return self.dicom_type in _MARKERS

    @property
    def vr(self) -> str:
        """The VR that decides how a key matches; of the dictionary when that knows the element, else of the type."""
        if self.dicom_type in _TYPE_VR:
            by_type = _TYPE_VR[self.dicom_type]
            # Old files declare times as DT_DATE, which ConQuest treats alike.
            return _dictionary_vr(self.path[-1], by_type) if by_type == "DA" else by_type
        return _dictionary_vr(self.path[-1], "LO")

    @property
    def is_date(self) -> bool:
        return self.sql_type == "SQL_C_DATE"


@dataclass(frozen=True)
class Table:
    """One table: `entries` in the order of dicom.sql, of which `columns` exist in the database."""

    level: str
    name: str
    entries: tuple[Column, ...]

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        return tuple(entry for entry in self.entries if not entry.is_marker)

    @property
    def key(self) -> Column:
        """The first column: what a row is found by."""
        return self.columns[0]

    @property
    def link(self) -> Column:
        """The last column: the key of the row above (PATIENT has none above; there it is just the last column)."""
        return self.columns[-1]

    @cached_property
    def by_path(self) -> dict[TagPath, Column]:
        """Columns by element; of two columns for one element the first counts."""
        return {column.path: column for column in reversed(self.columns)}

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by lower-case name, as it is in the database and as it is in dicom.sql."""
        return {column.keyword.lower(): column for column in self.columns} | {
            column.name.lower(): column for column in self.columns
        }


@dataclass(frozen=True)
class Schema:
    """All tables by level: PATIENT, STUDY, SERIES, IMAGE, WORKLIST."""

    tables: dict[str, Table]

    @cached_property
    def paths(self) -> frozenset[TagPath]:
        """What a header must be asked for so that its object can be indexed."""
        return NEEDED.union(*(self.tables[level].by_path for level in LEVELS))

    def knows(self, path: TagPath) -> bool:
        """Tell whether some table of stored objects has a column for the element."""
        return any(path in self.tables[level].by_path for level in LEVELS)

    def find(self, path: TagPath, level: str) -> tuple[str, Column] | None:
        """Return the level and column that hold an element for a query at `level`.

        Its own table comes first, then those above, nearest first, then those below.
        """
        place = LEVELS.index(level)
        for candidate in (*reversed(LEVELS[: place + 1]), *LEVELS[place + 1 :]):
            column = self.tables[candidate].by_path.get(path)
            if column is not None:
                return candidate, column
        return None


def load_schema(path: Path | None, settings: DbSettings) -> Schema:
    """Read dicom.sql, or take the built-in layout (revision 19) when `path` is None.

    SchemaError names the file, the line and what to change there. A file without
    *WorkList* section, as ConQuest had before 1.4.8, gets the built-in one.
    """
    if path is None:
        text, file = DEFAULT_LAYOUT, "the built-in dicom.sql"
    else:
        file = str(path)
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError as error:
            raise SchemaError(f"{file}: {error.strerror}; put a dicom.sql there or leave out kFactorFile") from error
    sections = parse_sqldef(text, file)
    sections.setdefault("WorkList", parse_sqldef(DEFAULT_LAYOUT, "")["WorkList"])
    tables = {}
    for section, table_name in zip(SECTIONS, _table_names(settings), strict=True):
        if section not in sections:
            raise SchemaError(f"{file}: section *{section}* is missing; add it")
        tables[section.upper()] = _table(section, table_name, sections[section], settings, file)
    return Schema(tables)


def render_schema(schema: Schema) -> str:
    """Write the schema as a dicom.sql that reads back to the same."""
    return render_sqldef(
        ((section, [_entry(column) for column in schema.tables[section.upper()].entries]) for section in SECTIONS),
        "DICOM database layout; after a change make the database anew with dgate -r",
    )


def _entry(column: Column) -> Entry:
    return Entry(
        column.path[-1], column.keyword, column.length, column.sql_type, column.dicom_type, column.hl7, column.line
    )


def _table_names(settings: DbSettings) -> Iterator[str]:
    for section in SECTIONS:
        key = f"{section}TableName"
        name: str = getattr(settings, key)
        if not _is_identifier(name):
            raise SchemaError(f"dicom.ini: {key} = {name!r} is no table name; use letters, digits and underscores")
        yield name


def _table(section: str, name: str, entries: tuple[Entry, ...], settings: DbSettings, file: str) -> Table:
    table = Table(section.upper(), name, tuple(_columns(section, entries, settings, file)))
    if not table.columns:
        raise SchemaError(f"{file}: section *{section}* has no columns; add its entries")
    _check_names(table, file)
    for column, wanted, place in (
        (table.key, _KEYS.get(table.level), "first"),
        (table.link, _LINKS.get(table.level), "last"),
    ):
        if wanted is not None and column.path != wanted:
            tag = f"0x{wanted[0] >> 16:04x}, 0x{wanted[0] & 0xFFFF:04x}"
            raise SchemaError(
                f"{file}, line {column.line}: the {place} entry of *{section}* must be {tag}, "
                f"{'its key' if place == 'first' else 'the link to the table above'}; move that entry there"
            )
    return table


def _columns(section: str, entries: tuple[Entry, ...], settings: DbSettings, file: str) -> Iterator[Column]:
    around: list[int] = []
    for entry in entries:
        if entry.dicom_type == "DT_ENDSEQUENCE":
            if not around:
                raise SchemaError(f"{file}, line {entry.line}: DT_ENDSEQUENCE without a DT_STARTSEQUENCE; remove it")
            around.pop()
        marker = entry.dicom_type in _MARKERS
        if not marker and not _is_identifier(entry.name):
            raise SchemaError(
                f"{file}, line {entry.line}: {entry.name!r} is no column name; use letters, digits and underscores"
            )
        if not marker and entry.length == 0:
            raise SchemaError(f"{file}, line {entry.line}: length 0; give {entry.name} at least one character")
        yield Column(
            (*around, entry.tag),
            entry.name,
            entry.name[: settings.TruncateFieldNames],
            _length(entry, settings),
            entry.sql_type,
            entry.dicom_type,
            entry.hl7,
            entry.line,
        )
        if entry.dicom_type == "DT_STARTSEQUENCE":
            around.append(entry.tag)
    if around:
        raise SchemaError(f"{file}: DT_STARTSEQUENCE in *{section}* is never closed; add DT_ENDSEQUENCE")


def _length(entry: Entry, settings: DbSettings) -> int:
    if entry.sql_type == "SQL_C_DATE":
        return 8
    return min(entry.length, settings.MaxFieldLength or entry.length)


def _check_names(table: Table, file: str) -> None:
    seen = {name.lower(): "the server's own" for name in (*OWN_COLUMNS, *FILE_COLUMNS)}
    for column in table.columns:
        before = seen.setdefault(column.name.lower(), f"{column.keyword} on line {column.line}")
        if before != f"{column.keyword} on line {column.line}":
            raise SchemaError(
                f"{file}, line {column.line}: column {column.name} is there already ({before}); "
                "use names that differ within TruncateFieldNames characters"
            )


def _is_identifier(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None


def _dictionary_vr(tag: int, otherwise: str) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return otherwise
