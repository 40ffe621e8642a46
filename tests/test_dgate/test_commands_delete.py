"""Delete commands over the wire: rows, files, mirror copies, directories and worklist go, neighbours stay."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.schema import load_schema, render_schema
from db.settings import DbSettings
from tests.commands import Reply, Site, site
from tests.objects import ds, study, write

WORKLIST = "DICOMWorkList"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Site]:
    """A site with two patients, P1 and P10, of two studies each, of two series of two images each."""
    with site(tmp_path / "site") as running:
        fill(running)
        yield running


def fill(running: Site) -> None:
    for patient in ("P1", "P10"):
        for day in ("20260101", "20260102"):
            running.keep(*study(patient, series=2, images=2, StudyDate=day, AccessionNumber=f"{patient}-{day}"))


def uids(running: Site, level: str) -> list[str]:
    """Keys of a level of P1, the first in order being the one to delete."""
    table, column, patient = {
        "STUDY": ("DICOMStudies", "StudyInsta", "PatientID"),
        "SERIES": ("DICOMSeries", "SeriesInst", "SeriesPat"),
        "IMAGE": ("DICOMImages", "SOPInstanc", "ImagePat"),
    }[level]
    return [str(uid) for uid, owner in running.rows(table, f"{column}, {patient}") if owner == "P1"]


def consistent(running: Site) -> None:
    """Every row has its file and every file its row."""
    listed = sorted(str(file) for (file,) in running.rows("DICOMImages", "ObjectFile"))
    assert listed == running.files()


def test_deletepatient_takes_rows_files_and_directories_of_that_patient_alone(two: Site) -> None:
    assert two.counts() == (2, 4, 8, 16)
    assert two.ask("deletepatient:P1") == Reply(None, None, 0)
    assert two.counts() == (1, 2, 4, 8)
    assert two.rows("DICOMPatients", "PatientID") == [("P10",)]
    assert two.directories() == ["P10", "printer_files"]
    consistent(two)


def test_deletestudy_takes_one_study_with_or_without_the_patient(two: Site) -> None:
    first, second = uids(two, "STUDY")
    assert two.ask(f"deletestudy:P10:{first}") == Reply(None, None, 0)
    assert two.counts() == (2, 4, 8, 16)
    assert two.ask(f"deletestudy:P1:{first}") == Reply(None, None, 0)
    assert two.counts() == (2, 3, 6, 12)
    assert two.ask(f"deletestudy:{second}") == Reply(None, None, 0)
    assert two.counts() == (1, 2, 4, 8)
    consistent(two)


def test_deleteseries_takes_one_series_and_an_emptied_study_with_it(two: Site) -> None:
    for number, uid in enumerate(uids(two, "SERIES")[:2], 1):
        assert two.ask(f"deleteseries:{'P1:' if number == 1 else ''}{uid}") == Reply(None, None, 0)
        assert two.counts()[2:] == (8 - number, 16 - 2 * number)
    consistent(two)


def test_deleteimage_takes_one_image_and_the_last_one_everything_above_it(two: Site) -> None:
    images = uids(two, "IMAGE")
    for number, uid in enumerate(images, 1):
        assert two.ask(f"deleteimage:{'P1:' if number == 1 else ''}{uid}") == Reply(None, None, 0)
        assert two.counts()[3] == 16 - number
    assert two.counts() == (1, 2, 4, 8)
    assert two.directories() == ["P10", "printer_files"]
    consistent(two)


@pytest.mark.parametrize(
    ("date", "left"),
    [
        ("20260101", 8),
        ("20260101-20260102", 0),
        ("20260102-", 8),
        ("-20260101", 8),
        ("-20251231", 16),
        ("20260103-20260101", 16),
    ],
)
def test_deletestudies_takes_the_studies_of_a_date(two: Site, date: str, left: int) -> None:
    assert two.ask(f"deletestudies:{date}") == Reply(None, None, 0)
    assert two.counts()[3] == left
    consistent(two)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that nothing may be deleted from."""
    with site(tmp_path_factory.mktemp("kept")) as running:
        fill(running)
        yield running


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("deletepatient:P*", "WildcardDelete"),
        ("deletepatient:P?", "WildcardDelete"),
        ("deletepatient:*", "WildcardDelete"),
        ("deletestudy:*", "WildcardDelete"),
        ("deletestudy:P1:*", "WildcardDelete"),
        ("deletestudy:P*:1.2", "WildcardDelete"),
        ("deleteseries:P1:?", "WildcardDelete"),
        ("deleteimage:*", "WildcardDelete"),
        ("deletesopfromdb:P1,*,*,*", "WildcardDelete"),
        ("deletestudies:*", "no date"),
        ("deletestudies:-", "no date"),
        ("deletestudies:2026", "no date"),
        ("deletestudies:20261301", "no calendar"),
        ("deleteimagefile:/etc/passwd", "not on a MAG device"),
        ("deleteimagefile:MAG0/../dicom.ini", "not on a MAG device"),
        ("deleteimagefile:MAG0", "not on a MAG device"),
        ("deleteimagefromdb:nosuch.dcm", "not on a MAG device"),
    ],
)
def test_what_would_delete_more_than_it_names_is_refused_and_said(kept: Site, line: str, said: str) -> None:
    assert said in kept.says(line)
    assert kept.counts() == (2, 4, 8, 16)
    assert len(kept.files()) == 16


