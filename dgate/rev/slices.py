"""The files of a series as their headers describe them, and the order in which they are shown."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.datadict import keyword_dict

from storage.header import TagPath, read_header
from storage.part10 import read_object_file
from storage.render.view import Window

Order = Literal["position", "instance", "name"]

# What descriptors are made of, and what may be drawn on large images without being asked for.
DESCRIBING = (
    "SeriesInstanceUID", "SeriesDescription", "StudyDescription", "ModalitiesInStudy", "PatientID", "PatientName",
    "PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "Modality", "SeriesNumber",
)  # fmt: skip
_IMAGE = (
    "Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "ImagePositionPatient", "ImageOrientationPatient",
    "InstanceNumber",
)  # fmt: skip
_VOI_LUT = (0x00283010, 0x00283002)
# In functional groups shared by all frames of an object (PS3.3 C.7.6.16).
_SHARED = 0x52009229
_SHARED_ORIENTATION = (_SHARED, 0x00209116, 0x00200037)

# Directions of slices that differ by no more belong to one stack.
_PARALLEL = 1e-3
# Slices closer than this, in mm, lie in one place.
_APART = 1e-4


@dataclass(frozen=True, slots=True)
class Slice:
    """One file of a series: `path` is where it is read, `values` are by keyword.

    `frames` is what the header says, 0 when there is no image. `frame_bytes` is about the size of a decoded frame.
    """

    path: Path
    name: str
    transfer_syntax: str
    values: Mapping[str, str]
    frames: int
    frame_bytes: int
    has_window: bool

    def text(self, keyword: str) -> str:
        """A value, "" when it is absent."""
        return self.values.get(keyword, "")

    def number(self, keyword: str) -> float | None:
        """The first number of a value."""
        numbers = _numbers(self.text(keyword))
        return numbers[0] if numbers else None


def read_slice(path: Path, keywords: Sequence[str] = ()) -> Slice:
    """Read what is needed of a file, and further `keywords`; raises NotDicom and OSError."""
    file = read_object_file(path)
    paths: dict[str, TagPath] = {
        keyword: (keyword_dict[keyword],) for keyword in (*DESCRIBING, *_IMAGE, *keywords) if keyword in keyword_dict
    }
    with path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, frozenset({*paths.values(), _VOI_LUT, _SHARED_ORIENTATION}))
    values = {keyword: header.values[place] for keyword, place in paths.items() if place in header.values}
    if not values.get("ImageOrientationPatient"):
        values["ImageOrientationPatient"] = header.text(*_SHARED_ORIENTATION)
    rows, columns = _whole(values, "Rows", 0), _whole(values, "Columns", 0)
    window = _window(values)
    return Slice(
        path,
        path.name,
        file.transfer_syntax,
        values,
        max(1, _whole(values, "NumberOfFrames", 1)) if rows and columns else 0,
        rows
        * columns
        * max(1, _whole(values, "BitsAllocated", 16) // 8)
        * max(1, _whole(values, "SamplesPerPixel", 1)),
        window or _VOI_LUT in header.values or not values.get("PhotometricInterpretation", "MONO").startswith("MONO"),
    )


def _window(values: Mapping[str, str]) -> bool:
    center, width = _numbers(values.get("WindowCenter", "")), _numbers(values.get("WindowWidth", ""))
    function = values.get("VOILUTFunction", "").strip().upper()
    return bool(center and width and Window.usable(center[0], width[0], function))


def _whole(values: Mapping[str, str], keyword: str, default: int) -> int:
    text = values.get(keyword, "").partition("\\")[0].strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _numbers(text: str) -> list[float]:
    try:
        found = [float(word) for word in text.split("\\") if word.strip()]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def named(slices: Sequence[Slice]) -> dict[str, str]:
    """What the pictures of each file are called: its name without its last extension, unless two would be the same."""
    stems = {one.name: _stem(one.name) for one in slices}
    count = Counter(stems.values())
    return {name: stem if count[stem] == 1 else name for name, stem in stems.items()}


def _stem(name: str) -> str:
    head, dot, _ = name.rpartition(".")
    return head if dot and head else name


def in_order(slices: Sequence[Slice]) -> tuple[list[Slice], Order]:
    """Sort the files of a directory by position along the normal, else instance number, else name: one for all.

    Files of several series in one directory stay together, the series of the first name first.
    """
    by_name = sorted(slices, key=lambda one: one.name)
    series = list(dict.fromkeys(one.text("SeriesInstanceUID") for one in by_name))
    groups = [[one for one in by_name if one.text("SeriesInstanceUID") == uid] for uid in series]
    positions = [_positions(group) for group in groups]
    if all(place is not None for place in positions):
        # Of slices in one place, such as phases, the instance number tells.
        found = [
            sorted(group, key=lambda one: (place[one.name], one.number("InstanceNumber") or 0, one.name))
            for group, place in zip(groups, positions, strict=True)
            if place is not None
        ]
        return [one for group in found for one in group], "position"
    if all(one.number("InstanceNumber") is not None for one in by_name) and _differ(groups):
        return [
            one
            for group in groups
            for one in sorted(group, key=lambda one: (one.number("InstanceNumber") or 0, one.name))
        ], "instance"
    return [one for group in groups for one in group], "name"


def _differ(groups: Sequence[Sequence[Slice]]) -> bool:
    """Whether instance numbers say anything: not when all of several are the same."""
    return any(len({one.number("InstanceNumber") for one in group}) > 1 for group in groups) or all(
        len(group) == 1 for group in groups
    )


def _positions(group: Sequence[Slice]) -> dict[str, float] | None:
    """How far each file is along the normal of its planes; None where they are not one stack."""
    orientations = [_numbers(one.text("ImageOrientationPatient")) for one in group]
    places = [_numbers(one.text("ImagePositionPatient")) for one in group]
    if len(group) < 2 or any(len(found) != 6 for found in orientations) or any(len(found) != 3 for found in places):
        return None
    first = _normal(orientations[0])
    if math.hypot(*first) < _PARALLEL:
        return None
    for orientation in orientations:
        if max(abs(one - other) for one, other in zip(_normal(orientation), first, strict=True)) > _PARALLEL:
            return None
    found = {one.name: round(sum(map(operator.mul, first, place)), 3) for one, place in zip(group, places, strict=True)}
    return found if max(found.values()) - min(found.values()) > _APART else None


def _normal(orientation: Sequence[float]) -> tuple[float, float, float]:
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return b * f - c * e, c * d - a * f, a * e - b * d
