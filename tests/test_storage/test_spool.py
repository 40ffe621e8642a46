"""Spools: small objects in memory, large ones on their device, and errors kept for whoever stores the object."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage import spool as spool_module
from storage.errors import DeviceFull, NotDicom, TooLarge
from storage.part10 import file_meta
from storage.spool import Spool
from storage.store import Storage

MB = 1 << 20
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

MakeStorage = Callable[..., Storage]
Spooled = Callable[..., Spool]


def parts(storage: Storage) -> list[Path]:
    return [path for device in storage.devices for path in device.staging.glob("*.part")]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1, 160 * 1024])
def test_a_small_object_stays_in_memory(size: int, make_storage: MakeStorage, spooled: Spooled) -> None:
    storage = make_storage()
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    spool = spooled(storage, data, piece=100_000)
    assert spool.size == size
    assert spool.device is None
    assert parts(storage) == []
    for _ in range(2):
        with spool.open() as source:
            assert source.tell() == 0
            assert source.read() == data


@pytest.mark.parametrize(("syntax", "bare"), [(EXPLICIT, False), (IMPLICIT, True)])
def test_a_large_object_goes_to_its_device(
    syntax: str, bare: bool, make_storage: MakeStorage, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.staging.kind_of", lambda _: "nfs4")
    storage = make_storage(FileNameSyntax="3")
    data = bytes(range(256)) * (3 * MB // 256) + b"end"
    spool = spooled(storage, data, syntax=syntax, piece=100_001)
    assert spool.size == len(data)
    assert spool.device is storage.devices[0]
    (part,) = parts(storage)
    meta = b"" if bare else file_meta(SECONDARY_CAPTURE, "1.2.3.4", syntax)
    assert part.read_bytes() == meta + data
    with spool.open() as source:
        assert source.read() == data
        source.seek(len(meta))
        assert source.read(10) == data[:10]
    spool.discard()
    spool.discard()
    assert parts(storage) == []
    spool.write(b"too late")
    with pytest.raises(ValueError, match=r"^the spool was discarded or stored$"):
        spool.open()


def test_what_is_written_may_change_afterwards(make_storage: MakeStorage) -> None:
    spool = make_storage().spool(SECONDARY_CAPTURE, "1.2.3", EXPLICIT)
    buffer = bytearray(b"first")
    spool.write(memoryview(buffer))
    buffer[:] = b"other"
    with spool.open() as source:
        assert source.read() == b"first"


def test_an_object_larger_than_allowed_is_refused_and_leaves_nothing(
    make_storage: MakeStorage, spooled: Spooled
) -> None:
    storage = make_storage(MaxObjectSize=3)
    spooled(storage, bytes(3 * MB)).discard()
    spool = spooled(storage, bytes(3 * MB + 1), piece=MB)
    assert spool.size == 3 * MB + 1
    assert parts(storage) == []
    with pytest.raises(TooLarge, match=r"^it is larger than MaxObjectSize = 3$"):
        spool.open()


def test_running_out_of_space_is_kept_and_the_rest_is_dropped(make_storage: MakeStorage, spooled: Spooled) -> None:
    storage = make_storage()
    with file_size_limit(4 * MB):
        spool = spooled(storage, bytes(9 * MB))
    assert spool.size == 9 * MB
    assert spool.device is None
    assert parts(storage) == []
    with pytest.raises(DeviceFull, match=r"^MAG0: File too large$"):
        spool.open()


def test_no_device_with_room_is_told_when_the_object_is_opened(make_storage: MakeStorage, spooled: Spooled) -> None:
    storage = make_storage(MAGDeviceFullThreshold=10**9)
    assert spooled(storage, bytes(100)).open().read() == bytes(100)
    with pytest.raises(DeviceFull, match=r"^no device has more than 1000000000 MB free$"):
        spooled(storage, bytes(3 * MB)).open()


def test_free_space_is_watched_while_a_huge_object_arrives(
    make_storage: MakeStorage, spooled: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_STRIDE", 4 * MB)
    storage = make_storage()
    answers = iter([True, True, False])
    monkeypatch.setattr("storage.device.Devices.has_room", lambda *_: next(answers))
    spool = spooled(storage, bytes(20 * MB))
    with pytest.raises(DeviceFull, match=r"^MAG0: no room for an object of more than 8 MB$"):
        spool.open()
    assert parts(storage) == []


def test_a_directory_that_is_gone_is_told_later(make_storage: MakeStorage, spooled: Spooled) -> None:
    storage = make_storage()
    device = storage.devices[0]
    device.staging.rmdir()
    device.root.rmdir()
    spool = spooled(storage, bytes(3 * MB))
    with pytest.raises(FileNotFoundError):
        spool.open()


def test_an_impossible_uid_is_told_later(make_storage: MakeStorage, spooled: Spooled) -> None:
    storage = make_storage()
    spool = spooled(storage, bytes(3 * MB), uid="1" * 300)
    with pytest.raises(NotDicom, match=r"^a UID of 300 characters$"):
        spool.open()
    assert parts(storage) == []
