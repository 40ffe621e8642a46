"""A whole sequence as the text that pydicom makes of it: the few tags of MR and PET that are sequences."""

from __future__ import annotations

import io
import struct
import warnings

from pydicom.charset import convert_encodings
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from storage.elements import Cursor, HeldData, open_data
from storage.errors import NotDicom
from storage.header import vr_of
from storage.transfer import is_deflated
from storage.traversal import Kind, steps

# What a person would still look at; more is not worth holding in an index.
_MOST_BYTES = 256 * 1024
# What pydicom raises for values that are not what their VR promises.
_BAD_VALUES = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, EOFError, struct.error)


def sequence_text(data: HeldData, transfer_syntax: str, path: tuple[int, ...], character_set: str) -> str:
    """pydicom's text of the sequence at `path` of a data set, "" when it is not there.

    The last tag of `path` is looked for in the first item of the sequences before it. Raises ValueError when it is
    damaged, deflated or longer than 256 KiB.
    """
    if is_deflated(transfer_syntax):
        raise ValueError("sequences of deflated objects are not shown")
    try:
        cursor = Cursor(open_data(data, transfer_syntax), transfer_syntax)
        found = _bytes_of(cursor, path)
    except NotDicom as error:
        raise ValueError(str(error)) from error
    if not found:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            encodings = convert_encodings(character_set.split("\\"))
            shown = read_dataset(io.BytesIO(found), cursor.implicit, cursor.little_endian, parent_encoding=encodings)
            return str(shown[Tag(path[-1])].value)
        except _BAD_VALUES as error:
            raise ValueError(f"its elements cannot be shown: {type(error).__name__}") from error


def _bytes_of(cursor: Cursor, path: tuple[int, ...]) -> bytes:
    """The element at `path`, its header included; b"" when it is not there."""
    depth, begin = 0, -1
    for step in steps(cursor, vr_of):
        if begin >= 0:
            if cursor.position - begin > _MOST_BYTES:
                raise NotDicom(f"it is longer than {_MOST_BYTES >> 10} KiB")
            if step.kind is Kind.END_OF_SEQUENCE and step.depth == depth:
                return cursor.data.read(begin, cursor.position - begin)
        elif (step.depth == 0 and step.tag > path[0]) or (depth and step.kind is Kind.ITEM and step.number):
            return b""
        elif step.kind is Kind.SEQUENCE and step.depth == depth and step.tag == path[depth]:
            if depth == len(path) - 1:
                begin = step.start
            else:
                depth += 1
    return b""
