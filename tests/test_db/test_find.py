"""Queries: levels, keys of other levels, what comes back, order, and streams."""

import tracemalloc
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from db.errors import DatabaseError, QueryRefused
from db.index import Index
from db.layout import DEFAULT_LAYOUT
from db.objects import NewObject
from db.query import Query
from tests.test_db.headers import CT, header, keys, path_of

MR = "1.2.840.10008.5.1.4.1.1.4"
SR = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture
def archive(open_index: Callable[..., Index]) -> Index:
    """P1: study 1.1 with CT series 1.1.1 (12 images) and MR series 1.1.2, study 1.2 with an SR; P2: study 2.1."""
    index = open_index(EnableComputedFields=True)
    first = {"StudyDate": "20200101", "StudyTime": "090000", "AccessionNumber": "A1", "StudyInstanceUID": "1.1"}
    objects = [
        header(
            **first, SeriesInstanceUID="1.1.1", SOPInstanceUID=f"1.1.1.{n}", InstanceNumber=str(n), SeriesNumber="10"
        )
        for n in range(12, 0, -1)
    ]
    mr = {"Modality": "MR", "SOPClassUID": MR, "SeriesInstanceUID": "1.1.2", "SOPInstanceUID": "1.1.2.1"}
    objects.append(header(**first, **mr, SeriesNumber="9"))
    second = {"StudyInstanceUID": "1.2", "StudyDate": "20210101", "StudyTime": "100000", "AccessionNumber": "A2"}
    sr = {"Modality": "SR", "SOPClassUID": SR, "SeriesInstanceUID": "1.2.1", "SOPInstanceUID": "1.2.1.1"}
    objects.append(header(**second, **sr))
    third = {"PatientID": "P2", "PatientName": "ABEL^JANE", "StudyInstanceUID": "2.1", "StudyDate": "20200101"}
    third |= {"StudyTime": "180000", "AccessionNumber": "A3"}
    objects.append(header(**third, SeriesInstanceUID="2.1.1", SOPInstanceUID="2.1.1.1"))
    index.add_many([NewObject(values, "MAG0", f"{number}.dcm") for number, values in enumerate(objects)])
    return index


def answers(index: Index, level: str, keyword: str, **elements: str) -> list[str]:
    """Return one element of all matches, sorted."""
    rows = index.find(Query(level, keys(**elements), [path_of(keyword)]))
    return sorted(row[path_of(keyword)] for row in rows)


def test_each_level_answers_with_its_own_rows(archive: Index) -> None:
    assert answers(archive, "PATIENT", "PatientID") == ["P1", "P2"]
    assert answers(archive, "STUDY", "StudyInstanceUID") == ["1.1", "1.2", "2.1"]
    assert answers(archive, "SERIES", "SeriesInstanceUID") == ["1.1.1", "1.1.2", "1.2.1", "2.1.1"]
    assert len(answers(archive, "IMAGE", "SOPInstanceUID")) == 15


def test_keys_of_higher_levels_restrict_any_level(archive: Index) -> None:
    assert answers(archive, "IMAGE", "SOPInstanceUID", AccessionNumber="A2") == ["1.2.1.1"]
    assert answers(archive, "SERIES", "SeriesInstanceUID", PatientName="abel*") == ["2.1.1"]
    assert answers(archive, "SERIES", "SeriesInstanceUID", StudyInstanceUID="1.1", PatientID="P1") == ["1.1.1", "1.1.2"]
    assert answers(archive, "SERIES", "SeriesInstanceUID", StudyInstanceUID="1.1", PatientID="P2") == []


def test_keys_of_lower_levels_ask_for_something_below_and_never_double_a_row(archive: Index) -> None:
    assert answers(archive, "STUDY", "StudyInstanceUID", Modality="CT") == ["1.1", "2.1"]
    assert answers(archive, "PATIENT", "PatientID", SOPClassUID=CT) == ["P1", "P2"]
    assert answers(archive, "STUDY", "StudyInstanceUID", SOPInstanceUID="1.1.1.3") == ["1.1"]
    assert answers(archive, "STUDY", "StudyInstanceUID", SeriesInstanceUID="1.1.2\\2.1.1") == ["1.1", "2.1"]
    assert answers(archive, "PATIENT", "PatientID", StudyInstanceUID="1.2") == ["P1"]
    assert answers(archive, "PATIENT", "PatientID", StudyDate="20210101-") == ["P1"]
    assert answers(archive, "SERIES", "SeriesInstanceUID", InstanceNumber="12") == ["1.1.1"]


