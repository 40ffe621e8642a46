"""Delete options: objects out of the index, and off the disk."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from db.objects import Location
from db.query import Query
from db.schema import PATIENT_ID, SERIES_UID, SOP_INSTANCE, STUDY_UID, TagPath
from dgate.arguments import DateRange, Key, PatientAnd, ServerFile
from dgate.command import CommandError, command
from server.log import printable
from server.pipeline.delete import TooWide, delete, delete_file, select
from server.server import Server
from storage.header import NotDicom, read_header
from storage.part10 import read_object_file

GROUP = "Delete options"
STUDY_DATE = (0x00080020,)

# As lenient as it may be: what would match other objects in a query is no UID.
_UID = re.compile(r"[^*?\\\s]+")

log = logging.getLogger("dgate")


@command("deleteimagefile:file", group=GROUP, destructive=True)
def deleteimagefile(server: Server, file: ServerFile) -> None:
    """Delete given image file from server.

    `file` must lie on a MAG device. The object leaves the index and the disk, its mirror copy too. A file that the
    index does not know is removed alone; one whose object the index has elsewhere is left, as it may be the last copy.
    """
    _delete_file(server, file, files=True)


@command("deleteimagefromdb:file", group=GROUP, destructive=True)
def deleteimagefromdb(server: Server, file: ServerFile) -> None:
    """Delete given file from db only.

    The file stays where it is. Only `--regen:` and its kin enter it again; `dgate --fsck` lists it.
    """
    _delete_file(server, file, files=False)


@command("deletesopfromdb:pat,study,series,sop", group=GROUP, destructive=True)
def deletesopfromdb(server: Server, pat: Key, study: Key, series: Key, sop: Key) -> None:
    """Delete specified image from db only.

    All four IDs are needed and must belong together.
    """
    keys: dict[TagPath, str] = {
        PATIENT_ID: str(pat),
        STUDY_UID: str(study),
        SERIES_UID: str(series),
        SOP_INSTANCE: str(sop),
    }
    _delete(server, keys, files=False)


@command("deletepatient:patid", group=GROUP, destructive=True)
def deletepatient(server: Server, patid: Key) -> None:
    """Delete given patient from server.

    All objects of the patient, and the patient's worklist rows. ``*`` and ``?`` need WildcardDelete = 1.
    """
    log.info("Deleting a patient")
    _delete(server, {PATIENT_ID: str(patid)}, worklist=True)
    server.index.delete_worklist(str(patid))


@command("deletestudy:patid:studyuid", group=GROUP, destructive=True)
def deletestudy(server: Server, patid_studyuid: PatientAnd) -> None:
    """Delete given study from server.

    The patient ID and its colon may be left out.
    """
    log.info("Deleting study: %s", printable(patid_studyuid.uid))
    _delete(server, _with_patient(patid_studyuid, STUDY_UID))


@command("deletestudies:date", group=GROUP, destructive=True)
def deletestudies(server: Server, date: DateRange) -> None:
    """Delete studies from server on date.

    `date` is yyyymmdd or a range yyyymmdd-yyyymmdd, of which either end may be left out; it is the study date.
    """
    log.info("Deleting studies on: %s", date)
    _delete(server, {STUDY_DATE: str(date)})


@command("deleteseries:patid:seriesuid", group=GROUP, destructive=True)
def deleteseries(server: Server, patid_seriesuid: PatientAnd) -> None:
    """Delete given series from server.

    The patient ID and its colon may be left out.
    """
    log.info("Deleting series: %s", printable(patid_seriesuid.uid))
    _delete(server, _with_patient(patid_seriesuid, SERIES_UID))


@command("deleteimage:patid:sop", group=GROUP, destructive=True)
def deleteimage(server: Server, patid_sop: PatientAnd) -> None:
    """Delete given image from server.

    The patient ID and its colon may be left out. ConQuest has this since 1.5.
    """
    log.info("Deleting image: %s", printable(patid_sop.uid))
    _delete(server, _with_patient(patid_sop, SOP_INSTANCE))


def _with_patient(argument: PatientAnd, path: TagPath) -> dict[TagPath, str]:
    keys = {path: argument.uid}
    if argument.patient:
        keys[PATIENT_ID] = argument.patient
    return keys


def _delete(server: Server, keys: Mapping[TagPath, str], *, files: bool = True, worklist: bool = False) -> None:
    try:
        chosen = select(server, keys)
    except TooWide as error:
        raise CommandError(str(error)) from error
    delete(server, chosen, files=files, worklist=worklist)


def _delete_file(server: Server, file: ServerFile, *, files: bool) -> None:
    place = server.storage.place(file.path)
    if place is None or not file.path.is_file():
        raise CommandError("the file does not exist or is not on a MAG device")
    try:
        found = read_object_file(file.path)
        with file.path.open("rb") as source:
            source.seek(found.offset)
            uid = read_header(source, found.transfer_syntax, [SOP_INSTANCE]).text(*SOP_INSTANCE)
    except NotDicom as error:
        raise CommandError(f"the file does not contain correct UIDs: {error}") from error
    if not _UID.fullmatch(uid):
        raise CommandError("the file does not contain correct UIDs: its SOP instance UID is none")
    indexed = list(server.index.select_objects(Query(level="IMAGE", keys={SOP_INSTANCE: uid})))
    here = [stored for stored in indexed if (stored.device, stored.file) == place]
    if indexed and not here:
        raise CommandError(f"the index has this object elsewhere, as {indexed[0].device}:{indexed[0].file}")
    if here:
        delete(server, here, files=files)
    elif files:
        log.info("Removing a file that the index does not know: [%s:%s]", *place)
        delete_file(server, Location(*place))
