"""Adding and dumping over the wire: files, archives and uploads, other patients, and what is broken or hostile."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from storage.dump import dump_header
from tests.commands import Reply, Site, expected, site
from tests.objects import NATIVE, data_set_bytes, ds, encoded, study, with_pixels, write

NOTHING = Reply(None, None, 0)
OK, FAILED = expected("0"), expected("1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("adding")) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path / "site") as running:
        yield running


def temporary(running: Site) -> list[str]:
    """What is left in the directory of temporary files."""
    return sorted(path.name for path in (running.directory / "MAG0" / "printer_files").iterdir())


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("upload", [False, True])
def test_a_file_is_entered_as_it_is_and_stays_where_it_was(
    shared: Site, tmp_path: Path, syntax: str, upload: bool
) -> None:
    made = with_pixels(ds())
    path = write(tmp_path, made, syntax)
    data = path.read_bytes() if upload else None
    line = r"addimagefile:C:\scans\x.dcm" if upload else f"addimagefile:{path}"
    assert shared.ask(line, data=data) == OK
    (stored,) = shared.images(made.PatientID)
    assert data_set_bytes(stored) == data_set_bytes(path)
    assert pydicom.dcmread(stored).file_meta.TransferSyntaxUID == syntax
    assert path.exists()
    assert temporary(shared) == ["dgate.lock", "dgate.touched"]


def test_addlocalfile_on_the_server_takes_the_upload_too(shared: Site, tmp_path: Path) -> None:
    made = ds()
    path = write(tmp_path, made)
    assert shared.ask("addlocalfile:whatever.dcm", data=path.read_bytes()) == OK
    assert len(shared.images(made.PatientID)) == 1


@pytest.mark.parametrize(
    "name",
    ["a,b.dcm", "a,b.DCM", "a.dcm,b,c.v2", "a,b.gz.dcm", "ÄÖ,ß.dcm", "İİİİ.dcm", "two words.dcm", "IM0001", "x.img"],
)
@pytest.mark.parametrize("patient", ["", "NEW"])
def test_file_names_may_hold_commas_while_an_ending_follows(
    shared: Site, tmp_path: Path, name: str, patient: str
) -> None:
    made = ds()
    (tmp_path / name).write_bytes(encoded(made))
    line = f"addimagefile:{tmp_path}/{name}" + (f",{patient}{made.PatientID}" if patient else "")
    assert shared.ask(line.encode()) == OK
    assert len(shared.images(f"{patient}{made.PatientID}")) == 1


def test_a_relative_name_is_below_the_base_directory(shared: Site) -> None:
    made = ds()
    write(shared.directory / "drop", made)
    assert shared.ask(f"addimagefile:drop/{made.SOPInstanceUID}.dcm") == OK
    assert len(shared.images(made.PatientID)) == 1


# Archives


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def encrypted(data: bytes) -> bytes:
    """A zip whose first file is marked as encrypted."""
    flags = data.index(b"PK\1\2") + 8
    return data[:flags] + bytes([data[flags] | 1]) + data[flags + 1 :]


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tar_gzipped(members: dict[str, bytes]) -> bytes:
    return gzip.compress(tarred(members))


PACKERS = [("study.zip", zipped), ("study.tar", tarred), ("study.tar.gz", tar_gzipped), ("STUDY.ZIP", zipped)]


@pytest.mark.parametrize(("name", "pack"), PACKERS, ids=[name for name, _ in PACKERS])
@pytest.mark.parametrize("upload", [False, True])
def test_every_object_of_an_archive_is_entered(
    shared: Site, tmp_path: Path, name: str, pack: Callable[[dict[str, bytes]], bytes], upload: bool
) -> None:
    patient = ds().PatientID
    made = study(patient, series=2, images=2)
    data = pack({f"DICOM/A{number}/IM{number}": encoded(obj) for number, obj in enumerate(made)})
    (tmp_path / name).write_bytes(data)
    line = f"addimagefile:{name}" if upload else f"addimagefile:{tmp_path}/{name}"
    assert shared.ask(line, data=data if upload else None) == OK
    stored = shared.images(patient)
    assert sorted(data_set_bytes(path) for path in stored) == sorted(encoded(obj)[_offset(obj) :] for obj in made)
    assert temporary(shared) == ["dgate.lock", "dgate.touched"]


def _offset(made: Dataset) -> int:
    return 144 + int.from_bytes(encoded(made)[140:144], "little")


@pytest.mark.parametrize("upload", [False, True])
def test_a_gzip_file_is_one_object(shared: Site, tmp_path: Path, upload: bool) -> None:
    made = ds()
    data = gzip.compress(encoded(made))
    path = tmp_path / "one,two.dcm.gz"
    path.write_bytes(data)
    assert shared.ask(f"addimagefile:{path}", data=data if upload else None) == OK
    assert len(shared.images(made.PatientID)) == 1


def test_names_in_an_archive_lead_nowhere(own: Site, tmp_path: Path) -> None:
    made = [ds(PatientID="SLIP") for _ in range(6)]
    names = ["../../evil.dcm", "/tmp/evil-absolute.dcm", "..\\..\\evil.dcm", "C:\\evil.dcm", "a\0b.dcm", "x" * 300]
    members = dict(zip(names, map(encoded, made), strict=True))
    members.pop("a\0b.dcm")
    before = sorted(tmp_path.rglob("*"))
    for pack, name in ((zipped, "a.zip"), (tarred, "a.tar")):
        assert own.ask(f"addimagefile:{name}", data=pack(members)) == OK
    assert len(own.images("SLIP")) == 5
    new = [path for path in tmp_path.rglob("*") if path not in before]
    assert not [path for path in new if "evil" in path.name]
    assert not Path("/tmp/evil-absolute.dcm").exists()


def test_links_and_devices_in_a_tar_are_passed_over(own: Site) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "a"), (tarfile.FIFOTYPE, "")):
            info = tarfile.TarInfo("a")
            info.type, info.linkname = kind, target
            archive.addfile(info)
        data = encoded(ds(PatientID="REAL"))
        info = tarfile.TarInfo("b")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    assert own.ask("addimagefile:a.tar", data=out.getvalue()) == OK
    assert len(own.images("REAL")) == 1


def test_what_is_no_object_in_an_archive_is_passed_over_and_said(own: Site) -> None:
    own.daemon.server.logs.add("own.log")
    directory = Dataset()
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    directory.SOPInstanceUID = "1.2.3"
    members = {
        "DICOMDIR": encoded(directory),
        "README.TXT": b"Open with any viewer.\n" * 20,
        "empty": b"",
        "IM1": encoded(ds(PatientID="CD")),
    }
    assert own.ask("addimagefile:cd.zip", data=zipped(members)) == OK
    assert len(own.images("CD")) == 1
    assert own.log("own.log").count("is no DICOM object") == 3
    members.pop("IM1")
    assert own.ask("addimagefile:cd.zip", data=zipped(members)) == FAILED
    assert "the archive holds no DICOM object" in own.log()


def test_a_broken_object_in_an_archive_is_told_and_does_not_keep_out_the_others(own: Site) -> None:
    whole = [encoded(with_pixels(ds(PatientID="SOME"))) for _ in range(3)]
    members = {
        "1": whole[0],
        "2": whole[1][:-10],
        "3": encoded(ds(PatientID="SOME", StudyInstanceUID=None)),
        "4": whole[2],
    }
    assert own.ask("addimagefile:some.zip", data=zipped(members)) == FAILED
    assert len(own.images("SOME")) == 2
    assert "some.zip: its file 2: " in own.log()
    assert "some.zip: its file 3: " in own.log()
    assert "2 of the 4 objects in the archive were not entered" in own.log()


def _bomb(name: str) -> bytes:
    zeros = bytes(1 << 20)
    if name.endswith(".zip"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number in range(3):
                with archive.open(str(number), "w") as member:
                    for _ in range(100):
                        member.write(zeros)
        return out.getvalue()
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="w", compresslevel=1) as packed:
        for _ in range(300):
            packed.write(zeros)
    return out.getvalue()


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.gz", "bomb.tar.gz"])
def test_an_archive_that_unpacks_to_far_more_than_its_size_is_not_taken_in(own: Site, name: str) -> None:
    assert own.ask(f"addimagefile:{name}", data=_bomb(name)) == FAILED
    assert "unpacks to far more than its size" in own.log()
    assert own.files() == []
    assert temporary(own) == ["dgate.lock", "dgate.touched"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.dcm", b""),
        ("a.dcm", b"not DICOM"),
        ("a.dcm", b"\0" * 1000),
        ("a.dcm", b"\0" * 128 + b"DICM"),
        ("a.dcm", encoded(ds())[:200]),
        ("a.dcm", encoded(with_pixels(ds()))[:-1]),
        ("a.dcm", encoded(ds(SOPInstanceUID="1.2", SeriesInstanceUID=None))),
        ("a.zip", b""),
        ("a.zip", b"PK\3\4 but no more"),
        ("a.zip", zipped({})),
        ("a.zip", zipped({"a": encoded(ds())})[:-30]),
        ("a.zip", zipped({"a": encoded(ds())}, zipfile.ZIP_LZMA)),
        ("a.zip", encrypted(zipped({"a": encoded(ds())}))),
        ("a.zip", gzip.compress(encoded(ds()))),
        ("a.gz", b"\x1f\x8b"),
        ("a.gz", gzip.compress(b"no DICOM")),
        ("a.gz", gzip.compress(encoded(ds()))[:-20]),
        ("a.gz", encoded(ds())),
        ("a.tar", b"no tar at all" * 100),
        ("a.tar", tarred({"a": encoded(ds())})[:600]),
        ("a.7z", b"7z\xbc\xaf\x27\x1c"),
        ("a.hl7", b"MSH|^~\\&|"),
    ],
)
def test_what_is_broken_is_refused_and_leaves_nothing(shared: Site, name: str, data: bytes) -> None:
    before = shared.files(), shared.counts()
    assert shared.ask(f"addimagefile:{name}", data=data) == FAILED
    assert (shared.files(), shared.counts()) == before
    assert temporary(shared) == ["dgate.lock", "dgate.touched"]
    assert f"***[AddImageFile] {name} -FAILED: " in shared.log()


@pytest.mark.parametrize("name", ["no/such.dcm", ".", "MAG0/", "dicom.ini", "/dev/null"])
def test_what_cannot_be_read_as_a_file_is_refused(shared: Site, name: str) -> None:
    assert shared.ask(f"addimagefile:{name}") == FAILED
    assert f"***[AddImageFile] {name} -FAILED: Error on Load" in shared.log()


def test_without_a_file_nothing_happens(shared: Site) -> None:
    assert shared.ask("addimagefile:") == NOTHING
    assert shared.ask("addimagefile: ", data=b"x") == NOTHING
    assert shared.ask("addimagefile:,P1") == NOTHING


def test_a_file_name_cannot_forge_lines_of_the_log(shared: Site) -> None:
    assert shared.ask("addimagefile:a\nFri Nov 20 21:38:34 2026 Added file: b.dcm") == FAILED
    assert "\nFri Nov 20 21:38:34 2026 Added file" not in shared.log()


def test_an_upload_is_never_looked_for_on_the_server(shared: Site, tmp_path: Path) -> None:
    there, sent = ds(), ds()
    path = write(tmp_path, there)
    assert shared.ask(f"addimagefile:{path}", data=encoded(sent)) == OK
    assert len(shared.images(sent.PatientID)) == 1
    assert shared.images(there.PatientID) == []


# Dumps


def test_dump_header_lists_a_file_an_object_and_goes_where_it_is_told(shared: Site, tmp_path: Path) -> None:
    made = ds(StudyDescription="THORAX")
    path = write(tmp_path, made)
    shared.keep(made)
    text = dump_header(path, shared.daemon.server.dictionary)
    assert f'0010,0020 {len(made.PatientID) + len(made.PatientID) % 2:6d} LO PatientID              "' in text
    assert shared.says(f"dump_header:{path}") == text
    (stored,) = shared.images(made.PatientID)
    listed = dump_header(stored, shared.daemon.server.dictionary)
    for name in (
        f"{made.PatientID}:{made.SOPInstanceUID}",
        f":{made.SOPInstanceUID}",
        f"{made.PatientID}|{made.SOPInstanceUID}",
        f"{made.PatientID}*{made.SOPInstanceUID}",
        f"{made.StudyInstanceUID}\\{made.SeriesInstanceUID}\\{made.SOPInstanceUID}",
        str(stored),
    ):
        assert shared.says(f"dump_header:{name}") == listed, name
    assert shared.says(f"dump_header:{path},cgi") == f"Content-type: text/html\n\n<pre>{text}"
    assert shared.says(f"dump_header:{path},pre") == f"<pre>{text}"
    assert shared.says(f"dump_header:{path},binary") == text
    assert shared.ask(f"dump_header:{path},{tmp_path}/out.txt") == NOTHING
    assert (tmp_path / "out.txt").read_text() == text


@pytest.mark.parametrize(
    "name",
    ["", "no/such/file.dcm", "dicom.ini", "P1:1.2.3", ":1.2.3", "P1:", "1.2\\1.3\\1.4", "MAG0", "1.2\\1.3\\*"],
)
def test_what_cannot_be_loaded_has_no_dump(shared: Site, name: str) -> None:
    assert shared.ask(f"dump_header:{name}") == NOTHING


def test_a_dump_of_a_cut_file_says_in_the_log_what_is_wrong(shared: Site, tmp_path: Path) -> None:
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        path = write(tmp_path, with_pixels(ds()), syntax)
        path.write_bytes(path.read_bytes()[:-100])
        assert shared.ask(f"dump_header:{path}") == NOTHING
    assert "(7fe0,0010) of 512 bytes does not fit" in shared.log()


def test_a_dump_of_a_row_whose_file_is_gone_says_so(own: Site) -> None:
    made = ds(PatientID="P1")
    own.keep(made)
    (path,) = own.images("P1")
    path.unlink()
    assert own.ask(f"dump_header::{made.SOPInstanceUID}") == NOTHING
    assert "there is no such file on any device" in own.log()
