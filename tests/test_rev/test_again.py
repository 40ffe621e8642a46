"""Runs over what earlier runs have made: only what changed is done, and nothing is left of what is gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dgate.rev import pictures
from dgate.rev.draw import Drawn, Piece
from dgate.rev.files import PART
from dgate.rev.messages import Messages
from dgate.rev.options import Drawing, Options
from dgate.rev.pictures import Artist
from dgate.rev.run import Run
from dgate.rev.slices import read_slice
from storage.pool import CodecPool
from storage.render.view import Window
from tests.benchmarks.measure import memory_mb
from tests.servers import environment
from tests.test_rev.library import PLACE, described, flat, image, names, put, read, rev, series


def state(root: Path) -> dict[str, tuple[int, int]]:
    """Every file with its inode and the time of its last change: a file that is written anew has another."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def changed(before: dict[str, tuple[int, int]], root: Path) -> list[str]:
    after = state(root)
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


@pytest.mark.parametrize("where", ["%inputDir", "out"])
def test_a_second_run_writes_nothing(tmp_path: Path, where: str) -> None:
    put(tmp_path / "in", "A", series(2))
    put(tmp_path / "in", "B", series(1))
    output = where if where == "%inputDir" else tmp_path / where
    assert rev(tmp_path / "in", output=output) == 0
    before = state(tmp_path)
    assert rev(tmp_path / "in", output=output) == 0
    assert changed(before, tmp_path) == []


def test_a_second_run_after_anonymising_in_place_writes_nothing(tmp_path: Path) -> None:
    put(tmp_path, "A", series(2, PatientID="4MR1"))
    for _ in range(2):
        assert rev(tmp_path, "-T", '{"PatientID": "%_md5_PatientID"}') == 0
        before = state(tmp_path)
    assert rev(tmp_path, "-T", '{"PatientID": "%_md5_PatientID"}') == 0
    assert changed(before, tmp_path) == []


def test_only_the_series_that_changed_is_done_again(tmp_path: Path) -> None:
    put(tmp_path, "A", series(2))
    directory = put(tmp_path, "B", series(2))
    assert rev(tmp_path) == 0
    before = state(tmp_path)
    (directory / "0001.dcm").rename(directory / "0002.dcm")
    assert rev(tmp_path) == 0
    found = changed(before, tmp_path)
    assert [path for path in found if "/A" in path] == []
    assert names(directory / "dcm2jpgRaw") == ["0000.0.jpg", "0002.0.jpg", "middle-B.jpg"]
    assert f"{PLACE}/B-series.json" in found
    assert described(tmp_path, "B")["details"]["series"]["data"][-1] == f"{PLACE}/B/0002.dcm"


def test_pictures_that_were_deleted_are_made_again(tmp_path: Path) -> None:
    directory = put(tmp_path, "A", series(3))
    assert rev(tmp_path) == 0
    before = (directory / "dcm2jpgResize/0001.0.jpg").read_bytes()
    (directory / "dcm2jpgResize/0001.0.jpg").unlink()
    (directory / f"{PART}99").write_bytes(b"left behind")
    assert rev(tmp_path) == 0
    assert (directory / "dcm2jpgResize/0001.0.jpg").read_bytes() == before
    assert not (directory / f"{PART}99").exists()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1}', '{"version": 1, "files": 3}'])
def test_a_state_that_is_damaged_is_no_state(tmp_path: Path, damage: str) -> None:
    directory = put(tmp_path, "A", series(1))
    assert rev(tmp_path) == 0
    (directory / ".rev-state.json").write_text(damage)
    assert rev(tmp_path) == 0
    assert read(directory / ".rev-state.json")["data"] == ["0000.dcm"]


def test_what_was_wrong_with_a_series_is_told_again_until_it_is_mended(tmp_path: Path) -> None:
    directory = put(tmp_path, "A", series(2))
    whole = (directory / "0001.dcm").read_bytes()
    (directory / "0001.dcm").write_bytes(whole[:-40])
    assert rev(tmp_path) == 1
    assert rev(tmp_path) == 1
    (directory / "0001.dcm").write_bytes(whole)
    assert rev(tmp_path) == 0
    assert described(tmp_path, "A")["details"]["series"]["status"] == "ok"


def test_nothing_leads_to_series_and_studies_that_are_gone(tmp_path: Path) -> None:
    one = put(tmp_path / "in", "A", series(1))
    put(tmp_path / "in", "B", series(1))
    other = put(tmp_path / "in", "A", series(1), place="03-yr/00-mo/00-ex")
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    for directory in (one, other):
        (directory / "0000.dcm").unlink()
        directory.rmdir()
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    assert names(tmp_path / "out" / PLACE) == ["A", "B", "B-series.json", "description.json", "index.html"]
    assert read(tmp_path / "out/map.json") == {"data": [f"./{PLACE}"]}
    assert names(tmp_path / "out/03-yr/00-mo") == ["00-ex"]
    assert names(tmp_path / "out/03-yr/00-mo/00-ex") == ["A"]


