"""Spare files: without a name, there before they are needed, in nobody else's hands, and never more than a few."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from storage.device import Device
from storage.errors import DeviceFull
from storage.filesystem import UNNAMED_FILES, kind_of
from storage.leftovers import is_sealed
from storage.spares import Spares
from storage.staged import StagedFile


@pytest.fixture
def device(tmp_path: Path) -> Device:
    if kind_of(str(tmp_path)) not in UNNAMED_FILES:
        pytest.skip("files cannot begin without a name here")
    return Device("MAG0", tmp_path)


@pytest.fixture
def sealing(device: Device, monkeypatch: pytest.MonkeyPatch) -> Spares:
    """Spares of files that will be sealed, as on a file system on which the sync of one covers its first name."""
    monkeypatch.setattr("storage.spares.kind_of", lambda _: "ext4")
    return Spares(sealed=True)


def open_files(device: Device) -> int:
    """How many files without a name this process has open on a device."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        found += target.startswith((f"{device.root}/#", f"{device.staging}/#")) and target.endswith("(deleted)")
    return found


def created(spares: Spares, device: Device) -> StagedFile:
    file = spares.create(device, bare=False)
    assert file is not None
    return file


def test_a_file_without_a_name_gets_its_final_one(device: Device) -> None:
    spares = Spares()
    file = created(spares, device)
    file.write(b"meta", b"data")
    assert [path.name for path in device.root.rglob("*") if path.is_file()] == []
    file.finish(safe=False)
    path = Path(file.publish("P1/a.dcm"))
    assert path.read_bytes() == b"metadata"
    assert path.stat().st_nlink == 1
    other = created(spares, device)
    with pytest.raises(FileExistsError):
        other.publish("P1/a.dcm")
    file.discard()
    other.discard()
    assert path.read_bytes() == b"metadata"
    assert list(device.staging.iterdir()) == []


def test_there_is_one_for_each_that_was_in_use_and_never_more_than_eight(device: Device) -> None:
    spares = Spares()
    assert open_files(device) == 0
    for _ in range(3):
        created(spares, device).discard()
        assert open_files(device) == 1
    files = [created(spares, device) for _ in range(20)]
    assert open_files(device) == 20
    for file in files:
        file.discard()
        file.discard()
    assert open_files(device) == 8
    spares.close()
    assert open_files(device) == 0
    created(spares, device).discard()
    assert open_files(device) == 1
    del spares, file, files
    assert open_files(device) == 0


def test_a_forked_process_leaves_its_parents_alone(device: Device) -> None:
    spares = Spares()
    created(spares, device).discard()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            file = created(spares, device)
            file.write(b"child")
            file.publish("child.dcm")
            file.discard()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file = created(spares, device)
    file.write(b"parent")
    file.publish("parent.dcm")
    assert (device.root / "child.dcm").read_bytes() == b"child"
    assert (device.root / "parent.dcm").read_bytes() == b"parent"
    file.discard()


