"""Maintenance options: studies of the archive in a library of the ReV viewer."""

from __future__ import annotations

from dgate.arguments import ServerFile
from dgate.command import CommandError, command
from dgate.rev.job import REV, arguments, studies
from server.server import Server


@command("rev:library,patid,studyuid", group="Maintenance options")
def rev(server: Server, library: ServerFile, patid: str, studyuid: str = "") -> str:
    """Put studies into a ReV library.

    Places copies of the studies of a patient, or the one with `studyuid`, in the directory `library` by age at scan
    and makes what `dgate rev` makes of them: pictures, descriptors, pages, map.json. `patid` may hold wildcards, and
    may be empty when `studyuid` is given. The reply is the number of the job that does it, for `jobs:` and
    `canceljob:`. RevLibrary of dicom.ini does the same for every study that arrives.
    """
    if not patid.strip() and not studyuid.strip():
        raise CommandError("name a patient ID or a study UID")
    if library.path.exists() and not library.path.is_dir():
        raise CommandError(f"{library.text} is no directory")
    if not studies(server, patid, studyuid):
        raise CommandError("there is no such study in the archive")
    if server.jobs is None:
        raise CommandError("jobs are done by a server that runs")
    return str(server.jobs.submit(REV.name, arguments(library.path, patid, studyuid)))
