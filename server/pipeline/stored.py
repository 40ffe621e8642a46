"""The file of one stored object, by the names that commands and WADO have for it."""

from __future__ import annotations

from pathlib import Path

from db.query import Query
from db.schema import PATIENT_ID, SERIES_UID, SOP_INSTANCE, STUDY_UID, TagPath
from server.server import Server
from storage.errors import StorageError


class NotStored(StorageError):
    """There is no such object in the database."""


def stored_file(server: Server, sop: str, *, patient: str = "", study: str = "", series: str = "") -> Path:
    """Find the file of an object; what is given of patient, study and series must be its own.

    Raises NotStored, or MissingFile when it is in the database and on no device.
    """
    named: dict[TagPath, str] = {SOP_INSTANCE: sop, PATIENT_ID: patient, STUDY_UID: study, SERIES_UID: series}
    keys = {path: value for path, value in named.items() if value}
    if not sop:
        raise NotStored("no SOP instance is named")
    for row in server.index.select_objects(Query(level="IMAGE", keys=keys)):
        return server.storage.locate(row.device, row.file)
    raise NotStored("the object is not in the database")
