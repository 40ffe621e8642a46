"""Communication options: taking files in, and showing what is in them."""

from __future__ import annotations

import logging

from db.errors import DatabaseError, MissingUid, Refused
from dgate.arguments import REPLY, DroppedFile, ObjectName, OutputFile, Upload
from dgate.command import CommandError, command
from server.authority import Caller
from server.log import printable
from server.pipeline.dropped import Dropped, NotEntered, enter_file, enter_upload
from server.pipeline.stored import stored_file
from server.server import Server
from server.status import Mismatch
from storage.dump import dump_header as dump
from storage.errors import StorageError

GROUP = "Communication options"

log = logging.getLogger("dgate")


@command("addimagefile:file,patid", group=GROUP)
def addimagefile(server: Server, file: DroppedFile, patid: str = "", *, caller: Caller, upload: Upload | None) -> str:
    """Copy file into server, optionally new patid.

    `file` is a DICOM file on the server, or a .gz, .zip or .tar file of them; it stays where it is. With `patid` the
    copies get that patient ID and new UIDs, the same ones whenever the same UID comes again. The reply is ``0`` when
    every object was entered, else ``1``; the trouble log says why. Files in an archive that are no DICOM objects are
    passed over. A comma counts as part of the name while .dcm, .v2, .hl7 or .gz follows.
    """
    dropped = Dropped(file.text, patid.strip(), caller.calling)
    name = printable(file.text)
    try:
        if upload is not None:
            enter_upload(server, dropped, upload if isinstance(upload, bytes) else upload.read_bytes())
        else:
            assert file.path is not None, "without an upload the file is one of the server"
            enter_file(server, dropped, file.path)
    except (Mismatch, MissingUid) as error:
        log.error("***[AddImageFile] %s -FAILED: file does not contain correct UIDs: %s", name, error)
        return "1"
    except (StorageError, Refused, DatabaseError, NotEntered, OSError) as error:
        reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else error
        log.error("***[AddImageFile] %s -FAILED: Error on Load: %s", name, reason)
        return "1"
    log.info("Added file: %s", name)
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
    value; items of sequences are indented by ``>``. Of a value 512 bytes are shown.
    """
    try:
        path = filein.path or stored_file(
            server, filein.sop, patient=filein.patient, study=filein.study, series=filein.series
        )
        text = dump(path, server.dictionary)
    except StorageError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"the file cannot be read: {error.strerror}") from error
    return fileout.deliver(text, pre=True)
