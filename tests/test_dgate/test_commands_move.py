"""Move commands over the wire: what they ask of a source, what arrives at a destination, what they reply."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from tests.commands import Reply, Site, expected, site
from tests.conformance.scp import Accepted, Asked, Script, listening
from tests.conformance.scu import IMPLICIT, CommandSet, Value
from tests.objects import data_set_bytes, ds, study
from tests.peers import free_port, needs_dcmtk, running, storescp

PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.2"
UNTIL = "-20260101"


@dataclass(frozen=True)
class Pair:
    """Two servers of ours that know each other as HERE and THERE; P1 and P2 are at HERE."""

    here: Site
    there: Site
    made: list[Dataset]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("pair")
    with (
        site(directory / "here", MyACRNema="HERE", MaxAssociations=50) as here,
        site(directory / "there", MyACRNema="THERE") as there,
    ):
        here.says(f"put_amap:0,THERE,127.0.0.1,{there.port},as")
        there.says(f"put_amap:0,HERE,127.0.0.1,{here.port},as")
        made = study("P1", series=2, images=2, StudyDate="20260101", AccessionNumber="A1")
        here.keep(*made, *study("P2", series=1, images=1, StudyDate="20260102", AccessionNumber="A2"))
        yield Pair(here, there, made)


def sink(stored: list[CommandSet]) -> Script:
    """A storage SCP that takes everything and keeps the commands it got."""

    def script(peer: Accepted) -> None:
        peer.accept(max_pdu=16384)
        while True:
            try:
                context, command, _ = peer.hear()
            except AssertionError:
                peer.send(6, bytes(4))  # it was the release
                return
            stored.append(command)
            peer.say(
                context,
                {
                    0x0002: command.text(0x0002),
                    0x0100: 0x8001,
                    0x0120: command.number(0x0110),
                    0x0800: 0x0101,
                    0x0900: 0,
                    0x1000: command.text(0x1000),
                },
            )

    return script


CASES: list[tuple[Callable[[list[Dataset]], str], int, int]] = [
    (lambda made: "movepatient:(local),DEST,P1", 6, 4),
    (lambda made: "movepatient:HERE,DEST,P1", 6, 4),
    (lambda made: f"movestudy:HERE,DEST,{made[0].StudyInstanceUID}", 7, 4),
    (lambda made: f"movestudy:HERE,DEST,P1:{made[0].StudyInstanceUID}", 7, 4),
    (lambda made: "moveaccession:(local),DEST,A1", 7777, 4),
    (lambda made: "moveaccession:(local),DEST,P1:A1", 7777, 4),
    (lambda made: "movestudies:HERE,DEST,20260101", 8, 4),
    (lambda made: "movestudies:HERE,DEST,20260101-", 8, 5),
    (lambda made: f"moveseries:HERE,DEST,{made[0].SeriesInstanceUID}", 9, 2),
    (lambda made: f"moveseries:HERE,DEST,P1:{made[0].SeriesInstanceUID}", 9, 2),
    (lambda made: f"moveseries:HERE,DEST,P1:{made[0].SeriesInstanceUID},{made[0].StudyInstanceUID}", 9, 2),
    (lambda made: "move:HERE,DEST,P1,,,", 10, 4),
    (lambda made: f"move:HERE,DEST,P1,{made[0].StudyInstanceUID},,", 10, 4),
    (lambda made: f"move:HERE,DEST,,{made[0].StudyInstanceUID},{made[0].SeriesInstanceUID}", 10, 2),
    (lambda made: f"move:HERE,DEST,,,,{made[0].SOPInstanceUID}", 10, 1),
]


@pytest.mark.parametrize(("line", "message_id", "count"), CASES, ids=range(len(CASES)))
def test_what_a_move_names_arrives_with_originator_and_conquests_message_id(
    pair: Pair, line: Callable[[list[Dataset]], str], message_id: int, count: int
) -> None:
    stored: list[CommandSet] = []
    with listening(sink(stored)) as dest:
        pair.here.says(f"put_amap:1,DEST,127.0.0.1,{dest.port},as")
        assert pair.here.ask(line(pair.made)) == expected("0")
    assert len(stored) == count
    assert {(command.text(0x1030), command.number(0x1031)) for command in stored} == {("HERE", message_id)}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("movepatient:HERE,THERE,NOBODY", "1 Move failed from HERE to THERE"),
        ("movestudy:(local),THERE,9.9", "1 Move failed from (local) to THERE"),
        ("movestudy:(local),THERE,P2:9.9", "1 Move failed from (local) to THERE"),
        ("moveaccession:(local),THERE,A9", "1 Move failed from (local) to THERE"),
        ("movestudies:(local),THERE,19990101", "1 Move failed from (local) to THERE"),
        ("moveseries:(local),THERE,9.9", "1 Move failed from (local) to THERE"),
        ("move:(local),THERE,,,,9.9", "1 Move failed from (local) to THERE"),
        ("movepatient:HERE,NOWHERE,P1", "1 Move failed from HERE to NOWHERE"),
        ("movepatient:NOWHERE,HERE,P1", "1 Move failed from NOWHERE to HERE"),
        ("movepatient:HERE,THERE,", ""),
        ("movepatient:HERE,THERE", ""),
        ("movepatient:HERE", ""),
        ("movepatient:", ""),
        ("movepatient:,THERE,P1", ""),
        ("movepatient:HERE,,P1", ""),
        ("movestudy:HERE,THERE,P1:", ""),
        ("moveseries:HERE,THERE", ""),
        ("moveaccession:HERE,THERE,", ""),
        ("movestudies:HERE,THERE,yesterday", ""),
        ("move:HERE,THERE", ""),
        ("move:HERE,THERE,,,,", ""),
        ("movepatient:HERE,AN AE TITLE TOO LONG FOR ONE,P1", ""),
    ],
)
def test_a_move_of_nothing_to_nobody_or_without_its_arguments_fails_as_in_conquest(
    pair: Pair, line: str, reply: str
) -> None:
    assert pair.here.ask(line) == expected(reply)
    assert pair.there.counts()[3] == 0 or pair.there.counts()[3] == 4


def test_objects_go_from_one_server_of_ours_to_another_and_back(pair: Pair) -> None:
    here, there = pair.here, pair.there
    # The other one pulls, then this one pushes the rest.
    assert there.ask("movestudies:HERE,THERE,20260101") == expected("0")
    assert there.counts() == (1, 1, 2, 4)
    assert here.ask("movepatient:(local),THERE,P2") == expected("0")
    assert there.counts() == here.counts() == (2, 2, 3, 5)
    root, other = here.directory / "MAG0", there.directory / "MAG0"
    assert sorted(data_set_bytes(root / file) for file in here.files()) == sorted(
        data_set_bytes(other / file) for file in there.files()
    )
    # And one asks the other to send it what it has.
    assert here.ask("deletepatient:P2") == Reply(None, None, 0)
    assert here.ask("movepatient:THERE,HERE,P2") == expected("0")
    assert here.counts() == (2, 2, 3, 5)


def test_a_server_may_send_to_itself(pair: Pair) -> None:
    files, counts = pair.here.files(), pair.here.counts()
    pair.here.says(f"put_amap:1,HERE,127.0.0.1,{pair.here.port},as")
    assert pair.here.ask("movepatient:(local),HERE,P1") == expected("0")
    assert pair.here.counts() == counts
    assert len(pair.here.files()) == len(files)


@needs_dcmtk
def test_storescp_gets_what_was_stored_byte_for_byte(pair: Pair, tmp_path: Path) -> None:
    with storescp(tmp_path / "sink") as dest:
        pair.here.says(f"put_amap:1,DEST,127.0.0.1,{dest.port},as")
        assert pair.here.ask("movepatient:(local),DEST,P1") == expected("0")
        got = {pydicom.dcmread(path).SOPInstanceUID: data_set_bytes(path) for path in dest.received()}
    assert len(got) == 4
    for file in pair.here.files():
        path = pair.here.directory / "MAG0" / file
        if file.startswith("P1/"):
            assert got[pydicom.dcmread(path).SOPInstanceUID] == data_set_bytes(path)


@needs_dcmtk
def test_storescp_is_told_who_asked_and_under_which_number(pair: Pair, tmp_path: Path) -> None:
    port = free_port()
    command = ["storescp", "-d", "-aet", "DEST", "+xa", "-od", str(tmp_path), str(port)]
    with (tmp_path / "log").open("wb") as log, running(command, port, stdout=log, stderr=log):
        pair.here.says(f"put_amap:1,DEST,127.0.0.1,{port},as")
        assert pair.here.ask(f"moveseries:(local),DEST,{pair.made[0].SeriesInstanceUID}") == expected("0")
    lines = (tmp_path / "log").read_text("latin-1").splitlines()
    told = {" ".join(line.split()) for line in lines if line.startswith("D: Move Originator")}
    assert told == {"D: Move Originator AE Title : HERE", "D: Move Originator ID : 9"}


def test_a_destination_that_is_down_fails_the_move_and_the_log_says_so(pair: Pair) -> None:
    pair.here.says(f"put_amap:1,DEST,127.0.0.1,{free_port()},as")
    assert pair.here.ask("movepatient:(local),DEST,P1") == expected("1 Move failed from (local) to DEST")
    assert "***Move from (local) to DEST ended with 0x" in pair.here.log()


@dataclass
class Source:
    """A scripted move SCP: what it was asked, and the last response it gives."""

    last: dict[int, Value]
    asked: Asked | None = None
    command: CommandSet | None = None
    context: str = ""
    identifier: Dataset | None = None

    def script(self, peer: Accepted) -> None:
        self.asked = peer.accept()
        context, self.command, data = peer.hear()
        self.context = self.asked.contexts[context][0]
        self.identifier = read_dataset(io.BytesIO(data), is_implicit_VR=True, is_little_endian=True)
        shared: dict[int, Value] = {
            0x0002: self.context, 0x0100: 0x8021, 0x0120: self.command.number(0x0110), 0x0800: 0x0101,
        }  # fmt: skip
        peer.say(context, {**shared, 0x0900: 0xFF00, 0x1020: 1, 0x1021: 0, 0x1022: 0, 0x1023: 0})
        peer.say(context, {**shared, **self.last})
        assert peer.released()


@pytest.mark.parametrize(
    ("last", "reply"),
    [
        ({0x0900: 0}, "0"),
        ({0x0900: 0, 0x1021: 2, 0x1022: 0, 0x1023: 0}, "0"),
        ({0x0900: 0, 0x1021: 0, 0x1022: 0, 0x1023: 1}, "0"),
        ({0x0900: 0, 0x1021: 0, 0x1022: 0, 0x1023: 0}, "1 Move failed from SOURCE to DEST"),
        ({0x0900: 0xB000, 0x1021: 1, 0x1022: 1}, "1 Move failed from SOURCE to DEST"),
        ({0x0900: 0xC004}, "1 Move failed from SOURCE to DEST"),
        ({0x0900: 0xA801}, "1 Move failed from SOURCE to DEST"),
    ],
)
def test_the_last_response_of_another_server_decides(pair: Pair, last: dict[int, Value], reply: str) -> None:
    source = Source(last)
    with listening(source.script) as listener:
        pair.here.says(f"put_amap:1,SOURCE,127.0.0.1,{listener.port},as")
        assert pair.here.ask("movepatient:SOURCE,DEST,P1") == expected(reply)


@pytest.mark.parametrize(
    ("line", "context", "message_id", "keys"),
    [
        ("movepatient:SOURCE,DEST,A,B", PATIENT_ROOT, 6, {"QueryRetrieveLevel": "PATIENT", "PatientID": "A,B"}),
        (
            "movestudy:SOURCE,DEST,A:B:1.2",
            STUDY_ROOT,
            7,
            {"QueryRetrieveLevel": "STUDY", "PatientID": "A:B", "StudyInstanceUID": "1.2"},
        ),
        (
            "movestudies:SOURCE,DEST,-20260101",
            STUDY_ROOT,
            8,
            {"QueryRetrieveLevel": "SERIES", "StudyDate": "-20260101"},
        ),
        ("moveaccession:SOURCE,DEST,Å1", STUDY_ROOT, 7777, {"QueryRetrieveLevel": "STUDY", "AccessionNumber": "Å1"}),
        (
            "moveseries:SOURCE,DEST,P:1.3,1.2",
            STUDY_ROOT,
            9,
            {
                "QueryRetrieveLevel": "SERIES",
                "PatientID": "P",
                "SeriesInstanceUID": "1.3",
                "StudyInstanceUID": "1.2",
            },
        ),
        ("move:SOURCE,DEST,P,,,", PATIENT_ROOT, 10, {"QueryRetrieveLevel": "PATIENT", "PatientID": "P"}),
        ("move:SOURCE,DEST,,,,1.4", STUDY_ROOT, 10, {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.4"}),
    ],
)
def test_the_request_is_the_one_that_conquest_sends(
    pair: Pair, line: str, context: str, message_id: int, keys: dict[str, str]
) -> None:
    source = Source({0x0900: 0, 0x1021: 1})
    with listening(source.script) as listener:
        pair.here.says(f"put_amap:1,SOURCE,127.0.0.1,{listener.port},as")
        assert pair.here.says(line.encode().decode("latin-1") if line.isascii() else line) == "0"
    assert source.asked is not None
    assert source.command is not None
    assert source.identifier is not None
    assert (source.asked.calling, source.asked.called) == ("HERE", "SOURCE")
    assert list(source.asked.contexts.values()) == [(PATIENT_ROOT, [IMPLICIT]), (STUDY_ROOT, [IMPLICIT])]
    assert source.context == context
    assert source.command.number(0x0110) == message_id
    assert source.command[0x0600] == b"DEST            "
    found = {element.keyword: str(element.value) for element in source.identifier}
    assert found == keys | ({} if line.isascii() else {"SpecificCharacterSet": "ISO_IR 192"})


def test_a_source_that_hangs_up_fails_the_move(pair: Pair) -> None:
    def script(peer: Accepted) -> None:
        peer.accept()
        peer.hear()

    with listening(script) as listener:
        pair.here.says(f"put_amap:1,SOURCE,127.0.0.1,{listener.port},as")
        assert pair.here.ask("movestudy:SOURCE,DEST,1.2") == expected("1 Move failed from SOURCE to DEST")


def test_a_patient_id_beyond_ascii_is_moved(pair: Pair) -> None:
    pair.here.keep(ds(PatientID="Ä1", SpecificCharacterSet="ISO_IR 192"))
    stored: list[CommandSet] = []
    with listening(sink(stored)) as dest:
        pair.here.says(f"put_amap:1,DEST,127.0.0.1,{dest.port},as")
        reply = pair.here.ask("movepatient:(local),DEST,Ä1".encode())
        assert reply == expected("0")
    assert len(stored) == 1
    assert pair.here.ask("deletepatient:Ä1".encode()) == Reply(None, None, 0)
    assert pair.here.counts()[3] == 5
