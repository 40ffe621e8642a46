"""Jobs: what is too slow for an association or a command, done one after another and whatever happens in between."""

from server.jobs.runner import Interrupted, JobFailed, JobKind, JobRun, JobRunner

__all__ = ["Interrupted", "JobFailed", "JobKind", "JobRun", "JobRunner"]
