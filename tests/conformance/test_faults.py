"""Disks that fill up, fail or turn read-only, and databases that are locked: the truth is told, and it passes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from db.errors import DatabaseError, DatabaseFull, DatabaseLocked
from db.index import Index
from db.query import Query
from dgate.app import Daemon
from server.pipeline.fsck import fsck
from tests.commands import ask
from tests.conformance.dialogue import CONTEXTS, CT, FIND, IMAGES, answered, request, responses
from tests.conformance.scu import store_elements, wire
from tests.objects import data_set_bytes
from tests.servers import started, write_ini
from tests.soak.life import made_uid, object_bytes

MB = 1 << 20
SIZE = 200_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if os.geteuid() or _mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)):
        pytest.skip("a small file system cannot be mounted: that needs root, outside of most containers")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def _mount(*arguments: str) -> int:
    return 1 if shutil.which("mount") is None else subprocess.run(["mount", *arguments], check=False).returncode


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Put the same file system over itself, read-only: the kernel refuses to turn one so that has files open."""
    assert _mount("--bind", str(disk), str(disk)) == 0
    try:
        assert _mount("-o", "remount,bind,ro", str(disk)) == 0
        yield
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


class Objects:
    """Objects of one patient: what was sent, and what was said of each."""

    def __init__(self, number: int, *, size: int = SIZE) -> None:
        self.number = number
        self.patient = f"F{number}"
        self.size = size
        self.statuses: dict[str, int] = {}

    def bytes_of(self, uid: str) -> bytes:
        return object_bytes(uid, made_uid(8, self.number), self.patient, 1, self.size)

    def send(self, port: int, count: int) -> list[int]:
        """Store so many new ones on one association; the statuses."""
        new = [made_uid(8, self.number, 1, len(self.statuses) + at) for at in range(count)]
        with wire(port) as peer:
            peer.associate(CONTEXTS)
            for uid in new:
                self.statuses[uid] = answered(peer, 1, store_elements(CT, uid), self.bytes_of(uid))
            assert peer.release()
        return [self.statuses[uid] for uid in new]


def together(works: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result(60)


def consistent(daemon: Daemon, *groups: Objects) -> None:
    """What was acknowledged is there, whole and found; nothing else is, and nothing is left of it."""
    server = daemon.server
    rows = {row.sop_instance: row for row in server.index.select_objects(Query(level="IMAGE", keys={}))}
    assert rows.keys() == {uid for group in groups for uid, status in group.statuses.items() if status == 0}
    for group in groups:
        for uid, status in group.statuses.items():
            if status == 0:
                path = server.storage.locate(rows[uid].device, rows[uid].file)
                assert data_set_bytes(path) == group.bytes_of(uid)
    assert [str(finding) for finding in fsck(server, repair=False, alone=True)] == []
    with wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        peer.message(5, request(FIND, 0x0020), IMAGES[:-12])
        assert len(responses(peer)) - 1 == len(rows)
        assert peer.release()


def consistent_or_full(daemon: Daemon, *groups: Objects) -> None:
    """The same, or else rows that were handed over wait for room: then nothing is answered, rather than not all."""
    try:
        daemon.server.index.count(Query(level="IMAGE", keys={}))
    except DatabaseFull:
        assert daemon.server.index.in_flight
        return
    consistent(daemon, *groups)


# Full


@pytest.mark.parametrize("durability", ["fast", "safe"])
def test_a_device_that_fills_up_under_load_refuses_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: Path, durability: str
) -> None:
    write_ini(tmp_path, MAGDevice0=f"{disk}/", IgnoreMAGDeviceThreshold=1, Durability=durability)
    groups = [Objects(number) for number in range(3)]
    with started(tmp_path) as daemon:
        together([lambda group=group: group.send(daemon.port, 18) for group in groups])
        statuses = [status for group in groups for status in group.statuses.values()]
        assert set(statuses) == {0, 0xA700}
        assert statuses.count(0) * SIZE > 6 * MB
        consistent(daemon, *groups)
        assert ask(daemon.port, "deletepatient:F0").status == 0
        groups[0] = Objects(5)
        assert groups[0].send(daemon.port, 5) == [0] * 5
        consistent(daemon, *groups)


