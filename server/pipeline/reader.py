"""Stored objects on their way out: opened ahead of their turn, and what is sent of them."""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from db.objects import StoredObject
from server.commandset import Buffer
from server.server import Server
from server.status import cause
from storage.errors import MissingFile, NotDicom
from storage.part10 import ObjectFile, read_object

log = logging.getLogger("dgate")


# A file up to this size is mapped as a whole: the kernel copies from its own memory to the network's, once. Of a larger
# one pieces are read while it goes, since what is mapped and touched counts as memory of the process.
_MAPPED = 2 << 20
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Kind:
    """What decides the presentation context of an object: its SOP class and the transfer syntax it is stored in."""

    sop_class: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An object about to be sent: its UIDs, its open file, and its data set when that is mapped.

    The file stays what it was when it was opened, even when it is replaced or removed while it is sent. Of what is
    mapped only the kernel may read: where a file is cut meanwhile, we would die and it reports an error.
    """

    sop_class: str
    sop_instance: str
    file: ObjectFile
    source: BinaryIO
    mapped: memoryview | None

    @property
    def kind(self) -> Kind:
        return Kind(self.sop_class, self.file.transfer_syntax)

    @property
    def is_gone(self) -> bool:
        """Whether the file has been removed, or replaced by another copy, since it was opened."""
        return os.fstat(self.source.fileno()).st_nlink == 0

    def data(self) -> Iterator[Buffer]:
        """Yield the data set as it is stored, in pieces; raises EOFError when the file is cut meanwhile."""
        if self.mapped is not None:
            yield self.mapped
            return
        position, end = self.file.offset, self.file.offset + self.file.length
        descriptor = self.source.fileno()
        while position < end:
            piece = os.pread(descriptor, min(_PIECE, end - position), position)
            if not piece:
                raise EOFError("the file is shorter than it was")
            position += len(piece)
            _will_need(descriptor, position)
            yield piece

    def close(self) -> None:
        self.source.close()


class Reader:
    """Opens the stored objects of a retrieve."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def open(self, row: StoredObject) -> Outgoing | None:
        """Open an object, which the kernel begins to read; None, with a log line, when that cannot be."""
        try:
            return self._opened(row)
        except (MissingFile, NotDicom, OSError) as error:
            log.error("***Cannot send %s: %s", row.sop_instance, cause(error))
            return None

    def kind(self, row: StoredObject) -> Kind | None:
        """Look at an object's file meta; None when it is missing or no longer readable, which `open` will say."""
        try:
            outgoing = self._opened(row)
        except (MissingFile, NotDicom, OSError):
            return None
        outgoing.close()
        return outgoing.kind

    def _opened(self, row: StoredObject) -> Outgoing:
        try:
            return self._at_its_place(row)
        except (MissingFile, FileNotFoundError):
            return self._moved(row)

    def _at_its_place(self, row: StoredObject) -> Outgoing:
        path = self._server.storage.locate(row.device, row.file)
        source = path.open("rb")
        try:
            file = read_object(source, path)
            size = file.offset + file.length
            _will_need(source.fileno(), 0)
            mapped = None
            if file.length and size <= _MAPPED:
                mapped = memoryview(_mapping(source, size))[file.offset :]
        except BaseException:
            source.close()
            raise
        return Outgoing(row.sop_class or file.sop_class, row.sop_instance or file.sop_instance, file, source, mapped)

    def _moved(self, row: StoredObject) -> Outgoing:
        """Look in the index once more for an object whose file is gone: it may have been stored anew meanwhile."""
        found = self._server.index.locate(row.sop_instance, row.patient_id or None)
        if found is None:
            raise MissingFile("it has been deleted")
        return self._at_its_place(replace(row, device=found.device, file=found.file))


def _mapping(source: BinaryIO, size: int) -> mmap.mmap:
    try:
        return mmap.mmap(source.fileno(), size, prot=mmap.PROT_READ)
    except ValueError:
        raise NotDicom("the file is shorter than it was") from None


def _will_need(descriptor: int, position: int) -> None:
    """Have the kernel read what comes next of a file, while other things are done."""
    os.posix_fadvise(descriptor, position, _MAPPED, os.POSIX_FADV_WILLNEED)
