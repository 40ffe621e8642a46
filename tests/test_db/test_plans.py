"""The searches that must not slow down with the archive use an index, on both databases."""

from typing import Any

import pytest
from sqlalchemy import Select

from db.index import Index
from db.objects import NewObject
from db.query import Query
from tests.test_db.headers import header, keys, path_of

STUDY = [path_of("StudyInstanceUID"), path_of("PatientName")]


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


@pytest.mark.parametrize(
    ("level", "elements"),
    [
        ("IMAGE", {"SOPInstanceUID": "1.7.1.1"}),
        ("IMAGE", {"SOPInstanceUID": "1.7.1.1\\1.8.1.1"}),
        ("IMAGE", {"SeriesInstanceUID": "1.7.1"}),
        ("IMAGE", {"PatientID": "P7"}),
        ("SERIES", {"StudyInstanceUID": "1.7"}),
        ("SERIES", {"PatientID": "P7"}),
        ("STUDY", {"StudyInstanceUID": "1.7"}),
        ("STUDY", {"PatientID": "P7"}),
        ("STUDY", {"AccessionNumber": "A7"}),
        ("STUDY", {"StudyDate": "20010101"}),
        ("STUDY", {"StudyDate": "20010101-20010103"}),
        ("STUDY", {"SOPInstanceUID": "1.7.1.1"}),
        ("STUDY", {"SeriesInstanceUID": "1.7.1\\1.8.1"}),
        ("PATIENT", {"PatientID": "P7"}),
        ("PATIENT", {"StudyInstanceUID": "1.7"}),
    ],
)
def test_a_key_that_names_little_is_looked_up(archive: Index, level: str, elements: dict[str, str]) -> None:
    wanted = [{"PATIENT": path_of("PatientID"), "IMAGE": path_of("SOPInstanceUID")}.get(level, STUDY[0])]
    plan = plan_of(archive, archive._open().planner.find(Query(level, keys(**elements), wanted)).statement)
    assert "SEARCH" in plan or "Index" in plan, plan
    assert "SCAN DICOM" not in plan, plan
    assert "Seq Scan on dicom" not in plan, plan


@pytest.mark.parametrize("key", ["N00007^X", "n00007*", "N00007^*"])
def test_a_name_whose_beginning_is_known_comes_from_the_index(archive: Index, key: str) -> None:
    plan = plan_of(archive, archive._open().planner.find(Query("STUDY", keys(PatientName=key), STUDY)).statement)
    index_name = "dgate_dicomstudies_patientnam"
    assert index_name in plan.lower(), plan
    # SQLite reads the index, not the table, for the few names with component groups.
    assert "SCAN DICOMStudies USING COVERING INDEX" in plan or "SCAN DICOMStudies" not in plan, plan
    assert "Seq Scan on dicomstudies" not in plan, plan
    assert archive.count(Query("STUDY", keys(PatientName=key), STUDY)) == 1


def test_objects_of_a_study_are_looked_up(archive: Index) -> None:
    plan = plan_of(archive, archive._open().planner.objects(Query("STUDY", keys(StudyInstanceUID="1.7"))))
    assert "SCAN DICOM" not in plan, plan
    assert "Seq Scan on dicom" not in plan, plan


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
