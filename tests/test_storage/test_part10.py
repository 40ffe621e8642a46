"""File meta information: what we write pydicom reads, what others write we read, and hostile files do no harm."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from storage.errors import NotDicom
from storage.part10 import ObjectFile, file_meta, read_object_file

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"

Encode = Callable[..., bytes]
Make = Callable[..., Dataset]


@pytest.mark.parametrize("sop_instance", ["1.2.3.4", "1.2.3.45", "1" * 64])
def test_what_we_write_is_read_by_pydicom(sop_instance: str, encode: Encode, ds: Make) -> None:
    meta = file_meta(SECONDARY_CAPTURE, sop_instance, EXPLICIT)
    found = pydicom.dcmread(io.BytesIO(meta + encode(ds(PatientID="P1"))))
    assert found.preamble == bytes(128)
    assert {element.keyword: element.value for element in found.file_meta} == {
        "FileMetaInformationGroupLength": len(meta) - 144,
        "FileMetaInformationVersion": b"\0\1",
        "MediaStorageSOPClassUID": SECONDARY_CAPTURE,
        "MediaStorageSOPInstanceUID": sop_instance,
        "TransferSyntaxUID": EXPLICIT,
        "ImplementationClassUID": "1.2.826.0.1.3680043.2.135.1066.101",
        "ImplementationVersionName": "DGATE_0.1",
    }
    assert found.PatientID == "P1"


def test_what_we_write_we_read(tmp_path: Path, encode: Encode, ds: Make) -> None:
    meta = file_meta(SECONDARY_CAPTURE, "1.2.3.4", EXPLICIT)
    data = encode(ds())
    path = tmp_path / "a.dcm"
    path.write_bytes(meta + data)
    assert read_object_file(path) == ObjectFile(path, EXPLICIT, len(meta), len(data), SECONDARY_CAPTURE, "1.2.3.4")


def test_what_cannot_be_a_uid_is_refused() -> None:
    with pytest.raises(NotDicom, match=r"^a UID of 256 characters$"):
        file_meta(SECONDARY_CAPTURE, "1" * 256, EXPLICIT)
    assert b"../\x00" not in file_meta(SECONDARY_CAPTURE, "ü/..", EXPLICIT)


@pytest.mark.parametrize("name", ["a.v2", "a.dcm", "a", "a.v2.part"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_bare_data_set_is_read_by_its_looks(name: str, syntax: str, tmp_path: Path, encode: Encode, ds: Make) -> None:
    path = tmp_path / name
    data = encode(ds(), syntax)
    path.write_bytes(data)
    assert read_object_file(path) == ObjectFile(path, syntax, 0, len(data), "", "")


def test_a_v2_file_may_have_a_preamble_and_no_meta(tmp_path: Path, encode: Encode, ds: Make) -> None:
    path = tmp_path / "a.v2"
    data = encode(ds(), IMPLICIT)
    path.write_bytes(bytes(128) + b"DICM" + data)
    assert read_object_file(path) == ObjectFile(path, IMPLICIT, 132, len(data), "", "")


def test_a_group_length_that_lies_is_not_believed(tmp_path: Path, encode: Encode, ds: Make) -> None:
    meta = bytearray(file_meta(SECONDARY_CAPTURE, "1.2.3.4", EXPLICIT))
    meta[140:144] = pack("<L", 5)
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(meta) + encode(ds()))
    assert read_object_file(path).offset == len(meta)


def test_long_file_meta_is_read_up_to_a_limit(tmp_path: Path, encode: Encode, ds: Make) -> None:
    meta = file_meta(SECONDARY_CAPTURE, "1.2.3.4", EXPLICIT)
    path = tmp_path / "a.dcm"
    for size, fits in ((100_000, True), (1_100_000, False)):
        path.write_bytes(meta + pack("<HH2sHL", 2, 0x0102, b"OB", 0, size) + bytes(size) + encode(ds()))
        if fits:
            assert read_object_file(path).offset == len(meta) + 12 + size
        else:
            with pytest.raises(NotDicom, match=r"^its file meta information is cut short$"):
                read_object_file(path)


@pytest.mark.parametrize(
    ("file", "syntax", "offset"),
    [
        ("CT_small.dcm", EXPLICIT, 336),
        ("no_meta.dcm", "", 0),
        ("ExplVR_LitEndNoMeta.dcm", EXPLICIT, 0),
        ("rtstruct.dcm", IMPLICIT, 0),
        ("meta_missing_tsyntax.dcm", "", 0),
    ],
)
def test_files_of_others_are_read_or_refused(file: str, syntax: str, offset: int) -> None:
    path = Path(str(get_testdata_file(file)))
    if not syntax:
        with pytest.raises(NotDicom):
            read_object_file(path)
        return
    found = read_object_file(path)
    assert (found.transfer_syntax, found.offset) == (syntax, offset)
    assert found.offset + found.length == path.stat().st_size


@pytest.mark.parametrize("data", [b"", b"DICM", b"x" * 500, bytes(128) + b"DICM", bytes(200)])
def test_what_is_no_dicom_file_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with pytest.raises(NotDicom, match=r"^it is (no DICOM file|too short for a DICOM file)$"):
        read_object_file(path)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_file_is_read_or_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    for prefix in (b"", bytes(128) + b"DICM", bytes(128) + b"DICM\2\0"):
        path.write_bytes(prefix + data)
        try:
            found = read_object_file(path)
        except NotDicom:
            continue
        assert 0 <= found.offset <= found.offset + found.length == len(prefix + data)
