"""The threads that do jobs: one after another, cancelled, failed, interrupted and gone on with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db.jobs import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job
from dgate.app import build
from dgate.config import load
from server.jobs import JobFailed, JobKind, JobRun, JobRunner
from server.server import Server
from tests.servers import write_ini


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write_ini(tmp_path)
    made = build(load(tmp_path, {}))
    made.index.ensure_tables()
    yield made
    made.index.close()


@contextmanager
def runner(server: Server, run: Callable[[JobRun], str]) -> Iterator[JobRunner]:
    """The runner for jobs of the kind ``test``."""
    made = JobRunner(server, [JobKind("test", run)])
    made.start()
    try:
        yield made
    finally:
        made.stop()


def until(server: Server, number: int, *states: str) -> Job:
    """Wait until a job is in one of these states."""
    for _ in range(1000):
        job = server.index.jobs.get(number)
        if job is not None and job.state in states:
            return job
        time.sleep(0.01)
    raise AssertionError(f"job {number} is not {states}: {server.index.jobs.get(number)}")


def test_jobs_are_done_one_after_another_and_tell_what_came_of_them(server: Server) -> None:
    done = []

    def run(job: JobRun) -> str:
        job.progress(3, 3)
        done.append(job.arguments["name"])
        return f"did {job.arguments['name']}\nand more"

    with runner(server, run) as jobs:
        numbers = [jobs.submit("test", {"name": name}) for name in "abc"]
        ended = [until(server, number, DONE) for number in numbers]
    assert done == ["a", "b", "c"]
    assert [(job.message, job.done, job.total) for job in ended] == [(f"did {name} and more", 3, 3) for name in "abc"]


def test_a_job_that_fails_says_why_and_the_next_one_begins(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def run(job: JobRun) -> str:
        if job.arguments["how"] == "declared":
            raise JobFailed("there is no such directory")
        if job.arguments["how"] == "bug":
            raise ZeroDivisionError("a secret")
        return "well"

    with runner(server, run) as jobs:
        numbers = [jobs.submit("test", {"how": how}) for how in ("declared", "bug", "not")]
        ended = [until(server, number, DONE, FAILED) for number in numbers]
    assert [(job.state, job.message) for job in ended] == [
        (FAILED, "there is no such directory"),
        (FAILED, "ZeroDivisionError: the server's log has the details"),
        (DONE, "well"),
    ]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["*** Job 2 (test) failed"]


def endless(began: threading.Event) -> Callable[[JobRun], str]:
    def run(job: JobRun) -> str:
        began.set()
        while True:
            job.progress(1, 1)
            time.sleep(0.01)

    return run


def test_jobs_are_cancelled_while_they_wait_and_while_they_run(server: Server) -> None:
    began = threading.Event()
    with runner(server, endless(began)) as jobs:
        running, waiting = jobs.submit("test", {}), jobs.submit("test", {})
        assert began.wait(10)
        before = jobs.cancel(waiting)
        assert before is not None
        assert before.state == QUEUED
        assert until(server, waiting, CANCELLED).message == "cancelled before it began"
        jobs.cancel(running)
        assert until(server, running, CANCELLED).message == "cancelled"
        assert jobs.cancel(99) is None


def test_a_stop_interrupts_a_job_and_the_next_start_goes_on_with_it(server: Server) -> None:
    began = threading.Event()
    with runner(server, endless(began)) as jobs:
        number = jobs.submit("test", {"name": "a"})
        assert began.wait(10)
        until(server, number, RUNNING)
    assert until(server, number, QUEUED).message == "interrupted by a stop"
    with runner(server, lambda job: f"went on with {job.arguments['name']}"):
        assert until(server, number, DONE).message == "went on with a"


def test_a_job_that_ran_when_the_server_was_killed_is_begun_again(server: Server) -> None:
    number = server.index.jobs.add("test", {"name": "a"})
    assert server.index.jobs.take("test") is not None
    with runner(server, lambda job: job.arguments["name"]):
        assert until(server, number, DONE).message == "a"


def test_a_runner_without_jobs_does_nothing_at_all(server: Server) -> None:
    with runner(server, lambda job: ""):
        (thread,) = [each for each in threading.enumerate() if each.name == "test jobs"]
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.05
    assert not thread.is_alive()
