"""A second crawl: what has changed is read, the rest is known; what was interrupted goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dgate.crawl import reading
from storage.executor import bulk_executor
from tests.servers import environment
from tests.test_crawl.crawling import contents, crawled, database, table, tree
from tests.test_crawl.material import build, ct, put, structure_set, uid


def same_as_new(root: Path, tmp_path: Path, **options: object) -> None:
    """Crawl on, and crawl anew elsewhere: the files must be the same."""
    on = contents(crawled(root, **options))
    anew = contents(crawled(root, output_dir=tmp_path / "anew", force=True, **options))
    assert on == anew


def test_a_second_crawl_opens_no_file_and_gives_the_same(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    first = contents(crawled(root))
    for path in root.rglob("*.[dD][cC][mM]"):
        # What cannot be DICOM, with the size and the time that the file had.
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    summary = crawled(root)
    assert (summary.found, summary.read) == (34, 0)
    assert contents(summary) == first


def test_new_changed_and_vanished_files_are_noticed(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {f"{number}.dcm": ct(1, number) for number in (3, 4, 5)})
    crawled(root)
    put(root / "new.dcm", ct(2))
    assert crawled(root).read == 1
    same_as_new(root, tmp_path)

    put(root / "4.dcm", ct(1, 4, PatientID="another patient"))
    assert crawled(root).read == 1
    same_as_new(root, tmp_path)

    # The first of the series: its fields must now be those of the second.
    (root / "3.dcm").unlink()
    summary = crawled(root)
    assert (summary.found, summary.read) == (3, 0)
    assert database(summary)[uid(1)]["1"]["PatientID"] == "another patient"
    same_as_new(root, tmp_path)

    # One that comes before the first.
    put(root / "1.dcm", ct(1, 1, KVP="80"))
    assert database(crawled(root))[uid(1)]["1"]["KVP"] == "80"
    same_as_new(root, tmp_path)


def test_a_file_that_becomes_good_or_bad_is_noticed(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    (root / "b.dcm").write_text("not yet there")
    assert crawled(root).skipped == 1
    assert (crawled(root).skipped, crawled(root).read) == (1, 0)
    put(root / "b.dcm", ct(2))
    (root / "a.dcm").write_bytes(b"")
    summary = crawled(root)
    assert [row["SeriesInstanceUID"] for row in table(summary)] == [uid(2)]
    assert [row["path"] for row in table(summary, "crawl-errors.csv")] == ["T/a.dcm"]
    same_as_new(root, tmp_path)


def test_warnings_are_repeated_without_reading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(tmp_path / "T", {"1.dcm": ct(1, 1), "2.dcm": ct(1, 2, Modality="MR"), "rs.dcm": structure_set(2, [])})
    (root / "bad.dcm").write_text("bad")
    crawled(root)
    first, _ = caplog.messages[:], caplog.clear()
    assert len(first) == 2
    assert crawled(root).read == 0
    assert caplog.messages == first


@pytest.mark.parametrize("damage", ["gone", "cut", "other version", "other extension", "nonsense"])
def test_without_a_good_state_everything_is_read(tmp_path: Path, damage: str) -> None:
    root = build(tmp_path / "T")
    first = crawled(root)
    state = first.directory / "crawl-state.json"
    text = state.read_text()
    lines = text.splitlines(keepends=True)
    if damage == "gone":
        state.unlink()
    else:
        state.write_text(
            {
                "cut": "".join(lines[:10]),
                "other version": text.replace('{"version": 1', '{"version": 0'),
                "other extension": text.replace('"extensions": ["dcm"]', '"extensions": ["img"]'),
                "nonsense": '{"version": 1,\n"extensions": ["dcm"],\n"entries": [\n[1]\n],\n"files": [\n[1]\n',
            }[damage]
        )
    summary = crawled(root)
    assert summary.read == 34
    assert contents(summary) == contents(crawled(root, output_dir=tmp_path / "new"))


def test_force_reads_everything_again(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    first = contents(crawled(root))
    summary = crawled(root, force=True)
    assert (summary.read, contents(summary)) == (34, first)


def test_the_state_is_one_json_document(tmp_path: Path) -> None:
    state = json.loads(contents(crawled(build(tmp_path / "T")))["crawl-state.json"])
    assert (state["version"], state["extensions"], state["count"]) == (1, ["dcm"], 34)
    assert len(state["files"]) == 34
    assert len(state["entries"]) == 34 - 2 - 1 - 1 - 1


_KILLED = """
import os, signal, sys
from pathlib import Path
from dgate.crawl import Crawler
def progress(done, total):
    if done >= 600:
        os.kill(os.getpid(), signal.SIGKILL)
Crawler(Path(sys.argv[1]), progress=progress).crawl()
"""


def test_a_killed_crawl_leaves_nothing_half_done_and_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "T"
    source = put(root / "1.dcm", ct(1)).read_bytes()
    sop = f"{uid(1)}.1".encode()
    for number in range(1000):
        (root / f"{number}.dcm").write_bytes(source.replace(sop, f"{number:0{len(sop)}}".encode()))
    ran = subprocess.run([sys.executable, "-c", _KILLED, root], env=environment(), timeout=60, check=False)
    assert ran.returncode == -signal.SIGKILL
    output = tmp_path / ".imgtools"
    assert [path.name for path in output.iterdir()] == [".T.crawling"]
    summary = crawled(root)
    assert (summary.found, summary.read) == (1000, 400)
    assert [path.name for path in output.iterdir()] == ["T"]
    assert contents(summary) == contents(crawled(root, output_dir=tmp_path / "new"))


def test_what_a_killed_crawl_left_behind_broken_is_no_obstacle(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    stage = tmp_path / ".imgtools" / ".T.crawling"
    stage.mkdir(parents=True)
    (stage / "crawl-work.sqlite").write_bytes(b"no database at all" * 100)
    (stage / "index.csv").write_text("half a line")
    summary = crawled(root)
    assert (summary.read, len(contents(summary))) == (34, 6)


def test_many_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PARALLEL_FROM", 1)
    monkeypatch.setattr(reading, "CHUNK", 5)
    root = build(tmp_path / "T")
    (root / "bad.dcm").write_text("bad")
    several = contents(crawled(root, n_jobs=2))
    with bulk_executor(2) as executor:
        given = contents(crawled(root, output_dir=tmp_path / "given", executor=executor))
    assert several == given == contents(crawled(root, output_dir=tmp_path / "one"))
    for wrong in (0, -2):
        with pytest.raises(ValueError, match=f"^{wrong} processes cannot read"):
            crawled(root, n_jobs=wrong)


def test_a_dask_cluster_finds_what_one_process_finds(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed: crawling on a cluster is not tested")
    root = build(tmp_path / "T")
    script = (
        "import sys\nfrom distributed import LocalCluster\nfrom dgate.crawl.cli import main\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        sys.exit(main([sys.argv[1], '--cluster', cluster.scheduler_address, '--output-dir', sys.argv[2]]))\n"
    )
    (tmp_path / "run.py").write_text(script)
    command = [sys.executable, tmp_path / "run.py", root, tmp_path / "cluster"]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stdout) == (
        0,
        "34 files found, 34 read, 0 skipped; 25 series; references: 8 resolved, 2 unresolved\n",
    ), ran.stderr
    found = {path.name: path.read_bytes() for path in (tmp_path / "cluster" / "T").iterdir()}
    assert found == contents(crawled(root))


def test_the_tree_is_never_written_to(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}
    crawled(root)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")} == before
