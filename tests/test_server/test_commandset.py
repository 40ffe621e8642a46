"""Command sets against pydicom, and what is none."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage
from pynetdicom.dsutils import decode

from server.commandset import CommandSet, ProtocolError, Value, encode_command, encode_plain_response

_NUMBERS = st.sampled_from([0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x1020, 0x1021, 0x1022, 0x1023, 0x1031])
_UIDS = st.sampled_from([0x0002, 0x0003, 0x1000, 0x1001])
_TEXTS = st.sampled_from([0x0600, 0x0902, 0x1030])
_PRIVATE = st.sampled_from([0x99990300, 0x99990400, 0x99990401, 0x99990402])

_WORDS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16
)
_UID_TEXTS = st.from_regex(r"[1-9](\.[1-9][0-9]{0,3}){1,12}", fullmatch=True)
ELEMENTS = st.builds(
    lambda *parts: {tag: value for part in parts for tag, value in part.items()},
    st.dictionaries(_NUMBERS, st.integers(0, 0xFFFF)),
    st.dictionaries(_UIDS, _UID_TEXTS),
    st.dictionaries(_TEXTS, _WORDS),
    st.dictionaries(_PRIVATE, st.binary(max_size=40)),
)


@given(ELEMENTS)
def test_what_is_encoded_is_what_pydicom_reads(elements: dict[int, Value]) -> None:
    encoded = encode_command(elements)
    read = decode(BytesIO(encoded), True, True)
    counted = [tag for tag in elements if tag >> 16 == 0]
    assert {int(element.tag) for element in read} == {0, *elements}
    for tag in counted:
        assert str(read[tag].value) == str(elements[tag])
    for tag in elements.keys() - counted:
        raw = elements[tag]
        assert isinstance(raw, bytes)
        assert (read[tag].value or b"") == raw + b"\0" * (len(raw) % 2)
    rest = sum(8 + len(read[tag].value or b"") for tag in elements.keys() - counted)
    assert read[0].value == len(encoded) - 12 - rest


@given(ELEMENTS)
def test_what_is_encoded_is_read_back(elements: dict[int, Value]) -> None:
    command = CommandSet.parse(encode_command(elements))
    assert set(command) == {0, *elements}
    assert len(command) == len(elements) + 1
    for tag, value in elements.items():
        if isinstance(value, int):
            assert command.number(tag) == value
        elif isinstance(value, str):
            assert command.text(tag) == value
        else:
            assert command[tag] == value + b"\0" * (len(value) % 2)


@given(st.binary(max_size=200))
def test_bytes_are_a_command_set_or_a_protocol_error(data: bytes) -> None:
    try:
        command = CommandSet.parse(data)
    except ProtocolError:
        return
    for tag in command:
        assert isinstance(command.text(tag), str)
        assert 0 <= command.number(tag) <= 0xFFFF


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0\0\0\1\2\0\0", "a command set ends inside an element header"),
        (b"\0\0\0\1\3\0\0\0xx", "command element (0000,0100) is longer than its command set"),
        (b"\0\0\0\1\xff\xff\xff\xffxx", "command element (0000,0100) is longer than its command set"),
    ],
)
def test_a_damaged_command_set_is_named(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError) as error:
        CommandSet.parse(data)
    assert str(error.value) == why


def test_the_bytes_of_a_command_are_those_of_conquest() -> None:
    encoded = encode_command(
        {
            0x0002: "1.2.840.10008.1.1", 0x0100: 0x0030, 0x0110: 1, 0x0800: 0x0101,
            0x99990400: "get_ini_param:TCPPort,port=%s",
        }
    )  # fmt: skip
    assert encoded == bytes.fromhex("00000000 04000000 38000000") + bytes.fromhex("00000200 12000000") + (
        b"1.2.840.10008.1.1\0"
        + bytes.fromhex("00000001 02000000 3000 00001001 02000000 0100 00000008 02000000 0101")
        + bytes.fromhex("99990004 1e000000")
        + b"get_ini_param:TCPPort,port=%s\0"
    )


@pytest.mark.parametrize("raw", [b"", b"\1", b"\1\2\3", b"\1\0\0\0"])
def test_a_number_of_another_length_counts_as_absent(raw: bytes) -> None:
    command = CommandSet({0x0110: raw})
    assert command.number(0x0110) == 0
    assert command.number(0x0110, 7) == 7
    assert command.number(0x0900, 9) == 9


@pytest.mark.parametrize("raw", [b"1.2.840\0", b"1.2.840 ", b" 1.2.840 \0\0", b"1.2.840"])
def test_padding_of_either_kind_is_no_part_of_a_text(raw: bytes) -> None:
    assert CommandSet({0x0002: raw}).text(0x0002) == "1.2.840"
    assert CommandSet({}).text(0x0002) == ""


def test_text_that_latin_1_lacks_becomes_a_question_mark() -> None:
    assert CommandSet.parse(encode_command({0x0902: "日本", 0x0002: str(CTImageStorage)})).text(0x0902) == "??"


@given(st.lists(st.tuples(ELEMENTS, st.integers(0, 3)), min_size=1, max_size=6), st.data())
def test_a_command_reads_the_same_whatever_was_read_before(
    commands: list[tuple[dict[int, Value], int]], data: st.DataObject
) -> None:
    for elements, damage in commands:
        raw = bytearray(encode_command(elements))
        for _ in range(damage):
            raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        assert _read(raw) == _read_anew(raw)


def _read(raw: bytes) -> dict[int, bytes] | str:
    try:
        return dict(CommandSet.parse(raw))
    except ProtocolError as error:
        return str(error)


def _read_anew(raw: bytes) -> dict[int, bytes] | str:
    """Element by element, by the rules of PS3.7 6.3.1 alone."""
    elements = {}
    while raw:
        if len(raw) < 8:
            return "a command set ends inside an element header"
        group, element, length = struct.unpack_from("<HHI", raw)
        if 8 + length > len(raw):
            return f"command element ({group:04x},{element:04x}) is longer than its command set"
        elements[group << 16 | element] = bytes(raw[8 : 8 + length])
        raw = raw[8 + length :]
    return elements


@given(_UID_TEXTS, _UID_TEXTS, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.booleans())
def test_a_plain_response_is_what_encoding_its_elements_makes(
    sop_class: str, sop_instance: str, message_id: int, status: int, data: bool
) -> None:
    elements: dict[int, Value] = {
        0x0002: sop_class,
        0x0100: 0x8001,
        0x0120: message_id,
        0x0800: 0x0001 if data else 0x0101,
        0x0900: status,
        0x1000: sop_instance,
    }
    plain = encode_plain_response(0x8001, message_id, status, sop_class, sop_instance, data=data)
    assert plain == encode_command(elements)
