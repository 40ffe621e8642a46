"""Job rows: numbered, taken once, kept over a restart; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from db.index import Index
from db.jobs import CANCELLED, DONE, QUEUED, RUNNING


def test_jobs_are_taken_in_the_order_in_which_they_came_each_kind_for_itself(index: Index) -> None:
    jobs = index.jobs
    assert (jobs.all(), jobs.take("crawl"), jobs.get(1)) == ([], None, None)
    assert [jobs.add("crawl", {"dir": "/ä"}), jobs.add("other", {}), jobs.add("crawl", {})] == [1, 2, 3]
    first = jobs.take("crawl")
    assert first is not None
    assert (first.id, first.arguments, first.message) == (1, {"dir": "/ä"}, "")
    assert [(job.id, job.state) for job in jobs.all()] == [(3, QUEUED), (2, QUEUED), (1, RUNNING)]
    second = jobs.take("crawl")
    assert second is not None
    assert second.id == 3
    assert jobs.take("crawl") is None


def test_a_job_is_taken_by_one_thread_only(index: Index) -> None:
    numbers = [index.jobs.add("crawl", {}) for _ in range(20)]
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: index.jobs.take("crawl"), range(30)))
    assert sorted(job.id for job in taken if job is not None) == numbers


def test_progress_and_end_are_noted_and_what_has_ended_stays_ended(index: Index) -> None:
    jobs = index.jobs
    number = jobs.add("crawl", {})
    jobs.take("crawl")
    jobs.advance(number, 5, 10)
    jobs.cancel(number)
    job = jobs.get(number)
    assert job is not None
    assert (job.done, job.total, job.cancel, job.ended) == (5, 10, True, 0)
    jobs.end(number, CANCELLED, "as asked")
    jobs.end(number, DONE, "too late")
    ended = jobs.get(number)
    assert ended is not None
    assert (ended.state, ended.message) == (CANCELLED, "as asked")
    assert ended.created <= ended.started <= ended.ended


def test_what_ran_when_the_server_went_waits_again(open_index: Callable[[], Index]) -> None:
    first = open_index()
    number = first.jobs.add("crawl", {"dir": "/d"})
    first.jobs.add("other", {})
    assert first.jobs.take("crawl") is not None
    assert first.jobs.take("other") is not None
    first.close()
    second = open_index()
    second.jobs.requeue("crawl")
    assert [(job.id, job.state) for job in second.jobs.all()] == [(2, RUNNING), (1, QUEUED)]
    again = second.jobs.take("crawl")
    assert again is not None
    assert (again.id, again.arguments) == (number, {"dir": "/d"})


def test_jobs_that_ended_long_ago_are_forgotten_and_open_ones_never(index: Index) -> None:
    jobs = index.jobs
    waiting = jobs.add("other", {})
    for _ in range(3):
        jobs.end(jobs.add("crawl", {}), DONE, "")
    for _ in range(1000):
        jobs.add("crawl", {})
    assert [job.id for job in jobs.all(2000)][-2:] == [5, waiting]


def test_making_the_tables_anew_keeps_the_jobs(index: Index) -> None:
    index.jobs.add("crawl", {})
    index.create_tables(drop=True)
    assert [job.id for job in index.jobs.all()] == [1]
