"""Which files of a tree are crawled, and what becomes of those that are no good."""

from __future__ import annotations

import logging
import os
import struct
import time
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import config
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from dgate.crawl import Crawler, extract
from dgate.crawl.errors import CrawlBusyError, CrawlerOutputDirError
from dgate.crawl.extract import read_files
from storage.part10 import ObjectFile, read_object
from tests.objects import data_set_bytes, encoded
from tests.test_crawl.crawling import contents, crawled, database, table, tree
from tests.test_crawl.material import FRAME, build, by_series, ct, instance, mr, parts, put, structure_set, uid


@pytest.fixture(autouse=True)
def anything_may_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pydicom write values that the standard does not allow."""
    for mode in ("reading_validation_mode", "writing_validation_mode"):
        monkeypatch.setattr(config.settings, mode, config.IGNORE)


def errors(summary: object) -> list[tuple[str, str]]:
    return [(row["path"], row["reason"]) for row in table(summary, "crawl-errors.csv")]  # type: ignore[arg-type]


def test_a_file_of_each_modality_gives_a_row_each(tmp_path: Path) -> None:
    modalities = ("CT", "RTPLAN", "RTDOSE", "RTSTRUCT", "SEG", "SR", "US", "ECG")
    root = tree(tmp_path / "T", {f"{one}.dcm": instance(one, number) for number, one in enumerate(modalities)})
    put(root / "upper.DCM", mr(90))
    put(root / "IM0001", instance("CT", 91))
    put(root / "packed.dcm.gz", instance("CT", 92))
    put(root / "DICOMDIR", instance("CT", 93))
    put(root / ".hidden" / ".a.dcm", instance("US", 94))
    put(root / ".dcm", instance("US", 95))
    summary = crawled(root)
    assert sorted(row["Modality"] for row in table(summary)) == sorted([*modalities, "MR", "US"])
    assert str(summary) == "10 files found, 10 read, 0 skipped; 10 series; references: 0 resolved, 0 unresolved"


def test_an_empty_extension_takes_every_file_that_holds_dicom(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"IM0001": ct(1), "a.img": ct(2), "b.dcm": ct(3)})
    (root / "README").write_text("no DICOM")
    put(root / "DICOMDIR", ct(4))
    summary = crawled(root, extensions=("",))
    assert [row["folder"] for row in table(summary)] == ["T"] * 3
    assert (summary.skipped, errors(summary)) == (0, [])
    assert len(table(crawled(root, extensions=("IMG", ".dcm"), output_dir=tmp_path / "two"))) == 2


@pytest.mark.parametrize(
    ("number", "sub"), [(None, "1"), ("", "1"), ("0", "0"), ("1", "1"), ("2", "2"), (" 3 ", "3"), ("-5", "-5")]
)
def test_the_acquisition_number_makes_the_sub_series(tmp_path: Path, number: str | None, sub: str) -> None:
    summary = crawled(tree(tmp_path / "T", {"a.dcm": ct(1, AcquisitionNumber=number)}))
    assert list(database(summary)[uid(1)]) == [sub]
    assert [row["SubSeries"] for row in table(summary)] == [sub]


def test_odd_values_survive_in_csv_and_json(tmp_path: Path) -> None:
    odd = {"7.dcm": "007", "comma.dcm": 'Smith, "Jo"', "umlaut.dcm": "Müller 東京", "line.dcm": "two  words"}
    root = tmp_path / 'Bilder, die "alten" é'
    for number, (name, patient) in enumerate(odd.items()):
        put(
            root / name, ct(number, PatientID=patient, SpecificCharacterSet="ISO_IR 192", StudyInstanceUID="not a UID!")
        )
    summary = crawled(root)
    assert sorted(row["PatientID"] for row in table(summary)) == sorted(odd.values())
    assert {row["folder"] for row in table(summary)} == {root.name}
    entries = [subs["1"] for subs in database(summary).values()]
    assert sorted(entry["PatientID"] for entry in entries) == sorted(odd.values())
    assert {entry["StudyInstanceUID"] for entry in entries} == {"not a UID!"}


def test_file_names_that_are_no_text_keep_their_bytes(tmp_path: Path) -> None:
    root = tmp_path / "T"
    directory = os.fsdecode(b"caf\xe9")
    put(root / directory / os.fsdecode(b"\xff\xfe.dcm"), ct(1))
    summary = crawled(root)
    assert table(summary)[0]["folder"] == f"T/{directory}"
    assert database(summary)[uid(1)]["1"]["instances"] == {f"{uid(1)}.1": os.fsdecode(b"\xff\xfe.dcm")}
    assert contents(summary)["index.csv"].endswith(b"1,T/caf\xe9\n")
    assert crawled(root).read == 0


def test_bad_files_are_skipped_and_named_and_all_others_indexed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(tmp_path / "T", {"good/1.dcm": ct(1), "good/rs.dcm": structure_set(201, by_series(1))})
    (root / "text.dcm").write_text("These are not the bytes of an image, whatever the name says.")
    (root / "empty.dcm").write_bytes(b"")
    (root / "cut.dcm").write_bytes(encoded(ct(5))[:420])
    put(root / "nothing.dcm", ct(6, Modality=None))
    put(root / "blank.dcm", ct(6, Modality=""))
    put(root / "stray.dcm", ct(7, SeriesInstanceUID=""))
    sop = f"{uid(8)}.1".encode()
    (root / "nameless.dcm").write_bytes(encoded(ct(8)).replace(sop, b" " * len(sop)))
    summary = crawled(root)
    assert [row["SeriesInstanceUID"] for row in table(summary)] == [uid(1), uid(201)]
    assert errors(summary) == [
        ("T/blank.dcm", "it has no Modality"),
        ("T/cut.dcm", "it has no Modality"),
        ("T/empty.dcm", "it is too short for a DICOM file"),
        ("T/nameless.dcm", "it has no SOP Instance UID"),
        ("T/nothing.dcm", "it has no Modality"),
        ("T/stray.dcm", "it has no Series Instance UID"),
        ("T/text.dcm", "it is no DICOM file"),
    ]
    assert summary.skipped == 7
    assert caplog.messages == [f"{path} is skipped: {reason}" for path, reason in errors(summary)]


def test_what_stands_in_front_of_a_cut_counts(tmp_path: Path) -> None:
    whole = encoded(ct(1))
    root = tmp_path / "T"
    root.mkdir()
    # In the middle of the frame of reference, which stands behind all that places an image.
    (root / "a.dcm").write_bytes(whole[: whole.index(FRAME.encode()) + 5])
    summary = crawled(root)
    entry = database(summary)[uid(1)]["1"]
    assert (summary.skipped, entry["PatientID"], entry["KVP"]) == (0, "P01", "120")
    assert (entry["FrameOfReferenceUID"], entry["PixelSpacing"]) == ("", "")


def test_data_sets_without_file_meta_are_read_when_they_are_plausible(tmp_path: Path) -> None:
    root = tmp_path / "T"
    for name, syntax in (("little", ExplicitVRLittleEndian), ("big", ExplicitVRBigEndian)):
        path = put(root / f"{name}.dcm", ct(2 if name == "big" else 1, KVP="80"), syntax)
        path.write_bytes(data_set_bytes(path))
    odd = put(root / "odd.dcm", ct(5, SeriesInstanceUID="who knows"))
    odd.write_bytes(data_set_bytes(odd))
    put(root / "deflated.dcm", ct(3), DeflatedExplicitVRLittleEndian)
    put(root / "meta-big.dcm", ct(4), ExplicitVRBigEndian)
    summary = crawled(root)
    assert [row["SeriesInstanceUID"] for row in table(summary)] == [uid(2), uid(3), uid(1), uid(4)]
    assert [database(summary)[uid(number)]["1"]["KVP"] for number in (1, 2)] == ["80", "80"]
    assert errors(summary) == [
        ("T/odd.dcm", "it has no file meta information, and what it begins with is no DICOM object")
    ]


def test_hostile_files_cost_a_line_each(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"good.dcm": ct(1)})
    head = encoded(ct(2))
    open_ended = struct.pack("<HH2sHLHHL", 0x0008, 0x0012, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF)
    (root / "nested.dcm").write_bytes(head[: 144 + struct.unpack_from("<L", head, 140)[0]] + open_ended * 10_000)
    large = ct(3)
    large.add_new(0x00091010, "OB", bytes(40_000_000))
    bomb = put(root / "bomb.dcm", large, DeflatedExplicitVRLittleEndian)
    assert bomb.stat().st_size < 100_000
    (root / "long.dcm").write_bytes(head[:200] + b"\xff" * 4000)
    summary = crawled(root)
    assert [row["SeriesInstanceUID"] for row in table(summary)] == [uid(1)]
    assert [path for path, _ in errors(summary)] == ["T/bomb.dcm", "T/long.dcm", "T/nested.dcm"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_no_bytes_whatever_raise_anything(tmp_path: Path, data: st.DataObject) -> None:
    _, made, syntax = data.draw(st.sampled_from(parts()))
    changed = bytearray(encoded(made, syntax))
    for _ in range(data.draw(st.integers(1, 20))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "any.dcm"
    path.write_bytes(changed[: data.draw(st.integers(0, len(changed)))])
    (read,) = read_files({b"T": os.fsencode(tmp_path)}, [b"T/any.dcm"], False, True)
    assert (read.place is None) == bool(read.reason)


def test_links_are_followed_without_end_error_or_double_count(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"b/1.dcm": ct(1, 1), "b/2.dcm": ct(1, 2)})
    outside = tree(tmp_path / "outside", {"3.dcm": ct(2, 1)})
    (root / "a").symlink_to(root / "b")
    (root / "b" / "up").symlink_to(root)
    (root / "self.dcm").symlink_to(root / "self.dcm")
    (root / "dangling.dcm").symlink_to(root / "gone.dcm")
    (root / "elsewhere").symlink_to(outside)
    (root / "z.dcm").symlink_to(root / "b" / "1.dcm")
    summary = crawled(root)
    assert [(row["folder"], row["instances"]) for row in table(summary)] == [("T/b", "2"), ("T/elsewhere", "1")]
    assert errors(summary) == []


def test_a_series_in_several_directories_with_doubles_and_strangers_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"a/1.dcm": ct(1, 1), "b/2.dcm": ct(1, 2, PatientID="DOE-7"), "b/again.dcm": ct(1, 1)}
    summary = crawled(tree(tmp_path / "T", files))
    entry = database(summary)[uid(1)]["1"]
    assert (entry["folder"], entry["folders"], entry["PatientID"]) == ("T/a", ["T/a", "T/b"], "P01")
    assert entry["instances"] == {f"{uid(1)}.1": "again.dcm", f"{uid(1)}.2": "2.dcm"}
    assert table(summary)[0]["instances"] == "2"
    assert caplog.messages == [
        f"series {uid(1)} (T/a/1.dcm): its files lie in 2 directories, of which T/a counts",
        f"series {uid(1)} (T/a/1.dcm): its files differ in modality or patient, the first counts",
        f"series {uid(1)}: 1 files have the SOP instance UID of an earlier file, such as T/b/again.dcm",
    ]


def test_thousands_of_copies_of_one_file_cost_no_more_than_other_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = put(tmp_path / "T" / "0000.dcm", ct(1)).read_bytes()
    for number in range(1, 3000):
        (tmp_path / "T" / f"{number:04}.dcm").write_bytes(source)
    start = time.process_time()
    summary = crawled(tmp_path / "T")
    assert time.process_time() - start < 3
    assert database(summary)[uid(1)]["1"]["instances"] == {f"{uid(1)}.1": "2999.dcm"}
    assert caplog.messages == [
        f"series {uid(1)}: 2999 files have the SOP instance UID of an earlier file, such as T/0001.dcm"
    ]


def test_an_instance_in_two_series_belongs_to_the_later_file(tmp_path: Path) -> None:
    both = {"a.dcm": ct(1, SOPInstanceUID="1.5"), "b.dcm": ct(2, SOPInstanceUID="1.5"), "c.dcm": ct(2, 2)}
    summary = crawled(tree(tmp_path / "T", both))
    assert contents(summary)["sop_map.json"].decode() == (
        f'{{\n    "1.5": "{uid(2)}",\n    "{uid(2)}.2": "{uid(2)}"\n}}'
    )
    assert [row["instances"] for row in table(summary)] == ["1", "2"]


def test_rows_that_differ_only_in_their_sub_series_are_one_unless_all_are_asked_for(tmp_path: Path) -> None:
    numbers = ("45", "45", "44", "4")
    root = tree(tmp_path / "T", {f"{n}.dcm": ct(1, n, AcquisitionNumber=one) for n, one in enumerate(numbers)})
    assert [(row["SubSeries"], row["instances"]) for row in table(crawled(root))] == [("45", "2"), ("44", "1")]
    everything = crawled(root, all_subseries=True)
    assert [row["SubSeries"] for row in table(everything)] == ["45", "44", "4"]
    assert list(database(everything)[uid(1)]) == ["45", "44", "4"]


def test_equal_trees_give_equal_files_whatever_order_they_were_made_in(tmp_path: Path) -> None:
    one = crawled(build(tmp_path / "one" / "T"))
    other = crawled(build(tmp_path / "other" / "T", reverse=True))
    found, again = contents(one), contents(other)
    assert sorted(found) == [
        "crawl-cache.json", "crawl-errors.csv", "crawl-state.json", "crawl_db.json", "index.csv", "sop_map.json",
    ]  # fmt: skip
    del found["crawl-state.json"], again["crawl-state.json"]
    assert found == again


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything: unreadable files are not tested")
def test_what_may_not_be_read_is_skipped_and_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1), "closed/b.dcm": ct(2), "c.dcm": ct(3)})
    (root / "c.dcm").chmod(0)
    (root / "closed").chmod(0)
    try:
        summary = crawled(root)
    finally:
        (root / "closed").chmod(0o700)
    assert [row["SeriesInstanceUID"] for row in table(summary)] == [uid(1)]
    assert errors(summary) == [
        (str(root / "closed"), "Permission denied"),
        ("T/c.dcm", "it cannot be read: Permission denied"),
    ]


@pytest.mark.parametrize(("changes", "reason"), [(1, ""), (2, ""), (3, "it changes while it is read")])
def test_a_file_that_changes_while_it_is_read_is_read_again_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: int, reason: str
) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1), "b.dcm": ct(2)})
    left = iter(range(changes))

    def read_while_somebody_writes(source: BinaryIO, path: Path) -> ObjectFile:
        if source.name == os.fsencode(root / "a.dcm") and next(left, None) is not None:
            with (root / "a.dcm").open("ab") as target:
                target.write(b"more")
        return read_object(source, path)

    monkeypatch.setattr(extract, "read_object", read_while_somebody_writes)
    summary = crawled(root)
    assert errors(summary) == ([("T/a.dcm", reason)] if reason else [])
    assert [row["SeriesInstanceUID"] for row in table(summary)] == [uid(2)] if reason else [uid(1), uid(2)]
    again = crawled(root)
    assert again.read == bool(reason)
    assert [row["SeriesInstanceUID"] for row in table(again)] == [uid(1), uid(2)]


def test_no_value_of_a_patient_gets_into_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    root = build(tmp_path / "T")
    put(root / "mixed" / "1.dcm", ct(50, PatientID="SECRET-1", PatientName="SECRET^NAME"))
    put(root / "mixed" / "2.dcm", ct(50, 2, PatientID="SECRET-2", PatientName="SECRET^NAME"))
    put(root / "mixed" / "bad.dcm", ct(51, PatientID="SECRET-3", Modality=None))
    crawled(root)
    assert len(caplog.messages) == 5
    assert "SECRET" not in caplog.text
    assert "DOE" not in caplog.text


def test_a_directory_without_such_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "T").mkdir()
    with pytest.raises(FileNotFoundError, match=f"^No DICOM files found in {tmp_path}/T with extension dcm$"):
        crawled(tmp_path / "T")
    assert list((tmp_path / ".imgtools").iterdir()) == []
    with pytest.raises(FileNotFoundError, match=r"gone is no directory$"):
        crawled(tmp_path / "gone")


def test_an_output_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    with pytest.raises(CrawlerOutputDirError, match=r"a\.dcm is not a directory; it is -rw-r--r--, owner \d+$"):
        crawled(root, output_dir=root / "a.dcm")
    for name in ("a/b", "..", ""):
        with pytest.raises(ValueError, match="cannot name a data set"):
            crawled(root, dataset_name=name)


def test_the_default_place_is_beside_the_directory_even_when_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    monkeypatch.chdir(root)
    assert crawled(Path()).directory == tmp_path / ".imgtools" / "T"
    assert crawled(Path(), output_dir=Path("out"), dataset_name="one").directory == root / "out" / "one"


def test_two_crawls_do_not_write_to_the_same_place(tmp_path: Path) -> None:
    root = tree(tmp_path / "T", {"a.dcm": ct(1)})
    inner: list[str] = []

    def progress(done: int, total: int) -> None:
        if not inner:
            with pytest.raises(CrawlBusyError) as raised:
                crawled(root)
            inner.append(str(raised.value))

    Crawler(root, progress=progress).crawl()
    assert inner == [f"another crawl is writing to {tmp_path}/.imgtools/.T.crawling"]
