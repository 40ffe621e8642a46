"""Ages at a scan and the nearest example."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.rev.age import Age, Entry, age_between, nearest, read_date
from dgate.rev.cli import main
from dgate.rev.errors import BadRequest

MAP = [
    Entry.read(path) for path in ("./10-yr/00-mo/00-ex", "00-yr/06-mo/00-ex", "00-yr/06-mo/01-ex", "02-yr/11-mo/00-ex")
]
VECTORS = [
    ("000000", "000600"),
    ("000600", "000600"),
    ("000699", "000601"),
    ("021100", "021100"),
    ("010900", "021100"),
    ("011100", "021100"),
    ("090000", "100000"),
    ("999999", "100000"),
]


def entry(text: str) -> Entry:
    return Entry(int(text[:2]), int(text[2:4]), int(text[4:]))


@pytest.mark.parametrize(("key", "hit"), VECTORS)
def test_the_nearest_example_is_that_of_the_viewer(key: str, hit: str) -> None:
    assert nearest(MAP, entry(key)) == entry(hit)


def test_of_two_examples_as_near_the_lower_one_is_taken() -> None:
    assert nearest([entry("000004"), entry("000002")], entry("000003")) == entry("000002")


def test_distance_in_months_knows_that_a_year_has_twelve() -> None:
    library = [entry("000600"), entry("020000")]
    assert nearest(library, entry("011100"), "months") == entry("020000")
    assert nearest([entry("010000"), entry("020000")], entry("011100")) == entry("010000")
    assert nearest([entry("010600"), entry("020000")], entry("011100")) == entry("010600")
    assert nearest([entry("010600"), entry("020000")], entry("011100"), "months") == entry("020000")


@given(st.lists(st.builds(Entry, *[st.integers(0, 99)] * 3), min_size=1), st.builds(Entry, *[st.integers(0, 99)] * 3))
def test_nothing_is_nearer_than_the_nearest(library: list[Entry], wanted: Entry) -> None:
    # The viewer's way: down from the highest entry, to the first increase of the distance.
    found = sorted(library)[-1]
    for one in sorted(library, reverse=True):
        if abs(one.key - wanted.key) > abs(found.key - wanted.key):
            break
        found = one
    assert nearest(library, wanted) == found


@pytest.mark.parametrize(
    ("birth", "scan", "age"),
    [
        ("20190701", "20200102", Age(0, 6)),
        ("20200102", "20190701", Age(0, 6)),
        ("20170215", "20200115", Age(2, 11)),
        ("20170215", "20200114", Age(2, 10)),
        ("20000229", "20010228", Age(0, 11)),
        ("19000101", "20000101", Age(100, 0)),
        ("20200101", "20200101", Age(0, 0)),
    ],
)
def test_an_age_counts_completed_years_and_months(birth: str, scan: str, age: Age) -> None:
    assert age_between(read_date(birth), read_date(scan)) == age


@given(st.dates(), st.dates())
def test_ages_do_not_depend_on_the_order_of_the_dates(one: date, other: date) -> None:
    age = age_between(one, other)
    assert age == age_between(other, one)
    assert 0 <= age.months <= 11


@pytest.mark.parametrize("text", ["", "2020", "20201301", "20200230", "2020-1-1", "２０２００１０１"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="is no date"):
        read_date(text)


def test_the_nearest_example_is_told_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map.json").write_text('{"data": ["./00-yr/06-mo/00-ex", "./02-yr/11-mo/00-ex"]}')
    assert main(["nearest", str(tmp_path), "--year", "1", "--month", "9"]) == 0
    assert main(["nearest", str(tmp_path), "--birthdate", "20190701", "--scandate", "20200102"]) == 0
    assert capsys.readouterr().out == "02-yr/11-mo/00-ex\n00-yr/06-mo/00-ex\n"
    assert main(["nearest", str(tmp_path), "--birthdate", "20190701"]) == 2
    assert main(["nearest", str(tmp_path / "gone"), "--year", "1"]) == 3
    assert "stage 4 has not been run" in capsys.readouterr().err
