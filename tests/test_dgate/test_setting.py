"""One value of dicom.ini: ConQuest's lenient reading, and refusals that say what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.setting import Setting, settings, show


def setting(kind: type, **options: object) -> Setting:
    return Setting("Key", "server", kind, False, "Help", "", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text", "value", "remark"),
    [
        (int, "5678", 5678, ""),
        (int, " 5678 ", 5678, ""),
        (int, "-1", -1, ""),
        (int, "5678 # the port", 5678, "is read as 5678"),
        (int, "5678;", 5678, "is read as 5678"),
        (int, "", 0, "is read as 0"),
        (bool, "1", True, ""),
        (bool, "0", False, ""),
        (bool, "2", True, ""),
        (bool, "", False, "is read as 0"),
        (bool, "1 (on)", True, "is read as 1"),
        (float, "1.5", 1.5, ""),
        (float, "1.5s", 1.5, "is read as 1.5"),
        (str, " as it is ", " as it is ", ""),
    ],
)
def test_values(kind: type, text: str, value: object, remark: str) -> None:
    assert setting(kind).convert(text) == (value, remark)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (setting(int), "many", "not a number; write a whole number"),
        (setting(int, low=1), "many", "not a number; write a whole number that is at least 1"),
        (setting(int, low=0, high=4), "5", "out of range; write a whole number from 0 to 4"),
        (setting(float, low=0, high=1), "2", "out of range; write a number from 0 to 1"),
        (setting(bool), "yes", "not a number; write 0 or 1"),
        (setting(str, choices=("safe", "fast")), "slow", "write one of safe, fast"),
    ],
)
def test_refusals(read: Setting, text: str, message: str) -> None:
    with pytest.raises(ValueError, match="write") as error:
        read.convert(text)
    assert str(error.value) == message


def test_choices_are_found_in_any_case_and_spelled_as_declared() -> None:
    assert setting(str, choices=("GLOBAL", "STUDY")).convert("study ") == ("STUDY", "")


@given(st.integers(-(10**18), 10**18))
def test_whole_numbers_read_back(number: int) -> None:
    assert setting(int).convert(str(number)) == (number, "")


def test_values_are_shown_as_they_are_written() -> None:
    assert [show(value) for value in (True, False, 5, "x", ("a", "b"), (1, 2), ())] == [
        "1",
        "0",
        "5",
        "x",
        "a b",
        "1 2",
        "",
    ]


def test_keys_are_declared_once_and_every_default_fits_its_own_rules() -> None:
    names = [name.lower() for one in settings() for name in one.names]
    assert len(names) == len(set(names))
    for one in settings():
        defaults = one.default if isinstance(one.default, tuple) else (one.default,)
        for default in defaults:
            assert one.convert(show(default)) == (default, "")


def test_every_example_value_fits_its_own_rules() -> None:
    for one in settings():
        if one.example is not None:
            assert one.convert(one.example)[1] == ""
