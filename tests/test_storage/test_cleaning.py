"""Cleaned text: ConQuest's rules, and that nothing from outside becomes more than a part of a name."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.cleaning import RESERVED, clean, clean_uid, numbered, safe_path


def digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (None, "empty"),
        ("", "unknown"),
        ("___", "unknown"),
        ("DOE^JOHN", "DOE^JOHN"),
        ("DOE^JOHN A. ", "DOE^JOHN_A"),
        ('a/b\\c;d>e<f|g,h.i:j?k*l"m n', "a_b_c_d_e_f_g_h_i_j_k_l_m_n"),
        ("..", "unknown"),
        ("../../etc/passwd", "______etc_passwd"),
        ("before\x00after", "before"),
        ("before\nafter", "before"),
        ("before\x7fafter", "before"),
        ("\nx", "unknown"),
        ("x" * 100, "x" * 65),
        ("x" * 64 + "  more", "x" * 64),
        ("山田^太郎", "山田^太郎"),
        ("a\u202eb\u3000c\u2028d", "a_b_c_d"),
        ("a\ud800b", "a_b"),
    ],
)
def test_values_are_cleaned_as_conquest_does(text: str | None, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("uid", "cleaned"),
    [
        ("1.2.840.10008", "1.2.840.10008"),
        ("1" * 64, "1" * 64),
        ("1", "1"),
        (None, "empty"),
        ("", "unknown"),
        ("../escaped", "___escaped_" + digest("../escaped", 16)),
        (".escaped", "_escaped_" + digest(".escaped", 16)),
    ],
)
def test_uids_stay_and_what_is_none_is_kept_apart_by_a_digest(uid: str | None, cleaned: str) -> None:
    assert clean_uid(uid) == cleaned


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_two_different_uids_never_give_one_name(one: str, other: str) -> None:
    if one != other and one and other:
        assert clean_uid(one) != clean_uid(other)


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("P1/1.2.3.dcm", "P1/1.2.3.dcm"),
        ("//a", "unknown/unknown/a"),
        ("../a", "__/a"),
        ("./a/...", "_/a/___"),
        ("", "unknown"),
        ("BIN/Incoming/printer_files/a.dcm", "BIN_/Incoming_/printer_files_/a.dcm"),
        ("a\nb/c\0.dcm", "a_b/c_.dcm"),
        # The base name loses leading characters.
        (
            f"{'d' * 65}/{'e' * 64}/{'f' * 64}/{'1.2' * 20}.dcm",
            f"{'d' * 65}/{'e' * 64}/{'f' * 64}/{('1.2' * 20)[5:]}.dcm",
        ),
        # Where that is not enough, directories do.
        (
            f"{'d' * 90}/{'e' * 90}/{'f' * 90}/1.2.3.dcm",
            f"{'d' * 65}/{digest('/'.join(('d' * 90, 'e' * 90, 'f' * 90)), 32)}/1.2.3.dcm",
        ),
    ],
)
def test_paths_are_made_safe(path: str, safe: str) -> None:
    assert safe_path(path) == safe


def test_the_limit_counts_behind_the_first_directory() -> None:
    name = "0123456789" * 8 + ".dcm"
    assert safe_path(f"{'d' * 60}/{name}", 84) == f"{'d' * 60}/{name}"
    assert safe_path(f"{'d' * 60}/{name}", 80) == f"{'d' * 60}/{name[4:]}"
    assert safe_path(f"{'d' * 60}/{'e' * 50}/{name}", 64) == (
        f"{'d' * 60}/{digest('d' * 60 + '/' + 'e' * 50, 32)}/{name[-24:]}"
    )


def test_a_component_is_limited_in_bytes() -> None:
    path = safe_path(f"{'山' * 100}/{'田' * 100}.dcm")
    directory, base = path.split("/")
    assert directory.startswith("山" * 79 + "_")
    assert len(directory.encode()) == 254
    assert base == "田" * 83 + ".dcm"
    assert len(base.encode()) == 253


def test_other_names_are_numbered_before_the_extension() -> None:
    assert numbered("Images/1.2.3.dcm", 1) == "Images/1.2.3_1.dcm"
    assert numbered("Images/P1", 12) == "Images/P1_12"
    assert numbered(f"{'d' * 65}/{'e' * 65}/{'f' * 120}.dcm", 1) == f"{'d' * 65}/{'e' * 65}/{'f' * 117}_1.dcm"


_PARTS = st.one_of(
    st.text(max_size=90), st.sampled_from(["..", ".", "", "~", "BIN", "/etc", "a\0b", "x" * 300, "山" * 120])
)


@settings(deadline=None)
@given(st.lists(_PARTS, min_size=1, max_size=6), st.integers(64, 255), st.integers(1, 99))
def test_any_path_becomes_one_below_the_root(parts: list[str], limit: int, number: int) -> None:
    for path in (safe_path("/".join(parts), limit), numbered(safe_path("/".join(parts), limit), number, limit)):
        components = path.split("/")
        assert not path.startswith("/")
        assert all(component.strip(".") for component in components)
        assert all(len(os.fsencode(component)) <= 255 for component in components)
        assert not {component.lower() for component in components} & RESERVED
        assert len(path) <= 255
        assert "\0" not in path
        assert os.path.normpath(path) == path
        assert safe_path(path, limit) == path
