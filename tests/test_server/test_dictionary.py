"""The dictionary: pydicom's and ConQuest's elements, and a dgate.dic on top of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.dictionary import DicomDictionary, DictionaryEntry

DIC = b"""\
# comment (0010,0010) VR="PN"
(0010,0020) VERS="4"   VR="LO"   VM="1"\tKeyword="PatientID"\t\tName="Patient ID"
(0000,0000) VERS="3"\tVR="UL"   VM="1"\tKeyword="GroupLength"\tName="Group Length"
(0002,0001) VERS="4"\tVR="OB"   VM="1"\tKeyword="First"
(0002,0001) VERS="3"\tVR="OB"   VM="1"\tKeyword="Second"
(5400,1010) VERS="4"\tVR="OB/OW"   VM="1"\tKeyword="WaveformData"
(60xx,0010) VERS="4"\tVR="US"   VM="1"\tKeyword="OverlayRows"
(2005,100D) VERS="PMS" VR="FL" VM="1" Keyword="ScaleIntercept" Name="Caf\xe9"
(FFFE,E000) VERS="4"\tVR="NONE" VM="1"\tKeyword="Item"\t\tName="Item"
(0011,0011) VERS="4" VM="1" Keyword="NoVr"
{ 0x0013, 0x0010, LO, "BraceForm" }
"""


def dictionary(tmp_path: Path, data: bytes) -> DicomDictionary:
    (tmp_path / "dgate.dic").write_bytes(data)
    return DicomDictionary(tmp_path / "dgate.dic")


def test_without_a_file_it_is_pydicoms_and_conquests_in_order_of_tag() -> None:
    built_in = DicomDictionary()
    tags = [entry.tag for entry in built_in.entries]
    assert tags == sorted(set(tags))
    assert built_in.entry(0) == DictionaryEntry(0, "UL", "CommandGroupLength")
    assert built_in.entry(len(tags)) is None
    assert built_in.entry(-1) is None


@pytest.mark.parametrize(
    ("tag", "vr", "keyword"),
    [
        (0x00100020, "LO", "PatientID"),
        (0x00280106, "US", "SmallestImagePixelValue"),
        (0x99990300, "LO", "ConquestConsoleText"),
        (0x99990404, "US", "ConquestConsoleDataOddlength"),
        (0x99990C00, "LO", "ConquestSort"),
        (0x60020010, "US", "OverlayRows"),
        (0xFFFEE000, "NONE", "Item"),
        (0x00091001, "UN", ""),
    ],
)
def test_look_ups(tag: int, vr: str, keyword: str) -> None:
    built_in = DicomDictionary()
    assert (built_in.vr_of(tag), built_in.keyword_of(tag)) == (vr, keyword)
    if keyword and tag >> 24 != 0x60:
        assert built_in.tag_of(keyword) == tag


def test_a_file_is_what_is_numbered_with_all_its_entries_for_one_tag(tmp_path: Path) -> None:
    assert dictionary(tmp_path, DIC).entries == (
        DictionaryEntry(0x00000000, "UL", "GroupLength"),
        DictionaryEntry(0x00020001, "OB", "First"),
        DictionaryEntry(0x00020001, "OB", "Second"),
        DictionaryEntry(0x00100020, "LO", "PatientID"),
        DictionaryEntry(0x00130010, "LO", "BraceForm"),
        DictionaryEntry(0x2005100D, "FL", "ScaleIntercept"),
        DictionaryEntry(0x54001010, "OB", "WaveformData"),
        DictionaryEntry(0xFFFEE000, "NONE", "Item"),
    )


def test_look_ups_take_the_file_first_and_the_built_in_dictionary_after_it(tmp_path: Path) -> None:
    read = dictionary(tmp_path, DIC)
    assert read.keyword_of(0) == "GroupLength"
    assert (read.tag_of("GroupLength"), read.tag_of("CommandGroupLength")) == (0, 0)
    assert read.keyword_of(0x00020001) == "First"
    assert (read.keyword_of(0x00100010), read.vr_of(0x00100010), read.tag_of("PatientName")) == (
        "PatientName",
        "PN",
        0x00100010,
    )
    assert (read.keyword_of(0x99990400), read.vr_of(0x99990400)) == ("ConquestConsoleCommand", "LO")
    assert read.vr_of(0x2005100D) == "FL"


def test_a_missing_file_leaves_the_built_in_dictionary(tmp_path: Path) -> None:
    read = DicomDictionary(tmp_path / "dgate.dic")
    assert read.entries == DicomDictionary().entries
    assert read.warnings == ()


def test_a_binary_or_empty_file_is_reported_and_not_used(tmp_path: Path) -> None:
    binary = dictionary(tmp_path, b"#!BinRTC\0\1\2")
    assert binary.warnings == ("dgate.dic is a binary dictionary, which is not read: give its text form",)
    assert binary.keyword_of(0x00100020) == "PatientID"
    assert dictionary(tmp_path, b"nothing\n").warnings == (
        'dgate.dic has no entry: write lines such as (0010,0020) VR="LO" Keyword="PatientID"',
    )


elements = st.builds(
    DictionaryEntry,
    st.integers(0, 0xFFFFFFFF),
    st.sampled_from(["LO", "UI", "SQ", "NONE"]),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True),
)


@given(st.lists(elements, min_size=1, max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_every_line_written_is_an_entry_read(written: list[DictionaryEntry], end: str) -> None:
    text = "".join(
        f'({entry.tag >> 16:04X},{entry.tag & 0xFFFF:04x})\tVERS="4" VR="{entry.vr}" Keyword="{entry.keyword}"{end}'
        for entry in written
    )
    with tempfile.TemporaryDirectory() as directory:
        read = dictionary(Path(directory), text.encode())
    assert list(read.entries) == sorted(written, key=lambda entry: entry.tag)
    first = {entry.tag: entry.keyword for entry in reversed(written)}
    assert all(read.keyword_of(tag) == keyword for tag, keyword in first.items())


@given(st.binary(max_size=300))
def test_any_file_can_be_read(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        assert dictionary(Path(directory), data).keyword_of(0x99990400) != ""
