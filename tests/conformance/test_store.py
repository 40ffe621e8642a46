"""C-STORE through DCMTK's storescu: every kind of object, kept byte for byte."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.conformance.conftest import Archive
from tests.conformance.scu import store_elements, wire
from tests.objects import PRIVATE_CLASS, data_set_bytes, ds, pydicom_files, study, variety, with_pixels, write
from tests.peers import dcmtk, needs_dcmtk
from tests.servers import AE

pytestmark = needs_dcmtk

# storescu proposes its own choice of syntaxes; these options make it propose the file's.
PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


def send(archive: Archive, *paths: Path) -> None:
    """Send files in their own transfer syntax: with storescu, or on a bare wire what storescu will not send."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
        syntax, sop_class = str(meta.TransferSyntaxUID), str(meta.MediaStorageSOPClassUID)
        if sop_class == PRIVATE_CLASS:
            _send_bare(archive, path, sop_class, str(meta.MediaStorageSOPInstanceUID), syntax)
        else:
            groups.setdefault(syntax, []).append(path)
    for syntax, group in groups.items():
        ran = dcmtk("storescu", "-v", "-R", PROPOSE[syntax], "-aec", AE, "localhost", archive.port, *group)
        assert ran.code == 0, ran.output
        assert ran.output.count("Received Store Response (Success)") == len(group), ran.output


def _send_bare(archive: Archive, path: Path, sop_class: str, uid: str, syntax: str) -> None:
    with wire(archive.port) as peer:
        peer.associate({1: (sop_class, (syntax,))})
        peer.message(1, store_elements(sop_class, uid), data_set_bytes(path))
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()


def hundreds(directory: Path) -> dict[str, tuple[Path, str]]:
    """Write 255 objects of every kind and transfer syntax: SOP instance UID -> (file, syntax)."""
    made = {}
    for patient in range(15):
        for obj, syntax in variety(f"V{patient}"):
            made[str(obj.SOPInstanceUID)] = (write(directory, obj, syntax), syntax)
    return made


def stored_by_uid(archive: Archive) -> dict[str, Path]:
    return {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): p for p in archive.files()}


@pytest.mark.parametrize("path", pydicom_files(), ids=lambda p: p.name)
def test_pydicoms_files_are_kept_in_their_transfer_syntax(archive: Archive, path: Path) -> None:
    send(archive, path)
    (stored,) = archive.files()
    original, kept = pydicom.dcmread(path), pydicom.dcmread(stored)
    assert kept.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    # storescu leaves out trailing padding and group lengths.
    for tag in [one.tag for one in original if one.tag.element == 0 or one.tag == 0xFFFCFFFC]:
        del original[tag]
    assert kept == original


def test_hundreds_of_objects_of_every_kind_are_in_the_store_byte_for_byte(archive: Archive, tmp_path: Path) -> None:
    sent = hundreds(tmp_path / "made")
    assert len(sent) == 255
    send(archive, *(path for path, _ in sent.values()))
    stored = stored_by_uid(archive)
    assert stored.keys() == sent.keys()
    for uid, (path, syntax) in sent.items():
        assert pydicom.dcmread(stored[uid], stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
        # DCMTK deflates anew; every other data set leaves it as it is in the file.
        if syntax == DeflatedExplicitVRLittleEndian:
            assert pydicom.dcmread(stored[uid]) == pydicom.dcmread(path)
        else:
            assert data_set_bytes(stored[uid]) == data_set_bytes(path)


def test_a_file_name_is_made_as_conquest_makes_it(archive: Archive, tmp_path: Path) -> None:
    made = with_pixels(ds(PatientID="P1", SeriesNumber=3, InstanceNumber=7))
    archive.keep(made)
    (stored,) = archive.files()
    assert stored.parent == archive.directory / "MAG0" / "P1"
    assert stored.name.startswith(f"{made.SeriesInstanceUID}_0003_000007_")
    assert stored.suffix == ".dcm"


def test_a_resent_object_replaces_the_first_copy(archive: Archive) -> None:
    first = ds(PatientID="P1", StudyDescription="first")
    archive.keep(first)
    first.StudyDescription = "second"
    archive.keep(first)
    (stored,) = archive.files()
    assert pydicom.dcmread(stored).StudyDescription == "second"
    assert archive.daemon.server.counters["ImagesSaved"] == 2


def test_an_object_that_contradicts_the_index_is_refused_and_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    first = ds(PatientID="P1")
    archive.keep(first)
    before = archive.files()
    other = ds(PatientID="P2", StudyInstanceUID=first.StudyInstanceUID)
    ran = archive.store(write(tmp_path / "made", other))
    assert "Status: 0x110" in ran.output
    assert archive.files() == before


def test_big_objects_of_many_frames_are_stored_from_a_file_on_the_device(archive: Archive, tmp_path: Path) -> None:
    made = with_pixels(ds(PatientID="BIG"), rows=512, columns=512, frames=40)
    path = write(tmp_path / "made", made)
    send(archive, path)
    (stored,) = archive.files()
    assert data_set_bytes(stored) == data_set_bytes(path)
    assert list((archive.directory / "MAG0" / "printer_files").glob("*.part")) == []


def test_a_directory_of_studies_is_stored_in_one_association(archive: Archive, tmp_path: Path) -> None:
    made = [obj for number in range(10) for obj in study(f"PAT{number}", series=3, images=10)]
    for obj in made:
        write(tmp_path / "made", obj, ImplicitVRLittleEndian)
    ran = dcmtk("storescu", "+sd", "-aec", AE, "localhost", archive.port, tmp_path / "made")
    assert ran.code == 0, ran.output
    assert stored_by_uid(archive).keys() == {str(obj.SOPInstanceUID) for obj in made}


def test_big_endian_words_survive(archive: Archive, tmp_path: Path) -> None:
    made = with_pixels(ds(PatientID="BE"))
    path = write(tmp_path / "made", made, ExplicitVRBigEndian)
    send(archive, path)
    (stored,) = archive.files()
    assert data_set_bytes(stored) == data_set_bytes(path)
