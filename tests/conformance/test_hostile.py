"""Input nobody should send: clear statuses, nothing half-stored, nothing outside of the store, the server still up."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from server.commandset import CommandSet
from tests.conformance.conftest import Archive
from tests.conformance.scu import EXPLICIT, IMPLICIT, VERIFICATION, Wire, echo_elements, store_elements, wire
from tests.objects import data_set_bytes, ds, study, with_pixels, write
from tests.peers import dcmtk, needs_dcmtk
from tests.servers import AE, dgate, started, write_ini, write_map

CT = str(CTImageStorage)


def raw(directory: Path, made: Dataset, syntax: str = EXPLICIT) -> bytes:
    """An object's data set as it goes over the wire."""
    return data_set_bytes(write(directory, made, syntax))


@contextmanager
def storing(port: int, syntax: str = EXPLICIT, *, calling: str | bytes = "PEER") -> Iterator[Wire]:
    """A connection with one CT storage context."""
    with wire(port) as peer:
        accepted = peer.associate({1: (CT, (syntax,))}, calling=calling)
        assert accepted is not None
        assert accepted.kind == 2
        yield peer


def store(peer: Wire, uid: str, data: bytes, *, sop_class: str = CT) -> CommandSet:
    peer.message(1, store_elements(sop_class, uid), data)
    answer = peer.answer()
    assert answer is not None
    return answer[0]


def is_up(archive: Archive) -> bool:
    with wire(archive.port) as peer:
        peer.associate({1: (VERIFICATION, (IMPLICIT,))})
        peer.message(1, echo_elements())
        answer = peer.answer()
        return answer is not None and answer[0].number(0x0900) == 0 and peer.release()


def nothing_left(archive: Archive) -> bool:
    """Whether the store is empty, temporary files included."""
    staging = archive.directory / "MAG0" / "printer_files"
    return archive.files() == [] and list(staging.glob("*.part")) == []


@pytest.mark.parametrize(
    "uid", ["../../escaped", "/etc/passwd", "..\\..\\escaped", "1.2.3/../../../x", "a\0b", "CON", "x" * 64]
)
def test_a_uid_that_is_a_path_stays_inside_the_store(archive: Archive, tmp_path: Path, uid: str) -> None:
    made = ds(PatientID="../../up", StudyInstanceUID=uid, SeriesInstanceUID=uid)
    made.SOPInstanceUID = uid
    buffer = _encode(made)
    with storing(archive.port, IMPLICIT, calling="../../AE") as peer:
        status = store(peer, uid, buffer).number(0x0900)
        assert peer.release()
    assert status in (0x0000, 0xA900, 0xC000, 0x0110)
    root = archive.directory / "MAG0"
    outside = [p for p in tmp_path.rglob("*escaped*") if not p.is_relative_to(root)]
    assert outside == []
    assert (len(archive.files()) == 1) == (status == 0)
    assert is_up(archive)


def _encode(made: Dataset) -> bytes:
    """Implicit little endian without pydicom's opinion of values."""
    elements = b""
    for element in sorted(made, key=lambda e: e.tag):
        value = str(element.value).encode("latin-1")
        value += (b"\0" if element.VR == "UI" else b" ") * (len(value) & 1)
        head = element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little")
        elements += head + len(value).to_bytes(4, "little") + value
    return elements


@pytest.mark.parametrize("length", [0, 300])
@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "StudyDescription", "StudyDate", "AccessionNumber"])
def test_values_that_are_empty_or_far_too_long_are_stored(archive: Archive, keyword: str, length: int) -> None:
    made = ds()
    made[keyword].value = ""
    data = _encode(made).replace(_encode(_only(made, keyword)), _long(made, keyword, length))
    with storing(archive.port, IMPLICIT) as peer:
        assert store(peer, made.SOPInstanceUID, data).number(0x0900) == 0
        assert peer.release()
    assert len(archive.files()) == 1


def _only(made: Dataset, keyword: str) -> Dataset:
    one = Dataset()
    one.add(made[keyword])
    return one


def _long(made: Dataset, keyword: str, length: int) -> bytes:
    tag = made[keyword].tag
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    return head + length.to_bytes(4, "little") + b"x" * length


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_an_object_without_one_of_its_uids_is_refused(archive: Archive, tmp_path: Path, keyword: str) -> None:
    made = ds()
    uid = str(made.SOPInstanceUID)
    del made[keyword]
    with storing(archive.port, IMPLICIT) as peer:
        answer = store(peer, uid, _encode(made))
        assert answer.number(0x0900) == 0xA900
        assert "UID" in answer.text(0x0902)
        assert peer.release()
    assert nothing_left(archive)
    assert is_up(archive)


