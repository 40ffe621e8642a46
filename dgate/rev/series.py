"""Stage 1 for one series: from a directory of DICOM files to pictures, tags and a descriptor."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from dgate.rev.bring import Bringer, remove_others
from dgate.rev.descriptor import document, entry
from dgate.rev.errors import RevError
from dgate.rev.files import as_json, write_if_new
from dgate.rev.layout import TAGS, Place
from dgate.rev.options import Copying, Drawing
from dgate.rev.pictures import Artist, Pictures
from dgate.rev.slices import Slice, in_order, read_slice
from dgate.rev.state import Problem, Stamp, State, read_state
from dgate.rev.tags import tag_lines
from dgate.rev.walk import claims_dicom
from storage.errors import NotDicom, StorageError
from storage.pool import CodecPool

# A disk that is full or cannot be written to is not the failure of one series.
_FATAL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


@dataclass(frozen=True, slots=True)
class SeriesTask:
    """What is to be done for one series; can be sent between processes.

    `place` is where it is in the input, `series` what its directory is called in the output.
    """

    input: Path
    output: Path
    place: Place
    series: str
    files: tuple[Stamp, ...]
    copying: Copying
    drawing: Drawing
    settings: str
    leaf: str
    in_place: bool

    @property
    def source(self) -> Path:
        return self.input / self.place.path

    @property
    def target(self) -> Place:
        """The series in the output tree."""
        return replace(self.place, series=self.series)


@dataclass(slots=True)
class Outcome:
    """What became of a series: how many files were read, analysed and written, which, and what went wrong.

    `found` says whether there was any DICOM file at all, `fatal` that going on makes no sense.
    """

    place: Place
    found: bool = True
    read: list[str] = field(default_factory=list)
    analysed: int = 0
    saved: int = 0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fatal: bool = False


def make_series(task: SeriesTask, pool: CodecPool) -> Outcome:
    """Do stage 1 for a series; whatever goes wrong with it is told in the outcome."""
    outcome = Outcome(task.place)
    try:
        _Making(task, pool, outcome).run()
    except (RevError, StorageError) as error:
        outcome.problems.append(Problem(task.place.path, 1, "series", _one_line(error)))
    except OSError as error:
        outcome.fatal = error.errno in _FATAL
        outcome.problems.append(Problem(task.place.path, 1, "io", _one_line(error)))
    except Exception as error:  # the boundary of one item of a bulk run: the other series go on
        text = f"{type(error).__name__}: {_one_line(error)}"
        outcome.problems.append(Problem(task.place.path, 1, "internal", text))
    return outcome


def make_series_apart(task: SeriesTask) -> Outcome:
    """Do `make_series` in a process of the executor, which keeps a codec process of its own for as long as it lives."""
    return make_series(task, _own_pool())


@lru_cache(maxsize=1)
def _own_pool() -> CodecPool:
    return CodecPool(1)


class _Making:
    """The way of one series."""

    def __init__(self, task: SeriesTask, pool: CodecPool, outcome: Outcome) -> None:
        self._task = task
        self._pool = pool
        self._outcome = outcome
        self._written: frozenset[str] = frozenset()
        self._directory = task.output / task.target.path

    def run(self) -> None:
        before = read_state(self._directory)
        if not any(claims_dicom(self._task.source / stamp.name) for stamp in self._task.files):
            # Bare data sets of old scanners say nothing: they have to be tried.
            self._outcome.found = any(self._parses(stamp.name) for stamp in self._task.files)
        if not self._outcome.found:
            self._outcome.notes.append(f"{self._task.place.path}: no DICOM files")
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        slices = self._slices()
        if not slices:
            # What an earlier run has made shows what may not be shown now.
            (self._task.output / self._task.target.json_path).unlink(missing_ok=True)
            self._problem(self._task.place.path, "series", "none of its files can be used")
            return
        ordered, order = in_order(slices)
        self._check(slices)
        first = min(slices, key=lambda one: one.name)
        pictures = Artist(self._directory, self._task.drawing, self._pool, self._tell).make(ordered)
        self._write_tags(first)
        described = entry(
            first,
            self._task.target.path,
            [one.name for one in ordered],
            frames=sum(one.frames for one in slices),
            shown=pictures.shown,
            order=order,
            status=pictures.status,
        )
        write_if_new(self._task.output / self._task.target.json_path, as_json(document(described)))
        self._outcome.analysed = len(slices)
        self._outcome.saved += 3 * len(pictures.names) + 5
        data = tuple(sorted(one.name for one in slices))
        if before is not None and not self._is_source:
            self._outcome.notes += [
                f"{self._task.target.path}/{name}: removed, it is no longer in the input"
                for name in remove_others(self._directory, set(data), before.data)
            ]
        self._save_state(first, data, pictures)

    @property
    def _is_source(self) -> bool:
        """Whether the output directory is the input directory."""
        return self._directory.samefile(self._task.source)

    def _parses(self, name: str) -> bool:
        try:
            read_slice(self._task.source / name)
        except (NotDicom, OSError):
            return False
        return True

    def _slices(self) -> list[Slice]:
        """Have every file in the output directory and read what is needed of it."""
        task = self._task
        bringer = Bringer(
            task.source, self._directory, task.copying, self._pool, in_place=task.in_place, note=self._note_of
        )
        extra = [word for word in task.drawing.overlay if word[:1].isupper()]
        slices = []
        for stamp in task.files:
            source = task.source / stamp.name
            try:
                found = read_slice(source, extra)
            except NotDicom as error:
                if claims_dicom(source):
                    self._tell(stamp.name, "read", str(error))
                else:
                    self._outcome.notes.append(f"{task.place.path}/{stamp.name}: {error}")
                continue
            except OSError as error:
                self._tell(stamp.name, "read", error.strerror or type(error).__name__)
                continue
            try:
                brought = bringer.bring(stamp.name)
                slices.append(
                    read_slice(brought, extra) if stamp.name in bringer.changed else replace(found, path=brought)
                )
            except (RevError, StorageError) as error:
                self._tell(stamp.name, "copy" if task.copying.anonymisation is None else "anonymise", _one_line(error))
                self._withdraw(stamp.name)
                continue
            self._outcome.read.append(stamp.name)
        self._outcome.saved += len(bringer.written)
        self._written = frozenset(bringer.written)
        return slices

    def _withdraw(self, name: str) -> None:
        """Take back what an earlier run has brought of a file that may not be shown now."""
        if not self._is_source:
            (self._directory / name).unlink(missing_ok=True)

    def _check(self, slices: list[Slice]) -> None:
        found = len({one.text("SeriesInstanceUID") for one in slices})
        if found > 1:
            text = f"it holds files of {found} series, shown as one: a directory is for one series"
            self._outcome.warnings.append(Problem(self._task.place.path, 1, "mixed", text))

    def _write_tags(self, first: Slice) -> None:
        lines = tag_lines(first.path)
        write_if_new(self._directory / TAGS, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))

    def _save_state(self, first: Slice, data: tuple[str, ...], pictures: Pictures) -> None:
        task = self._task
        # Files that were written over are known as they are now.
        over = self._written if self._is_source else frozenset[str]()
        stamps = tuple(_stamp(task.source, stamp) if stamp.name in over else stamp for stamp in task.files)
        State(
            task.place.path,
            task.settings,
            stamps,
            data,
            task.leaf,
            first.text("SeriesNumber"),
            first.text("ModalitiesInStudy"),
            len(pictures.names),
            tuple(self._outcome.problems),
            tuple(self._outcome.warnings),
        ).save(self._directory)

    def _tell(self, name: str, kind: str, message: str) -> None:
        self._problem(f"{self._task.place.path}/{name}", kind, message)

    def _problem(self, path: str, kind: str, message: str) -> None:
        self._outcome.problems.append(Problem(path, 1, kind, message))

    def _note_of(self, name: str, message: str) -> None:
        self._outcome.notes.append(f"{self._task.place.path}/{name}: {message}")


def _stamp(directory: Path, stamp: Stamp) -> Stamp:
    status = (directory / stamp.name).stat()
    return Stamp(stamp.name, status.st_size, status.st_mtime_ns)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        name = Path(error.filename).name if isinstance(error.filename, str) else ""
        return f"{name}: {error.strerror or type(error).__name__}" if name else str(error.strerror or error)
    return " ".join(str(error).split())
