"""ConQuest's command channel, byte for byte: the safe half of the test vectors of a real 1.5.0e server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.commands import COMMAND, RESPONSE, Reply, ask, expected
from tests.conformance.conftest import Archive
from tests.conformance.scu import IMPLICIT, VERIFICATION, wire
from tests.objects import ds, write
from tests.peers import dcmtk, free_port, needs_dcmtk
from tests.servers import started, write_ini, write_map

STUDY = "1.3.46.670589.5.2.10.1"
SERIES = "1.3.46.670589.5.2.10.1.1"
FIRST = "1.3.46.670589.5.2.10.1.1.1"
SECOND = "1.3.46.670589.5.2.10.1.1.2"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    directory = tmp_path_factory.mktemp("vectors")
    port = free_port()
    write_map(directory, {"CONQUESTSRV1": (port, "un")})
    write_ini(directory, TCPPort=port)
    ini = directory / "dicom.ini"
    lines = ini.read_text().splitlines()
    ini.write_text("\n".join([*lines[:8], "", *lines[8:], ""]))
    (directory / "dgatesop.lst").write_text(
        "# accepted\n"
        "Verification                               1.2.840.10008.1.1                            sop\n"
        "CTImageStorage                             1.2.840.10008.5.1.4.1.1.2                    sop\n"
        "StudyRootFind                              1.2.840.10008.5.1.4.1.2.2.1                  sop\n"
        "LittleEndianImplicit                       1.2.840.10008.1.2                            transfer\n"
        "LittleEndianExplicit                       1.2.840.10008.1.2.1                          transfer\n"
    )
    with started(directory) as daemon:
        made = Archive(directory, daemon)
        for number, (uid, location) in enumerate(((FIRST, "-91.000000"), (SECOND, "-89.000000"))):
            obj = _head(uid, 2000 + number, location)
            path = write(directory / "sent", obj)
            assert ask(daemon.port, f"addimagefile:{path}") == expected("0")
        yield made


def _head(uid: str, number: int, location: str) -> Dataset:
    made = ds(
        PatientID="0009703828",
        PatientName="HEAD EXP2",
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=SERIES,
        SOPInstanceUID=uid,
        StudyDate="19980414",
        SeriesTime="170346.000000",
        InstanceNumber=number,
    )
    made.SliceLocation = location
    return made


VECTORS = [
    ("get_param:MyACRNema", "CONQUESTSRV1"),
    ("get_param:MyACRNema,<%s>", "<CONQUESTSRV1>"),
    ("get_param:nosuch", ""),
    ("nosuchcommand:x", ""),
    ("get_ini_num:999", ""),
    ("get_amap:9", ""),
    ("get_remoteae:0", ""),
    ("get_ini_param:SQLite,flag=%s", "flag=1"),
    ("get_ini_param:SQLite,lite=%sx", "lite=1x"),
    ("get_ini_num:8,[%s]", "[\n]"),
    ("get_freestore:MAG9", "0"),
    ("get_freestore:NOSUCH", "-1"),
    ("get_transfer:0", "1.2.840.10008.1.2 LittleEndianImplicit"),
    ("get_sop:0", "1.2.840.10008.1.1 Verification"),
    ("get_sqldef:patient,0", "0x0010, 0x0020            PatientID   64 SQL_C_CHAR       DT_STR"),
    ("get_sqldef:patient,99", ""),
    ("checksum:123456789", "771566984"),
    ("echo:CONQUESTSRV1", "CONQUESTSRV1 is UP"),
    ("echo:NOPE", "NOPE is DOWN"),
    ("query:DICOMPatients|PatientNam", "HEAD EXP2 \n"),
    ("query:DICOMPatients|PatientNam||x%s|cgi", "Content-type: text/html\n\nxHEAD EXP2\n"),
    ("query:DICOMPatients|PatientNam,PatientID||%2$s", "0009703828\n"),
    ("query:DICOMPatients|PatientNam,PatientID", "HEAD EXP2 0009703828 \n"),
    ("query:DICOMPatients|PatientNam|PatientID='nobody'", ""),
    ("query:nosuchtable|x", ""),
    (
        "query:DICOMImages|SOPInstanc|SOPInstanc like '1.3%' order by SOPInstanc|[%s]*",
        f"[{FIRST}]*[{SECOND}]",
    ),
    ("patientfinder:local|9703", "HEAD EXP2 0009703828\n"),
    ("patientfinder:local|head", "HEAD EXP2 0009703828\n"),
    ("patientfinder:local|=0009703828", "HEAD EXP2 0009703828\n"),
    ("patientfinder:local|nobody", ""),
    ("patientfinder:CONQUESTSRV1|9703|%s=%s", "HEAD EXP2=0009703828\n"),
    ("studyfinder:local|9703", f"19980414 CT HEAD EXP2 0009703828 {STUDY}\n"),
    ("studyfinder:local|199804", f"19980414 CT HEAD EXP2 0009703828 {STUDY}\n"),
    ("studyfinder:CONQUESTSRV1|19980414|%5$s", f"{STUDY}\n"),
    ("seriesfinder:local|9703", f"19980414 170346.000000 CT HEAD EXP2 0009703828 {STUDY} {SERIES}\n"),
    (f"seriesfinder:local|={STUDY}|%7$s", f"{SERIES}\n"),
    (
        "imagefinder:local|9703",
        "".join(
            f"{uid} HEAD EXP2 0009703828 {STUDY} {SERIES} {values}\n"
            for uid, values in ((FIRST, "2000 -91.000000"), (SECOND, "2001 -89.000000"))
        ),
    ),
    (f"imagefinder:CONQUESTSRV1|={SERIES}|%6$s", "2000\n2001\n"),
    ("serieslister:local|0009703828|", f"{SERIES}*"),
    (f"serieslister:local|0009703828|{STUDY}|%2$d:%1$s", f"0:{SERIES}\n"),
    ("imagelister:local|0009703828||?%d", "2\n"),
    ("imagelister:local|0009703828||:%s/%s*", f"0009703828/{FIRST}*0009703828/{SECOND}"),
    ("movestudy:CONQUESTSRV1,DEST,9.9", "1 Move failed from CONQUESTSRV1 to DEST"),
    ("movestudy:CONQUESTSRV1", ""),
    ("addimagefile:no/such/file.dcm", "1"),
    ("status_string:", ""),
]


@pytest.mark.parametrize(("line", "reply"), VECTORS, ids=[line for line, _ in VECTORS])
def test_a_command_is_answered_as_conquest_answers_it(archive: Archive, line: str, reply: str) -> None:
    assert ask(archive.port, line) == expected(reply)


def test_a_reply_is_on_the_wire_as_conquest_writes_it(archive: Archive) -> None:
    """Section 1.4 of the compatibility specification, a result of nine characters."""
    with wire(archive.port) as peer:
        peer.associate({3: (VERIFICATION, (IMPLICIT,))}, calling="PYTEST", called="PYTEST", max_pdu=4096)
        request = {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 1, 0x0800: 0x0101}
        peer.message(3, {**request, COMMAND: "get_ini_param:SQLite,port=567%s"})
        pdu = peer.receive()
        assert pdu is not None
        assert pdu.kind == 4
        assert pdu.body == bytes.fromhex(
            "0000006c 0303"
            "0000 0000 04000000 42000000"
            "0000 0200 12000000 312e322e3834302e31303030382e312e3100"
            "0000 0001 02000000 3080"
            "0000 2001 02000000 0100"
            "0000 0008 02000000 0101"
            "0000 0009 02000000 0000"
            "9999 0104 0a000000 706f72743d3536373100"
            "9999 0404 02000000 0100"
        )
        peer.message(3, {**request, COMMAND: "get_param:nosuch"})
        pdu = peer.receive()
        assert pdu is not None
        assert len(pdu.body) == 0x6C + 4 - 28


def test_the_port_is_told_as_dicom_ini_has_it(archive: Archive) -> None:
    assert ask(archive.port, "get_ini_param:TCPPort,port=%s") == expected(f"port={archive.port}")


def test_entries_of_acrnema_map_are_listed_in_conquests_columns(archive: Archive) -> None:
    port = archive.port
    assert ask(port, "get_amap:0") == expected(
        f"CONQUESTSRV1      127.0.0.1                      {port:<10} un              "
    )
    assert ask(port, "get_amap:0,%s/%s/%s/%s") == expected(f"CONQUESTSRV1/127.0.0.1/{port}/un")
    assert ask(port, "put_amap:1,TESTAE,10.0.0.1,104,j2") == expected("")
    assert ask(port, "get_amaps:%s %s %s %s") == expected(f"CONQUESTSRV1 127.0.0.1 {port} unTESTAE 10.0.0.1 104 j2")
    assert ask(port, "delete_amap:1") == expected("")
    assert ask(port, "get_amap:1") == expected("")


def test_a_query_into_a_file_answers_whether_there_were_rows(archive: Archive, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    assert ask(archive.port, f"query:DICOMPatients|PatientNam||x%s|{out}") == expected("0")
    assert out.read_text() == "xHEAD EXP2\n"
    assert ask(archive.port, f"query:DICOMPatients|PatientNam|PatientID='x'|x%s|{out}") == expected("1")


def test_imagelister_lists_full_paths_and_devices(archive: Archive) -> None:
    payload = ask(archive.port, "imagelister:local|0009703828|").payload
    assert payload is not None
    paths = payload.rstrip(b"\0").decode().split("*")
    assert [Path(path).is_file() for path in paths] == [True, True]
    assert all(path.startswith(f"{archive.directory}/MAG0/0009703828/") for path in paths)
    names = [Path(path).name for path in paths]
    listed = f"MAG0 0009703828/{names[0]} 0 1*MAG0 0009703828/{names[1]} 1 2"
    assert ask(archive.port, "imagelister:local|0009703828||#%s %s %s %s*") == expected(listed)


def test_an_uploaded_file_is_entered_whatever_its_length(archive: Archive, tmp_path: Path) -> None:
    for number in range(2):
        data = write(tmp_path, ds(StudyDescription=f"upload {number}")).read_bytes()
        assert ask(archive.port, "addimagefile:C:\\scans\\upload.dcm", data=data) == expected("0")
    assert ask(archive.port, "addimagefile:upload.dcm", data=b"not DICOM at all") == expected("1")
    assert ask(archive.port, "addimagefile:upload.dcm", data=b"odd") == expected("1")


def test_an_upload_with_a_patient_id_gets_that_id_and_new_uids(archive: Archive, tmp_path: Path) -> None:
    made = ds(PatientID="OLD")
    data = write(tmp_path, made).read_bytes()
    assert ask(archive.port, "addimagefile:upload.dcm,NEW1", data=data) == expected("0")
    reply = ask(
        archive.port, "query:DICOMSeries,DICOMImages|SOPInstanc,StudyInsta|SeriesPat='NEW1' and ImagePat='NEW1'|%s %s"
    )
    assert reply.payload is not None
    sop, study = reply.payload.rstrip(b"\0").decode().split()
    assert sop.startswith("99999.99999.")
    assert study.startswith("99999.99999.")
    assert sop != made.SOPInstanceUID
    # The same object again becomes the same new one.
    assert ask(archive.port, "addimagefile:upload.dcm,NEW1", data=data) == expected("0")
    assert ask(archive.port, "query:DICOMImages|SOPInstanc|ImagePat='NEW1'|%s") == expected(f"{sop}\n")


def test_a_command_may_be_padded_with_a_blank_a_nul_or_nothing(archive: Archive) -> None:
    for raw in (b"genuid:\0", b"genuid: ", b"get_param:MyACRNema\0"):
        assert ask(archive.port, raw).payload is not None


def test_an_element_9999_0400_of_no_length_is_a_plain_echo(archive: Archive) -> None:
    assert ask(archive.port, b"") == Reply(None, None, 0)
    assert ask(archive.port, b"DEAD") == Reply(None, None, 0)


def test_several_commands_go_over_one_association_and_long_replies_in_pieces(archive: Archive) -> None:
    with wire(archive.port) as peer:
        peer.associate({1: (VERIFICATION, (IMPLICIT,))}, max_pdu=4096)
        for number in range(1, 4):
            peer.message(
                1, {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: number, 0x0800: 0x0101, COMMAND: "get_ini:%2000s"}
            )
            answer = peer.answer()
            assert answer is not None
            assert answer[0].number(0x0120) == number
            assert len(answer[0][RESPONSE]) >= 2000 * 10


@needs_dcmtk
def test_dcmtk_echo_is_a_plain_echo(archive: Archive) -> None:
    assert dcmtk("echoscu", "-aec", "ANY", "localhost", archive.port).code == 0
