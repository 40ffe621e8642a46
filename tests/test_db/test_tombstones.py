"""What the index keeps of files it gave up, on both databases."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from db.index import Index
from db.objects import Location, NewObject
from db.query import Query
from db.tombstones import DELETED, DETACHED
from tests.test_db.headers import header, keys


def add(index: Index, file: str, *, replace: bool = True, **elements: str) -> None:
    index.add_many([NewObject(header(**elements), "MAG0", file, replace)])


def graves(index: Index) -> list[tuple[str, str, str]]:
    return [(each.location.file, each.kind, each.uid) for each in index.tombstones.all()]


def test_a_new_database_has_none(index: Index) -> None:
    assert graves(index) == []
    index.tombstones.forget([Location("MAG0", "a.dcm")])
    assert index.tombstones.kept_devices() == frozenset()


def test_the_file_that_another_replaces_gets_one_with_the_row(index: Index) -> None:
    for file in ("a.dcm", "b.dcm", "c.dcm"):
        add(index, file)
    assert graves(index) == [("a.dcm", DELETED, ""), ("b.dcm", DELETED, "")]
    assert index.tombstones.unswept == 2
    add(index, "c.dcm")
    assert len(graves(index)) == 2


def test_the_file_that_is_not_wanted_gets_one(index: Index) -> None:
    add(index, "a.dcm")
    add(index, "b.dcm", replace=False)
    assert graves(index) == [("b.dcm", DELETED, "")]


def test_a_name_with_other_separators_is_no_other_file(index: Index) -> None:
    add(index, "P1\\a.dcm")
    add(index, "P1/a.dcm")
    assert graves(index) == []


@pytest.mark.parametrize("kind", [DELETED, DETACHED])
def test_deletes_note_place_time_and_object(index: Index, kind: str) -> None:
    add(index, "müller ☃.dcm")
    before = time.time_ns()
    index.delete(index.select_objects(Query("IMAGE", keys(PatientID="P1"))), tombstones=kind)
    assert graves(index) == [("müller ☃.dcm", kind, "1.1.1.1")]
    (grave,) = index.tombstones.all()
    assert before <= grave.at_ns <= time.time_ns()


def test_the_last_word_on_a_place_counts(index: Index) -> None:
    place = Location("MAG0", "a.dcm")
    index.tombstones.add(DETACHED, place)
    index.tombstones.add(DELETED, place)
    assert graves(index) == [("a.dcm", DELETED, "")]
    index.tombstones.forget([place])
    assert graves(index) == []


def test_entering_files_forgets_that_they_were_detached_and_no_more(index: Index) -> None:
    for number, kind in enumerate((DETACHED, DETACHED, DELETED)):
        index.tombstones.add(kind, Location("MAG0", f"{number}.dcm"))
    index.tombstones.forget_detached(Location("MAG0", f"{number}.dcm") for number in (0, 2))
    assert graves(index) == [("1.dcm", DETACHED, ""), ("2.dcm", DELETED, "")]


def test_devices_are_kept_beside_them(index: Index) -> None:
    index.tombstones.keep_device("MAG0")
    index.tombstones.keep_device("MAG0")
    assert index.tombstones.kept_devices() == {"MAG0"}
    assert graves(index) == []


def test_what_fails_leaves_neither_row_nor_tombstone_behind(index: Index) -> None:
    add(index, "a.dcm")

    def fail(*_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.delete(index.select_objects(Query("IMAGE", {})), only=fail, tombstones=DELETED)
    assert graves(index) == []
    assert index.locate("1.1.1.1") == Location("MAG0", "a.dcm")


def test_places_are_those_of_all_objects(index: Index) -> None:
    add(index, "a.dcm")
    add(index, "b.dcm", SOPInstanceUID="1.1.1.2")
    assert sorted(index.places(), key=lambda each: each[0]) == [
        ("1.1.1.1", Location("MAG0", "a.dcm")),
        ("1.1.1.2", Location("MAG0", "b.dcm")),
    ]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_index_is_at_rest_when_it_is_closed_and_nobody_reads(
    open_index: Callable[..., Index], tmp_path: Path
) -> None:
    index = open_index()
    add(index, "a.dcm")
    index.sync()
    assert not index.at_rest
    with sqlite3.connect(tmp_path / "data" / "index.db3") as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM DICOMImages").fetchone() == (1,)
        add(index, "b.dcm")
        assert not index.at_rest
    reader.close()
    index.close()
    assert index.at_rest
