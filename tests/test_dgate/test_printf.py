"""printf: what C prints, and never more than text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.printf import NUMBER, TEXT, Printf, PrintfValue

flags = st.text("-+ 0#", max_size=3)
width = st.one_of(st.just(""), st.integers(1, 40).map(str))
precision = st.one_of(st.just(""), st.integers(0, 20).map(lambda number: f".{number}"))
# A % of ours must not become a conversion of Python's together with what follows.
literal = st.text(st.characters(exclude_characters="%"), max_size=8)


@given(literal, flags, width, precision, st.text(max_size=20), literal)
def test_strings_print_as_python_prints_them(
    before: str, flags: str, width: str, precision: str, value: str, after: str
) -> None:
    conversion = f"%{flags}{width}{precision}s"
    assert Printf(before + conversion + after) % value == before + conversion % value + after


@given(flags, width, precision, st.sampled_from("di"), st.integers(-(2**63), 2**63))
def test_numbers_print_as_python_prints_them(flags: str, width: str, precision: str, kind: str, value: int) -> None:
    used = flags.replace("0", "") if precision else flags
    assert Printf(f"%{flags}{width}{precision}{kind}") % value == f"%{used}{width}{precision}{kind}" % value


@given(flags.filter(lambda text: "#" not in text), width, st.sampled_from("xXou"), st.integers(0, 2**63))
def test_unsigned_numbers_print_as_python_prints_them(flags: str, width: str, kind: str, value: int) -> None:
    assert Printf(f"%{flags}{width}{kind}") % value == f"%{flags}{width}{kind}" % value


@given(flags, width, precision, st.sampled_from("feg"), st.floats(allow_nan=False))
def test_reals_print_as_python_prints_them(flags: str, width: str, precision: str, kind: str, value: float) -> None:
    conversion = f"%{flags}{width}{precision}{kind}"
    assert Printf(conversion) % value == conversion % value


@given(st.text(max_size=40), st.lists(st.one_of(st.text(max_size=5), st.integers(), st.floats()), max_size=3))
def test_no_format_is_an_error(text: str, values: list[PrintfValue]) -> None:
    finite = [value for value in values if not isinstance(value, float) or value - value == 0]
    assert isinstance(Printf(text) % tuple(finite), str)


@given(st.text(max_size=40).filter(lambda text: "%" not in text))
def test_text_without_percent_signs_prints_itself(text: str) -> None:
    assert Printf(text) % "value" == text


@pytest.mark.parametrize(
    ("text", "values", "printed"),
    [
        ("%s", ("a",), "a"),
        ("<%s>", ("CONQUESTSRV1",), "<CONQUESTSRV1>"),
        ("%s/%s/%s/%s", ("A", "h", "1", "un"), "A/h/1/un"),
        ("%2$s", ("HEAD EXP2", "0009703828"), "0009703828"),
        ("%2$s %1$s %s %s", ("a", "b"), "b a a b"),
        ("%s %s %s", ("a", "b"), "a b a"),
        ("%5$s", ("a", "b"), "a"),
        ("%04x %04x %c%c %s", (8, 0x33, "T", "M", "ContentTime"), "0008 0033 TM ContentTime"),
        (
            "0x%4.4x, 0x%4.4x %20s %4d %10s %12s",
            (0x10, 0x20, "PatientID", 64, "SQL_C_CHAR", "DT_STR"),
            "0x0010, 0x0020            PatientID   64 SQL_C_CHAR       DT_STR",
        ),
        ("100%%", (), "100%"),
        ("100%", (1,), "100%"),
        ("%d MB free", (51200,), "51200 MB free"),
        ("%ld %lld %hu %zd", (1, 2, 3, 4), "1 2 3 4"),
        ("%d %d", ("12abc", "abc"), "12 0"),
        ("%5.1f|%g", ("2.75x", ""), "  2.8|0"),
        ("%x %u", (-1, -2), "ffffffff 4294967294"),
        ("%#o %#x", (8, 255), "010 0xff"),
        ("%c%c%c", ("xyz", 65, ""), "xA"),
        ("%-5c|%3c", ("x", 0), "x    |   "),
        ("%05.3d", (7,), "  007"),
        ("%n %p %*d %hhn %y %k", ("a",), "%n %p %*d %hhn %y %k"),
        ("%0$s", ("a",), "%0$s"),
        ("%99999d %.9999d", (1,), "%99999d %.9999d"),
        ("%s", (), "%s"),
        ("%%s", ("a",), "%s"),
        ("a\\nb", ("x",), "a\\nb"),
    ],
)
def test_formats(text: str, values: tuple[PrintfValue, ...], printed: str) -> None:
    assert Printf(text) % values == printed


def test_the_usual_formats() -> None:
    assert (NUMBER % 7, TEXT % "a") == ("7", "a")
