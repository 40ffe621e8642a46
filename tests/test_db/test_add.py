"""Entering objects: repairs, link check, newest values, and what comes back."""

import time
from collections.abc import Callable

import pytest

from db.errors import LinkRefused, MissingUid, Refused
from db.index import Index
from db.objects import Added, Location, NewObject
from db.query import Query
from db.schema import OLD_SERIES_UID, OLD_STUDY_UID
from tests.test_db.headers import header, keys, path_of


def rows(index: Index, table: str, fields: str) -> list[tuple[str, ...]]:
    return sorted(index.raw_query(table, fields))


def value_of(index: Index, keyword: str, level: str = "IMAGE") -> str:
    (row,) = index.find(Query(level, {}, [path_of(keyword)]))
    return row[path_of(keyword)]


def test_an_object_gets_a_row_in_each_table(index: Index) -> None:
    added = index.add(header(StudyDescription="Head", InstanceNumber="7"), "MAG0", "P1/7.dcm")
    assert added == Added(True, None, "P1", "1.1", "1.1.1", "1.1.1.1")
    assert rows(index, "DICOMPatients", "PatientID, PatientNam, PatientBir") == [("P1", "DOE^JOHN", "")]
    assert rows(index, "DICOMStudies", "StudyInsta, StudyDescr, StudyModal, PatientID") == [("1.1", "Head", "CT", "P1")]
    assert rows(index, "DICOMSeries", "SeriesInst, Modality, SeriesPat, StudyInsta") == [("1.1.1", "CT", "P1", "1.1")]
    assert rows(index, "DICOMImages", "SOPInstanc, ImageNumbe, ImagePat, SeriesInst, ObjectFile, DeviceName") == [
        ("1.1.1.1", "7", "P1", "1.1.1", "P1/7.dcm", "MAG0")
    ]
    assert index.locate("1.1.1.1") == Location("MAG0", "P1/7.dcm")


def test_absent_elements_are_null_and_empty_ones_empty(index: Index) -> None:
    index.add(header(StudyDescription=""), "MAG0", "1.dcm")
    assert rows(index, "DICOMStudies", "StudyDescr is null, StudyID is null") in (
        [("0", "1")],
        [("False", "True")],
    )


def test_access_time_is_now_without_its_five_lowest_bits(index: Index) -> None:
    before = int(time.time()) & ~31
    index.add(header(), "MAG0", "1.dcm")
    after = int(time.time()) & ~31
    for table in ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages"):
        ((access_time, stamp, flags, spare),) = rows(index, table, "AccessTime, qTimeStamp, qFlags, qSpare")
        assert before <= int(access_time) <= after
        assert (stamp, flags, spare) == ("", "", "")


def test_padding_is_removed_and_what_no_database_can_hold(index: Index) -> None:
    index.add(header(PatientID=" P1 \0", StudyDescription="a\0b\ud800 ", StudyID=" 5"), "MAG0", "1.dcm")
    assert rows(index, "DICOMStudies", "PatientID, StudyDescr, StudyID") == [("P1", "ab?", "5")]


def test_a_missing_name_or_patient_id_is_filled_in_as_conquest_does(index: Index) -> None:
    added = index.add(header(PatientID=None, PatientName=""), "MAG0", "1.dcm")
    assert added.patient_id == "00000000"
    assert rows(index, "DICOMPatients", "PatientID, PatientNam") == [("00000000", "NO NAME")]


def test_missing_uids_come_from_the_old_private_elements(index: Index) -> None:
    values = header(StudyInstanceUID=None, SeriesInstanceUID="") | {OLD_STUDY_UID: "5.1", OLD_SERIES_UID: "5.1.1"}
    added = index.add(values, "MAG0", "1.dcm")
    assert (added.study_uid, added.series_uid) == ("5.1", "5.1.1")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_object_without_a_uid_or_with_one_too_long_is_refused(index: Index, keyword: str) -> None:
    with pytest.raises(MissingUid, match=f"without {keyword}"):
        index.add(header(**{keyword: None}), "MAG0", "1.dcm")
    with pytest.raises(MissingUid, match=f"{keyword} has 65 characters"):
        index.add(header(**{keyword: "1" * 65}), "MAG0", "1.dcm")
    assert rows(index, "DICOMImages", "SOPInstanc") == []