def test_keys_of_lower_levels_mean_one_and_the_same_object(archive: Index) -> None:
    assert answers(archive, "STUDY", "StudyInstanceUID", Modality="MR", SOPClassUID=MR) == ["1.1"]
    assert answers(archive, "STUDY", "StudyInstanceUID", Modality="CT", SOPClassUID=MR) == []


def test_elements_of_higher_levels_come_back_and_those_of_lower_levels_do_not(archive: Index) -> None:
    wanted = [
        path_of(word) for word in ("AccessionNumber", "PatientName", "Modality", "SOPInstanceUID", "InstitutionName")
    ]
    rows = list(archive.find(Query("SERIES", keys(SeriesInstanceUID="2.1.1"), wanted)))
    assert rows == [
        {
            path_of("AccessionNumber"): "A3",
            path_of("PatientName"): "ABEL^JANE",
            path_of("Modality"): "CT",
            path_of("InstitutionName"): "",
        }
    ]


def test_elements_that_no_column_holds_neither_restrict_nor_come_back(archive: Index) -> None:
    query = Query("STUDY", keys(StudyInstanceUID="2.1", PregnancyStatus="4"), [path_of("PregnancyStatus")])
    assert list(archive.find(query)) == [{}]
    assert not archive.schema.knows(path_of("PregnancyStatus"))
    assert archive.schema.knows(path_of("StudyDescription"))


def test_counts_and_contents_are_computed(archive: Index) -> None:
    studies = [path_of(f"NumberOfPatientRelated{what}") for what in ("Studies", "Series", "Instances")]
    assert [dict(row) for row in archive.find(Query("PATIENT", keys(PatientID="P1"), studies))] == [
        dict(zip(studies, ("2", "3", "14"), strict=True))
    ]
    of_study = [path_of(f"NumberOfStudyRelated{what}") for what in ("Series", "Instances")]
    assert [dict(row) for row in archive.find(Query("STUDY", keys(StudyInstanceUID="1.1"), of_study))] == [
        dict(zip(of_study, ("2", "13"), strict=True))
    ]
    assert answers(archive, "SERIES", "NumberOfSeriesRelatedInstances", StudyInstanceUID="1.1") == ["1", "12"]
    # Relational: what belongs to the study is known of its images too.
    assert answers(archive, "IMAGE", "NumberOfStudyRelatedInstances", SOPInstanceUID="1.1.2.1") == ["13"]
    assert answers(archive, "STUDY", "ModalitiesInStudy", StudyInstanceUID="1.1") == ["MR\\CT"]
    (classes,) = answers(archive, "STUDY", "SOPClassesInStudy", StudyInstanceUID="1.1")
    assert sorted(classes.split("\\")) == [CT, MR]


def test_device_and_file_come_with_images_when_asked_for(archive: Index) -> None:
    wanted = [(0x99990800,), (0x99990801,)]
    (row,) = archive.find(Query("IMAGE", keys(SOPInstanceUID="1.1.2.1"), wanted))
    assert row == {(0x99990800,): "12.dcm", (0x99990801,): "MAG0"}
    assert list(archive.find(Query("SERIES", keys(SeriesInstanceUID="1.1.2"), wanted))) == [{}]


def test_counts_stay_away_unless_dicom_ini_asks_for_them(open_index: Callable[..., Index]) -> None:
    index = open_index()
    index.add(header(), "MAG0", "1.dcm")
    assert list(index.find(Query("STUDY", {}, [path_of("NumberOfStudyRelatedSeries")]))) == [{}]


def test_modalities_and_classes_in_study_are_keys(archive: Index) -> None:
    assert answers(archive, "STUDY", "StudyInstanceUID", ModalitiesInStudy="MR") == ["1.1"]
    assert answers(archive, "STUDY", "StudyInstanceUID", ModalitiesInStudy="CT\\SR") == ["1.1", "1.2", "2.1"]
    assert answers(archive, "SERIES", "SeriesInstanceUID", ModalitiesInStudy="MR") == ["1.1.1", "1.1.2"]
    assert answers(archive, "PATIENT", "PatientID", ModalitiesInStudy="SR") == ["P1"]
    assert answers(archive, "STUDY", "StudyInstanceUID", SOPClassesInStudy=f"{MR}\\{SR}") == ["1.1", "1.2"]
    assert answers(archive, "SERIES", "SeriesInstanceUID", SOPClassesInStudy=SR) == ["1.2.1"]


