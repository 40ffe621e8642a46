"""The crawler: from a directory tree to the index of its series and of what they refer to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dgate.crawl.destination import DEFAULT_OUTPUT, Destination
from dgate.crawl.errors import CrawlResultsNotAvailableError
from dgate.crawl.extract import Read, Roots, is_unchanged
from dgate.crawl.output import CRAWL_DB, STATE, IndexRow
from dgate.crawl.reading import Progress, Reader, no_progress
from dgate.crawl.results import write_results
from dgate.crawl.state import VERSION, read_state
from dgate.crawl.walk import Found, files_below
from dgate.crawl.work import Work

_WORK = "crawl-work.sqlite"
# Files walked over until whoever waits is told again.
_TELL_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Summary:
    """What a crawl came to; `read` files were opened, the others were known from the crawl before.

    `resolved` and `unresolved` count the rows of the full index that refer to something.
    """

    found: int
    read: int
    skipped: int
    series: int
    resolved: int
    unresolved: int
    directory: Path

    def __str__(self) -> str:
        return (
            f"{self.found} files found, {self.read} read, {self.skipped} skipped; {self.series} series; "
            f"references: {self.resolved} resolved, {self.unresolved} unresolved"
        )


@dataclass
class Crawler:
    """An index of all series below `dicom_dir`, as files below `output_dir` and as Python values.

    The files are those of med-imagetools' crawler, in ``output_dir/dataset_name``: by default
    ``.imgtools/NAME`` beside `dicom_dir`, which is never written to. A second crawl reads only the files that have
    changed since, unless `force`. `extensions` are suffixes without the dot; "" takes every file that is a DICOM
    file. `n_jobs` processes read (-1: one for each processor), or those of `executor`. `progress` is told (done,
    total) now and then; what it raises ends the crawl.

    Files that cannot be indexed are listed in crawl-errors.csv and end nothing.
    """

    dicom_dir: Path
    output_dir: Path | None = None
    dataset_name: str | None = None
    n_jobs: int = 1
    force: bool = False
    extensions: Sequence[str] = ("dcm",)
    all_subseries: bool = False
    executor: Executor | None = None
    progress: Progress = no_progress
    _rows: list[IndexRow] | None = field(init=False, repr=False, default=None)
    _directory: Path | None = field(init=False, repr=False, default=None)

    def crawl(self) -> Summary:
        """Crawl, write the files, and return what it came to.

        Raises FileNotFoundError when there is no such directory or no file in it, CrawlerOutputDirError,
        CrawlBusyError while another crawl writes to the same place, ValueError for a bad option, OSError. A crawl
        that was interrupted or killed leaves what it had read; the next one goes on from there.
        """
        root = Path(self.dicom_dir).resolve()
        if not root.is_dir():
            raise FileNotFoundError(f"{self.dicom_dir} is no directory")
        unreadable: list[OSError] = []
        files = files_below(root, self._suffixes, unreadable.append)
        roots = {os.fsencode(root.name): os.fsencode(root)}
        output = root.parent / DEFAULT_OUTPUT if self.output_dir is None else self.output_dir
        dataset = root.name if self.dataset_name is None else self.dataset_name
        return self.crawl_files(roots, files, output, dataset, unreadable)

    def crawl_files(
        self,
        roots: Roots,
        files: Iterable[Found],
        output: Path,
        dataset: str,
        unreadable: Sequence[OSError] = (),
    ) -> Summary:
        """Crawl the files given, whose paths begin with a name in `roots`; `unreadable` fills up with `files`."""
        reader = Reader(roots, self.n_jobs, self.executor, "" in self._suffixes)
        with self._working(roots, output, dataset) as (place, work):
            found = work.find(self._told(files))
            if not found:
                names = " or ".join(suffix or "''" for suffix in self._suffixes)
                where = ", ".join(os.fsdecode(root) for root in roots.values())
                raise FileNotFoundError(f"No DICOM files found in {where} with extension {names}")
            if not self.force:
                work.know(read_state(place.directory / STATE, self._suffixes))
            read = reader.read_changed(work, self.progress)
            vanished = work.forget_vanished()
            reader.read_firsts(work)
            return self._finish(work, place, found, read, bool(vanished), unreadable)

    def crawl_known(self, roots: Roots, known: Iterable[Read], output: Path, dataset: str) -> Summary:
        """Crawl files of which somebody knows all but the fields: only the first of each series is read."""
        reader = Reader(roots, self.n_jobs, None, False)
        with self._working(roots, output, dataset) as (place, work):
            work.forget()
            found = work.add(known)
            if not found:
                raise FileNotFoundError("The archive holds no objects")
            if not self.force:
                for read in read_state(place.directory / STATE, self._suffixes):
                    if read.fields is not None and work.has(read) and is_unchanged(roots, read):
                        work.add([read])
            return self._finish(work, place, found, reader.read_firsts(work), True, ())

    def _told(self, files: Iterable[Found]) -> Iterator[Found]:
        """Tell now and then while the tree is walked, when nothing is known of how much there is."""
        for number, found in enumerate(files):
            if number % _TELL_EVERY == 0:
                self.progress(0, 0)
            yield found

    @property
    def _suffixes(self) -> list[str]:
        return sorted({extension.lower().removeprefix(".") for extension in self.extensions})

    @contextmanager
    def _working(self, roots: Roots, output: Path, dataset: str) -> Iterator[tuple[Destination, Work]]:
        """The place for the files and the database to work in, which stays when the crawl is interrupted."""
        place = Destination.choose(output, dataset)
        identity = [VERSION, self._suffixes, [os.fsdecode(part) for root in roots.items() for part in root]]
        with place.staged():
            work = Work(place.stage / _WORK, json.dumps(identity), fresh=self.force)
            try:
                yield place, work
            except FileNotFoundError:
                work.close()
                work.discard()
                raise
            finally:
                work.close()

    def _finish(
        self, work: Work, place: Destination, found: int, read: int, vanished: bool, unreadable: Sequence[OSError]
    ) -> Summary:
        results = write_results(
            work,
            place.stage,
            self._suffixes,
            all_subseries=self.all_subseries,
            whole=bool(read or vanished) or not place.has_cache(),
            unreadable=[(str(error.filename), error.strerror or type(error).__name__) for error in unreadable],
        )
        work.close()
        work.discard()
        place.publish()
        self._rows, self._directory = results.rows, place.directory
        self.__dict__.pop("crawl_db_raw", None)
        counts = (results.skipped, results.series, results.resolved, results.unresolved)
        return Summary(found, read, *counts, place.directory)

    @property
    def index(self) -> list[IndexRow]:
        """The rows of index.csv."""
        if self._rows is None:
            raise CrawlResultsNotAvailableError("there are no results yet: call crawl() first")
        return self._rows

    @property
    def crawl_db(self) -> list[dict[str, str | int]]:
        """The rows of index.csv as dictionaries."""
        return [row.as_dict() for row in self.index]

    @cached_property
    def crawl_db_raw(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The whole of crawl_db.json: series, acquisition, fields. All instances are in it, so it may be large."""
        if self._directory is None:
            raise CrawlResultsNotAvailableError("there are no results yet: call crawl() first")
        found: dict[str, dict[str, dict[str, Any]]] = json.loads((self._directory / CRAWL_DB).read_bytes())
        return found

    def get_series_info(self, series_uid: str) -> dict[str, Any]:
        """The fields of a series, those of its first acquisition; ValueError for an unknown one."""
        if series_uid not in self.crawl_db_raw:
            raise ValueError(f"Series UID {series_uid} not found in crawl results.")
        return next(iter(self.crawl_db_raw[series_uid].values()))

    def get_folder(self, series_uid: str) -> str:
        """The directory of a series; ValueError for an unknown one."""
        return str(self.get_series_info(series_uid)["folder"])

    def get_modality(self, series_uid: str) -> str:
        """The modality of a series; ValueError for an unknown one."""
        return str(self.get_series_info(series_uid)["Modality"])
