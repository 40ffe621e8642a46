"""Associations as PS3.7 Annex D and PS3.8 have them: who is accepted, for what, and how each of them ends."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, JPEG2000Lossless, JPEGBaseline8Bit, MRImageStorage

from server.association import AcceptedAssociation
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import log_lines, wait_until
from tests.conformance.scu import (
    IMPLICIT,
    VERIFICATION,
    Pdu,
    Wire,
    echo_elements,
    wire,
)
from tests.servers import started, write_ini

CT, MR = str(CTImageStorage), str(MRImageStorage)
JPEG, J2K = str(JPEGBaseline8Bit), str(JPEG2000Lossless)
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
NKI_MOVE = "1.2.826.0.1.3680043.2.135.1066.5.1.4.1.2.1.2"
PRIVATE = "1.3.46.670589.11.0.0.12.1"
PRIVATE_SYNTAX = "1.2.3.4.5.6.7"


def echoes(peer: Wire) -> bool:
    peer.message(1, echo_elements())
    answer = peer.answer()
    return answer is not None and answer[0].number(0x0900) == 0


def accepted_associations() -> list[AcceptedAssociation]:
    """Those that have a thread."""
    return [thread for thread in threading.enumerate() if isinstance(thread, AcceptedAssociation)]


# Who


@pytest.mark.parametrize(
    ("calling", "called", "calls", "is_called"),
    [
        ("PEER", "CONQUESTSRV1", "PEER", "CONQUESTSRV1"),
        ("  PEER", "  any title", "PEER", "any title"),
        (b"PEER" + bytes(12), b"SRV" + bytes(13), "PEER", "SRV"),
        (b"PEER\0junk", b"SRV\0junk", "PEER", "SRV"),
        (b" " * 16, b" " * 16, "", ""),
        (bytes(16), bytes(16), "", ""),
        (b"M\xfcller", b"\xff" * 16, "Müller", "ÿ" * 16),
        (b"a\\b\n\x1b[2J", b"../../etc", "a\\b\n\x1b[2J", "../../etc"),
        (b"PEER", b"SRV~j2", "PEER", "SRV~j2"),
    ],
)
def test_any_ae_titles_are_carried_and_come_back_as_they_were_sent(
    shared: Archive, calling: str | bytes, called: str | bytes, calls: str, is_called: str
) -> None:
    assert wait_until(lambda: accepted_associations() == [])
    with wire(shared.port) as peer:
        accepted = peer.associate({1: (VERIFICATION, (IMPLICIT,))}, calling=calling, called=called)
        assert accepted is not None
        assert accepted.kind == 2
        sent = [(t.encode("latin-1") if isinstance(t, str) else t)[:16].ljust(16) for t in (called, calling)]
        assert accepted.body[4:36] == b"".join(sent)
        (association,) = accepted_associations()
        assert (association.calling, association.called) == (calls, is_called)
        assert echoes(peer)
        assert peer.release()


def reject(pdu: Pdu | None) -> tuple[int, ...] | None:
    """Result, source and reason of an A-ASSOCIATE-RJ; None for anything else."""
    return tuple(pdu.body[1:4]) if pdu is not None and pdu.kind == 3 else None


def test_the_lists_of_dgatesop_decide_who_and_what_and_an_edit_counts_at_once(archive: Archive) -> None:
    sops = archive.directory / "dgatesop.lst"

    def ask(calling: str = "PEER", called: str = "CONQUESTSRV1", **more: str) -> tuple[int, ...] | None:
        with wire(archive.port) as peer:
            return reject(peer.associate({1: (VERIFICATION, (IMPLICIT,))}, calling=calling, called=called, **more))

    assert ask() is None
    sops.write_text("MYWS MYWS RemoteAE\nus SRV LocalAE\nus SRV~j2 localae\ndicom 1.2.840.10008.3.1.1.1 application\n")
    assert ask() == (1, 1, 3)
    assert ask("MYWS") == (1, 1, 7)
    assert ask("myws", "SRV") == (1, 1, 3)
    assert ask("MYWS", "SRV", application="1.2.3") == (1, 1, 2)
    assert ask("MYWS", "SRV") is None
    assert ask("MYWS", "SRV more") is None
    assert ask("MYWS", "SRV~j2") is None
    assert ask("MYWS", "SRV~k4") == (1, 1, 7)
    assert ask("PEER", "OTHER", application="1.2.3") == (1, 1, 3)
    sops.unlink()
    sops.write_text("# nothing\n")
    assert ask() is None


def test_another_protocol_version_is_rejected_as_such(shared: Archive) -> None:
    with wire(shared.port) as peer:
        assert reject(peer.associate({1: (VERIFICATION, (IMPLICIT,))}, version=2)) == (1, 2, 2)


# How many


def test_no_more_associations_are_open_than_allowed(tmp_path: Path) -> None:
    write_ini(tmp_path, MaxAssociations=3)
    with started(tmp_path) as daemon:
        archive = Archive(tmp_path, daemon)
        peers = [Wire(archive.port) for _ in range(4)]
        answers = [peer.associate({1: (VERIFICATION, (IMPLICIT,))}) for peer in peers]
        assert [pdu.kind for pdu in answers if pdu is not None] == [2, 2, 2, 3]
        assert reject(answers[3]) == (2, 3, 2)
        assert peers[0].release()
        assert wait_until(lambda: daemon.server.running.admitted == {"127.0.0.1": 2})
        with wire(archive.port) as again:
            assert reject(again.associate({1: (VERIFICATION, (IMPLICIT,))})) is None
            assert echoes(again)
        for peer in peers:
            peer.socket.close()
        assert wait_until(lambda: daemon.server.running.admitted == {})


def test_one_host_gets_no_more_than_its_share(tmp_path: Path) -> None:
    write_ini(tmp_path, MaxAssociationsPerHost=2, BindAddress="")
    with started(tmp_path) as daemon:
        first = [Wire(daemon.port) for _ in range(3)]
        answers = [peer.associate({1: (VERIFICATION, (IMPLICIT,))}) for peer in first]
        assert [reject(pdu) for pdu in answers] == [None, None, (2, 3, 2)]
        other = Wire(daemon.port)
        other.socket.close()
        other.socket = socket.create_connection(("127.0.0.1", daemon.port), timeout=10, source_address=("127.0.0.2", 0))
        assert reject(other.associate({1: (VERIFICATION, (IMPLICIT,))})) is None
        for peer in (*first, other):
            peer.socket.close()


def test_connections_that_ask_for_nothing_do_not_keep_others_out(shared: Archive) -> None:
    silent = [socket.create_connection(("127.0.0.1", shared.port), timeout=10) for _ in range(80)]
    with wire(shared.port) as peer:
        peer.associate({1: (VERIFICATION, (IMPLICIT,))})
        assert echoes(peer)
        assert peer.release()
    closed = 0
    for connection in silent:
        connection.setblocking(False)
    assert wait_until(lambda: shared.daemon.server.running.open_threads <= 65)
    for connection in silent:
        with contextlib.suppress(BlockingIOError):
            closed += connection.recv(1) == b""
        connection.close()
    assert closed == 80 - 63
    assert wait_until(lambda: shared.daemon.server.running.open_threads == 0)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("how", ["bare", "garbage", "rejected", "aborted", "lost", "released"])
def test_nothing_is_left_of_associations_however_they_end(shared: Archive, how: str) -> None:
    def once() -> None:
        with wire(shared.port) as peer:
            if how == "bare":
                return
            if how == "garbage":
                peer.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while peer.receive() is not None:
                    pass
                return
            if how == "rejected":
                assert peer.associate({1: (VERIFICATION, (IMPLICIT,))}, version=7) is not None
                return
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
            assert echoes(peer)
            if how == "aborted":
                peer.send(7, bytes(4))
            elif how == "released":
                assert peer.release()

    def settled() -> bool:
        """Whether the server has met all connections so far and none is open."""
        with wire(shared.port) as peer:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
            assert peer.release()
        return wait_until(lambda: running.open_threads == 0)

    running = shared.daemon.server.running
    once()
    assert settled()
    gc.collect()
    before = threading.active_count(), descriptors()
    for _ in range(50):
        once()
    assert settled()
    assert wait_until(lambda: threading.active_count() == before[0])
    gc.collect()
    assert descriptors() == before[1]
    assert running.admitted == {}
    assert wait_until(lambda: accepted_associations() == [])


# The end


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x01\x00\x00",
        b"\x01\x00\x00\x00\x01\x00" + b"\x00\x01",
        b"\x01\x00\xff\xff\xff\xf0",
        b"\x04\x00\x00\x00\x10\x00",
    ],
)
def test_a_request_that_does_not_come_whole_in_time_is_not_waited_for(tmp_path: Path, start: bytes) -> None:
    write_ini(tmp_path, TCPIPTimeOut=1)
    with started(tmp_path) as daemon:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as peer:
            peer.sendall(start)
            while peer.recv(4096):
                pass
        assert time.monotonic() - begun < 10
        assert wait_until(lambda: daemon.server.running.open_threads == 0)


def test_a_peer_that_falls_silent_is_aborted(tmp_path: Path) -> None:
    write_ini(tmp_path, TCPIPTimeOut=1)
    with started(tmp_path) as daemon:
        daemon.server.logs.add("test.log")
        with wire(daemon.port) as peer:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
            assert echoes(peer)
            pdu = peer.receive()
            assert pdu is not None
            assert pdu.kind == 7
        assert wait_until(lambda: daemon.server.running.open_threads == 0)
        lines = log_lines(tmp_path)
    assert [line.partition(" after ")[0] for line in lines if line.startswith("UPACS")] == [
        "UPACS THREAD 1: PEER (127.0.0.1) -> CONQUESTSRV1: 1 echo, idle"
    ]


def test_a_pdu_that_stops_half_way_is_not_waited_for(tmp_path: Path) -> None:
    write_ini(tmp_path, TCPIPTimeOut=1)
    with started(tmp_path) as daemon:
        with wire(daemon.port) as peer:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
            peer.socket.sendall(b"\x04\x00\x00\x00\x10\x00\x00\x00")
            pdu = peer.receive()
            assert pdu is None or pdu.kind == 7
        assert wait_until(lambda: daemon.server.running.open_threads == 0)


def test_stopping_does_not_wait_for_peers(tmp_path: Path) -> None:
    write_ini(tmp_path)
    silent: list[socket.socket] = []
    with started(tmp_path) as daemon:
        for start in (b"", b"\x01\x00\x00", b"\x01\x00\x00\x00\x01\x00"):
            silent.append(socket.create_connection(("127.0.0.1", daemon.port), timeout=20))
            silent[-1].sendall(start)
        peer = Wire(daemon.port)
        peer.associate({1: (VERIFICATION, (IMPLICIT,))})
        peer.socket.sendall(b"\x04\x00\x00\x00\x10\x00\x00\x00")
        assert wait_until(lambda: daemon.server.running.open_threads == 4)
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    assert daemon.server.running.open_threads == 0
    for connection in (*silent, peer.socket):
        connection.close()


def test_one_line_of_the_log_says_what_an_association_did(archive: Archive) -> None:
    archive.daemon.server.logs.add("test.log")
    for end in ("release", "abort", "lost"):
        with wire(archive.port) as peer:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))}, calling="ONE\x1b]0;x")
            assert echoes(peer)
            assert echoes(peer)
            if end == "release":
                assert peer.release()
            elif end == "abort":
                peer.send(7, bytes(4))
        assert wait_until(lambda: archive.daemon.server.running.open_threads == 0)
    lines = [line.partition(" after ")[0] for line in log_lines(archive.directory)]
    assert lines == [
        "UPACS THREAD 1: ONE?]0;x (127.0.0.1) -> CONQUESTSRV1: 2 echo, released",
        "UPACS THREAD 2: ONE?]0;x (127.0.0.1) -> CONQUESTSRV1: 2 echo, aborted",
        "UPACS THREAD 3: ONE?]0;x (127.0.0.1) -> CONQUESTSRV1: 2 echo, aborted",
    ]
