"""Files that are brought to the server: a DICOM file, an archive of them, or what a client uploads."""

from __future__ import annotations

import gzip
import logging
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from server.pipeline.ingest import Incoming, ingest
from server.server import Server
from server.status import Mismatch
from storage.header import Header, NotDicom, read_header
from storage.part10 import ObjectFile, read_object_file
from storage.spool import Spool

log = logging.getLogger("dgate")

SOP_CLASS = (0x00080016,)
SOP_INSTANCE = (0x00080018,)

# What an archive may hold, so that a small one cannot fill the disk: this much, and this many times its own size.
_UNPACKED_LEAST = 256 << 20
_UNPACKED_RATIO = 200
_PIECE = 1 << 20

_ARCHIVES = (".gz", ".zip", ".tar")


class NotEntered(Exception):
    """A file that could not be taken in; the text says why, without patient data."""


def enter_upload(server: Server, name: str, data: bytes, *, patient_id: str, calling: str) -> None:
    """Take in what a client sent under `name`, of which only the extension counts. Raises as `enter_file` does."""
    with tempfile.NamedTemporaryFile(dir=server.storage.temporary, suffix=_extension(name)) as spooled:
        spooled.write(data)
        spooled.flush()
        enter_file(server, Path(spooled.name), patient_id=patient_id, calling=calling)


def _extension(name: str) -> str:
    suffix = Path(name.replace("\\", "/")).suffix.lower()
    return suffix if suffix in (*_ARCHIVES, ".dcm", ".v2", ".img", ".hl7", ".7z") else ""


def enter_file(server: Server, path: Path, *, patient_id: str = "", calling: str = "") -> None:
    """Take in a DICOM file, or every file of a .gz, .zip or .tar archive; the file itself stays where it is.

    With `patient_id` the objects get that patient ID and new UIDs, the same for the same old ones (UIDMODS).
    Raises NotEntered, NotDicom, the exceptions of `ingest`, or OSError; of an archive, what came before is kept.
    """
    suffix = path.suffix.lower()
    if suffix in (".hl7", ".7z"):
        raise NotEntered(f"{suffix} files are not taken in")
    if suffix not in _ARCHIVES:
        _enter_object(server, path, patient_id, calling)
        return
    entered = 0
    with tempfile.TemporaryDirectory(dir=server.storage.temporary) as directory:
        for member in _unpack(path, Path(directory) / "member"):
            _enter_object(server, member, patient_id, calling)
            entered += 1
    if not entered:
        raise NotEntered("the archive holds no file")


def _unpack(path: Path, target: Path) -> Iterator[Path]:
    """Unpack one file after the other to `target`; names inside the archive are never used."""
    budget = _Budget(max(_UNPACKED_LEAST, path.stat().st_size * _UNPACKED_RATIO))
    try:
        for opened in _members(path):
            with opened as source, target.open("wb") as out:
                while piece := source.read(_PIECE):
                    budget.spend(len(piece))
                    out.write(piece)
            yield target
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        EOFError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise NotEntered(f"the archive cannot be unpacked: {error}") from error


def _members(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1] == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield archive.open(info)
    elif ".tar" in suffixes:
        with tarfile.open(path) as archive_file:
            for member in archive_file:
                if member.isfile():
                    opened = archive_file.extractfile(member)
                    assert opened is not None, "a regular file of an archive can be opened"
                    yield opened
    else:
        yield gzip.GzipFile(path)


class _Budget:
    """The bytes an archive may still unpack to."""

    def __init__(self, most: int) -> None:
        self._left = most

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise NotEntered("the archive unpacks to far more than its size: it is not taken in")


def _enter_object(server: Server, path: Path, patient_id: str, calling: str) -> None:
    file = read_object_file(path)
    with path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, [SOP_CLASS, SOP_INSTANCE])
    if patient_id:
        data, header = _as_patient(server, path, patient_id)
        spool = _spool(server, file, header)
        spool.write(data)
    else:
        spool = _spool(server, file, header)
        with path.open("rb") as source:
            source.seek(file.offset)
            while piece := source.read(_PIECE):
                spool.write(piece)
    with _discarded(spool):
        ingest(
            server,
            Incoming(
                spool=spool,
                sop_class=header.text(*SOP_CLASS),
                sop_instance=header.text(*SOP_INSTANCE),
                transfer_syntax=file.transfer_syntax,
                calling=calling,
                called=server.ae_title,
                code=server.storage.settings.DroppedFileCompression,
            ),
        )


def _spool(server: Server, file: ObjectFile, header: Header) -> Spool:
    for path, what in ((SOP_CLASS, "class"), (SOP_INSTANCE, "instance")):
        if not header.text(*path):
            raise Mismatch(f"the file has no SOP {what} UID")
    return server.storage.spool(header.text(*SOP_CLASS), header.text(*SOP_INSTANCE), file.transfer_syntax)


@contextmanager
def _discarded(spool: Spool) -> Iterator[None]:
    try:
        yield
    finally:
        spool.discard()


def _as_patient(server: Server, path: Path, patient_id: str) -> tuple[bytes, Header]:
    """The data set with another patient ID and changed UIDs, in its own transfer syntax, and its new SOP UIDs."""
    try:
        data_set = pydicom.dcmread(path, force=True)
        _change_uids(server, data_set)
        data_set.PatientID = patient_id
        buffer = BytesIO()
        data_set.save_as(buffer, enforce_file_format=False)
        raw = buffer.getvalue()
    except (ValueError, AttributeError, NotImplementedError, KeyError) as error:
        raise NotDicom(f"it cannot be given another patient: {error}") from error
    header = Header({SOP_CLASS: str(data_set.SOPClassUID), SOP_INSTANCE: str(data_set.SOPInstanceUID)})
    return raw[_meta_length(raw) :], header


def _meta_length(raw: bytes) -> int:
    if raw[128:132] != b"DICM":
        return 0
    return 144 + int.from_bytes(raw[140:144], "little")


def _change_uids(server: Server, data_set: Dataset) -> None:
    """Replace every instance UID, in sequences too: all but those of classes and transfer syntaxes (spec 8.6)."""
    for element in data_set.iterall():
        if element.VR != "UI" or "Class" in element.keyword or element.keyword == "TransferSyntaxUID":
            continue
        values = [str(value) for value in element.value] if element.VM > 1 else [str(element.value or "")]
        changed = [
            server.index.change_uid(value, keyword_for_tag(element.tag), "(empty)", server.new_uid) for value in values
        ]
        element.value = changed if len(changed) > 1 else changed[0]
