"""Our upper layer beside pynetdicom's own (StockNetwork = 1): the same scenario, the same conversation."""

from __future__ import annotations

from pathlib import Path

import pynetdicom
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import _config, ae, association, dimse, dul, fsm, transport

from server.commandset import CommandSet
from tests.conformance.scu import EXPLICIT, IMPLICIT, VERIFICATION, Wire, echo_elements, store_elements, wire
from tests.objects import PREFIX, data_set_bytes, ds, with_pixels, write
from tests.servers import started, write_ini

CT = str(CTImageStorage)
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
Transcript = list[tuple[object, ...]]


def objects(directory: Path) -> list[tuple[str, bytes]]:
    """Three objects with the same UIDs in every run: two small ones and one that is spooled to the disk."""
    made = []
    for number in range(3):
        uid = f"{PREFIX}77.{number}"
        obj = ds(
            PatientID="ORACLE",
            StudyInstanceUID=f"{PREFIX}7",
            SeriesInstanceUID=f"{PREFIX}7.1",
            SOPInstanceUID=uid,
            AccessionNumber="A",
            InstanceNumber=number,
        )
        size = 1024 if number == 2 else 16
        made.append((uid, data_set_bytes(write(directory, with_pixels(obj, size, size, 2)))))
    return made


def conversation(port: int, made: list[tuple[str, bytes]]) -> Transcript:
    """Everything a peer sees: stores whole, cut, in tiny and in large pieces, queries, a C-GET, broken protocol."""
    said: Transcript = []
    with wire(port) as peer:
        _associate(peer, said)
        for (uid, data), piece in zip(made, (16000, 37, 130000), strict=True):
            peer.message(1, store_elements(CT, uid), data, piece=piece)
            _heard(peer, said)
        peer.message(1, store_elements(CT, made[0][0]), made[0][1][:-1])
        _heard(peer, said)
        peer.message(1, store_elements(CT, "1.2.3"), made[0][1])
        _heard(peer, said)
        peer.message(3, echo_elements(9))
        _heard(peer, said)
        peer.message(5, _query(FIND, 0x0020, 11), _identifier(b"IMAGE "))
        for _ in range(4):
            _heard(peer, said)
        peer.message(7, _query(GET, 0x0010, 12), _identifier(b"STUDY "))
        for _ in range(3):
            command, _ = _heard(peer, said)
            uid = command.text(0x1000)
            peer.message(1, {0x0100: 0x8001, 0x0120: command.number(0x0110), 0x0800: 0x0101, 0x0900: 0, 0x1000: uid})
            _heard(peer, said)
        said.append(("released", peer.release(), peer.receive()))
    for kind, body in ((4, b"\0\0\0\3\1\0x"), (9, b""), (4, b"\0\0\0\1\1"), (7, bytes(4)), (1, b"again")):
        with wire(port) as peer:
            _associate(peer, said)
            peer.send(kind, body)
            answer = peer.receive()
            said.append((kind, body, None if answer is None else (answer.kind, answer.body)))
    return said


def _associate(peer: Wire, said: Transcript) -> None:
    contexts = {
        1: (CT, (EXPLICIT, IMPLICIT)),
        3: (VERIFICATION, (IMPLICIT,)),
        5: (FIND, (IMPLICIT,)),
        7: (GET, (IMPLICIT,)),
    }
    answer = peer.associate(contexts, max_pdu=20000, scp_of=(CT,))
    said.append(("associate", answer))


def _heard(peer: Wire, said: Transcript) -> tuple[CommandSet, bytes]:
    answer = peer.answer()
    assert answer is not None, said[-3:]
    said.append((dict(answer[0]), answer[1]))
    return answer


def _query(sop_class: str, field: int, message_id: int) -> dict[int, int | str | bytes]:
    return {0x0002: sop_class, 0x0100: field, 0x0110: message_id, 0x0700: 0, 0x0800: 1}


def _identifier(level: bytes) -> bytes:
    """Level, and the patient ID ORACLE, in implicit little endian."""
    return (
        bytes.fromhex("0800520006000000") + level + bytes.fromhex("0800180000000000") * (level == b"IMAGE ")
        + bytes.fromhex("1000200006000000") + b"ORACLE"
    )  # fmt: skip


def test_both_networks_say_the_same_to_a_peer(tmp_path: Path) -> None:
    made = objects(tmp_path / "made")
    transcripts = []
    for stock in (0, 1):
        directory = tmp_path / f"stock{stock}"
        write_ini(directory, StockNetwork=stock)
        with started(directory) as daemon:
            transcripts.append(conversation(daemon.port, made))
    ours, stock_ones = transcripts
    assert len(ours) > 20
    for mine, theirs in zip(ours, stock_ones, strict=True):
        assert mine == theirs


# Everything of pynetdicom that we override or reach into although its name says it is not for us.
PRIVATE = {
    dul.DULServiceProvider: (
        "_decode_pdu", "_process_recv_primitive", "_send", "start", "is_alive", "stop_dul", "send_pdu", "receive_pdu",
    ),
    association.Association: (
        "_run_reactor", "_serve_request", "run_reactor", "kill", "_abort_blocking", "release", "request",
    ),
    dimse.DIMSEServiceProvider: ("receive_primitive", "get_msg"),
    fsm: ("InvalidEventError", "TRANSITION_TABLE"),
    transport: ("AssociationSocket", "AddressInformation"),
    _config: ("LOG_HANDLER_LEVEL", "ENFORCE_UID_CONFORMANCE"),
}  # fmt: skip
ATTRIBUTES = {
    "association": (
        "_accepted_cx", "_is_paused", "_kill", "_reactor_checkpoint", "_sent_abort", "_dul_ready", "_server", "acse",
        "dimse", "dul", "is_aborted", "is_established", "is_rejected", "is_released", "requestor", "acceptor",
    ),
    "dul": (
        "_idle_timer", "_kill_thread", "_recv_pdu", "event_queue", "to_provider_queue", "to_user_queue",
        "state_machine", "socket",
    ),
}  # fmt: skip


def test_what_we_override_in_pynetdicom_is_still_there() -> None:
    missing = [f"{owner}.{name}" for owner, names in PRIVATE.items() for name in names if not hasattr(owner, name)]
    entity = ae.ApplicationEntity()
    made = association.Association(entity, "acceptor")
    owners = {"association": made, "dul": made.dul}
    missing += [
        f"{key}.{name}" for key, names in ATTRIBUTES.items() for name in names if not hasattr(owners[key], name)
    ]
    assert missing == [], f"pynetdicom {pynetdicom.__version__} lacks what we build on"
    assert {("Evt17", "Sta6"), ("Evt19", "Sta6"), ("Evt10", "Sta6"), ("Evt12", "Sta6")} <= set(fsm.TRANSITION_TABLE)


@pytest.mark.parametrize("stock", [0, 1])
def test_a_server_of_either_network_stops_with_associations_open(tmp_path: Path, stock: int) -> None:
    write_ini(tmp_path, StockNetwork=stock)
    with started(tmp_path) as daemon:
        open_ones = [Wire(daemon.port) for _ in range(3)]
        for peer in open_ones[1:]:
            peer.associate({1: (VERIFICATION, (IMPLICIT,))})
    for peer in open_ones:
        while True:
            pdu = peer.receive()
            if pdu is None:
                break
            assert pdu.kind == 7
        peer.socket.close()
