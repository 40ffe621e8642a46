"""The index of an archive out of its database: only the first file of each series is read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from db.errors import DatabaseError, SchemaError
from db.index import Index
from db.query import Query
from db.schema import MODALITY, PATIENT_ID, SERIES_UID, SOP_INSTANCE, TagPath, load_schema
from dgate.config import Configuration, ConfigurationError, find_base, load
from dgate.crawl.crawler import Crawler, Summary
from dgate.crawl.errors import CrawlError
from dgate.crawl.extract import Place, Read
from dgate.crawl.fields import tag
from dgate.crawl.text import shown
from dgate.crawl.walk import Found
from storage.errors import MissingFile, StorageError
from storage.store import Storage

ACQUISITION_NUMBER = (tag("AcquisitionNumber"),)
# ConQuest's own elements for where a file is.
_FILE, _DEVICE = (0x99990800,), (0x99990801,)
_WANTED = (SOP_INSTANCE, SERIES_UID, MODALITY, PATIENT_ID, ACQUISITION_NUMBER, _FILE, _DEVICE)
DATASET = "archive"


def crawl_archive(crawler: Crawler, base: str | None) -> Summary:
    """Index what the server of a base directory (None: as `dgate` finds it) stores, beside it running or not.

    The files go to ``.imgtools/archive`` in the base directory unless `crawler` names another place. Raises
    CrawlError for a configuration or a database that cannot be used, and what `Crawler.crawl` raises.
    """
    try:
        configuration = load(find_base(base))
        schema_file = configuration.base / configuration.server.kFactorFile
        schema = load_schema(schema_file if schema_file.exists() else None, configuration.db)
        index = Index(configuration.db, schema, configuration.base, durability=configuration.storage.Durability)
        storage = Storage(configuration.storage, configuration.base)
        try:
            return crawl_index(crawler, index, storage, _output(crawler, configuration))
        finally:
            index.close()
    except (ConfigurationError, SchemaError, DatabaseError, StorageError) as error:
        raise CrawlError(" ".join(str(error).split())) from error


def _output(crawler: Crawler, configuration: Configuration) -> Path:
    return crawler.output_dir or configuration.base / ".imgtools"


def crawl_index(crawler: Crawler, index: Index, storage: Storage, output: Path) -> Summary:
    """Do what `crawl_archive` does for a database and devices that are open."""
    tops = _tops(storage)
    dataset = DATASET if crawler.dataset_name is None else crawler.dataset_name
    roots = {tops[device.name]: os.fsencode(device.root) for device in storage.devices}
    if index.knows(ACQUISITION_NUMBER):
        return crawler.crawl_known(roots, _known(index, storage, tops), output, dataset)
    # Without that column of dicom.sql every file has to say which acquisition it belongs to.
    return crawler.crawl_files(roots, _files(index, storage, tops), output, dataset)


def _tops(storage: Storage) -> dict[str, bytes]:
    """What paths on each device begin with: the name of its directory, or its own where two are called alike."""
    names = [device.root.name for device in storage.devices]
    return {
        device.name: os.fsencode(device.root.name if names.count(device.root.name) == 1 else device.name)
        for device in storage.devices
    }


def _known(index: Index, storage: Storage, tops: Mapping[str, bytes]) -> Iterator[Read]:
    for row in index.find(Query("IMAGE", {}, _WANTED)):
        path = _path(storage, tops, row)
        if path is None:
            yield Read(os.fsencode(row[_FILE]), 0, 0, reason="it is on no device")
        elif not row[SERIES_UID] or not row[MODALITY]:
            yield Read(path, 0, 0, reason="its row has no Series Instance UID or no Modality")
        else:
            sub = shown("IS", row[ACQUISITION_NUMBER]).replace("None", "") or "1"
            place = Place(row[SOP_INSTANCE], row[SERIES_UID], sub, row[MODALITY], row[PATIENT_ID])
            yield Read(path, 0, 0, place)


def _files(index: Index, storage: Storage, tops: Mapping[str, bytes]) -> Iterator[Found]:
    for row in index.find(Query("IMAGE", {}, (SOP_INSTANCE, _FILE, _DEVICE))):
        path = _path(storage, tops, row)
        if path is not None:
            status = storage.locate(row[_DEVICE], row[_FILE]).stat()
            yield Found(path, status.st_size, status.st_mtime_ns)


def _path(storage: Storage, tops: Mapping[str, bytes], row: Mapping[TagPath, str]) -> bytes | None:
    """The path of a row's file as the crawl has it, None when it is on no device."""
    device, name = row[_DEVICE], row[_FILE]
    if device in tops and "\\" not in name and ".." not in name.split("/") and not name.startswith("/"):
        return tops[device] + b"/" + os.fsencode(name)
    try:
        # A name of a Windows database, or a device that was called otherwise once: it has to be looked for.
        place = storage.place(storage.locate(device, name))
    except MissingFile:
        return None
    return None if place is None else tops[place[0]] + b"/" + os.fsencode(place[1])
