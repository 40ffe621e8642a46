"""An object on its way in: in memory while it is small, else in a temporary file on the device it will stay on.

The beginning of a large one stays in memory as well: its header is read there, and what arrives is written to the file
while the sender prepares what follows.
"""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from storage.device import MB, Device, Devices
from storage.elements import HeldData
from storage.errors import DeviceFull, StorageError, TooLarge
from storage.header import Early, Header, TagPath, read_beginning, read_header, read_held
from storage.part10 import ObjectFile, file_meta
from storage.staged import StagedFile
from storage.staging import Staging
from storage.transfer import is_deflated

# More than one PDU of 128 KB: small objects, which come at the highest rate, are written in one go.
_IN_MEMORY = 160 * 1024
# How much is written between two looks at the free space.
_STRIDE = 64 * MB
_PIECE = 1 * MB


class Spool:
    """Collects the data set of one object. Made by `Storage.spool`; `Storage.store` or `discard` ends it.

    `size` counts the bytes of the data set. One thread writes at a time.
    """

    def __init__(
        self,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        *,
        bare: bool,
        limit: int,
        devices: Devices,
        staging: Staging,
    ) -> None:
        self.sop_class = sop_class
        self.sop_instance = sop_instance
        self.transfer_syntax = transfer_syntax
        self.size = 0
        self._bare = bare
        self._limit = limit
        self._devices = devices
        self._staging = staging
        self._head: list[bytes | bytearray] = []
        self._staged: StagedFile | None = None
        self._copy: StagedFile | None = None
        self._offset = 0
        self._unchecked = 0
        self._ended = False
        self._wanted: Collection[TagPath] = ()
        self._early: Early | None = None
        self._error: StorageError | OSError | None = None

    @classmethod
    def adopt(cls, file: ObjectFile, staged: StagedFile, devices: Devices, staging: Staging) -> Spool:
        """Make one of a complete temporary file that an earlier process left behind."""
        uids = (file.sop_class, file.sop_instance, file.transfer_syntax)
        spool = cls(*uids, bare=not file.offset, limit=0, devices=devices, staging=staging)
        spool._staged = staged
        spool._offset = file.offset
        spool.size = file.length
        return spool

    @property
    def device(self) -> Device | None:
        """The device of the temporary file; None while the object is in memory."""
        return self._staged.device if self._staged else None

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the data set. Never raises: the first error is kept for `open` and `store`, the rest dropped."""
        if self._error is None and not self._ended:
            try:
                self._append(chunk)
            except (StorageError, OSError) as error:
                self.discard()
                self._error = error
        self.size += len(chunk)

    def open(self) -> BinaryIO:
        """Return a reader of its own that stands at the first byte of the data set.

        Raises what went wrong while writing: DeviceFull, TooLarge, NotDicom for impossible UIDs, OSError.
        """
        self._check()
        if self._staged is None:
            return io.BytesIO(b"".join(self._head))
        source = self._staged.open()
        source.seek(self._offset)
        return source

    def expect(self, wanted: Collection[TagPath]) -> None:
        """Say what `header` will be asked for: of a large object it is read while the rest arrives."""
        self._wanted = wanted

    def header(self, wanted: Collection[TagPath]) -> Header:
        """Read the header and see that the data set is whole, as `read_header` does; raises what that and `open` do."""
        self._check()
        if self._early is not None and self._early.end == self.size and wanted is self._wanted:
            return self._early.header
        if self._staged is None:
            return read_held(b"".join(self._head), self.transfer_syntax, wanted)
        with closing(self.data()) as data:
            return read_header(data, self.transfer_syntax, wanted, whole=True)

    def data(self) -> HeldData:
        """Return the data set for `read_header`, to be closed afterwards; raises what `open` raises."""
        self._check()
        return HeldData(b"".join(self._head), self.size, self.open)

    def file(self, scratch: Path) -> Path:
        """Return a file that holds the object, for other processes to read: its temporary one, else `scratch`.

        Raises what `open` and writing raise; `scratch` is the caller's to remove.
        """
        self._check()
        if self._staged is not None:
            return self._staged.path
        with scratch.open("wb") as out:
            out.write(file_meta(self.sop_class, self.sop_instance, self.transfer_syntax))
            out.writelines(self._head)
        return scratch

    def end(self) -> None:
        """Let go of all but what of a stored file nobody need wait for: that is left to `discard`. Never raises."""
        self._ended = True
        self._head = []
        for file in (self._staged, self._copy):
            if file is not None and not file.waits:
                self._let_go(file)

    def discard(self) -> None:
        """Let go of everything but a stored file; may be called at any time, and again. Never raises."""
        self._ended = True
        self._head = []
        staged, self._staged = self._staged, None
        copy, self._copy = self._copy, None
        for file in (staged, copy):
            if file is not None:
                self._let_go(file)

    def _let_go(self, file: StagedFile) -> None:
        # What stays behind is found by `stale_parts`.
        with contextlib.suppress(OSError):
            file.discard()

    def stage(self, device: Device, *, bare: bool) -> StagedFile:
        """Return the object, whole, as a temporary file on `device`; raises what `open` and writing raise.

        It is the spool's, which lets go of it in `discard`, or before when it makes another one.
        """
        self._check()
        if self._staged is not None and self._staged.device == device and (self._offset == 0) == bare:
            return self._staged
        former, self._copy = self._copy, None
        if former is not None:
            former.discard()
        meta = b"" if bare else file_meta(self.sop_class, self.sop_instance, self.transfer_syntax)
        if self._staged is None:
            self._copy = self._staging.create(device, bare=bare, content=(meta, *self._head))
            return self._copy
        self._copy = copy = self._staging.create(device, bare=bare)
        copy.write(meta)
        with self.open() as source:
            shutil.copyfileobj(source, copy, _PIECE)
        return copy

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ValueError("the spool was discarded or stored")

    def _append(self, chunk: bytes | bytearray | memoryview) -> None:
        size = self.size + len(chunk)
        if self._limit and size > self._limit:
            raise TooLarge(f"it is larger than MaxObjectSize = {self._limit // MB}")
        if self._staged is None:
            if size <= _IN_MEMORY:
                # Most small objects come in one piece, which is copied once; more of them are one behind the first.
                if len(self._head) < 2:
                    self._head.append(bytearray(chunk) if self._head else bytes(chunk))
                else:
                    self._head[1] += chunk
                return
            self._spill()
        assert self._staged is not None
        self._staged.write(chunk)
        self._unchecked += len(chunk)
        if self._unchecked >= _STRIDE:
            self._unchecked = 0
            if not self._devices.has_room(self._staged.device):
                raise DeviceFull(f"{self._staged.device.name}: no room for an object of more than {size // MB} MB")

    def _spill(self) -> None:
        """Go on in a temporary file."""
        meta = b"" if self._bare else file_meta(self.sop_class, self.sop_instance, self.transfer_syntax)
        self._staged = self._staging.create(self._devices.choose(), bare=self._bare)
        self._offset = len(meta)
        self._staged.write(meta, *self._head)
        if self._wanted and not is_deflated(self.transfer_syntax):
            self._early = read_beginning(b"".join(self._head), self.transfer_syntax, self._wanted)
