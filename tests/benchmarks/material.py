"""What is sent: objects with UIDs that no run has seen before, as files and as messages that are encoded already."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.objects import PREFIX, ds, encoded, with_pixels

_SERIES = 5
# UIDs as long as those that replace them; what stands at the end tells them apart.
_WIDTH = 20
_PLACE = {name: f"{PREFIX}{digit * _WIDTH}" for name, digit in (("study", "7"), ("series", "8"), ("image", "9"))}
_PATIENT = "PATIENT-Z"
_numbers = itertools.count(time.time_ns())


@dataclass(frozen=True)
class Kind:
    """A kind of object: its name, its rows and columns (16 bit), and how many a run sends."""

    name: str
    size: int
    count: int


CT = Kind("CT 512x512", 512, 200)
SMALL = Kind("small 64x64", 64, 1000)


@dataclass(frozen=True)
class Object:
    """One object: its SOP instance UID and its DICOM file."""

    uid: str
    file: bytes

    @property
    def data_set(self) -> bytes:
        """What is behind the file meta information."""
        return self.file[144 + int.from_bytes(self.file[140:144], "little") :]


def objects(kind: Kind, count: int, patient: str) -> Iterator[Object]:
    """Objects of one study in some series, every UID new."""
    template = _template(kind, patient)
    study = _fresh()
    series = [_fresh() for _ in range(_SERIES)]
    for number in range(count):
        uid = _fresh()
        made = template
        for name, new in (("study", study), ("series", series[number % _SERIES]), ("image", uid)):
            made = made.replace(_PLACE[name].encode(), new.encode())
        yield Object(uid, made)


def studies(count: int) -> Iterator[Object]:
    """One object each of so many studies and patients, whose IDs are FIND00000, FIND00001 ..."""
    template = _template(Kind("tiny", 8, count), _PATIENT)
    for number in range(count):
        uid = _fresh()
        made = template.replace(_PATIENT.encode(), f"FIND{number:05d}".encode())
        for name, new in (("study", _fresh()), ("series", _fresh()), ("image", uid)):
            made = made.replace(_PLACE[name].encode(), new.encode())
        yield Object(uid, made)


def _template(kind: Kind, patient: str) -> bytes:
    made = ds(
        PatientID=patient,
        StudyInstanceUID=_PLACE["study"],
        SeriesInstanceUID=_PLACE["series"],
        SOPInstanceUID=_PLACE["image"],
    )
    return encoded(with_pixels(made, kind.size, kind.size))


def _fresh() -> str:
    return f"{PREFIX}1{next(_numbers):0{_WIDTH - 1}d}"


@dataclass(frozen=True)
class Batch:
    """Files of one run, split into directories for senders that work side by side."""

    kind: Kind
    directories: tuple[Path, ...]


def fresh(base: Path, kind: Kind, senders: int = 1) -> Batch:
    """Write the objects of one run; what an earlier run left at the same place is removed."""
    shutil.rmtree(base, ignore_errors=True)
    directories = []
    for sender in range(senders):
        directory = base / f"sender{sender}"
        directory.mkdir(parents=True)
        for made in objects(kind, kind.count // senders, f"BENCH{sender}"):
            (directory / f"{made.uid}.dcm").write_bytes(made.file)
        directories.append(directory)
    return Batch(kind, tuple(directories))


def files(directory: Path, at_least: int = 4096) -> int:
    """How many objects a server has stored below a directory."""
    return sum(1 for path in directory.rglob("*") if path.is_file() and path.stat().st_size > at_least)


def shares(made: Sequence[Object], senders: int) -> list[Sequence[Object]]:
    """The objects for each of several senders."""
    return [made[sender::senders] for sender in range(senders)]
