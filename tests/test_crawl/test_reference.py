"""The same index as med-imagetools makes of the same tree, field by field, but for the deviations that are listed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dgate.crawl import Crawler
from tests.test_crawl.material import build, uid
from tests.test_crawl.regenerate import NAME, REFERENCE

Entries = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("equal")
    return Crawler(build(directory / NAME)).crawl().directory


def entries(directory: Path, name: str) -> Entries:
    found: Entries = json.loads((directory / f"{name}.json").read_bytes())
    return found


def test_the_reference_is_the_version_that_the_deviations_are_about(reference: dict[str, Any]) -> None:
    assert reference["about"] == "written by med-imagetools 2.16.0, see regenerate.py"


@pytest.mark.parametrize("name", ["crawl_db", "crawl-cache"])
def test_every_field_of_every_series_equals_that_of_med_imagetools(
    ours: Path, reference: dict[str, Any], name: str
) -> None:
    mine, theirs = entries(ours, name), reference[name]
    assert {uid: list(subs) for uid, subs in mine.items()} == {uid: list(subs) for uid, subs in theirs.items()}
    for series, subs in theirs.items():
        for sub, fields in subs.items():
            assert without_deviations(mine[series][sub]) == without_deviations(fields), (series, sub)


def without_deviations(fields: dict[str, Any]) -> dict[str, Any]:
    """What has to be equal: not what structure sets draw on (always [] there), nor the order of an SR's references."""
    kept = dict(fields)
    if fields["Modality"] in ("RTSTRUCT", "RTDOSE"):
        kept.pop("ReferencedSOPUIDs", None)
    for key in ("ReferencedSOPUIDs", "ReferencedSeriesUID"):
        if fields["Modality"] == "SR":
            value = fields[key]
            kept[key] = sorted(value.split(";") if isinstance(value, str) else value)
    return kept


def test_the_keys_of_an_entry_are_in_the_order_of_the_format(ours: Path, reference: dict[str, Any]) -> None:
    mine, theirs = entries(ours, "crawl_db"), reference["crawl_db"]
    for series, subs in theirs.items():
        for sub, fields in subs.items():
            added = ["ReferencedSOPUIDs"] if fields["Modality"] == "RTDOSE" else []
            found = [key for key in mine[series][sub] if key not in added]
            assert found == list(fields), series


def test_the_map_of_instances_equals_that_of_med_imagetools(ours: Path, reference: dict[str, Any]) -> None:
    assert entries(ours, "sop_map") == reference["sop_map"]


def test_the_index_has_the_rows_of_med_imagetools(ours: Path, reference: dict[str, Any]) -> None:
    with (ours / "index.csv").open(encoding="utf-8", newline="") as source:
        head, *rows = csv.reader(source)
    their_head, *their_rows = reference["index"]
    assert head == their_head
    assert sorted(map(unordered, rows)) == sorted(map(unordered, their_rows))


def unordered(row: list[str]) -> list[str]:
    return ["+".join(sorted(value.split(";"))) for value in row]


def test_a_json_file_is_the_text_that_json_dump_writes(ours: Path) -> None:
    for name in ("crawl_db", "crawl-cache", "sop_map"):
        text = (ours / f"{name}.json").read_text(encoding="ascii")
        assert text == json.dumps(json.loads(text), indent=4)


def test_the_series_that_differ_do_so_because_ours_know_more(ours: Path) -> None:
    mine = entries(ours, "crawl_db")
    assert mine[uid(201)]["1"]["ReferencedSOPUIDs"] == []
    assert mine[uid(404)]["1"]["ReferencedSOPUIDs"] == [uid(1)]
