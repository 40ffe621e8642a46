"""Header dumps: ConQuest's lines, every kind of value, and files that are cut, damaged or made to hurt."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from server.dictionary import DicomDictionary
from storage import dump as dumping
from storage.dump import dump_header
from storage.errors import NotDicom
from storage.part10 import file_meta
from tests.objects import pydicom_files

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
RECORDED = "1.3.46.670589.5.2.10.2156913941.892665339.718742"

Encode = Callable[..., bytes]
NAMES = DicomDictionary()

# Section 3.9 of the compatibility specification, as a real server printed them.
CONQUEST = [
    "0002,0001      2 OB FileMetaInformationV   00 01 ",
    '0008,0018     48 UI SOPInstanceUID         "1.3.46.670589.5.2.10.2156913941.892665339.718742" ',
    "0008,0040      2 US DataSetType            0 ",
    "0008,0050      0 SH AccessionNumber        (empty)",
    "0008,1140      0 SQ ReferencedImageSeque   Sequence Item",
    '>0008,1150     26 UI ReferencedSOPClassUI   "1.2.840.10008.5.1.4.1.1.2" ',
    "0009,1000      2 UN                        (8259|2043)",
]


def recorded() -> Dataset:
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID = RECORDED
    made.add_new(0x00080040, "US", 0)
    made.AccessionNumber = ""
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.ReferencedImageSequence = Sequence([item])
    made.add_new(0x00091000, "UN", b"\x43\x20")
    return made


def listed(path: Path, data: bytes, syntax: str = EXPLICIT) -> list[str]:
    """The lines of a file with these bytes behind its meta information, that left out."""
    path.write_bytes(file_meta("1.2.840.10008.5.1.4.1.1.2", RECORDED, syntax) + data)
    lines = dump_header(path, NAMES).splitlines()
    return [line for line in lines if not line.startswith("0002,")]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
def test_lines_are_those_of_conquest(tmp_path: Path, encode: Encode, syntax: str) -> None:
    path = tmp_path / "a.dcm"
    lines = listed(path, encode(recorded(), syntax), syntax)
    assert [CONQUEST[0], *lines[1:]] == CONQUEST
    assert dump_header(path, NAMES).splitlines()[1] == CONQUEST[0]


def element(tag: int, vr: str, value: bytes, order: str = "<") -> bytes:
    head = pack(f"{order}HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"):
        return head + pack(f"{order}HL", 0, len(value)) + value
    return head + pack(f"{order}H", len(value)) + value


FIRST = element(0x00080008, "CS", b"ORIGINAL")

VALUES = [
    (0x00080008, "CS", b"ORIGINAL\\PRIMARY", r'    16 CS ImageType              "ORIGINAL\\PRIMARY" '),
    (0x00100010, "PN", b"DOE^JOHN ", '     9 PN PatientName            "DOE^JOHN" '),
    (0x00104000, "LT", b"a\tb\r\nc\x01d\x1b", r'     9 LT PatientComments        "a\tb\r\nc\001d\033" '),
    (0x00104000, "LT", b"  ", '     2 LT PatientComments        "" '),
    (0x00280010, "US", b"\x00\x02", "     2 US Rows                   512 "),
    (0x00280034, "IS", b"1\\1 ", r'     4 IS PixelAspectRatio       "1\\1" '),
    (0x00189810, "US", b"\1\0\2\0\3\0", "     6 US ZeroVelocityPixelVal   1\\2\\3 "),
    (0x00280009, "AT", b"\x18\0\x63\x10", "     4 AT FrameIncrementPointe   0018,1063 "),
    (0x00186020, "SL", b"\xff\xff\xff\xff", "     4 SL ReferencePixelX0       -1 "),
    (0x00189087, "FD", pack("<d", 0.1), "     8 FD DiffusionBValue        0.1 "),
    (0x0018602C, "FL", pack("<f", 1.5), "     4 FL PhysicalDeltaX         1.5 "),
    (0x00080001, "UL", b"", "     0 UL LengthToEnd            (empty)"),
    (0x00420011, "OB", b"%PDF\0\1", "     6 OB EncapsulatedDocument   25 50 44 46 00 01 (%PDF) "),
    (0x00091002, "UN", b"\1\2\3\4", "     4 UN                        [67305985|04030201]"),
    (0x00091002, "OB", b"\1\2", "     2 OB                        (513|0201)"),
    (0x00091003, "UN", b"\1\2\3\4\5\6", "     6 UN                        01 02 03 04 05 06 "),
    (0x00091004, "LO", b"private ", '     8 LO                        "private" '),
    (0x00280106, "US", b"\1\0", "     2 US SmallestImagePixelVa   1 "),
    (0x60000010, "US", b"\1\0", "     2 US OverlayRows            1 "),
    (0x00100010, "PN", b"\xff" * 4, '     4 PN PatientName            "????" '.replace("?", "ÿ")),
    (0x00091005, "ZZ", b"AB", "     2 ZZ                        (16961|4241)"),
]


@pytest.mark.parametrize(("tag", "vr", "value", "line"), VALUES)
def test_a_value_is_shown_by_its_vr(tmp_path: Path, tag: int, vr: str, value: bytes, line: str) -> None:
    before = b"" if tag <= 0x00080008 else FIRST
    if vr == "ZZ":  # later VRs have long lengths (PS3.5 7.1.2)
        data = FIRST + pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"ZZ", 0, len(value)) + value
    else:
        data = before + element(tag, vr, value)
    assert listed(tmp_path / "a.dcm", data)[-1] == f"{tag >> 16:04x},{tag & 0xFFFF:04x} {line}"


def test_names_and_vrs_of_implicit_data_come_from_the_dictionary(tmp_path: Path, encode: Encode) -> None:
    made = recorded()
    made.SmallestImagePixelValue = 3
    made["SmallestImagePixelValue"].VR = "US"
    made.add_new(0x00090010, "LO", "ACME 1.1")
    dictionary = tmp_path / "dgate.dic"
    dictionary.write_text('(0009,1000)\tVERS="3"\tVR="US"\tVM="1"\tKeyword="AcmeNumber"\tName="x"\n')
    path = tmp_path / "a.dcm"
    path.write_bytes(file_meta("1.2", RECORDED, IMPLICIT) + encode(made, IMPLICIT))
    lines = dump_header(path, DicomDictionary(dictionary)).splitlines()
    assert "0009,1000      2 US AcmeNumber             8259 " in lines
    assert '0009,0010      8 LO                        "ACME 1.1" ' in lines
    assert "0028,0106      2 US SmallestImagePixelVa   3 " in lines


def test_text_is_decoded_by_the_character_set_that_counts_where_it_stands(tmp_path: Path, encode: Encode) -> None:
    made = recorded()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.PatientName = "Jürg"
    inner = Dataset()
    inner.SpecificCharacterSet = "ISO_IR 192"
    inner.PatientName = "王"
    made.OtherPatientIDsSequence = Sequence([inner, Dataset()])
    made.PatientComments = "größer"
    lines = listed(tmp_path / "a.dcm", encode(made))
    assert '0010,0010      4 PN PatientName            "Jürg" ' in lines
    assert '>0010,0010      4 PN PatientName            "王" ' in lines
    assert lines[-2:] == [f">{'-' * 40}", '0010,4000      6 LT PatientComments        "größer" ']


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_items_are_indented_and_separated(tmp_path: Path, encode: Encode, syntax: str, undefined: bool) -> None:
    made = Dataset()
    made.SOPClassUID = "1.2"
    inner = Dataset()
    inner.CodeValue = "INNER"
    first, second = Dataset(), Dataset()
    first.PurposeOfReferenceCodeSequence = Sequence([inner])
    second.ReferencedSOPInstanceUID = "1.2.3"
    made.ReferencedImageSequence = Sequence([first, second])
    made.Rows = 512
    for holder in (made["ReferencedImageSequence"], first["PurposeOfReferenceCodeSequence"]):
        holder.is_undefined_length = undefined
    for item in (inner, first, second):
        item.is_undefined_length_sequence_item = undefined
    assert listed(tmp_path / "a.dcm", encode(made, syntax), syntax) == [
        '0008,0016      4 UI SOPClassUID            "1.2" ',
        "0008,1140      0 SQ ReferencedImageSeque   Sequence Item",
        ">0040,a170      0 SQ PurposeOfReferenceCo   Sequence Item",
        '>>0008,0100      6 SH CodeValue              "INNER" ',
        f">{'-' * 40}",
        '>0008,1155      6 UI ReferencedSOPInstanc   "1.2.3" ',
        "0028,0010      2 US Rows                   512 ",
    ]


def test_sequences_hidden_in_unknown_values_are_opened(tmp_path: Path) -> None:
    item = b"\xfe\xff\x00\xe0" + pack("<L", 12) + pack("<HHL", 0x0008, 0x0100, 4) + b"CODE"
    lines = listed(tmp_path / "a.dcm", FIRST + element(0x00091010, "UN", item))
    assert lines[1:] == [
        "0009,1010      0 SQ                        Sequence Item",
        '>0008,0100      4 SH CodeValue              "CODE" ',
    ]
    # Bytes that begin like an item which does not fit are no sequence.
    lines = listed(tmp_path / "a.dcm", FIRST + element(0x00091010, "UN", item[:4] + b"\xff\xff\xff\x0f" + item[8:]))
    assert lines[1].startswith("0009,1010     20 UN                        fe ff 00 e0 ff ff ff 0f ")


def test_compressed_pixels_are_counted_and_not_shown(tmp_path: Path, encode: Encode) -> None:
    made = recorded()
    made.add_new(0x7FE00010, "OB", encapsulate([b"\xff\xd8frame1", b"\xff\xd8second"]))
    made["PixelData"].is_undefined_length = True
    lines = listed(tmp_path / "a.dcm", encode(made, JPEG), JPEG)
    assert lines[-1] == "7fe0,0010     24 OB PixelData              (3 fragments)"


def test_pixels_are_never_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.dcm"
    size = 300 << 20
    head = file_meta("1.2", RECORDED, EXPLICIT) + FIRST + element(0x7FE00010, "OW", b"")[:-4] + pack("<L", size)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    tracemalloc.start()
    try:
        lines = dump_header(path, NAMES).splitlines()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert lines[-1] == "7fe0,0010 314572800 OW PixelData              " + "00 " * dumping.MAX_SHOWN


def test_a_deflated_file_is_inflated_piece_by_piece(tmp_path: Path) -> None:
    deflate = zlib.compressobj(1, wbits=-15)
    size = 200 << 20
    data = deflate.compress(FIRST + element(0x7FE00010, "OW", b"")[:-4] + pack("<L", size))
    for _ in range(size >> 20):
        data += deflate.compress(bytes(1 << 20))
    data += deflate.flush()
    tracemalloc.start()
    try:
        lines = listed(tmp_path / "a.dcm", data, DEFLATED)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert lines[-1].startswith("7fe0,0010 209715200 OW PixelData              00 ")


def test_a_deflated_file_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.inflate.FREE_OF_RATIO", 1 << 20)
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(FIRST + element(0x00091000, "UN", b"")[:-4] + pack("<L", 64 << 20))
    data += deflate.compress(bytes(64 << 20)) + deflate.flush()
    with pytest.raises(NotDicom, match="inflates to more than"):
        listed(tmp_path / "a.dcm", data, DEFLATED)


def test_headers_of_endless_lines_are_cut_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumping, "MAX_LINES", 100)
    lines = listed(tmp_path / "a.dcm", FIRST + element(0x00091000, "UN", b"") * 1000)
    assert lines[-1] == "The rest is not listed: there are more than 100 lines"
    assert len(lines) < 102


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG])
def test_a_file_cut_anywhere_is_refused_or_a_shorter_data_set(tmp_path: Path, encode: Encode, syntax: str) -> None:
    made = recorded()
    made.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
    made["ReferencedImageSequence"].is_undefined_length = True
    if syntax == JPEG:
        made.add_new(0x7FE00010, "OB", encapsulate([b"\xff\xd8frame1", b"\xff\xd8second"]))
        made["PixelData"].is_undefined_length = True
    data = encode(made, syntax)
    whole = listed(tmp_path / "a.dcm", data, syntax)
    for length in range(len(data)):
        with contextlib.suppress(NotDicom):
            lines = listed(tmp_path / "a.dcm", data[:length], syntax)
            # Cut between two elements it is a data set, if not the one it was.
            assert lines == whole[: len(lines)]
            assert syntax != DEFLATED


@pytest.mark.parametrize("data", [b"", b"short", b"not DICOM at all" * 20, bytes(500), bytes(128) + b"DICM"])
def test_what_is_no_dicom_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    with pytest.raises(NotDicom):
        dump_header(path, NAMES)


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dump_header(tmp_path / "none.dcm", NAMES)


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    nested = FIRST + (element(0x00081140, "SQ", b"")[:-4] + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4) * 5000
    with pytest.raises(NotDicom, match="nested deeper than 64"):
        listed(tmp_path / "a.dcm", nested)


def test_a_bare_file_is_listed_too(tmp_path: Path, encode: Encode) -> None:
    path = tmp_path / "a.v2"
    path.write_bytes(encode(recorded(), IMPLICIT))
    assert dump_header(path, NAMES).splitlines()[1:] == CONQUEST[1:]


@pytest.mark.parametrize("path", pydicom_files(), ids=lambda path: path.name)
def test_real_files_are_listed_element_by_element(path: Path) -> None:
    text = dump_header(path, NAMES)
    data_set = pydicom.dcmread(path, force=True)
    tags = [f"{element.tag.group:04x},{element.tag.element:04x}" for element in (*data_set.file_meta, *data_set)]
    assert [line[:9] for line in text.splitlines() if not line.startswith(">")] == tags


@given(st.binary(max_size=300), st.integers(0, 300), st.sampled_from([EXPLICIT, IMPLICIT, BIG, DEFLATED]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_are_anything_but_listed_or_refused(
    tmp_path: Path, encode: Encode, data: bytes, cut: int, syntax: str
) -> None:
    whole = encode(recorded(), syntax)
    with contextlib.suppress(NotDicom):
        assert all(listed(tmp_path / "a.dcm", whole[:cut] + data + whole[cut + len(data) :], syntax))