@pytest.mark.parametrize(
    "line",
    [
        "deletepatient:",
        "deletepatient: ",
        "deletepatient:P",
        "deletepatient:p1",
        "deletepatient:P100",
        "deletepatient:P1'; DROP TABLE DICOMImages; --",
        "deletestudy:",
        "deletestudy:P1:",
        "deletestudy:\\",
        "deletestudy:1.2.3",
        "deleteseries::",
        "deleteseries:P1:1.2.3",
        "deleteimage:%",
        "deletestudies:",
        "deletestudies:19990101",
        "deletesopfromdb:P1,1,2",
        "deletesopfromdb:P1,1,2,",
        "deletesopfromdb:P1,1,2,3",
        "deleteimagefile:",
        "deleteimagefromdb: ",
    ],
)
def test_nothing_named_or_nothing_found_deletes_nothing(kept: Site, line: str) -> None:
    assert kept.ask(line) == Reply(None, None, 0)
    assert kept.counts() == (2, 4, 8, 16)
    assert len(kept.files()) == 16


def test_wildcards_delete_where_dicom_ini_allows_them(tmp_path: Path) -> None:
    with site(tmp_path, WildcardDelete=1) as running:
        running.keep(ds(PatientID="P1"), ds(PatientID="P2"), ds(PatientID="Q1"))
        assert running.ask("deletepatient:P*") == Reply(None, None, 0)
        assert running.rows("DICOMPatients", "PatientID") == [("Q1",)]
        consistent(running)


def test_deletesopfromdb_takes_the_rows_of_one_object_whose_ids_belong_together(two: Site) -> None:
    ((image, series),) = two.rows("DICOMImages", "SOPInstanc, SeriesInst")[:1]
    ((patient, of),) = [
        (owner, uid)
        for owner, uid, each in two.rows("DICOMSeries", "SeriesPat, StudyInsta, SeriesInst")
        if each == series
    ]
    files = two.files()
    assert two.ask(f"deletesopfromdb:OTHER,{of},{series},{image}") == Reply(None, None, 0)
    assert two.counts()[3] == 16
    assert two.ask(f"deletesopfromdb:{patient},{of},{series},{image}") == Reply(None, None, 0)
    assert two.counts()[3] == 15
    assert two.files() == files


def test_deleteimagefile_and_deleteimagefromdb_take_a_file_on_a_device(two: Site) -> None:
    files = two.files()
    assert two.ask(f"deleteimagefile:MAG0/{files[0]}") == Reply(None, None, 0)
    assert two.files() == files[1:]
    assert two.counts()[3] == 15
    assert two.ask(f"deleteimagefromdb:{two.directory}/MAG0/{files[1]}") == Reply(None, None, 0)
    assert two.files() == files[1:]
    assert two.counts()[3] == 14
    # Unknown to the index by now, the file goes all the same.
    assert two.ask(f"deleteimagefile:MAG0/{files[1]}") == Reply(None, None, 0)
    assert two.files() == files[2:]
    assert two.counts()[3] == 14