def test_a_full_disk_below_the_database_refuses_and_goes_on_when_there_is_room(tmp_path: Path, disk: Path) -> None:
    write_ini(tmp_path, SQLServer=f"{disk}/conquest.db3")
    ballast = disk / "ballast"
    groups = [Objects(number, size=0) for number in range(2)]
    with started(tmp_path) as daemon:
        assert groups[0].send(daemon.port, 3) == [0] * 3
        fill_up(ballast)
        together([lambda group=group: group.send(daemon.port, 40) for group in groups])
        assert 0xA700 in set(groups[0].statuses.values()) <= {0, 0xA700}
        consistent_or_full(daemon, *groups)
        before = sorted((tmp_path / "MAG0").rglob("*.dcm"))
        if ask(daemon.port, "deletepatient:F1").status != 0:
            assert sorted((tmp_path / "MAG0").rglob("*.dcm")) == before
            consistent_or_full(daemon, *groups)
        else:
            groups[1] = Objects(1, size=0)
        ballast.unlink()
        again = Objects(7, size=0)
        assert again.send(daemon.port, 20) == [0] * 20
        consistent(daemon, *groups, again)


def fill_up(path: Path) -> None:
    """Leave no room on the file system of a file."""
    with path.open("wb", buffering=0) as file:
        for size in (MB, 4096):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size) == size:
                    pass
    assert os.statvfs(path).f_bavail == 0


def test_a_disk_that_holds_all_there_is_recovers_from_being_full(tmp_path: Path, disk: Path) -> None:
    write_ini(tmp_path, SQLServer=f"{disk}/db/conquest.db3", MAGDevice0=f"{disk}/MAG0/", IgnoreMAGDeviceThreshold=1)
    (disk / "MAG0").mkdir()
    ballast = disk / "ballast"
    group = Objects(1)
    with started(tmp_path) as daemon:
        assert group.send(daemon.port, 3) == [0] * 3
        fill_up(ballast)
        assert set(group.send(daemon.port, 5)) == {0xA700}
        consistent_or_full(daemon, group)
        ballast.unlink()
        assert group.send(daemon.port, 5) == [0] * 5
        consistent(daemon, group)
    with started(tmp_path) as daemon:
        consistent(daemon, group)


# Read-only


def test_a_device_that_turns_read_only_refuses_until_it_can_be_written_again(tmp_path: Path, disk: Path) -> None:
    write_ini(tmp_path, MAGDevice0=f"{disk}/")
    group = Objects(1)
    with started(tmp_path) as daemon:
        assert group.send(daemon.port, 2) == [0, 0]
        with read_only(disk):
            assert set(group.send(daemon.port, 3)) == {0xA700}
            consistent(daemon, group)
        assert group.send(daemon.port, 3) == [0] * 3
        consistent(daemon, group)


def test_a_delete_on_a_read_only_device_says_that_it_failed_and_is_ended_at_the_next_start(
    tmp_path: Path, disk: Path
) -> None:
    write_ini(tmp_path, MAGDevice0=f"{disk}/")
    group = Objects(1)
    with started(tmp_path) as daemon:
        assert group.send(daemon.port, 2) == [0, 0]
        with read_only(disk):
            assert ask(daemon.port, "deletepatient:F1").status != 0
    with started(tmp_path) as daemon:
        group.statuses.clear()
        consistent(daemon, group)
        assert list(disk.rglob("*.dcm")) == []


def test_a_database_that_turns_read_only_refuses_until_it_can_be_written_again(tmp_path: Path, disk: Path) -> None:
    write_ini(tmp_path, SQLServer=f"{disk}/conquest.db3")
    group = Objects(1)
    with started(tmp_path) as daemon:
        assert group.send(daemon.port, 2) == [0, 0]
        # What is open stays writable, as it was opened before.
        daemon.server.index.close()
        with read_only(disk):
            assert set(group.send(daemon.port, 2)) == {0xA700}
            daemon.server.index.close()
        assert group.send(daemon.port, 2) == [0, 0]
        consistent(daemon, group)


