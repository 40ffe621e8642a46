"""Images that are entered many at a time: their rows are those that each gets alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.errors import Refused
from db.index import Index
from db.objects import Added, NewObject
from db.schema import load_schema
from db.settings import DbSettings
from tests.test_db.headers import header

_VALUES = st.sampled_from(["", "7", " 7 ", "7\0", "a b", "A\\B", "A \\ B", "Ünal", "x" * 70, "2001.02.03", "20010203"])
_ELEMENTS = st.fixed_dictionaries(
    {"SOPInstanceUID": st.sampled_from(["1", "2", "3", "4", "5", "6 ", "", "7" * 70])},
    optional=dict.fromkeys(
        ["InstanceNumber", "ContentDate", "ImageType", "ImageComments", "AcquisitionDate", "PatientID", "StudyID"],
        _VALUES,
    )
    | {"SeriesInstanceUID": st.sampled_from(["1.1.1", "1.1.2", "1.1.1 "]), "Modality": st.sampled_from(["CT", "MR"])},
)
_OBJECTS = st.lists(st.tuples(_ELEMENTS, st.booleans()), max_size=12)

TABLES = {
    "DICOMPatients": "PatientID, PatientNam",
    "DICOMStudies": "StudyInsta, StudyID, StudyModal, PatientID",
    "DICOMSeries": "SeriesInst, Modality, SeriesPat, StudyInsta",
    "DICOMImages": "SOPInstanc, ImageNumbe, ImageDate, AcqDate, ImageType, ImagePat, SeriesInst, ObjectFile",
}


def opened(directory: Path, *, utf8: bool) -> Index:
    chosen = DbSettings(SqLite=True, SQLServer="index.db3", UTF8ToDB=utf8)
    index = Index(chosen, load_schema(None, chosen), directory, durability="fast")
    index.ensure_tables()
    return index


def contents(index: Index) -> dict[str, list[tuple[str, ...]]]:
    return {table: sorted(index.raw_query(table, fields)) for table, fields in TABLES.items()}


def told(result: Added | Refused) -> object:
    return str(result) if isinstance(result, Refused) else result


@pytest.mark.parametrize("utf8", [True, False], ids=["UTF-8", "Latin-1"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects=_OBJECTS)
def test_a_group_ends_as_its_objects_one_by_one(
    objects: list[tuple[dict[str, str], bool]], utf8: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    together, alone = (opened(tmp_path_factory.mktemp(name), utf8=utf8) for name in ("together", "alone"))
    news = [
        NewObject(header(**elements), "MAG0", f"{number}.dcm", replace)
        for number, (elements, replace) in enumerate(objects)
    ]
    try:
        results = together.add_many(news)
        expected: list[Added | Refused] = []
        for new in news:
            alone.close()
            alone._parts = None  # nothing is remembered
            expected += alone.add_many([new])
        assert list(map(told, results)) == list(map(told, expected))
        assert contents(together) == contents(alone)
        tombstones = ({each.location.file for each in index.tombstones.all()} for index in (together, alone))
        assert next(tombstones) == next(tombstones)
    finally:
        together.close()
        alone.close()


def test_an_image_that_is_there_is_found_in_the_middle_of_a_group(index: Index) -> None:
    def image(number: int, file: str = "", series: str = "1.1.1") -> NewObject:
        values = header(SOPInstanceUID=f"1.1.1.{number}", SeriesInstanceUID=series)
        return NewObject(values, "MAG0", file or f"{number}.dcm")

    index.add_many([image(0), image(5, series="1.1.5"), image(3)])
    group = [image(1), image(2), image(3, "again.dcm"), image(4), image(5), image(6), image(6, "twice.dcm"), image(7)]
    results = index.add_many(group)
    kinds = [
        result.previous.file if isinstance(result, Added) and result.previous else type(result) for result in results
    ]
    assert [getattr(kind, "__name__", kind) for kind in kinds] == [
        *("Added", "Added", "3.dcm", "Added", "LinkRefused", "Added", "6.dcm", "Added")
    ]
    assert sorted(index.raw_query("DICOMImages", "SOPInstanc, ObjectFile")) == [
        *(("1.1.1.0", "0.dcm"), ("1.1.1.1", "1.dcm"), ("1.1.1.2", "2.dcm"), ("1.1.1.3", "again.dcm")),
        *(("1.1.1.4", "4.dcm"), ("1.1.1.5", "5.dcm"), ("1.1.1.6", "twice.dcm"), ("1.1.1.7", "7.dcm")),
    ]
