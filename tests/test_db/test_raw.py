"""The SQL of the query command: what it may say, and that it cannot say more."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import QueryRefused
from db.index import Index
from db.objects import NewObject
from db.raw import checked_select
from db.sqlite import SqliteBackend
from db.tables import LiveTables
from tests.test_db.headers import header


@pytest.fixture
def archive(index: Index) -> Index:
    for number in ("1", "2", "10"):
        values = header(SOPInstanceUID=f"1.1.1.{number}", InstanceNumber=number, StudyDescription="it's 100%")
        index.add(values, "MAG0", f"{number}.dcm")
    return index


@pytest.mark.parametrize(
    ("table", "fields", "where", "expected"),
    [
        ("DICOMPatients", "PatientNam", "", [("DOE^JOHN",)]),
        ("dicompatients", "patientnam,PATIENTID", "", [("DOE^JOHN", "P1")]),
        ("DICOMImages", "SOPInstanc", "ImageNumbe = '10'", [("1.1.1.10",)]),
        ("DICOMImages", "count(*)", "", [("3",)]),
        ("DICOMImages", "max(ImageNumbe), min(ImageNumbe)", "", [("2", "1")]),
        ("DICOMImages", "ImageNumbe", "1=1 ORDER BY CAST(ImageNumbe AS integer) DESC LIMIT 2", [("10",), ("2",)]),
        ("DICOMImages", "DISTINCT SeriesInst", "ImageNumbe IN ('1', '2')", [("1.1.1",)]),
        ("DICOMStudies", "StudyInsta", "StudyDescr LIKE '%''s 100%%'", [("1.1",)]),
        ("DICOMStudies", "StudyInsta", "StudyDate IS NULL AND NOT StudyID IS NOT NULL", [("1.1",)]),
        (
            "DICOMPatients, DICOMStudies",
            "DICOMPatients.PatientID",
            "DICOMStudies.PatientID = DICOMPatients.PatientID",
            [("P1",)],
        ),
        (
            "DICOMPatients",
            "PatientID",
            "PatientID IN (SELECT PatientID FROM DICOMStudies WHERE StudyInsta = '1.1')",
            [("P1",)],
        ),
        ("DICOMSeries", "Modality, count(*)", "1=1 GROUP BY Modality HAVING count(*) > 0", [("CT", "1")]),
        ("DICOMStudies", "coalesce(StudyDate, 'none'), upper(StudyDescr)", "", [("none", "IT'S 100%")]),
        ("UIDMODS", "OldUID", "", []),
        ("DICOMWorkList", "*", "", []),
    ],
)
def test_reading_the_index_is_allowed(
    archive: Index, table: str, fields: str, where: str, expected: list[tuple[str, ...]]
) -> None:
    assert list(archive.raw_query(table, fields, where)) == expected


@pytest.mark.parametrize(
    ("table", "fields", "where"),
    [
        ("sqlite_master", "*", ""),
        ("pg_shadow", "*", ""),
        ("pg_catalog.pg_authid", "*", ""),
        ("information_schema.tables", "*", ""),
        ("DICOMPatients", "PatientID; DROP TABLE DICOMImages", ""),
        ("DICOMPatients", "PatientID", "1=1; DELETE FROM DICOMImages"),
        ("DICOMPatients", "PatientID", "1=1 -- comment"),
        ("DICOMPatients", "PatientID /* x */", ""),
        ("DICOMPatients", "PatientID INTO copy", ""),
        ("DICOMPatients", "load_extension('x')", ""),
        ("DICOMPatients", "pg_read_file('/etc/passwd')", ""),
        ("DICOMPatients", "pg_sleep(100)", ""),
        ("DICOMPatients", "PatientID", "1=1 UNION SELECT passwd FROM pg_shadow"),
        ("DICOMPatients", "(SELECT sql FROM sqlite_master)", ""),
        ("DICOMPatients", "PatientID AS pg_shadow, (SELECT 1 FROM pg_shadow)", ""),
        ("DICOMPatients", "PatientID('x')", ""),
        ("DICOMPatients", '"pg_shadow"', ""),
        ("DICOMPatients", "$$x$$", ""),
        ("DICOMPatients", "E'\\x41'", ""),
        ("DICOMPatients", "PatientID", "PatientID = 'a\\' OR 1=1"),
        ("DICOMPatients", "PatientID", "PatientID = 'a"),
        ("DICOMPatients", "PatientID", "1=1) OR (1=1"),
        ("DICOMPatients", "PatientID", "(1=1"),
        ("DICOMPatients", "PatientID\0", ""),
        ("DICOMPatients", "NoColumn", ""),
        ("DICOMPatients", "", ""),
        ("", "PatientID", ""),
        ("DICOMPatients", "1e5", ""),
        ("PRAGMA", "journal_mode", ""),
        ("DICOMPatients", "PatientID", "1=1 FOR UPDATE"),
    ],
)
def test_anything_else_is_refused(archive: Index, table: str, fields: str, where: str) -> None:
    with pytest.raises(QueryRefused):
        list(archive.raw_query(table, fields, where))
    assert len(list(archive.raw_query("DICOMImages", "*"))) == 3


def test_sql_that_the_database_does_not_understand_is_refused(archive: Index) -> None:
    with pytest.raises(QueryRefused, match="cannot be run"):
        list(archive.raw_query("DICOMPatients", "PatientID FROM FROM", ""))
    with pytest.raises(QueryRefused, match="cannot be run"):
        list(archive.raw_query("DICOMPatients", "StudyInsta", ""))


def test_rows_have_48_fields_of_255_characters_at_most(archive: Index) -> None:
    (row,) = archive.raw_query("DICOMPatients", ", ".join(["'" + "x" * 300 + "'"] * 60))
    assert row == ("x" * 255,) * 48


WORDS = [
    "PatientID",
    "DICOMImages",
    "SELECT",
    "FROM",
    "(",
    ")",
    "'",
    "''",
    ",",
    ";",
    "DELETE",
    "DROP",
    "--",
    "*",
    "=",
    "1",
    " ",
]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=()), max_size=30), st.lists(st.sampled_from(WORDS)).map(" ".join)
    )
)
def test_whatever_is_asked_only_a_refusal_can_come_of_it(shared_index: Index, text: str) -> None:
    try:
        rows = shared_index.raw_query("DICOMImages", "SOPInstanc", text)
        assert list(rows) == []
    except QueryRefused:
        return


def test_sqlite_itself_allows_no_more_than_reading(archive: Index) -> None:
    """The second wall: what would happen to SQL that the first one let through."""
    backend = archive._database.backend
    for sql in (
        "DELETE FROM DICOMImages",
        "SELECT 1; DELETE FROM DICOMImages",
        "CREATE TABLE x (y int)",
        "SELECT pg_sleep(1), load_extension('x')",
    ):
        with pytest.raises(QueryRefused):
            list(backend.select_read_only(sql))
    assert len(list(archive.raw_query("DICOMImages", "*"))) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA query_only = OFF",
        "ATTACH DATABASE '/tmp/other.db3' AS other",
        "SELECT sql FROM sqlite_master",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    ],
)
def test_sqlite_allows_nothing_around_the_tables(shared_index: Index, sql: str) -> None:
    backend = shared_index._database.backend
    if isinstance(backend, SqliteBackend):
        with pytest.raises(QueryRefused, match="cannot be run"):
            list(backend.select_read_only(sql))


def test_a_query_that_takes_too_long_is_stopped(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    index.add_many(
        [NewObject(header(**dict.fromkeys(uids, f"1.{number}")), "MAG0", f"{number}.dcm") for number in range(1000)]
    )
    monkeypatch.setattr("db.sqlite.QUERY_TIMEOUT_S", 1)
    monkeypatch.setattr("db.postgresql.QUERY_TIMEOUT_S", 1)
    everything = "DICOMImages, DICOMSeries, DICOMStudies"
    with pytest.raises(QueryRefused, match=r"the query took more than 1 s"):
        list(index.raw_query(everything, "count(*)", "DICOMImages.SOPInstanc <> DICOMSeries.SeriesInst"))


def test_refusals_need_no_database(shared_index: Index) -> None:
    tables: LiveTables = shared_index._open().tables
    assert checked_select(tables, "DICOMImages", "*", "") == "SELECT * FROM DICOMImages"
    assert sqlite3.complete_statement(checked_select(tables, "DICOMImages", "*", "1 = 1") + ";")
