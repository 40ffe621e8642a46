"""Values as pydicom shows them, which is what med-imagetools writes."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.tag import Tag

from dgate.crawl.dictionary import ELEMENTS
from dgate.crawl.fields import BASE, COMPUTED_FROM, MODALITY, keywords_of, path, tag, wanted_of
from dgate.crawl.text import shown
from storage.header import vr_of
from storage.text import value_text
from tests.servers import environment
from tests.test_crawl.material import ct, put

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), max_size=12)
NUMBER = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(str), st.sampled_from(["5.000000", "-1024", " 7 ", "+3", "007", "1e3"])
)


def pydicom_shows(vr: str, value: bytes) -> str:
    """What pydicom makes of an element with that value in explicit little endian."""
    raw = RawDataElement(Tag(0x00091001), vr, len(value), value, 0, False, True, True)
    element: DataElement = convert_raw_data_element(raw)
    return str(element.value)


def ours(vr: str, value: bytes) -> str:
    return shown(vr, value_text(vr, value, b"", True))


def padded(text: str) -> bytes:
    return text.encode() + b" " * (len(text) % 2)


@pytest.fixture(autouse=True)
def _values_may_be_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom import config

    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)


@given(vr=st.sampled_from(["CS", "LO", "SH", "AE", "UI"]), texts=st.lists(TEXT, min_size=1, max_size=3))
def test_text_is_shown_as_pydicom_shows_it(vr: str, texts: list[str]) -> None:
    value = padded("\\".join(texts))
    assert ours(vr, value) == pydicom_shows(vr, value)


@given(texts=st.lists(NUMBER, min_size=1, max_size=4))
def test_numbers_are_shown_as_they_are_written(texts: list[str]) -> None:
    value = padded("\\".join(texts))
    assert ours("DS", value) == pydicom_shows("DS", value)


@given(texts=st.lists(st.integers(-(2**31), 2**31 - 1).map(str), min_size=1, max_size=4))
def test_whole_numbers_are_shown_as_they_are_written(texts: list[str]) -> None:
    value = padded("\\".join(texts))
    assert ours("IS", value) == pydicom_shows("IS", value)


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=4))
def test_doubles_are_shown_as_python_does(numbers: list[float]) -> None:
    value = struct.pack(f"<{len(numbers)}d", *numbers)
    assert ours("FD", value) == pydicom_shows("FD", value)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4))
def test_floats_are_shown_as_python_does(numbers: list[float]) -> None:
    value = struct.pack(f"<{len(numbers)}f", *numbers)
    assert ours("FL", value) == pydicom_shows("FL", value)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=4))
def test_binary_numbers_are_shown_as_python_does(numbers: list[int]) -> None:
    value = struct.pack(f"<{len(numbers)}H", *numbers)
    assert ours("US", value) == pydicom_shows("US", value)


@pytest.mark.parametrize("vr", ["CS", "LO", "SH", "UI", "DA", "TM", "DT", "DS", "IS", "FD", "FL", "US"])
def test_an_empty_value_is_shown_as_pydicom_does_and_an_absent_one_not_at_all(vr: str) -> None:
    assert ours(vr, b"") == pydicom_shows(vr, b"")
    assert shown(vr, None) == ""


@pytest.mark.parametrize("vr", ["DA", "TM", "DT"])
@pytest.mark.parametrize("text", ["20240101", "113008", "101501.123456", "20240101113008.5", "20240101\\20240102"])
def test_dates_and_times_stay_as_they_are(vr: str, text: str) -> None:
    assert ours(vr, padded(text)) == pydicom_shows(vr, padded(text))


def test_the_tables_have_as_many_fields_as_med_imagetools() -> None:
    counts = {modality: len(keywords_of(modality)) for modality in (*MODALITY, "US")}
    assert len(BASE) == 38
    assert counts == {
        "CT": 67, "MR": 63, "PT": 67, "SEG": 41, "RTSTRUCT": 42, "RTDOSE": 42, "RTPLAN": 42, "SR": 39, "US": 38,
    }  # fmt: skip


def test_every_keyword_has_the_tag_and_the_vr_of_the_dictionary() -> None:
    assert {keyword: (tag_for_keyword(keyword), vr_of(number)) for keyword, (number, _) in ELEMENTS.items()} == ELEMENTS
    assert all(wanted_of(modality) for modality in (*MODALITY, "US"))
    assert all(len(path(each)) > 1 for paths in COMPUTED_FROM.values() for each in paths)
    with pytest.raises(KeyError, match="NoSuchKeyword"):
        tag("NoSuchKeyword")


def test_a_tree_of_explicit_objects_is_crawled_without_loading_pydicom(tmp_path: Path) -> None:
    put(tmp_path / "T" / "1.dcm", ct(1, SpecificCharacterSet=None, Manufacturer="plain"))
    script = (
        "import sys\nfrom dgate.crawl import Crawler\n"
        "print(Crawler(sys.argv[1]).crawl().series, 'pydicom' in sys.modules)"
    )
    command = [sys.executable, "-c", script, tmp_path / "T"]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert ran.stdout == "1 False\n"
