"""A real ConQuest directory served as it stands: nothing converted, nothing touched that nobody asked to change."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGExtended12Bit
from pynetdicom import AE as PynetdicomAE
from pynetdicom import build_context, build_role, evt

from dgate.app import Daemon
from tests.conformance.conquest_site import ROOT_UID, Site, build
from tests.conformance.scu import EXPLICIT, IMPLICIT, store_elements, wire
from tests.conformance.test_vectors import ask, expected
from tests.objects import data_set_bytes, ds, encoded, with_pixels
from tests.peers import StoreScp, dcmtk, free_port, needs_dcmtk, storescp
from tests.servers import dgate, started

GET = "1.2.840.10008.5.1.4.1.2.1.3"


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreScp]:
    if shutil.which("storescp") is None:
        pytest.skip("storescp is missing: apt-get install dcmtk")
    with storescp(tmp_path_factory.mktemp("sink")) as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sink: StoreScp) -> Site:
    return build(tmp_path_factory.mktemp("conquest"), port=free_port(), sink=sink.port)


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Daemon]:
    """The site while dgate serves it, to be looked at and not to be changed."""
    with started(site.directory) as daemon:
        yield daemon


@pytest.fixture
def own_site(tmp_path: Path) -> Site:
    """A site that a test may change."""
    return build(tmp_path / "conquest", port=free_port())


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site that takes in one object after the other."""
    return build(tmp_path_factory.mktemp("growing"), port=free_port())


def store(port: int, made: Dataset, syntax: str = EXPLICIT) -> None:
    """Store one object, which must succeed."""
    with wire(port) as peer:
        peer.associate({1: (str(made.SOPClassUID), (syntax,))})
        raw = encoded(made, syntax)
        data = raw[144 + int.from_bytes(raw[140:144], "little") :]
        peer.message(1, store_elements(str(made.SOPClassUID), str(made.SOPInstanceUID)), data)
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()


def test_check_finds_nothing_that_keeps_it_from_starting(own_site: Site) -> None:
    ran = dgate(f"-w{own_site.directory}", "--check", directory=own_site.directory)
    shown = ran.stdout.decode()
    assert ran.returncode == 0, shown
    lines = shown.splitlines()
    assert "the server can start" in lines
    assert [line for line in lines if line.startswith("FAILED")] == []
    warnings = [line for line in lines if line.startswith("warning")]
    assert [line for line in warnings if not line.endswith("what it asks for does not exist yet")] == []
    assert f"ok       DICOMImages: {len(own_site.images)} rows" in lines
    assert "TCPPort                            = 1" not in shown


def test_finders_see_every_patient_as_conquest_entered_it(site: Site, served: Daemon) -> None:
    patients = {(str(image.made.PatientName), str(image.made.PatientID)) for image in site.images}
    listed = "".join(f"{name} {patient}\n" for name, patient in sorted(patients))
    assert ask(served.port, "patientfinder:local|") == expected(listed)
    assert ask(served.port, "patientfinder:local|Müller|%s=%s".encode()) == expected("Müller^Jörg=0009703828\n")


def test_the_map_is_read_with_its_comments_and_wildcards(served: Daemon) -> None:
    assert ask(served.port, "get_amap:2,%s %s %s %s") == expected("LUNG 10.0.0.7 1234 j2")
    assert ask(served.port, "get_amap:4,%s %s %s %s") == expected("NG* 127.0.11.* 56* J2")
    assert ask(served.port, "get_amap:5").payload is None


@needs_dcmtk
@pytest.mark.parametrize(
    ("level", "keys", "found"),
    [
        ("PATIENT", ["PatientName=DOE^JANE", "PatientID"], 3),
        ("PATIENT", ["PatientName=doe^j*", "PatientID"], 17),
        ("STUDY", ["ModalitiesInStudy=SR", "StudyInstanceUID"], 1),
        ("SERIES", ["PatientID=P3", "SeriesInstanceUID"], 2),
        ("IMAGE", ["PatientID=P*", "SOPInstanceUID"], 19),
        ("IMAGE", [f"SOPInstanceUID={ROOT_UID}.14.3.7"], 1),
    ],
)
def test_queries_find_rows_of_conquest(served: Daemon, level: str, keys: list[str], found: int) -> None:
    options = [word for key in (f"QueryRetrieveLevel={level}", *keys) for word in ("-k", key)]
    ran = dcmtk("findscu", "-P", *options, "localhost", served.port)
    assert ran.code == 0, ran.output
    assert ran.output.count("(Pending)") == found, ran.output


