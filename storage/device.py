"""Devices: the directories that objects are kept in, how full they are, and who writes to them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType

from storage.errors import DeviceBusy, DeviceError, DeviceFull, UnknownDevice, UnsafePath
from storage.settings import StorageSettings

__all__ = [
    "Device",
    "DeviceLocks",
    "DeviceSpace",
    "Devices",
    "UnknownDevice",
    "configured_devices",
    "index_name",
    "lock_devices",
    "relative_names",
]

MB = 1024 * 1024

# Temporary and lock files of a device; a regeneration passes this directory over.
STAGING = "printer_files"
LOCK = "dgate.lock"

_OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class DeviceSpace:
    """How full the file system of a device is, for display."""

    name: str
    root: Path
    total_mb: int
    free_mb: int


@dataclass(frozen=True, slots=True)
class Device:
    """One MAG device: its name in the index, its directory, and the directory of its mirror."""

    name: str
    root: Path
    mirror: Path | None = None
    root_name: str = field(init=False, repr=False, compare=False)
    staging_name: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Made once: they are part of every file name.
        object.__setattr__(self, "root_name", str(self.root))
        object.__setattr__(self, "staging_name", str(self.root / STAGING))

    @property
    def staging(self) -> Path:
        """The directory of temporary files, on the file system of the device."""
        return self.root / STAGING

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where its files may be: the device itself, then its mirror."""
        return (self.root,) if self.mirror is None else (self.root, self.mirror)

    def free_mb(self) -> int:
        """MB (of 1024 * 1024 bytes) that can still be written; raises OSError when the directory is gone."""
        status = os.statvfs(self.root_name)
        return status.f_bavail * status.f_frsize // MB

    def space(self) -> DeviceSpace:
        """How full the device is; raises OSError when the directory is gone."""
        status = os.statvfs(self.root)
        return DeviceSpace(
            self.name, self.root, status.f_blocks * status.f_frsize // MB, status.f_bavail * status.f_frsize // MB
        )

    def check(self) -> None:
        """Raise DeviceError, naming the key and the remedy, unless objects can be written here."""
        key = f"MAGDevice{self.name[3:]}"
        if not self.root.is_dir():
            raise DeviceError(f"{key} = {self.root}: there is no such directory; create it or correct {key}")
        try:
            self.staging.mkdir(exist_ok=True)
        except OSError as error:
            raise DeviceError(f"{key} = {self.root}: cannot write there ({error.strerror}); see its owner") from error
        if not os.access(self.root, os.W_OK | os.X_OK) or not os.access(self.staging, os.W_OK | os.X_OK):
            raise DeviceError(f"{key} = {self.root}: cannot write there; give it to the user that dgate runs as")

    def check_full(self, error: OSError) -> None:
        """Raise DeviceFull for the error of a full file system, quota or file size limit; return for others."""
        if error.errno in _OUT_OF_SPACE:
            raise DeviceFull(f"{self.name}: {error.strerror}") from error

    @property
    def reporting_full(self) -> _ReportingFull:
        """A context that turns the errors of a full file system, quota or file size limit into DeviceFull."""
        return _ReportingFull(self)


class _ReportingFull:
    """What `Device.reporting_full` returns: a class, as a generator costs several times as much."""

    __slots__ = ("_device",)

    def __init__(self, device: Device) -> None:
        self._device = device

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            self._device.check_full(error)


@dataclass(frozen=True, slots=True)
class Devices:
    """The MAG devices in order, and when one of them counts as full."""

    all: tuple[Device, ...]
    threshold_mb: int = 0
    unchecked: bool = False

    def has_room(self, device: Device) -> bool:
        """Whether objects may be written to a device; raises OSError when its directory is gone."""
        return self.unchecked or device.free_mb() > self.threshold_mb

    def with_room(self) -> Iterator[Device]:
        """The devices that objects may be written to, in order."""
        return (device for device in self.all if self.has_room(device))

    def choose(self) -> Device:
        """The first device with room; raises DeviceFull when there is none."""
        for device in self.all:
            if self.has_room(device):
                return device
        raise self.none_has_room()

    def none_has_room(self) -> DeviceFull:
        """What to raise when no device has room."""
        return DeviceFull(f"no device has more than {self.threshold_mb} MB free")

    def named(self, name: str) -> Device:
        """The device of that name, in any case; raises UnknownDevice."""
        for device in self.all:
            if device.name == name.upper():
                return device
        raise UnknownDevice(f"there is no device {name!r}")


def configured_devices(settings: StorageSettings, base: Path) -> Devices:
    """Take the MAG devices of the settings; relative directories are below `base`. Raises DeviceError for a gap."""
    if settings.MAGDevices > len(settings.MAGDevice):
        key = f"MAGDevice{len(settings.MAGDevice)}"
        raise DeviceError(f"MAGDevices = {settings.MAGDevices} but there is no {key}: set {key} to a directory")
    mirrors = settings.MIRRORDevice[: max(settings.MIRRORDevices, 0)]
    devices = []
    for number, text in enumerate(settings.MAGDevice[: max(settings.MAGDevices, 0)]):
        if not text:
            raise DeviceError(f"MAGDevice{number} is empty: set it to a directory")
        mirror = mirrors[number] if number < len(mirrors) else ""
        devices.append(Device(f"MAG{number}", base / text, base / mirror if mirror else None))
    return Devices(tuple(devices), settings.MAGDeviceFullThreshold, settings.IgnoreMAGDeviceThreshold)


def relative_names(file: str) -> tuple[str, ...]:
    """The relative paths that a file name of the index may stand for, likeliest first.

    They are the name itself, with ``\\`` as separator, and both in Latin-1, in which ConQuest writes names of patients
    into the file system. Raises UnsafePath for what is absolute, has a drive, a NUL or a ``..``, with either separator.
    """
    forward = file.replace("\\", "/")
    parts = PurePosixPath(forward).parts
    if not parts or forward.startswith("/") or ".." in parts or "\0" in file or _DRIVE.match(file):
        raise UnsafePath(f"the index names {file!r}, which is no path below a device")
    names: tuple[str, ...] = (file,) if forward == file else (file, forward)
    if file.isascii():
        return names
    with contextlib.suppress(UnicodeEncodeError):
        names += tuple(os.fsdecode(name.encode("latin-1")) for name in names)
    return names


def index_name(path: str) -> str:
    """A path below a device as the index keeps it: as text, read as Latin-1 when the file system's bytes are no UTF-8.

    `relative_names` finds the way back.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("latin-1")
    return path


class DeviceLocks:
    """Hold on devices, let go by `close` or at the end of the process and those it forked."""

    def __init__(self, held: ExitStack) -> None:
        self._held = held

    def close(self) -> None:
        """Let go of the devices."""
        self._held.close()

    def __enter__(self) -> DeviceLocks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def lock_devices(devices: tuple[Device, ...]) -> DeviceLocks:
    """Claim devices for this server; raises DeviceBusy naming the process that has one, or DeviceError."""
    with ExitStack() as held:
        for root in dict.fromkeys(Path(os.path.realpath(device.root)) for device in devices):
            held.callback(os.close, _lock(root))
        return DeviceLocks(held.pop_all())


def _lock(root: Path) -> int:
    path = root / STAGING / LOCK
    try:
        path.parent.mkdir(exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DeviceError(f"cannot open {path}: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(held, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(held)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise DeviceBusy(f"{root} is in use by another dgate, process {holder}: stop that one first") from error
        raise DeviceError(f"cannot lock {path}: {error.strerror}") from error
    os.ftruncate(held, 0)
    os.pwrite(held, f"{os.getpid()}\n".encode(), 0)
    return held
