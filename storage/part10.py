"""DICOM files: file meta information (PS3.10 section 7.1), and ConQuest's `.v2` files, which have none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import pack, unpack_from
from typing import BinaryIO

from storage.elements import KNOWN_VRS, SHORT_VRS
from storage.errors import NotDicom
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE

IMPLEMENTATION_CLASS = "1.2.826.0.1.3680043.2.135.1066.101"
IMPLEMENTATION_VERSION = "DGATE_0.1"

_PREAMBLE = 128
_MAGIC = b"DICM"
# Real file meta has a few hundred bytes; private information (0002,0102) may add a certificate or a thumbnail.
_MAX_META = 1024 * 1024
_USUAL_META = 4096
_HEADER = 12

_SOP_CLASS = 0x00020002
_SOP_INSTANCE = 0x00020003
_TRANSFER_SYNTAX = 0x00020010


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """A stored object: its data set is `length` bytes from `offset` of the file at `path`.

    The SOP UIDs are those of the file meta information, "" where there is none.
    """

    path: Path
    transfer_syntax: str
    offset: int
    length: int
    sop_class: str
    sop_instance: str


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Build the preamble, the prefix and group 0002 of a file; raises NotDicom for what cannot be a UID."""
    before, behind = _around_instance(sop_class, transfer_syntax)
    instance = _uid(sop_instance)
    length = len(before) + 8 + len(instance) + len(behind)
    return b"".join(
        (_BEGINNING, pack("<L", length), before, pack("<HH2sH", 2, 3, b"UI", len(instance)), instance, behind)
    )


@lru_cache(maxsize=256)
def _around_instance(sop_class: str, transfer_syntax: str) -> tuple[bytes, bytes]:
    """What stands before and behind the SOP instance UID in group 0002."""
    before = b"\2\0\1\0OB\0\0\2\0\0\0\0\1" + _short(_SOP_CLASS, b"UI", _uid(sop_class))
    return before, _short(_TRANSFER_SYNTAX, b"UI", _uid(transfer_syntax)) + _IMPLEMENTATION


def read_object_file(path: Path) -> ObjectFile:
    """Find the data set of a DICOM file, of a bare one, or of a `.v2` file; raises NotDicom or OSError.

    A file without prefix is taken when it begins as a little endian data set does, as ConQuest and old scanners
    write them.
    """
    with path.open("rb") as source:
        return read_object(source, path)


def read_object(source: BinaryIO, path: Path) -> ObjectFile:
    """Do what `read_object_file` does for a file that is open already, at its beginning."""
    head = source.read(_PREAMBLE + len(_MAGIC))
    size = os.fstat(source.fileno()).st_size
    offset = len(head) if head.endswith(_MAGIC) and len(head) == _PREAMBLE + len(_MAGIC) else 0
    values, end, behind = _read_meta(source, offset)
    syntax = values.get(_TRANSFER_SYNTAX) or _bare_syntax(behind)
    sop_class, sop_instance = values.get(_SOP_CLASS, ""), values.get(_SOP_INSTANCE, "")
    return ObjectFile(path, syntax, offset + end, size - offset - end, sop_class, sop_instance)


def _read_meta(source: BinaryIO, offset: int) -> tuple[dict[int, str], int, bytes]:
    """Read group 2 at `offset`: its UIDs, its length, and the first bytes of what follows."""
    values: dict[int, str] = {}
    end, meta = 0, b""
    for size in (_USUAL_META, _MAX_META):
        source.seek(offset)
        meta = source.read(size)
        values, end = _group_2(meta)
        if end + _HEADER <= len(meta) or len(meta) < size:
            break
    if end > len(meta):
        raise NotDicom("its file meta information is cut short")
    return values, end, meta[end : end + _HEADER]


def _group_2(meta: bytes) -> tuple[dict[int, str], int]:
    """Walk the elements of group 2, explicit little endian whatever follows: their UIDs, and where they end."""
    values: dict[int, str] = {}
    position = 0
    while len(meta) - position >= _HEADER:
        group, element, vr, length = unpack_from("<HH2sH", meta, position)
        if group != 2:
            break
        start = position + 8
        if vr not in SHORT_VRS:
            if vr in KNOWN_VRS:
                start += 4
            # Without a VR it is the implicit header that careless writers use here, too.
            (length,) = unpack_from("<L", meta, start - 4)
        tag, position = group << 16 | element, start + length
        if tag in (_SOP_CLASS, _SOP_INSTANCE, _TRANSFER_SYNTAX):
            values[tag] = meta[start:position].decode("latin-1").strip(" \0")
    return values, position


def _bare_syntax(head: bytes) -> str:
    """The transfer syntax of a data set that nobody named, by its first element."""
    if len(head) < 8:
        raise NotDicom("it is too short for a DICOM file")
    group, _, vr, _ = unpack_from("<HH2sH", head)
    (length,) = unpack_from("<L", head, 4)
    if group == 8 and vr in KNOWN_VRS:
        return EXPLICIT_LITTLE
    if group == 8 and length < _MAX_META:
        return IMPLICIT_LITTLE
    raise NotDicom("it is no DICOM file")


def _uid(text: str) -> bytes:
    value = text.encode("ascii", "replace")
    # The standard has 64; longer ones occur, but nothing that is no UID at all gets this far.
    if len(value) > 255:
        raise NotDicom(f"a UID of {len(value)} characters")
    return value + b"\0" * (len(value) % 2)


def _short(tag: int, vr: bytes, value: bytes) -> bytes:
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


_IMPLEMENTATION = _short(0x00020012, b"UI", _uid(IMPLEMENTATION_CLASS)) + _short(
    0x00020013,
    b"SH",
    IMPLEMENTATION_VERSION.encode().ljust(len(IMPLEMENTATION_VERSION) + len(IMPLEMENTATION_VERSION) % 2),
)
# To the length of the group.
_BEGINNING = bytes(_PREAMBLE) + _MAGIC + pack("<HH2sH", 2, 0, b"UL", 4)
