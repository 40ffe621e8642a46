"""Reading the files of a crawl, in this process or in many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from itertools import islice

from dgate.crawl.extract import Read, Roots, read_files
from dgate.crawl.work import Work
from storage.executor import bulk_executor, processors

# Files a task reads, and how many tasks wait for their turn for each process.
CHUNK = 200
WINDOW = 4
# Below this many files starting processes costs more than they save.
PARALLEL_FROM = 5000

Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


class Reader:
    """Reads files with `n_jobs` processes (-1: one for each processor), or with those of an executor.

    Raises ValueError for a number of processes that there cannot be.
    """

    def __init__(self, roots: Roots, n_jobs: int, executor: Executor | None, silent: bool) -> None:
        if n_jobs == 0 or n_jobs < -1:
            raise ValueError(f"{n_jobs} processes cannot read: write 1 or more, or -1 for one for each processor")
        self._roots = roots
        self._n_jobs = processors() if n_jobs == -1 else n_jobs
        self._executor = executor
        self._silent = silent

    def read_changed(self, work: Work, progress: Progress) -> int:
        """Read every file that was found and is not known as it is now; return how many those are."""
        total = work.changed()
        done = 0
        progress(done, total)
        with self._results(work, total) as results:
            for reads in results:
                work.add(reads)
                done += len(reads)
                progress(done, total)
        return done

    def read_firsts(self, work: Work) -> int:
        """Read the fields of series whose first file was not read for them, until none is left."""
        done = 0
        while firsts := work.firsts_to_read():
            for start in range(0, len(firsts), CHUNK):
                work.add(read_files(self._roots, firsts[start : start + CHUNK], self._silent, True))
            done += len(firsts)
        return done

    @contextmanager
    def _results(self, work: Work, total: int) -> Iterator[Iterator[list[Read]]]:
        chunks = _chunks(work)
        if self._executor is not None:
            yield self._parallel(self._executor, chunks, WINDOW * max(processors(), self._n_jobs))
        elif self._n_jobs > 1 and total >= PARALLEL_FROM:
            executor = bulk_executor(self._n_jobs)
            try:
                yield self._parallel(executor, chunks, WINDOW * self._n_jobs)
            finally:
                executor.shutdown(cancel_futures=True)
        else:
            yield (read_files(self._roots, chunk, self._silent, False) for chunk in chunks)

    def _parallel(self, executor: Executor, chunks: Iterator[list[bytes]], window: int) -> Iterator[list[Read]]:
        waiting = deque(self._submit(executor, chunks, window))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(self._submit(executor, chunks, 1))

    def _submit(self, executor: Executor, chunks: Iterator[list[bytes]], count: int) -> list[Future[list[Read]]]:
        return [executor.submit(read_files, self._roots, chunk, self._silent, False) for chunk in islice(chunks, count)]


def _chunks(work: Work) -> Iterator[list[bytes]]:
    for paths in work.to_read():
        for start in range(0, len(paths), CHUNK):
            yield paths[start : start + CHUNK]
