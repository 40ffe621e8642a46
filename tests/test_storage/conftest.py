"""Fixtures of the storage tests: data sets as bytes, and a storage in a temporary directory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from storage.header import Header, read_header
from storage.settings import StorageSettings
from storage.spool import Spool
from storage.store import Storage

DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT = "1.2.840.10008.1.2.1"


def encode_data_set(data_set: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    target = DicomBytesIO()
    target.is_implicit_VR = transfer_syntax == "1.2.840.10008.1.2"
    target.is_little_endian = transfer_syntax != "1.2.840.10008.1.2.2"
    write_dataset(target, data_set)
    data = target.getvalue()
    if transfer_syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
    return data


def make_data_set(**keywords: Any) -> Dataset:
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    data_set.SOPInstanceUID = "1.2.3.4"
    for keyword, value in keywords.items():
        setattr(data_set, keyword, value)
    return data_set


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode a data set in a transfer syntax, explicit little endian by default."""
    return encode_data_set


@pytest.fixture(scope="session")
def ds() -> Callable[..., Dataset]:
    """Make a small valid data set."""
    return make_data_set


@pytest.fixture(scope="session")
def read() -> Callable[..., Header]:
    """Read values from the bytes of a data set."""

    def read_bytes(data: bytes, *wanted: int | tuple[int, ...], syntax: str = EXPLICIT, whole: bool = False) -> Header:
        paths = frozenset((path,) if isinstance(path, int) else path for path in wanted)
        return read_header(io.BytesIO(data), syntax, paths, whole=whole)

    return read_bytes


@pytest.fixture
def make_storage(tmp_path: Path) -> Callable[..., Storage]:
    """Make a storage of one device, `mag0` of the temporary directory, and settings by key."""

    def make(**keys: Any) -> Storage:
        count = keys.get("MAGDevices", 1)
        settings = replace(StorageSettings(MAGDevice=tuple(f"mag{number}" for number in range(count))), **keys)
        for text in (*settings.MAGDevice, *settings.MIRRORDevice):
            (tmp_path / text).mkdir(exist_ok=True)
        storage = Storage(settings, tmp_path)
        storage.check()
        return storage

    return make


@pytest.fixture(scope="session")
def spooled() -> Callable[..., Spool]:
    """Spool bytes, in pieces, as an association does."""

    def spool_bytes(
        storage: Storage, data: bytes, *, syntax: str = EXPLICIT, uid: str = "1.2.3.4", piece: int = 1 << 20
    ) -> Spool:
        spool = storage.spool("1.2.840.10008.5.1.4.1.1.7", uid, syntax)
        for start in range(0, len(data), piece):
            spool.write(data[start : start + piece])
        return spool

    return spool_bytes
