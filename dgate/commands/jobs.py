"""Maintenance options: what is slow is a job, which answers its number and is done in the background."""

from __future__ import annotations

import time

from db.jobs import QUEUED, RUNNING, Job
from dgate.arguments import Number, ServerFile
from dgate.command import CommandError, command
from dgate.crawl.job import CRAWL
from server.jobs import JobRunner
from server.server import Server

GROUP = "Maintenance options"


@command("crawl:dir,outdir", group=GROUP)
def crawl(server: Server, dir: ServerFile, outdir: ServerFile | None = None) -> str:
    """Index every series of a directory.

    Does what `dgate crawl` does for files that end in .dcm: the index goes to `outdir`, or to .imgtools beside `dir`.
    The reply is the number of the job that does it, for `jobs:` and `canceljob:`.
    """
    if not dir.path.is_dir():
        raise CommandError(f"{dir.text} is no directory")
    arguments = {"dir": str(dir.path), "outdir": "" if outdir is None else str(outdir.path)}
    return str(_runner(server).submit(CRAWL.name, arguments))


@command("jobs:id", group=GROUP, rights="read")
def jobs(server: Server, id: Number | None = None) -> str:
    """List jobs.

    All of them with the newest first, or the one with number `id`: number, kind, state, how far it is, when it began
    or was asked for, and what came of it. The state is queued, running, done, failed or cancelled; queued and
    running jobs are still there after a restart.
    """
    if id is None:
        return "".join(f"{_line(job)}\n" for job in server.index.jobs.all())
    job = server.index.jobs.get(id)
    if job is None:
        raise CommandError(f"there is no job {id}")
    return f"{_line(job)}\n"


@command("canceljob:id", group=GROUP)
def canceljob(server: Server, id: Number) -> None:
    """Cancel a job.

    One that waits is not begun, one that runs ends soon. What it has done so far stays.
    """
    job = _runner(server).cancel(id)
    if job is None:
        raise CommandError(f"there is no job {id}")
    if job.state not in (QUEUED, RUNNING):
        raise CommandError(f"job {id} is {job.state} already")


def _runner(server: Server) -> JobRunner:
    if server.jobs is None:
        raise CommandError("jobs are done by a server that runs")
    return server.jobs


def _line(job: Job) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.ended or job.started or job.created))
    far = f"{job.done}/{job.total}" if job.total else "-"
    return f"{job.id:<6} {job.kind:<8} {job.state:<9} {far:<16} {when} {job.message}".rstrip()
