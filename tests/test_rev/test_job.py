"""Studies of the archive in a library: as a command, and as they arrive."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dgate.rev.errors import RevError
from dgate.rev.keeping import Arrivals
from dgate.rev.layout import Example
from dgate.rev.placing import StoredFile, place_study
from tests.commands import Site, site
from tests.objects import encoded, write
from tests.test_rev.library import PLACE, described, names, read, series

BORN = {"PatientBirthDate": "20170115", "StudyDate": "20200102"}


def study(uid: str, patient: str = "P", **keywords: str) -> list[Dataset]:
    """A study of two series, of three images and one."""
    common = {"StudyInstanceUID": uid, "PatientID": patient, "AccessionNumber": "A", **BORN, **keywords}
    return [*series(3, SeriesNumber=1, **common), *series(1, SeriesNumber=2, SeriesDescription="T2/../x", **common)]


def ended(here: Site, number: str) -> str:
    """The line of a job once it has ended."""
    for _ in range(6000):
        line = here.says(f"jobs:{number}")
        if line and line.split()[2] not in ("queued", "running"):
            return line
        time.sleep(0.01)
    raise AssertionError(line)


def test_studies_of_the_archive_become_examples_by_age(tmp_path: Path) -> None:
    library = tmp_path / "library"
    with site(tmp_path / "base") as here:
        here.keep(*study("1.2.1"), *study("1.2.2"), *study("1.2.3", "Q", PatientBirthDate="20190701"))
        assert here.says(f"rev:{library},P") == "1"
        line = ended(here, "1")
        assert line.split()[1:3] == ["rev", "done"]
        assert line.endswith(f"2 of 2 studies in the library: {PLACE}, 02-yr/11-mo/01-ex\n")
        assert names(library / PLACE) == [
            ".rev-study.json", "1-axial", "1-axial-series.json", "2-T2____x", "2-T2____x-series.json",
            "description.json", "index.html",
        ]  # fmt: skip
        assert here.says(f"rev:{library},,1.2.3") == "2"
        assert ended(here, "2").endswith("1 of 1 studies in the library: 00-yr/06-mo/00-ex\n")
        paths = [f"./{path}" for path in ("00-yr/06-mo/00-ex", PLACE, "02-yr/11-mo/01-ex")]
        assert read(library / "map.json") == {"data": paths}
        assert [one["path"] for one in read(library / "rev-index.json")["examples"]] == [path[2:] for path in paths]
        assert described(library, "1-axial")["details"]["series"]["files"] == "3"
        # The archive is not touched by anything that happens to the copies.
        stored = {path.stat().st_ino for path in (tmp_path / "base/MAG0").rglob("*") if path.is_file()}
        assert [path for path in library.rglob("*.dcm") if path.stat().st_ino in stored] == []
        for line, said in (("rev:lib,nobody", "there is no such study"), ("rev:lib,,", "name a patient ID")):
            assert here.says(line) == ""
            assert said in here.log()


def test_a_library_is_kept_current_as_objects_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgate.rev.keeping._YOUNGER_S", 0)
    monkeypatch.setattr("dgate.rev.keeping._INTERVAL_S", 0.1)
    library = tmp_path / "base/library"
    first = study("1.2.1")[0]
    with site(tmp_path / "base", RevLibrary="library", RevDelay=0) as here:
        for _ in range(500):
            if (library / ".rev-archive.json").exists():
                break
            time.sleep(0.01)
        here.keep(first)
        assert ended(here, "1").endswith(f"1 of 1 studies in the library: {PLACE}\n")
        assert described(library, "1-axial")["details"]["series"]["files"] == "1"
    assert read(library / "map.json") == {"data": [f"./{PLACE}"]}


def test_a_study_is_asked_for_when_it_is_quiet_and_again_when_more_comes() -> None:
    arrivals = Arrivals(1000)
    assert arrivals.ready([], 2000, 60) == []
    assert arrivals.ready([("a", 1984)], 2000, 60) == []
    assert arrivals.ready([("a", 1984), ("b", 2016)], 2077, 60) == ["a"]
    assert (arrivals.through, arrivals.ready([("a", 1984), ("b", 2016)], 2077, 60)) == (2016, [])
    assert arrivals.ready([("b", 2016)], 2200, 60) == ["b"]
    assert arrivals.ready([("b", 2016)], 2300, 60) == []
    assert arrivals.ready([("b", 2304), ("a", 2304)], 2400, 60) == ["a", "b"]
    assert arrivals.through == 2304


def files(directory: Path, objects: list[Dataset]) -> list[StoredFile]:
    return [StoredFile(write(directory, made), made.SeriesInstanceUID, made.SOPInstanceUID) for made in objects]


def progress(done: int, total: int) -> None:
    assert 0 <= done <= total


def test_a_study_keeps_its_place_and_gets_what_is_new(tmp_path: Path) -> None:
    objects = study("1.2.1")
    stored = files(tmp_path / "archive", objects)
    example = Example("02-yr", "11-mo", "00-ex")
    assert place_study(tmp_path / "library", "1.2.1", stored[:2], progress) == [example]
    directory = tmp_path / "library" / PLACE
    before = {path: path.stat().st_ino for path in directory.rglob("*.dcm")}
    assert place_study(tmp_path / "library", "1.2.1", stored, progress) == [example]
    after = {path: path.stat().st_ino for path in directory.rglob("*.dcm")}
    assert (len(before), len(after), before.items() <= after.items()) == (2, 4, True)
    assert place_study(tmp_path / "library", "1.2.1", stored[3:], progress) == [example]
    assert names(directory) == [".rev-study.json", "2-T2____x"]


def test_a_study_whose_age_was_wrong_moves(tmp_path: Path) -> None:
    library = tmp_path / "library"
    stored = files(tmp_path / "one", study("1.2.1"))
    place_study(library, "1.2.1", stored, progress)
    mended = files(tmp_path / "two", study("1.2.1", PatientBirthDate="20190701"))
    new, old = Example("00-yr", "06-mo", "00-ex"), Example("02-yr", "11-mo", "00-ex")
    assert place_study(library, "1.2.1", mended, progress) == [new, old]
    assert (names(library / "02-yr/11-mo"), len(names(library / new.path))) == ([], 3)


def test_a_study_without_dates_has_no_place(tmp_path: Path) -> None:
    for keyword, what in (("PatientBirthDate", "no birth date"), ("StudyDate", "no date")):
        stored = files(tmp_path / "archive", study("1.2.1", **{keyword: ""}))
        with pytest.raises(RevError, match=rf"study 1\.2\.1 has {what}"):
            place_study(tmp_path / "library", "1.2.1", stored, progress)
    assert not (tmp_path / "library").exists()


def test_a_bare_data_set_gets_its_file_meta_information(tmp_path: Path) -> None:
    (made,) = study("1.2.1")[3:]
    raw = encoded(made)
    path = tmp_path / "a.v2"
    path.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
    place_study(
        tmp_path / "library", "1.2.1", [StoredFile(path, made.SeriesInstanceUID, made.SOPInstanceUID)], progress
    )
    (copy,) = (tmp_path / "library").rglob("*.dcm")
    assert (copy.read_bytes()[128:132], copy.name) == (b"DICM", f"0000-{made.SOPInstanceUID}.dcm")
