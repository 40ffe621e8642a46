"""Removing objects, and what they leave behind."""

from collections.abc import Callable

import pytest

from db.index import Index
from db.objects import Location, NewObject
from db.query import Query
from tests.test_db.headers import header, keys, path_of

TABLES = ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")


@pytest.fixture
def archive(index: Index) -> Index:
    """Study 1.1 of P1: CT series 1.1.1 with images 1 and 2, MR series 1.1.2; study 1.2 of P1; study 2.1 of P2."""
    elements = [
        {"SOPInstanceUID": "1.1.1.1"},
        {"SOPInstanceUID": "1.1.1.2"},
        {"SOPInstanceUID": "1.1.2.1", "SeriesInstanceUID": "1.1.2", "Modality": "MR"},
        {"SOPInstanceUID": "1.2.1.1", "SeriesInstanceUID": "1.2.1", "StudyInstanceUID": "1.2"},
        {"SOPInstanceUID": "2.1.1.1", "SeriesInstanceUID": "2.1.1", "StudyInstanceUID": "2.1", "PatientID": "P2"},
    ]
    index.add_many([NewObject(header(**each), "MAG0", f"{each['SOPInstanceUID']}.dcm") for each in elements])
    return index


def delete(index: Index, *, worklist: bool = False, **elements: str) -> list[str]:
    """Delete what matches; return the files, sorted."""
    return sorted(
        place.file for place in index.delete(index.select_objects(Query("IMAGE", keys(**elements))), worklist=worklist)
    )


def counts(index: Index) -> list[int]:
    return [len(list(index.raw_query(table, "*"))) for table in TABLES]


def test_an_image_goes_alone_while_its_series_has_others(archive: Index) -> None:
    assert delete(archive, SOPInstanceUID="1.1.1.1") == ["1.1.1.1.dcm"]
    assert counts(archive) == [2, 3, 4, 4]
    assert archive.locate("1.1.1.1") is None


def test_the_last_image_takes_its_series_with_it_and_the_study_forgets_the_modality(archive: Index) -> None:
    delete(archive, SOPInstanceUID="1.1.2.1")
    assert counts(archive) == [2, 3, 3, 4]
    query = Query("STUDY", keys(StudyInstanceUID="1.1"), [path_of("ModalitiesInStudy")])
    assert [row[path_of("ModalitiesInStudy")] for row in archive.find(query)] == ["CT"]


def test_study_and_patient_go_when_they_are_empty(archive: Index) -> None:
    assert delete(archive, StudyInstanceUID="1.1") == ["1.1.1.1.dcm", "1.1.1.2.dcm", "1.1.2.1.dcm"]
    assert counts(archive) == [2, 2, 2, 2]
    assert delete(archive, StudyInstanceUID="1.2") == ["1.2.1.1.dcm"]
    assert counts(archive) == [1, 1, 1, 1]
    assert delete(archive, PatientID="P2") == ["2.1.1.1.dcm"]
    assert counts(archive) == [0, 0, 0, 0]


def test_deleting_what_is_not_there_is_no_error(archive: Index) -> None:
    assert delete(archive, StudyInstanceUID="9.9") == []
    chosen = list(archive.select_objects(Query("IMAGE", keys(PatientID="P2"))))
    assert archive.delete(chosen) == [Location("MAG0", "2.1.1.1.dcm")]
    assert archive.delete(chosen) == []


def test_an_object_stored_again_since_it_was_selected_stays(archive: Index) -> None:
    chosen = list(archive.select_objects(Query("IMAGE", keys(SOPInstanceUID="1.2.1.1"))))
    archive.add(
        header(SOPInstanceUID="1.2.1.1", SeriesInstanceUID="1.2.1", StudyInstanceUID="1.2"), "MAG1", "newer.dcm"
    )
    assert archive.delete(chosen) == []
    assert archive.locate("1.2.1.1") == Location("MAG1", "newer.dcm")


def test_a_deleted_object_can_come_back(archive: Index) -> None:
    delete(archive, PatientID="P2")
    uids = {"SOPInstanceUID": "2.1.1.1", "SeriesInstanceUID": "2.1.1", "StudyInstanceUID": "2.1"}
    assert archive.add(header(**uids, PatientID="P3"), "MAG0", "again.dcm").patient_id == "P3"


def test_worklist_rows_go_with_their_patient_only_when_asked(archive: Index) -> None:
    for patient in ("P1", "P2"):
        insert_worklist(archive, patient)
    delete(archive, PatientID="P2")
    assert worklist(archive) == ["P1", "P2"]
    delete(archive, StudyInstanceUID="1.2", worklist=True)
    assert worklist(archive) == ["P1", "P2"]
    delete(archive, PatientID="P1", worklist=True)
    assert worklist(archive) == ["P2"]


def insert_worklist(index: Index, patient: str) -> None:
    # The index only keeps the columns of the worklist; its rows have another way in.
    index._database.write(
        lambda session: session.execute(f"INSERT INTO DICOMWorkList (AccessionN, PatientID) VALUES ('A', '{patient}')")
    )


def worklist(index: Index) -> list[str]:
    return sorted(patient for (patient,) in index.raw_query("DICOMWorkList", "PatientID"))


def test_duplicates_in_tables_without_keys_are_removed_one_by_one(index: Index) -> None:
    index.create_tables(1, drop=True)
    index.add(header(), "MAG0", "1.dcm")
    index._database.write(
        lambda session: session.execute(
            "INSERT INTO DICOMImages (SOPInstanc, SeriesInst, ImagePat, DeviceName, ObjectFile) "
            "VALUES ('1.1.1.1', '1.1.1', 'P1', 'MAG1', '2.dcm')"
        )
    )
    chosen = sorted(index.select_objects(Query("IMAGE", {})), key=lambda each: each.file)
    assert [each.file for each in chosen] == ["1.dcm", "2.dcm"]
    assert index.delete(chosen[:1]) == [Location("MAG0", "1.dcm")]
    assert counts(index) == [1, 1, 1, 1]
    assert index.locate("1.1.1.1") == Location("MAG1", "2.dcm")


def test_only_what_is_asked_for_is_deleted(archive: Index) -> None:
    objects = list(archive.select_objects(Query("IMAGE", keys(StudyInstanceUID="1.1"))))
    gone = archive.delete(objects, only=lambda each: each.file != "1.1.1.2.dcm")
    assert sorted(place.file for place in gone) == ["1.1.1.1.dcm", "1.1.2.1.dcm"]
    assert archive.locate("1.1.1.2") == Location("MAG0", "1.1.1.2.dcm")


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("removing", [False, True])
def test_an_object_whose_file_has_a_name_beyond_ascii_is_deleted_in_either_encoding(
    open_index: Callable[..., Index], written: bool, removing: bool
) -> None:
    open_index(UTF8ToDB=written).add(header(), "MAG0", "Müller^J_P1/1_1.v2")
    assert delete(open_index(UTF8ToDB=removing), SOPInstanceUID="1.1.1.1") == ["Müller^J_P1/1_1.v2"]
    assert open_index().locate("1.1.1.1") is None
