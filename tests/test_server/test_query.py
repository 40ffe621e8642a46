"""Identifiers taken apart, whatever a peer puts there."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dsutils import encode

import server.association  # noqa: F401  (tells pydicom to take values as they come)
from server.commandset import CommandSet
from server.dimse import Identifier, Message
from server.pipeline.identifier import Identified, identified, identify, read_plain
from server.pipeline.query import build_query
from server.service import IDENTIFIER_SYNTAXES, Request
from server.status import Refused, Status

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
EXPLICIT, IMPLICIT, BIG = IDENTIFIER_SYNTAXES


def request(data: bytes, syntax: str = IMPLICIT) -> Request:
    """A C-FIND request with these bytes as its identifier, on an association that nobody has."""
    association = Association(ApplicationEntity(), "acceptor")
    association.syntaxes = lambda context_id: (FIND, syntax)  # type: ignore[attr-defined]
    identifier = Identifier()
    identifier.write(data)
    return Request(association, Message(1, CommandSet({}), identifier))  # type: ignore[arg-type]


def taken_apart(data: bytes, syntax: str = IMPLICIT) -> Identified:
    return identified(request(data, syntax))


def query(**keywords: object) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = "STUDY"
    for keyword, value in keywords.items():
        setattr(made, keyword, value)
    return made


def encoded(made: Dataset, syntax: str = IMPLICIT) -> bytes:
    data = encode(made, syntax == IMPLICIT, syntax != BIG)
    assert data is not None
    return data


# Elements as a peer may write them: a tag, any VR, any length, any bytes.
_TAGS = st.sampled_from(
    [0x00080005, 0x00080052, 0x00080020, 0x00080018, 0x00100010, 0x00100020, 0x00101010, 0x0020000D, 0x00200013,
     0x00280010, 0x00400100, 0x7FE00010, 0x99990C00, 0x99990C01, 0x00090010, 0x00091001, 0xFFFEE000, 0xFFFEE00D]
)  # fmt: skip
_VRS = st.sampled_from(
    [b"CS", b"PN", b"LO", b"DA", b"TM", b"DS", b"IS", b"UI", b"SQ", b"UN", b"US", b"FD", b"AT", b"OB", b"UT", b"??"]
)
_TEXTS = st.sampled_from(
    [b"STUDY ", b"IMAGE", b"ISO_IR 192", b"ISO 2022 IR 87", b"nonsense", b"*", b"1\\2", b"a=b^c\\d"]
)
_VALUES = st.binary(max_size=20) | _TEXTS


@st.composite
def identifiers(draw: st.DrawFn) -> tuple[bytes, str]:
    syntax = draw(st.sampled_from(IDENTIFIER_SYNTAXES))
    order = "big" if syntax == BIG else "little"
    data = b""
    for tag in sorted(draw(st.lists(_TAGS, max_size=6))):
        value = draw(_VALUES)
        length = draw(st.just(len(value)) | st.sampled_from([0, 1, 0xFFFF, 0xFFFFFFFF]))
        head = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)
        if syntax == IMPLICIT:
            data += head + length.to_bytes(4, order) + value
        else:
            vr = draw(_VRS)
            long = vr in (b"SQ", b"UN", b"OB", b"UT")
            data += head + vr + (b"\0\0" + length.to_bytes(4, order) if long else (length & 0xFFFF).to_bytes(2, order))
            data += value
    return data, syntax


@given(identifiers())
def test_any_identifier_is_taken_apart_or_refused(made: tuple[bytes, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom has to say about values
        try:
            found = taken_apart(*made)
            build_query(found, wanted=found.wanted)
        except Refused:
            return
    assert found.level in ("PATIENT", "STUDY", "SERIES", "IMAGE")
    assert all(isinstance(text, str) for text in found.keys.values())


# Elements such as nearly all peers send: tags of the dictionary, each once and in order, short texts.
_PLAIN = [0x00080005, 0x00080020, 0x00080030, 0x00080050, 0x00080052, 0x00080054, 0x00080061, 0x00100010, 0x00100020]
_PLAIN += [0x00101010, 0x0020000D, 0x00200010, 0x00200011, 0x00201206, 0x00280010, 0x99990800, 0x99990C00]
_WORDS = st.sampled_from([b"", b"*", b"DOE^J*", b"20200101-", b"1.2.840\\1.2", b"7", b" 7 ", b"CT\\MR", b"ISO_IR 100"])


@st.composite
def plain_identifiers(draw: st.DrawFn) -> tuple[Dataset, str]:
    made = query(QueryRetrieveLevel=draw(st.sampled_from(["STUDY", "IMAGE", "study", "PATIENT ", "WARD"])))
    for tag in draw(st.lists(st.sampled_from(_PLAIN), unique=True)):
        value = draw(_WORDS | st.text(st.characters(codec="ascii"), max_size=12).map(str.encode))
        if tag == 0x00080005:
            value = value.replace(b"\0", b"")  # with which pydicom cannot write it
        if tag != 0x00080052:
            vr = "LO" if tag >> 16 == 0x9999 else dictionary_VR(tag)
            raw = value if vr not in ("US", "IS") else value if value.isdigit() and vr == "IS" else b""
            made[tag] = RawDataElement(Tag(tag), vr, len(raw), raw + b" " * (len(raw) % 2), 0, False, True)
    return made, draw(st.sampled_from(IDENTIFIER_SYNTAXES))


@given(plain_identifiers() | identifiers())
def test_what_is_read_without_pydicom_is_what_pydicom_reads(made: tuple[Dataset | bytes, str]) -> None:
    data, syntax = made
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = data if isinstance(data, bytes) else encoded(data, syntax)

        def outcome(read: Callable[[], Identified | None]) -> object:
            try:
                return read()
            except Refused as refused:
                return refused.status, str(refused)

        plain = outcome(lambda: read_plain(raw, syntax == IMPLICIT, syntax != BIG))
        if plain is not None:
            assert plain == outcome(lambda: identify(request(raw, syntax).identifier()))


def test_an_ordinary_identifier_is_read_without_pydicom() -> None:
    made = query(PatientName="DOE^J*", PatientID="", StudyDate="20260102-", StudyInstanceUID=["1.2.3", "1.2.4"])
    made.SpecificCharacterSet = "ISO_IR 100"
    made.NumberOfStudyRelatedInstances = ""
    made.add_new(0x99990C00, "LO", "StudyDate")
    for syntax in (EXPLICIT, IMPLICIT, BIG):
        assert read_plain(encoded(made, syntax), syntax == IMPLICIT, syntax != BIG) is not None


@given(st.binary(max_size=100), st.sampled_from(IDENTIFIER_SYNTAXES))
def test_any_bytes_are_an_identifier_or_refused(data: bytes, syntax: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Refused):
            taken_apart(data, syntax)


def test_sequences_of_sequences_without_end_are_refused() -> None:
    depth = 20_000
    data = b"\x40\x00\x00\x01\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * depth
    with pytest.raises(Refused) as error:
        taken_apart(data)
    assert error.value.status == Status.CANNOT_UNDERSTAND


@pytest.mark.parametrize("syntax", IDENTIFIER_SYNTAXES)
def test_keys_are_text_by_path(syntax: str) -> None:
    item = Dataset()
    item.Modality = "CT"
    item.ScheduledProcedureStepStartDate = "20260101-20260131"
    made = query(
        PatientName="DOE^J*",
        StudyInstanceUID=["1.2.3", "1.2.4"],
        StudyDate="20260102-",
        ModalitiesInStudy=["CT", "MR"],
        Rows=512,
        SeriesNumber="7",
        AccessionNumber="",
        PatientWeight="70.50",
        ScheduledProcedureStepSequence=Sequence([item]),
        RequestAttributesSequence=Sequence([]),
        RetrieveAETitle="X",
        SpecificCharacterSet="ISO_IR 100",
    )
    found = taken_apart(encoded(made, syntax), syntax)
    assert found.level == "STUDY"
    assert dict(found.keys) == {
        (0x00080020,): "20260102-",
        (0x00080050,): "",
        (0x00080061,): "CT\\MR",
        (0x00100010,): "DOE^J*",
        (0x00101030,): "70.50",
        (0x0020000D,): "1.2.3\\1.2.4",
        (0x00200011,): "7",
        (0x00280010,): "512",
        (0x00400100, 0x00080060): "CT",
        (0x00400100, 0x00400002): "20260101-20260131",
        (0x00400275,): "",
    }


def test_padding_and_group_lengths_are_no_keys() -> None:
    data = b"\x08\0\0\0\4\0\0\0\x0e\0\0\0\x08\0\x52\0\6\0\0\0study \x08\0\x60\0\4\0\0\0CT\0\0\x10\0\x20\0\4\0\0\0P1  "
    found = taken_apart(data)
    assert found.level == "STUDY"
    assert dict(found.keys) == {(0x00080060,): "CT", (0x00100020,): "P1"}


@pytest.mark.parametrize("level", ["", "STUDIES", "STUDY\\SERIES", "*"])
def test_a_level_that_is_none_is_refused_as_conquest_does(level: str) -> None:
    with pytest.raises(Refused) as error:
        taken_apart(encoded(query(QueryRetrieveLevel=level)))
    assert error.value.status == 0xC001


def own(**values: str) -> Identified:
    made = query()
    for name, value in values.items():
        made.add_new(int(name[1:], 16), "LO", value)
    return taken_apart(encoded(made, EXPLICIT), EXPLICIT)


def test_conquests_own_elements_say_how_much_and_in_which_order() -> None:
    asked = build_query(own(x99990C00="StudyDate", x99990C01="10", x99990C02="20"), wanted=frozenset())
    assert (asked.sort, asked.limit, asked.offset) == ("StudyDate", 10, 20)
    asked = build_query(own(), wanted=frozenset())
    assert (asked.sort, asked.limit, asked.offset) == ("", None, 0)


@pytest.mark.parametrize("text", ["x", "-1", "1; DROP TABLE DICOMStudies", "²", "1.5"])
def test_a_limit_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(Refused) as error:
        build_query(own(x99990C01=text), wanted=frozenset())
    assert error.value.status == Status.MISMATCH


def test_where_a_file_is_can_be_asked_of_images_only() -> None:
    made = query(QueryRetrieveLevel="IMAGE")
    made.add_new(0x99990800, "LO", "")
    assert taken_apart(encoded(made, EXPLICIT), EXPLICIT).wanted == {(0x99990800,)}
    made.QueryRetrieveLevel = "SERIES"
    assert taken_apart(encoded(made, EXPLICIT), EXPLICIT).wanted == frozenset()


def test_a_request_without_identifier_is_refused() -> None:
    made = request(b"")
    made.message.data = None
    with pytest.raises(Refused) as error:
        made.identifier()
    assert (error.value.status, str(error.value)) == (Status.CANNOT_UNDERSTAND, "the request has no identifier")
