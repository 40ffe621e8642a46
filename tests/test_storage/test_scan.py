"""The files of a device by ConQuest's rules, and what is read of them."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from storage.part10 import ObjectFile, file_meta
from storage.scan import Scanned, is_object_name, object_files, read_batch

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
ID, SOP = (0x00100020,), (0x00080018,)

Encode = Callable[..., bytes]
Make = Callable[..., Dataset]


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a.v2", True),
        ("a.dcm", True),
        ("A.DCM", True),
        ("a.img", True),
        ("README", True),
        ("1.2.840.10008", True),
        ("IM.00001", True),
        ("1.2.3", False),
        ("a.txt", False),
        ("a.c", False),
        ("a.json", True),
        ("a.", False),
        (".a", False),
        ("", True),
        ("a.dcm.part", True),
        ("a.dcm.tmp", False),
    ],
)
def test_objects_are_known_by_their_names(name: str, taken: bool) -> None:
    assert is_object_name(name) is taken


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in object_files(root)]


def test_a_device_is_walked_in_order_without_what_is_not_archive(tmp_path: Path) -> None:
    tree(
        tmp_path,
        *("b/2.dcm", "b/1.v2", "a/x/y/z.img", "a/note.txt", "top", "B/9.dcm", "printer_files/1-2.dcm.part"),
        *("Incoming/a.dcm", "BIN/a.dcm", "a/bin/a.dcm", "a/binary/a.dcm", "PRINTER_FILES/a.dcm"),
    )
    (tmp_path / "empty").mkdir()
    expected = ["B/9.dcm", "a/binary/a.dcm", "a/x/y/z.img", "b/1.v2", "b/2.dcm", "top"]
    assert found(tmp_path) == expected
    assert found(tmp_path) == expected


def test_links_do_not_lead_in_circles_or_twice_to_one_place(tmp_path: Path) -> None:
    root, outside = tmp_path / "mag0", tmp_path / "outside"
    tree(root, "P1/a.dcm", "P2/b.dcm")
    tree(outside, "P3/c.dcm")
    (root / "P1" / "loop").symlink_to(root)
    (root / "P1" / "sibling").symlink_to(root / "P2")
    (root / "P1" / "above").symlink_to(tmp_path)
    (root / "P9").symlink_to(outside)
    (outside / "back").symlink_to(root)
    (outside / "itself").symlink_to(outside)
    (root / "broken").symlink_to(tmp_path / "nowhere")
    (root / "P2" / "linked.dcm").symlink_to(root / "P1" / "a.dcm")
    assert found(root) == ["P1/a.dcm", "P1/above/outside/P3/c.dcm", "P2/b.dcm", "P2/linked.dcm"]


def test_a_linked_directory_outside_is_visited(tmp_path: Path) -> None:
    root, outside = tmp_path / "mag0", tmp_path / "outside"
    tree(root, "P1/a.dcm")
    tree(outside, "P3/c.dcm")
    (root / "P2").symlink_to(outside)
    (root / "P3").symlink_to(outside / "P3")
    assert found(root) == ["P1/a.dcm", "P2/P3/c.dcm"]


def test_a_device_that_is_a_link_itself_is_walked(tmp_path: Path) -> None:
    tree(tmp_path / "real", "P1/a.dcm")
    (tmp_path / "mag0").symlink_to(tmp_path / "real")
    assert found(tmp_path / "mag0") == ["P1/a.dcm"]


def test_directories_deeper_than_the_stack_are_walked(tmp_path: Path) -> None:
    root = tmp_path / "mag0"
    deepest = root / "/".join("d" * 1200)
    try:
        # Neither Path.mkdir nor shutil.rmtree, which clears temporary directories, come so deep.
        subprocess.run(["mkdir", "-p", str(deepest)], check=True)
        (deepest / "a.dcm").write_bytes(b"")
        assert list(object_files(root)) == [deepest / "a.dcm"]
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)


def test_what_cannot_be_read_is_reported_or_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "P1/a.dcm", "P2/b.dcm")
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "P1":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        found(tmp_path)
    errors: list[OSError] = []
    assert [path.name for path in object_files(tmp_path, errors.append)] == ["b.dcm"]
    assert [error.filename for error in errors] == [str(tmp_path / "P1")]


def test_a_batch_is_read_in_order_and_failures_are_told(tmp_path: Path, encode: Encode, ds: Make) -> None:
    good, bare, bad = tmp_path / "good.dcm", tmp_path / "bare.v2", tmp_path / "bad.dcm"
    meta = file_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", EXPLICIT)
    good.write_bytes(meta + encode(ds(PatientID="P1")))
    bare.write_bytes(encode(ds(PatientID="P2"), IMPLICIT))
    bad.write_bytes(b"no object")
    for path in (good, bare, bad):
        os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    scanned = read_batch([good, tmp_path / "gone.dcm", bare, bad, tmp_path], [ID, SOP])
    assert [each.path for each in scanned] == [good, tmp_path / "gone.dcm", bare, bad, tmp_path]
    assert [each.error for each in scanned] == [
        "",
        "No such file or directory",
        "",
        "it is no DICOM file",
        "Is a directory",
    ]
    first, _, third, _, _ = scanned
    assert first.file == ObjectFile(
        good, EXPLICIT, len(meta), good.stat().st_size - len(meta), "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    )
    assert first.header is not None
    assert first.header.values == {ID: "P1", SOP: "1.2.3.4"}
    assert (first.size, first.mtime_ns) == (good.stat().st_size, 1_700_000_000_123_456_789)
    assert third.header is not None
    assert third.header.values == {ID: "P2", SOP: "1.2.3.4"}
    assert third.file == ObjectFile(bare, IMPLICIT, 0, bare.stat().st_size, "", "")
    assert scanned[3] == Scanned(bad, error="it is no DICOM file")
    assert pickle.loads(pickle.dumps(scanned)) == scanned
