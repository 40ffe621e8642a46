"""Data sets under another patient ID and other UIDs: those change, every other byte stays."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable
from struct import pack

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from storage import rewrite
from storage.errors import NotConvertible, NotDicom
from storage.part10 import read_object_file
from storage.rewrite import with_patient
from storage.structure import verify_structure
from tests.objects import pydicom_files

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

Encode = Callable[..., bytes]


def longer(tag: int, uid: str) -> str:
    """A new UID that never has the length of the old one."""
    return f"9.{uid}.99" if len(uid) < 59 else f"9.{zlib.crc32(uid.encode())}"


def rewritten(data: bytes, syntax: str = EXPLICIT, patient: str = "NEW ONE") -> bytes:
    return b"".join(with_patient(io.BytesIO(data), syntax, patient, longer))


def inflated(data: bytes, syntax: str) -> bytes:
    return zlib.decompressobj(-15).decompress(data) if syntax == DEFLATED else data


def read(data: bytes, syntax: str) -> Dataset:
    return read_dataset(
        io.BytesIO(inflated(data, syntax)), is_implicit_VR=syntax == IMPLICIT, is_little_endian=syntax != BIG
    )


def made(*, undefined: bool = False) -> Dataset:
    """An object that refers to others at two depths."""
    image = Dataset()
    image.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.ReferencedSOPInstanceUID = "1.7.7"
    series = Dataset()
    series.ReferencedSOPSequence = Sequence([image, Dataset()])
    series.SeriesInstanceUID = "1.3"
    obj = Dataset()
    obj.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    obj.SOPInstanceUID = "1.4.12"
    obj.ReferencedSeriesSequence = Sequence([series])
    obj.PatientName = "DOE^JOHN"
    obj.PatientID = "OLD"
    obj.StudyInstanceUID = "1.2.1"
    obj.SeriesInstanceUID = "1.3"
    obj.add_new(0x00209161, "UI", "")
    obj.add_new(0x00080058, "UI", ["1.1", "1.20", "1.2.840.10008.1.1"])
    obj.add_new(0x00090010, "LO", "ACME")
    obj.add_new(0x00091001, "UI", "1.99")
    obj.add_new(0x7FE00010, "OW", bytes(range(200)))
    for holder in (obj["ReferencedSeriesSequence"], series["ReferencedSOPSequence"]):
        holder.is_undefined_length = undefined
    for item in (series, image):
        item.is_undefined_length_sequence_item = undefined
    return obj


def changed(*, private: bool, undefined: bool = False) -> Dataset:
    """The same after the change; the private UID only where the data set says that it is one."""
    obj = made(undefined=undefined)
    obj.PatientID = "NEW ONE"
    obj.SOPInstanceUID = "9.1.4.12.99"
    obj.StudyInstanceUID = "9.1.2.1.99"
    obj.SeriesInstanceUID = "9.1.3.99"
    obj[0x00080058].value = ["9.1.1.99", "9.1.20.99", "1.2.840.10008.1.1"]
    series = obj.ReferencedSeriesSequence[0]
    series.SeriesInstanceUID = "9.1.3.99"
    series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "9.1.7.7.99"
    if private:
        obj[0x00091001].value = "9.1.99.99"
    return obj


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_ids_change_at_every_depth_and_nothing_else_does(encode: Encode, syntax: str, undefined: bool) -> None:
    after = rewritten(encode(made(undefined=undefined), syntax), syntax)
    wanted = encode(changed(private=syntax != IMPLICIT, undefined=undefined), syntax)
    assert inflated(after, syntax) == inflated(wanted, syntax)
    assert len(after) % 2 == 0
    verify_structure(io.BytesIO(after), syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_a_patient_id_that_is_missing_is_put_in_its_place(encode: Encode, syntax: str) -> None:
    before, wanted = made(), changed(private=syntax != IMPLICIT)
    del before.PatientID
    assert rewritten(encode(before, syntax), syntax) == encode(wanted, syntax)
    short = Dataset()
    short.SOPInstanceUID = "1.4.12"
    assert read(rewritten(encode(short, syntax), syntax), syntax).PatientID == "NEW ONE"


def test_an_old_patient_id_does_not_stay_behind_its_place() -> None:
    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value

    data = element(0x00080016, b"UI", b"1.2\0") + element(0x00100040, b"CS", b"M ")
    data += element(0x00100020, b"LO", b"OLD ") + element(0x00100020, b"LO", b"ALSO")
    assert rewritten(data, patient="NEW") == (
        element(0x00080016, b"UI", b"1.2\0") + element(0x00100020, b"LO", b"NEW ") + element(0x00100040, b"CS", b"M ")
    )


def test_group_lengths_which_would_be_wrong_are_left_out(encode: Encode) -> None:
    before = made()
    before.add_new(0x00080000, "UL", 100)
    before.add_new(0x00200000, "UL", 200)
    before.ReferencedSeriesSequence[0].add_new(0x00200000, "UL", 300)
    assert rewritten(encode(before)) == encode(changed(private=True))


def test_sequences_in_values_of_unknown_vr_are_changed_too(encode: Encode) -> None:
    before = made()
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.7.7"
    data = encode(inner, IMPLICIT)
    item = b"\xfe\xff\x00\xe0" + pack("<L", len(data)) + data
    before.add_new(0x00091010, "UN", item)
    data = encode(inner, IMPLICIT).replace(b"\6\0\0\x001.7.7\0", b"\x0a\0\0\x009.1.7.7.99")
    after = read(rewritten(encode(before)), EXPLICIT)
    assert after[0x00091010].value == b"\xfe\xff\x00\xe0" + pack("<L", len(data)) + data
    verify_structure(io.BytesIO(rewritten(encode(before))), EXPLICIT)


def test_compressed_pixels_stay(encode: Encode) -> None:
    before, wanted = made(), changed(private=True)
    for obj in (before, wanted):
        obj.add_new(0x7FE00010, "OB", encapsulate([b"\xff\xd8frame1", b"\xff\xd8second"]))
        obj["PixelData"].is_undefined_length = True
    assert rewritten(encode(before), "1.2.840.10008.1.2.4.50") == encode(wanted)


@pytest.mark.parametrize(
    ("charset", "patient", "written"),
    [
        ("ISO_IR 100", "Ä", b"\xc4 "),
        ("ISO_IR 192", "Ä", "Ä".encode()),
        ("GB18030", "王", "王".encode("gb18030")),
        (None, "A", b"A "),
    ],
)
def test_the_id_is_written_in_the_character_set_of_the_object(
    encode: Encode, charset: str | None, patient: str, written: bytes
) -> None:
    before = made()
    if charset:
        before.SpecificCharacterSet = charset
    after = rewritten(encode(before), patient=patient)
    assert b"\x10\0\x20\0LO" + pack("<H", len(written)) + written in after


@pytest.mark.parametrize(("charset", "patient"), [(None, "Ä"), ("ISO_IR 6", "Ä"), ("ISO_IR 100", "王")])
def test_an_id_that_cannot_be_written_is_refused_before_anything_is(
    encode: Encode, charset: str | None, patient: str
) -> None:
    before = made()
    if charset:
        before.SpecificCharacterSet = charset
    with pytest.raises(NotConvertible, match="character set"):
        with_patient(io.BytesIO(encode(before)), EXPLICIT, patient, longer)


def test_what_is_cut_is_refused_before_anything_is_written(encode: Encode) -> None:
    with pytest.raises(NotDicom):
        with_patient(io.BytesIO(encode(made())[:-1]), EXPLICIT, "NEW", longer)


def test_lists_of_uids_without_end_are_refused(encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "MAX_UIDS", 100)
    before = made()
    before.FailedSOPInstanceUIDList = ["1.2.3"] * 101
    with pytest.raises(NotConvertible, match="more than 100 UIDs"):
        rewritten(encode(before))
    huge = pack("<HH2sH", 8, 0x16, b"UI", 4) + b"1.2\0" + pack("<HHL", 8, 0x18, 1 << 20)
    with pytest.raises(NotConvertible, match="UID element of 1048576 bytes"):
        rewritten(huge + bytes(1 << 20), IMPLICIT)


@pytest.mark.parametrize("path", pydicom_files(), ids=lambda path: path.name)
def test_real_files_keep_all_but_ids(path: pydicom.fileutil.PathType) -> None:
    file = read_object_file(path)  # type: ignore[arg-type]
    with file.path.open("rb") as source:
        source.seek(file.offset)
        data = b"".join(with_patient(source, file.transfer_syntax, "NEW", longer))
    before = pydicom.dcmread(path, force=True)
    after = read(data, file.transfer_syntax)
    assert after.PatientID == "NEW"
    assert after.SOPInstanceUID == longer(0, before.SOPInstanceUID)
    assert after.SOPClassUID == before.SOPClassUID
    kept = [element for element in before if element.VR not in ("UI", "SQ") and element.tag.element]
    assert [element for element in kept if element != after[element.tag]] == [before[0x00100020]]
    again = b"".join(with_patient(io.BytesIO(data), file.transfer_syntax, "NEW", lambda tag, uid: uid))
    assert inflated(again, file.transfer_syntax) == inflated(data, file.transfer_syntax)


@given(st.binary(max_size=300), st.integers(0, 300), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_out_is_whole(encode: Encode, data: bytes, cut: int, syntax: str) -> None:
    whole = encode(made(), syntax)
    with contextlib.suppress(NotDicom, NotConvertible):
        verify_structure(io.BytesIO(rewritten(whole[:cut] + data + whole[cut + len(data) :], syntax)), syntax)
