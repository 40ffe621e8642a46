"""`dgate rev` as people type it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from dgate.__main__ import main as dgate_main
from dgate.rev import pictures
from dgate.rev.cli import main
from dgate.rev.slices import Slice, read_slice
from tests.servers import dgate
from tests.test_rev.library import PLACE, described, put, rev, series


def test_a_run_says_what_its_stages_did(tmp_path: Path) -> None:
    put(tmp_path, "S", series(2))
    ran = dgate("rev", "-I", str(tmp_path), "-O", "%inputDir", "--printElapsedTime", directory=tmp_path)
    lines = ran.stderr.decode().splitlines()
    assert (ran.returncode, ran.stdout) == (0, b"")
    assert [line.partition(":")[2].split(",")[0].strip() for line in lines if "begins" in line] == [
        f"stage {number}" for number in (1, 2, 3, 4)
    ]
    assert len([line for line in lines if line.endswith("s since the start")]) == 4
    assert dgate("rev", "-I", str(tmp_path), "-O", "%inputDir", "-v", "0", directory=tmp_path).stderr == b""


def test_the_document_is_one_and_has_the_keys_of_its_description(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "S", series(2))
    assert rev(tmp_path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == [
        "status", "runTime", "version", "inputDir", "outputDir", "stages", "errors", "warnings",
    ]  # fmt: skip
    assert (document["status"], document["errors"]) == (True, [])
    assert [stage["description"] for stage in document["stages"]] == [
        "DICOM analysis",
        "series JSON analysis",
        "example index.html generation",
        "data-space tree building",
    ]
    for stage in document["stages"]:
        assert list(stage) == ["stage", "description", "status", "runTime", "d_process"]
        assert stage["d_process"]["processType"] == "Not threaded"
    process = document["stages"][0]["d_process"]
    assert (process["fileSetsProcessed"], process["filesRead"], process["filesAnalyzed"]) == (1, 2, 2)
    assert rev(tmp_path / "gone", "--json") == 2
    (tmp_path / "empty").mkdir()
    assert rev(tmp_path / "empty", "--json", "--stage", "2") == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["errors"][0]["kind"]) == (False, "prerequisite")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-I", "gone"], 2, "gone is no directory: -I names the root of a library"),
        ([], 2, "Usage: dgate rev"),
        (["-O", "."], 2, "Missing option '-I'"),
        (["-I", ".", "-O", "file"], 2, "file is no directory: -O names"),
        (["-I", ".", "--stage", "5"], 2, "'5': write all, or numbers of 1 to 4"),
        (["-I", ".", "-D", "0x9"], 2, "'0x9' is no size"),
        (["-I", ".", "-D", "300"], 2, "'300' is no size"),
        (["-I", ".", "--stripMax", "65501"], 2, "65501 is not in the range"),
        (["-I", ".", "--stripMax", "200"], 2, "a large image is higher than --stripMax 200"),
        (["-I", ".", "--outputLeafDir", "__import__('os')"], 2, "write %s once"),
        (["-I", ".", "--outputLeafDir", "../%s"], 2, "write %s once"),
        (["-I", ".", "--outputLeafDir", "%s%d"], 2, "write %s once"),
        (["-I", ".", "--studyJSON", "../x"], 2, "'../x' cannot name"),
        (["-I", ".", "--studyJSON", "index.html"], 2, "'index.html' cannot name"),
        (["-I", ".", "-S", "javascript:alert(1)"], 2, "write an address of http or https"),
        (["-I", ".", "--viewerPath", "//host/"], 2, "'//host/' is not relative"),
        (["-I", ".", "-T", "{"], 2, "--tagStruct is no JSON"),
        (["-I", ".", "-T", '{"PatientIdent": "x"}'], 2, "'PatientIdent' is no keyword"),
        (["-I", ".", "--removePrivateTags"], 2, "--removePrivateTags belongs to -T"),
        (["-I", ".", "--tagOverlay", "Nothing"], 2, "'Nothing' is neither a keyword"),
        (["-I", "."], 1, "holds no series of DICOM files"),
        (["-I", ".", "--stage", "3"], 3, "stage 3 needs ex.json"),
        (["nearest", "."], 3, "has no map.json"),
    ],
)
def test_mistakes_get_one_line_and_a_status(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert dgate_main(["rev", *arguments]) == status
    output = capsys.readouterr()
    assert said in output.err + (output.out if not arguments else "")
    assert "Traceback" not in output.err


@pytest.mark.parametrize("option", ["-x", "--man", "-y", "--synopsis", "--version", "--help"])
def test_help_is_printed_with_success(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    assert "rev" in capsys.readouterr().out


def test_help_of_the_program_names_the_tool(capsys: pytest.CaptureFixture[str]) -> None:
    assert dgate_main(["--help"]) == 0
    assert dgate_main(["--help:rev"]) == 0
    said = capsys.readouterr().out
    assert "rev -I DIR -O DIR" in said
    assert "--tagStruct" in said


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ((), "../../../../?year=02&amp;month=11&amp;example=00"),
        (("--viewerPath", "../viewer/v.html"), "../../../../viewer/v.html?year=02&amp;month=11&amp;example=00"),
        (("-S", "viewer.example.org:8080/rev/"), "http://viewer.example.org:8080/rev/?year=02"),
        (("-S", "https://viewer.example.org/?a=<b>&"), "https://viewer.example.org/?a=&lt;b&gt;&amp;&amp;year=02"),
    ],
)
def test_a_study_page_leads_to_the_viewer(tmp_path: Path, options: tuple[str, ...], address: str) -> None:
    put(tmp_path, "S", series(1))
    assert rev(tmp_path, *options) == 0
    page = (tmp_path / PLACE / "index.html").read_text()
    assert page.count(address) == 2
    assert "<script" not in page


def test_a_disk_that_takes_no_more_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "A", series(1))
    put(tmp_path, "B", series(1))

    def full(path: Path, pieces: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(pictures, "write", full)
    assert rev(tmp_path, "-v", "1") == 4
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "stage 2" not in said


def test_a_file_that_cannot_be_read_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = put(tmp_path, "A", series(3))
    (directory / "DICOMDIR").write_bytes(b"none of it")

    def read(path: Path, keywords: Sequence[str] = ()) -> Slice:
        if path.name == "0001.dcm":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read_slice(path, keywords)

    monkeypatch.setattr("dgate.rev.series.read_slice", read)
    assert rev(tmp_path, "-v", "1") == 1
    assert f"{PLACE}/A/0001.dcm: Permission denied" in capsys.readouterr().err
    assert described(tmp_path, "A")["details"]["series"]["files"] == "2"


def test_a_directory_that_cannot_be_written_fails_its_series_alone(tmp_path: Path) -> None:
    directory = put(tmp_path, "A", series(1))
    (directory / "dcm2jpgRaw").touch()
    put(tmp_path, "B", series(1))
    assert rev(tmp_path) == 1
    assert not (tmp_path / PLACE / "A-series.json").exists()
    assert (tmp_path / PLACE / "B-series.json").exists()
