"""What one transaction remembers for the next: the tables end as if nothing were ever remembered."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import Refused
from db.index import Index
from db.query import Query
from db.schema import load_schema
from db.settings import DbSettings
from tests.test_db.headers import header

SETTINGS = DbSettings(SqLite=True, SQLServer="index.db3", UTF8ToDB=True)
TABLES = {
    "DICOMPatients": "PatientID, PatientNam, PatientSex",
    "DICOMStudies": "StudyInsta, StudyDescr, StudyModal, PatientID",
    "DICOMSeries": "SeriesInst, SeriesDesc, Modality, StudyInsta",
    "DICOMImages": "SOPInstanc, ImageNumbe, SeriesInst, ImagePat, ObjectFile",
}

# (patient, study of it, series of that, image of that), what is said at each level, and who enters it.
_NUMBER = st.integers(0, 1)
_OBJECTS = st.tuples(_NUMBER, _NUMBER, _NUMBER, st.integers(0, 3), st.tuples(_NUMBER, _NUMBER, _NUMBER), _NUMBER)
_DELETES = st.tuples(st.just("delete"), _NUMBER, _NUMBER, _NUMBER)


def _opened(directory: Path) -> Index:
    index = Index(SETTINGS, load_schema(None, SETTINGS), directory, durability="fast")
    index.ensure_tables()
    return index


def _enter(index: Index, step: Sequence[object], number: int) -> None:
    patient, study, series, image, (name, description, modality), _ = step  # type: ignore[misc]
    values = header(
        PatientID=f"P{patient}",
        PatientName=f"NAME{name}",
        StudyInstanceUID=f"1.{patient}.{study}",
        StudyDescription=f"study {description}",
        SeriesInstanceUID=f"1.{patient}.{study}.{series}",
        Modality=("CT", "MR")[modality],
        SOPInstanceUID=f"1.{patient}.{study}.{series}.{image}",
        InstanceNumber=str(image),
    )
    index.add(values, "MAG0", f"{number}.dcm")


def _delete(index: Index, patient: int) -> None:
    query = Query("PATIENT", {(0x00100020,): f"P{patient}"})
    index.delete(list(index.select_objects(query)))


def _contents(index: Index) -> dict[str, list[tuple[str, ...]]]:
    return {table: sorted(index.raw_query(table, fields)) for table, fields in TABLES.items()}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.one_of(_OBJECTS, _OBJECTS, _OBJECTS, _DELETES), max_size=14))
def test_two_indices_on_one_database_and_deletes_between_end_as_fresh_ones_do(
    steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared, reference = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("reference")
    both = (_opened(shared), _opened(shared))
    try:
        for number, step in enumerate(steps):
            # A fresh one remembers nothing.
            fresh = _opened(reference)
            try:
                if step[0] == "delete":
                    _delete(both[int(str(step[3]))], int(str(step[1])))
                    _delete(fresh, int(str(step[1])))
                else:
                    _enter(both[int(str(step[-1]))], step, number)
                    _enter(fresh, step, number)
                assert _contents(both[0]) == _contents(fresh)
            finally:
                fresh.close()
    finally:
        for index in both:
            index.close()


def test_a_series_goes_back_to_what_it_said_after_another_said_something_else(index: Index) -> None:
    for number, (series, name) in enumerate([("1", "A"), ("1", "A"), ("2", "B"), ("1", "A")]):
        index.add(
            header(SeriesInstanceUID=f"1.1.{series}", SOPInstanceUID=f"1.1.{series}.{number}", PatientName=name),
            "MAG0",
            f"{number}.dcm",
        )
        assert list(index.raw_query("DICOMPatients", "PatientNam")) == [(name,)]


def test_nothing_is_remembered_of_a_transaction_that_failed(
    open_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_index()
    index.add(header(), "MAG0", "1.dcm")

    class Stop(Exception):
        pass

    def fail(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("db.rows.Known.keep", fail)
        with pytest.raises(Stop):
            index.add(header(SeriesInstanceUID="1.1.2", SOPInstanceUID="1.1.2.1"), "MAG0", "2.dcm")
    index.add(header(SeriesInstanceUID="1.1.2", SOPInstanceUID="1.1.2.2"), "MAG0", "3.dcm")
    assert sorted(index.raw_query("DICOMSeries", "SeriesInst")) == [("1.1.1",), ("1.1.2",)]


def test_a_refused_object_leaves_what_is_remembered_right(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    with pytest.raises(Refused):
        index.add(header(PatientID="P2"), "MAG0", "2.dcm")
    index.add(header(SOPInstanceUID="1.1.1.2"), "MAG0", "3.dcm")
    assert sorted(index.raw_query("DICOMImages", "SOPInstanc, ImagePat")) == [("1.1.1.1", "P1"), ("1.1.1.2", "P1")]


def test_a_long_value_is_reported_for_each_object_of_a_series(index: Index) -> None:
    for number in range(3):
        added = index.add(header(SOPInstanceUID=f"1.1.1.{number}", StudyID="x" * 100), "MAG0", f"{number}.dcm")
        assert added.warnings == (f"***Truncated StudyID from 100 to 16 chars in file: {number}.dcm",)
