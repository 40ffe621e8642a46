"""The archive's files: taking objects in, finding them, letting them go."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from storage.cleaning import numbered
from storage.device import (
    MB,
    Device,
    DeviceLocks,
    DeviceSpace,
    configured_devices,
    index_name,
    lock_devices,
    relative_names,
)
from storage.durable import sync_names
from storage.errors import DeviceError, DeviceFull, MissingFile, UnsafePath
from storage.header import Header, TagPath, read_header
from storage.leftovers import remove_stale_scratch, stale_parts
from storage.naming import Naming, read_syntax
from storage.part10 import read_object_file
from storage.settings import StorageSettings
from storage.spool import Spool
from storage.staged import StagedFile, scratch_file
from storage.staging import Staging
from storage.touched import TouchedDirectories
from storage.transfer import IMPLICIT_LITTLE

# Different counters to try for one second's names, and copies of one object side by side, before giving up.
_COUNTERS = 0x10000
_COPIES = 100_000
_SOP_CLASS: TagPath = (0x00080016,)
_SOP_INSTANCE: TagPath = (0x00080018,)
_MAG = re.compile(r"(MAG\d+)(?:\..*)?", re.IGNORECASE | re.DOTALL)


class StoredFile(NamedTuple):
    """A file that has its final name: the device and the name below its root, as the index keeps them."""

    device: str
    file: str
    full_name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.full_name)


class Storage:
    """The MAG devices of dicom.ini. Threads share one; forked processes may use their copy of it side by side."""

    def __init__(self, settings: StorageSettings, base: Path) -> None:
        """Take relative directories below `base`; touches no disk.

        Raises DeviceError for missing device keys and ValueError for a FileNameSyntax that cannot be used.
        """
        self.settings = settings
        self._devices = configured_devices(settings, base)
        self._template = read_syntax(settings.FileNameSyntax)
        self._temporary = base / settings.TempDir if settings.TempDir else None
        self._counter = itertools.count()
        safe = settings.Durability == "safe"
        self._staging = Staging(safe=safe)
        self.touched = TouchedDirectories(safe=safe)

    @property
    def devices(self) -> tuple[Device, ...]:
        """The MAG devices in the order in which they are filled."""
        return self._devices.all

    @property
    def name_tags(self) -> frozenset[TagPath]:
        """What `read_header` must be asked for so that `store` can make a name."""
        return self._template.tags

    def is_bare(self, transfer_syntax: str) -> bool:
        """Whether objects of a transfer syntax are kept in `.v2` files."""
        return self._template.is_bare(transfer_syntax)

    @property
    def temporary(self) -> Path:
        """The directory for temporary files of others: TempDir, else printer_files on MAG0."""
        return self._temporary or self.devices[0].staging

    def device(self, name: str) -> Device:
        """The MAG device of that name; raises UnknownDevice."""
        return self._devices.named(name)

    def check(self) -> None:
        """Raise DeviceError, naming key and remedy, unless every MAG device can be written to."""
        for device in self.devices:
            device.check()

    def lock(self) -> DeviceLocks:
        """Claim the devices for this server until closed; raises DeviceBusy when another one has them."""
        return lock_devices(self.devices)

    def close(self) -> None:
        """Make the names of stored files durable that are not yet, and end what does so beside; it may go on again."""
        self._staging.close()

    def is_settled(self, device: Device) -> bool:
        """Whether no process has temporary files on a device, and all names there are durable; raises OSError."""
        return not stale_parts((device,), alone=True)

    def space(self) -> tuple[DeviceSpace, ...]:
        """How full each device is; one whose directory is gone has 0 MB."""
        spaces = []
        for device in self.devices:
            try:
                spaces.append(device.space())
            except OSError:
                spaces.append(DeviceSpace(device.name, device.root, 0, 0))
        return tuple(spaces)

    def spool(self, sop_class: str, sop_instance: str, transfer_syntax: str) -> Spool:
        """Begin to take in an object; whoever calls this ends with `Spool.discard`, after `store` too. Never raises."""
        return Spool(
            sop_class,
            sop_instance,
            transfer_syntax,
            bare=self._template.is_bare(transfer_syntax),
            limit=self.settings.MaxObjectSize * MB,
            devices=self._devices,
            staging=self._staging,
        )

    def store(self, spool: Spool, header: Header, *, calling: str, called: str) -> StoredFile:
        """Give a spooled object its file on the first device with room, under a name that no other file has.

        With ``Durability = safe`` the file survives a power cut when this returns, under this or a temporary name.
        Raises DeviceFull, TooLarge, NotDicom for impossible UIDs, or OSError; nothing is left of the object then. What
        is left to do of a stored file is done by `Spool.discard`, which may come when the sender has its answer.
        """
        try:
            stored = self._stored(spool, header, calling, called)
        except BaseException:
            spool.discard()
            raise
        spool.end()
        return stored

    def _stored(self, spool: Spool, header: Header, calling: str, called: str) -> StoredFile:
        limit = self.settings.MaxFileNameLength
        naming = Naming(calling, called, spool.transfer_syntax, int(time.time()), next(self._counter), limit)
        name = self._template.name(header, naming)
        first = spool.device or self._devices.choose()
        try:
            return self._place(spool, first, name, self._other_names(name, header, naming))
        except DeviceFull as error:
            refused = error
        for device in self._devices.with_room():
            if device != first:
                try:
                    return self._place(spool, device, name, self._other_names(name, header, naming))
                except DeviceFull as error:
                    refused = error
        raise refused

    def locate(self, device: str, file: str) -> Path:
        """Find the file of an index entry: on its device, on that one's mirror, then on any device or mirror.

        A ``\\`` counts as separator where there is no file with that character in its name, for databases from
        Windows. Raises UnsafePath or MissingFile.
        """
        names = relative_names(file)
        for root in self._roots(device):
            for name in names:
                path = root / name
                if path.is_file():
                    return path
        raise MissingFile(f"{device} {file}: there is no such file on any device")

    def place(self, path: Path) -> tuple[str, str] | None:
        """The device and the name below it of a file anywhere on a MAG device, as the index keeps them; else None."""
        roots = sorted((device.root for device in self.devices), key=lambda root: len(root.parts), reverse=True)
        if ".." not in path.parts:
            for root in roots:
                if path != root and path.is_relative_to(root):
                    return self._name_at(root), index_name(path.relative_to(root).as_posix())
        real = Path(os.path.realpath(path))
        for root in roots:
            real_root = Path(os.path.realpath(root))
            if real != real_root and real.is_relative_to(real_root):
                return self._name_at(root), index_name(real.relative_to(real_root).as_posix())
        return None

    def remove(self, device: str, file: str, *, but: Path | None = None) -> None:
        """Delete a file, its mirror copy, and directories above them that are empty then; gone already is no error.

        `but` is left, should the name stand for that file too. Raises UnsafePath when the file lies outside of the
        device, UnknownDevice, or OSError.
        """
        match = _MAG.fullmatch(device)
        for root in self.device(match[1] if match else device).roots:
            for name in relative_names(file):
                path = root / name
                if path != but and os.path.lexists(path):
                    _remove_below(root, path)
                    self._staging.forget(str(path))
                    break

    def leftovers(self, *, alone: bool) -> list[Path]:
        """List temporary files of processes that ended, latest first; `alone`: of any, as nobody else uses the devices.

        What has its final name already is removed on the way, as `remove_linked` does. Raises OSError.
        """
        remove_stale_scratch(self.devices, alone=alone)
        self.remove_linked(alone=alone)
        found = []
        for _, path in stale_parts(self.devices, alone=alone):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path))
        return [path for _, path in sorted(found, reverse=True)]

    def remove_linked(self, *, alone: bool) -> None:
        """Remove temporary names of files that have their final one, of processes as in `leftovers`.

        That must not be lost in a power cut, and lies in a directory that was noted: to be called before these are
        forgotten. Raises OSError.
        """
        linked: dict[Device, list[Path]] = {}
        for device, path in stale_parts(self.devices, alone=alone):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_nlink > 1:
                    linked.setdefault(device, []).append(path)
        for device, paths in linked.items():
            sync_names(device.root, [device.root / directory for directory in self.touched.noted(device)])
            for path in paths:
                path.unlink(missing_ok=True)

    def adopt(self, leftover: Path) -> Spool:
        """Take over a temporary file that `leftovers` lists; the caller checks that it is complete, then stores it.

        It stays whatever comes of that, until the caller removes it. Raises NotDicom or OSError.
        """
        file = read_object_file(leftover)
        device = next((device for device in self.devices if leftover.parent == device.staging), None)
        if device is None:
            raise DeviceError(f"{leftover} is no temporary file of a device")
        if not file.sop_instance:
            with leftover.open("rb") as source:
                source.seek(file.offset)
                header = read_header(source, file.transfer_syntax, (_SOP_CLASS, _SOP_INSTANCE))
            file = replace(file, sop_class=header.text(*_SOP_CLASS), sop_instance=header.text(*_SOP_INSTANCE))
        return Spool.adopt(file, StagedFile.adopt(device, leftover), self._devices, self._staging)

    def scratch(self, *, passing: bool = False) -> Path:
        """Name a file to work on, on a device with room; its maker removes it, or a start when it was killed.

        One that is only `passing`, which nothing on the device is made of, needs none. Raises DeviceFull or OSError.
        """
        return scratch_file(self.devices[0] if passing else self._devices.choose())

    def take(self, made: Path) -> Spool:
        """Take over a complete object file named by `scratch` as if it had arrived; raises NotDicom or OSError."""
        file = read_object_file(made)
        device = next(device for device in self.devices if made.parent == device.staging)
        return Spool.adopt(file, StagedFile.take(device, made), self._devices, self._staging)

    def store_beside(self, spool: Spool, device: str, file: str) -> StoredFile:
        """Give a spooled object a file beside another, under the name of that but for the extension, or numbered.

        `device` and `file` are as `place` has them. Raises as `store` does.
        """
        try:
            home = self.device(device)
            bare = file[-3:].lower() == ".v2"
            name = file if not bare or spool.transfer_syntax == IMPLICIT_LITTLE else f"{file[:-3]}.dcm"
            if not self._devices.has_room(home):
                raise DeviceFull(f"{home.name}: no room")
            limit = self.settings.MaxFileNameLength
            # What was done twice has its first name again.
            stem, dot, extension = name.rpartition(".")
            again = (f"{stem.removesuffix('_1')}{dot}{extension}",) if stem.endswith("_1") else ()
            numbers = (numbered(name, number, limit) for number in range(1, _COPIES))
            return self._place(spool, home, name, itertools.chain(again, numbers))
        finally:
            spool.discard()

    def _name_at(self, root: Path) -> str:
        return next(device.name for device in self.devices if device.root == root)

    def _other_names(self, name: str, header: Header, naming: Naming) -> Iterator[str]:
        """Names to try when `name` is taken, best first."""
        for _ in range(1, _COUNTERS if self._template.counted else 1):
            naming = naming._replace(time_s=int(time.time()), counter=next(self._counter))
            name = self._template.name(header, naming)
            yield name
        yield from (numbered(name, number, naming.limit) for number in range(1, _COPIES))

    def _place(self, spool: Spool, device: Device, name: str, others: Iterator[str]) -> StoredFile:
        staged = spool.stage(device, bare=name[-3:].lower() == ".v2")
        staged.finish(safe=self._staging.safe)
        first = name
        while True:
            self.touched.before_write(device, name)
            try:
                full_name = staged.publish(name)
                break
            except FileExistsError:
                try:
                    name = next(others)
                except StopIteration:
                    raise DeviceError(f"{device.name}: no name like {first} is free") from None
        if self._staging.safe:
            try:
                self._staging.settle(staged, full_name)
            except BaseException:
                _remove_below(device.root, Path(full_name))
                raise
        return StoredFile(device.name, name, full_name)

    def _roots(self, device: str) -> Iterator[Path]:
        """Where a file of a device may be, likeliest first (spec: its device, its mirror, all devices, all mirrors)."""
        match = _MAG.fullmatch(device)
        named = [known for known in self.devices if match and known.name == match[1].upper()]
        roots = [root for known in named for root in known.roots]
        roots += [known.root for known in self.devices]
        roots += [known.mirror for known in self.devices if known.mirror is not None]
        return iter(dict.fromkeys(roots))


def _remove_below(root: Path, path: Path) -> None:
    """Unlink a file below `root`, and what is empty then between them; a link out of `root` is not followed."""
    real_root = os.path.realpath(root)
    if not Path(os.path.realpath(path.parent)).is_relative_to(real_root):
        raise UnsafePath(f"{path.name} lies outside of its device")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    for directory in path.parents:
        if directory == root or not directory.is_relative_to(root):
            return
        try:
            directory.rmdir()
        except OSError:
            # Not empty, gone already, or a link: then nothing above it is empty either.
            return
