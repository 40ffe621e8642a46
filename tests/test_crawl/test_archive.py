"""The index of an archive out of its database is the one that crawling its directory gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from dgate.__main__ import main
from tests.servers import dgate, write_ini
from tests.test_crawl.crawling import contents, crawled
from tests.test_crawl.material import build

FILES = ("crawl_db.json", "crawl-cache.json", "sop_map.json", "index.csv")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A base directory with the tree of the tests on its device, entered in its database."""
    base = tmp_path / "base"
    write_ini(base)
    build(base / "MAG0")
    # No DICOM to a crawl, and what no archive takes in: the study of another patient, an object without patient ID.
    for name in ("P01/without-extension", "007/.hidden.dcm", "none/nobody.dcm"):
        (base / "MAG0" / name).unlink()
    ran = dgate(f"-w{base}", "-r", directory=base)
    assert ran.returncode == 0, ran.stderr
    return base


def test_the_database_gives_the_index_that_the_directory_gives(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crawl", "--from-archive", f"-w{archive}", "-q"]) == 0
    out = capsys.readouterr().out
    directory = archive / ".imgtools" / "archive"
    found = {name: (directory / name).read_bytes() for name in FILES}
    summary = crawled(archive / "MAG0")
    by_walking = contents(summary)
    assert found == {name: by_walking[name] for name in FILES}
    assert out.startswith(f"{summary.found} files found, ")


def test_only_the_first_file_of_each_series_is_read_and_none_the_second_time(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (archive / "MAG0" / "P01" / "CT_001").glob("[23].dcm"):
        path.unlink()
    assert main(["crawl", "--from-archive", f"-w{archive}", "-q"]) == 0
    first = capsys.readouterr().out
    assert main(["crawl", "--from-archive", f"-w{archive}", "-q"]) == 0
    second = capsys.readouterr().out
    read, again = (int(out.split(", ")[1].split()[0]) for out in (first, second))
    found = int(first.split()[0])
    series = int(first.split("; ")[1].split()[0])
    # The CT with acquisitions has four of them.
    assert (read, again) == (series + 4, 0)
    assert found > read
