"""Previews as a job of the server: `--rev:library,patid,studyuid`, and a library that is kept current."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from db.query import Query
from db.schema import PATIENT_ID, STUDY_UID, TagPath
from server.jobs import JobFailed, JobKind, JobRun
from storage.errors import StorageError

if TYPE_CHECKING:
    from dgate.rev.layout import Example
    from dgate.rev.messages import Progress
    from dgate.rev.placing import StoredFile
    from server.server import Server


def studies(server: Server, patient: str, study: str) -> list[str]:
    """The UIDs of the studies that are meant, wildcards as in a query; raises QueryRefused and DatabaseError."""
    keys: dict[TagPath, str] = {PATIENT_ID: patient, STUDY_UID: study}
    return sorted({row[STUDY_UID] for row in server.index.find(Query("STUDY", keys, (STUDY_UID,)))})


def run(job: JobRun) -> str:
    """Place the studies of `patient` and `study` in the `library`, and make what has changed there."""
    # Loaded with the first job: most servers never do one.
    from dgate.rev.errors import RevError
    from dgate.rev.placing import place_study

    library = Path(job.arguments["library"])
    library.mkdir(parents=True, exist_ok=True)
    uids = studies(job.server, job.arguments["patient"], job.arguments["study"])
    if not uids:
        raise JobFailed("there is no such study in the archive")
    placed: list[list[Example]] = []
    failures: list[str] = []
    for uid in uids:
        try:
            placed.append(place_study(library, uid, list(_files(job.server, uid)), job.progress))
        except (RevError, StorageError) as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(f"study {uid}: {error.strerror or type(error).__name__}")
    if placed:
        failures += _drawn(library, frozenset(one for each in placed for one in each), job)
    said = f"{len(placed)} of {len(uids)} studies in the library: {', '.join(new.path for new, *_ in placed[:10])}"
    if failures:
        raise JobFailed(f"{said}; {len(failures)} errors: {'; '.join(failures[:3])}")
    return said


def _files(server: Server, uid: str) -> Iterator[StoredFile]:
    from dgate.rev.placing import StoredFile

    for row in server.index.select_objects(Query("STUDY", {STUDY_UID: uid})):
        path = server.storage.locate(row.device, row.file)
        yield StoredFile(path, row.series_uid, row.sop_instance)


def _drawn(library: Path, placed: frozenset[Example], job: JobRun) -> list[str]:
    """Run the stages over the examples that were placed; return what went wrong."""
    from dgate.rev.errors import RevError
    from dgate.rev.messages import Messages
    from dgate.rev.options import Options
    from dgate.rev.run import Run

    class Told(Messages):
        """Messages of a run for which the job's row is all there is."""

        @contextmanager
        def progress(self) -> Iterator[Progress]:
            yield job.progress

    try:
        report = Run(Options(library, library), Told(io.StringIO(), 0), only=placed).run()
    except (RevError, BrokenExecutor) as error:
        return [str(error) or type(error).__name__]
    except OSError as error:
        return [f"{error.filename or library}: {error.strerror or type(error).__name__}"]
    return [f"{problem.path}: {problem.message}" for problem in report.errors]


def arguments(library: Path, patient: str, study: str) -> Mapping[str, str]:
    """The arguments of a job."""
    return {"library": str(library), "patient": patient, "study": study}


REV = JobKind("rev", run)
