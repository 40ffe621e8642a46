"""Archives: every file comes out once under a name of ours, and nothing that is in them can hurt."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage import archive
from storage.archive import NotUnpacked, is_archive, unpacked

FILES = {"a/1.dcm": b"first" * 1000, "a/2.dcm": b"", "../3": b"third"}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        packed.mkdir("a/directory")
        for name, data in files.items():
            packed.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as packed:
        directory = tarfile.TarInfo("a/directory")
        directory.type = tarfile.DIRTYPE
        packed.addfile(directory)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return out.getvalue()


def contents(directory: Path, name: str, data: bytes) -> list[bytes]:
    """What comes out of an archive of that name."""
    path = directory / name
    path.write_bytes(data)
    inside = directory / "inside"
    inside.mkdir(exist_ok=True)
    found = []
    for file in unpacked(path, inside):
        assert file.parent == inside
        found.append(file.read_bytes())
    return found


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", zipped(FILES)),
        ("a.zip", zipped(FILES, zipfile.ZIP_STORED)),
        ("A.ZIP", zipped(FILES)),
        ("a.tar", tarred(FILES)),
        ("a.tar", tarred(FILES, tarfile.GNU_FORMAT)),
        ("a.tar", tarred(FILES, tarfile.USTAR_FORMAT)),
        ("a.tar.gz", gzip.compress(tarred(FILES))),
        ("a.gz", gzip.compress(tarred(FILES))),
        ("a.gz", gzip.compress(tarred(FILES)[:700]) + gzip.compress(tarred(FILES)[700:])),
    ],
)
def test_every_file_comes_out_in_its_order(tmp_path: Path, name: str, data: bytes) -> None:
    assert contents(tmp_path, name, data) == list(FILES.values())
    assert list((tmp_path / "inside").iterdir()) in ([], [tmp_path / "inside" / "tar"])


def test_a_gzip_file_of_one_file_gives_that(tmp_path: Path) -> None:
    assert contents(tmp_path, "a.dcm.gz", gzip.compress(b"data" * 300)) == [b"data" * 300]
    assert contents(tmp_path, "a.gz", gzip.compress(b"")) == [b""]


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("a.zip", True),
        ("a.GZ", True),
        ("a.tar", True),
        ("a.dcm", False),
        ("a.tgz", False),
        ("zip", False),
        ("a.7z", False),
    ],
)
def test_archives_are_known_by_their_names(name: str, yes: bool) -> None:
    assert is_archive(Path(name)) is yes


BOMBS: list[tuple[str, Callable[[int], bytes]]] = [
    ("a.zip", lambda size: zipped({"1": bytes(size // 2), "2": bytes(size // 2 + 1)})),
    ("a.gz", lambda size: gzip.compress(bytes(size + 1))),
    ("a.tar.gz", lambda size: gzip.compress(tarred({"1": bytes(size)}))),
    ("a.tar.gz", lambda size: gzip.compress(tarred({"1": b"x"}) + bytes(size))),
]


@pytest.mark.parametrize(("name", "make"), BOMBS, ids=range(len(BOMBS)))
def test_what_unpacks_to_far_more_than_its_size_stops_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[int], bytes]
) -> None:
    monkeypatch.setattr(archive, "UNPACKED_LEAST", 10 << 20)
    data = make(10 << 20)
    with pytest.raises(NotUnpacked, match="far more than its size"):
        contents(tmp_path, name, data)
    largest = max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert largest <= 10 << 20
    # What an archive of that size may hold comes out.
    monkeypatch.setattr(archive, "UNPACKED_LEAST", 40 << 20)
    assert contents(tmp_path, name, data)


def test_files_without_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 10)
    for name, pack in (("a.zip", zipped), ("a.tar", tarred)):
        with pytest.raises(NotUnpacked, match="more than 10 files"):
            contents(tmp_path, name, pack({str(number): b"" for number in range(11)}))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_may_take_any_amount_of_memory_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(NotUnpacked, match="use deflate"):
        contents(tmp_path, "a.zip", zipped(FILES, method))


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"x"}))
    data[data.rindex(b"PK\1\2") + 8] |= 1
    with pytest.raises(NotUnpacked, match="encrypted"):
        contents(tmp_path, "a.zip", bytes(data))


def test_what_came_before_the_damage_was_there(tmp_path: Path) -> None:
    data = bytearray(zipped({"1": b"whole", "2": b"damaged" * 500}, zipfile.ZIP_STORED))
    data[data.index(b"damaged")] ^= 1
    path = tmp_path / "a.zip"
    path.write_bytes(bytes(data))
    found: list[bytes] = []
    with pytest.raises(NotUnpacked, match="damaged"):
        found.extend(file.read_bytes() for file in unpacked(path, tmp_path))
    assert found == [b"whole"]


def test_errors_of_the_disk_are_not_taken_for_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(FILES))
    with pytest.raises(FileNotFoundError):
        list(unpacked(path, tmp_path / "nosuch"))
    with pytest.raises(FileNotFoundError):
        list(unpacked(tmp_path / "none.zip", tmp_path))


@given(
    st.sampled_from(["a.zip", "a.tar", "a.gz", "a.tar.gz"]),
    st.lists(st.tuples(st.integers(0, 1000), st.binary(min_size=1, max_size=20)), max_size=5),
    st.integers(0, 3000),
)
@example("a.zip", [(420, b"\x00\x01")], 426)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_archives_are_refused_or_unpacked(
    tmp_path: Path, name: str, damage: list[tuple[int, bytes]], length: int
) -> None:
    whole = {"a.zip": zipped(FILES), "a.tar": tarred(FILES), "a.gz": gzip.compress(b"x" * 3000)}.get(
        name, gzip.compress(tarred(FILES))
    )
    data = bytearray(whole)
    for place, new in damage:
        data[place % len(data) : place % len(data) + len(new)] = new
    with contextlib.suppress(NotUnpacked):
        contents(tmp_path, name, bytes(data[: max(length, 1)]))
