"""Command sets: the first half of every DIMSE message, read and written as raw values by tag.

pynetdicom drops the private elements of group 9999 that ConQuest's command channel puts there, so this is our own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

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


class CommandSet(Mapping[int, bytes]):
    """A command set as raw values by tag, group 9999 included (PS3.7 6.3.1, implicit VR little endian)."""

    def __init__(self, elements: Mapping[int, bytes]) -> None:
        self._elements = dict(elements)

    @classmethod
    def parse(cls, data: Buffer) -> CommandSet:
        """Read an encoded command set; raises ProtocolError when lengths do not fit."""
        raw = bytes(data)
        end = len(raw)
        elements: dict[int, bytes] = {}
        position = 0
        while position < end:
            if position + 8 > end:
                raise ProtocolError("a command set ends inside an element header")
            group, element, length = _ELEMENT.unpack_from(raw, position)
            value = position + 8
            position = value + length
            if position > end:
                raise ProtocolError(f"command element ({group:04x},{element:04x}) is longer than its command set")
            elements[group << 16 | element] = raw[value:position]
        return cls(elements)

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
    return b"".join((struct.pack("<HHII", 0, 0, 4, len(counted)), counted, *others))
