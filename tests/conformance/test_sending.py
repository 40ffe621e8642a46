"""What goes out of the archive: the transfer syntaxes that each code proposes and sends, and what cannot be sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless

from tests.conformance.conftest import Archive
from tests.conformance.dialogue import (
    CONTEXTS,
    CT,
    GET,
    MOVE,
    THE_STUDY,
    answered,
    fill,
    request,
    responses,
    store_response,
)  # fmt: skip
from tests.conformance.scp import Accepted, listening
from tests.conformance.scu import EXPLICIT, IMPLICIT, store_elements, wire
from tests.objects import data_set_bytes, ds, with_pixels, write
from tests.servers import started, write_ini, write_map

BIG = "1.2.840.10008.1.2.2"
J2K = str(JPEG2000Lossless)
SV1, LOSSLESS = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57"
ALL = (EXPLICIT, IMPLICIT, BIG, J2K)


def keep(archive: Archive, directory: Path, syntax: str) -> tuple[str, bytes]:
    """Store one object that says it is in a transfer syntax; its UID and data set."""
    made = with_pixels(ds(PatientID="FULL"))
    data = data_set_bytes(write(directory, made, pydicom.uid.UID(EXPLICIT if syntax == J2K else syntax)))
    with wire(archive.port) as peer:
        peer.associate({1: (CT, (syntax,))})
        assert answered(peer, 1, store_elements(CT, made.SOPInstanceUID), data) == 0
        assert peer.release()
    return str(made.SOPInstanceUID), data


@pytest.mark.parametrize(
    ("stored", "code", "known", "proposed", "sent"),
    [
        (EXPLICIT, "as", ALL, [(EXPLICIT,), (EXPLICIT, IMPLICIT)], EXPLICIT),
        (IMPLICIT, "as", ALL, [(IMPLICIT,), (EXPLICIT, IMPLICIT)], IMPLICIT),
        (BIG, "as", ALL, [(BIG,), (EXPLICIT, IMPLICIT)], BIG),
        (BIG, "is", (EXPLICIT, IMPLICIT), [(BIG,), (EXPLICIT, IMPLICIT)], EXPLICIT),
        (IMPLICIT, "as", (EXPLICIT,), [(IMPLICIT,), (EXPLICIT, IMPLICIT)], EXPLICIT),
        (EXPLICIT, "as", (IMPLICIT,), [(EXPLICIT,), (EXPLICIT, IMPLICIT)], IMPLICIT),
        (EXPLICIT, "as!", ALL, [(EXPLICIT,)], EXPLICIT),
        (EXPLICIT, "as!", (IMPLICIT,), [(EXPLICIT,)], None),
        (EXPLICIT, "un", ALL, [(EXPLICIT,), (EXPLICIT, IMPLICIT)], EXPLICIT),
        (EXPLICIT, "uj", (IMPLICIT,), [(EXPLICIT,), (EXPLICIT, IMPLICIT)], IMPLICIT),
        (EXPLICIT, "ui", ALL, [(IMPLICIT,)], IMPLICIT),
        (IMPLICIT, "ul", ALL, [(EXPLICIT, IMPLICIT)], EXPLICIT),
        (IMPLICIT, "ul", (IMPLICIT,), [(EXPLICIT, IMPLICIT)], IMPLICIT),
        (IMPLICIT, "ul!", (IMPLICIT,), [(EXPLICIT,)], None),
        (EXPLICIT, "ub", ALL, [(BIG, IMPLICIT)], BIG),
        (IMPLICIT, "ue", (BIG, IMPLICIT), [(EXPLICIT, BIG, IMPLICIT)], BIG),
        (EXPLICIT, "j2", ALL, [(SV1,), (LOSSLESS,), (EXPLICIT, IMPLICIT)], EXPLICIT),
        (EXPLICIT, "j2!", ALL, [(SV1,), (LOSSLESS,)], None),
        (EXPLICIT, "n4", ALL, [(IMPLICIT,)], IMPLICIT),
        (EXPLICIT, "k8", ALL, [(EXPLICIT, IMPLICIT)], EXPLICIT),
        (EXPLICIT, "xx", ALL, [(EXPLICIT,), (EXPLICIT, IMPLICIT)], EXPLICIT),
        (J2K, "as", ALL, [(J2K,), (EXPLICIT, IMPLICIT)], J2K),
        # What says it is JPEG 2000 here is none: whoever does not take it as it is gets nothing.
        (J2K, "un", ALL, [(EXPLICIT, IMPLICIT)], None),
        (J2K, "jk", ALL, [(J2K,), (EXPLICIT, IMPLICIT)], J2K),
        (J2K, "uj", ALL, [(J2K,), (EXPLICIT, IMPLICIT)], J2K),
        (J2K, "as", (EXPLICIT, IMPLICIT), [(J2K,), (EXPLICIT, IMPLICIT)], None),
        (J2K, "as!", ALL, [(J2K,)], J2K),
    ],
)
@pytest.mark.parametrize("by", ["map", "suffix"])
def test_a_code_decides_what_is_proposed_and_sent(
    tmp_path: Path,
    by: str,
    stored: str,
    code: str,
    known: Sequence[str],
    proposed: list[tuple[str, ...]],
    sent: str | None,
) -> None:
    said: list[object] = []

    def sink(peer: Accepted) -> None:
        asked = peer.accept(max_pdu=16384, only=known)
        said.append([tuple(syntaxes) for _, syntaxes in asked.contexts.values()])
        accepted = {
            number: next((syntax for syntax in syntaxes if syntax in known), None)
            for number, (_, syntaxes) in asked.contexts.items()
        }
        if sent is not None:
            context, command, data = peer.hear()
            said.extend([accepted[context], command.text(0x1000), data])
            peer.say(context, store_response(command))
        peer.receive()
        peer.send(6, bytes(4))

    with listening(sink) as listener:
        write_map(tmp_path, {"SINK": (listener.port, code if by == "map" else "j1")})
        write_ini(tmp_path)
        with started(tmp_path) as daemon:
            uid, data = keep(Archive(tmp_path, daemon), tmp_path / "made", stored)
            with wire(daemon.port) as peer:
                peer.associate(CONTEXTS, called="SRV" if by == "map" else f"SRV~{code}")
                peer.message(9, request(MOVE, 0x0021, destination="SINK"), THE_STUDY)
                final = responses(peer)[-1][0]
                assert peer.release()
    assert said[0] == proposed
    assert final.number(0x0900) == (0 if sent is not None else 0xA702)
    if sent is not None:
        assert said[1:3] == [sent, uid]
        assert (said[3] == data) == (sent == stored)


def test_a_digit_on_the_called_title_moves_to_a_port_beside(tmp_path: Path) -> None:
    def sink(peer: Accepted) -> None:
        assert peer.accept().called == "SINK"
        context, command, _ = peer.hear()
        assert (command.text(0x1030), command.number(0x1031)) == ("ASKER", 77)
        peer.say(context, store_response(command))
        assert peer.released()

    with listening(sink) as listener:
        write_map(tmp_path, {"SINK": (listener.port - 7, "as")})
        write_ini(tmp_path)
        with started(tmp_path) as daemon:
            keep(Archive(tmp_path, daemon), tmp_path / "made", EXPLICIT)
            with wire(daemon.port) as peer:
                peer.associate(CONTEXTS, calling="ASKER", called="SRV~p7")
                peer.message(9, request(MOVE, 0x0021, 77, destination="SINK"), THE_STUDY)
                assert responses(peer)[-1][0].number(0x0900) == 0
                assert peer.release()


@pytest.mark.parametrize(
    ("called", "syntaxes", "sent"),
    [
        ("SRV", (EXPLICIT, IMPLICIT), EXPLICIT),
        ("SRV", (IMPLICIT,), IMPLICIT),
        ("SRV~ui", (EXPLICIT, IMPLICIT), IMPLICIT),
        ("SRV~ub", (EXPLICIT, IMPLICIT), IMPLICIT),
        ("SRV~j2", (EXPLICIT, IMPLICIT), EXPLICIT),
    ],
)
def test_a_c_get_goes_by_what_the_requestor_accepted_and_the_code_on_the_called_title(
    archive: Archive, tmp_path: Path, called: str, syntaxes: tuple[str, ...], sent: str
) -> None:
    uid, _ = keep(archive, tmp_path / "made", EXPLICIT)
    contexts = {7: CONTEXTS[7], **{2 * number + 11: (CT, (syntax,)) for number, syntax in enumerate(syntaxes)}}
    with wire(archive.port) as peer:
        peer.associate(contexts, called=called, scp_of=(CT,))
        peer.message(7, request(GET, 0x0010, 5), THE_STUDY)
        pdu = peer.receive()
        assert pdu is not None
        context = pdu.body[4]
        while pdu is not None and pdu.body[5] != 2:
            pdu = peer.receive()
        assert contexts[context] == (CT, (sent,))
        peer.message(context, store_response_to(uid))
        answer = peer.answer()
        assert answer is not None
        assert [answer[0].number(tag) for tag in (0x0100, 0x0900, 0x1021)] == [0x8010, 0, 1]
        assert peer.release()


def store_response_to(uid: str) -> dict[int, int | str | bytes]:
    """The answer to the first sub-operation."""
    return {0x0002: CT, 0x0100: 0x8001, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0, 0x1000: uid}


def test_a_c_get_sends_nothing_to_a_requestor_that_does_not_take_the_role_of_scp(
    archive: Archive, tmp_path: Path
) -> None:
    uid, _ = keep(archive, tmp_path / "made", EXPLICIT)
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(7, request(GET, 0x0010, 5), THE_STUDY)
        answer = peer.answer()
        assert answer is not None
        assert [answer[0].number(tag) for tag in (0x0900, 0x1021, 0x1022)] == [0xA702, 0, 1]
        assert uid.encode() in answer[1]
        assert peer.release()


def test_more_failures_than_a_list_can_name_are_counted_all(archive: Archive) -> None:
    uids = [f"1.2.826.0.1.3680043.10.1.2.{'9' * 30}.{number:06d}" for number in range(1500)]
    fill(archive.daemon.server.index, ((uid, number) for number, uid in enumerate(uids)))
    with wire(archive.port) as peer:
        peer.associate({**CONTEXTS, 11: (GET, (EXPLICIT,))}, scp_of=(CT,))
        peer.message(11, request(GET, 0x0010, 5), b"\x08\0\x52\0CS\6\0STUDY \x10\0\x20\0LO\4\0FULL")
        final, listed = responses(peer)[-1]
        assert [final.number(tag) for tag in (0x0900, 0x1021, 0x1022)] == [0xA702, 0, 1500]
        assert final.text(0x0902) == "1500 sub-operations failed"
        assert listed[:6] == b"\x08\0\x58\0UI"
        assert len(listed) == 8 + int.from_bytes(listed[6:8], "little")
        named = listed[8:].rstrip(b"\0").decode().split("\\")
        assert named == uids[: len(named)]
        assert len(named) > 1000
        assert peer.release()


def test_a_move_without_any_key_moves_nothing(archive: Archive, tmp_path: Path) -> None:
    write_map(archive.directory, {"SINK": (1, "as")})
    archive.daemon.server.amap.read()
    keep(archive, tmp_path / "made", EXPLICIT)
    with wire(archive.port) as peer:
        peer.associate(CONTEXTS)
        for identifier in (b"\x08\0\x52\0\6\0\0\0STUDY ", b"\x08\0\x52\0\6\0\0\0STUDY \x20\0\x0d\0\0\0\0\0"):
            peer.message(9, request(MOVE, 0x0021, destination="SINK"), identifier)
            assert responses(peer)[-1][0].number(0x0900) == 0xA900
        for destination, status in (("", 0xC002), ("NOBODY", 0xA801)):
            peer.message(9, request(MOVE, 0x0021, destination=destination), THE_STUDY)
            assert responses(peer)[-1][0].number(0x0900) == status
        assert peer.release()
