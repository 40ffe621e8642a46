"""The descriptor of a series, `<SERIES>-series.json`: every key and spelling as the viewer knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dgate.rev.layout import STRIP
from dgate.rev.slices import Order, Slice

NO_DATE = "19000101"

Entry = dict[str, Any]


def entry(first: Slice, path: str, data: Sequence[str], *, frames: int, shown: int, order: Order, status: str) -> Entry:
    """The one object of a descriptor. `first` is the first file by name, `path` the series' below the root.

    `data` are the names of its files in the order in which they are shown, `frames` how many frames those have
    together, `shown` how many of them the strip holds. ModalitiesInStudy is settled when the whole study is known.
    """
    series_date, study_date = _date(first, "SeriesDate"), _date(first, "StudyDate")
    uid, description = _text(first, "SeriesInstanceUID"), _text(first, "SeriesDescription")
    values = {
        "SeriesInstanceUID": uid,
        "uid": uid,
        "SeriesDescription": description,
        "StudyDescription": _text(first, "StudyDescription"),
        "ModalitiesInStudy": first.text("ModalitiesInStudy"),
        "PatientID": _text(first, "PatientID"),
        "PatientName": _text(first, "PatientName"),
        "PatientBirthDate": _date(first, "PatientBirthDate"),
        # Misspelt by the first ReV, and so for ever.
        "AcquistionDate": study_date if study_date != NO_DATE else series_date,
        "AcquisitionDate": _first_date(first, ("AcquisitionDate", "ContentDate", "StudyDate", "SeriesDate")),
        "Modality": first.text("Modality"),
    }
    series = {
        "uid": uid,
        "description": description,
        "date": series_date,
        "data": [f"{path}/{name}" for name in data],
        "files": str(len(data)),
        "frames": str(frames),
        "order": order,
        "status": status,
        "preview": {"blob": "", "url": f"{path}/{STRIP}", "frames": str(shown)},
    }
    return {**{key: {"value": value} for key, value in values.items()}, "details": {"series": series}}


def document(entry: Entry) -> dict[str, Any]:
    """A descriptor as it is written."""
    return {"query": {"data": [entry]}}


def entry_of(found: Any) -> Entry | None:
    """The object of a descriptor that was read; None when it is none."""
    match found:
        case {
            "query": {
                "data": [
                    {
                        "uid": {"value": str()},
                        "Modality": {"value": str()},
                        "ModalitiesInStudy": {"value": str()},
                        "details": {
                            "series": {
                                "uid": str(),
                                "description": str(),
                                "status": str(),
                                "preview": {"url": str(), "frames": str()},
                            }
                        },
                    } as entry
                ]
            }
        }:
            return dict(entry)
    return None


def series_of(entry: Entry) -> Mapping[str, Any]:
    """What an entry tells of its series."""
    found: Mapping[str, Any] = entry["details"]["series"]
    return found


def _text(first: Slice, keyword: str) -> str:
    return first.values.get(keyword, f"{keyword} not found")


def _date(first: Slice, keyword: str) -> str:
    """A date as YYYYMMDD: the viewer reads no other, and old objects write 2020.01.02."""
    digits = re.sub(r"[.\- :]", "", first.text(keyword).partition("\\")[0])[:8]
    return digits if re.fullmatch(r"[0-9]{8}", digits) else NO_DATE


def _first_date(first: Slice, keywords: Sequence[str]) -> str:
    return next((date for keyword in keywords if (date := _date(first, keyword)) != NO_DATE), NO_DATE)
