"""Reading values of headers: what is found, how it is written, and what hostile bytes do."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_charset_files
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from storage.elements import MAX_DEPTH
from storage.header import ANYWHERE, Header, NotDicom, in_item, read_header, vr_of
from storage.part10 import read_object_file

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"

NAME, ID, SOP = 0x00100010, 0x00100020, 0x00080018
PATIENT = (NAME, ID, 0x00100030)

Read = Callable[..., Header]
Encode = Callable[..., bytes]
Make = Callable[..., Dataset]


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


SOP_ELEMENT = _element(SOP, b"UI", b"1.2.3.4\0")


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG, "1.2.3.private"])
def test_values_are_read_in_every_transfer_syntax(syntax: str, read: Read, encode: Encode, ds: Make) -> None:
    data = encode(ds(PatientName="DOE^JOHN", PatientID="P1 ", Rows=512, SliceLocation="+1.50 "), syntax)
    header = read(data, *PATIENT, SOP, 0x00280010, 0x00201041, syntax=syntax)
    assert header.values == {
        (SOP,): "1.2.3.4",
        (NAME,): "DOE^JOHN",
        (ID,): "P1",
        (0x00280010,): "512",
        (0x00201041,): "+1.50",
    }


def test_an_absent_element_has_no_key_and_an_empty_one_is_empty(read: Read, encode: Encode, ds: Make) -> None:
    header = read(encode(ds(PatientName="")), NAME, ID)
    assert header.values == {(NAME,): ""}
    assert (header.text(NAME), header.text(ID)) == ("", "")


@pytest.mark.parametrize(
    ("vr", "value", "text"),
    [
        ("US", [1, 65535], "1\\65535"),
        ("SS", -2, "-2"),
        ("UL", 4294967295, "4294967295"),
        ("SL", -1, "-1"),
        ("UV", 2**64 - 1, "18446744073709551615"),
        ("SV", -(2**63), "-9223372036854775808"),
        ("FL", 0.1, "0.1"),
        ("FL", 16777216.0, "16777216"),
        ("FD", [0.1, 1 / 3], "0.1\\0.3333333333333333"),
        ("AT", 0x00100020, "00100020"),
        ("DS", ["1.50", "-2E3"], "1.50\\-2E3"),
        ("IS", "0007", "0007"),
        ("UI", ["1.2.3", "1.2.4"], "1.2.3\\1.2.4"),
        ("LO", ["A B", " C "], "A B\\ C"),
        ("PN", "A^B=C^D", "A^B=C^D"),
        ("CS", "MR", "MR"),
        ("LT", "two \r\n lines ", "two \r\n lines"),
        ("OB", b"\1\2", ""),
        ("OW", b"\1\2", ""),
    ],
)
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
def test_each_value_representation_has_its_text(
    vr: str, value: object, text: str, syntax: str, read: Read, encode: Encode, ds: Make
) -> None:
    data_set = ds()
    data_set.add(DataElement(0x00111001, vr, value))
    assert read(encode(data_set, syntax), 0x00111001, syntax=syntax).text(0x00111001) == text


def test_text_ends_at_the_first_nul(read: Read) -> None:
    data = SOP_ELEMENT + _element(ID, b"LO", b"P1\0leftover")
    assert read(data, ID).text(ID) == "P1"


def test_a_very_long_value_is_cut(read: Read) -> None:
    long = pack("<HH2sHL", 0x0010, 0x4000, b"UT", 0, 200_000) + b"x" * 200_000
    assert read(SOP_ELEMENT + long, 0x00104000).text(0x00104000) == "x" * 65536


# Names of the examples in PS3.5 Annexes H to K, from the files that pydicom is tested with.
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("chrArab.dcm", "قباني^لنزار"),
        ("chrFren.dcm", "Buc^Jérôme"),
        ("chrFrenMulti.dcm", "Buc^Jérôme"),
        ("chrGerm.dcm", "Äneas^Rüdiger"),
        ("chrGreek.dcm", "Διονυσιος"),
        ("chrH31.dcm", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("chrH32.dcm", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("chrHbrw.dcm", "שרון^דבורה"),
        ("chrI2.dcm", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("chrJapMulti.dcm", "やまだ^たろう"),
        ("chrKoreanMulti.dcm", "김희중"),
        ("chrRuss.dcm", "Люкceмбypг"),
        ("chrX1.dcm", "Wang^XiaoDong=王^小東="),
        ("chrX2.dcm", "Wang^XiaoDong=王^小东="),
    ],
)
def test_names_are_decoded_by_their_character_set(file: str, name: str) -> None:
    found = read_object_file(Path(get_charset_files(file)[0]))
    with found.path.open("rb") as source:
        source.seek(found.offset)
        header = read_header(source, found.transfer_syntax, [(NAME,)])
    assert header.text(NAME) == name
    assert str(pydicom.dcmread(found.path).PatientName) == name.rstrip("=")


@pytest.mark.parametrize(
    ("charset", "value", "text"),
    [
        (b"", b"M\xfcller", "Müller"),
        (b"ISO_IR 100", b"M\xfcller", "Müller"),
        (b"ISO_IR 192", "Müller^山".encode(), "Müller^山"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"GBK", "王^小东".encode("gbk"), "王^小东"),
        (b"ISO_IR 144", "Иван".encode("iso8859-5"), "Иван"),
        (b"iso-ir 192", "Müller".encode(), "Müller"),
        (b"ISO 2022-IR-100", b"M\xfcller", "Müller"),
        (b"NO SUCH SET", b"M\xfcller", "Müller"),
        (b"\xff\xfe", b"M\xfcller", "Müller"),
        (b"ISO_IR 192\\ISO 2022 IR 87", "Müller".encode(), "Müller"),
        (b"ISO_IR 192", b"M\xfcller", "M�ller"),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab", "洪^吉洞=홍"),
        (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "张^小东="),
        (b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\xd4\xcf^\xc0=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J", "ﾔﾏ^ﾀ=山田^太郎"),
        (b"", b"a\x1b$Bb", "a\x1b$Bb"),
    ],
)
def test_text_is_decoded_without_complaint(charset: bytes, value: bytes, text: str, read: Read) -> None:
    data = _element(0x00080005, b"CS", charset + b" " * (len(charset) % 2)) + SOP_ELEMENT + _element(NAME, b"PN", value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = read(data, NAME)
    assert header.text(NAME) == text
    assert header.character_set == charset.decode("latin-1")


def test_an_item_may_have_a_character_set_of_its_own(read: Read) -> None:
    item = _element(0x00080005, b"CS", b"ISO_IR 192") + _element(NAME, b"PN", "Müller".encode())
    other = _element(NAME, b"PN", b"M\xfcller")
    sequence = b"".join(pack("<HHL", 0xFFFE, 0xE000, len(content)) + content for content in (item, other))
    data = (
        _element(0x00080005, b"CS", b"ISO_IR 100")
        + SOP_ELEMENT
        + pack("<HH2sHL", 0x0010, 0x1002, b"SQ", 0, len(sequence))
        + sequence
        + _element(0x00104000, b"LT", b"gr\xfcn")
    )
    header = read(data, (0x00101002, NAME), (in_item(0x00101002, 1), NAME), 0x00104000)
    assert header.values == {
        (0x00101002, NAME): "Müller",
        (in_item(0x00101002, 1), NAME): "Müller",
        (0x00104000,): "grün",
    }
    assert header.character_set == "ISO_IR 100"


def _nested(ds: Make) -> Dataset:
    protocol = Dataset()
    protocol.CodeValue = "P"
    step = Dataset()
    step.Modality = "CT"
    step.ScheduledProtocolCodeSequence = Sequence([protocol])
    second = Dataset()
    second.Modality = "MR"
    data_set = ds(PatientID="P1")
    data_set.ScheduledProcedureStepSequence = Sequence([step, second])
    data_set.PlacerOrderNumberImagingServiceRequest = "after"
    return data_set


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("undefined", [False, True])
def test_paths_lead_into_items_of_sequences(syntax: str, undefined: bool, read: Read, encode: Encode, ds: Make) -> None:
    data_set = _nested(ds)
    data_set["ScheduledProcedureStepSequence"].is_undefined_length = undefined
    for item in data_set.ScheduledProcedureStepSequence:
        item.is_undefined_length_sequence_item = undefined
    steps = 0x00400100
    wanted = (
        (steps, 0x00080060),
        (in_item(steps, 1), 0x00080060),
        (in_item(steps, 2), 0x00080060),
        (steps, 0x00400008, 0x00080100),
        (ANYWHERE, 0x00080100),
        steps,
        0x00402016,
    )
    assert read(encode(data_set, syntax), *wanted, syntax=syntax, whole=True).values == {
        (steps, 0x00080060): "CT",
        (in_item(steps, 1), 0x00080060): "MR",
        (steps, 0x00400008, 0x00080100): "P",
        (ANYWHERE, 0x00080100): "P",
        (steps,): "",
        (0x00402016,): "after",
    }


def test_implicit_items_inside_a_sequence_of_unknown_vr_are_read(read: Read) -> None:
    """PS3.5 6.2.2: UN of undefined length holds implicit little endian items."""
    item = pack("<HHL", 0x0008, 0x0100, 4) + b"CODE"
    sequence = pack("<HHL", 0xFFFE, 0xE000, len(item)) + item + pack("<HHL", 0xFFFE, 0xE0DD, 0)
    data = SOP_ELEMENT + pack("<HH2sHL", 0x0008, 0x1032, b"UN", 0, 0xFFFFFFFF) + sequence
    assert read(data, (0x00081032, 0x00080100), whole=True).values == {(0x00081032, 0x00080100): "CODE"}


def test_implicit_elements_inside_explicit_data_are_read(read: Read) -> None:
    data = SOP_ELEMENT + pack("<HHL", 0x0010, 0x0020, 2) + b"P1" + _element(0x00100040, b"CS", b"M ")
    assert read(data, ID, 0x00100040).values == {(ID,): "P1", (0x00100040,): "M"}


def test_explicit_data_under_an_implicit_label_is_read(read: Read, encode: Encode, ds: Make) -> None:
    assert read(encode(ds(PatientID="P1")), ID, syntax=IMPLICIT).text(ID) == "P1"


def test_file_meta_group_lengths_and_padding_in_the_data_set_are_tolerated(read: Read) -> None:
    data = (
        _element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
        + _element(0x00080000, b"UL", pack("<L", 16))
        + SOP_ELEMENT
        + _element(ID, b"LO", b"P1")
        + bytes(24)
    )
    assert read(data, ID, whole=True).text(ID) == "P1"


def test_reading_stops_behind_the_last_wanted_tag(encode: Encode, ds: Make) -> None:
    data_set = ds(PatientID="P1", Rows=2, Columns=2, BitsAllocated=8)
    data_set.add_new(0x7FE00010, "OB", b"x" * 8_000_000)
    source = io.BytesIO(encode(data_set))
    read_header(source, EXPLICIT, [(ID,)])
    assert source.tell() <= 16 * 1024


def test_pixels_are_not_read_even_when_everything_is_checked(encode: Encode, ds: Make) -> None:
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    data_set = ds(PatientID="P1")
    data_set.add_new(0x7FE00010, "OB", b"x" * 8_000_000)
    data_set.add_new(0xFFFCFFFC, "OB", b"padding.")
    source = Counting(encode(data_set))
    assert read_header(source, EXPLICIT, [(ID,)], whole=True).text(ID) == "P1"
    assert source.count < 40 * 1024


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\x08\0\x18", "it is cut in its first element"),
        (b"hello, this is no DICOM", "it does not begin as a DICOM data set does"),
        (SOP_ELEMENT[:12], r"element \(0008,0018\) of 8 bytes does not fit in what there is"),
        (_element(0x00080060, b"CS", b"MR"), "it has neither a SOP class nor a SOP instance UID"),
        (_element(0x00080018, b"UI", b""), "it has neither a SOP class nor a SOP instance UID"),
        (SOP_ELEMENT + b"\x10\0\x20", r"it is cut short behind \(0008,0018\)"),
    ],
)
def test_what_is_no_data_set_is_refused_with_a_reason(data: bytes, message: str, read: Read) -> None:
    with pytest.raises(NotDicom, match=f"^{message}$"):
        read(data, ID, 0x00200013)


def _deep(depth: int, undefined: bool) -> bytes:
    content = b""
    for _ in range(depth):
        length = 0xFFFFFFFF if undefined else len(content)
        end = pack("<HHL", 0xFFFE, 0xE00D, 0) if undefined else b""
        content = pack("<HHL", 0xFFFE, 0xE000, length) + content + end
        length = 0xFFFFFFFF if undefined else len(content)
        end = pack("<HHL", 0xFFFE, 0xE0DD, 0) if undefined else b""
        content = pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, length) + content + end
    return SOP_ELEMENT + content + _element(ID, b"LO", b"P1")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 400, 10_000])
def test_nesting_too_deep_is_refused_and_never_exhausts_the_stack(depth: int, read: Read) -> None:
    with pytest.raises(NotDicom, match=r"^sequences are nested deeper than 64 at \(0008,1140\)$"):
        read(_deep(depth, undefined=True), ID)
    with pytest.raises(NotDicom, match=r"^sequences are nested deeper than 64 at \(0008,1140\)$"):
        read(_deep(min(depth, 1000), undefined=False), (ANYWHERE, ID))


def test_nesting_up_to_the_limit_is_read(read: Read) -> None:
    assert read(_deep(MAX_DEPTH, undefined=True), ID).text(ID) == "P1"
    assert read(_deep(400, undefined=False), ID).text(ID) == "P1"


def test_a_deflate_bomb_costs_no_memory(read: Read) -> None:
    deflate = zlib.compressobj(9, wbits=-15)
    bomb = deflate.compress(SOP_ELEMENT + pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 1 << 29))
    for _ in range(64):
        bomb += deflate.compress(bytes(1 << 20))
    bomb += deflate.flush()
    tracemalloc.start()
    try:
        with pytest.raises(NotDicom, match=r"^the deflated data set inflates to more than 16 MB$"):
            read(bomb, ID, syntax=DEFLATED)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_damaged_and_cut_deflate_streams_are_refused(read: Read, encode: Encode, ds: Make) -> None:
    data = encode(ds(PatientID="P1", PatientComments="x" * 1000), DEFLATED)
    with pytest.raises(NotDicom, match=r"^the deflated data set is cut short$"):
        read(data[:-4], ID, whole=True, syntax=DEFLATED)
    with pytest.raises(NotDicom, match=r"^the deflated data set is damaged$"):
        read(b"\xff" * 20, ID, syntax=DEFLATED)


def _small(ds: Make) -> Dataset:
    data_set = _nested(ds)
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.PatientName = "Müller"
    data_set["ScheduledProcedureStepSequence"].is_undefined_length = True
    return data_set


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_cut_anywhere_it_is_read_or_refused_but_nothing_else(syntax: str, read: Read, encode: Encode, ds: Make) -> None:
    data = encode(_small(ds), syntax)
    for end in range(len(data)):
        try:
            header = read(data[:end], NAME, (0x00400100, 0x00080060), 0x00402016, syntax=syntax)
        except NotDicom:
            continue
        assert header.text(NAME) in ("", "Müller")


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG]), st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, syntax: str, whole: bool) -> None:
    for prefix in (b"", SOP_ELEMENT, pack("<HHL", 8, 0x18, 8) + b"1.2.3.4\0"):
        try:
            header = read_header(
                io.BytesIO(prefix + data), syntax, [(NAME,), (0x00081140, ID), (ANYWHERE, ID)], whole=whole
            )
        except NotDicom:
            continue
        assert all("\0" not in text for text in header.values.values())


@settings(deadline=None)
@given(st.data())
def test_a_damaged_object_is_read_or_refused(data: st.DataObject) -> None:
    path = Path(get_charset_files("chrSQEncoding.dcm")[0])
    whole = bytearray(SOP_ELEMENT + path.read_bytes()[300:])
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotDicom):
        read_header(io.BytesIO(bytes(whole)), EXPLICIT, [(NAME,), (0x00321064, NAME)], whole=True)


@settings(deadline=None)
@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), max_size=30),
    numbers=st.lists(st.integers(0, 65535), max_size=5),
    syntax=st.sampled_from([EXPLICIT, BIG, DEFLATED]),
)
def test_what_pydicom_writes_is_read_back(text: str, numbers: list[int], syntax: str, encode: Encode) -> None:
    data_set = Dataset()
    data_set.SOPInstanceUID = "1.2.3.4"
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.add(DataElement(0x00104000, "LT", text))
    data_set.add(DataElement(0x00280009, "US", numbers))
    header = read_header(io.BytesIO(encode(data_set, syntax)), syntax, [(0x00104000,), (0x00280009,)])
    assert header.text(0x00104000) == text.rstrip(" ")
    assert header.text(0x00280009) == "\\".join(map(str, numbers))


def test_the_dictionary_knows_private_creators_and_leaves_the_rest_unknown() -> None:
    assert [vr_of(tag) for tag in (NAME, 0x00090010, 0x00091010, 0x00080000, 0x60023000)] == [
        "PN",
        "LO",
        "UN",
        "UL",
        "OB or OW",
    ]
