"""Studies of an archive placed in a ReV library: by age at scan, each in an example of its own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgate.rev.age import Age, age_between, read_date
from dgate.rev.errors import BadRequest
from dgate.rev.files import as_json, read_json, write, write_if_new
from dgate.rev.layout import Example, examples_below
from dgate.rev.slices import Slice, read_slice
from storage.cleaning import clean
from storage.errors import NotDicom
from storage.part10 import file_meta, read_object_file

# In the directory of an example: which study it is, and which directory each of its series has.
STUDY = ".rev-study.json"
_SCAN_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_PIECE = 1 << 20
_MOST_EXAMPLES = 100


class NotPlaced(BadRequest):
    """A study that has no place in a library; the message names its UID and what it lacks."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object of the archive: its file and its UIDs."""

    path: Path
    series_uid: str
    sop_instance: str


Progress = Callable[[int, int], None]


def place_study(library: Path, study_uid: str, files: Sequence[StoredFile], progress: Progress) -> list[Example]:
    """Have copies of a study's files in the library, and no others in its example; return where that is, and was.

    Files that are there already are not copied again; a study that was placed before keeps its number, and moves
    when its age has changed. Raises NotPlaced, NotDicom and OSError.
    """
    slices = {one: _read(one, study_uid) for one in files}
    age = _age(study_uid, list(slices.values()))
    example, *others = _example(library, study_uid, age)
    directory = library / example.path
    names = _series_names(directory, slices)
    write_if_new(directory / STUDY, as_json({"study": study_uid, "series": names}))
    for number, (one, found) in enumerate(slices.items()):
        progress(number, len(files))
        target = directory / names[one.series_uid]
        target.mkdir(exist_ok=True)
        _copy(one, target / _file_name(found, one.sop_instance))
    _remove_others(directory, names, slices)
    return [example, *others]


def _read(one: StoredFile, study_uid: str) -> Slice:
    try:
        return read_slice(one.path)
    except NotDicom as error:
        raise NotPlaced(f"study {study_uid}: object {one.sop_instance} cannot be read: {error}") from error


def _age(study_uid: str, slices: Sequence[Slice]) -> Age:
    births = {text for one in slices if (text := _digits(one.text("PatientBirthDate")))}
    scans = [text for keyword in _SCAN_DATES for one in slices if (text := _digits(one.text(keyword)))]
    if not births or not scans:
        what = "birth date" if not births else "date"
        raise NotPlaced(f"study {study_uid} has no {what}, and so no age and no place in a library")
    return age_between(read_date(min(births)), read_date(scans[0]))


def _digits(text: str) -> str:
    """A date as YYYYMMDD, "" for none."""
    digits = re.sub(r"[.\-]", "", text)
    try:
        read_date(digits)
    except BadRequest:
        return ""
    return digits


def _example(library: Path, study_uid: str, age: Age) -> list[Example]:
    """The directory of a study, made when there is none; one of another age is moved, and named behind the new one."""
    year, month = age.directory.split("/")
    others = []
    for example in examples_below(library):
        if _known(library / example.path).get("study") == study_uid:
            if (example.year, example.month) == (year, month):
                return [example]
            others.append(example)
    for number in range(_MOST_EXAMPLES):
        example = Example(year, month, f"{number:02d}-ex")
        target = library / example.path
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if others:
            (library / others[0].path).rename(target)
        else:
            target.mkdir()
        return [example, *others[:1]]
    raise NotPlaced(f"study {study_uid}: {age.directory} has {_MOST_EXAMPLES} examples, more than the viewer can name")


def _known(directory: Path) -> Mapping[str, object]:
    found = read_json(directory / STUDY)
    return found if isinstance(found, dict) else {}


def _series_names(directory: Path, slices: Mapping[StoredFile, Slice]) -> dict[str, str]:
    """The directory of each series: that which it had, else its number and description."""
    before = _known(directory).get("series")
    kept = before if isinstance(before, dict) else {}
    uids = {one.series_uid for one in slices}
    names = {
        uid: name for uid, name in kept.items() if uid in uids and isinstance(name, str) and Path(name).name == name
    }
    for one, found in slices.items():
        if one.series_uid not in names:
            usual, number = _usual_name(found), 1
            name = usual
            while name in names.values():
                number += 1
                name = f"{usual}-{number}"
            names[one.series_uid] = name
    return names


def _usual_name(found: Slice) -> str:
    number, description = clean(found.text("SeriesNumber") or "0"), clean(found.text("SeriesDescription") or "series")
    return f"{number}-{description}"


def _file_name(found: Slice, sop_instance: str) -> str:
    number = found.number("InstanceNumber")
    whole = int(number) if number is not None and 0 <= number < 1e9 else 0
    uid = sop_instance if re.fullmatch(r"[0-9.]{1,64}", sop_instance) else clean(sop_instance)
    return f"{whole:04d}-{uid}.dcm"


def _copy(one: StoredFile, target: Path) -> None:
    """Copy an object, with file meta information if its file has none, unless that has been done.

    A copy, for nothing that happens in a library may touch the archive.
    """
    times = one.path.stat()
    if target.is_file() and target.stat().st_mtime_ns == times.st_mtime_ns:
        return
    file = read_object_file(one.path)
    head = (
        b""
        if file.offset
        else file_meta(file.sop_class or _sop_class(one.path), one.sop_instance, file.transfer_syntax)
    )
    write(target, _pieces(one.path, head))
    os.utime(target, ns=(times.st_mtime_ns, times.st_mtime_ns))


def _sop_class(path: Path) -> str:
    return read_slice(path, ("SOPClassUID",)).text("SOPClassUID")


def _pieces(path: Path, head: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as source:
        while piece := source.read(_PIECE):
            yield piece


def _remove_others(directory: Path, names: Mapping[str, str], slices: Mapping[StoredFile, Slice]) -> None:
    """Remove series and objects that the archive has no longer; only what was placed here is looked at."""
    kept: dict[str, set[str]] = {name: set() for name in names.values()}
    for one, found in slices.items():
        kept[names[one.series_uid]].add(_file_name(found, one.sop_instance))
    for entry in sorted(directory.iterdir()):
        if not entry.is_dir() or entry.is_symlink():
            continue
        if entry.name not in kept:
            shutil.rmtree(entry)
            continue
        for path in entry.glob("*.dcm"):
            if path.name not in kept[entry.name]:
                path.unlink()