def test_everything_is_moved_byte_for_byte(site: Site, served: Daemon, sink: StoreScp) -> None:
    before = site.image_files()
    keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=*"]
    ran = dcmtk("movescu", "-P", "-aec", "CONQUESTSRV1", "-aem", "STORESCP", *keys, "localhost", served.port)
    assert ran.code == 0, ran.output
    received = {data_set_bytes(path) for path in sink.received()}
    assert received == {image.data_set for image in site.images}
    assert site.image_files() == before


def test_everything_is_got_byte_for_byte(site: Site, served: Daemon) -> None:
    got: dict[str, bytes] = {}

    def keep(event: evt.Event) -> int:
        got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return 0

    requestor = PynetdicomAE()
    syntaxes = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGExtended12Bit)
    classes = sorted({str(image.made.SOPClassUID) for image in site.images})
    requestor.requested_contexts = [build_context(GET)] + [
        build_context(uid, syntax) for uid in classes for syntax in syntaxes
    ]
    roles = [build_role(uid, scp_role=True) for uid in classes]
    association = requestor.associate("127.0.0.1", served.port, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert association.is_established
    query = Dataset()
    query.QueryRetrieveLevel = "PATIENT"
    query.PatientID = "*"
    *_, (status, _) = association.send_c_get(query, GET)
    association.release()
    assert status.Status == 0
    assert got == {image.uid: image.data_set for image in site.images}


def test_rows_name_files_where_they_are(site: Site, served: Daemon) -> None:
    answer = ask(served.port, "imagelister:local|").payload
    assert answer is not None
    paths = {os.fsencode(image.path) for image in site.images}
    assert set(answer.rstrip(b"\0").split(b"*")) == paths


def test_a_new_object_joins_its_patient_and_nothing_else_changes(own_site: Site) -> None:
    files, tables = own_site.image_files(), own_site.tables()
    new = ds(
        PatientID="0009703828",
        PatientName="Müller^Jörg",
        SpecificCharacterSet="ISO_IR 100",
        StudyInstanceUID=f"{ROOT_UID}.0",
        SeriesInstanceUID=f"{ROOT_UID}.0.3",
        SeriesNumber=3,
        AccessionNumber="ACC0",
        Manufacturer="Philips",
    )
    with started(own_site.directory) as daemon:
        store(daemon.port, new, IMPLICIT)
    after = own_site.image_files()
    (name,) = set(after) - set(files)
    assert re.fullmatch(rf"0009703828/{ROOT_UID}.0.3_0003_000001_\d+[0-9a-f]{{4}}\.v2".encode(), name)
    del after[name]
    assert after == files
    grown = own_site.tables()
    images = {row["SOPInstanc"]: row for row in grown.pop("DICOMImages")}
    row = images.pop(str(new.SOPInstanceUID).encode())
    assert (row["ObjectFile"], row["DeviceName"], row["ImagePat"]) == (name, b"MAG0", b"0009703828")
    assert list(images.values()) == tables.pop("DICOMImages")
    # The text stays in the encoding that ConQuest, should it take the database back, reads.
    assert grown == tables
    assert {row["PatientNam"] for row in tables["DICOMPatients"]} >= {"Müller^Jörg".encode("latin-1")}


@pytest.mark.parametrize("number", [0, 3, 14])
def test_a_resent_object_replaces_the_file_that_conquest_wrote(own_site: Site, number: int) -> None:
    image = next(image for image in own_site.images if image.uid == f"{ROOT_UID}.{number}.3.7")
    with started(own_site.directory) as daemon:
        store(daemon.port, image.made, EXPLICIT)
        assert ask(daemon.port, f"imagelister:local|{image.made.PatientID}||?%d") == expected(
            "2\n" if number == 3 else "1\n"
        )
    assert not image.path.exists()
    (row,) = [row for row in own_site.tables()["DICOMImages"] if row["SOPInstanc"] == image.uid.encode()]
    assert isinstance(row["ObjectFile"], bytes)
    assert (own_site.root / os.fsdecode(row["ObjectFile"])).exists()


def test_a_resent_object_survives_when_the_lost_file_of_a_windows_row_had_its_name(own_site: Site) -> None:
    image = next(image for image in own_site.images if image.uid == f"{ROOT_UID}.8.3.7")
    with sqlite3.connect(own_site.database) as connection:
        connection.execute(
            "UPDATE DICOMImages SET ObjectFile = replace(ObjectFile, '/', '\\') WHERE SOPInstanc = ?", [image.uid]
        )
    connection.close()
    image.path.unlink()
    _set(own_site, "FileNameSyntax", "8")
    with started(own_site.directory) as daemon:
        store(daemon.port, image.made, EXPLICIT)
    assert data_set_bytes(image.path) == image.data_set


@pytest.mark.parametrize(
    ("command", "gone"),
    [
        ("deletepatient:P3", [3, 19]),
        ("deletestudy:P14:" + f"{ROOT_UID}.14", [14]),
        ("deleteseries:" + f"{ROOT_UID}.3.3", [3]),
        ("deletepatient:0009703828", [0]),
        ("deleteimagefile:data/P15/old.img", [15]),
        ("deletestudies:20260102", [*range(18), 19]),
    ],
)
def test_what_is_deleted_goes_and_the_rest_stays(own_site: Site, command: str, gone: list[int]) -> None:
    files = own_site.image_files()
    with started(own_site.directory) as daemon:
        assert ask(daemon.port, command).payload is None
    left = [image for number, image in enumerate(own_site.images) if number not in gone]
    kept = {bytes(image.path.relative_to(own_site.root)) for image in left}
    assert own_site.image_files() == {name: content for name, content in files.items() if name in kept}
    assert {row["SOPInstanc"] for row in own_site.tables()["DICOMImages"]} == {image.uid.encode() for image in left}
    for number in gone:
        directory = own_site.images[number].path.parent
        assert directory.exists() == any(image.path.parent == directory for image in left)


def test_an_index_built_anew_equals_that_of_conquest(own_site: Site) -> None:
    tables, files = own_site.tables(), own_site.image_files()
    ran = dgate(f"-w{own_site.directory}", "-r", directory=own_site.directory)
    assert ran.returncode == 0, ran.stderr
    assert f"{len(own_site.images)} files entered, 0 failed" in ran.stdout.decode().splitlines()
    rebuilt = own_site.tables()
    # ConQuest's rows from Windows name the same file with the other separator.
    for row in tables["DICOMImages"]:
        assert isinstance(row["ObjectFile"], bytes)
        row["ObjectFile"] = row["ObjectFile"].replace(b"\\", b"/")
    assert rebuilt == tables
    assert own_site.image_files() == files
    connection = sqlite3.connect(own_site.database)
    assert connection.execute("SELECT NewUID FROM UIDMODS").fetchall() == [("1.2.3.4",)]
    assert connection.execute("SELECT AccessionN FROM DICOMWorkList").fetchall() == [("ACC1",)]
    connection.close()


def test_a_running_server_enters_all_files_again_and_stumbles_over_none(own_site: Site) -> None:
    with started(own_site.directory) as daemon:
        assert ask(daemon.port, "regen:").payload is None
        assert ask(daemon.port, "imagelister:local|||?%d") == expected(f"{len(own_site.images)}\n")
    trouble = (own_site.directory / "PacsTrouble.log").read_text()
    assert trouble == "Fri Nov 20 21:38:34 2026 ***an old line\n"


@pytest.mark.parametrize("serving", [False, True])
def test_files_and_index_are_found_to_agree(own_site: Site, serving: bool) -> None:
    with started(own_site.directory) if serving else nullcontext():
        ran = dgate(f"-w{own_site.directory}", "--fsck", directory=own_site.directory)
    assert ran.returncode == 0, ran.stdout
    assert b"wal" not in ran.stdout


STAMP = r"\d{10}"
COUNTED = rf"{STAMP}[0-9a-f]{{4}}"


@pytest.mark.parametrize(
    ("syntax", "name", "extension"),
    [
        ("0", rf"VAN_DER__P0NEW/3_7_{STAMP}(_1)?", "v2"),
        ("1", rf"VAN_DER__P1NEW/0003_000007_{COUNTED}", "v2"),
        ("2", rf"VAN_DER__P2NEW/1\.2\.7\.2_0003_000007_{COUNTED}", "v2"),
        ("3", rf"P3NEW/1\.2\.7\.3_0003_000007_{COUNTED}", "v2"),
        ("4", rf"P4NEW/1\.2\.7\.4_0003_000007_{COUNTED}", "dcm"),
        ("5", rf"VAN_DER_BERG\^ANNA/1\.2\.7\.5_0003_000007_{COUNTED}", "v2"),
        ("6", r"P6NEW/1\.2\.6/1\.2\.7\.6/1\.2\.8\.6\.\d", "v2"),
        ("7", r"1\.2\.7/1\.2\.7\.7/1\.2\.8\.7\.\d", "v2"),
        ("8", r"P8NEW/1\.2\.8/1\.2\.7\.8/1\.2\.8\.8\.\d", "dcm"),
        ("9", r"1\.2\.9/1\.2\.7\.9/1\.2\.8\.9\.\d", "dcm"),
        ("10", r"Images/1\.2\.8\.10\.\d", "dcm"),
        ("11", r"VAN_DER_BERG\^ANNA/1\.2\.11/1\.2\.7\.11/1\.2\.8\.11\.\d", "dcm"),
        ("12", r"VAN_DER_BERG\^ANNA_P12NEW/CT_S_1/3/1\.2\.8\.12\.\d", "dcm"),
        ("13", rf"VAN_DER__P13NEW/3_7_{STAMP}(_1)?", "v2"),
    ],
)
def test_new_files_are_named_by_every_syntax(growing: Site, syntax: str, name: str, extension: str) -> None:
    _set(growing, "FileNameSyntax", syntax)
    before = growing.image_files()
    with started(growing.directory) as daemon:
        for number, transfer_syntax in enumerate((IMPLICIT, EXPLICIT)):
            store(daemon.port, _named(syntax, number), transfer_syntax)
    after = growing.image_files()
    new = {path.decode(): content for path, (content, _) in after.items() if path not in before}
    # A bare data set can be implicit little endian only; what came as anything else is Part 10.
    assert sorted(path.rpartition(".")[2] for path in new) == sorted([extension, "dcm"])
    assert [path for path in new if not re.fullmatch(name, path.rpartition(".")[0])] == []
    assert [path for path, content in new.items() if (content[128:132] == b"DICM") != path.endswith(".dcm")] == []
    assert {path: after[path] for path in before} == before


def _named(syntax: str, number: int) -> Dataset:
    return with_pixels(
        ds(
            PatientID=f"P{syntax}NEW",
            PatientName="VAN DER BERG^ANNA",
            StudyInstanceUID=f"1.2.{syntax}",
            SeriesInstanceUID=f"1.2.7.{syntax}",
            SOPInstanceUID=f"1.2.8.{syntax}.{number}",
            StudyID="S 1",
            SeriesNumber=3,
            InstanceNumber=7,
        )
    )


def _set(site: Site, key: str, value: str) -> None:
    """Set a key of dicom.ini as an editor would."""
    ini = site.directory / "dicom.ini"
    ini.write_text(re.sub(rf"(?m)^({key} *=).*$", rf"\1 {value}", ini.read_text()))
