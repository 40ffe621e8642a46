"""Adding under another patient over the wire: new UIDs that fit together, and everything else as it was."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.commands import Site, expected, site
from tests.objects import NATIVE, ds, encoded, pydicom_files, study

OK, FAILED = expected("0"), expected("1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("patients")) as running:
        yield running


def linked(patient: str) -> list[Dataset]:
    """Two objects of one study of which the second refers to the first in nested sequences."""
    first, second = study(patient, series=1, images=2)
    first.FrameOfReferenceUID = second.FrameOfReferenceUID = f"{first.StudyInstanceUID}.9"
    image = Dataset()
    image.ReferencedSOPClassUID = first.SOPClassUID
    image.ReferencedSOPInstanceUID = first.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence([image])
    second.ReferencedSeriesSequence = Sequence([series])
    return [first, second]


@pytest.mark.parametrize("syntax", NATIVE)
def test_objects_that_change_patient_one_by_one_stay_together(shared: Site, syntax: str) -> None:
    patient = ds().PatientID
    made = linked(patient)
    for obj in made:
        assert shared.ask(f"addimagefile:x.dcm,NEW{patient}", data=encoded(obj, syntax)) == OK
    first, second = (pydicom.dcmread(path) for path in shared.images(f"NEW{patient}"))
    for got, sent in zip((first, second), made, strict=True):
        assert got.file_meta.TransferSyntaxUID == syntax
        assert got.file_meta.MediaStorageSOPInstanceUID == got.SOPInstanceUID
        assert got.PatientID == f"NEW{patient}"
        assert got.SOPInstanceUID.startswith("99999.99999.7.")
        assert got.SOPClassUID == sent.SOPClassUID
        assert got.PatientName == sent.PatientName
        assert got.pixel_array.tolist() == pydicom.dcmread(io.BytesIO(encoded(sent, syntax))).pixel_array.tolist()
    assert first.SOPInstanceUID != second.SOPInstanceUID
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value == second[keyword].value != made[0][keyword].value
    series = second.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPClassUID == made[0].SOPClassUID
    # The same once more is the same again.
    assert shared.ask(f"addimagefile:x.dcm,NEW{patient}", data=encoded(made[0], syntax)) == OK
    assert len(shared.images(f"NEW{patient}")) == 2
    assert shared.images(patient) == []


@pytest.mark.parametrize("path", pydicom_files(), ids=lambda path: path.name)
def test_a_compressed_or_odd_object_keeps_all_but_ids(shared: Site, path: Path) -> None:
    patient = "ODD"  # one for all, as some of these files are of one study
    before = pydicom.dcmread(path, force=True)
    assert shared.ask(f"addimagefile:{path},{patient}") == OK
    uid = shared.says(f"query:UIDMODS|NewUID|OldUID='{before.SOPInstanceUID}'|%s*")
    file = shared.says(f"query:DICOMImages|ObjectFile|SOPInstanc='{uid}'|%s*")
    after = pydicom.dcmread(shared.directory / "MAG0" / file)
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.PatientID == patient
    assert after.SOPInstanceUID != before.SOPInstanceUID
    if "PixelData" in before:
        assert after.PixelData == before.PixelData
    changed = [
        element.tag
        for element in before
        if element.VR not in ("UI", "SQ") and element.tag.element and element != after.get(element.tag)
    ]
    assert changed == [pydicom.tag.Tag("PatientID")]


def test_every_object_of_an_archive_changes_patient(shared: Site) -> None:
    patient = ds().PatientID
    made = study(patient, series=1, images=3)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number, obj in enumerate(made):
            info = tarfile.TarInfo(str(number))
            info.size = len(encoded(obj))
            archive.addfile(info, io.BytesIO(encoded(obj)))
    assert shared.ask(f"addimagefile:a.tar.gz,NEW{patient}", data=gzip.compress(out.getvalue())) == OK
    stored = [pydicom.dcmread(path) for path in shared.images(f"NEW{patient}")]
    assert len(stored) == 3
    assert len({obj.StudyInstanceUID for obj in stored}) == 1


def test_the_patient_id_is_written_in_the_objects_character_set(shared: Site) -> None:
    for charset in ("ISO_IR 100", "ISO_IR 192"):
        made = ds(SpecificCharacterSet=charset, PatientName="Jürg")
        new = f"Ä{made.PatientID}"
        assert shared.ask(f"addimagefile:x.dcm,{new}".encode(), data=encoded(made)) == OK
        listed = shared.ask(f"imagelister:local|{new}|".encode()).payload
        assert listed is not None
        stored = pydicom.dcmread(listed.rstrip(b"*\0").decode())
        assert stored.PatientID == new
        assert stored.PatientName == "Jürg"
    assert shared.ask("addimagefile:x.dcm,Ä1".encode(), data=encoded(ds())) == FAILED
    assert "character set" in shared.log()


@pytest.mark.parametrize("patient", ["X" * 65, "A\\B", "A\nB", "$c", "$tAE"])
def test_a_text_that_can_be_no_patient_id_is_refused(shared: Site, patient: str) -> None:
    made = ds()
    assert shared.ask(f"addimagefile:x.dcm,{patient}", data=encoded(made)) == FAILED
    assert shared.images(made.PatientID) == []