def test_modalities_in_study_are_computed_where_dicom_sql_has_no_column(
    open_index: Callable[..., Index], tmp_path: Path
) -> None:
    text = [line for line in DEFAULT_LAYOUT.splitlines() if "StudyModality" not in line]
    (tmp_path / "dicom.sql").write_text("\n".join(text))
    index = open_index(tmp_path / "dicom.sql")
    index.add(header(), "MAG0", "1.dcm")
    index.add(header(Modality="MR", SeriesInstanceUID="1.1.2", SOPInstanceUID="1.1.2.1"), "MAG0", "2.dcm")
    (modalities,) = answers(index, "STUDY", "ModalitiesInStudy", ModalitiesInStudy="MR")
    assert sorted(modalities.split("\\")) == ["CT", "MR"]
    assert answers(index, "STUDY", "StudyInstanceUID", ModalitiesInStudy="SR") == []


def test_combined_date_and_time_ranges_are_one_range_of_moments(archive: Index) -> None:
    ranges = keys(StudyDate="20200101-20210101", StudyTime="120000-110000")
    wanted = [path_of("StudyInstanceUID")]
    separate = list(archive.find(Query("STUDY", ranges, wanted)))
    combined = list(archive.find(Query("STUDY", ranges, wanted, combined_datetime=True)))
    assert separate == []
    assert sorted(row[wanted[0]] for row in combined) == ["1.2", "2.1"]
    from_noon = keys(StudyDate="20200101-", StudyTime="12-")
    assert archive.count(Query("STUDY", from_noon, wanted)) == 1
    assert archive.count(Query("STUDY", from_noon, wanted, combined_datetime=True)) == 2


def test_results_come_by_name_when_that_is_asked_for(archive: Index) -> None:
    wanted = [path_of("PatientName"), path_of("StudyInstanceUID")]
    names = [row[wanted[0]] for row in archive.find(Query("STUDY", {}, wanted))]
    assert names == ["ABEL^JANE", "DOE^JOHN", "DOE^JOHN"]


def test_sort_limit_and_offset_page_through_the_results(archive: Index) -> None:
    uid = [path_of("StudyInstanceUID")]

    def page(sort: str, limit: int | None, offset: int) -> list[str]:
        return [row[uid[0]] for row in archive.find(Query("STUDY", {}, uid, sort, limit, offset))]

    assert page("StudyDate DESC", 1, 0) == ["1.2"]
    assert page("DICOMStudies.StudyDate", 1, 2) == ["1.2"]
    assert page("AccessionNumber desc, StudyDate", None, 0) == ["2.1", "1.2", "1.1"]
    assert page("AccessionN", 2, 1) == ["1.2", "2.1"]
    assert page("StudyDate", 0, 0) == []
    assert len(page("AccessTime", None, 0)) == 3
    assert [page("StudyDate", 1, number) for number in range(3)] == [["1.1"], ["2.1"], ["1.2"]]


def test_numbers_sort_as_numbers(archive: Index) -> None:
    number = path_of("InstanceNumber")
    query = Query("IMAGE", keys(SeriesInstanceUID="1.1.1"), [number], sort="ImageNumbe")
    assert [row[number] for row in archive.find(query)] == [str(n) for n in range(1, 13)]


@pytest.mark.parametrize(
    "sort",
    [
        "NoColumn",
        "StudyDate; DROP TABLE DICOMImages",
        "(SELECT 1)",
        "DICOMImages.ImageDate",
        "1",
        "StudyDate,",
        "a.b.c",
    ],
)
def test_a_sort_order_that_is_no_column_is_refused(archive: Index, sort: str) -> None:
    with pytest.raises(QueryRefused, match="no column to sort"):
        archive.find(Query("STUDY", {}, (), sort))


def test_limits_may_be_beyond_all_rows_but_not_below_none(archive: Index) -> None:
    uid = [path_of("StudyInstanceUID")]
    assert len(list(archive.find(Query("STUDY", {}, uid, limit=10**30)))) == 3
    assert list(archive.find(Query("STUDY", {}, uid, limit=1, offset=10**30))) == []
    for wrong in (Query("STUDY", {}, uid, limit=-1), Query("STUDY", {}, uid, offset=-1)):
        with pytest.raises(QueryRefused, match="count from 0"):
            archive.find(wrong)


def test_a_level_that_does_not_exist_is_refused(archive: Index) -> None:
    with pytest.raises(QueryRefused, match="no query level"):
        archive.find(Query("FRAME", {}))


