"""The searches that must not slow down with the archive use an index, on both databases."""

from typing import Any

import pytest
from sqlalchemy import Select

from db.index import Index
from db.objects import NewObject
from db.query import Query
from tests.test_db.headers import header, keys, path_of


@pytest.fixture(scope="module")
def archive(shared_index: Index) -> Index:
    """Enough rows that PostgreSQL, too, prefers an index to reading them all."""
    objects = []
    for number in range(3000):
        uids = {"StudyInstanceUID": f"1.{number}", "SeriesInstanceUID": f"1.{number}.1"}
        uids |= {"SOPInstanceUID": f"1.{number}.1.1", "PatientID": f"P{number}", "AccessionNumber": f"A{number}"}
        date = f"20{number // 336:02}{number // 28 % 12 + 1:02}{number % 28 + 1:02}"
        objects.append(NewObject(header(**uids, StudyDate=date, PatientName=f"N{number:05}^X"), "MAG0", f"{number}"))
    shared_index.add_many(objects)
    backend = shared_index._database.backend
    shared_index._database.write(lambda session: session.execute("ANALYZE"))
    assert backend.database_type
    return shared_index


def plan_of(index: Index, statement: Select[Any]) -> str:
    """Return how the database runs a statement, with its real parameters."""
    is_sqlite = "SQLite" in index.database_type
    with index._database.reading() as connection:
        compiled = statement.compile(dialect=connection.dialect)
        values = tuple(compiled.params[name] for name in compiled.positiontup) if is_sqlite else compiled.params
        rows = connection.exec_driver_sql(("EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN ") + str(compiled), values)
        return "\n".join(str(row[-1]) for row in rows)


def scans(plan: str) -> list[str]:
    """What a plan reads from one end to the other, of tables and of whole indices."""
    return [line for line in plan.splitlines() if "SCAN DICOM" in line or "Seq Scan on dicom" in line]


# What clients ask for at each level.
WANTED = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "STUDY": ("StudyInstanceUID", "PatientName", "PatientID", "StudyDate", "AccessionNumber", "ModalitiesInStudy"),
    "SERIES": ("SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "Modality", "NumberOfSeriesRelatedInstances"),
    "IMAGE": ("SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SOPClassUID"),
}
KEYS = [
    {"PatientID": "P7"},
    {"PatientID": "P7\\P8"},
    {"PatientName": "N00007^X"},
    {"PatientName": "n00007*"},
    {"PatientName": "N00007^*"},
    {"StudyDate": "20010101"},
    {"StudyDate": "20010101-20010103"},
    {"StudyDate": "20010101-20010103", "StudyTime": "080000-120000"},
    {"AccessionNumber": "A7"},
    {"StudyInstanceUID": "1.7"},
    {"SeriesInstanceUID": "1.7.1"},
    {"SOPInstanceUID": "1.7.1.1"},
    {"StudyInstanceUID": "1.7\\1.8"},
    {"SeriesInstanceUID": "1.7.1\\1.8.1"},
    {"SOPInstanceUID": "1.7.1.1\\1.8.1.1"},
    {"StudyDate": "20010101-20010103", "ModalitiesInStudy": "MR"},
    {"PatientName": "N0000*", "StudyDate": "20010101-20010103", "AccessionNumber": "A7"},
    {"PatientID": "P7", "StudyInstanceUID": "1.7", "SeriesInstanceUID": "1.7.1"},
]


@pytest.mark.parametrize("elements", KEYS, ids=str)
@pytest.mark.parametrize("level", WANTED)
def test_what_clients_ask_for_is_looked_up(archive: Index, level: str, elements: dict[str, str]) -> None:
    query = Query(level, keys(**elements), [path_of(keyword) for keyword in WANTED[level]])
    plan = plan_of(archive, archive._open().planner.find(query).statement)
    assert "SEARCH" in plan or "Index" in plan, plan
    assert scans(plan) == [], plan


@pytest.mark.parametrize("key", ["N00007^X", "n00007*", "N00007^*"])
@pytest.mark.parametrize(("level", "table"), [("PATIENT", "patients"), ("STUDY", "studies")])
def test_a_name_whose_beginning_is_known_comes_from_the_index(archive: Index, level: str, table: str, key: str) -> None:
    query = Query(level, keys(PatientName=key), [path_of("PatientID"), path_of("PatientName")])
    plan = plan_of(archive, archive._open().planner.find(query).statement)
    assert f"dgate_dicom{table}_patientnam" in plan.lower(), plan
    assert scans(plan) == [], plan
    assert archive.count(query) == 1


@pytest.mark.parametrize(
    ("level", "elements"),
    [
        ("PATIENT", {"PatientID": "P7"}),
        ("STUDY", {"StudyInstanceUID": "1.7"}),
        ("STUDY", {"PatientID": "P7", "StudyInstanceUID": "1.7"}),
        ("STUDY", {"AccessionNumber": "A7"}),
        ("SERIES", {"SeriesInstanceUID": "1.7.1"}),
        ("SERIES", {"PatientID": "P7", "StudyInstanceUID": "1.7", "SeriesInstanceUID": "1.7.1\\1.8.1"}),
        ("IMAGE", {"SOPInstanceUID": "1.7.1.1"}),
        ("IMAGE", {"SOPInstanceUID": "1.7.1.1\\1.8.1.1"}),
        ("IMAGE", {"SeriesInstanceUID": "1.7.1"}),
    ],
)
def test_what_is_retrieved_is_looked_up(archive: Index, level: str, elements: dict[str, str]) -> None:
    plan = plan_of(archive, archive._open().planner.objects(Query(level, keys(**elements))))
    assert scans(plan) == [], plan


def test_entering_an_object_looks_up_and_never_scans(archive: Index) -> None:
    writer = archive._open().writer
    for level in writer._levels.values():
        statement = level._find._sql
        for name in ("%(key)s", "?"):
            statement = statement.replace(name, "'1.7'")
        prefix = "EXPLAIN QUERY PLAN " if "SQLite" in archive.database_type else "EXPLAIN "
        plan = str(archive._database.write(lambda session, sql=prefix + statement: session.execute(sql)))  # type: ignore[misc]
        assert "SCAN DICOM" not in plan, plan
        assert "Seq Scan" not in plan, plan


def test_the_look_before_a_row_is_handed_over_goes_by_the_key(archive: Index) -> None:
    lookup = archive._open().lookup()
    is_sqlite = "SQLite" in archive.database_type
    rows = lookup._cursor.execute(
        ("EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN ") + lookup._sql, ("1.7.1.1",)
    ).fetchall()
    assert scans("\n".join(str(row[-1]) for row in rows)) == []
    assert [lookup(uid) for uid in ("1.7.1.1", "1.7.1.2")] == [True, False]
    lookup.close()
