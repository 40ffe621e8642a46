"""Messages out of presentation data values, and into PDUs: however they are cut, and what is not allowed."""

from __future__ import annotations

import itertools
import queue
import struct
from collections.abc import Iterable, Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext, build_context

from server.commandset import CommandSet, ProtocolError, Value, encode_command
from server.dimse import MAX_IDENTIFIER, Association, Identifier, Message
from server.upper import pdus

IMPLICIT = "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"


class Listening(Association):
    """An association without a peer: what is fed to its `dimse` is what a peer would have sent."""

    def __init__(self) -> None:
        super().__init__(ApplicationEntity(), "acceptor")
        self._accepted_cx: dict[int, PresentationContext] = {
            number: build_context(VERIFICATION, IMPLICIT) for number in (1, 3)
        }
        self.errors: list[str] = []

    def protocol_error(self, error: ProtocolError) -> None:
        self.errors.append(str(error))

    def messages(self) -> Iterator[Message]:
        while True:
            try:
                yield cast(Message, self.dimse.msg_queue.get_nowait()[1])
            except queue.Empty:
                return


def value(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


MESSAGES = st.lists(
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 0xFFFF), st.none() | st.binary(max_size=300)), max_size=5
)


@given(MESSAGES, st.data())
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    sent: list[tuple[int, int, bytes | None]], chance: st.DataObject
) -> None:
    values: list[bytes] = []
    for context_id, number, data in sent:
        command = encode_command(
            {0x0002: VERIFICATION, 0x0100: 0x0020, 0x0110: number, 0x0800: 0x0101 if data is None else 1}
        )
        for control, whole in ((1, command), (0, data)):
            if whole is not None:
                pieces = cut(whole, chance.draw(st.sets(st.integers(0, 300), max_size=6)))
                values += [value(context_id, control, piece) for piece in pieces[:-1]]
                values.append(value(context_id, control | 2, pieces[-1]))
    association = Listening()
    while values:
        count = chance.draw(st.integers(1, len(values)))
        association.dimse.take_values(memoryview(b"".join(values[:count])))
        values = values[count:]
    heard = [
        (message.context_id, message.command.number(0x0110), message.data and message.data.getvalue())
        for message in association.messages()
    ]
    assert heard == [(context_id, number, data) for context_id, number, data in sent]
    assert association.errors == []
    assert association.dul.event_queue.empty()


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_abort_the_association(data: bytes) -> None:
    association = Listening()
    association.dimse.take_values(memoryview(data))
    assert (association.errors == []) == association.dul.event_queue.empty()


COMMAND = encode_command({0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 1, 0x0800: 1})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([value(1, 0, b"x")], "a data set without a command"),
        ([value(1, 2, b"x")], "a data set without a command"),
        ([value(5, 3, COMMAND)], "presentation context 5 was not accepted"),
        ([value(1, 1, COMMAND[:10]), value(3, 3, COMMAND[10:])], "a message changes its presentation context"),
        ([value(1, 1, COMMAND[:10]), value(1, 0, b"x")], "a data set before the end of its command"),
        ([value(1, 3, COMMAND), value(1, 3, COMMAND)], "a command inside a data set"),
        ([value(1, 3, COMMAND), value(3, 0, b"x")], "a message changes its presentation context"),
        ([value(1, 3, b"")], "a command set without a command field"),
        ([value(1, 3, b"\0\0\0\1\2")], "a command set ends inside an element header"),
        ([value(1, 1, bytes(1 << 20)), value(1, 1, b"x")], "a command set longer than 1048576 bytes"),
        ([b"\0\0\0\1\1"], "a presentation data value ends inside its head"),
        ([b"\0\0\0\1\1\3"], "a presentation data value of 1 bytes does not fit its PDU"),
        ([b"\0\0\0\0\1\3"], "a presentation data value of 0 bytes does not fit its PDU"),
        ([b"\0\0\0\7\1\3xx"], "a presentation data value of 7 bytes does not fit its PDU"),
    ],
)
def test_what_is_not_allowed_is_said_and_aborts(values: list[bytes], why: str) -> None:
    association = Listening()
    for one in values:
        association.dimse.take_values(memoryview(one))
    assert association.errors == [why]
    assert association.dul.event_queue.get_nowait() == "Evt19"
    assert list(association.messages()) == []


def echo(number: int) -> bytes:
    return value(1, 3, encode_command({0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: number, 0x0800: 0x0101}))


def cancel(number: int) -> bytes:
    return value(1, 3, encode_command({0x0100: 0x0FFF, 0x0120: number, 0x0800: 0x0101}))


def test_a_cancel_is_no_message_and_counts_for_the_request_before_it_only() -> None:
    association = Listening()
    association.dimse.take_values(memoryview(echo(7) + cancel(7) + cancel(8)))
    assert association.dimse.cancelled == {7, 8}
    association.dimse.take_values(memoryview(echo(8)))
    assert association.dimse.cancelled == {7}
    assert [message.command.number(0x0110) for message in association.messages()] == [7, 8]


def test_cancels_of_nothing_do_not_pile_up() -> None:
    association = Listening()
    for number in range(1000):
        association.dimse.take_values(memoryview(cancel(number)))
    assert len(association.dimse.cancelled) == 64


def test_an_identifier_that_is_too_long_is_told_and_takes_no_more_memory() -> None:
    identifier = Identifier()
    piece = bytes(1 << 20)
    for _ in range(MAX_IDENTIFIER // len(piece)):
        identifier.write(piece)
    assert not identifier.too_long
    assert identifier.write(b"x") == 0
    assert identifier.write(b"") == 0
    assert identifier.too_long
    assert len(identifier.getvalue()) == MAX_IDENTIFIER


@given(
    st.binary(min_size=1, max_size=200), st.none() | st.lists(st.binary(max_size=200), max_size=4), st.integers(2, 250)
)
def test_a_message_is_cut_into_pdus_of_the_length_allowed(command: bytes, data: list[bytes] | None, limit: int) -> None:
    whole = b"".join(pdus(5, command, data, limit))
    heard, controls = {1: b"", 0: b""}, []
    while whole:
        kind, length, size, context_id, control = struct.unpack(">BxIIBB", whole[:12])
        assert (kind, context_id, size) == (4, 5, length - 4)
        assert size - 2 <= limit
        heard[control & 1] += whole[12 : 6 + length]
        controls.append(control)
        whole = whole[6 + length :]
    assert heard == {1: command, 0: b"".join(data or [])}
    last = [position for position, control in enumerate(controls) if control & 2]
    commands = sum(control & 1 for control in controls)
    assert last == ([commands - 1] if data is None else [commands - 1, len(controls) - 1])


def test_a_data_set_that_is_empty_ends_all_the_same() -> None:
    values: dict[int, Value] = {0x0100: 0x8001, 0x0800: 1}
    whole = b"".join(pdus(1, encode_command(values), [], 1000))
    assert whole.endswith(struct.pack(">BBIIBB", 4, 0, 6, 2, 1, 2))
    assert CommandSet.parse(whole[12:-12]).number(0x0800) == 1
