"""One file: which instance of which series it is, and for the first file of a series its fields."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dgate.crawl.computed import COMPUTED, several_structure_sets
from dgate.crawl.fields import MODALITY, RADIOPHARMACEUTICALS, keywords_of, tag, vr, wanted_of
from dgate.crawl.text import shown
from storage.elements import HeldData
from storage.errors import NotDicom
from storage.header import Item, read_items
from storage.part10 import ObjectFile, read_object
from storage.transfer import EXPLICIT_BIG

Fields = dict[str, object]
# The directory that the first name of a path stands for; both are bytes, as names of files may be anything.
Roots = Mapping[bytes, bytes]

# What places an instance: the rest of a header is read for the first file of each series only.
_PLACE = ("SOPInstanceUID", "Modality", "PatientID", "SeriesInstanceUID", "AcquisitionNumber")
_SOP, _MODALITY, _PATIENT, _SERIES, _ACQUISITION = (tag(keyword) for keyword in _PLACE)
_WANTED = frozenset((each,) for each in (_SOP, _MODALITY, _PATIENT, _SERIES, _ACQUISITION))
_CHARACTER_SET = 0x00080005

_UID = re.compile(r"[0-9.]{1,64}")
_CODE = re.compile(r"[A-Z0-9_ ]{1,16}")
_BIG_ENDIAN_START = re.compile(rb"\x00\x08\x00.[A-Z]{2}", re.DOTALL)
_ATTEMPTS = 3
# Nobody looks at the path that an object was read from.
_NOWHERE = Path()
# Of a small image all, of a large one the header comes with one call of the system.
_BUFFER = _HELD = 16 * 1024
# Preamble and mark of a Part 10 file.
_HEAD = 132


class Skip(Exception):
    """A file that is not indexed; the message says why, "" for one that need not be reported."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which instance a file is; `sub` is its acquisition number as text, "1" for none."""

    sop: str
    series: str
    sub: str
    modality: str
    patient: str


@dataclass(frozen=True, slots=True)
class Read:
    """What one file turned out to be. Can be sent between processes.

    `size` and `mtime_ns` are those of the file as it was read. `place` is None for a file that is skipped, `reason`
    then says why. `fields` are there for the first file of a series in its task.
    """

    path: bytes
    size: int
    mtime_ns: int
    place: Place | None = None
    fields: Fields | None = None
    reason: str = ""
    warnings: tuple[str, ...] = field(default=())


def read_files(roots: Roots, paths: Sequence[bytes], silent: bool, whole: bool) -> list[Read]:
    """Read files, in their order; what cannot be read is said in place of being raised.

    The first name of a path stands for a directory of `roots`. With `silent` a file without ``DICM`` in its place
    needs no report. `whole` reads the fields of every file, else those of the first of each series and acquisition.
    """
    seen: set[tuple[str, str]] = set()
    found = []
    for path in paths:
        read = _read_settled(roots, path, silent, whole, seen)
        if read.place is not None and read.fields is not None:
            seen.add((read.place.series, read.place.sub))
        found.append(read)
    return found


def is_unchanged(roots: Roots, read: Read) -> bool:
    """Whether a file is still as it was read, by its size and the time of its last change."""
    try:
        status = os.stat(_file(roots, read.path))
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (read.size, read.mtime_ns)


def _file(roots: Roots, path: bytes) -> bytes:
    top, _, below = path.partition(b"/")
    return roots[top] + b"/" + below


def _read_settled(roots: Roots, path: bytes, silent: bool, whole: bool, seen: set[tuple[str, str]]) -> Read:
    """Read a file, again when somebody wrote to it meanwhile."""
    for _ in range(_ATTEMPTS):
        size = mtime_ns = 0
        try:
            with open(_file(roots, path), "rb", _BUFFER) as source:
                before = os.fstat(source.fileno())
                size, mtime_ns = before.st_size, before.st_mtime_ns
                try:
                    place, fields, warnings = _read(source, silent, whole, seen)
                    read = Read(path, size, mtime_ns, place, fields, warnings=warnings)
                except Skip as why:
                    read = Read(path, size, mtime_ns, reason=str(why))
                except NotDicom as error:
                    read = Read(path, size, mtime_ns, reason=str(error))
                after = os.fstat(source.fileno())
        except OSError as error:
            return Read(path, size, mtime_ns, reason=f"it cannot be read: {error.strerror or type(error).__name__}")
        if (after.st_size, after.st_mtime_ns) == (size, mtime_ns):
            return read
    return Read(path, size, mtime_ns, reason="it changes while it is read")