def test_leading_zeros_go_only_where_dicom_ini_says(open_index: Callable[..., Index]) -> None:
    philips = open_index(FixPhilips=True)
    assert philips.add(header(PatientID="0000012345"), "MAG0", "1.dcm").patient_id == "12345"
    uids = {"StudyInstanceUID": "2", "SeriesInstanceUID": "2.1", "SOPInstanceUID": "2.1.1"}
    assert philips.add(header(PatientID="00012345", **uids), "MAG0", "2.dcm").patient_id == "00012345"
    kodak = open_index(FixKodak=True)
    uids = {"StudyInstanceUID": "3", "SeriesInstanceUID": "3.1", "SOPInstanceUID": "3.1.1"}
    assert kodak.add(header(PatientID="00054321", **uids), "MAG0", "3.dcm").patient_id == "54321"


def test_old_dates_are_stored_in_the_new_form(index: Index) -> None:
    index.add(header(StudyDate="1994.03.01"), "MAG0", "1.dcm")
    assert value_of(index, "StudyDate", "STUDY") == "19940301"


def test_values_longer_than_their_column_are_cut_and_reported(index: Index) -> None:
    added = index.add(header(StudyDescription="x" * 70, StudyID="123456789012345 7"), "MAG0", "1.dcm")
    assert added.warnings == (
        "***Truncated StudyID from 17 to 16 chars in file: 1.dcm",
        "***Truncated StudyDescr from 70 to 64 chars in file: 1.dcm",
    )
    assert value_of(index, "StudyDescription", "STUDY") == "x" * 64
    assert value_of(index, "StudyID", "STUDY") == "123456789012345"


def test_columns_in_allow_truncate_are_cut_silently(open_index: Callable[..., Index]) -> None:
    index = open_index(AllowTruncate="StudyDescription, StudyID", MaxFieldLength=30)
    added = index.add(header(StudyDescription="x" * 70, StudyID="1" * 17), "MAG0", "1.dcm")
    assert added.warnings == ()
    assert value_of(index, "StudyDescription", "STUDY") == "x" * 30


def test_a_patient_id_longer_than_its_column_is_one_and_the_same_when_it_comes_again(index: Index) -> None:
    long_id = "P" * 70
    first = index.add(header(PatientID=long_id), "MAG0", "1.dcm")
    second = index.add(header(PatientID=long_id, SOPInstanceUID="1.1.1.2"), "MAG0", "2.dcm")
    assert first.patient_id == second.patient_id == "P" * 64
    assert first.warnings == ("***Truncated PatientID from 70 to 64 chars",)


def test_the_newest_values_win(index: Index) -> None:
    index.add(header(PatientBirthDate="19700101", StudyDescription="Head"), "MAG0", "1.dcm")
    values = header(PatientName="DOE^JANE", PatientBirthDate="19710101", SOPInstanceUID="1.1.1.2")
    added = index.add(values, "MAG0", "2.dcm")
    assert rows(index, "DICOMPatients", "PatientID, PatientNam, PatientBir") == [("P1", "DOE^JANE", "19710101")]
    assert rows(index, "DICOMStudies", "PatientNam, StudyDescr") == [("DOE^JANE", "")]
    assert added.warnings == (
        "***Inconsistent PatientNam in DICOMPatients: changed by study 1.1",
        "***Inconsistent PatientBir in DICOMPatients: changed by study 1.1",
    )


def test_study_modality_collects_the_newest_first(index: Index) -> None:
    for number, modality in enumerate(["CT", "PT", "CT", "SR"]):
        uids = {"SeriesInstanceUID": f"1.1.{number}", "SOPInstanceUID": f"1.1.{number}.1"}
        index.add(header(Modality=modality, **uids), "MAG0", f"{number}.dcm")
    assert value_of(index, "ModalitiesInStudy", "STUDY") == "SR\\PT\\CT"


