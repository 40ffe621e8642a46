"""Statements that are made once give what the planner gives for each query, with text as it is stored."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import db.sqlite
from db.errors import DatabaseError, QueryRefused
from db.index import Index
from db.matches import ROWS_AT_ONCE, text_of
from db.objects import NewObject
from db.query import Query
from db.schema import TagPath
from tests.test_db.headers import header, keys, path_of

WANTED = frozenset(map(path_of, ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "AccessionNumber")))
COUNTED = WANTED | {path_of("NumberOfStudyRelatedInstances"), path_of("ModalitiesInStudy")}
NAMES = ["DOE^JOHN", "doe^jane", "DOE", "ROE^R", " LATE^L", "YAMADA^T=山田^太郎", "Müller^Jörg", ""]


@pytest.fixture(scope="module")
def archive(shared_index: Index) -> Index:
    objects = []
    for number in range(450):
        uids = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"1.{number}.1"}
        uids |= {"SOPInstanceUID": f"1.{number}.1.1", "PatientID": f"P{number}", "AccessionNumber": f"A{number % 7}"}
        named = {"PatientName": NAMES[number % len(NAMES)], "Modality": ("CT", "MR", "SR")[number % 3]}
        date = f"20{number % 30:02}0{number % 9 + 1}15"
        objects.append(NewObject(header(**uids, **named, StudyDate=date), "MAG0", f"{number}"))
    shared_index.add_many(objects)
    return shared_index


def found(index: Index, query: Query) -> list[dict[TagPath, str]]:
    """What `matches` gives, as `find` shows it."""
    matches = index.matches(query)
    return [
        {path: text_of(cell) for path, cell in zip(matches.paths, row, strict=False)}
        for rows in matches.rows
        for row in rows
    ]


def statements(index: Index) -> dict[Any, Any]:
    return index._open().finder._statements


@pytest.mark.parametrize(
    ("level", "queries"),
    [
        ("STUDY", [{"PatientID": "P1"}, {"PatientID": "P2 "}, {"PatientID": "NONE"}]),
        ("STUDY", [{"PatientName": "DOE^JOHN"}, {"PatientName": "doe*"}, {"PatientName": "ROE^*"}]),
        ("STUDY", [{"StudyDate": "20050615"}, {"StudyDate": "2006.07.15"}]),
        ("STUDY", [{"StudyDate": "20050101-20051231"}, {"StudyDate": "20060101-20061231"}]),
        ("STUDY", [{"StudyDate": "20250101-"}, {"StudyDate": "20280101-"}]),
        ("STUDY", [{"StudyDate": "-20020101"}, {"StudyDate": "-20030101"}]),
        ("STUDY", [{"ModalitiesInStudy": "MR"}, {"ModalitiesInStudy": "CT"}]),
        ("STUDY", [{"PatientName": "DOE*", "StudyDate": "20050101-20101231", "AccessionNumber": "A1"},
                   {"PatientName": "ROE*", "StudyDate": "20110101-20201231", "AccessionNumber": "A2"}]),
        ("STUDY", [{"PatientID": "", "AccessionNumber": "A1"}, {"PatientID": "*", "AccessionNumber": "A2"}]),
        ("STUDY", [{"SOPInstanceUID": "1.7.1.1"}, {"SOPInstanceUID": "1.8.1.1"}]),
        ("PATIENT", [{"StudyInstanceUID": "1.7"}, {"StudyInstanceUID": "1.8"}]),
        ("SERIES", [{"StudyInstanceUID": "1.7", "Modality": "MR"}, {"StudyInstanceUID": "1.8", "Modality": "SR"}]),
        ("IMAGE", [{"SeriesInstanceUID": "1.7.1"}, {"SeriesInstanceUID": "1.8.1"}]),
    ],
)  # fmt: skip
def test_queries_of_one_shape_share_a_statement(archive: Index, level: str, queries: list[dict[str, str]]) -> None:
    statements(archive).clear()
    for elements in queries:
        query = Query(level, keys(**elements), COUNTED if level == "STUDY" else WANTED)
        assert found(archive, query) == [dict(row) for row in archive.find(query)]
    assert len(statements(archive)) == 1
    assert any(list(archive.find(Query(level, keys(**elements), WANTED))) for elements in queries)


@pytest.mark.parametrize(
    "elements",
    [
        {"StudyInstanceUID": "1.7\\1.8"},
        {"PatientID": "P1*"},
        {"PatientName": "*OE*"},
        {"PatientName": "Müller*"},
        {"PatientName": "YAMADA*=山田*"},
        {"StudyTime": "10-12"},
    ],
)
def test_queries_of_their_own_kind_are_not_remembered(archive: Index, elements: dict[str, str]) -> None:
    statements(archive).clear()
    query = Query("STUDY", keys(**elements), WANTED)
    assert found(archive, query) == [dict(row) for row in archive.find(query)]
    assert statements(archive) == {}


_KEYS = st.sampled_from(
    ["", "*", "P1", "P2", "A1", "DOE*", "doe^j*", "=DOE", "DOE^JOHN", "20050615", "20050101-", "-20100101", "-"]
) | st.sampled_from(
    [
        "20050101-20101231",
        "2005",
        "20050101-2006",
        "1.7",
        "1.7\\1.8",
        "CT",
        "CT\\MR",
        " ",
        "?",
        "D?E*",
        "'; --",
        "\\",
        "%",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["PatientID", "PatientName", "StudyDate", "AccessionNumber", "Modality", "ModalitiesInStudy",
                         "StudyInstanceUID", "SeriesInstanceUID", "StudyTime", "BodyPartExamined"]),
        _KEYS | st.text(st.characters(codec="latin-1"), max_size=6), max_size=3,
    ),
    st.sampled_from(["PATIENT", "STUDY", "SERIES", "IMAGE"]),
)  # fmt: skip
def test_any_query_gives_the_rows_that_the_planner_gives(archive: Index, elements: dict[str, str], level: str) -> None:
    query = Query(level, keys(**elements), WANTED)
    got, wanted = ([sorted(row.items()) for row in rows] for rows in (found(archive, query), archive.find(query)))
    assert sorted(got) == sorted(wanted)


def test_rows_come_some_at_a_time(archive: Index) -> None:
    sizes = [len(rows) for rows in archive.matches(Query("STUDY", {}, WANTED)).rows]
    assert sizes == [ROWS_AT_ONCE, ROWS_AT_ONCE, 50]


def test_a_sort_column_that_there_is_not_is_refused_at_once(archive: Index) -> None:
    with pytest.raises(QueryRefused):
        archive.matches(Query("STUDY", {}, WANTED, sort="Nothing"))


def test_a_peer_that_asks_in_ever_new_ways_fills_no_memory(archive: Index) -> None:
    statements(archive).clear()
    names = [each.keyword for each in archive.schema.tables["STUDY"].columns]
    for number in range(300):
        wanted = frozenset(path for bit, path in enumerate(sorted(COUNTED)) if number >> bit & 1)
        sort = names[number // 128]
        list(archive.matches(Query("STUDY", keys(PatientID="P1"), wanted, sort=sort)).rows)
        assert len(statements(archive)) <= 256


def test_a_search_that_nobody_wants_any_more_ends_between_two_rows(
    archive: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db.sqlite, "_STEPS_UNTIL_ASKED", 100)
    asked = []
    query = Query("STUDY", keys(PatientName="*nobody*"), WANTED)
    assert list(archive.matches(query, lambda: asked.append(1) is None).rows) == []
    assert asked == [1]
    assert list(archive.matches(query, lambda: False).rows) == []
    if archive.file is not None:
        with pytest.raises(DatabaseError, match="interrupted"):
            list(archive.matches(query, lambda: bool(1 / 0)).rows)
    assert len(list(archive.find(Query("STUDY", keys(PatientName="DOE^JOHN"), WANTED)))) == 57


def test_text_that_conquest_wrote_in_latin_1_comes_as_it_is_stored(archive: Index) -> None:
    if archive.file is None:
        pytest.skip("PostgreSQL has text in one encoding")
    uids = {"StudyInstanceUID": "2.1", "SeriesInstanceUID": "2.1.1", "SOPInstanceUID": "2.1.1.1"}
    archive.add_many([NewObject(header(PatientID="L", **uids), "MAG0", "l")])
    with closing(sqlite3.connect(archive.file)) as conquest, conquest:
        conquest.execute("UPDATE DICOMStudies SET PatientNam = CAST(? AS TEXT) WHERE PatientID = 'L'", (b"M\xfcller",))
    query = Query("STUDY", keys(PatientID="L"), [path_of("PatientName")])
    (((stored, *_),),) = archive.matches(query).rows
    assert stored == b"M\xfcller"
    assert found(archive, query) == [dict(row) for row in archive.find(query)] == [{path_of("PatientName"): "Müller"}]


def test_objects_come_as_rows_in_the_order_of_a_viewer(archive: Index) -> None:
    query = Query("STUDY", keys(AccessionNumber="A1"))
    rows = [tuple(map(text_of, row)) for rows in archive.object_rows(query) for row in rows]
    objects = list(archive.select_objects(query))
    assert rows == [
        (o.sop_class, o.sop_instance, o.patient_id, o.study_uid, o.series_uid, o.device, o.file) for o in objects
    ]
    assert len(rows) == 65
