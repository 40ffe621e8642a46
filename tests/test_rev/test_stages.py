"""The tree that the stages make: names, JSON, links, other output trees, what is out of place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from tests.objects import ds, encoded, pydicom_files
from tests.test_rev.library import PLACE, described, flat, names, put, read, rev, series

ENTRY_KEYS = {
    "SeriesInstanceUID", "uid", "SeriesDescription", "StudyDescription", "ModalitiesInStudy", "PatientID",
    "PatientName", "PatientBirthDate", "AcquistionDate", "AcquisitionDate", "Modality", "details",
}  # fmt: skip
SERIES_KEYS = {"uid", "description", "date", "data", "files", "frames", "order", "status", "preview"}
ODD = "T1 'a\" <b> & $(touch x); é%20#"


def test_a_library_has_every_file_under_its_name(tmp_path: Path) -> None:
    put(tmp_path, "T1-axial", series(2))
    assert rev(tmp_path) == 0
    assert names(tmp_path) == ["02-yr", "map.json", "rev-index.json", "rev.css", "rev.js"]
    assert names(tmp_path / "02-yr/11-mo") == ["00-ex", "ex.json", "index.html"]
    assert names(tmp_path / PLACE) == ["T1-axial", "T1-axial-series.json", "description.json", "index.html"]
    directory = tmp_path / PLACE / "T1-axial"
    assert names(directory) == [
        ".rev-state.json", "0000.dcm", "0001.dcm", "dcm2jpgDCMresize", "dcm2jpgRaw", "dcm2jpgResize", "preview.jpg",
        "raw-preview.jpg", "tag-raw.txt",
    ]  # fmt: skip
    assert names(directory / "dcm2jpgRaw") == ["0000.0.jpg", "0001.0.jpg", "middle-T1-axial.jpg"]
    assert names(directory / "dcm2jpgResize") == names(directory / "dcm2jpgDCMresize") == ["0000.0.jpg", "0001.0.jpg"]


def test_a_descriptor_has_just_the_keys_and_spellings_that_the_viewer_reads(tmp_path: Path) -> None:
    made = series(
        3, SeriesDescription="T1 axial", StudyDate="20200102", SeriesDate="20200103", PatientBirthDate="20170115"
    )
    put(tmp_path, "T1-axial", made)
    assert rev(tmp_path) == 0
    text = (tmp_path / PLACE / "T1-axial-series.json").read_text()
    assert text == json.dumps(json.loads(text), indent=4)
    entry = described(tmp_path, "T1-axial")
    assert set(entry) == ENTRY_KEYS
    values = {key: one["value"] for key, one in entry.items() if key != "details"}
    uid = made[0].SeriesInstanceUID
    assert values == {
        "SeriesInstanceUID": uid,
        "uid": uid,
        "SeriesDescription": "T1 axial",
        "StudyDescription": "THORAX",
        "ModalitiesInStudy": "CT",
        "PatientID": made[0].PatientID,
        "PatientName": "DOE^JOHN",
        "PatientBirthDate": "20170115",
        "AcquistionDate": "20200102",
        "AcquisitionDate": "20200102",
        "Modality": "CT",
    }
    found = entry["details"]["series"]
    assert set(found) == SERIES_KEYS
    path = f"{PLACE}/T1-axial"
    assert found == {
        "uid": uid,
        "description": "T1 axial",
        "date": "20200103",
        "data": [f"{path}/{number:04d}.dcm" for number in range(3)],
        "files": "3",
        "frames": "3",
        "order": "instance",
        "status": "ok",
        "preview": {"blob": "", "url": f"{path}/preview.jpg", "frames": "3"},
    }


def test_what_is_absent_is_told_as_the_original_tells_it(tmp_path: Path) -> None:
    bare = flat(0, SeriesDate="20200103")
    for keyword in ("PatientID", "PatientBirthDate", "StudyDate", "StudyDescription", "SeriesDescription"):
        delattr(bare, keyword)
    old = flat(0, StudyDate="", ModalitiesInStudy="XA")
    old.add_new(0x00080021, "DA", "20200104")
    put(tmp_path, "A", [bare])
    put(tmp_path, "B", [old])
    assert rev(tmp_path) == 0
    one, other = described(tmp_path, "A"), described(tmp_path, "B")
    assert one["PatientID"]["value"] == "PatientID not found"
    assert one["StudyDescription"]["value"] == "StudyDescription not found"
    assert one["details"]["series"]["description"] == "SeriesDescription not found"
    assert one["PatientBirthDate"]["value"] == "19000101"
    assert one["AcquistionDate"]["value"] == one["AcquisitionDate"]["value"] == "20200103"
    assert other["AcquistionDate"]["value"] == "20200104"
    assert (one["ModalitiesInStudy"]["value"], other["ModalitiesInStudy"]["value"]) == ("CT", "XA")


def test_a_study_names_its_series_by_number_and_those_without_image_last(tmp_path: Path) -> None:
    put(tmp_path, "A", series(1, SeriesNumber=12))
    put(tmp_path, "B", series(1, SeriesNumber=2, Modality="MR"))
    (report,) = (path for path in pydicom_files() if path.name == "test-SR.dcm")
    put(tmp_path, "C", [ds()])
    (tmp_path / PLACE / "C/0000.dcm").write_bytes(report.read_bytes())
    put(tmp_path, "D", series(1, SeriesNumber=3), place="02-yr/11-mo/01-ex")
    assert rev(tmp_path) == 0
    entries = read(tmp_path / PLACE / "description.json")["data"]
    urls = [entry["details"]["series"]["preview"]["url"].split("/")[3] for entry in entries]
    assert urls == ["B", "A", "C"]
    assert {entry["ModalitiesInStudy"]["value"] for entry in entries} == {"CT\\MR\\SR"}
    months = read(tmp_path / "02-yr/11-mo/ex.json")
    assert months == {
        "00-ex": {
            "name": "00-ex",
            "imageLocation": [f"{PLACE}/{name}/dcm2jpgRaw/middle-{name}.jpg" for name in ("B", "A")],
        },
        "01-ex": {"name": "01-ex", "imageLocation": ["02-yr/11-mo/01-ex/D/dcm2jpgRaw/middle-D.jpg"]},
    }


def test_a_study_of_fewer_than_three_series_repeats_the_last_one(tmp_path: Path) -> None:
    put(tmp_path, "A", series(1))
    assert rev(tmp_path) == 0
    first, *others = read(tmp_path / PLACE / "description.json")["data"]
    assert "repeat" not in first["details"]["series"]
    assert [one["details"]["series"]["repeat"] for one in others] == ["1", "1"]
    assert rev(tmp_path, "--minSeries", "1") == 0
    assert read(tmp_path / PLACE / "description.json")["data"] == [first]


def test_two_directories_with_files_of_one_series_are_told_apart(tmp_path: Path) -> None:
    for name in "AB":
        put(tmp_path, name, [flat(0, SeriesInstanceUID="1.2.3")])
    assert rev(tmp_path) == 0
    entries = read(tmp_path / PLACE / "description.json")["data"]
    assert [entry["uid"]["value"] for entry in entries[:2]] == ["1.2.3", "1.2.3-2"]
    assert all(entry["uid"]["value"] == entry["details"]["series"]["uid"] for entry in entries)


def test_the_map_holds_six_digits_for_each_example_and_no_others(tmp_path: Path) -> None:
    for place in ("10-yr/00-mo/00-ex", "00-yr/06-mo/01-ex", "00-yr/06-mo/00-ex", "100-yr/00-mo/00-ex"):
        put(tmp_path, "S1", series(1), place=place)
    assert rev(tmp_path) == 0
    assert read(tmp_path / "map.json") == {
        "data": ["./00-yr/06-mo/00-ex", "./00-yr/06-mo/01-ex", "./10-yr/00-mo/00-ex"]
    }
    digits = re.sub(r"[^0-9,]", "", (tmp_path / "map.json").read_text())
    assert digits == "000600,000601,100000"
    index = read(tmp_path / "rev-index.json")["examples"]
    assert [one["path"] for one in index] == [
        "00-yr/06-mo/00-ex",
        "00-yr/06-mo/01-ex",
        "10-yr/00-mo/00-ex",
        "100-yr/00-mo/00-ex",
    ]


def test_another_output_tree_gets_links_and_the_input_stays_as_it_was(tmp_path: Path) -> None:
    put(tmp_path / "in", "S", series(2))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")}
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "in").rglob("*")} == before
    assert names(tmp_path / "out") == ["02-yr", "map.json", "rev-index.json", "rev.css", "rev.js"]
    for path in described(tmp_path / "out", "S")["details"]["series"]["data"]:
        assert (tmp_path / "out" / path).samefile(tmp_path / "in" / path)
    for links in ("symlink", "copy", "hard"):
        assert rev(tmp_path / "in", "--links", links, output=tmp_path / "out") == 0
        path, source = tmp_path / "out" / PLACE / "S/0000.dcm", tmp_path / "in" / PLACE / "S/0000.dcm"
        assert (path.is_symlink(), path.samefile(source)) == (links == "symlink", links != "copy")
        assert path.read_bytes() == source.read_bytes()


def test_anonymised_copies_go_to_the_other_tree_and_all_else_is_made_of_them(tmp_path: Path) -> None:
    put(tmp_path / "in", "S", series(2, PatientID="4MR1", PatientName="SECRET^NAME"))
    struct = '{"PatientID": "%_md5|4_PatientID", "PatientName": "%_name_PatientName", "re:Study.*": "#tag"}'
    sources = [path.read_bytes() for path in sorted((tmp_path / "in").rglob("*.dcm"))]
    # StudyDate cannot be its own name.
    assert rev(tmp_path / "in", "-T", struct, output=tmp_path / "out") == 1
    assert not (tmp_path / "out" / PLACE / "S/0000.dcm").exists()
    struct = struct.replace("re:Study.*", "re:StudyDesc")
    assert rev(tmp_path / "in", "-T", struct, "--tagSeed", "s", output=tmp_path / "out") == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "in").rglob("*.dcm"))] == sources
    found = pydicom.dcmread(tmp_path / "out" / PLACE / "S/0001.dcm")
    assert (found.PatientID, found.StudyDescription) == ("6aad", "StudyDescription")
    assert described(tmp_path / "out", "S")["PatientID"]["value"] == "6aad"
    leaks = [p for p in (tmp_path / "out").rglob("*") if p.is_file() and b"SECRET" in p.read_bytes()]
    assert leaks == []
    assert "(0010,0020) LO PatientID: 6aad\n" in (tmp_path / "out" / PLACE / "S/tag-raw.txt").read_text()


def test_sources_are_written_over_only_where_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = put(tmp_path / "in", "S", series(2, PatientID="4MR1"))
    before = (directory / "0000.dcm").read_bytes()
    struct = ("-T", '{"PatientID": "%_md5|4_PatientID"}')
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for output in (tmp_path / "in", tmp_path / "in/../in", tmp_path / "link"):
        assert rev(tmp_path / "in", *struct, output=output) == 2
        assert "say -O %inputDir for that" in capsys.readouterr().err
    # A link deeper down leads there as well.
    (tmp_path / "out/02-yr/11-mo").mkdir(parents=True)
    (tmp_path / "out" / PLACE).symlink_to(tmp_path / "in" / PLACE)
    assert rev(tmp_path / "in", *struct, output=tmp_path / "out") == 1
    assert (directory / "0000.dcm").read_bytes() == before
    assert rev(tmp_path / "in", *struct) == 0
    assert pydicom.dcmread(directory / "0000.dcm").PatientID == "6aad"
    assert rev(tmp_path / "in", *struct, "-D", "200x200") == 0
    assert pydicom.dcmread(directory / "0000.dcm").PatientID == "6aad"


@pytest.mark.parametrize("above", ["library", "my-example", "a-yr b-mo"])
def test_names_may_hold_anything(tmp_path: Path, above: str) -> None:
    root = tmp_path / above
    put(root, ODD, series(1))
    directory = root / PLACE / ODD
    (directory / "0000.dcm").rename(directory / "é <&\" '$(x).dcm")
    put(root, "my-example", series(1))
    assert rev(root) == 0
    entry = described(root, ODD)["details"]["series"]
    assert (root / entry["preview"]["url"]).is_file()
    assert [(root / path).is_file() for path in entry["data"]] == [True]
    assert names(directory / "dcm2jpgRaw") == [f"middle-{ODD}.jpg", "é <&\" '$(x).0.jpg"]
    assert list(tmp_path.rglob("x")) == []
    assert "year=02&amp;month=11&amp;example=00" in (root / PLACE / "index.html").read_text()
    page = (root / "02-yr/11-mo/index.html").read_text()
    assert "T1%20%27a%22%20%3Cb%3E%20%26%20%24%28touch%20x%29%3B%20%C3%A9%2520%23/preview.jpg" in page
    assert "<b>" not in page


def test_names_that_are_no_text_are_drawn_too(tmp_path: Path) -> None:
    directory = put(tmp_path, "S\udcff", series(1))
    (directory / "0000.dcm").rename(directory / "a\udcfe.dcm")
    assert rev(tmp_path) == 0
    (path,) = described(tmp_path, "S\udcff")["details"]["series"]["data"]
    assert (tmp_path / path).is_file()
    assert "S%FF/preview.jpg" in (tmp_path / "02-yr/11-mo/index.html").read_text()


def test_files_are_taken_by_content_unless_an_extension_is_given(tmp_path: Path) -> None:
    directory = put(tmp_path, "S", series(3), suffix="")
    (directory / "0000").rename(directory / "0000.dcm")
    # Without prefix, as old scanners write them.
    raw = (directory / "0002").read_bytes()
    (directory / "0002").write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
    (directory / "notes.txt").write_text("no DICOM")
    assert rev(tmp_path) == 0
    data = described(tmp_path, "S")["details"]["series"]["data"]
    assert [Path(path).name for path in data] == ["0000.dcm", "0001", "0002"]
    assert rev(tmp_path, "-e", "dcm") == 0
    assert described(tmp_path, "S")["details"]["series"]["files"] == "1"
    assert names(directory / "dcm2jpgRaw") == ["0000.0.jpg", "middle-S.jpg"]
    assert rev(tmp_path, "-i", "/0001") == 0
    assert [Path(path).name for path in described(tmp_path, "S")["details"]["series"]["data"]] == ["0001"]


def test_pictures_of_files_that_differ_in_their_last_part_alone_are_told_apart(tmp_path: Path) -> None:
    directory = put(tmp_path, "S", series(3))
    for number, name in enumerate(("1.2.3.1", "1.2.3.2", "1.2.4.dcm")):
        (directory / f"{number:04d}.dcm").rename(directory / name)
    assert rev(tmp_path) == 0
    assert names(directory / "dcm2jpgResize") == ["1.2.3.1.0.jpg", "1.2.3.2.0.jpg", "1.2.4.0.jpg"]


def test_a_leaf_format_renames_what_is_written_of_each_series(tmp_path: Path) -> None:
    put(tmp_path, "S", series(2, PatientID="4MR1"))
    struct = '{"PatientID": "anon"}'
    assert rev(tmp_path, "--outputLeafDir", "preview-%s", "-T", struct) == 0
    assert rev(tmp_path, "--outputLeafDir", "preview-%s", "-T", struct) == 0
    assert names(tmp_path / PLACE) == ["S", "description.json", "index.html", "preview-S", "preview-S-series.json"]
    assert names(tmp_path / PLACE / "S") == ["0000.dcm", "0001.dcm"]
    assert pydicom.dcmread(tmp_path / PLACE / "S/0000.dcm").PatientID == "4MR1"
    found = described(tmp_path, "preview-S")
    assert found["details"]["series"]["data"] == [f"{PLACE}/preview-S/{number:04d}.dcm" for number in range(2)]
    assert found["PatientID"]["value"] == "anon"


def test_files_of_several_series_in_one_directory_are_one_entry_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = series(2), series(2)
    put(tmp_path, "S", [one[1], other[1], one[0], other[0]])
    assert rev(tmp_path, "-v", "1") == 0
    found = described(tmp_path, "S")["details"]["series"]
    assert found["uid"] == one[0].SeriesInstanceUID
    assert [Path(path).stem for path in found["data"]] == ["0002", "0000", "0003", "0001"]
    assert "it holds files of 2 series" in capsys.readouterr().err


def test_links_to_directories_are_followed_when_asked_for_and_never_in_circles(tmp_path: Path) -> None:
    put(tmp_path / "in", "A", series(1))
    put(tmp_path / "else", "B", series(1))
    (tmp_path / "in" / PLACE / "B").symlink_to(tmp_path / "else" / PLACE / "B")
    (tmp_path / "in" / PLACE / "A/again").symlink_to(tmp_path / "in")
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    assert names(tmp_path / "out" / PLACE) == ["A", "A-series.json", "description.json", "index.html"]
    assert rev(tmp_path / "in", "--followLinks", output=tmp_path / "out") == 0
    assert names(tmp_path / "out" / PLACE) == [
        "A",
        "A-series.json",
        "B",
        "B-series.json",
        "description.json",
        "index.html",
    ]


def test_what_the_viewer_cannot_read_is_decompressed_when_asked_for(tmp_path: Path) -> None:
    (source,) = (path for path in pydicom_files() if path.name == "MR_small_RLE.dcm")
    directory = put(tmp_path / "in", "S", [ds()])
    (directory / "0000.dcm").write_bytes(source.read_bytes())
    assert rev(tmp_path / "in", output=tmp_path / "out") == 0
    path = tmp_path / "out" / PLACE / "S/0000.dcm"
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == RLELossless
    assert rev(tmp_path / "in", "--transcode", output=tmp_path / "out") == 0
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (directory / "0000.dcm").read_bytes() == source.read_bytes()


def test_tags_are_told_line_by_line(tmp_path: Path) -> None:
    made = flat(0, StudyDescription="x" * 60, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    made.ImageComments = "long\n" * 100
    inner = ds(PatientID="INNER")
    made.ReferencedPatientSequence = [inner]
    put(tmp_path, "S", [made])
    assert rev(tmp_path) == 0
    lines = (tmp_path / PLACE / "S/tag-raw.txt").read_text(encoding="utf-8").splitlines()
    assert "(0010,0010) PN PatientName: Müller^Jörg" in lines
    assert "  (0010,0020) LO PatientID: INNER" in lines
    assert "(7fe0,0010) OW PixelData: 512 bytes" in lines
    comment = next(line for line in lines if "ImageComments" in line)
    assert comment == "(0020,4000) LT ImageComments: " + ("long " * 52)[:256].rstrip()
    assert len([line for line in lines if "SQ ReferencedPatientSequence:" in line]) == 1


def test_every_path_in_json_and_pages_leads_somewhere(tmp_path: Path) -> None:
    for path in pydicom_files():
        directory = put(tmp_path, path.stem, [ds()])
        (directory / "0000.dcm").write_bytes(path.read_bytes())
    assert rev(tmp_path) == 0
    found: list[str] = []
    for entry in read(tmp_path / PLACE / "description.json")["data"]:
        one: dict[str, Any] = entry["details"]["series"]
        assert all(isinstance(value, str) for key, value in one.items() if key not in ("data", "preview"))
        found += [one["preview"]["url"], *one["data"]]
    for example in read(tmp_path / "02-yr/11-mo/ex.json").values():
        found += example["imageLocation"]
    page = (tmp_path / "02-yr/11-mo/index.html").read_text()
    found += [f"02-yr/11-mo/{url}" for url in re.findall(r'(?:src|href)="([^"#]+)"', page)]
    assert [path for path in found if not (tmp_path / path).exists()] == []
    assert len(found) > 40


def test_a_file_that_claims_to_be_dicom_and_is_not_fails_and_the_rest_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = put(tmp_path, "S", series(2))
    (directory / "0000.dcm").write_bytes(b"nothing")
    cut = encoded(flat(0))
    (directory / "0002.dcm").write_bytes(cut[:-100])
    put(tmp_path, "T", series(1))
    put(tmp_path, "elsewhere", series(1), place="02-yr/11-mo")
    assert rev(tmp_path, "--json", "-v", "1") == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["status"], document["stages"][0]["status"], document["stages"][1]["status"]) == (
        False,
        False,
        True,
    )
    assert [(error["path"], error["kind"]) for error in document["errors"]] == [
        ("02-yr/11-mo/elsewhere", "place"),
        (f"{PLACE}/S/0000.dcm", "read"),
        (f"{PLACE}/S/0002.dcm", "decode"),
    ]
    assert described(tmp_path, "S")["details"]["series"]["status"] == "partial"
    assert described(tmp_path, "T")["details"]["series"]["status"] == "ok"
    assert len(read(tmp_path / PLACE / "description.json")["data"]) == 3
