"""`compress:`, `uncompress:`, `testcompress:` and `recompress:` as they are sent."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pydicom
import pytest

from storage.transfer import EXPLICIT_LITTLE
from tests.commands import site
from tests.test_codecs.images import CT, JPEG, Kind, by_program, native

REFUSED = "zz is no compression code for pixels: docs/compression.md lists them"
SMALL = Kind("small", 12, 16, rows=24, columns=32)


def test_copies_are_written_under_a_code(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    out, plain = tmp_path / "out.dcm", tmp_path / "plain.dcm"
    with site(tmp_path / "base") as here:
        assert here.says(f"compress:{source},j2,{out}") == ""
        assert pydicom.dcmread(out).file_meta.TransferSyntaxUID == JPEG + "70"
        assert np.array_equal(by_program(["dcmdjpeg"], out, tmp_path / "theirs"), CT.pixels())
        assert here.says(f"uncompress:{out},{plain}") == ""
        assert np.array_equal(native(pydicom.dcmread(plain)), CT.pixels())
        assert pydicom.dcmread(plain).SOPInstanceUID == source.stem
        assert here.says(f"compress:{source},j3,{out}") == ""
        assert pydicom.dcmread(out).SOPInstanceUID != source.stem
        assert here.says(f"compress:{source},un,{out}") == ""
        assert out.read_bytes() == source.read_bytes()
        here.keep(SMALL.made(PatientID="P1", SOPInstanceUID="1.2.3.4"))
        assert here.says(f"compress:P1:1.2.3.4,jk,{out}") == ""
        assert pydicom.dcmread(out).file_meta.TransferSyntaxUID == JPEG + "90"


def test_what_cannot_be_copied_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    out, broken = tmp_path / "out.dcm", tmp_path / "broken.dcm"
    out.write_bytes(b"before")
    made = pydicom.dcmread(source)
    made.file_meta.TransferSyntaxUID = JPEG + "90"
    made.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(30)])
    made["PixelData"].is_undefined_length = True
    made.save_as(broken)
    with site(tmp_path / "base") as here:
        assert here.says(f"compress:{source},zz,{out}") == f"*** compress: {REFUSED}"
        assert here.says(f"compress:{source},v0,{out}") == f"*** compress: {REFUSED.replace('zz', 'v0')}"
        assert here.says(f"compress::1.2.3,j2,{out}") == "*** compress: the object is not in the database"
        assert here.says(f"uncompress:{broken},{out}").startswith("*** uncompress: ")
    assert out.read_bytes() == b"before"
    assert not list(tmp_path.glob(".*.part"))


def test_an_object_is_entered_under_many_codes(tmp_path: Path) -> None:
    source = SMALL.written(tmp_path)
    with site(tmp_path / "base") as here:
        assert here.says(f"testcompress:{source}") == ""
        files = [path for path in (here.directory / "MAG0").rglob("*.dcm") if "printer_files" not in path.parts]
    found = [pydicom.dcmread(path) for path in files]
    assert len(found) == len({each.SOPInstanceUID for each in found}) == 72
    numbers = [str(each.get_item("InstanceNumber").value, "ascii").strip() for each in found]
    codes = [f"{letter}{end}" for letter, ends in (("n", "1234"), ("j", "123456kl"), ("k", "1248")) for end in ends]
    assert {number: numbers.count(number) for number in numbers} == dict.fromkeys(["un", "as", *codes], 4)
    syntaxes = [str(each.file_meta.TransferSyntaxUID) for each in found]
    assert {syntax: syntaxes.count(syntax) for syntax in set(syntaxes)} == {
        EXPLICIT_LITTLE: 56, JPEG + "70": 4, JPEG + "51": 8, JPEG + "90": 2, JPEG + "91": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("MAG0,zz", REFUSED),
        ("MAG7,j2", "MAG7 is no device of this server: they are MAG0"),
    ],
)
def test_a_recompression_that_cannot_be_is_no_job(
    asked: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with site(tmp_path / "base") as here:
        assert here.says(f"recompress:{asked}") == ""
        assert f"*** Command recompress from 127.0.0.1 (PYTEST): {said}" in caplog.text
        assert here.says("jobs:") == ""
        assert re.fullmatch("[0-9]+", here.says("recompress:MAG0"))
