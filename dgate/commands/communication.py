"""Communication options: taking files in, and showing what is in them."""

from __future__ import annotations

import logging
from pathlib import Path

from db.errors import DatabaseError, Refused
from db.query import Query
from db.schema import PATIENT_ID, SERIES_UID, SOP_INSTANCE, STUDY_UID, TagPath
from dgate.arguments import REPLY, DroppedFile, ObjectName, OutputFile, Upload
from dgate.command import CommandError, command
from server.authority import Caller
from server.pipeline.dropped import NotEntered, enter_file, enter_upload
from server.server import Server
from server.status import Mismatch
from storage.dump import dump_header as dump
from storage.errors import MissingFile, StorageError

GROUP = "Communication options"

log = logging.getLogger("dgate")


@command("addimagefile:file,patid", group=GROUP)
def addimagefile(server: Server, file: DroppedFile, patid: str = "", *, caller: Caller, upload: Upload | None) -> str:
    """Copy file into server, optionally new patid.

    `file` is a DICOM file on the server, or a .gz, .zip or .tar file of them; it stays where it is. With `patid` the
    copies get that patient ID and new UIDs. The reply is ``0`` when everything was entered, else ``1``; the trouble
    log says why. A comma counts as part of the name while .dcm, .v2, .hl7 or .gz follows.
    """
    try:
        if upload is not None:
            data = upload if isinstance(upload, bytes) else upload.read_bytes()
            enter_upload(server, file.text, data, patient_id=patid, calling=caller.calling)
        else:
            assert file.path is not None, "without an upload the file is one of the server"
            enter_file(server, file.path, patient_id=patid, calling=caller.calling)
    except (StorageError, Mismatch, Refused, DatabaseError, NotEntered, OSError) as error:
        reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else error
        log.error("***[AddImageFile] %s -FAILED: %s", file.text, reason)
        return "1"
    log.info("Added file: %s", file.text)
    return "0"


@command("addlocalfile:file,patid", group=GROUP)
def addlocalfile(server: Server, file: DroppedFile, patid: str = "", *, caller: Caller, upload: Upload | None) -> str:
    """Copy local file into server, opt. new patid.

    `file` is on the machine where the command is typed: the client sends its content as `addimagefile`.
    """
    return addimagefile(server, file, patid, caller=caller, upload=upload)


@command("dump_header:filein,fileout", group=GROUP, rights="read")
def dump_header(server: Server, filein: ObjectName, fileout: OutputFile = REPLY) -> str:
    """Create header dump of file.

    `filein` is a file on the server, ``patid:sop`` or ``study\\series\\sop``. A line an element: tag, length, VR, name,
    value; items of sequences are indented by ``>``.
    """
    path = filein.path or _stored(server, filein)
    try:
        text = dump(path, server.dictionary.keyword_of)
    except StorageError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"the file cannot be read: {error.strerror}") from error
    return fileout.deliver(text, pre=True)


def _stored(server: Server, name: ObjectName) -> Path:
    named: dict[TagPath, str] = {
        PATIENT_ID: name.patient,
        STUDY_UID: name.study,
        SERIES_UID: name.series,
        SOP_INSTANCE: name.sop,
    }
    keys = {path: value for path, value in named.items() if value}
    if SOP_INSTANCE not in keys:
        raise CommandError("names no SOP instance")
    for row in server.index.select_objects(Query(level="IMAGE", keys=keys)):
        try:
            return server.storage.locate(row.device, row.file)
        except MissingFile as error:
            raise CommandError(str(error)) from error
    raise CommandError("the object is not in the database")
