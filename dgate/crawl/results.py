"""The results of a crawl: references found, warnings told, all files written."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path

from dgate.crawl import output
from dgate.crawl.extract import Fields
from dgate.crawl.output import IndexRow, SeriesWriter, create
from dgate.crawl.references import Reference, Resolver, Series
from dgate.crawl.state import Known, write_state
from dgate.crawl.work import Entry, Work

log = logging.getLogger("dgate.crawl")

# Files that are skipped and named in the log, which may be that of a server.
_MOST_TOLD = 1000


@dataclass(slots=True)
class Results:
    """What was written: the rows of index.csv, and counts."""

    rows: list[IndexRow] = field(default_factory=list)
    series: int = 0
    skipped: int = 0
    resolved: int = 0
    unresolved: int = 0


def write_results(
    work: Work,
    directory: Path,
    extensions: Sequence[str],
    *,
    all_subseries: bool,
    whole: bool,
    unreadable: Sequence[tuple[str, str]],
) -> Results:
    """Write the files of a crawl into a directory; without `whole` not those that say what was read.

    `unreadable` are directories that could not be walked, with the reason. Warnings go to the log, with UIDs and
    paths and no other value of the objects.
    """
    work.settle()
    entries = work.entries()
    known = [_known(work, entry) for entry in entries]
    resolver = Resolver(_series(entries, known), work.series_of)
    results = Results(series=len({entry.series for entry in entries}))
    with ExitStack() as files:
        database = SeriesWriter(files.enter_context(create(directory / output.CRAWL_DB)))
        cache = SeriesWriter(files.enter_context(create(directory / output.CACHE))) if whole else None
        instances = groupby(work.instances(), key=itemgetter(0))
        for entry, what, (_, files_of) in zip(entries, known, instances, strict=True):
            reference = resolver.resolve(what.fields)
            _warn(entry, (*what.warnings, *reference.warnings))
            results.resolved += reference.resolved
            results.unresolved += _is_unresolved(what.fields, reference)
            _write_entry(database, cache, entry, what.fields, reference, files_of)
            results.rows.append(_row(entry, what.fields, reference))
        for writer in (database, cache):
            if writer is not None:
                writer.close()
    results.rows = output.slim(results.rows, all_subseries=all_subseries)
    with create(directory / output.INDEX) as index:
        output.write_index(index, results.rows)
    if whole:
        with create(directory / output.SOP_MAP) as sop_map:
            output.write_sop_map(sop_map, work.sop_map())
        with create(directory / output.STATE) as state:
            write_state(state, extensions, known, work.all_read())
    results.skipped = _report(work, directory, unreadable)
    return results


def _known(work: Work, entry: Entry) -> Known:
    fields, warnings = work.fields(entry.first)
    return Known(entry.series, entry.sub, fields, tuple(warnings))


def _series(entries: Sequence[Entry], known: Sequence[Known]) -> Iterable[Series]:
    """All acquisitions of a series taken together; its modality and study are those of the first."""
    found: dict[str, Series] = {}
    for entry, what in zip(entries, known, strict=True):
        fields = what.fields
        one = found.setdefault(
            entry.series, Series(entry.series, str(fields["Modality"]), str(fields["StudyInstanceUID"]))
        )
        one.instances += entry.instances
        if fields["FrameOfReferenceUID"]:
            one.frames.add(str(fields["FrameOfReferenceUID"]))
    return found.values()


def _write_entry(
    database: SeriesWriter,
    cache: SeriesWriter | None,
    entry: Entry,
    fields: Fields,
    reference: Reference,
    files_of: Iterator[tuple[int, bytes, str]],
) -> None:
    writers = [writer for writer in (database, cache) if writer is not None]
    resolved = dict(fields)
    later: list[tuple[str, object]] = []
    if "ReferencedSeriesUID" in fields:
        resolved["ReferencedSeriesUID"] = reference.series
    elif reference.series:
        later.append(("ReferencedSeriesUID", reference.series))
    if reference.modality is not None:
        later.append(("ReferencedModality", reference.modality))
    folder = _folder(entry.first)
    for writer, members in zip(writers, (resolved, fields), strict=False):
        writer.begin(entry.series, entry.sub, [*members.items(), ("folder", folder)])
        writer.begin_instances()
    folders = {folder}
    for _, path, sop in files_of:
        directory, _, name = os.fsdecode(path).rpartition("/")
        folders.add(directory)
        for writer in writers:
            writer.instance(sop, name)
    spread: list[tuple[str, object]] = [("folders", sorted(folders))] if len(folders) > 1 else []
    for writer, members_after in zip(writers, (later, []), strict=False):
        writer.end_instances()
        writer.add([*spread, *members_after])
        writer.end()
    if spread:
        _warn(entry, (f"its files lie in {len(folders)} directories, of which {folder} counts",))
    if entry.mixed:
        _warn(entry, ("its files differ in modality or patient, the first counts",))


def _folder(path: bytes) -> str:
    return os.fsdecode(path).rpartition("/")[0]


def _row(entry: Entry, fields: Fields, reference: Reference) -> IndexRow:
    return IndexRow(
        str(fields["PatientID"]),
        str(fields["StudyInstanceUID"]),
        entry.series,
        entry.sub,
        str(fields["Modality"]),
        reference.modality or "",
        reference.series,
        entry.instances,
        _folder(entry.first),
    )


def _is_unresolved(fields: Fields, reference: Reference) -> bool:
    named = fields.get("ReferencedSeriesUID") or fields.get("ReferencedSOPUIDs") or ""
    return not reference.resolved and named not in ("", [""])


def _warn(entry: Entry, warnings: Iterable[str]) -> None:
    for warning in warnings:
        log.warning("series %s (%s): %s", entry.series, os.fsdecode(entry.first), warning)


def _report(work: Work, directory: Path, unreadable: Sequence[tuple[str, str]]) -> int:
    """Write crawl-errors.csv and tell of files with the UID of another; return how many files were skipped."""
    for series, files, path in work.doubles():
        such = f"such as {os.fsdecode(path)}"
        log.warning("series %s: %d files have the SOP instance UID of an earlier file, %s", series, files, such)
    with create(directory / output.ERRORS) as errors:
        output.write_errors(errors, _reported(work, unreadable))
    return work.count_skipped() + len(unreadable)


def _reported(work: Work, unreadable: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    skipped = ((os.fsdecode(path), reason) for path, reason in work.skipped())
    for told, (path, reason) in enumerate(chain(sorted(unreadable), skipped)):
        if told < _MOST_TOLD:
            log.warning("%s is skipped: %s", path, reason)
        elif told == _MOST_TOLD:
            log.warning("further files that are skipped are in %s", output.ERRORS)
        yield path, reason
