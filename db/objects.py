"""What passes between the index and its users."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.schema import TagPath


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
