"""Maintenance options: building the index anew, and stopping the server."""

from __future__ import annotations

import logging
from pathlib import Path

from dgate.arguments import Filled, ServerFile
from dgate.command import CommandError, command
from server.pipeline.regen import regenerate, regenerate_file
from server.server import Server
from storage.cleaning import RESERVED
from storage.errors import UnknownDevice

GROUP = "Maintenance options"

log = logging.getLogger("dgate")


@command("initializetables:mode", group=GROUP, destructive=True)
def initializetables(server: Server, mode: int = 0) -> None:
    """Clear and create database.

    `mode` 1 leaves out indices and primary keys, 2 makes the worklist table only. Image files stay; `--regen:` enters
    them again. A worklist that has rows is kept, except in mode 2.
    """
    if mode not in (0, 1, 2):
        raise CommandError(f"{mode} is no mode: they are 0, 1 and 2")
    for line in server.index.create_tables(mode, drop=True):
        log.info("%s", line)


@command("regen:", group=GROUP, destructive=True)
def regen(server: Server) -> None:
    """Re-generate entire database.

    Enters all files of all devices, in the order of their times. Rows whose files are gone stay; `-r` begins anew.
    """
    regenerate(server, [device.root for device in server.storage.devices])


@command("regendevice:device", group=GROUP, destructive=True)
def regendevice(server: Server, device: Filled) -> None:
    """Re-generate database for single device.

    `device` is a name such as MAG0.
    """
    regenerate(server, [device_root(server, device)])


@command("regendir:device,dir", group=GROUP, destructive=True)
def regendir(server: Server, device: Filled, dir: Filled) -> None:
    """Re-generate database for single directory.

    `dir` lies below the root of `device`.
    """
    regenerate(server, [directory_on(server, device, dir)])


@command("regenfile:file", group=GROUP, destructive=True)
def regenfile(server: Server, file: ServerFile) -> None:
    """Re-enter given file in database.

    It must lie on a MAG device.
    """
    enter_stored_file(server, file.path)


@command("quit:", group=GROUP)
def quit(server: Server) -> None:
    """Stop the server.

    Open associations are aborted; what was acknowledged is safe.
    """
    server.running.stop()


@command("safequit:", group=GROUP)
def safequit(server: Server) -> None:
    """Stop the server when not active.

    It stops as soon as no association is open.
    """
    server.running.stop_when_idle()


def device_root(server: Server, name: str) -> Path:
    """The directory of a device; raises CommandError for a name that dicom.ini does not declare."""
    try:
        return server.storage.device(name).root
    except UnknownDevice:
        names = ", ".join(device.name for device in server.storage.devices)
        raise CommandError(f"{name} is no device of this server: they are {names}") from None


def directory_on(server: Server, device: str, directory: str) -> Path:
    """A directory below the root of a device; raises CommandError when it lies elsewhere or does not exist.

    It may be a link that leads off the device: sites move old patients to other disks so.
    """
    root = device_root(server, device)
    path = root / directory
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ("..",)
    if ".." in parts or not path.is_dir():
        raise CommandError(f"{directory} is no directory of {device}")
    if any(part.lower() in RESERVED for part in parts):
        raise CommandError(f"{directory} is not regenerated: it holds temporary files")
    return path


def enter_stored_file(server: Server, path: Path) -> None:
    """Enter one file that lies on a MAG device; raises CommandError when it does not, or cannot be entered."""
    if server.storage.place(path) is None or not path.is_file():
        raise CommandError("File to enter is not on a MAG device")
    if regenerate_file(server, path).failed:
        raise CommandError("the file could not be entered: the trouble log says why")
