"""Names that are settled behind the answer: a temporary one goes when the final one is durable, and not before."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import settling as module
from storage.device import Device
from storage.leftovers import is_sealed
from storage.settling import Settling
from storage.staged import StagedFile


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device("MAG0", tmp_path)


def stored(settling: Settling, device: Device, name: str) -> Path:
    """Store a file; its temporary name."""
    file = StagedFile.create_sealed(device, bare=False, content=(b"data of ", name.encode()))
    file.finish(safe=True)
    final = file.publish(name)
    part = Path(file.temporary())
    settling.add(device, final, file.temporary())
    file.discard()
    assert part.samefile(final)
    return part


def parts(device: Device) -> list[Path]:
    return list(device.staging.glob("*.part"))


def wait_until(true: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def test_a_batch_is_settled_when_it_is_full_and_the_rest_after_a_pause(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 5)
    monkeypatch.setattr(module, "_PAUSE_S", 60)
    settling = Settling()
    for number in range(4):
        stored(settling, device, f"P1/{number}.dcm")
    time.sleep(0.05)
    assert len(parts(device)) == 4
    stored(settling, device, "P2/4.dcm")
    assert wait_until(lambda: not parts(device))
    last = stored(settling, device, "P2/5.dcm")
    settling.close()
    assert not last.exists()
    monkeypatch.setattr(module, "_PAUSE_S", 0.01)
    stored(settling, device, "P3/6.dcm")
    assert wait_until(lambda: not parts(device))
    settling.close()
    assert len(list(device.root.glob("P*/*.dcm"))) == 7


def test_a_temporary_name_goes_only_when_its_directory_was_synced(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_fsync, real_unlink = os.fsync, os.unlink

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name == "P2":
            raise OSError(errno.EIO, "Input/output error")
        real_fsync(descriptor)
        steps.append(name)

    def unlink(path: str) -> None:
        real_unlink(path)
        steps.append(Path(path).name)

    settling = Settling()
    one, other = stored(settling, device, "P1/a.dcm"), stored(settling, device, "P2/b.dcm")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "unlink", unlink)
    settling.close()
    assert steps == ["P1", device.root.name, one.name]
    assert other.exists()


def test_a_directory_that_went_with_its_files_is_no_obstacle(device: Device) -> None:
    settling = Settling()
    stored(settling, device, "P1/study/a.dcm")
    (device.root / "P1/study/a.dcm").unlink()
    (device.root / "P1/study").rmdir()
    kept = stored(settling, device, "P2/b.dcm")
    settling.close()
    assert not kept.exists()
    assert parts(device) == []


def test_what_was_removed_is_forgotten(device: Device) -> None:
    settling = Settling()
    one, other = stored(settling, device, "P1/a.dcm"), stored(settling, device, "P1/b.dcm")
    settling.forget(f"{device.root}/P1/a.dcm")
    settling.forget(f"{device.root}/P1/never.dcm")
    assert (one.exists(), other.exists()) == (False, True)
    settling.close()
    assert not other.exists()


def test_a_forked_process_settles_what_it_adds_itself(device: Device) -> None:
    settling = Settling()
    mine = stored(settling, device, "P1/a.dcm")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            part = stored(settling, device, "P1/b.dcm")
            settling.close()
            status = 0 if mine.exists() and not part.exists() else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    settling.close()
    assert not mine.exists()


def test_a_sealed_name_tells_whether_the_file_is_whole(device: Device) -> None:
    arriving = StagedFile.create_sealed(device, bare=True)
    arriving.write(b"part ", bytearray(b"by "))
    arriving.write(memoryview(b"part"))
    assert not is_sealed(arriving.path)
    arriving.finish(safe=True)
    sealed = arriving.path
    assert sealed.name.endswith(f"-12.v2{'.part'}")
    assert sealed.read_bytes() == b"part by part"
    assert is_sealed(sealed)
    for damaged in (b"part by par", b"part by part.", b"part\0by part", bytes(12), b""):
        sealed.write_bytes(damaged)
        assert not is_sealed(sealed)
    arriving.discard()
    assert parts(device) == []
    known = StagedFile.create_sealed(device, bare=False, content=(b"all ", b"of it"))
    assert is_sealed(known.path)
    known.discard()
