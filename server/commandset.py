"""Command sets: the first half of every DIMSE message, read and written as raw values by tag.

pynetdicom drops the private elements of group 9999 that ConQuest's command channel puts there, so this is our own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

AFFECTED_SOP_CLASS = 0x00000002
REQUESTED_SOP_CLASS = 0x00000003
COMMAND_FIELD = 0x00000100
MESSAGE_ID = 0x00000110
RESPONDED_TO = 0x00000120
MOVE_DESTINATION = 0x00000600
PRIORITY = 0x00000700
DATA_SET_TYPE = 0x00000800
STATUS = 0x00000900
ERROR_COMMENT = 0x00000902
AFFECTED_SOP_INSTANCE = 0x00001000
REMAINING = 0x00001020
COMPLETED = 0x00001021
FAILED = 0x00001022
WARNING = 0x00001023
ORIGINATOR_AE = 0x00001030
ORIGINATOR_ID = 0x00001031

C_STORE_RQ = 0x0001
C_GET_RQ = 0x0010
C_FIND_RQ = 0x0020
C_MOVE_RQ = 0x0021
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000

NO_DATA_SET = 0x0101

Buffer = bytes | bytearray | memoryview

_ELEMENT = struct.Struct("<HHI")
_NUMBER = struct.Struct("<HHIH")


class ProtocolError(Exception):
    """The peer sent something PS3.7 or PS3.8 does not allow; the association is aborted."""


class _Layout(NamedTuple):
    """Where the elements of a command set are: what cuts it into heads and values, the heads, and their tags."""

    cut: struct.Struct
    heads: tuple[bytes, ...]
    tags: tuple[int, ...]


# The last layout of each length: a peer's commands differ in little but values.
_layouts: dict[int, _Layout] = {}
_MOST_LAYOUTS = 64
_LONGEST_LAYOUT = 512


class CommandSet(Mapping[int, bytes]):
    """A command set as raw values by tag, group 9999 included (PS3.7 6.3.1, implicit VR little endian)."""

    __slots__ = ("_elements",)

    def __init__(self, elements: Mapping[int, bytes]) -> None:
        self._elements = elements

    @classmethod
    def parse(cls, data: Buffer) -> CommandSet:
        """Read an encoded command set; raises ProtocolError when lengths do not fit."""
        raw = bytes(data)
        layout = _layouts.get(len(raw))
        if layout is not None:
            parts = layout.cut.unpack(raw)
            if parts[::2] == layout.heads:
                return cls(dict(zip(layout.tags, parts[1::2], strict=True)))
        return cls(_walked(raw))

    def __getitem__(self, tag: int) -> bytes:
        return self._elements[tag]

    def __contains__(self, tag: object) -> bool:
        return tag in self._elements

    def __iter__(self) -> Iterator[int]:
        return iter(self._elements)

    def __len__(self) -> int:
        return len(self._elements)

    def number(self, tag: int, default: int = 0) -> int:
        """The US value of `tag`, or `default` when it is absent or has another length."""
        value = self._elements.get(tag, b"")
        return int.from_bytes(value, "little") if len(value) == 2 else default

    def text(self, tag: int) -> str:
        """The UI, AE or LO value of `tag` without its padding; empty when absent."""
        return self._elements.get(tag, b"").decode("latin-1").strip(" \0")


def _walked(raw: bytes) -> dict[int, bytes]:
    """The elements one after another; remembers how they lie."""
    end = len(raw)
    elements: dict[int, bytes] = {}
    tags, heads, lengths = [], [], []
    position = 0
    while position < end:
        if position + 8 > end:
            raise ProtocolError("a command set ends inside an element header")
        group, element, length = _ELEMENT.unpack_from(raw, position)
        value = position + 8
        if value + length > end:
            raise ProtocolError(f"command element ({group:04x},{element:04x}) is longer than its command set")
        tags.append(group << 16 | element)
        heads.append(raw[position:value])
        lengths.append(length)
        position = value + length
        elements[tags[-1]] = raw[value:position]
    if end <= _LONGEST_LAYOUT:
        if len(_layouts) >= _MOST_LAYOUTS:
            _layouts.clear()
        cut = struct.Struct("".join(f"8s{length}s" for length in lengths))
        _layouts[end] = _Layout(cut, tuple(heads), tuple(tags))
    return elements


Value = int | str | bytes

# PS3.5 6.2: AE and LO are padded with a blank, UI with NUL; ConQuest pads its own elements with NUL.
_BLANK_PADDED = frozenset({MOVE_DESTINATION, ERROR_COMMENT, ORIGINATOR_AE})


def encode_command(elements: Mapping[int, Value]) -> bytes:
    """Encode a command set: ints become US, AE titles and comments are padded with a blank, everything else with NUL.

    The group length counts group 0000 only: dgate's elements of group 9999 follow uncounted, as ConQuest sends them.
    """
    group_0000: list[bytes] = []
    others: list[bytes] = []
    for tag in sorted(elements):
        value = elements[tag]
        target = others if tag >> 16 else group_0000
        if isinstance(value, int):
            target.append(_NUMBER.pack(tag >> 16, tag & 0xFFFF, 2, value))
            continue
        raw = value.encode("latin-1", "replace") if isinstance(value, str) else value
        if len(raw) & 1:
            raw += b" " if tag in _BLANK_PADDED else b"\0"
        target += _ELEMENT.pack(tag >> 16, tag & 0xFFFF, len(raw)), raw
    counted = b"".join(group_0000)
    return b"".join((_group_length(len(counted)), counted, *others))


def encode_plain_response(
    field: int, request: int, status: int, sop_class: str, sop_instance: str, *, data: bool
) -> bytes:
    """What `encode_command` makes of a response with nothing but the usual elements, cheaper; both UIDs not empty.

    `field` is the command field of the response, `request` the message ID it responds to.
    """
    class_uid, instance_uid = sop_class.encode("latin-1", "replace"), sop_instance.encode("latin-1", "replace")
    class_uid += b"\0" * (len(class_uid) & 1)
    instance_uid += b"\0" * (len(instance_uid) & 1)
    before, between, behind = _plain_frame(field, status, data, len(class_uid), len(instance_uid))
    return b"".join((before, class_uid, between, request.to_bytes(2, "little"), behind, instance_uid))


@lru_cache(maxsize=256)
def _plain_frame(field: int, status: int, data: bool, of_class: int, of_instance: int) -> tuple[bytes, bytes, bytes]:
    """What stands before the SOP class UID, between that and the message ID, and from there to the instance UID."""
    follows = 0x0001 if data else NO_DATA_SET
    class_head = _ELEMENT.pack(0, AFFECTED_SOP_CLASS, of_class)
    between = _NUMBER.pack(0, COMMAND_FIELD, 2, field) + _ELEMENT.pack(0, RESPONDED_TO, 2)
    behind = _NUMBER.pack(0, DATA_SET_TYPE, 2, follows) + _NUMBER.pack(0, STATUS, 2, status)
    behind += _ELEMENT.pack(0, AFFECTED_SOP_INSTANCE, of_instance)
    counted = len(class_head) + of_class + len(between) + 2 + len(behind) + of_instance
    return _group_length(counted) + class_head, between, behind


def _group_length(counted: int) -> bytes:
    return struct.pack("<HHII", 0, 0, 4, counted)
