"""Devices: what dicom.ini makes of them, whether they can be used, and who uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.device import Device, Devices, configured_devices, index_name, lock_devices, relative_names
from storage.errors import DeviceBusy, DeviceError, DeviceFull, UnknownDevice, UnsafePath
from storage.settings import StorageSettings


def test_devices_are_numbered_and_relative_to_the_base(tmp_path: Path) -> None:
    settings = StorageSettings(
        MAGDevices=2,
        MAGDevice=("./data/", "/mnt/mag1/", "ignored"),
        MIRRORDevices=2,
        MIRRORDevice=("", "mirror1"),
        MAGDeviceFullThreshold=7,
    )
    assert configured_devices(settings, tmp_path) == Devices(
        (Device("MAG0", tmp_path / "data", None), Device("MAG1", Path("/mnt/mag1"), tmp_path / "mirror1")), 7, False
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (StorageSettings(), "MAGDevices = 1 but there is no MAGDevice0: set MAGDevice0 to a directory"),
        (
            StorageSettings(MAGDevices=3, MAGDevice=("a",)),
            "MAGDevices = 3 but there is no MAGDevice1: set MAGDevice1 to a directory",
        ),
        (StorageSettings(MAGDevice=("",)), "MAGDevice0 is empty: set it to a directory"),
    ],
)
def test_a_missing_device_is_told_by_its_key(settings: StorageSettings, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=f"^{message}$"):
        configured_devices(settings, tmp_path)


def test_a_missing_directory_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(
        DeviceError, match=rf"^MAGDevice3 = {path}: there is no such directory; create it or correct MAGDevice3$"
    ):
        Device("MAG3", path).check()


def test_a_directory_without_write_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "printer_files").write_text("in the way")
    with pytest.raises(DeviceError, match=rf"^MAGDevice0 = {tmp_path}: cannot write there"):
        Device("MAG0", tmp_path).check()


def test_a_device_knows_how_full_it_is(tmp_path: Path) -> None:
    device = Device("MAG0", tmp_path)
    status = os.statvfs(tmp_path)
    assert abs(device.free_mb() - status.f_bavail * status.f_frsize // 2**20) <= 64
    assert device.space().total_mb == status.f_blocks * status.f_frsize // 2**20
    assert (device.space().name, device.space().root) == ("MAG0", tmp_path)


def test_the_first_device_with_room_is_chosen(tmp_path: Path) -> None:
    device = Device("MAG0", tmp_path)
    assert Devices((device,), threshold_mb=0).choose() is device
    assert Devices((device,), threshold_mb=10**9, unchecked=True).choose() is device
    with pytest.raises(DeviceFull, match=r"^no device has more than 1000000000 MB free$"):
        Devices((device,), threshold_mb=10**9).choose()


def test_devices_are_found_by_name(tmp_path: Path) -> None:
    devices = Devices((Device("MAG0", tmp_path), Device("MAG1", tmp_path)))
    assert devices.named("mag1") is devices.all[1]
    with pytest.raises(UnknownDevice, match=r"^there is no device 'MAG2'$"):
        devices.named("MAG2")


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("P1/a.dcm", ("P1/a.dcm",)),
        ("P1\\a.dcm", ("P1\\a.dcm", "P1/a.dcm")),
        ("a..b/c...dcm", ("a..b/c...dcm",)),
        ("./a", ("./a",)),
        ("Müller/a", ("Müller/a", "M\udcfcller/a")),
        ("Müller\\a", ("Müller\\a", "Müller/a", "M\udcfcller\\a", "M\udcfcller/a")),
        ("王/a", ("王/a",)),
    ],
)
def test_names_of_the_index_are_taken_with_either_separator(file: str, names: tuple[str, ...]) -> None:
    assert relative_names(file) == names


@given(st.binary(max_size=60).filter(lambda raw: b"\0" not in raw))
@example(b"\xc2/\x80")
def test_any_name_of_the_file_system_finds_the_way_to_the_index_and_back(raw: bytes) -> None:
    for sign in (b"/", b"\\", b":", b".."):
        raw = raw.replace(sign, b"")
    path = "d" + os.fsdecode(raw)
    text = index_name(path)
    text.encode()
    assert path in relative_names(text)


@pytest.mark.parametrize(
    "file",
    [
        "",
        ".",
        "/",
        "/etc/passwd",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        "..\\a",
        "a\\..\\..\\b",
        "\\a",
        "C:\\a",
        "C:a",
        "a\0b",
        "\\\\host\\share",
    ],
)
def test_names_of_the_index_that_lead_elsewhere_are_refused(file: str) -> None:
    with pytest.raises(UnsafePath, match="which is no path below a device"):
        relative_names(file)


def test_a_device_is_locked_against_other_processes(tmp_path: Path) -> None:
    device = Device("MAG0", tmp_path)
    script = (
        "import sys; from pathlib import Path; from storage.device import Device, lock_devices;"
        f"held = lock_devices((Device('MAG0', Path({str(tmp_path)!r})),)); print('held', flush=True); sys.stdin.read()"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            DeviceBusy, match=rf"^{tmp_path} is in use by another dgate, process {other.pid}: stop that one first$"
        ):
            lock_devices((device,))
        other.stdin.close()
        assert other.wait(20) == 0
    with lock_devices((device,)):
        assert (tmp_path / "printer_files" / "dgate.lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(DeviceBusy):
            lock_devices((device,))
    lock_devices((device,)).close()


def test_two_devices_of_one_directory_are_locked_once_and_all_or_none(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    (tmp_path / "link").symlink_to(one)
    devices = (Device("MAG0", one), Device("MAG1", tmp_path / "link"), Device("MAG2", other))
    with lock_devices(devices[2:]), pytest.raises(DeviceBusy):
        lock_devices(devices)
    with lock_devices(devices):
        pass


def test_a_device_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"^cannot open .*dgate\.lock: No such file or directory$"):
        lock_devices((Device("MAG0", tmp_path / "nowhere"),))