# Locked


def test_a_database_that_is_locked_for_a_while_delays_and_loses_nothing(tmp_path: Path) -> None:
    write_ini(tmp_path)
    groups = [Objects(number, size=2000) for number in range(3)]
    with started(tmp_path) as daemon:
        locked = threading.Event()

        def lock() -> None:
            connection = sqlite3.connect(tmp_path / "dbase" / "conquest.db3", isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            locked.set()
            threading.Event().wait(1.0)
            connection.execute("ROLLBACK")
            connection.close()

        together([lock, *(lambda group=group: locked.wait(5) and group.send(daemon.port, 15) for group in groups)])
        assert {status for group in groups for status in group.statuses.values()} == {0}
        consistent(daemon, *groups)


# Between file and row


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DatabaseLocked("database x has been locked by another program for 30 s"), 0xA700),
        (DatabaseError("database x: disk I/O error"), 0xA700),
        (OSError(errno.EIO, "Input/output error"), 0xA700),
        (MemoryError(), 0x0110),
    ],
)
def test_what_fails_between_file_and_row_leaves_the_earlier_copy_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    write_ini(tmp_path)
    uid = made_uid(8, 9, 1)
    first, second = (object_bytes(uid, made_uid(8, 9), "F9", version, 3000) for version in (1, 2))

    def fail(self: Index, *arguments: object, **more: object) -> None:
        raise error

    with started(tmp_path) as daemon, wire(daemon.port) as peer:
        peer.associate(CONTEXTS)
        assert answered(peer, 1, store_elements(CT, uid), first) == 0
        with monkeypatch.context() as patched:
            patched.setattr(Index, "add", fail)
            assert answered(peer, 1, store_elements(CT, uid), second) == status
        (stored,) = (tmp_path / "MAG0" / "F9").iterdir()
        assert data_set_bytes(stored) == first
        assert [str(finding) for finding in fsck(daemon.server, repair=False, alone=True)] == []
        assert answered(peer, 1, store_elements(CT, uid), second) == 0
        assert peer.release()
        (stored,) = (tmp_path / "MAG0" / "F9").iterdir()
        assert data_set_bytes(stored) == second


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        *(("nfs4", call) for call in ("fdatasync", "fsync", "link", "writev")),
        *(("ext4", call) for call in ("fsync", "link", "writev")),
    ],
)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_an_object_that_cannot_be_made_safe_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, call: str, number: int
) -> None:
    for module in ("staging", "spares"):
        monkeypatch.setattr(f"storage.{module}.kind_of", lambda _: kind)
    write_ini(tmp_path, Durability="safe")
    group = Objects(4, size=3000)

    def fail(*arguments: object, **more: object) -> int:
        raise OSError(number, os.strerror(number))

    with started(tmp_path) as daemon:
        assert group.send(daemon.port, 1) == [0]
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            assert group.send(daemon.port, 1) == [0xA700]
        consistent(daemon, group)
        assert group.send(daemon.port, 1) == [0]
        consistent(daemon, group)


def test_a_name_that_cannot_be_made_durable_keeps_the_temporary_one_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.staging.kind_of", lambda _: "ext4")
    write_ini(tmp_path, Durability="safe")
    group = Objects(4, size=3000)

    def fail(*arguments: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with started(tmp_path) as daemon:
        assert group.send(daemon.port, 1) == [0]
        daemon.server.storage.close()
        with monkeypatch.context() as patched:
            patched.setattr("storage.durable.sync", fail)
            assert group.send(daemon.port, 1) == [0]
            daemon.server.storage.close()
        (part,) = daemon.server.storage.devices[0].staging.glob("*.part")
        assert part.stat().st_nlink == 2
    # Not a clean stop: the next start makes the name durable, and only then takes the other one away.
    assert part.exists()
    assert daemon.server.storage.touched.noted(daemon.server.storage.devices[0]).keys() == {"F4"}
    with started(tmp_path) as daemon:
        assert not part.exists()
        consistent(daemon, group)
