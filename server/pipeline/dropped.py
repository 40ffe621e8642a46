"""Files that are brought to the server: a DICOM file, an archive of them, or what a client uploads."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import keyword_for_tag

from db.errors import BadValue, Refused
from server.log import printable
from server.pipeline.compression import dropped_code
from server.pipeline.ingest import Incoming, ingest
from server.server import Server
from server.status import Mismatch
from server.uid import CHANGED
from storage.archive import is_archive, unpacked
from storage.errors import NotConvertible, NotDicom, TooLarge
from storage.header import read_header
from storage.part10 import ObjectFile, read_object_file
from storage.rewrite import is_instance_uid, with_patient

log = logging.getLogger("dgate")

SOP_CLASS = (0x00080016,)
SOP_INSTANCE = (0x00080018,)

# A DICOMDIR lists the objects of a medium and is none itself.
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

_PIECE = 1 << 20
# What is wrong with one object, as opposed to what keeps the server from taking in any.
_OF_THE_OBJECT = (NotDicom, NotConvertible, TooLarge, Mismatch, Refused, BadValue)
# Wire text becomes the extension of a temporary file, so it must be one of these.
_EXTENSIONS = frozenset({".gz", ".zip", ".tar", ".dcm", ".v2", ".img", ".hl7", ".7z"})


class NotEntered(Exception):
    """A file that could not be taken in; the text says why, without patient data."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Who brought a file, under which name the log has it, and the patient ID that its objects are to get."""

    name: str
    patient_id: str = ""
    calling: str = ""


def enter_upload(server: Server, dropped: Dropped, data: bytes) -> None:
    """Take in what a client sent, of whose name only the extension counts. Raises as `enter_file` does."""
    extension = Path(dropped.name.replace("\\", "/")).suffix.lower()
    suffix = extension if extension in _EXTENSIONS else ""
    with tempfile.NamedTemporaryFile(dir=server.storage.temporary, suffix=suffix) as spooled:
        spooled.write(data)
        spooled.flush()
        enter_file(server, dropped, Path(spooled.name))


def enter_file(server: Server, dropped: Dropped, path: Path) -> None:
    """Take in a DICOM file, or every object of a .gz, .zip or .tar archive; the file itself stays where it is.

    With a patient ID the objects get that and new UIDs, the same for the same old ones (UIDMODS). Of an archive what
    is no DICOM file is passed over, and an object that is refused does not keep out the others.
    Raises NotEntered, NotUnpacked, the exceptions of `ingest`, or OSError.
    """
    _check_patient(dropped.patient_id)
    if path.suffix.lower() in (".hl7", ".7z"):
        raise NotEntered(f"{path.suffix} files are not taken in")
    if is_archive(path):
        _enter_archive(server, dropped, path)
    else:
        _enter_object(server, dropped, path, read_object_file(path))


def _check_patient(patient_id: str) -> None:
    if len(patient_id) > 64 or "\\" in patient_id or not (patient_id.isprintable() or not patient_id):
        raise NotEntered("a patient ID has at most 64 characters, and no backslash among them")
    if patient_id.startswith("$"):
        raise NotEntered("a patient ID that begins with $ asks for a test of ConQuest that does not exist here")


def _enter_archive(server: Server, dropped: Dropped, path: Path) -> None:
    entered = failed = 0
    with tempfile.TemporaryDirectory(dir=server.storage.temporary) as directory:
        for number, member in enumerate(unpacked(path, Path(directory)), 1):
            try:
                file = _object(member)
                if file is None:
                    log.info("[AddImageFile] %s: its file %d is no DICOM object", printable(dropped.name), number)
                    continue
                _enter_object(server, dropped, member, file)
                entered += 1
            except _OF_THE_OBJECT as error:
                log.error("***[AddImageFile] %s: its file %d: %s", printable(dropped.name), number, error)
                failed += 1
    if failed:
        raise NotEntered(f"{failed} of the {failed + entered} objects in the archive were not entered")
    if not entered:
        raise NotEntered("the archive holds no DICOM object")


def _object(path: Path) -> ObjectFile | None:
    try:
        file = read_object_file(path)
    except NotDicom:
        return None
    return None if file.sop_class == MEDIA_DIRECTORY else file


def _enter_object(server: Server, dropped: Dropped, path: Path, file: ObjectFile) -> None:
    with path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, [SOP_CLASS, SOP_INSTANCE])
        for tag, what in ((SOP_CLASS, "class"), (SOP_INSTANCE, "instance")):
            if not header.text(*tag):
                raise Mismatch(f"the file has no SOP {what} UID")
        sop_class, sop_instance = header.text(*SOP_CLASS), header.text(*SOP_INSTANCE)
        source.seek(file.offset)
        pieces = _pieces(source)
        if dropped.patient_id:
            changes = _UidChanges(server)
            pieces = with_patient(source, file.transfer_syntax, dropped.patient_id, changes)
            sop_instance = changes(*SOP_INSTANCE, sop_instance)
        spool = server.storage.spool(sop_class, sop_instance, file.transfer_syntax)
        try:
            for piece in pieces:
                spool.write(piece)
            code = dropped_code(server.storage.settings)
            note = ingest(
                server,
                Incoming(spool, sop_class, sop_instance, file.transfer_syntax, dropped.calling, server.ae_title, code),
            )
            log.info("%s", note)
        finally:
            spool.discard()


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        yield piece


class _UidChanges:
    """The UIDs that replace those of one object, and what replaced them in other objects before (spec 8.6)."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[str, str] = {}

    def __call__(self, tag: int, uid: str) -> str:
        if not is_instance_uid(tag, uid):
            return uid
        if uid not in self._known:
            made = partial(self._server.new_uid, CHANGED)
            self._known[uid] = self._server.index.change_uid(uid, keyword_for_tag(tag), "", made)
        return self._known[uid]