def test_the_order_of_dicom_ini_holds_when_no_name_is_asked_for(open_index: Callable[..., Index]) -> None:
    index = open_index(StudyQuerySortOrder="DICOMStudies.StudyDate DESC", SeriesQuerySortOrder="SeriesNumber")
    for number in ("1", "2", "10"):
        uids = {"StudyInstanceUID": number, "SeriesInstanceUID": f"{number}.1", "SOPInstanceUID": f"{number}.1.1"}
        index.add(header(**uids, StudyDate=f"200{number:0>2}0101", SeriesNumber=number), "MAG0", number)
    uid, series = [path_of("StudyInstanceUID")], [path_of("SeriesNumber")]
    assert [row[uid[0]] for row in index.find(Query("STUDY", {}, uid))] == ["10", "2", "1"]
    assert [row[series[0]] for row in index.find(Query("SERIES", {}, series))] == ["1", "2", "10"]


def test_a_wrong_order_in_dicom_ini_is_named(open_index: Callable[..., Index]) -> None:
    with pytest.raises(DatabaseError, match=r"dicom\.ini: ImageQuerySortOrder: 'Nothing' is no column"):
        open_index(ImageQuerySortOrder="Nothing")


def test_equal_answers_are_given_once(archive: Index) -> None:
    assert answers(archive, "STUDY", "StudyDate") == ["20200101", "20210101"]
    query = Query("STUDY", {}, [path_of("StudyDate")])
    assert archive.count(query) == 2
    assert archive.count(Query("STUDY", {}, [path_of("StudyInstanceUID")])) == 3


def test_elements_in_sequences_have_columns_by_their_path(open_index: Callable[..., Index], tmp_path: Path) -> None:
    columns = """
        { 0x0040, 0x0275, "---", 0, SQL_C_CHAR, DT_STARTSEQUENCE }
        { 0x0040, 0x1001, "ReqProcID", 16, SQL_C_CHAR, DT_STR }
        { 0x0040, 0x0275, "---", 0, SQL_C_CHAR, DT_ENDSEQUENCE }
        { 0x0010, 0x0020, "SeriesPat\""""
    (tmp_path / "dicom.sql").write_text(DEFAULT_LAYOUT.replace('{ 0x0010, 0x0020, "SeriesPat"', columns))
    index = open_index(tmp_path / "dicom.sql")
    path = path_of("RequestAttributesSequence/RequestedProcedureID")
    assert path in index.schema.paths
    index.add(header() | {path: "PROC1"}, "MAG0", "1.dcm")
    assert [dict(row) for row in index.find(Query("SERIES", {path: "PROC*"}, [path]))] == [{path: "PROC1"}]
    assert list(index.find(Query("SERIES", {path: "OTHER"}, [path]))) == []


def test_objects_come_in_the_order_of_their_numbers(archive: Index) -> None:
    objects = list(archive.select_objects(Query("PATIENT", keys(PatientID="P1"))))
    assert [each.sop_instance for each in objects] == [
        "1.1.2.1",  # series number 9 before 10
        *(f"1.1.1.{number}" for number in range(1, 13)),
        "1.2.1.1",
    ]
    first = objects[0]
    assert (first.sop_class, first.patient_id, first.study_uid, first.series_uid) == (MR, "P1", "1.1", "1.1.2")
    assert (first.device, first.file) == ("MAG0", "12.dcm")


def test_objects_are_selected_by_keys_of_every_level(archive: Index) -> None:
    def selected(**elements: str) -> int:
        return len(list(archive.select_objects(Query("STUDY", keys(**elements)))))

    assert selected(StudyInstanceUID="1.1") == 13
    assert selected(StudyInstanceUID="1.1", Modality="MR") == 1
    assert selected(PatientName="doe*", StudyDate="2021*") == 1
    assert selected(SOPInstanceUID="\\".join(f"1.1.1.{number}" for number in range(3000))) == 12
    assert selected() == 15


def test_twenty_thousand_matches_stream_in_constant_memory(index: Index) -> None:
    for part in range(10):
        index.add_many(
            [
                NewObject(header(SOPInstanceUID=f"1.1.1.{number}", InstanceNumber=str(number)), "MAG0", f"{number}.dcm")
                for number in range(part * 2000, part * 2000 + 2000)
            ]
        )
    query = Query("IMAGE", keys(PatientID="P1"), [path_of("SOPInstanceUID"), path_of("PatientID")])
    assert sum(1 for _ in index.find(query)) == 20_000  # statements and pools are made now
    tracemalloc.start()
    assert sum(1 for _ in index.find(query)) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_search_may_be_left_early_and_another_runs_beside_it(archive: Index) -> None:
    query = Query("IMAGE", {}, [path_of("SOPInstanceUID")])
    for _ in range(100):
        search = archive.find(query)
        assert len(list(islice(search, 2))) == 2
        archive.add(header(), "MAG0", "11.dcm")
        del search
    assert archive.count(query) == 15
