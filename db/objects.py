"""What passes between the index and its users."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.schema import PATIENT_ID, SERIES_UID, STUDY_UID, TagPath

# A peer that sends ever new series makes those of before forgotten, no more.
_MOST_CHECKED = 10_000


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object's file is: the device and the path below its root, "/" separated."""

    device: str
    file: str


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object to be entered: its header values (absent elements absent) and its place.

    `replace` False leaves an object that is there already as it is (`IgnoreRewrite`).
    """

    values: Mapping[TagPath, str]
    device: str
    file: str
    replace: bool = True


@dataclass(frozen=True, slots=True)
class Added:
    """An object is in the index, under these UIDs and this patient ID (as repaired, maybe not as in the object).

    `previous` is where an earlier copy is when that is another place. With `stored` the row names the
    new file, and the earlier one is the caller's to remove; without, the earlier copy stays the one that
    counts and the new file is superfluous. `warnings` are lines for the log.
    """

    stored: bool
    previous: Location | None
    patient_id: str
    study_uid: str
    series_uid: str
    sop_instance: str
    warnings: tuple[str, ...] = ()


class Checked:
    """Patients, studies and series that are linked as the objects of an association say.

    A link that is refused is found with the first object of a series, so that the next may be handed over.
    """

    def __init__(self) -> None:
        self._ids: set[tuple[str | None, ...]] = set()

    def add(self, values: Mapping[TagPath, str], added: Added) -> None:
        """Take note of an object with these values that was entered without any repair or warning."""
        ids = _ids(values)
        as_it_is = ids == (added.patient_id, added.study_uid, added.series_uid)
        if as_it_is and all(ids) and added.stored and not added.warnings:
            self.note(values)

    def note(self, values: Mapping[TagPath, str]) -> None:
        """Take note of an object with these values, whose links the index has."""
        if len(self._ids) >= _MOST_CHECKED:
            self._ids.clear()
        self._ids.add(_ids(values))

    def __contains__(self, values: Mapping[TagPath, str]) -> bool:
        return _ids(values) in self._ids


def _ids(values: Mapping[TagPath, str]) -> tuple[str | None, ...]:
    return values.get(PATIENT_ID), values.get(STUDY_UID), values.get(SERIES_UID)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that can be retrieved or deleted; what its row lacks is empty."""

    sop_class: str
    sop_instance: str
    patient_id: str
    study_uid: str
    series_uid: str
    device: str
    file: str
