"""Element descriptors: every form of the converter language, and text that is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.descriptor import Descriptor, parse_descriptor
from storage.header import ANYWHERE, in_item


@pytest.mark.parametrize(
    ("text", "path", "length"),
    [
        ("0010,0020", (0x00100020,), 9),
        ("0010,002Ff", (0x0010002F,), 9),
        ("PatientName", (0x00100010,), 11),
        ("PatientName_x", (0x00100010,), 11),
        ("PatientNamexyz", (0x00100010,), 11),
        ("*0008,1155", (ANYWHERE, 0x00081155), 10),
        ("*CodeValue", (ANYWHERE, 0x00080100), 10),
        ("/0040,0275/0040,0007", (0x00400275, 0x00400007), 20),
        ("/0040,0275/CodeValue[0,3]", (0x00400275, 0x00080100), 20),
        ("/0040,0275.2/0040,0007", (in_item(0x00400275, 2), 0x00400007), 22),
        ("/0040,0275//0040,0008.1/0008,0100", (0x00400275, in_item(0x00400008, 1), 0x00080100), 33),
    ],
)
def test_descriptors_are_read(text: str, path: tuple[int, ...], length: int) -> None:
    assert parse_descriptor(text) == Descriptor(path, length)
    assert parse_descriptor(f"%v{text}", 2) == Descriptor(path, length)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10,20",
        "0010",
        "0010,00g0",
        "NoSuchKeyword",
        "/0040,0275",
        "/0040,0275/",
        "/CodeValue/0010,0020",
        "*",
        "(1.2)0010,0020",
    ],
)
def test_what_is_no_descriptor_is_none(text: str) -> None:
    assert parse_descriptor(text) is None


@settings(deadline=None)
@given(st.text("0123456789abcdefABC,./*[]PatientName"))
def test_any_text_is_a_descriptor_or_none(text: str) -> None:
    found = parse_descriptor(text)
    if found is not None:
        assert 0 < found.length <= len(text)
        assert parse_descriptor(text[: found.length]) == found
