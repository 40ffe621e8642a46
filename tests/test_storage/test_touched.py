"""The journal of directories that were written to."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from storage.device import Device
from storage.durable import sync_names
from storage.errors import DeviceFull
from storage.touched import JOURNAL, TouchedDirectories


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device("MAG0", tmp_path)


def test_a_directory_is_noted_once_a_process_and_found_by_another(device: Device) -> None:
    begun = time.time_ns()
    touched = TouchedDirectories(safe=True)
    for name in ("P1/a.dcm", "P1/b.dcm", "P 2/ü/c.dcm", "d.dcm"):
        touched.before_write(device, name)
    journal = device.staging / JOURNAL
    assert journal.read_bytes().count(b"\n") == 2 * 3
    noted = TouchedDirectories(safe=False).noted(device)
    assert noted.keys() == {"P1", "P 2/ü", ""}
    assert all(begun <= since <= time.time_ns() for since in noted.values())


def test_of_two_processes_the_earlier_time_counts(device: Device) -> None:
    first, second = TouchedDirectories(safe=False), TouchedDirectories(safe=False)
    second.before_write(device, "P1/a.dcm")
    (later,) = second.noted(device).values()
    first.before_write(device, "P1/a.dcm")
    assert first.noted(device)["P1"] < later


def test_what_was_cleared_is_noted_again(device: Device) -> None:
    touched = TouchedDirectories(safe=True)
    assert not touched.is_kept(device)
    touched.before_write(device, "P1/a.dcm")
    touched.clear(device)
    assert touched.noted(device) == {}
    assert touched.is_kept(device)
    assert not touched.booted_since(device)
    touched.before_write(device, "P1/a.dcm")
    assert touched.noted(device).keys() == {"P1"}


def test_a_journal_of_before_the_machine_was_started_is_told(device: Device) -> None:
    touched = TouchedDirectories(safe=False)
    assert not touched.booted_since(device)
    touched.clear(device)
    journal = device.staging / JOURNAL
    journal.write_bytes(journal.read_bytes().replace(b"boot ", b"boot 0"))
    assert touched.booted_since(device)


@pytest.mark.parametrize("torn", [b"\n17 P", b"\0\0\0\0", b"\n", b"\n17 /etc\n17 ../../etc\n17 a%2F..%2Fb\nx y\n"])
def test_torn_and_foreign_lines_hide_no_others(device: Device, torn: bytes) -> None:
    touched = TouchedDirectories(safe=False)
    touched.before_write(device, "P1/a.dcm")
    with (device.staging / JOURNAL).open("ab") as journal:
        journal.write(torn)
    touched.before_write(device, "P2/a.dcm")
    assert {"P1", "P2"} <= touched.noted(device).keys() <= {"P1", "P2", "P"}


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DeviceFull), (errno.EIO, OSError)])
def test_a_note_that_cannot_be_made_is_an_error_each_time(
    device: Device, number: int, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = TouchedDirectories(safe=True)

    def broken(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        for _ in range(2):
            with pytest.raises(kind):
                touched.before_write(device, "P1/a.dcm")
    touched.before_write(device, "P1/a.dcm")


def test_names_of_a_directory_that_is_gone_are_synced_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    (tmp_path / "P1").mkdir()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    sync_names(tmp_path, [tmp_path / "P1" / "study" / "series"])
    assert synced == ["P1", tmp_path.name]
