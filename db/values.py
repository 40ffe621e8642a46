"""From the values of a header to the values of a row: repairs, which never touch the stored object."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from db.errors import MissingUid
from db.schema import (
    MODALITIES_IN_STUDY,
    OLD_SERIES_UID,
    OLD_STUDY_UID,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_UID,
    SOP_INSTANCE,
    STUDY_UID,
    Column,
    Schema,
    Table,
    TagPath,
)
from db.settings import DbSettings

NO_NAME = "NO NAME"
NO_PATIENT_ID = "00000000"
_OLD_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")
_KEY_LEVELS = (("SOPInstanceUID", "IMAGE"), ("SeriesInstanceUID", "SERIES"), ("StudyInstanceUID", "STUDY"))


@dataclass(slots=True)
class Repaired:
    """The values of one object, repaired; the patient ID may still be empty with AllowEmptyPatientID."""

    values: dict[TagPath, str]
    sop_instance: str
    series_uid: str
    study_uid: str
    warnings: list[str]

    @property
    def patient_id(self) -> str:
        return self.values[PATIENT_ID]

    @patient_id.setter
    def patient_id(self, value: str) -> None:
        self.values[PATIENT_ID] = value


def repair(values: Mapping[TagPath, str], schema: Schema, settings: DbSettings) -> Repaired:
    """Make the values of an object fit to be found again, as ConQuest does.

    A missing name becomes NO NAME, a missing patient ID 00000000, missing study and series UIDs
    come from (0021,1070) and (0021,1071). MissingUid when a UID still lacks, or is longer than its column:
    ConQuest's 'undefined' and a cut UID would make different objects one.
    """
    joined = "".join(values.values())
    if joined.isascii() and "\0" not in joined:
        fixed = {path: value.strip(" ") for path, value in values.items()}
    else:
        fixed = {path: clean(value) for path, value in values.items()}
    warnings: list[str] = []
    fixed[PATIENT_ID] = _patient_id(fixed.get(PATIENT_ID, ""), schema.tables["PATIENT"].key, settings, warnings)
    fixed[PATIENT_NAME] = fixed.get(PATIENT_NAME) or NO_NAME
    uids = (
        fixed.get(SOP_INSTANCE, ""),
        fixed.get(SERIES_UID) or fixed.get(OLD_SERIES_UID, ""),
        fixed.get(STUDY_UID) or fixed.get(OLD_STUDY_UID, ""),
    )
    for uid, (keyword, level) in zip(uids, _KEY_LEVELS, strict=True):
        if not uid:
            raise MissingUid(f"***Refused to enter object without {keyword}: SOPInstanceUID = '{uids[0]}'")
        if len(uid) > schema.tables[level].key.length:
            raise MissingUid(f"***Refused to enter object: {keyword} has {len(uid)} characters: '{uid}'")
    fixed[SOP_INSTANCE], fixed[SERIES_UID], fixed[STUDY_UID] = uids
    return Repaired(fixed, *uids, warnings)


def clean(text: str) -> str:
    """Return the text without padding, and without what a database or a C program cannot take."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # lone surrogates
    return text.replace("\0", "").strip(" ")


class RowMaker:
    """Makes the rows of one table."""

    def __init__(self, table: Table, settings: DbSettings) -> None:
        self._silent = frozenset(name.strip().lower() for name in settings.AllowTruncate.split(","))
        self._columns = tuple(
            (column, column.path, -1 if column.is_date or column.dicom_type == "DT_MSTR" else column.length)
            for column in table.columns
        )

    def row(self, values: Mapping[TagPath, str], file: str, warnings: list[str]) -> list[str | None]:
        """Return a value per column, None where the object lacks the element; add a warning for each cut value."""
        row: list[str | None] = []
        for column, path, fits_as_it_is in self._columns:
            value = values.get(path)
            if value is not None and len(value) > fits_as_it_is:
                value = self._fitted(value, column, file, warnings)
            row.append(value)
        return row

    def _fitted(self, value: str, column: Column, file: str, warnings: list[str]) -> str:
        value = _normal(value, column)
        if len(value) <= column.length:
            return value
        if self._silent.isdisjoint((column.name.lower(), column.keyword.lower())):
            warnings.append(f"***Truncated {column.name} from {len(value)} to {column.length} chars in file: {file}")
        return value[: column.length].rstrip(" ")


def add_modality(stored: str | None, modality: str, length: int) -> str | None:
    """Return StudyModality with a modality in front unless it is there; the oldest go when there is no room."""
    if not modality:
        return stored
    known = [each for each in (stored or "").split("\\") if each]
    if modality in known:
        return stored
    return join_modalities([modality, *known], length)


def join_modalities(modalities: list[str], length: int) -> str:
    while len(modalities) > 1 and len("\\".join(modalities)) > length:
        modalities = modalities[:-1]
    return "\\".join(modalities)[:length]


def study_values(repaired: Repaired, modalities: str | None) -> dict[TagPath, str]:
    """Return the values for the study row, in which the modalities are those of all its series."""
    values = dict(repaired.values)
    values.pop(MODALITIES_IN_STUDY, None)
    if modalities is not None:
        values[MODALITIES_IN_STUDY] = modalities
    return values


def _patient_id(text: str, key: Column, settings: DbSettings, warnings: list[str]) -> str:
    if text.isascii() and text.isdigit():
        fix = (len(text) == 10 and settings.FixPhilips) or (len(text) == 8 and settings.FixKodak)
        text = text.lstrip("0") or text if fix else text
    if not text and not settings.AllowEmptyPatientID:
        return NO_PATIENT_ID
    if len(text) > key.length:
        # Cut here and not row by row: it is what links are compared by.
        warnings.append(f"***Truncated {key.name} from {len(text)} to {key.length} chars")
    return text[: key.length].rstrip(" ")


def _normal(value: str, column: Column) -> str:
    if column.is_date:
        old = _OLD_DATE.fullmatch(value)
        return "".join(old.groups()) if old else value
    if column.dicom_type == "DT_MSTR" and "\\" in value:
        return each_part_stripped(value)
    return value


def each_part_stripped(value: str) -> str:
    """Return the values of an element, joined with backslashes, without padding."""
    return "\\".join(part.strip(" ") for part in value.split("\\"))
