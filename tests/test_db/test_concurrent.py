"""Many at once: threads and processes that bring, find and remove the same things."""

import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from db import engine, sqlite
from db.engine import Session
from db.errors import DatabaseLocked
from db.index import Index
from db.objects import NewObject
from db.query import Query
from db.schema import load_schema
from db.settings import DbSettings
from tests.conftest import PostgresServer
from tests.test_db.headers import header, keys, path_of


def image(number: int) -> NewObject:
    """Return one image of patient P1: ten series of study 1.1."""
    series = f"1.1.{number % 10}"
    values = header(SeriesInstanceUID=series, SOPInstanceUID=f"{series}.{number}", Modality=f"M{number % 3}")
    return NewObject(values, "MAG0", f"{number}.dcm")


def counts(index: Index) -> list[int]:
    return [index.count(Query(level, {}, [path])) for level, path in LEVEL_KEYS]


LEVEL_KEYS = [
    ("PATIENT", path_of("PatientID")),
    ("STUDY", path_of("StudyInstanceUID")),
    ("SERIES", path_of("SeriesInstanceUID")),
    ("IMAGE", path_of("SOPInstanceUID")),
]


def test_sixteen_threads_that_bring_one_new_patient_leave_one(index: Index) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: index.add(image(number).values, "MAG0", f"{number}.dcm"), range(160)))
    assert counts(index) == [1, 1, 10, 160]
    (row,) = index.find(Query("STUDY", {}, [path_of("ModalitiesInStudy")]))
    assert sorted(row[path_of("ModalitiesInStudy")].split("\\")) == ["M0", "M1", "M2"]


def test_they_leave_one_even_in_tables_without_keys(index: Index) -> None:
    index.create_tables(1, drop=True)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: index.add_many([image(number), image(number + 160)]), range(160)))
    assert [len(list(index.raw_query(table, "*"))) for table in ("DICOMPatients", "DICOMStudies", "DICOMSeries")] == [
        1,
        1,
        10,
    ]
    assert counts(index) == [1, 1, 10, 320]


def enter(settings: DbSettings, base: Path, numbers: range) -> int:
    """Do what an association worker does, in a process of its own."""
    index = Index(settings, load_schema(None, settings), base)
    index.ensure_tables()
    for number in numbers:
        added = index.add(image(number).values, "MAG0", f"{number}.dcm")
        assert index.locate(added.sop_instance) is not None
    index.close()
    return len(numbers)


def test_processes_that_start_together_on_an_empty_database_share_it(
    database: Callable[..., DbSettings], tmp_path: Path
) -> None:
    settings = database()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as processes:
        parts = [processes.submit(enter, settings, tmp_path, range(part, 90, 3)) for part in range(3)]
        assert [part.result() for part in parts] == [30, 30, 30]
    index = Index(settings, load_schema(None, settings), tmp_path)
    assert counts(index) == [1, 1, 10, 90]
    index.close()


def test_one_object_brought_twice_at_once_has_one_row_and_the_other_file_is_told(index: Index) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda number: index.add(header(), "MAG0", f"{number}.dcm"), range(8)))
    told = [result.previous.file for result in results if result.previous is not None]
    left = index.locate("1.1.1.1")
    assert left is not None
    # Each file is either the one that counts or was handed back once, to be removed.
    assert sorted([*told, left.file]) == [f"{number}.dcm" for number in range(8)]


def test_readers_see_whole_batches_while_a_writer_works(index: Index) -> None:
    query = Query("IMAGE", keys(StudyInstanceUID="1.1"), [path_of("SOPInstanceUID")])
    seen = []
    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(
            lambda: [index.add_many([image(part * 50 + n) for n in range(50)]) for part in range(20)]
        )
        while not writing.done():
            seen.append(sum(1 for _ in index.find(query)))
        writing.result()
    assert all(number % 50 == 0 for number in seen)
    assert index.count(query) == 1000


def test_deleting_and_storing_at_once_never_leaves_an_image_without_a_series(index: Index) -> None:
    study = Query("STUDY", keys(StudyInstanceUID="1.1"))

    def remove() -> int:
        return sum(len(index.delete(index.select_objects(study))) for _ in range(30))

    with ThreadPoolExecutor(3) as threads:
        removing = threads.submit(remove)
        list(threads.map(lambda number: index.add(image(number).values, "MAG0", f"{number}.dcm"), range(200)))
        removed = removing.result()
    left = list(index.select_objects(study))
    assert len(left) + removed == 200
    assert len(list(index.raw_query("DICOMImages", "*"))) == len(left)


def test_a_database_that_stays_locked_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT_S", 0.2)
    settings = DbSettings(SqLite=True, SQLServer="index.db3")
    index = Index(settings, load_schema(None, settings), tmp_path)
    index.ensure_tables()
    other = sqlite3.connect(tmp_path / "index.db3", isolation_level=None)
    index.close()
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(DatabaseLocked, match="has been locked by another program"):
        index.add(header(), "MAG0", "1.dcm")
    assert time.monotonic() - started < 5
    assert index.count(Query("IMAGE", {})) == 0  # reading goes on
    other.execute("COMMIT")
    other.close()
    assert index.add(header(), "MAG0", "1.dcm").stored
    index.close()


def test_a_postgresql_writer_that_another_process_keeps_out_says_so(
    postgresql: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.postgresql.LOCK_TIMEOUT_S", 0.3)
    name = postgresql.create_database()
    place = DbSettings(PostGres=True, SQLServer=name, SQLHost=str(postgresql.socket), Username="dgate")
    index, other = (Index(place, load_schema(None, place), tmp_path) for _ in range(2))
    index.ensure_tables()
    with ThreadPoolExecutor(1) as threads:

        def hold(session: Session) -> None:
            with pytest.raises(DatabaseLocked, match="has been locked by another program"):
                threads.submit(index.add, header(), "MAG0", "1.dcm").result()
            assert threads.submit(index.count, Query("IMAGE", {})).result() == 0  # reading goes on

        other._database.write(hold)
        assert index.add(header(), "MAG0", "1.dcm").stored
    index.close()
    other.close()
    postgresql.drop_database(name)


def test_a_writer_that_waits_too_long_for_its_turn_gives_up(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_S", 0.1)
    with ThreadPoolExecutor(1) as threads:

        def slow_uid() -> str:
            time.sleep(1)
            return "2.2"

        slow = threads.submit(index.change_uid, "1.1", "lua", "", slow_uid)
        time.sleep(0.3)
        with pytest.raises(DatabaseLocked, match="has been busy"):
            index.add(header(), "MAG0", "1.dcm")
        assert slow.result() == "2.2"
