"""The archive's files: names that never replace, devices in turn, nothing left of failures, and nothing lost."""

from __future__ import annotations

import errno
import io
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from storage.errors import (
    DeviceBusy,
    DeviceError,
    DeviceFull,
    MissingFile,
    NotDicom,
    TooLarge,
    UnknownDevice,
    UnsafePath,
)
from storage.header import Header, read_header
from storage.leftovers import is_sealed
from storage.part10 import read_object_file
from storage.spool import Spool
from storage.store import Storage, StoredFile

MB = 1 << 20
KB = 1 << 10
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG = "1.2.840.10008.1.2.4.50"

MakeStorage = Callable[..., Storage]
Spooled = Callable[..., Spool]
Encode = Callable[..., bytes]
Make = Callable[..., Dataset]


def files(storage: Storage) -> list[str]:
    """Every file below the devices but locks and journals, temporary ones included, when all names are durable."""
    storage.close()
    return sorted(
        f"{device.name}:{path.relative_to(device.root)}"
        for device in storage.devices
        for path in device.root.rglob("*")
        if path.is_file() and path.name not in ("dgate.lock", "dgate.touched")
    )


def store(storage: Storage, spool: Spool, header: Header | None = None) -> StoredFile:
    if header is None:
        with spool.open() as source:
            header = read_header(source, spool.transfer_syntax, storage.name_tags)
    try:
        return storage.store(spool, header, calling="MODALITY", called="DGATE")
    finally:
        spool.discard()


@pytest.fixture
def data(encode: Encode, ds: Make) -> bytes:
    return encode(ds(PatientID="P1", PatientName="DOE^J", StudyInstanceUID="1.2", SeriesInstanceUID="1.3"))