def test_truncated_objects_are_refused_wherever_they_are_cut(archive: Archive, tmp_path: Path) -> None:
    made = with_pixels(ds())
    data = raw(tmp_path / "made", made)
    with storing(archive.port) as peer:
        for cut in (0, 4, 7, 100, 301, len(data) // 2, len(data) - 2, len(data) - 1):
            assert store(peer, made.SOPInstanceUID, data[:cut]).number(0x0900) in (0xC000, 0xA900), cut
        assert nothing_left(archive)
        assert store(peer, made.SOPInstanceUID, data).number(0x0900) == 0
        assert peer.release()
    assert len(archive.files()) == 1


def test_a_command_that_names_another_object_is_refused(archive: Archive, tmp_path: Path) -> None:
    made = ds()
    data = raw(tmp_path / "made", made)
    with storing(archive.port) as peer:
        assert store(peer, "1.2.3.4", data).number(0x0900) == 0xA900
        assert store(peer, made.SOPInstanceUID, data, sop_class=MRImageStorage).number(0x0900) == 0x0122
        assert peer.release()
    assert nothing_left(archive)


def test_an_object_of_another_class_than_its_context_is_refused(archive: Archive, tmp_path: Path) -> None:
    made = ds(SOPClassUID=MRImageStorage)
    with storing(archive.port) as peer:
        assert store(peer, made.SOPInstanceUID, raw(tmp_path / "made", made)).number(0x0900) == 0xA900
        assert peer.release()
    assert nothing_left(archive)


def test_garbage_and_other_files_are_no_objects(archive: Archive) -> None:
    with storing(archive.port) as peer:
        for data in (b"", b"\0" * 1000, b"%PDF-1.7\n" * 100, b"\xff" * 5000, b"\x08\0\x05\0CS\xff\xff" + b"x" * 10):
            assert store(peer, "1.2.3", data).number(0x0900) in (0xC000, 0xA900)
        assert peer.release()
    assert nothing_left(archive)
    assert is_up(archive)


def test_a_peer_that_goes_in_the_middle_of_an_object_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    made = with_pixels(ds(), rows=512, columns=512, frames=12)
    data = raw(tmp_path / "made", made)
    assert len(data) > 4 << 20
    with storing(archive.port) as peer:
        peer.message(1, store_elements(CT, made.SOPInstanceUID))
        for start in range(0, 3 << 20, 16000):
            body = data[start : start + 16000]
            peer.send(4, (len(body) + 2).to_bytes(4, "big") + bytes([1, 0]) + body)
        peer.socket.close()
    archive.daemon.server.running.stop_when_idle()
    assert archive.daemon.server.running.stopping.wait(20)
    assert nothing_left(archive)


def test_a_full_device_is_out_of_resources(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    write_ini(directory, MAGDeviceFullThreshold=1 << 40)
    with started(directory) as daemon:
        archive = Archive(directory, daemon)
        made = ds()
        with storing(archive.port) as peer:
            answer = store(peer, made.SOPInstanceUID, raw(tmp_path / "made", made))
            assert answer.number(0x0900) == 0xA700
            assert peer.release()
        assert nothing_left(archive)
        assert is_up(archive)


def test_the_second_device_is_used_when_the_first_is_full(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    (directory / "MAG1").mkdir(parents=True)
    write_ini(directory, MAGDevices=2, MAGDevice1="MAG1/")
    with started(directory) as daemon:
        first, second = daemon.server.storage.devices
        assert (first.name, second.name) == ("MAG0", "MAG1")
        Archive(directory, daemon).keep(ds())
        assert len(Archive(directory, daemon).files()) == 1


def test_a_locked_database_is_out_of_resources_and_the_object_can_be_sent_again(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for module in ("db.sqlite", "db.engine"):
        monkeypatch.setattr(f"{module}.LOCK_TIMEOUT_S", 2)
    archive: Archive = request.getfixturevalue("archive")
    made = ds()
    data = raw(tmp_path / "made", made)
    locker = sqlite3.connect(archive.directory / "dbase" / "conquest.db3", isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    try:
        with storing(archive.port) as peer:
            peer.socket.settimeout(90)
            answer = store(peer, made.SOPInstanceUID, data)
            assert answer.number(0x0900) == 0xA700
            assert nothing_left(archive)
            locker.execute("ROLLBACK")
            assert store(peer, made.SOPInstanceUID, data).number(0x0900) == 0
            assert peer.release()
    finally:
        locker.close()
    assert len(archive.files()) == 1


def test_a_missing_database_directory_is_made_and_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    write_ini(directory, TCPPort=11113)
    (directory / "dbase").mkdir()
    (directory / "dbase" / "conquest.db3").write_bytes(b"this is no database, it only has the name of one" * 50)
    ran = dgate(f"-w{directory}", directory=tmp_path)
    assert ran.returncode == 1
    lines = ran.stderr.decode().splitlines()
    assert len(lines) == 1
    assert "conquest.db3" in lines[0]


@needs_dcmtk
@pytest.mark.parametrize("how", ["unknown", "down", "hangs"])
def test_a_destination_that_cannot_be_reached_is_said(tmp_path: Path, how: str) -> None:
    directory = tmp_path / "archive"
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    if how == "down":
        silent.close()
    directory.mkdir()
    write_map(directory, {} if how == "unknown" else {"DEST": (port, "as")})
    write_ini(directory, TCPIPTimeOut=2)
    with started(directory) as daemon:
        archive = Archive(directory, daemon)
        made = study("P1", series=1, images=2)
        archive.keep(*made)
        ran = dcmtk(
            "movescu", "-d", "-S", "-aec", AE, "-aem", "DEST", "-k", "QueryRetrieveLevel=STUDY",
            "-k", f"StudyInstanceUID={made[0].StudyInstanceUID}", "localhost", archive.port,
        )  # fmt: skip
        assert ran.code != 0
        wanted = "0xa801" if how == "unknown" else "0xa702"
        assert wanted in ran.output.lower(), ran.output
        assert is_up(archive)
    silent.close()


@needs_dcmtk
def test_a_destination_that_hangs_in_the_middle_fails_the_rest(tmp_path: Path) -> None:
    directory = tmp_path / "archive"
    listening = socket.create_server(("127.0.0.1", 0))
    directory.mkdir()
    write_map(directory, {"DEST": (listening.getsockname()[1], "as")})
    write_ini(directory, TCPIPTimeOut=2)
    thread = threading.Thread(target=_accept_and_fall_silent, args=(listening,))
    thread.start()
    with started(directory) as daemon:
        archive = Archive(directory, daemon)
        made = study("P1", series=1, images=3)
        archive.keep(*made)
        ran = dcmtk(
            "movescu", "-d", "-S", "-aec", AE, "-aem", "DEST", "-k", "QueryRetrieveLevel=STUDY",
            "-k", f"StudyInstanceUID={made[0].StudyInstanceUID}", "localhost", archive.port,
        )  # fmt: skip
        assert "0xa702" in ran.output.lower(), ran.output
        failed = [line.split(":")[-1].strip() for line in ran.output.splitlines() if "Failed Suboperations" in line]
        assert failed[-1] == "3"
        assert is_up(archive)
    listening.close()
    thread.join()


def _accept_and_fall_silent(listening: socket.socket) -> None:
    """Accept the association with all its contexts, then never say another word."""
    connection, _ = listening.accept()
    with connection:
        head = connection.recv(6, socket.MSG_WAITALL)
        body = connection.recv(int.from_bytes(head[2:6], "big"), socket.MSG_WAITALL)
        items, position = b"", 68
        while position < len(body):
            kind, length = body[position], int.from_bytes(body[position + 2 : position + 4], "big")
            item = body[position + 4 : position + 4 + length]
            if kind == 0x20:
                syntax = item.index(b"\x40\x00")
                size = int.from_bytes(item[syntax + 2 : syntax + 4], "big")
                accepted = bytes([item[0], 0, 0, 0]) + item[syntax : syntax + 4 + size]
                items += b"\x21\x00" + len(accepted).to_bytes(2, "big") + accepted
            elif kind in (0x10, 0x50):
                items += body[position : position + 4 + length]
            position += 4 + length
        answer = body[:68] + items
        connection.sendall(b"\x02\x00" + len(answer).to_bytes(4, "big") + answer)
        while connection.recv(65536):
            pass


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0" * 100,
        b"\x01\x00\x00\x00\x00\x10" + b"\xff" * 16,
        b"\x04\0\0\0\0\x02\0\0",
    ],
)
def test_bytes_that_are_no_association_request_end_the_connection_only(archive: Archive, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", archive.port), timeout=30) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(4096):
            pass
    assert is_up(archive)


def test_messages_that_break_the_protocol_abort_their_association_only(archive: Archive) -> None:
    hostile = [
        (1, 0, b"data without a command"),
        (9, 3, b"\0\0\0\0\4\0\0\0\0\0\0\0"),
        (1, 3, b"\0\0\0\1\xff\xff\xff\x7f"),
        (1, 3, b"\0\0\0\0\4\0\0\0\0\0\0\0"),
        (1, 3, b"xyz"),
    ]
    for context_id, control, value in hostile:
        with wire(archive.port) as peer:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
            peer.send(4, (len(value) + 2).to_bytes(4, "big") + bytes([context_id, control]) + value)
            pdu = peer.receive()
            assert pdu is None or pdu.kind == 7
    assert is_up(archive)


def test_an_unknown_command_field_is_answered_as_such(archive: Archive) -> None:
    with wire(archive.port) as peer:
        peer.associate({1: (VERIFICATION, (IMPLICIT,))})
        peer.message(1, {0x0002: VERIFICATION, 0x0100: 0x0ABC & 0x7FFF, 0x0110: 5, 0x0800: 0x0101})
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0x0211
        assert peer.release()