def test_a_file_that_left_the_series_leaves_the_output_too(tmp_path: Path) -> None:
    directory = put(tmp_path / "in", "A", series(3))
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    (directory / "0002.dcm").unlink()
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    assert [name for name in names(tmp_path / "out" / PLACE / "A") if name.endswith(".dcm")] == ["0000.dcm", "0001.dcm"]


def test_stages_may_be_run_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "A", series(1))
    for stage, needed in (("2", "-series.json"), ("3", "ex.json"), ("4", "description.json")):
        assert rev(tmp_path, "--stage", stage) == 3
        assert needed in capsys.readouterr().err
    assert not (tmp_path / "map.json").exists()
    for stage in ("1", "3", "2", "4"):
        assert rev(tmp_path, "--stage", stage) == 0
    before = state(tmp_path)
    assert rev(tmp_path, "--stage", "4,2") == 0
    assert changed(before, tmp_path) == []


def test_an_executor_of_the_caller_does_the_series(tmp_path: Path) -> None:
    for name in "ABC":
        put(tmp_path, name, series(2))
    with ThreadPoolExecutor(2) as executor:
        report = Run(Options(tmp_path, tmp_path), Messages(io.StringIO(), 0), executor=executor).run()
    assert (report.status, report.stages[0].parallel, report.stages[0].read) == (True, True, 6)


def test_processes_of_our_own_do_the_same_as_none(tmp_path: Path) -> None:
    for root in (tmp_path / "one", tmp_path / "two"):
        for name in "AB":
            uid = f"1.2.{ord(name)}"
            same = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.1", "StudyInstanceUID": "1.2"}
            put(root, name, [flat(0, PatientID="P", AccessionNumber="A", **same)])
    assert rev(tmp_path / "one") == 0
    assert rev(tmp_path / "two", "--threads", "5") == 0
    for path in sorted((tmp_path / "one").rglob("*.*")):
        if path.is_file() and path.name != ".rev-state.json":
            assert (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes() == path.read_bytes(), path.name


def crash(pieces: list[Piece], window: Window | None, large: tuple[int, int]) -> list[Drawn]:
    """In place of the task: what a stream that crashes its codec does, over the frames 5 and 11."""
    found = []
    for piece in pieces:
        for number in range(piece.first, piece.stop):
            if number in (5, 11):
                os._exit(7)
            found += drawn([Piece(piece.path, number, number + 1)], window, large)
    return found


drawn = pictures.draw


def test_frames_that_crash_their_codec_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = image(np.zeros((16, 8, 8), "<i2"), WindowCenter=0, WindowWidth=100)
    directory = put(tmp_path, "S", [frames])
    told: list[tuple[str, str, str]] = []
    monkeypatch.setattr(pictures, "draw", crash)
    with CodecPool(1) as pool:
        artist = Artist(directory, Drawing(), pool, lambda *what: told.append(what))
        made = artist.make([read_slice(directory / "0000.dcm")])
    assert (len(made.names), made.failed, made.status) == (14, 2, "partial")
    assert [(name, kind, text.partition(":")[0]) for name, kind, text in told] == [
        ("0000.dcm", "decode", "frame 5"),
        ("0000.dcm", "decode", "frame 11"),
    ]
    kept = [number for number in range(16) if number not in (5, 11)]
    assert names(directory / "dcm2jpgResize") == [f"0000.{number:02d}.jpg" for number in kept]


def test_a_thousand_slices_fit_into_half_a_gigabyte(tmp_path: Path) -> None:
    values = np.arange(512 * 512, dtype="<i2").reshape(512, 512) % 1000
    directory = put(
        tmp_path / "in", "S", [image(values, SeriesInstanceUID="1.2.3", WindowCenter=500, WindowWidth=1000)]
    )
    for number in range(1, 1000):
        (directory / f"{number:04d}.dcm").hardlink_to(directory / "0000.dcm")
    command = [sys.executable, "-m", "dgate", "rev", "-I", str(tmp_path / "in"), "-O", str(tmp_path / "out"), "-v", "0"]
    with subprocess.Popen(command, env=environment()) as process:
        peak = 0.0
        while process.poll() is None:
            # One of its processes may end while they are counted.
            with suppress(OSError):
                peak = max(peak, memory_mb(process.pid))
            time.sleep(0.2)
    assert process.returncode == 0
    assert 50 < peak < 500
    assert described(tmp_path / "out", "S")["details"]["series"]["frames"] == "1000"
