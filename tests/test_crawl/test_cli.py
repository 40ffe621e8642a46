"""`dgate crawl` as people type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dgate.__main__ import main
from dgate.crawl import progress
from dgate.tools import TOOLS
from tests.servers import dgate, environment
from tests.test_crawl.crawling import tree
from tests.test_crawl.material import build, by_series, ct, dose, plan, refers, structure_set, uid

SUMMARY = "34 files found, 34 read, 0 skipped; 25 series; references: 8 resolved, 2 unresolved\n"


def test_a_crawl_prints_one_line_and_where_the_index_is(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    ran = dgate("crawl", str(root), "-q", directory=tmp_path)
    assert (ran.returncode, ran.stdout.decode(), ran.stderr.decode()) == (0, SUMMARY, "")
    again = dgate("crawl", "--dicom-dir", "T", "--output-dir", "out", "--dataset-name", "mine", directory=tmp_path)
    assert (again.returncode, again.stdout.decode()) == (0, SUMMARY)
    assert again.stderr.decode().splitlines()[-1] == f"The index is in {tmp_path}/out/mine"


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Run the program in this process: status, standard output, standard error."""
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_skipped_files_end_a_strict_crawl_with_status_1_after_writing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    (root / "bad.dcm").write_text("bad")
    status, out, err = run(capsys, "crawl", root, "--strict")
    assert (status, out) == (
        1, "2 files found, 2 read, 1 skipped; 1 series; references: 0 resolved, 0 unresolved\n",
    )  # fmt: skip
    assert err.splitlines()[0] == "dgate crawl: T/bad.dcm is skipped: it is too short for a DICOM file"
    assert (tmp_path / ".imgtools" / "T" / "index.csv").exists()
    assert run(capsys, "crawl", root, "-q")[0] == 0


def test_warnings_stop_after_a_screenful_unless_all_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    for number in range(30):
        (root / f"{number}.dcm").write_text("bad")
    _, _, err = run(capsys, "crawl", root)
    assert len(err.splitlines()) == 22
    assert err.splitlines()[20] == "dgate crawl: further warnings are not shown, -v shows all"
    assert len(run(capsys, "crawl", root, "-v")[2].splitlines()) == 31
    assert run(capsys, "crawl", root, "-q")[2] == ""


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["gone"], 2, r"Invalid value for '\[DIRECTORY\]': gone is no directory\."),
        (["--dicom-dir", "gone"], 2, "Invalid value for '--dicom-dir': gone is no directory."),
        (["--force"], 2, "Name one directory to crawl"),
        ([".", "--dicom-dir", "."], 2, "Name one directory to crawl"),
        ([".", "--from-archive"], 2, "--from-archive takes no directory"),
        ([".", "-wdata"], 2, "-w names the server of --from-archive"),
        ([".", "--n-jobs", "many"], 2, "'many' is not a valid integer"),
        ([".", "--n-jobs", "0"], 1, "0 processes cannot read: write 1 or more, or -1"),
        ([".", "--dataset-name", "a/b"], 1, "'a/b' cannot name a data set"),
        (["."], 1, r"No DICOM files found in .* with extension dcm"),
        (["--from-archive", "-wgone"], 1, "gone"),
        ([".", "--cluster", "127.0.0.1:1"], 1, "no Dask scheduler answers at 127.0.0.1:1"),
        (["show", "."], 1, r"\. has no index.csv: crawl it first, dgate crawl \."),
        (["query", ".", "CT"], 1, r"\. has no index.csv"),
        (["query", "."], 2, "Missing argument 'MODALITIES'"),
    ],
)
def test_a_mistake_gets_one_line_and_its_status(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    status: int,
    message: str,
) -> None:
    if "--cluster" in words:
        pytest.importorskip("distributed", reason="distributed is not installed: --cluster is not tested")
        monkeypatch.setattr("dgate.crawl.cluster._CONNECT_SECONDS", 0.5)
    monkeypatch.chdir(tmp_path)
    found, out, err = run(capsys, "crawl", *words)
    assert (found, out) == (status, "")
    assert re.search(message, err.splitlines()[-1]), err
    assert "Traceback" not in err


