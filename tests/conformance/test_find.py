"""C-FIND through DCMTK's findscu: levels, matching, counts, character sets, cancellation."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dgate.app import build
from dgate.config import load
from tests.benchmarks.measure import family
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import CONTEXTS, FIND, IMAGES, fill, request, responses
from tests.conformance.scu import IMPLICIT, wire
from tests.objects import ds, study, write
from tests.peers import Ran, dcmtk, needs_dcmtk
from tests.servers import AE, program, write_ini

pytestmark = needs_dcmtk

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def find(
    archive: Archive, directory: Path, *keys: str, model: str = "-S", own: dict[int, str] | None = None
) -> list[Dataset]:
    """The responses of one query, in the order they came; `own` are ConQuest's elements, which findscu cannot name."""
    directory.mkdir(exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    options = [option for key in keys for option in ("-k", key)]
    query = Dataset()
    for tag, value in (own or {}).items():
        query.add_new(tag, "LO", value)
    query.file_meta = FileMetaDataset()
    query.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = directory.parent / "query.dcm"
    query.save_as(path)
    ran = dcmtk("findscu", "-v", "-X", "-od", directory, model, "-aec", AE, *options, "localhost", archive.port, path)
    assert ran.code == 0, ran.output
    assert "Failed" not in ran.output, ran.output
    return [pydicom.dcmread(path, force=True) for path in sorted(directory.iterdir())]


@pytest.fixture
def filled(archive: Archive) -> Archive:
    archive.keep(
        *study("P1", series=2, images=3, PatientName="DOE^JOHN", StudyDate="20200102"),
        *study("P1", series=1, images=1, PatientName="DOE^JOHN", StudyDate="20210304", Modality="MR"),
        *study("P2", series=1, images=2, PatientName="ROE^JANE", StudyDate="20200102"),
    )
    return archive


@pytest.mark.parametrize(
    ("level", "unique", "expected"),
    [("PATIENT", "PatientID", 2), ("STUDY", "StudyInstanceUID", 3), ("SERIES", "SeriesInstanceUID", 4),
     ("IMAGE", "SOPInstanceUID", 9)],
)  # fmt: skip
@pytest.mark.parametrize("model", ["-P", "-S"])
@pytest.mark.parametrize("universal", ["", "*"])
def test_every_level_answers_in_every_model_without_keys_of_higher_levels(
    filled: Archive, tmp_path: Path, level: str, unique: str, expected: int, model: str, universal: str
) -> None:
    found = find(filled, tmp_path / "found", f"QueryRetrieveLevel={level}", f"{unique}={universal}", model=model)
    assert len(found) == expected
    assert len({row[unique].value for row in found}) == expected
    assert {row.QueryRetrieveLevel for row in found} == {level}
    assert {row.RetrieveAETitle for row in found} == {AE}


def test_a_series_is_found_by_keys_of_its_patient(filled: Archive, tmp_path: Path) -> None:
    found = find(
        filled, tmp_path / "found", "QueryRetrieveLevel=SERIES", "PatientName=roe*", "Modality", "SeriesInstanceUID"
    )
    assert [(row.Modality, row.PatientName) for row in found] == [("CT", "ROE^JANE")]


def test_computed_counts_and_modalities_come_with_a_study(filled: Archive, tmp_path: Path) -> None:
    found = find(
        filled, tmp_path / "found", "QueryRetrieveLevel=STUDY", "PatientID=P1", "StudyDate=20200102",
        "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "ModalitiesInStudy", "InstitutionName",
    )  # fmt: skip
    (row,) = found
    assert row.NumberOfStudyRelatedSeries == 2
    assert row.NumberOfStudyRelatedInstances == 6
    assert row.ModalitiesInStudy == "CT"
    assert "InstitutionName" in row


def test_a_study_is_found_by_one_of_its_modalities(filled: Archive, tmp_path: Path) -> None:
    found = find(filled, tmp_path / "found", "QueryRetrieveLevel=STUDY", "ModalitiesInStudy=MR", "StudyDate")
    assert [row.StudyDate for row in found] == ["20210304"]


def test_keys_nobody_knows_come_back_empty(filled: Archive, tmp_path: Path) -> None:
    found = find(
        filled, tmp_path / "found", "QueryRetrieveLevel=PATIENT", "PatientID=P2", "PatientComments", model="-P"
    )
    (row,) = found
    assert row.PatientComments == ""
    assert row.PatientID == "P2"


@pytest.mark.parametrize(
    ("charset", "name", "key"),
    [
        ("ISO_IR 100", "Müller^Jörg", "mül*"),
        ("ISO_IR 192", "Þórsdóttir^Ægir", "þór*"),
        ("ISO_IR 192", "王^小东", "王*"),
    ],
)
def test_names_are_matched_and_answered_in_the_character_set_of_the_query(
    archive: Archive, tmp_path: Path, charset: str, name: str, key: str
) -> None:
    archive.keep(ds(PatientID="N1", SpecificCharacterSet=charset, PatientName=name), ds(PatientID="N2"))
    query = Dataset()
    query.SpecificCharacterSet = charset
    query.QueryRetrieveLevel = "PATIENT"
    query.PatientName = key
    query.PatientID = ""
    query.file_meta = FileMetaDataset()
    query.file_meta.TransferSyntaxUID = IMPLICIT
    path = tmp_path / "query.dcm"
    query.save_as(path, implicit_vr=True, little_endian=True)
    out = tmp_path / "found"
    out.mkdir()
    ran = dcmtk("findscu", "-v", "-X", "-od", out, "-P", "-aec", AE, "localhost", archive.port, path)
    assert ran.code == 0, ran.output
    (found,) = [pydicom.dcmread(p, force=True) for p in out.iterdir()]
    assert found.PatientID == "N1"
    assert str(found.PatientName) == name
    assert found.SpecificCharacterSet == charset


def cancelled(archive: Archive) -> tuple[int, int]:
    """(matches received, final status) of a query that is cancelled after its first match."""
    identifier = bytes.fromhex("08005200 06000000") + b"IMAGE " + bytes.fromhex("08001800 00000000")
    with wire(archive.port) as peer:
        accepted = peer.associate({1: (STUDY_ROOT_FIND, (IMPLICIT,))})
        assert accepted is not None
        assert accepted.kind == 2
        elements = {0x0002: STUDY_ROOT_FIND, 0x0100: 0x0020, 0x0110: 7, 0x0700: 0, 0x0800: 1}
        peer.message(1, elements, identifier)
        peer.message(1, {0x0100: 0x0FFF, 0x0120: 7, 0x0800: 0x0101})
        matches = 0
        while True:
            received = peer.answer()
            assert received is not None
            status = received[0].number(0x0900)
            if status not in (0xFF00, 0xFF01):
                assert peer.release()
                return matches, status
            matches += 1


def test_a_cancelled_query_ends_early_and_says_so(archive: Archive) -> None:
    fill(archive.daemon.server.index, ((f"1.2.3.{number}", number) for number in range(30_000)))
    matches, status = cancelled(archive)
    assert status == 0xFE00
    assert matches < 30_000


@pytest.mark.parametrize("level", ["", "WARD"])
def test_a_query_without_a_known_level_is_refused(archive: Archive, level: str) -> None:
    ran: Ran = dcmtk("findscu", "-v", "-S", "-aec", AE, "-k", f"QueryRetrieveLevel={level}", "localhost", archive.port)
    assert re.search("0xc001|UnableToProcess", ran.output, re.IGNORECASE), ran.output


def test_conquests_sort_limit_and_offset_are_obeyed(filled: Archive, tmp_path: Path) -> None:
    keys = ("QueryRetrieveLevel=STUDY", "StudyDate", "StudyInstanceUID")
    own = {0x99990C00: "StudyDate", 0x99990C01: "1", 0x99990C02: "2"}
    found = find(filled, tmp_path / "found", *keys, own=own)
    assert [row.StudyDate for row in found] == ["20210304"]


def test_image_level_tells_file_and_device_when_asked(filled: Archive, tmp_path: Path) -> None:
    (made,) = study("P9", series=1, images=1)
    filled.keep(made)
    own = {0x99990800: "", 0x99990801: ""}
    keys = ("QueryRetrieveLevel=IMAGE", f"SOPInstanceUID={made.SOPInstanceUID}")
    (row,) = find(filled, tmp_path / "found", *keys, own=own)
    assert row[0x99990801].value == "MAG0"
    assert (filled.directory / "MAG0" / row[0x99990800].value).is_file()


def test_objects_without_names_are_found_by_everything_else(archive: Archive, tmp_path: Path) -> None:
    path = write(tmp_path / "made", ds(PatientID="", PatientName="", AccessionNumber="ACC7"))
    assert archive.store(path).code == 0
    found = find(archive, tmp_path / "found", "QueryRetrieveLevel=STUDY", "AccessionNumber=ACC7", "PatientID")
    assert [row.PatientID for row in found] == ["00000000"]


@pytest.mark.parametrize("max_pdu", [32, 200, 1000, 0])
def test_responses_come_in_pdus_that_the_peer_takes(full: Archive, max_pdu: int) -> None:
    with wire(full.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(5, request(FIND, 0x0020), IMAGES)
        expected = [(command.number(0x0900), data) for command, data in responses(peer)]
        assert peer.release()
    assert len(expected) == 301
    with wire(full.port) as peer:
        peer.associate(CONTEXTS, max_pdu=max_pdu)
        peer.message(5, request(FIND, 0x0020), IMAGES)
        sizes: list[int] = []
        receive = peer.receive

        def received() -> object:
            pdu = receive()
            assert pdu is not None
            sizes.append(len(pdu.body))
            return pdu

        peer.receive = received  # type: ignore[assignment,method-assign]
        assert [(command.number(0x0900), data) for command, data in responses(peer)] == expected
        peer.receive = receive  # type: ignore[method-assign]
        assert peer.release()
    assert max(sizes) <= max_pdu or max_pdu == 0


def highest_memory(pid: int) -> int:
    """The most memory, in KB, that each process of a server has had, together."""
    return sum(
        int(line.split()[1])
        for one in family(pid)
        for line in Path(f"/proc/{one}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )


def test_50000_matches_need_no_more_memory_than_a_few(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    write_ini(directory)
    server = build(load(directory, {}))
    server.index.ensure_tables()
    fill(server.index, ((f"1.2.826.0.1.3680043.10.1.2.{number:09d}", number) for number in range(50_000)))
    server.index.close()
    limit = b"\x99\x99\x01\x0c\x04\0\0\x001000"
    with program(directory) as running, wire(running.port) as peer:
        peer.associate(CONTEXTS, max_pdu=131072)
        peer.message(5, request(FIND, 0x0020), IMAGES + limit)
        assert len(responses(peer)) == 1001
        before = highest_memory(running.process.pid)
        peer.message(5, request(FIND, 0x0020), IMAGES)
        found = 0
        while (answer := peer.answer()) is not None and answer[0].number(0x0900) == 0xFF00:
            found += 1
        assert found == 50_000
        assert highest_memory(running.process.pid) - before < 4096
        assert peer.release()
