"""Response identifiers as pydicom reads them: every requested key, in a character set that holds them."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.dsutils import decode

from server.pipeline.answer import Encoding, answers_for
from server.pipeline.identifier import identify

ENCODINGS = {"implicit": Encoding(True, True), "explicit": Encoding(False, True), "big": Encoding(False, False)}
PATIENT_NAME = (0x00100010,)


def query(level: str = "STUDY", **keywords: object) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keywords.items():
        setattr(made, keyword, value)
    return made


def encode(made: Dataset, encoding: Encoding, rows: list[dict[tuple[int, ...], str]], forced: int = 0) -> list[bytes]:
    """The responses to a query for rows as the index would have them."""
    paths = tuple(dict.fromkeys(path for row in rows for path in row))
    answers = answers_for(identify(made), paths, encoding, ae_title="SRV", forced=forced)
    return answers.encode([tuple(row[path].encode() if path in row else None for path in paths) for row in rows])


def answer(
    made: Dataset, row: dict[tuple[int, ...], str], encoding: Encoding = ENCODINGS["explicit"], forced: int = 0
) -> Dataset:
    """What a peer reads of the response to a query for one row."""
    (encoded,) = encode(made, encoding, [row], forced)
    read = decode(BytesIO(encoded), encoding.implicit, encoding.little_endian)
    tags = [int(element.tag) for element in read]
    assert tags == sorted(tags)
    return read


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_values_of_each_kind_come_in_their_places(encoding: Encoding) -> None:
    item = Dataset()
    item.Modality = ""
    item.ScheduledProcedureStepStartDate = ""
    made = query(
        PatientName="D*",
        PatientID="",
        StudyDate="",
        StudyInstanceUID="",
        ModalitiesInStudy="",
        Rows=None,
        NumberOfStudyRelatedInstances="",
        PatientWeight="",
        OffendingElement=None,
        RecommendedDisplayFrameRateInFloat=None,
        InstanceAvailability="",
        ScheduledProcedureStepSequence=Sequence([item]),
        RequestAttributesSequence=Sequence([]),
        PixelData=None,
    )
    read = answer(
        made,
        {
            PATIENT_NAME: "DOE^JOHN",
            (0x00100020,): "P1",
            (0x00080020,): "20260102",
            (0x0020000D,): "1.2.3",
            (0x00080061,): "CT\\MR",
            (0x00280010,): "512",
            (0x00201208,): "17",
            (0x00101030,): "70.50",
            (0x00000901,): "00100020",
            (0x00089459,): "1.5",
            (0x00400100, 0x00080060): "CT",
        },
        encoding,
    )
    assert (read.QueryRetrieveLevel, read.RetrieveAETitle, read.InstanceAvailability) == ("STUDY", "SRV", "ONLINE")
    assert (read.PatientName, read.PatientID, read.StudyDate) == ("DOE^JOHN", "P1", "20260102")
    assert (read.StudyInstanceUID, list(read.ModalitiesInStudy)) == ("1.2.3", ["CT", "MR"])
    assert (read.Rows, read.NumberOfStudyRelatedInstances) == (512, 17)
    assert (str(read.PatientWeight), read.OffendingElement) == ("70.50", 0x00100020)
    assert read.RecommendedDisplayFrameRateInFloat == 1.5
    assert read.ScheduledProcedureStepSequence[0].Modality == "CT"
    assert read.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate == ""
    assert list(read.RequestAttributesSequence) == []
    assert read.PixelData is None
    assert "SpecificCharacterSet" not in read


def test_what_is_not_known_comes_back_empty_and_what_is_not_asked_for_not_at_all() -> None:
    read = answer(query(InstitutionName="X", StudyID=""), {(0x00200010,): "7", (0x00100020,): "P1"})
    assert [element.keyword for element in read] == [
        "QueryRetrieveLevel", "RetrieveAETitle", "InstitutionName", "StudyID",
    ]  # fmt: skip
    assert (read.InstitutionName, read.StudyID) == ("", "7")


@pytest.mark.parametrize(
    ("keyword", "tag", "text"),
    [
        ("Rows", 0x00280010, "many"),
        ("Rows", 0x00280010, "70000"),
        ("Rows", 0x00280010, "-1"),
        ("OffendingElement", 0x00000901, "zz"),
        ("OffendingElement", 0x00000901, "100100020"),
        ("RecommendedDisplayFrameRateInFloat", 0x00089459, "fast"),
        ("StudyID", 0x00200010, "x" * 70_000),
    ],
)
def test_a_value_that_does_not_fit_is_answered_empty(keyword: str, tag: int, text: str) -> None:
    read = answer(query(**{keyword: None}), {(tag,): text})
    assert not read[keyword].value


@pytest.mark.parametrize(
    ("asked", "name", "answered"),
    [
        (None, "DOE^JOHN", None),
        (None, "Müller^Jörg", "ISO_IR 192"),
        ("ISO_IR 100", "DOE^JOHN", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("ISO_IR 100", "Люкceмбypг", "ISO_IR 192"),
        ("ISO_IR 144", "Люкceмбypг", "ISO_IR 144"),
        ("ISO_IR 192", "王^小东", "ISO_IR 192"),
        ("GB18030", "王^小东", "GB18030"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
        ("ISO_IR 13", "山田^太郎", "ISO_IR 192"),
        ("ISO_IR 6", "Müller^Jörg", "ISO_IR 192"),
        ("ISO 2022 IR 87", "山田^太郎", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "山田^太郎", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "DOE^JOHN", None),
        ("NONSENSE", "DOE^JOHN", None),
        ("NONSENSE", "Müller^Jörg", "ISO_IR 192"),
    ],
)
def test_text_is_answered_in_the_character_set_of_the_query_when_that_holds_it(
    asked: str | list[str] | None, name: str, answered: str | None
) -> None:
    made = query(PatientName="", **({} if asked is None else {"SpecificCharacterSet": asked}))
    read = answer(made, {PATIENT_NAME: name})
    assert read.get("SpecificCharacterSet") == answered
    assert read.PatientName == name


def test_a_character_set_of_dicom_ini_overrides_that_of_the_query() -> None:
    made = query(PatientName="", SpecificCharacterSet="ISO_IR 192")
    assert answer(made, {PATIENT_NAME: "Müller"}, forced=100).SpecificCharacterSet == "ISO_IR 100"
    assert answer(made, {PATIENT_NAME: "王"}, forced=100).SpecificCharacterSet == "ISO_IR 192"
    assert answer(made, {PATIENT_NAME: "DOE"}, forced=100).SpecificCharacterSet == "ISO_IR 100"


def test_where_the_file_is_comes_with_images_that_ask_for_it() -> None:
    for level in ("IMAGE", "SERIES"):
        made = query(level)
        made.add_new(0x99990800, "LO", "")
        made.add_new(0x99990801, "LO", "")
        read = answer(made, {(0x99990800,): "P1/x.dcm", (0x99990801,): "MAG0"})
        own = {int(element.tag): element.value for element in read if element.tag.group == 0x9999}
        assert own == ({0x99990800: "P1/x.dcm", 0x99990801: "MAG0"} if level == "IMAGE" else {})


ROWS = st.dictionaries(
    st.sampled_from([PATIENT_NAME, (0x00100020,), (0x00080020,), (0x00280010,), (0x00101030,), (0x0020000D,)]),
    st.text(max_size=80),
)


@given(
    ROWS, st.sampled_from([None, "ISO_IR 100", "ISO_IR 13", "GB18030", "GBK"]), st.sampled_from([*ENCODINGS.values()])
)
def test_any_row_is_answered_in_elements_of_even_length(
    row: dict[tuple[int, ...], str], asked: str | None, encoding: Encoding
) -> None:
    made = query(PatientName="", PatientID="", StudyDate="", Rows=None, PatientWeight="", StudyInstanceUID="")
    if asked:
        made.SpecificCharacterSet = asked
    (encoded,) = encode(made, encoding, [row])
    order = "little" if encoding.little_endian else "big"
    place, tags = 0, []
    while place < len(encoded):
        tags.append(int.from_bytes(encoded[place : place + 2], order) << 16)
        tags[-1] |= int.from_bytes(encoded[place + 2 : place + 4], order)
        size = encoded[place + 4 : place + 8] if encoding.implicit else encoded[place + 6 : place + 8]
        length = int.from_bytes(size, order)
        assert length % 2 == 0
        place += 8 + length
    assert place == len(encoded)
    wanted = {0x00080020, 0x00080052, 0x00080054, 0x00100010, 0x00100020, 0x00101030, 0x0020000D, 0x00280010}
    assert set(tags) - {0x00080005} == wanted


VALUES = st.one_of(st.none(), st.integers(0, 99999), st.text(max_size=20).map(str.encode), st.binary(max_size=9))


@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=5),
    st.sampled_from([None, "ISO_IR 100", "ISO_IR 192", "GBK"]),
    st.sampled_from([*ENCODINGS.values()]),
)
def test_rows_together_are_answered_as_each_alone(
    rows: list[tuple[bytes | int | None, ...]], asked: str | None, encoding: Encoding
) -> None:
    made = query(PatientName="", PatientID="", Rows=None, StudyInstanceUID="", InstanceAvailability="", PatientSex="")
    if asked:
        made.SpecificCharacterSet = asked
    paths = (PATIENT_NAME, (0x00280010,), (0x0020000D,), (0x00100020,))  # the last cell is there for sorting
    answers = answers_for(identify(made), paths, encoding, ae_title="SRV")
    assert answers.encode(rows) == [answers._row(row) for row in rows]


def test_values_too_long_for_their_place_leave_the_others_as_they_are() -> None:
    rows = [{(0x00200010,): "x" * length, (0x00100020,): "P1"} for length in (1, 0x4000, 0xFFFE, 0xFFFF, 0x20001)]
    for name, encoding in ENCODINGS.items():
        for row, encoded in zip(rows, encode(query(StudyID="", PatientID=""), encoding, rows), strict=True):
            length = len(row[(0x00200010,)])
            kept = length if name == "implicit" or length <= 0xFFFE else 0
            assert encoded.count(b"x") == kept
            assert decode(BytesIO(encoded), encoding.implicit, encoding.little_endian).PatientID == "P1"