def test_modalities_that_do_not_fit_lose_the_oldest(index: Index) -> None:
    for number in range(10):
        uids = {"SeriesInstanceUID": f"1.1.{number}", "SOPInstanceUID": f"1.1.{number}.1"}
        index.add(header(Modality=f"MODALITY{number}", **uids), "MAG0", f"{number}.dcm")
    assert value_of(index, "ModalitiesInStudy", "STUDY") == "\\".join(f"MODALITY{n}" for n in (9, 8, 7, 6, 5, 4))


def test_an_object_that_comes_again_names_its_new_file_and_tells_the_old_one(index: Index) -> None:
    index.add(header(), "MAG0", "old.dcm")
    added = index.add(header(InstanceNumber="2"), "MAG1", "new.dcm")
    assert added.stored
    assert added.previous == Location("MAG0", "old.dcm")
    assert index.locate("1.1.1.1") == Location("MAG1", "new.dcm")
    assert value_of(index, "InstanceNumber") == "2"


def test_an_object_entered_again_from_the_same_file_has_no_earlier_copy(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    assert index.add(header(), "MAG0", "1.dcm").previous is None


def test_ignore_rewrite_leaves_everything_as_it_is(index: Index) -> None:
    index.add(header(), "MAG0", "old.dcm")
    added = index.add(header(PatientName="OTHER"), "MAG0", "new.dcm", replace=False)
    assert (added.stored, added.previous) == (False, Location("MAG0", "old.dcm"))
    assert index.locate("1.1.1.1") == Location("MAG0", "old.dcm")
    assert value_of(index, "PatientName") == "DOE^JOHN"
    assert index.add(header(SOPInstanceUID="1.1.1.2"), "MAG0", "2.dcm", replace=False).stored


def test_locate_asks_for_the_patient_too_when_told(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    assert index.locate("1.1.1.1", "P1") == Location("MAG0", "1.dcm")
    assert index.locate("1.1.1.1", "P2") is None
    assert index.locate("9.9") is None


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        (
            {"SeriesInstanceUID": "1.1.2"},
            "link SeriesInst into DICOMImages: SOPInstanc = '1.1.1.1', Old='1.1.1', Refused='1.1.2'",
        ),
        (
            {"StudyInstanceUID": "1.2", "SOPInstanceUID": "1.1.1.2"},
            "link StudyInsta into DICOMSeries: SeriesInst = '1.1.1', Old='1.1', Refused='1.2'",
        ),
        (
            {"PatientID": "P12", "SOPInstanceUID": "1.1.1.2"},
            "link PatientID into DICOMStudies: StudyInsta = '1.1', PatientID differs",
        ),
        (
            {"PatientID": "p1", "SOPInstanceUID": "1.1.1.2"},
            "link PatientID into DICOMStudies: StudyInsta = '1.1', PatientID differs",
        ),
    ],
)
def test_other_links_are_refused_and_leave_nothing(index: Index, elements: dict[str, str], message: str) -> None:
    index.add(header(), "MAG0", "1.dcm")
    before = [rows(index, table, "*") for table in ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")]
    with pytest.raises(LinkRefused) as refused:
        index.add(header(PatientName="OTHER", **elements), "MAG0", "2.dcm")
    assert str(refused.value) == f"***Refused to enter inconsistent {message}"
    after = [rows(index, table, "*") for table in ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")]
    assert after == before


def test_an_empty_patient_id_takes_that_of_its_study_where_allowed(open_index: Callable[..., Index]) -> None:
    index = open_index(AllowEmptyPatientID=True)
    index.add(header(), "MAG0", "1.dcm")
    added = index.add(header(PatientID="", SOPInstanceUID="1.1.1.2"), "MAG0", "2.dcm")
    assert added.patient_id == "P1"
    assert rows(index, "DICOMPatients", "PatientID") == [("P1",)]


def test_a_later_object_with_an_id_gives_it_to_the_whole_study(open_index: Callable[..., Index]) -> None:
    index = open_index(AllowEmptyPatientID=True)
    assert index.add(header(PatientID=None), "MAG0", "1.dcm").patient_id == ""
    uids = {"SeriesInstanceUID": "1.1.2", "SOPInstanceUID": "1.1.2.1"}
    index.add(header(PatientID=None, **uids), "MAG0", "2.dcm")
    assert rows(index, "DICOMPatients", "PatientID") == [("",)]
    index.add(header(SOPInstanceUID="1.1.1.2"), "MAG0", "3.dcm")
    assert rows(index, "DICOMPatients", "PatientID") == [("P1",)]
    assert rows(index, "DICOMStudies", "PatientID") == [("P1",)]
    assert rows(index, "DICOMSeries", "SeriesPat") == [("P1",), ("P1",)]
    assert rows(index, "DICOMImages", "ImagePat") == [("P1",)] * 3


def test_a_refused_object_of_many_does_not_touch_the_others(index: Index) -> None:
    objects = [
        NewObject(header(), "MAG0", "1.dcm"),
        NewObject(header(SOPInstanceUID="1.1.1.2", StudyInstanceUID="1.2"), "MAG0", "2.dcm"),
        NewObject(header(SOPInstanceUID=None), "MAG0", "3.dcm"),
        NewObject(header(SOPInstanceUID="1.1.1.4"), "MAG0", "4.dcm"),
        NewObject(header(), "MAG0", "5.dcm"),
    ]
    results = index.add_many(objects)
    assert [type(result) for result in results] == [Added, LinkRefused, MissingUid, Added, Added]
    assert isinstance(results[4], Added)
    assert results[4].previous == Location("MAG0", "1.dcm")
    assert rows(index, "DICOMImages", "ObjectFile") == [("4.dcm",), ("5.dcm",)]


def test_many_at_once_end_as_one_after_the_other_would(open_index: Callable[..., Index]) -> None:
    index = open_index(AllowEmptyPatientID=True)
    names = ["DOE^JOHN", "", "DOE^JANE"]
    objects = [
        NewObject(
            header(PatientID="" if number < 2 else "P1", PatientName=names[number], SOPInstanceUID=f"1.1.1.{number}"),
            "MAG0",
            f"{number}.dcm",
        )
        for number in range(3)
    ]
    index.add_many(objects)
    assert rows(index, "DICOMPatients", "PatientID, PatientNam") == [("P1", "DOE^JANE")]
    assert rows(index, "DICOMImages", "ImagePat") == [("P1",)] * 3


def test_a_file_name_that_the_database_cannot_hold_refuses_that_object_alone(open_index: Callable[..., Index]) -> None:
    index = open_index()
    objects = [
        NewObject(header(), "MAG0", "1.dcm"),
        NewObject(header(SOPInstanceUID="1.1.1.2"), "MAG0", "x" * 300),
        NewObject(header(SOPInstanceUID="1.1.1.3"), "MAG0", "3.dcm"),
    ]
    results = index.add_many(objects)
    assert isinstance(results[0], Added)
    assert isinstance(results[2], Added)
    if "SQLite" in index.database_type:
        assert isinstance(results[1], Added)  # SQLite holds any length
        assert index.locate("1.1.1.2") == Location("MAG0", "x" * 300)
    else:
        assert isinstance(results[1], Refused)
        assert str(results[1]).startswith("***Error saving to SQL: value too long")
        assert index.locate("1.1.1.2") is None
        with pytest.raises(Refused, match="value too long"):
            index.add(header(SOPInstanceUID="1.1.1.2"), "MAG0", "x" * 300)


def test_text_in_any_script_comes_back(index: Index) -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    index.add(header(PatientName=name, StudyDescription="Schädel 🩻"), "MAG0", "ü/1.dcm")
    assert value_of(index, "PatientName") == name
    assert value_of(index, "StudyDescription", "STUDY") == "Schädel 🩻"
    assert index.locate("1.1.1.1") == Location("MAG0", "ü/1.dcm")


def test_nothing_is_matched_by_a_uid_as_pattern(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    assert index.locate("1.1.1.*") is None
    assert index.locate("1.1.1._") is None
    assert index.count(Query("IMAGE", keys(SOPInstanceUID="1.1.1.?"))) == 1


def test_a_row_that_names_the_new_file_already_makes_it_no_superfluous_copy(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    added = index.add(header(), "MAG0", "1.dcm", replace=False)
    assert (added.stored, added.previous) == (True, None)
    other = index.add(header(), "MAG0", "2.dcm", replace=False)
    assert (other.stored, other.previous) == (False, Location("MAG0", "1.dcm"))
