"""`dgate --check`: the effective configuration with the origin of each value, and what would keep it from starting."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from db.errors import DatabaseError, DatabaseMissing, SchemaError
from db.index import Index
from db.schema import load_schema
from dgate.commandline import Invocation
from dgate.config import Configuration
from dgate.starting import Failed, configuration, told
from server.amap import AeMap
from server.dictionary import DicomDictionary
from server.soplist import SopList
from storage.device import Device
from storage.errors import DeviceBusy, StorageError
from storage.settings import StorageSettings
from storage.store import Storage

Finding = tuple[str, str]
OK, WARNING, FAILED = "ok", "warning", "FAILED"


def check(invocation: Invocation) -> int:
    """Print every setting and every finding; 0 when the server could start, 1 when it could not."""
    try:
        with told():
            found = configuration(invocation)
    except Failed as failed:
        return failed.status
    print(f"Configuration of {found.ini.path}\n")
    for line in found.effective():
        print(line)
    print()
    failed_checks = 0
    for kind, text in _findings(found):
        print(f"{kind:<8} {text}")
        failed_checks += kind == FAILED
    print("\nthe server can start" if not failed_checks else f"\nthe server cannot start: {failed_checks} failed")
    return 1 if failed_checks else 0


def _findings(found: Configuration) -> Iterator[Finding]:
    for text in found.warnings:
        yield WARNING, text
    for text in found.later:
        yield WARNING, text
    serving = False
    for kind, text in _devices(found):
        serving = serving or "another server" in text
        yield kind, text
    yield from _database(found)
    yield from _files(found)
    if not serving:
        yield from _port(found)


def _devices(found: Configuration) -> Iterator[Finding]:
    try:
        storage = Storage(found.storage, found.base)
    except (StorageError, ValueError) as error:
        yield FAILED, str(error)
        return
    for device in storage.devices:
        try:
            device.check()
        except StorageError as error:
            yield FAILED, str(error)
        else:
            yield _room(found.storage, device)
        if device.mirror is not None and not device.mirror.is_dir():
            yield WARNING, f"MIRRORDevice{device.name[3:]} = {device.mirror}: there is no such directory"
    try:
        storage.lock().close()
    except DeviceBusy as error:
        yield WARNING, f"another server runs here: {error}"
    except (StorageError, OSError):
        return  # said above, device by device


def _room(settings: StorageSettings, device: Device) -> Finding:
    free = device.free_mb()
    shown = f"{device.name} {device.root}: {free} MB free"
    if settings.IgnoreMAGDeviceThreshold or free > settings.MAGDeviceFullThreshold:
        return OK, shown
    return WARNING, f"{shown}: nothing is stored there, as MAGDeviceFullThreshold = {settings.MAGDeviceFullThreshold}"


def _database(found: Configuration) -> Iterator[Finding]:
    schema_file = found.base / found.server.kFactorFile
    try:
        schema = load_schema(schema_file if schema_file.exists() else None, found.db)
    except SchemaError as error:
        yield FAILED, str(error)
        return
    yield OK, f"database layout: {schema_file.name if schema_file.exists() else 'built in'}"
    try:
        index = Index(found.db, schema, found.base, durability=found.storage.Durability)
    except DatabaseError as error:
        yield FAILED, str(error)
        return
    try:
        for line in index.check():
            yield OK, line
    except DatabaseMissing as error:
        yield OK, str(error)
    except DatabaseError as error:
        yield FAILED, str(error)
    finally:
        index.close()


def _files(found: Configuration) -> Iterator[Finding]:
    files: tuple[tuple[str, Callable[[Path], object]], ...] = (
        (found.server.ACRNemaMap, AeMap),
        (found.server.SOPClassList, SopList),
        (found.server.Dictionary, DicomDictionary),
    )
    for name, read in files:
        path = found.base / name
        try:
            made = read(path)
        except OSError as error:
            yield FAILED, f"{name}: {error.strerror}"
            continue
        for warning in getattr(made, "warnings", ()):
            yield WARNING, warning
        if path.exists():
            yield OK, f"{name} is read"


def _port(found: Configuration) -> Iterator[Finding]:
    address = (found.server.BindAddress, found.server.TCPPort)
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            who = " by another program" if error.errno == errno.EADDRINUSE else ""
            origin = found.origins["TCPPort"]
            yield FAILED, f"TCPPort = {address[1]} ({origin}): {error.strerror}{who}; choose another or stop that"
        else:
            yield OK, f"port {address[1]} can be listened on"