def test_help_is_reached_in_every_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "crawl", "--help")
    assert (status, out.splitlines()[0]) == (0, "Usage: dgate crawl [OPTIONS] [DIRECTORY]")
    status, both, err = run(capsys, "--help:crawl")
    assert (status, both[: len(out)], err) == (0, out, "")
    assert both[len(out) :].startswith("\n--crawl:dir,outdir\n\nIndex every series of a directory.\n")
    assert run(capsys, "crawl") == (2, "", out)
    assert run(capsys, "crawl", "show", "--help")[1].startswith("Usage: dgate crawl show [OPTIONS] PATH")
    assert "  crawl DIR                Index every series" in run(capsys, "--help")[1]


def test_the_tools_do_not_slow_the_client_down(tmp_path: Path) -> None:
    script = "import sys, dgate.__main__ as program; print('click' in sys.modules, 'pydicom' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False False\n"
    assert list(TOOLS) == sorted(TOOLS)


@pytest.fixture
def treated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    root = tree(
        tmp_path / "T",
        {
            "ct/1.dcm": ct(1),
            "rs/1.dcm": structure_set(201, by_series(1)),
            "rp/1.dcm": plan(301, 201),
            "rd/1.dcm": dose(401, ReferencedRTPlanSequence=refers(301)),
        },
    )
    assert run(capsys, "crawl", root, "-q")[0] == 0
    return root


def test_show_prints_the_trees_of_an_index(treated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "crawl", "show", treated)
    assert (status, err) == (0, "")
    assert [line.split("(")[0] for line in out.splitlines()] == [
        "Patients",
        "└── P01",
        "    └── CT ",
        "        └── RTSTRUCT ",
        "            └── RTPLAN ",
        "                └── RTDOSE ",
    ]


def test_show_draws_a_picture(treated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "graph.svg"
    assert run(capsys, "crawl", "show", treated, "--svg", picture) == (0, f"4 series drawn to {picture}\n", "")
    assert picture.read_text().startswith("<svg xmlns='http://www.w3.org/2000/svg' ")


def test_query_answers_with_directories(treated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "crawl", "query", treated, "CT,RTSTRUCT,RTDOSE", "--paths") == (0, "T/ct\tT/rs\tT/rd\n", "")
    status, out, _ = run(capsys, "crawl", "query", treated, "CT,RTDOSE")
    assert (status, out) == (0, f"P01\n  CT        T/ct  {uid(1)}\n  RTDOSE    T/rd  {uid(401)}\n")
    assert run(capsys, "crawl", "query", treated, "CT,SEG") == (0, "", "nothing was found\n")


def test_a_directory_called_show_is_crawled_with_a_dot_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "show", {"a.dcm": ct(1)})
    assert run(capsys, "crawl", "./show", "-q")[0] == 0
    assert (tmp_path / ".imgtools" / "show" / "index.csv").exists()


def test_progress_has_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    lines: list[str] = []
    tell = progress.in_lines(lines.append)
    tell(0, 100)
    tell(25, 100)
    (line,) = lines
    assert re.fullmatch(r"25 of 100 files read, \d+/s, \d+ s left", line)


def test_on_a_terminal_progress_is_a_bar(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    terminal, program = os.openpty()
    # Without a width rich takes a terminal without size for one of no columns.
    env = {**environment(), "COLUMNS": "100", "TERM": "xterm"}
    command = [sys.executable, "-m", "dgate", "crawl", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=program, env=env) as process:
        os.close(program)
        shown = b""
        while True:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # the program has closed its end
                break
        assert process.stdout is not None
        assert process.stdout.read().decode() == SUMMARY
    os.close(terminal)
    assert process.returncode == 0
    assert b"Reading" in shown
    assert b"34/34" in shown