def test_where_files_need_a_name_there_are_none(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("storage.spares.kind_of", lambda _: "nfs4")
        assert Spares().create(device, bare=False) is None

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    spares = Spares()
    assert spares.create(device, bare=False) is None
    assert spares.create(device, bare=False) is None
    assert open_files(device) == 0
    assert list(device.staging.iterdir()) == []


def test_a_full_device_is_told_and_tells_nothing_else(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    spares = Spares()
    real = os.open

    def full(path: Any, flags: int, *more: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, *more)

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", full)
            with pytest.raises(DeviceFull):
                spares.create(device, bare=False)
        file = created(spares, device)
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", full)
            file.discard()
        assert open_files(device) == 0


def test_a_device_that_is_gone_is_not_made_again(device: Device) -> None:
    spares = Spares()
    created(spares, device).discard()
    file = created(spares, device)
    device.staging.rmdir()
    device.root.rmdir()
    with pytest.raises(FileNotFoundError):
        file.publish("P1/a.dcm")
    file.discard()
    assert not device.root.exists()


# Sealed ones


def test_a_sealed_file_is_opened_among_the_temporary_ones_and_linked_before_it_is_synced(
    device: Device, sealing: Spares, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(sealing, device).discard()
    file = created(sealing, device)
    assert open_files(device) == open_files(Device("MAG1", device.staging)) == 1
    file.write(b"all ", b"of ")
    file.write(b"it")
    assert list(device.staging.iterdir()) == []
    seen: list[tuple[int, int, int]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append((status.st_ino, status.st_nlink, status.st_mtime_ns))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    file.finish(safe=True)
    file.finish(safe=True)
    part = Path(file.temporary())
    final = Path(file.publish("P1/a.dcm"))
    assert seen == [(final.stat().st_ino, 1, final.stat().st_mtime_ns)]
    assert file.waits
    file.discard()
    assert not file.waits
    assert part.samefile(final)
    assert is_sealed(part)
    # A start goes by this time: it must not change behind the sync.
    assert seen == [(final.stat().st_ino, 1, final.stat().st_mtime_ns)]
    assert open_files(device) == 1
    sealing.close()
    assert open_files(device) == 0


def test_two_files_of_the_same_content_have_their_own_names(device: Device, sealing: Spares) -> None:
    files = [created(sealing, device) for _ in range(3)]
    for file in files:
        file.write(b"same")
        file.finish(safe=True)
    assert len({file.temporary() for file in files}) == 3
    for file in files:
        file.discard()
    assert list(device.staging.iterdir()) == []


def test_what_others_were_to_read_is_sealed_by_another_name(device: Device, sealing: Spares) -> None:
    file = created(sealing, device)
    file.write(b"data")
    arriving = file.path
    assert not is_sealed(arriving)
    file.finish(safe=True)
    assert not arriving.exists()
    assert is_sealed(file.path)
    file.discard()
    assert list(device.staging.iterdir()) == []


def test_nothing_is_left_of_a_sealed_file_by_a_kill_before_it_is_whole(device: Device, sealing: Spares) -> None:
    child = os.fork()
    if child == 0:
        created(sealing, device).discard()
        created(sealing, device).write(b"half of ")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [path for path in device.root.rglob("*") if path.is_file()] == []


def test_a_forked_process_seals_files_of_its_own(device: Device, sealing: Spares) -> None:
    created(sealing, device).discard()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            file = created(sealing, device)
            file.write(b"child")
            file.finish(safe=True)
            file.publish("child.dcm")
            status = 0 if Path(file.temporary()).name.startswith(f"{os.getpid()}-") else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    file = created(sealing, device)
    file.write(b"parent")
    file.finish(safe=True)
    file.publish("parent.dcm")
    file.discard()
    assert (device.root / "child.dcm").read_bytes() == b"child"
    assert (device.root / "parent.dcm").read_bytes() == b"parent"
    assert all(is_sealed(part) for part in device.staging.iterdir())


@pytest.mark.parametrize("call", ["writev", "link", "utime", "fsync"])
def test_a_device_that_gets_full_keeps_nothing_of_a_sealed_file(
    call: str, device: Device, sealing: Spares, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(sealing, device).discard()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def take(file: StagedFile) -> None:
        file.write(b"data")
        file.finish(safe=True)

    file = created(sealing, device)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(DeviceFull):
            take(file)
    file.discard()
    assert list(device.staging.iterdir()) == []
    assert open_files(device) == 1


def test_a_directory_of_temporary_files_that_went_is_made_again_and_synced(
    device: Device, sealing: Spares, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = created(sealing, device)
    file.write(b"data")
    device.staging.rmdir()
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    file.finish(safe=True)
    part = Path(file.temporary())
    assert synced == [path.stat().st_ino for path in (device.staging, device.root, part)]
    assert is_sealed(part)
    file.discard()
    device.staging.rmdir()
    synced.clear()
    for _ in range(2):
        created(sealing, device)
    assert synced == [device.root.stat().st_ino]


@pytest.mark.parametrize("kind", ["btrfs", "nfs4", "ext2", "tmpfs", ""])
def test_where_a_sync_may_not_cover_the_first_name_none_are_sealed(
    kind: str, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.spares.kind_of", lambda _: kind)
    assert Spares(sealed=True).create(device, bare=False) is None
