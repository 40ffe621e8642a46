"""C-MOVE and C-GET through DCMTK: what is retrieved equals what was stored."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from tests.conformance.conftest import Archive
from tests.conformance.test_store import hundreds, send
from tests.objects import data_set_bytes, ds, pydicom_files, study, with_pixels, write
from tests.peers import Ran, StoreScp, dcmtk, needs_dcmtk
from tests.servers import AE

pytestmark = needs_dcmtk


def move(archive: Archive, *keys: str, model: str = "-S", dest: str = "STORESCP", called: str = AE) -> Ran:
    options = [option for key in keys for option in ("-k", key)]
    return dcmtk("movescu", "-v", model, "-aec", called, "-aem", dest, *options, "localhost", archive.port)


def get(archive: Archive, directory: Path, *keys: str, model: str = "-S", options: tuple[str, ...] = ()) -> Ran:
    directory.mkdir(exist_ok=True)
    keyed = [option for key in keys for option in ("-k", key)]
    return dcmtk("getscu", "-v", model, "+B", "-aec", AE, *options, *keyed, "-od", directory, "localhost", archive.port)


def by_uid(paths: list[Path]) -> dict[str, Path]:
    return {str(pydicom.dcmread(p, stop_before_pixels=True, force=True).SOPInstanceUID): p for p in paths}


def test_everything_moved_is_byte_for_byte_what_was_stored(
    archive_with_sink: Archive, sink: StoreScp, tmp_path: Path
) -> None:
    archive = archive_with_sink
    send(archive, *pydicom_files(), *(path for path, _ in hundreds(tmp_path / "made").values()))
    stored = by_uid(archive.files())
    ran = move(archive, "QueryRetrieveLevel=PATIENT", "PatientID=*", model="-P")
    assert ran.code == 0, ran.output
    moved = by_uid(sink.received())
    assert moved.keys() == stored.keys()
    for uid, path in moved.items():
        assert data_set_bytes(path) == data_set_bytes(stored[uid]), uid
        meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
        assert (
            meta.TransferSyntaxUID == pydicom.dcmread(stored[uid], stop_before_pixels=True).file_meta.TransferSyntaxUID
        )


@pytest.mark.parametrize(
    ("level", "keyword", "expected"),
    [
        ("PATIENT", "PatientID", 12),
        ("STUDY", "StudyInstanceUID", 6),
        ("SERIES", "SeriesInstanceUID", 3),
        ("IMAGE", "SOPInstanceUID", 1),
    ],
)
@pytest.mark.parametrize("model", ["-P", "-S"])
def test_each_level_moves_its_objects(
    archive_with_sink: Archive, sink: StoreScp, level: str, keyword: str, expected: int, model: str
) -> None:
    made = [*study("P1"), *study("P1"), *study("P2")]
    archive_with_sink.keep(*made)
    ran = move(archive_with_sink, f"QueryRetrieveLevel={level}", f"{keyword}={made[0][keyword].value}", model=model)
    assert ran.code == 0, ran.output
    assert len(sink.received()) == expected


def test_a_list_of_uids_moves_each_of_them(archive_with_sink: Archive, sink: StoreScp) -> None:
    made = study("P1")
    archive_with_sink.keep(*made)
    uids = "\\".join(str(obj.SOPInstanceUID) for obj in made[:4])
    ran = move(archive_with_sink, "QueryRetrieveLevel=IMAGE", f"SOPInstanceUID={uids}")
    assert ran.code == 0, ran.output
    assert len(sink.received()) == 4


def test_sub_operations_are_counted_and_name_their_originator(archive_with_sink: Archive, sink: StoreScp) -> None:
    archive_with_sink.keep(*study("P1", series=1, images=3))
    ran = dcmtk(
        "movescu", "-d", "-S", "-aet", "ASKER", "-aec", AE, "-aem", "STORESCP",
        *("-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=*", "localhost", archive_with_sink.port),
    )  # fmt: skip
    assert ran.code == 0, ran.output
    remaining = [line.split(":")[-1].strip() for line in ran.output.splitlines() if "Remaining Suboperations" in line]
    completed = [line.split(":")[-1].strip() for line in ran.output.splitlines() if "Completed Suboperations" in line]
    assert remaining == ["2", "1", "none"]
    assert completed == ["1", "2", "3"]


@pytest.mark.parametrize("model", ["-P", "-S"])
def test_getscu_gets_a_study_without_naming_the_patient(archive: Archive, tmp_path: Path, model: str) -> None:
    made = study("P1")
    archive.keep(*made)
    ran = get(
        archive, tmp_path / "got", "QueryRetrieveLevel=STUDY", f"StudyInstanceUID={made[0].StudyInstanceUID}",
        model=model,
    )  # fmt: skip
    assert ran.code == 0, ran.output
    got = by_uid(list((tmp_path / "got").iterdir()))
    stored = by_uid(archive.files())
    assert got.keys() == stored.keys()
    assert all(data_set_bytes(got[uid]) == data_set_bytes(stored[uid]) for uid in got)


def test_getscu_that_takes_only_implicit_gets_the_same_values(archive: Archive, tmp_path: Path) -> None:
    made = with_pixels(ds(PatientID="P1"))
    send(archive, write(tmp_path / "made", made, ExplicitVRLittleEndian))
    ran = get(
        archive, tmp_path / "got", "QueryRetrieveLevel=PATIENT", "PatientID=P1", model="-P", options=("+xi", "-d")
    )
    assert ran.code == 0, ran.output
    # getscu files what it got as explicit little endian; only its own words say how it came.
    received = ran.output.partition("Received C-STORE Request")[2]
    assert 'DcmDataset::read() TransferSyntax="Little Endian Implicit"' in received
    (path,) = (tmp_path / "got").iterdir()
    got = pydicom.dcmread(path)
    assert got == pydicom.dcmread(archive.files()[0])


def test_a_move_of_nothing_succeeds_with_zero_counts(archive_with_sink: Archive, sink: StoreScp) -> None:
    ran = move(archive_with_sink, "QueryRetrieveLevel=STUDY", "StudyInstanceUID=9.9.9")
    assert ran.code == 0, ran.output
    assert sink.received() == []


def test_an_unknown_destination_is_said_to_be_unknown(archive: Archive) -> None:
    archive.keep(*study("P1"))
    ran = move(archive, "QueryRetrieveLevel=PATIENT", "PatientID=P1", model="-P", dest="NOBODY")
    assert ran.code != 0
    assert "MoveDestinationUnknown" in ran.output or "0xa801" in ran.output.lower(), ran.output


@pytest.mark.parametrize("encoder", [("dcmcjpls",), ("dcmcjpls", "+en"), ("dcmcjpeg",), ("dcmcrle",)], ids=" ".join)
def test_what_dcmtk_compresses_is_stored_and_moved_as_it_is(
    archive_with_sink: Archive, sink: StoreScp, tmp_path: Path, encoder: tuple[str, ...]
) -> None:
    plain = write(tmp_path / "made", with_pixels(ds(PatientID="COMPRESSED"), 64, 64))
    path = tmp_path / "compressed.dcm"
    ran = dcmtk(*encoder, plain, path)
    assert ran.code == 0, ran.output
    send(archive_with_sink, path)
    ran = move(archive_with_sink, "QueryRetrieveLevel=PATIENT", "PatientID=COMPRESSED", model="-P")
    assert ran.code == 0, ran.output
    (stored,), (moved,) = archive_with_sink.files(), sink.received()
    assert data_set_bytes(moved) == data_set_bytes(stored)
    original, arrived = pydicom.dcmread(path), pydicom.dcmread(moved)
    assert arrived.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert arrived.file_meta.TransferSyntaxUID.is_compressed
    assert arrived.PixelData == original.PixelData