def _read(
    source: BinaryIO, silent: bool, whole: bool, seen: set[tuple[str, str]]
) -> tuple[Place, Fields | None, tuple[str, ...]]:
    file = _object(source, silent)

    def data_set() -> BinaryIO:
        source.seek(file.offset)
        return source

    data = HeldData(data_set().read(_HELD), file.length, data_set)
    place = _place(read_items(data, file.transfer_syntax, _WANTED), plausible=not file.sop_instance)
    if not whole and (place.series, place.sub) in seen:
        return place, None, ()
    fields, warnings = read_fields(data, file.transfer_syntax, place.modality.upper())
    return place, fields, warnings


def _object(source: BinaryIO, silent: bool) -> ObjectFile:
    if silent and source.read(_HEAD)[-4:] != b"DICM":
        raise Skip("")
    source.seek(0)
    try:
        return read_object(source, _NOWHERE)
    except NotDicom:
        source.seek(0)
        head = source.read(_HEAD)
        if not _BIG_ENDIAN_START.match(head):
            raise
        # The header reader takes bare data sets for little endian ones.
        return ObjectFile(_NOWHERE, EXPLICIT_BIG, 0, os.fstat(source.fileno()).st_size, "", "")


def _place(root: Item, *, plausible: bool) -> Place:
    """What places an instance; Skip when something of it is missing, or not plausible where that is asked for."""
    for wanted, what in ((_MODALITY, "Modality"), (_SERIES, "Series Instance UID"), (_SOP, "SOP Instance UID")):
        if not root.text(wanted):
            raise Skip(f"it has no {what}")
    place = Place(root.text(_SOP), root.text(_SERIES), _sub_series(root), root.text(_MODALITY), root.text(_PATIENT))
    if plausible and not (
        _UID.fullmatch(place.sop) and _UID.fullmatch(place.series) and _CODE.fullmatch(place.modality.upper())
    ):
        raise Skip("it has no file meta information, and what it begins with is no DICOM object")
    return place


def _sub_series(root: Item) -> str:
    text = shown("IS", root.values.get(_ACQUISITION))
    return "1" if text in ("", "None") else text


def read_fields(data: HeldData, transfer_syntax: str, modality: str) -> tuple[Fields, tuple[str, ...]]:
    """The fields of an object of a known modality, sorted, and what could not be worked out with the reason."""
    root = read_items(data, transfer_syntax, wanted_of(modality))
    fields: Fields = {}
    warnings: list[str] = []
    for keyword in keywords_of(modality):
        holder = _holder(root, modality, keyword)
        if vr(keyword) == "SQ" and tag(keyword) in holder.values:
            path = (tag(keyword),) if holder is root else (tag(RADIOPHARMACEUTICALS), tag(keyword))
            # Few objects have one, and what shows it takes long to load.
            from dgate.crawl.sequences import sequence_text

            try:
                fields[keyword] = sequence_text(data, transfer_syntax, path, root.text(_CHARACTER_SET))
            except ValueError as error:
                fields[keyword] = ""
                warnings.append(f"{keyword} is left empty: {error}")
        else:
            fields[keyword] = shown(vr(keyword), holder.values.get(tag(keyword)))
    for name, computed in COMPUTED.get(modality, {}).items():
        try:
            fields[name] = computed(root)
        except ValueError:
            # Text where numbers belong; it may be anything, so it is not repeated.
            fields[name] = ""
            warnings.append(f"{name} is left empty: it is made of a value that is no number")
    if modality == "RTPLAN" and several_structure_sets(root):
        warnings.append("it refers to more than one structure set, of which the first counts")
    return dict(sorted(fields.items())), tuple(warnings)


def _holder(root: Item, modality: str, keyword: str) -> Item:
    """Where an element is: on the top level, or in conformant PET objects with the radiopharmaceutical."""
    wanted = tag(keyword)
    there = wanted in root.values if vr(keyword) == "SQ" else bool(root.text(wanted))
    if modality == "PT" and not there and keyword in MODALITY["PT"]:
        inner = root.items(tag(RADIOPHARMACEUTICALS))
        if inner and wanted in inner[0].values:
            return inner[0]
    return root
