"""Staged files: written whole, named without replacing, made durable, or gone without a trace."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from storage import staged
from storage.device import Device
from storage.durable import DurableDirectories
from storage.errors import DeviceFull
from storage.leftovers import stale_parts
from storage.staged import StagedFile


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device("MAG0", tmp_path)


def make(device: Device, data: bytes = b"data", *, bare: bool = False) -> StagedFile:
    file = StagedFile.create(device, bare=bare)
    file.write(data)
    file.finish(safe=True)
    return file


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_staged_file_lies_on_its_device_and_names_its_process(device: Device) -> None:
    one, other = make(device), make(device, bare=True)
    assert one.path.parent == other.path.parent == device.root / "printer_files"
    assert one.path != other.path
    assert one.path.name.startswith(f"{os.getpid()}-")
    assert one.path.name.endswith(".dcm.part")
    assert other.path.name.endswith(".v2.part")


def test_buffers_are_written_one_after_another(device: Device) -> None:
    file = StagedFile.create(device, bare=False)
    file.write(b"", bytearray(b"meta"), memoryview(b"data"))
    file.write(b"more")
    file.finish(safe=False)
    assert Path(file.publish("P1/a.dcm")).read_bytes() == b"metadatamore"
    file.discard()
    assert files(device.root) == ["P1/a.dcm"]


def test_a_name_that_exists_is_never_replaced(device: Device) -> None:
    make(device, b"first").publish("P1/a.dcm")
    second = make(device, b"second")
    with pytest.raises(FileExistsError):
        second.publish("P1/a.dcm")
    assert (device.root / "P1/a.dcm").read_bytes() == b"first"
    assert Path(second.publish("P1/b.dcm")).read_bytes() == b"second"


def test_without_hard_links_a_name_is_not_replaced_either(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    make(device, b"first").publish("P1/a.dcm")
    second = make(device, b"second")
    with pytest.raises(FileExistsError):
        second.publish("P1/a.dcm")
    assert (device.root / "P1/a.dcm").read_bytes() == b"first"
    second.discard()
    assert files(device.root) == ["P1/a.dcm"]


def test_a_file_where_a_directory_belongs_is_no_taken_name(device: Device) -> None:
    make(device).publish("P1")
    with pytest.raises(NotADirectoryError):
        make(device).publish("P1/a.dcm")
    with pytest.raises(NotADirectoryError):
        make(device).publish("P1/a/b.dcm")


def test_discarding_leaves_nothing_and_keeps_what_was_published(device: Device) -> None:
    file = make(device)
    file.discard()
    file.discard()
    assert files(device.root) == []
    file = make(device)
    path = Path(file.publish("a.dcm"))
    file.discard()
    assert path.read_bytes() == b"data"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_running_out_of_space_is_a_full_device(number: int, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    file = make(device)
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(DeviceFull, match=f"^MAG0: {os.strerror(number)}$"):
        file.publish("a.dcm")


def test_other_errors_stay_what_they_are(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    file = StagedFile.create(device, bare=False)
    monkeypatch.setattr(os, "writev", broken)
    with pytest.raises(OSError, match="Input/output error"):
        file.write(b"data")
    file.discard()


def test_directories_are_synced_once_and_again_when_they_are_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    leaf = tmp_path / "root" / "P1" / "study"
    leaf.mkdir(parents=True)
    time.sleep(0.15)
    durable = DurableDirectories()
    durable.settle(leaf, tmp_path / "root")
    assert synced == ["study", "P1", "root"]
    durable.settle(leaf, tmp_path / "root")
    assert synced[3:] == ["study"]
    durable.settle(leaf.parent, tmp_path / "root")
    assert synced[4:] == ["P1"]
    # Made anew it gets, on most file systems, the same inode.
    leaf.rmdir()
    leaf.mkdir()
    durable.settle(leaf, tmp_path / "root")
    assert synced[5:] == ["study", "P1"]


def test_a_directory_that_cannot_be_synced_is_not_taken_for_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable = DurableDirectories()
    leaf = tmp_path / "P1"
    leaf.mkdir()

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            durable.settle(leaf, tmp_path)
    count = 0

    def note(_: int) -> None:
        nonlocal count
        count += 1

    monkeypatch.setattr(os, "fsync", note)
    durable.settle(leaf, tmp_path)
    assert count == 2


def test_file_systems_without_directory_sync_are_lived_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unsupported)
    DurableDirectories().settle(tmp_path, tmp_path)


def test_stale_parts_are_those_of_processes_that_ended(device: Device) -> None:
    mine = make(device)
    directory = device.staging
    for name in ("999999999-0-ab.dcm.part", "x-0-ab.dcm.part", "99999999999999999999-1-a.part", "1-0-ab.v2.part"):
        (directory / name).write_bytes(b"")
    (directory / "dgate.lock").write_bytes(b"")
    (directory / "page.jpg").write_bytes(b"")
    stale = {path.name for _, path in stale_parts((device,), alone=False)}
    assert stale == {"999999999-0-ab.dcm.part", "x-0-ab.dcm.part", "99999999999999999999-1-a.part"}
    everything = {path.name for _, path in stale_parts((device,), alone=True)}
    assert everything == stale | {"1-0-ab.v2.part", mine.path.name}
    assert stale_parts((Device("MAG1", device.root / "nowhere"),), alone=True) == []
    assert staged.SUFFIX == ".part"


def test_files_finished_one_after_another_have_times_in_that_order(device: Device) -> None:
    times = []
    for number in range(50):
        staged = StagedFile.create(device, bare=False)
        staged.write(b"x")
        staged.finish(safe=False)
        times.append(Path(staged.publish(f"{number}.dcm")).stat().st_mtime_ns)
    assert times == sorted(set(times))
