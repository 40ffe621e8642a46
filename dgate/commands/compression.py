"""Conversion options: objects and whole devices brought under a compression code."""

from __future__ import annotations

import logging

from dgate.arguments import Filled, ObjectName, ServerFile
from dgate.command import CommandError, command, telling_of_objects
from server.jobs.recompress import RECOMPRESS
from server.pipeline.recompress import write_compressed
from server.pipeline.testcompress import enter_variants
from server.server import Server
from storage.codecs.table import parse_code
from storage.errors import UnknownDevice

GROUP = "Conversion options"

log = logging.getLogger("dgate")


@command("compress:file,mode,out", group=GROUP, rights="read")
def compress(server: Server, file: ObjectName, mode: Filled, out: ServerFile) -> None:
    """Recompress DICOM; mode=n4,j2 etc.

    Writes a copy of `file`, which is a file on the server, ``patid:sop`` or ``study\\series\\sop``, under the
    compression code `mode` to the file `out` on the server. An object that the code does not fit is copied as it is,
    and the log says why; a copy whose pixels lose something gets a new SOP instance UID.
    """
    _check(mode)
    with telling_of_objects():
        write_compressed(server, file.file(server), out.path, mode)


@command("uncompress:file,out", group=GROUP, rights="read")
def uncompress(server: Server, file: ObjectName, out: ServerFile) -> None:
    """Uncompress DICOM.

    As `compress` with the code ``un``.
    """
    with telling_of_objects():
        write_compressed(server, file.file(server), out.path, "un")


@command("testcompress:file", group=GROUP)
def testcompress(server: Server, file: ObjectName) -> None:
    """Enter object with many compressions.

    Under each of the codes un, as, n1 to n4, j1 to j6, jk, jl, k1, k2, k4 and k8 it enters four copies of the object:
    as it is, under the code, that one uncompressed, and that one under the code again. Each has a new SOP instance UID
    and the code as its image number.
    """
    with telling_of_objects():
        enter_variants(server, file.file(server))


@command("recompress:device,mode", group="Maintenance options")
def recompress(server: Server, device: Filled, mode: str = "") -> str:
    """Recompress all objects of a device.

    Brings every object of `device`, such as MAG0, under the compression code `mode`, or that of ArchiveCompression
    without one. SOP instance UIDs stay. The reply is the number of the job that does it, for `jobs:`, which tells how
    far it is, and `canceljob:`. An object whose code does not fit, or that cannot be decoded, stays as it is; the log
    says why.
    """
    code = mode.strip() or server.storage.settings.ArchiveCompression or "as"
    _check(code)
    if server.jobs is None:
        raise CommandError("jobs are done by a server that runs")
    try:
        name = server.storage.device(device).name
    except UnknownDevice:
        names = ", ".join(known.name for known in server.storage.devices)
        raise CommandError(f"{device} is no device of this server: they are {names}") from None
    return str(server.jobs.submit(RECOMPRESS.name, {"device": name, "code": code}))


def _check(text: str) -> None:
    code = parse_code(text)
    if not code.known or code.codec.code in ("s", "v"):
        raise CommandError(f"{text} is no compression code for pixels: docs/compression.md lists them")
