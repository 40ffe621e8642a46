"""The job that brings all objects of a device under a compression code."""

from __future__ import annotations

from server.jobs.runner import JobKind, JobRun
from server.pipeline.recompress import recompress_device


def _run(job: JobRun) -> str:
    """Objects that are under the code already stay, so a job that was interrupted goes on from where it was."""
    arguments = job.arguments
    return str(recompress_device(job.server, arguments["device"], arguments["code"], job.progress))


RECOMPRESS = JobKind("recompress", _run)
