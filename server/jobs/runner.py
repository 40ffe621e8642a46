"""The threads that do jobs, one for each kind, and the rows in the index that tell of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from db.errors import DatabaseError
from db.jobs import CANCELLED, DONE, FAILED, QUEUED, Job
from server.log import printable
from server.server import Server

log = logging.getLogger("dgate")

# How often a job's progress goes into the index, and a wish to cancel it is looked for.
_REPORT_SECONDS = 1.0
# How long a stop waits for jobs to let go; what does not is begun again at the next start.
_STOP_SECONDS = 10.0
# After an error of the database the queue is looked at again.
_RETRY_SECONDS = 10.0


class JobFailed(Exception):
    """A job that cannot be done; the message is for whoever asked for it, without patient data."""


class Interrupted(Exception):
    """A job is to end now: it was cancelled, or the server stops. Raised by `JobRun.progress`, not caught by jobs."""


class JobRun:
    """One job being done, as its kind sees it."""

    def __init__(self, server: Server, job: Job, stopping: threading.Event) -> None:
        self.server = server
        self.arguments: Mapping[str, str] = job.arguments
        self._id = job.id
        self._stopping = stopping
        self._reported = 0.0
        self.cancelled = job.cancel

    def progress(self, done: int, total: int) -> None:
        """Tell how far it is, as often as one likes; raises Interrupted when it is to end."""
        if self._stopping.is_set():
            raise Interrupted
        now = time.monotonic()
        if now - self._reported < _REPORT_SECONDS and done != total:
            return
        self._reported = now
        jobs = self.server.index.jobs
        jobs.advance(self._id, done, total)
        job = jobs.get(self._id)
        self.cancelled = job is None or job.cancel
        if self.cancelled:
            raise Interrupted


@dataclass(frozen=True, slots=True)
class JobKind:
    """A kind of job: its name, and what does one, which returns what came of it in a line.

    A job may be begun a second time after it was interrupted, so it goes on from what is there. It raises JobFailed
    for what cannot be done, and may raise DatabaseError, StorageError and OSError.
    """

    name: str
    run: Callable[[JobRun], str]


class JobRunner:
    """Does the jobs of some kinds, those of each one after another, in threads of its own."""

    def __init__(self, server: Server, kinds: Sequence[JobKind]) -> None:
        self._server = server
        self._kinds = {kind.name: kind for kind in kinds}
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._submitted = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Go on with what was interrupted and begin what waits. The tables of the index are there."""
        self._stopping.clear()
        for kind in self._kinds.values():
            self._server.index.jobs.requeue(kind.name)
            thread = threading.Thread(target=self._serve, args=(kind,), name=f"{kind.name} jobs", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End, with the jobs that run queued again."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads.clear()

    def submit(self, kind: str, arguments: Mapping[str, str]) -> int:
        """Queue a job of a kind that was given, and return its number. Raises DatabaseError."""
        assert kind in self._kinds, f"{kind} is no kind of job"
        number = self._server.index.jobs.add(kind, arguments)
        with self._changed:
            self._submitted += 1
            self._changed.notify_all()
        return number

    def cancel(self, number: int) -> Job | None:
        """End a job: at once when it waits, soon when it runs; return it as it was, None when there is none."""
        jobs = self._server.index.jobs
        job = jobs.get(number)
        if job is not None:
            jobs.cancel(number)
            if job.state == QUEUED:
                jobs.end(number, CANCELLED, "cancelled before it began")
        return job

    def _serve(self, kind: JobKind) -> None:
        while not self._stopping.is_set():
            with self._changed:
                submitted = self._submitted
            try:
                job = self._server.index.jobs.take(kind.name)
                if job is not None:
                    self._do(kind, job)
                    continue
                pause = None
            except DatabaseError as error:
                log.error("*** %s jobs wait: %s", kind.name, error)
                pause = _RETRY_SECONDS
            with self._changed:
                if submitted == self._submitted and not self._stopping.is_set():
                    self._changed.wait(pause)

    def _do(self, kind: JobKind, job: Job) -> None:
        """Do one job and note how it ended. Raises DatabaseError when that cannot be noted."""
        log.info("Job %d (%s) begins", job.id, kind.name)
        run = JobRun(self._server, job, self._stopping)
        try:
            if run.cancelled:
                raise Interrupted
            state, message = DONE, kind.run(run)
        except Interrupted:
            state, message = (CANCELLED, "cancelled") if run.cancelled else (QUEUED, "interrupted by a stop")
        except JobFailed as error:
            state, message = FAILED, str(error)
        except Exception as error:
            # The boundary of a job: whatever it is, the next one begins.
            log.exception("*** Job %d (%s) failed", job.id, kind.name)
            state, message = FAILED, f"{type(error).__name__}: the server's log has the details"
        line = printable(" ".join(message.split()))
        self._server.index.jobs.end(job.id, state, line)
        (log.error if state == FAILED else log.info)("Job %d (%s) %s: %s", job.id, kind.name, state, line)
