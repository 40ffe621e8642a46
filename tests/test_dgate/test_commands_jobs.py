"""`--crawl:` is a job of the server: its number, its state, its end, and that it survives a restart."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.commands import Site, ask, site, text_of
from tests.servers import dgate, program
from tests.test_crawl.crawling import crawled, tree
from tests.test_crawl.material import build, ct, put


def ended(here: Site, number: str) -> str:
    """The line of a job once it has ended."""
    for _ in range(2000):
        line = here.says(f"jobs:{number}")
        if line.split()[2] not in ("queued", "running"):
            return line
        time.sleep(0.01)
    raise AssertionError(line)


def test_a_crawl_is_a_job_whose_number_is_the_reply(tmp_path: Path) -> None:
    root = build(tmp_path / "T")
    with site(tmp_path / "base") as here:
        assert here.says("jobs:") == ""
        assert here.says(f"crawl:{root}") == "1"
        line = ended(here, "1")
        assert re.fullmatch(
            r"1      crawl    done      34/34            \d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
            r"34 files found, 34 read, 0 skipped; 25 series; references: 8 resolved, 2 unresolved; "
            rf"in {tmp_path}/\.imgtools/T\n",
            line,
        )
        assert here.says(f"crawl:{root},{tmp_path}/out") == "2"
        assert ended(here, "2").split()[1:4] == ["crawl", "done", "34/34"]
        assert here.says("jobs:").splitlines()[1] == line.rstrip("\n")
    found = {path.name: path.read_bytes() for path in (tmp_path / "out" / "T").iterdir()}
    directory = crawled(root, output_dir=tmp_path / "cli").directory
    assert found == {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_cannot_be_crawled_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    with site(tmp_path / "base") as here:
        assert here.says(f"crawl:{tmp_path}/gone") == ""
        assert here.says(f"crawl:{tmp_path}/empty") == "1"
        assert f"No DICOM files found in {tmp_path}/empty with extension dcm" in ended(here, "1")
        assert here.says(f"crawl:{root},{root}/a.dcm") == "2"
        assert ended(here, "2").split()[2] == "failed"
        assert here.says("jobs:3") == ""
        assert here.says("canceljob:3") == "*** canceljob: there is no job 3"
        assert here.says("canceljob:2") == "*** canceljob: job 2 is failed already"
        assert f"{tmp_path}/gone is no directory" in here.log()


def test_a_job_survives_the_end_of_the_server_and_is_done_after_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "T"
    source = put(root / "0.dcm", ct(1)).read_bytes()
    for number in range(1, 3000):
        (root / f"{number}.dcm").write_bytes(source)
    base = tmp_path / "base"
    with program(base, Workers=1) as server:
        ran = dgate(f"-p{server.port}", f"--crawl:{root}", directory=base)
        assert ran.stdout == b"1"
        server.process.kill()
        server.process.wait()
    with program(base, Workers=1) as server:
        for _ in range(1000):
            line = text_of(ask(server.port, "jobs:1"))
            if " done " in line:
                break
            time.sleep(0.02)
        assert "3000 files found" in line
        assert server.stop() == 0
    assert [path.name for path in (tmp_path / ".imgtools").iterdir()] == ["T"]
