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
from storage.spares import Spares
from storage.staged import StagedFile


@pytest.fixture
def device(tmp_path: Path) -> Device:
    if kind_of(str(tmp_path)) not in UNNAMED_FILES:
        pytest.skip("files cannot begin without a name here")
    return Device("MAG0", tmp_path)


def open_files(device: Device) -> int:
    """How many files without a name this process has open on a device."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        found += target.startswith(f"{device.root}/#") and target.endswith("(deleted)")
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
