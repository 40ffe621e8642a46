"""The four stages, one after another, over a whole library."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from dgate.rev.errors import BadRequest, MissingPrerequisite
from dgate.rev.files import write_if_new
from dgate.rev.layout import EXAMPLES, SERIES_SUFFIX, Example, Place, examples_below, months_below, place_of
from dgate.rev.mapping import write_map
from dgate.rev.messages import FILES, LISTS, NORMAL, Messages, Progress
from dgate.rev.month import write_month_page
from dgate.rev.options import TITLES, Options
from dgate.rev.pages import assets
from dgate.rev.series import Outcome, SeriesTask, make_series, make_series_apart
from dgate.rev.state import Problem, State, read_state
from dgate.rev.study import StudyPages, described, settle, write_examples
from dgate.rev.walk import Found, Stray, Wanted, series_below
from storage.executor import bulk_executor, processors
from storage.pool import CodecPool

_Executor = TypeVar("_Executor", bound=Executor)

# Up to so many codec processes are kept busy by threads of one process, which costs the least to start; for more, each
# series gets a process that keeps one of its own busy.
_BY_THREADS = 4


@dataclass(slots=True)
class StageReport:
    """What a stage did: how many directories, files read, analysed and written; `status` False when some failed."""

    stage: int
    status: bool = True
    seconds: float = 0.0
    parallel: bool = False
    directories: int = 0
    read: int = 0
    analysed: int = 0
    saved: int = 0


@dataclass(slots=True)
class Report:
    """What a run did. `fatal` is set when the disk would take no more."""

    stages: list[StageReport] = field(default_factory=list)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    seconds: float = 0.0
    fatal: bool = False

    @property
    def status(self) -> bool:
        """Whether all is well."""
        return not self.errors and not self.fatal


class Run:
    """One run over a library; `report` tells what has been done so far.

    `only` those examples are looked at, whatever else there is; `executor` does series instead of processes of our own.
    """

    def __init__(
        self,
        options: Options,
        messages: Messages,
        *,
        executor: Executor | None = None,
        only: Collection[Example] | None = None,
    ) -> None:
        self._options = options
        self._messages = messages
        self._executor = executor
        self._only = only
        self.report = Report()
        self._started = time.monotonic()
        self._settings = options.settings

    def run(self, *, after_stage: Callable[[int, float], None] = lambda stage, seconds: None) -> Report:
        """Do the stages that are asked for.

        What fails with a series or an example is in the report. Raises BadRequest, MissingPrerequisite, and OSError
        where the library itself cannot be read or written.
        """
        options = self._options
        if not options.input.is_dir():
            raise BadRequest(f"{options.input} is no directory")
        options.output.mkdir(parents=True, exist_ok=True)
        stages = {1: self._pictures, 2: self._studies, 3: self._months, 4: self._map}
        for number in options.stages:
            with self._stage(number) as stage:
                try:
                    stages[number](stage)
                except MissingPrerequisite as error:
                    # Where all series failed there is nothing to go on with, and that has been told.
                    if not self.report.errors:
                        self.report.errors.append(Problem(".", number, "prerequisite", str(error)))
                        raise
                    break
            after_stage(number, time.monotonic() - self._started)
            if self.report.fatal or (number == 1 and not stage.directories):
                break
        return self.report

    @contextmanager
    def _stage(self, number: int) -> Iterator[StageReport]:
        stage = StageReport(number)
        self.report.stages.append(stage)
        self._messages.say(NORMAL, f"stage {number}, {TITLES[number]}: begins")
        started = time.monotonic()
        before = len(self.report.errors)
        try:
            yield stage
        finally:
            stage.seconds = time.monotonic() - started
            self.report.seconds = time.monotonic() - self._started
            stage.status = len(self.report.errors) == before and stage.directories > 0
        self._messages.say(
            NORMAL,
            f"stage {number}, {TITLES[number]}: {stage.directories} directories, {stage.read} files read, "
            f"{stage.saved} written, {stage.seconds:.1f} s{'' if stage.status else '; there were errors'}",
        )

    # Stage 1

    def _pictures(self, stage: StageReport) -> None:
        tasks = [task for found in self._found(stage) if (task := self._task(found)) is not None]
        for outcome in self._outcomes(tasks, stage):
            self._take(outcome, stage)
            if self.report.fatal:
                return
        if not stage.directories:
            self._fail(Problem(".", 1, "empty", f"{self._options.input} holds no series of DICOM files"))
        for example in self._examples():
            self._forget_vanished(example)
            stage.saved += settle(self._options.output, example)
        of_month = _by_month(examples_below(self._options.output))
        for month in self._months_of_interest():
            stage.saved += write_examples(self._options.output, month, of_month.get(month, []))

    def _found(self, stage: StageReport) -> Iterator[Found]:
        options = self._options
        apart = options.output if options.output != options.input else None
        wanted = Wanted(options.only, options.extension, options.follow_links, apart)
        for found in series_below(options.input, wanted, self._unreadable, self._only):
            if isinstance(found, Stray):
                text = "it holds DICOM files and is not YY-yr/MM-mo/XX-ex/SERIES"
                self._fail(Problem(found.path, 1, "place", text))
            else:
                stage.directories += 1
                self._messages.say(LISTS, f"{found.place.path}: {len(found.files)} files")
                yield found

    def _unreadable(self, error: OSError) -> None:
        path = Path(str(error.filename or self._options.input))
        below = path.relative_to(self._options.input) if path.is_relative_to(self._options.input) else path
        self._fail(Problem(str(below), 1, "io", error.strerror or type(error).__name__))

    def _task(self, found: Found) -> SeriesTask | None:
        """What there is to do for a series; None when all of it has been done."""
        options = self._options
        series = options.leaf.replace("%s", found.place.series) if options.leaf else found.place.series
        target = replace(found.place, series=series)
        directory = options.output / target.path
        state = read_state(directory)
        if (
            state is not None
            and state.is_of(found.place.path, self._settings, found.files)
            and state.is_whole(directory, options.output / target.json_path)
        ):
            self._messages.say(LISTS, f"{found.place.path}: unchanged")
            # What was wrong with it still is.
            for problem in state.problems:
                self._fail(problem)
            for warning in state.warnings:
                self._warn(warning)
            return None
        return SeriesTask(
            options.input,
            options.output,
            found.place,
            series,
            found.files,
            options.copying,
            options.drawing,
            self._settings,
            options.leaf,
            options.in_place,
        )

    def _outcomes(self, tasks: Sequence[SeriesTask], stage: StageReport) -> Iterator[Outcome]:
        workers = self._options.workers or processors()
        stage.parallel = len(tasks) > 1 and (workers > 1 or self._executor is not None)
        with self._messages.progress() as progress:
            if self._executor is not None:
                yield from self._parallel(self._executor, make_series_apart, tasks, progress)
            elif stage.parallel and workers > _BY_THREADS:
                with _ended(bulk_executor(min(workers, len(tasks)))) as processes:
                    yield from self._parallel(processes, make_series_apart, tasks, progress)
            elif tasks:
                with CodecPool(workers) as pool, _ended(ThreadPoolExecutor(min(workers, len(tasks))), pool) as threads:
                    yield from self._parallel(threads, partial(make_series, pool=pool), tasks, progress)

    def _parallel(
        self, executor: Executor, make: Callable[[SeriesTask], Outcome], tasks: Sequence[SeriesTask], progress: Progress
    ) -> Iterator[Outcome]:
        # The largest first, or one of them is left alone in the end.
        largest = sorted(tasks, key=lambda task: -sum(stamp.size for stamp in task.files))
        waiting = {executor.submit(make, task): task for task in largest}
        for number, future in enumerate(as_completed(waiting), 1):
            try:
                yield future.result()
            except BrokenExecutor:
                place = waiting[future].place
                text = "a worker process was killed, by lack of memory perhaps; run the same again"
                yield Outcome(place, problems=[Problem(place.path, 1, "process", text)])
            progress(number, len(tasks))

    def _take(self, outcome: Outcome, stage: StageReport) -> None:
        stage.read += len(outcome.read)
        stage.analysed += outcome.analysed
        stage.saved += outcome.saved
        stage.directories -= not outcome.found
        for note in outcome.notes:
            self._messages.say(LISTS, note)
        for name in outcome.read:
            self._messages.say(FILES, f"read {outcome.place.path}/{name}")
        if outcome.found:
            self._messages.say(LISTS, f"{outcome.place.path}: done")
        for problem in outcome.problems:
            self._fail(problem)
        for warning in outcome.warnings:
            self._warn(warning)
        self.report.fatal |= outcome.fatal

    def _forget_vanished(self, example: Example) -> None:
        """Remove descriptors of series that are no longer there, so that nothing leads to them."""
        options = self._options
        for path in sorted((options.output / example.path).glob(f"*{SERIES_SUFFIX}")):
            place = Place(example, path.name.removesuffix(SERIES_SUFFIX))
            state = read_state(options.output / place.path)
            if state is not None and not self._has_sources(state):
                path.unlink()
                self._warn(Problem(place.path, 1, "vanished", "its series is no longer in the input; no page shows it"))
            elif not (options.output / place.path).is_dir():
                path.unlink()

    def _has_sources(self, state: State) -> bool:
        """Whether any of the files that a series was made of is still in the input."""
        parts = tuple(state.source.split("/"))
        if place_of(parts) is None:
            return False
        source = self._options.input.joinpath(*parts)
        return any((source / stamp.name).is_file() for stamp in state.files if "/" not in stamp.name)

    # Stages 2 to 4

    def _studies(self, stage: StageReport) -> None:
        root, options = self._options.output, self._options
        pages = StudyPages(options.study_json, options.min_series, options.server, options.viewer)
        for example in self._examples():
            if not described(root, example):
                stage.saved += pages.remove(root, example)
                continue
            written, warnings = pages.write(root, example)
            stage.directories += 1
            stage.read += sum(1 for _ in (root / example.path).glob(f"*{SERIES_SUFFIX}"))
            stage.saved += written
            self._messages.say(FILES, f"wrote {example.path}/{options.study_json}")
            for warning in warnings:
                self._warn(warning)
        self._need(stage, f"stage 2 needs *{SERIES_SUFFIX}, which stage 1 writes")
        stage.saved += self._write_assets()
        stage.analysed = stage.read

    def _months(self, stage: StageReport) -> None:
        root = self._options.output
        for month in self._months_of_interest():
            if (root / month / EXAMPLES).is_file():
                stage.directories += 1
                stage.saved += write_month_page(root, month, self._options.drawing.large)
                self._messages.say(FILES, f"wrote {month}/index.html")
        self._need(stage, f"stage 3 needs {EXAMPLES}, which stage 1 writes")
        stage.saved += self._write_assets()
        stage.read = stage.analysed = stage.directories

    def _map(self, stage: StageReport) -> None:
        root, name = self._options.output, self._options.study_json
        examples = [example for example in examples_below(root) if (root / example.path / name).is_file()]
        stage.directories = stage.read = stage.analysed = len(examples)
        self._need(stage, f"stage 4 needs {name} of the examples, which stage 2 writes")
        written, warnings = write_map(root, examples, self._only)
        stage.saved += written
        for warning in warnings:
            self._warn(warning)

    def _examples(self) -> list[Example]:
        found = examples_below(self._options.output)
        return found if self._only is None else [example for example in found if example in self._only]

    def _months_of_interest(self) -> list[str]:
        found = months_below(self._options.output)
        if self._only is None:
            return found
        wanted = {example.month_path for example in self._only}
        return [month for month in found if month in wanted]

    def _need(self, stage: StageReport, text: str) -> None:
        if not stage.directories:
            raise MissingPrerequisite(f"{text}: there are none in {self._options.output}")

    def _write_assets(self) -> int:
        return sum(write_if_new(self._options.output / name, data) for name, data in assets().items())

    def _fail(self, problem: Problem) -> None:
        self.report.errors.append(problem)
        self._messages.say(NORMAL, f"{problem.path}: {problem.message}")

    def _warn(self, problem: Problem) -> None:
        self.report.warnings.append(problem)
        self._messages.say(NORMAL, f"{problem.path}: warning: {problem.message}")


@contextmanager
def _ended(executor: _Executor, pool: CodecPool | None = None) -> Iterator[_Executor]:
    """End an executor with what it has begun; at an error what it has begun ends at once, for want of its pool."""
    try:
        yield executor
    except BaseException:
        if pool is not None:
            pool.close()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _by_month(examples: Sequence[Example]) -> dict[str, list[Example]]:
    found: dict[str, list[Example]] = {}
    for example in examples:
        found.setdefault(example.month_path, []).append(example)
    return found
