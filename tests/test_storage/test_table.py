"""The compression codes: what each is, and what it proposes to a receiver."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.codecs.table import CODECS, UNKNOWN, parse_code

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"


def jpeg(*numbers: int) -> tuple[str, ...]:
    return tuple(f"1.2.840.10008.1.2.4.{number}" for number in numbers)


(BASELINE,) = jpeg(50)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "as"),
        ("as", "as"),
        ("AS", "as"),
        (" is ", "is"),
        ("un", "un"),
        ("ui", "ui"),
        ("ul", "ul"),
        ("ub", "ub"),
        ("ue", "ue"),
        ("ud", "ud"),
        ("uj", "uj"),
        ("n0", "n0"),
        ("n4", "n"),
        ("n5", "n"),
        ("n#10,20", "n#"),
        ("nj", "nj"),
        ("j1", "j1"),
        ("j2", "j2"),
        ("j3", "j3"),
        ("j395", "j3"),
        ("j460", "j4"),
        ("j5", "j5"),
        ("j6", "j6"),
        ("j7", "j7"),
        ("js", "js"),
        ("jk", "jk"),
        ("jl10", "jl"),
        ("jh", "jh"),
        ("jr", "jr"),
        ("ja", "ja"),
        ("j#4,100", "j#"),
        ("k1", "k"),
        ("kc", "k"),
        ("s9", "s"),
        ("v0", "v"),
        ("vx", "v"),
    ],
)
def test_every_code_is_known(text: str, code: str) -> None:
    found = parse_code(text)
    assert found.known
    assert found.codec.code == code
    assert found.text == text.strip()


def test_every_row_is_reached_by_its_own_spelling() -> None:
    examples = {"n": "n1", "n#": "n#1,2", "j#": "j#1,2", "k": "k1", "s": "s0", "v": "v0"}
    assert all(parse_code(examples.get(row.code, row.code)).codec is row for row in CODECS)


@pytest.mark.parametrize(
    "text", ["xx", "j", "j9", "j39", "j3955", "k3", "n6", "u", "n#", "j#1", "v", "asas", "un un", "é"]
)
def test_an_unknown_code_leaves_objects_unchanged_and_says_so(text: str) -> None:
    found = parse_code(text)
    assert not found.known
    assert found.codec is UNKNOWN
    assert found.keeps(BASELINE)


def test_numbers_are_carried() -> None:
    assert parse_code("j390").quality == 90
    assert parse_code("j3").quality is None
    assert (parse_code("j#4,100").factor, parse_code("j#4,100").cutoff) == (4, 100)
    assert parse_code("j2!").strict
    assert not parse_code("j2").strict
    assert (parse_code("n4").mode, parse_code("N2!").mode, parse_code("nj").mode) == (4, 2, None)
    assert [parse_code(f"k{size}").side for size in "1248abcA"] == [1024, 512, 256, 128, 64, 32, 16, 64]
    assert parse_code("j2").side is None


def test_what_a_code_makes_is_told_best_first() -> None:
    assert parse_code("j2").codec.makes == jpeg(70, 57)
    assert parse_code("j3").codec.makes == jpeg(50, 51, 70, 57)
    assert parse_code("j5").codec.makes == parse_code("j6").codec.makes == jpeg(55, 51, 70, 57)
    assert parse_code("jl").codec.makes == jpeg(91, 90)
    assert parse_code("jh").codec.makes == jpeg(201, 202, 203)
    assert parse_code("jr").codec.makes == (RLE,)
    assert [row.code for row in CODECS if row.makes and not row.jpeg] == ["jr"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("as", {IMPLICIT, EXPLICIT, BIG, DEFLATED, BASELINE, RLE, "1.2.3"}),
        ("un", {IMPLICIT, EXPLICIT, BIG, DEFLATED}),
        ("ul", {IMPLICIT, EXPLICIT, BIG, DEFLATED}),
        ("uj", {IMPLICIT, EXPLICIT, BIG, DEFLATED, BASELINE}),
        ("ud", {DEFLATED}),
        ("nj", {BASELINE}),
        ("j2", set()),
    ],
)
def test_what_a_code_leaves_alone(text: str, kept: set[str]) -> None:
    syntaxes = (IMPLICIT, EXPLICIT, BIG, DEFLATED, BASELINE, RLE, "1.2.3")
    assert {syntax for syntax in syntaxes if parse_code(text).keeps(syntax)} == kept


@pytest.mark.parametrize(
    ("text", "syntaxes"),
    [
        ("as", ()),
        ("un", ()),
        ("j2", ()),
        ("ui", (IMPLICIT,)),
        ("ul", (EXPLICIT, IMPLICIT)),
        ("ul!", (EXPLICIT,)),
        ("ub", (BIG, IMPLICIT)),
        ("ue", (EXPLICIT, BIG, IMPLICIT)),
        ("ud", (DEFLATED, IMPLICIT)),
        ("ud!", (DEFLATED,)),
    ],
)
def test_the_uncompressed_forms_a_code_insists_on(text: str, syntaxes: tuple[str, ...]) -> None:
    assert parse_code(text).uncompressed_syntaxes == syntaxes


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_code(text: str) -> None:
    assert parse_code(text).text == text.strip()