def test_deleteimagefile_leaves_what_may_be_the_last_copy_and_what_is_no_object(two: Site) -> None:
    first = two.files()[0]
    root = two.directory / "MAG0"
    (root / "copy.dcm").write_bytes((root / first).read_bytes())
    assert "elsewhere" in two.says("deleteimagefile:MAG0/copy.dcm")
    (root / "notes.dcm").write_text("no DICOM")
    assert "does not contain correct UIDs" in two.says("deleteimagefile:MAG0/notes.dcm")
    # A UID that would be a wildcard in a query must not select anything but its own file.
    write(root / "odd", ds(SOPInstanceUID="*"))
    assert "does not contain correct UIDs" in two.says("deleteimagefile:MAG0/odd/*.dcm")
    assert two.counts() == (2, 4, 8, 16)
    assert len(two.files()) == 16 + 3


def test_a_mirror_copy_and_its_directories_go_too(tmp_path: Path) -> None:
    mirror = tmp_path / "MIRROR0"
    mirror.mkdir()
    with site(tmp_path, MIRRORDevices=1, MIRRORDevice0="MIRROR0/") as running:
        running.keep(ds(PatientID="P1"), ds(PatientID="P2"))
        for file in running.files():
            (mirror / file).parent.mkdir()
            (mirror / file).write_bytes((tmp_path / "MAG0" / file).read_bytes())
        running.says("deletepatient:P1")
        assert [path.name for path in mirror.iterdir()] == ["P2"]
        (left,) = running.files()
        running.says(f"deleteimagefile:MAG0/{left}")
        assert list(mirror.iterdir()) == []
        assert running.files() == []


def test_deletepatient_takes_worklist_rows_of_that_patient_with_or_without_images(two: Site) -> None:
    with sqlite3.connect(two.directory / "dbase" / "conquest.db3") as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({WORKLIST})")]
        assert "PatientID" in columns
        connection.executemany(
            f"INSERT INTO {WORKLIST} (PatientID, PatientNam) VALUES (?, 'X')", [("P1",), ("P10",), ("W1",), ("W2",)]
        )
    connection.close()
    two.says("deletepatient:P1")
    two.says("deletepatient:W1")
    two.says("deletepatient:P")
    assert two.rows(WORKLIST, "PatientID") == [("P10",), ("W2",)]


def test_nothing_is_deleted_by_an_element_that_the_database_has_no_column_for(tmp_path: Path) -> None:
    schema = render_schema(load_schema(None, DbSettings()))
    lines = [line for line in schema.splitlines() if "StudyDate" not in line]
    assert len(lines) == len(schema.splitlines()) - 1
    (tmp_path / "dicom.sql").write_text("\n".join(lines))
    with site(tmp_path) as running:
        running.keep(ds(PatientID="P1"))
        assert "(0008,0020)" in running.says("deletestudies:20260102")
        assert running.counts() == (1, 1, 1, 1)


def test_the_log_tells_what_is_deleted_without_the_patient(two: Site) -> None:
    (first, *_) = uids(two, "STUDY")
    two.daemon.server.logs.add("own.log")
    two.says(f"deletestudy:P1:{first}")
    two.says("deletepatient:P10")
    lines = [line[25:] for line in (two.directory / "own.log").read_text().splitlines()]
    assert "Command deletestudy from 127.0.0.1 (PYTEST)" in lines
    assert f"Deleting study: {first}" in lines
    assert "RemoveFiles 4 images" in lines
    assert "RemoveFiles 8 images" in lines
    assert sum(line.startswith("Removing object: [MAG0:P1/") for line in lines) == 4
    assert "Deleting a patient" in lines
    assert not any("P10" in line for line in lines if not line.startswith("Removing object"))
