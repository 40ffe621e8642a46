"""How the files of objects begin on each device, and what makes their names durable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.device import Device
from storage.durable import DurableDirectories
from storage.filesystem import kind_of, names_with_files
from storage.settling import Settling
from storage.spares import Spares
from storage.staged import Buffer, StagedFile


class Staging:
    """Makes temporary files and settles their final names, for ``Durability = safe`` or else ``fast``.

    Threads share one; forked processes may use their copy of it.
    """

    def __init__(self, *, safe: bool) -> None:
        self.safe = safe
        self._spares = Spares(sealed=safe)
        self._settling = Settling()
        self._durable = DurableDirectories()
        self._covering: dict[str, bool] = {}

    def create(self, device: Device, *, bare: bool, content: Sequence[Buffer] = ()) -> StagedFile:
        """Make a file that holds `content`, which is all of it or nothing; raises DeviceFull or OSError."""
        sealed = self.safe and self._names_with_files(device)
        file = self._spares.create(device, bare=bare) if sealed or not self.safe else None
        if file is None and sealed:
            return StagedFile.create_sealed(device, bare=bare, content=content)
        if file is None:
            file = StagedFile.create(device, bare=bare)
        if content:
            try:
                file.write(*content)
            except BaseException:
                file.discard()
                raise
        return file

    def settle(self, file: StagedFile, final: str) -> None:
        """See to it that a published file is still there after a power cut; raises DeviceFull or OSError."""
        if file.sealed:
            self._settling.add(file.device, final, file.temporary())
            return
        try:
            self._durable.settle(Path(final).parent, file.device.root)
        except OSError as error:
            file.device.check_full(error)
            raise

    def forget(self, final: str) -> None:
        """Let go of a final name that was removed."""
        self._settling.forget(final)

    def close(self) -> None:
        """Make all names durable, end what runs beside; more files may be made afterwards."""
        self._settling.close()
        self._spares.close()

    def _names_with_files(self, device: Device) -> bool:
        """Whether the sync of a new file covers its name."""
        covering = self._covering.get(device.name)
        if covering is None:
            covering = self._covering[device.name] = names_with_files(kind_of(device.root_name))
        return covering
