"""Configuration files on disk: bytes in, the same bytes out, and replacement as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import textfile


@given(st.binary(max_size=60))
def test_lines_join_to_what_they_were_cut_from(data: bytes) -> None:
    lines = textfile.split_lines(data)
    assert b"".join(lines) == data
    assert all(line.count(b"\n") <= 1 and line for line in lines)


@given(st.text(max_size=20).filter(lambda text: text.isprintable()), st.binary(max_size=20))
def test_what_is_encoded_is_decoded_to_the_same_text(text: str, around: bytes) -> None:
    assert textfile.decode(textfile.encode(text, around)) == text


def test_text_goes_into_a_latin_1_file_as_latin_1() -> None:
    assert textfile.encode("Zürich", "Ärzte".encode("latin-1")) == b"Z\xfcrich"
    assert textfile.encode("Zürich", b"plain") == "Zürich".encode()


def test_a_lone_carriage_return_is_no_line_end() -> None:
    assert textfile.split_lines(b"a\rb\r\nc") == [b"a\rb\r\n", b"c"]


def test_a_replaced_file_keeps_its_mode_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "dicom.ini"
    path.write_bytes(b"old")
    path.chmod(0o640)
    textfile.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [left.name for left in tmp_path.iterdir()] == ["dicom.ini"]


def test_a_new_file_gets_what_the_umask_leaves(tmp_path: Path) -> None:
    textfile.replace_file(tmp_path / "new", b"")
    (tmp_path / "touched").touch()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "touched").stat().st_mode


def test_a_symbolic_link_stays_a_link_to_the_replaced_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    textfile.replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_replacement_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "dicom.ini"
    path.write_bytes(b"old")

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        textfile.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [left.name for left in tmp_path.iterdir()] == ["dicom.ini"]