@pytest.mark.parametrize("durability", ["safe", "fast"])
@pytest.mark.parametrize("size", [256, 3 * MB])
def test_an_object_is_stored_byte_for_byte(
    durability: str, size: int, make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make
) -> None:
    storage = make_storage(Durability=durability, FileNameSyntax="8")
    data_set = ds(PatientID="P1", StudyInstanceUID="1.2", SeriesInstanceUID="1.3")
    data_set.add_new(0x7FE00010, "OB", bytes(range(256)) * (size // 256))
    data = encode(data_set)
    stored = store(storage, spooled(storage, data))
    assert stored == StoredFile("MAG0", "P1/1.2/1.3/1.2.3.4.dcm", f"{storage.devices[0].root}/P1/1.2/1.3/1.2.3.4.dcm")
    assert files(storage) == ["MAG0:P1/1.2/1.3/1.2.3.4.dcm"]
    found = read_object_file(stored.path)
    assert stored.path.read_bytes()[found.offset :] == data
    assert (found.transfer_syntax, found.sop_instance) == (EXPLICIT, "1.2.3.4")
    read = pydicom.dcmread(stored.path)
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert read == data_set


@pytest.mark.parametrize("size", [0, 3 * MB])
@pytest.mark.parametrize(("syntax", "extension"), [(IMPLICIT, "v2"), (EXPLICIT, "dcm"), (JPEG, "dcm")])
def test_v2_files_hold_the_bare_data_set(
    syntax: str, extension: str, size: int, make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make
) -> None:
    storage = make_storage(FileNameSyntax="6")
    data_set = ds(PatientID="P1", StudyInstanceUID="1.2", SeriesInstanceUID="1.3")
    data_set.add_new(0x00104000, "UT", "x" * size)
    data = encode(data_set, syntax)
    stored = store(storage, spooled(storage, data, syntax=syntax))
    assert stored.file == f"P1/1.2/1.3/1.2.3.4.{extension}"
    found = read_object_file(stored.path)
    assert stored.path.read_bytes()[found.offset :] == data
    assert (found.offset == 0) == (extension == "v2")
    assert found.transfer_syntax == syntax


def test_a_name_never_replaces_a_file(make_storage: MakeStorage, spooled: Spooled, data: bytes) -> None:
    storage = make_storage(FileNameSyntax="10")
    names = [store(storage, spooled(storage, data)).file for _ in range(3)]
    assert names == ["Images/1.2.3.4.dcm", "Images/1.2.3.4_1.dcm", "Images/1.2.3.4_2.dcm"]
    storage.remove("MAG0", "Images/1.2.3.4.dcm")
    assert store(storage, spooled(storage, data)).file == "Images/1.2.3.4.dcm"


def test_names_with_a_counter_take_the_next_one(
    make_storage: MakeStorage, spooled: Spooled, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1795210713.9)
    storage = make_storage(FileNameSyntax="4")
    directory = storage.devices[0].root / "P1"
    directory.mkdir()
    (directory / "1.3_0000_000000_17952107130000.dcm").write_bytes(b"of another process")
    assert store(storage, spooled(storage, data)).file == "P1/1.3_0000_000000_17952107130001.dcm"
    assert store(storage, spooled(storage, data)).file == "P1/1.3_0000_000000_17952107130002.dcm"
    assert (directory / "1.3_0000_000000_17952107130000.dcm").read_bytes() == b"of another process"


@pytest.mark.parametrize("syntax", ["4", "10", "0"])
def test_eight_threads_that_store_one_name_lose_nothing(
    syntax: str, make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make
) -> None:
    storage = make_storage(FileNameSyntax=syntax, Durability="fast")
    barrier = threading.Barrier(8)

    def work(thread: int) -> list[tuple[str, bytes]]:
        stored = []
        barrier.wait()
        for number in range(10):
            data = encode(ds(PatientID="P1", PatientComments=f"{thread}/{number}"))
            stored.append((store(storage, spooled(storage, data)).file, data))
        return stored

    with ThreadPoolExecutor(8) as pool:
        results = [pair for batch in pool.map(work, range(8)) for pair in batch]
    assert len({name for name, _ in results}) == 80
    assert len(files(storage)) == 80
    for name, data in results:
        assert storage.locate("MAG0", name).read_bytes().endswith(data)


def test_processes_that_store_one_name_lose_nothing(
    make_storage: MakeStorage, spooled: Spooled, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1795210713.0)
    storage = make_storage(Durability="fast")
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(10):
                    store(storage, spooled(storage, data))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert len(files(storage)) == 40


def test_storing_and_deleting_in_one_directory_at_once_works(
    make_storage: MakeStorage, spooled: Spooled, data: bytes
) -> None:
    storage = make_storage(Durability="fast")

    def work(_: int) -> None:
        for _ in range(50):
            stored = store(storage, spooled(storage, data))
            storage.remove(stored.device, stored.file)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert files(storage) == []
    assert [path.name for path in storage.devices[0].root.iterdir()] == ["printer_files"]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to files from here on, in order: the call and the name it is done to."""
    noted: list[str] = []

    def note(function: str) -> None:
        real: Callable[..., Any] = getattr(os, function)

        def call(target: Any, *rest: Any, **more: Any) -> Any:
            path = f"/proc/self/fd/{target}" if isinstance(target, int) else str(target)
            name = Path(path).readlink().name if path.startswith("/proc") else Path(path).name
            what = "part" if name.endswith(".part") else "unnamed" if name.endswith("(deleted)") else name
            noted.append(f"{function} {what}")
            return real(target, *rest, **more)

        monkeypatch.setattr(os, function, call)

    for function in ("fdatasync", "link", "fsync", "rename", "unlink"):
        note(function)
    return noted


def on(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let devices lie on file systems of this kind."""
    for module in ("staging", "spares"):
        monkeypatch.setattr(f"storage.{module}.kind_of", lambda _: kind)


def test_safe_syncs_the_data_before_the_name_and_the_directories_after(
    make_storage: MakeStorage, spooled: Spooled, data: bytes, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "nfs4")
    storage = make_storage(FileNameSyntax="8")
    store(storage, spooled(storage, data))
    assert steps == [
        "fdatasync part",
        "fdatasync dgate.touched",
        "fsync printer_files",
        "fsync mag0",
        "link part",
        "link part",
        "fsync 1.3",
        "fsync 1.2",
        "fsync P1",
        "fsync mag0",
        "unlink part",
    ]
    # What changed a moment ago may change again without a trace; later on it is known to be durable.
    time.sleep(0.15)
    store(storage, spooled(storage, data))
    steps.clear()
    store(storage, spooled(storage, data))
    assert steps == ["fdatasync part", "link part", "link part", "link part", "fsync 1.3", "unlink part"]
    fast = make_storage(FileNameSyntax="8", Durability="fast")
    steps.clear()
    store(fast, spooled(fast, data))
    assert steps == ["link part"] * 4 + ["unlink part"]


@pytest.mark.parametrize("size", [0, 200 * KB])
def test_where_a_sync_covers_the_name_of_a_new_file_there_is_one_for_each_object(
    size: int,
    make_storage: MakeStorage,
    spooled: Spooled,
    encode: Encode,
    ds: Make,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(monkeypatch, "ext4")
    storage = make_storage(FileNameSyntax="8")
    data = encode(ds(PatientID="P1", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", LongCodeValue="x" * size))
    storage.touched.before_write(storage.devices[0], "P1/1.2/1.3/a.dcm")
    spooled(storage, bytes(MB)).discard()
    steps.clear()
    stored = store(storage, spooled(storage, data))
    # It gets the name that tells that it is whole when it is, and is synced then: this covers that name.
    assert steps == ["link unnamed", "fsync unnamed", "link part", "link part"]
    (part,) = storage.devices[0].staging.glob("*.part")
    assert is_sealed(part)
    assert part.samefile(stored.path)
    steps.clear()
    storage.close()
    assert steps == ["fsync 1.3", "fsync 1.2", "fsync P1", "fsync mag0", "unlink part"]
    assert files(storage) == ["MAG0:P1/1.2/1.3/1.2.3.4.dcm"]


@pytest.mark.parametrize("size", [0, 200 * KB])
def test_where_a_sync_covers_names_but_not_those_of_unnamed_files_there_are_none(
    size: int,
    make_storage: MakeStorage,
    spooled: Spooled,
    encode: Encode,
    ds: Make,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(monkeypatch, "btrfs")
    storage = make_storage(FileNameSyntax="8")
    data = encode(ds(PatientID="P1", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", LongCodeValue="x" * size))
    storage.touched.before_write(storage.devices[0], "P1/1.2/1.3/a.dcm")
    steps.clear()
    stored = store(storage, spooled(storage, data))
    # What arrived in parts gets the name that tells that it is whole when it is.
    assert steps == [*(["rename part"] if size else []), "fsync part", "link part", "link part"]
    (part,) = storage.devices[0].staging.glob("*.part")
    assert is_sealed(part)
    assert part.samefile(stored.path)


def test_what_goes_before_its_name_is_durable_leaves_nothing(
    make_storage: MakeStorage, spooled: Spooled, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "ext4")
    storage = make_storage()
    stored = store(storage, spooled(storage, data))
    storage.remove(stored.device, stored.file)
    assert list(storage.devices[0].staging.glob("*.part")) == []
    assert files(storage) == []


@pytest.mark.parametrize("size", [0, 200 * KB])
def test_fast_gives_a_file_its_name_and_no_other(
    size: int,
    make_storage: MakeStorage,
    spooled: Spooled,
    encode: Encode,
    ds: Make,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(monkeypatch, "ext4")
    storage = make_storage(FileNameSyntax="8", Durability="fast")
    data = encode(ds(PatientID="P1", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", LongCodeValue="x" * size))
    store(storage, spooled(storage, data))
    steps.clear()
    spool = spooled(storage, data)
    assert list(storage.devices[0].staging.glob("*.part")) == []
    with spool.open() as source:
        assert source.read() == data
    before_ns = time.time_ns()
    stored = storage.store(spool, Header({(0x00100020,): "P2"}), calling="A", called="B")
    assert steps == ["link unnamed"] * 2  # the first one tells that the directory is missing
    assert stored.path.read_bytes().endswith(data)
    assert stored.path.stat().st_mtime_ns < before_ns + 10**9
    after_ns = time.time_ns()
    time.sleep(0.02)
    spool.discard()
    # Until then nobody need wait for the exact time, which is that of the store all the same.
    assert before_ns < stored.path.stat().st_mtime_ns < after_ns
    assert steps == ["link unnamed"] * 2


def test_a_large_object_without_a_name_gets_one_for_who_asks(
    make_storage: MakeStorage, spooled: Spooled, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "ext4")
    storage = make_storage(FileNameSyntax="10", Durability="fast")
    spool = spooled(storage, data + bytes(MB))
    given = spool.file(tmp_path / "scratch")
    assert given.parent == storage.devices[0].staging
    assert given.read_bytes().endswith(data + bytes(MB))
    stored = storage.store(spool, Header({(0x00080018,): "1.2"}), calling="A", called="B")
    assert stored.path.read_bytes().endswith(data + bytes(MB))
    spool.discard()
    assert files(storage) == ["MAG0:Images/1.2.dcm"]


@pytest.mark.parametrize("function", ["fdatasync", "link", "fsync", "mkdir", "writev"])
@pytest.mark.parametrize("size", [0, 3 * MB])
@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DeviceFull), (errno.EIO, OSError)])
def test_a_failure_at_any_step_leaves_nothing(
    function: str,
    size: int,
    number: int,
    kind: type[Exception],
    make_storage: MakeStorage,
    spooled: Spooled,
    encode: Encode,
    ds: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = make_storage(FileNameSyntax="8")
    data = encode(ds(PatientID="P1", LongCodeValue="x" * size))
    spool = spooled(storage, data)
    header = Header({(0x00100020,): "P1"})

    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if function == "writev" and size:
        function = "link"
    monkeypatch.setattr(os, function, broken)
    with pytest.raises(kind) as raised:
        storage.store(spool, header, calling="A", called="B")
    assert (raised.type is DeviceFull) == (number == errno.ENOSPC)
    assert files(storage) == []


def test_what_went_wrong_while_spooling_is_raised_when_storing(make_storage: MakeStorage, spooled: Spooled) -> None:
    storage = make_storage(MaxObjectSize=1)
    with pytest.raises(TooLarge):
        storage.store(spooled(storage, bytes(2 * MB)), Header({}), calling="A", called="B")
    with pytest.raises(NotDicom):
        storage.store(spooled(storage, bytes(10), uid="1" * 300), Header({}), calling="A", called="B")
    assert files(storage) == []


def test_a_file_size_limit_is_a_full_device(make_storage: MakeStorage, spooled: Spooled, data: bytes) -> None:
    storage = make_storage()
    spool = spooled(storage, data + bytes(100 * KB))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * KB, hard))
    try:
        with pytest.raises(DeviceFull, match=r"^MAG0: File too large$"):
            storage.store(spool, Header({}), calling="A", called="B")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(storage) == []


@pytest.fixture
def small_device(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, where the tests may mount one."""
    root = tmp_path / "mag0"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a file system here")
    yield root
    subprocess.run(["umount", str(root)], check=True)


@pytest.mark.parametrize("size", [1, 3])
def test_a_file_system_that_is_full_is_a_full_device(
    size: int, small_device: Path, make_storage: MakeStorage, spooled: Spooled, data: bytes
) -> None:
    storage = make_storage(MAGDeviceFullThreshold=0)
    (small_device / "ballast").write_bytes(bytes(3 * MB + MB // 2))
    with pytest.raises(DeviceFull):
        storage.store(spooled(storage, data + bytes(size * MB)), Header({}), calling="A", called="B")
    assert files(storage) == ["MAG0:ballast"]


@pytest.mark.parametrize("size", [100 * KB, 3 * MB])
def test_an_object_that_does_not_fit_goes_to_the_next_device(
    size: int, small_device: Path, make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make
) -> None:
    storage = make_storage(MAGDevices=2, MAGDeviceFullThreshold=0, FileNameSyntax="10")
    data = encode(ds(LongCodeValue="x" * size))
    spool = spooled(storage, data)
    storage.touched.before_write(storage.devices[0], "Images/another.dcm")
    (small_device / "ballast").write_bytes(bytes(os.statvfs(small_device).f_bavail * 4096))
    stored = store(storage, spool)
    # What was spooled to the first device already needs no more room there.
    device = "MAG1" if size < MB else "MAG0"
    assert (stored.device, stored.file) == (device, "Images/1.2.3.4.dcm")
    assert files(storage) == sorted(["MAG0:ballast", f"{device}:Images/1.2.3.4.dcm"])
    assert stored.path.read_bytes().endswith(data)
    assert pydicom.dcmread(stored.path).SOPInstanceUID == "1.2.3.4"


def test_a_spooled_object_is_copied_when_its_device_cannot_take_it(
    make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make_storage(MAGDevices=2, FileNameSyntax="10", Durability="fast")
    data = encode(ds(LongCodeValue="x" * (3 * MB)))
    spool = spooled(storage, data)
    real = os.link

    def link(source: str, target: str, **more: Any) -> None:
        if storage.devices[0].root in Path(target).parents:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        real(source, target, **more)

    monkeypatch.setattr(os, "link", link)
    stored = store(storage, spool)
    assert stored.device == "MAG1"
    assert files(storage) == ["MAG1:Images/1.2.3.4.dcm"]
    assert stored.path.read_bytes().endswith(data)


def test_a_full_device_is_passed_over(
    make_storage: MakeStorage, spooled: Spooled, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make_storage(MAGDevices=2, FileNameSyntax="10")
    free = {"MAG0": 30, "MAG1": 31}
    monkeypatch.setattr("storage.device.Device.free_mb", lambda device: free[device.name])
    assert store(storage, spooled(storage, data)).device == "MAG1"
    free["MAG0"] = 31
    assert store(storage, spooled(storage, data)).device == "MAG0"
    free.update(MAG0=30, MAG1=30)
    with pytest.raises(DeviceFull, match=r"^no device has more than 30 MB free$"):
        store(storage, spooled(storage, data))
    unchecked = make_storage(MAGDevices=2, FileNameSyntax="10", IgnoreMAGDeviceThreshold=True)
    assert store(unchecked, spooled(unchecked, data)).device == "MAG0"


def test_hostile_headers_store_below_the_device(make_storage: MakeStorage, spooled: Spooled, tmp_path: Path) -> None:
    for syntax in ("4", "8", "10", "12", "%calledae/%callingae/%studydate/%sopuid"):
        storage = make_storage(FileNameSyntax=syntax)
        header = Header(dict.fromkeys(storage.name_tags, "../../../escaped"))
        spool = spooled(storage, b"data")
        stored = storage.store(spool, header, calling="../..", called="/etc")
        assert stored.path.resolve().is_relative_to(storage.devices[0].root.resolve())
    assert {path.name for path in tmp_path.iterdir()} == {"mag0"}


@pytest.fixture
def mirrored(make_storage: MakeStorage, tmp_path: Path) -> Storage:
    storage = make_storage(
        MAGDevices=2, MIRRORDevices=2, MIRRORDevice=("mirror0", "mirror1"), FileNameSyntax="10", Durability="fast"
    )
    for directory, names in {"mag0": "a", "mirror0": "ab", "mag1": "c", "mirror1": "d"}.items():
        for name in names:
            path = tmp_path / directory / "P1" / f"{name}.dcm"
            path.parent.mkdir(exist_ok=True)
            path.write_text(directory)
    return storage


@pytest.mark.parametrize(
    ("device", "file", "where"),
    [
        ("MAG0", "P1/a.dcm", "mag0"),
        ("mag0", "P1/a.dcm", "mag0"),
        ("MAG0", "P1\\a.dcm", "mag0"),
        ("MAG0", "P1/b.dcm", "mirror0"),
        ("MAG0", "P1/c.dcm", "mag1"),
        ("MAG0", "P1/d.dcm", "mirror1"),
        ("MAG1", "P1/a.dcm", "mag0"),
        ("MAG0.Archiving", "P1/a.dcm", "mag0"),
        ("MAG0.1", "P1/a.dcm", "mag0"),
        ("JUKEBOX1.123", "P1/a.dcm", "mag0"),
        ("MAG7", "P1/b.dcm", "mirror0"),
        ("", "P1/c.dcm", "mag1"),
    ],
)
def test_a_file_is_found_on_its_device_its_mirror_or_any_other(
    device: str, file: str, where: str, mirrored: Storage
) -> None:
    assert mirrored.locate(device, file).read_text() == where


def test_a_file_on_no_device_is_missing(mirrored: Storage) -> None:
    with pytest.raises(MissingFile, match=r"^MAG0 P1/e.dcm: there is no such file on any device$"):
        mirrored.locate("MAG0", "P1/e.dcm")
    with pytest.raises(MissingFile):
        mirrored.locate("MAG0", "P1")
    with pytest.raises(UnsafePath):
        mirrored.locate("MAG0", "../mag1/P1/c.dcm")


def test_a_name_with_a_backslash_is_taken_as_it_is_when_there_is_such_a_file(mirrored: Storage) -> None:
    (mirrored.devices[0].root / "P1\\a.dcm").write_text("odd")
    assert mirrored.locate("MAG0", "P1\\a.dcm").read_text() == "odd"


def test_removing_takes_the_mirror_copy_and_emptied_directories(mirrored: Storage, tmp_path: Path) -> None:
    mirrored.remove("MAG0", "P1\\a.dcm")
    assert not (tmp_path / "mag0" / "P1").exists()
    assert (tmp_path / "mag0").is_dir()
    assert [path.name for path in (tmp_path / "mirror0" / "P1").iterdir()] == ["b.dcm"]
    mirrored.remove("MAG0", "P1/a.dcm")
    mirrored.remove("mag0.Archiving", "P1/b.dcm")
    assert list((tmp_path / "mirror0").iterdir()) == []
    assert (tmp_path / "mag1" / "P1" / "c.dcm").exists()


def test_removing_leaves_the_file_that_it_is_told_to_leave(mirrored: Storage) -> None:
    kept = mirrored.devices[0].root / "P1" / "a.dcm"
    mirrored.remove("MAG0", "P1\\a.dcm", but=kept)
    assert kept.exists()
    mirrored.remove("MAG0", "P1\\a.dcm")
    assert not kept.exists()


@pytest.mark.parametrize(
    ("device", "file", "kind"),
    [
        ("MAG0", "../mag1/P1/c.dcm", UnsafePath),
        ("MAG0", "/etc/passwd", UnsafePath),
        ("MAG0", "link/c.dcm", UnsafePath),
        ("MAG5", "P1/c.dcm", UnknownDevice),
        ("JUKEBOX1.1", "P1/c.dcm", UnknownDevice),
    ],
)
def test_removing_never_leaves_the_device(
    device: str, file: str, kind: type[Exception], mirrored: Storage, tmp_path: Path
) -> None:
    (tmp_path / "mag0" / "link").symlink_to(tmp_path / "mag1" / "P1")
    with pytest.raises(kind):
        mirrored.remove(device, file)
    assert (tmp_path / "mag1" / "P1" / "c.dcm").exists()


def test_a_linked_device_root_is_inside_of_itself(make_storage: MakeStorage, tmp_path: Path, spooled: Spooled) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "mag0").symlink_to(tmp_path / "real")
    storage = make_storage(FileNameSyntax="10")
    stored = storage.store(spooled(storage, b"data"), Header({(0x00080018,): "1.2"}), calling="A", called="B")
    assert storage.place(tmp_path / "real" / "Images" / "1.2.dcm") == ("MAG0", "Images/1.2.dcm")
    storage.remove(stored.device, stored.file)
    assert files(storage) == []


def test_a_path_is_placed_on_the_device_it_lies_on(mirrored: Storage, tmp_path: Path) -> None:
    mag0 = tmp_path / "mag0"
    assert mirrored.place(mag0 / "P1" / "a.dcm") == ("MAG0", "P1/a.dcm")
    assert mirrored.place(mag0 / "new" / "x.dcm") == ("MAG0", "new/x.dcm")
    assert mirrored.place(mag0 / ".." / "mag1" / "P1" / "c.dcm") == ("MAG1", "P1/c.dcm")
    assert mirrored.place(mag0) is None
    assert mirrored.place(tmp_path / "mirror0" / "P1" / "a.dcm") is None
    assert mirrored.place(mag0 / ".." / "mirror0" / "P1" / "a.dcm") is None
    assert mirrored.place(Path("/etc/passwd")) is None
    (mag0 / "elsewhere").symlink_to(tmp_path / "mirror1")
    assert mirrored.place(mag0 / "elsewhere" / "P1" / "d.dcm") == ("MAG0", "elsewhere/P1/d.dcm")
    nested = Storage(type(mirrored.settings)(MAGDevices=2, MAGDevice=(str(tmp_path), str(mag0))), tmp_path)
    assert nested.place(mag0 / "P1" / "a.dcm") == ("MAG1", "P1/a.dcm")


def test_a_complete_leftover_is_taken_in(
    make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "nfs4")
    storage = make_storage(FileNameSyntax="8")
    data = encode(ds(PatientID="P1", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", LongCodeValue="x" * 3 * MB))
    left = spooled(storage, data)
    assert storage.leftovers(alone=False) == []
    (leftover,) = storage.leftovers(alone=True)
    spool = storage.adopt(leftover)
    assert (spool.size, spool.transfer_syntax, spool.sop_instance) == (len(data), EXPLICIT, "1.2.3.4")
    stored = store(storage, spool)
    assert stored.file == "P1/1.2/1.3/1.2.3.4.dcm"
    assert read_object_file(stored.path).length == len(data)
    leftover.unlink()
    assert files(storage) == ["MAG0:P1/1.2/1.3/1.2.3.4.dcm"]
    left.discard()


def test_a_bare_leftover_gets_its_meta_when_names_changed(
    make_storage: MakeStorage, spooled: Spooled, encode: Encode, ds: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, "nfs4")
    data = encode(ds(LongCodeValue="x" * 3 * MB), IMPLICIT)
    spooled(make_storage(FileNameSyntax="3"), data, syntax=IMPLICIT)
    storage = make_storage(FileNameSyntax="10")
    (leftover,) = storage.leftovers(alone=True)
    spool = storage.adopt(leftover)
    assert (spool.sop_class, spool.sop_instance) == ("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4")
    stored = store(storage, spool)
    leftover.unlink()
    assert files(storage) == ["MAG0:Images/1.2.3.4.dcm"]
    assert read_object_file(stored.path).transfer_syntax == IMPLICIT
    assert stored.path.read_bytes().endswith(data)


def test_a_leftover_that_has_its_final_name_is_removed(
    make_storage: MakeStorage, spooled: Spooled, data: bytes
) -> None:
    storage = make_storage(FileNameSyntax="10")
    stored = store(storage, spooled(storage, data))
    part = storage.devices[0].staging / "999999999-0-ab.dcm.part"
    os.link(stored.path, part)
    assert storage.leftovers(alone=False) == []
    assert files(storage) == ["MAG0:Images/1.2.3.4.dcm"]


def test_a_leftover_that_is_no_object_stays(make_storage: MakeStorage, tmp_path: Path) -> None:
    storage = make_storage()
    part = storage.devices[0].staging / "999999999-0-ab.dcm.part"
    part.write_bytes(b"half")
    with pytest.raises(NotDicom):
        storage.adopt(part)
    assert part.exists()
    elsewhere = tmp_path / "a.dcm"
    elsewhere.write_bytes(b"\x08\0\x18\0UI\x06\x001.2.3\0")
    with pytest.raises(DeviceError, match=r"is no temporary file of a device$"):
        storage.adopt(elsewhere)


def test_two_servers_cannot_hold_one_device(make_storage: MakeStorage) -> None:
    storage = make_storage()
    with storage.lock(), pytest.raises(DeviceBusy):
        make_storage().lock()
    storage.lock().close()


def test_a_storage_tells_its_devices_and_their_space(make_storage: MakeStorage, tmp_path: Path) -> None:
    storage = make_storage(MAGDevices=2)
    assert [device.name for device in storage.devices] == ["MAG0", "MAG1"]
    assert storage.device("mag1") is storage.devices[1]
    assert storage.temporary == tmp_path / "mag0" / "printer_files"
    assert make_storage(TempDir="work").temporary == tmp_path / "work"
    storage.devices[1].staging.rmdir()
    storage.devices[1].root.rmdir()
    one, other = storage.space()
    assert one.total_mb >= one.free_mb > 0
    assert (other.name, other.total_mb, other.free_mb) == ("MAG1", 0, 0)


def test_a_syntax_that_cannot_be_used_is_told_at_the_start(make_storage: MakeStorage) -> None:
    with pytest.raises(ValueError, match=r"^FileNameSyntax = lua:x: names made by Lua are not available"):
        make_storage(FileNameSyntax="lua:x")


def test_reading_a_spooled_object_gives_its_name_tags(make_storage: MakeStorage, data: bytes) -> None:
    storage = make_storage(FileNameSyntax="11")
    header = read_header(io.BytesIO(data), EXPLICIT, storage.name_tags)
    assert set(header.values) == storage.name_tags
