"""The kind of a file system is told by the mount that a directory is on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage import filesystem
from storage.filesystem import kind_of, names_with_files


def test_the_kind_is_that_of_the_mount(tmp_path: Path) -> None:
    assert kind_of("/proc") == "proc"
    assert kind_of("/sys") == "sysfs"
    said = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", str(tmp_path)], capture_output=True, check=False)
    if said.returncode == 0:
        assert kind_of(str(tmp_path)) == said.stdout.decode().strip()
    link = tmp_path / "link"
    link.symlink_to("/proc")
    assert kind_of(str(link)) == "proc"


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kind_of(str(tmp_path / "gone"))


def test_where_nobody_tells_nothing_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(filesystem, "_lines", lambda _: [])
    assert kind_of(str(tmp_path)) == ""
    assert "" not in filesystem.UNNAMED_FILES
    assert not names_with_files("")
    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


@pytest.mark.parametrize(
    ("kind", "release", "covered"),
    [
        ("ext4", "6.1.0-18-amd64", True),
        ("xfs", "5.0.0", True),
        ("btrfs", "10.2-rc1", True),
        ("ext3", "5.15.167.4-microsoft-standard-WSL2", True),
        ("ext4", "4.19.0", False),
        ("ext4", "unknown", False),
        ("ext2", "6.1.0", False),
        ("f2fs", "6.1.0", False),
        ("overlay", "6.1.0", False),
        ("tmpfs", "6.1.0", False),
        ("nfs4", "6.1.0", False),
    ],
)
def test_only_what_is_known_to_cover_names_is_trusted_to(
    kind: str, release: str, covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    assert names_with_files(kind) == covered
