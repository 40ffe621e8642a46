"""Database options: raw queries, finders and listers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from db.errors import QueryRefused
from dgate.arguments import REPLY, OutputFile, Printf
from dgate.command import CommandError, command
from server.pipeline.finder import Finder, FinderFailed, found_images, found_rows, found_series
from server.server import Server

GROUP = "Database options"

_STAR = Printf("%s*")
# What a query may hold in memory, with what each row costs beside its text.
_MOST_BYTES = 256 << 20
_ROW_BYTES = 100

log = logging.getLogger("dgate")


@command("query:table|fields|where|fmt|file", group=GROUP, rights="read")
def query(
    server: Server,
    table: str,
    fields: str,
    where: str = "",
    fmt: Printf | None = None,
    file: OutputFile = REPLY,
) -> str:
    """Arbitrary query output to file.

    Columns of one or more of the index's own tables, read only; up to 48, each cut to 255 characters. Each row is
    printed through `fmt` with a line end; a ``*`` that ends `fmt` is put between rows instead. With a `file` the reply
    is ``0``, or ``1`` when there was no row.
    """
    rows = _rows(server, table, fields, where, file)
    return _no_rows(file) if not rows else _deliver(rows, fmt, file)


@command("query2:tab|fld|whe|fmt|max|file", group=GROUP, rights="read")
def query2(
    server: Server,
    tab: str,
    fld: str,
    whe: str = "",
    fmt: Printf | None = None,
    max: int = 0,
    file: OutputFile = REPLY,
) -> str:
    """Same but limit output rows to max.

    Of n rows, when that is more than `max`, every ceil(n/max)-th is listed.
    """
    rows = _rows(server, tab, fld, whe, file)
    step = -(-len(rows) // max) if 0 < max < len(rows) else 1
    return _no_rows(file) if not rows else _deliver(rows[::step], fmt, file)


def _rows(server: Server, table: str, fields: str, where: str, file: OutputFile) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    size = 0
    try:
        for row in server.index.raw_query(table, fields, where):
            rows.append(row)
            size += _ROW_BYTES + sum(map(len, row))
            if size > _MOST_BYTES:
                raise CommandError(f"the result is larger than {_MOST_BYTES >> 20} MB: ask for less of it")
    except QueryRefused:
        # What is wrong may be a patient's name that lacks its quotes.
        log.warning("*** A query was refused, or not understood by the database; the debug log says why")
        log.debug("Query refused", exc_info=True)
        return []
    return rows


def _no_rows(file: OutputFile) -> str:
    """The reply to a query without rows: nothing, not even the head that browsers get; a file is emptied."""
    return file.deliver("", done="1") if _is_file(file) else ""


def _deliver(rows: Sequence[tuple[str, ...]], fmt: Printf | None, file: OutputFile) -> str:
    shown = fmt or Printf("%s " * len(rows[0]))
    if shown.text.endswith("*"):
        inner = Printf(shown.text[:-1])
        return file.deliver("*".join(inner % row for row in rows), done="0")
    return file.deliver("".join(f"{shown % row}\n" for row in rows), done="0")


def _is_file(file: OutputFile) -> bool:
    return file.text not in ("", "binary", "cgi")


@contextmanager
def _asking() -> Iterator[None]:
    """Another server that cannot be asked is the operator's to know of."""
    try:
        yield
    except FinderFailed as error:
        raise CommandError(str(error)) from error


def _listed(rows: Iterator[tuple[str, ...]], fmt: Printf | None, file: OutputFile) -> str:
    lines = []
    with _asking():
        found = list(rows)
    for row in found:
        shown = fmt or Printf(" ".join(["%s"] * len(row)))
        lines.append(f"{shown % row}\n")
    return file.deliver("".join(lines))


@command("patientfinder:srv|str|fmt|file", group=GROUP, rights="read")
def patientfinder(server: Server, srv: str, str: str = "", fmt: Printf | None = None, file: OutputFile = REPLY) -> str:
    """List patients on server.

    `srv` is ``local`` or an AE title of acrnema.map, which is asked by C-FIND. `str` is looked for in patient IDs and
    names; ``=str`` must equal one. Values: name, ID.
    """
    return _listed(found_rows(server, srv, Finder.PATIENT, str), fmt, file)


@command("studyfinder:srv|str|fmt|file", group=GROUP, rights="read")
def studyfinder(server: Server, srv: str, str: str = "", fmt: Printf | None = None, file: OutputFile = REPLY) -> str:
    """List studies on server.

    As `patientfinder`; a `str` that looks like a date is looked for in study dates too. Values: study date, study
    modality, name, ID, study UID.
    """
    return _listed(found_rows(server, srv, Finder.STUDY, str), fmt, file)


@command("seriesfinder:srv|str|fmt|file", group=GROUP, rights="read")
def seriesfinder(server: Server, srv: str, str: str = "", fmt: Printf | None = None, file: OutputFile = REPLY) -> str:
    """List series on server.

    As `studyfinder`; ``=str`` longer than 8 characters is a study UID. Values: study date, series time, modality,
    name, ID, study UID, series UID.
    """
    return _listed(found_rows(server, srv, Finder.SERIES, str), fmt, file)


@command("imagefinder:srv|str|fmt|file", group=GROUP, rights="read")
def imagefinder(server: Server, srv: str, str: str = "", fmt: Printf | None = None, file: OutputFile = REPLY) -> str:
    """List images on server.

    As `patientfinder`; ``=str`` is a series UID. Values: SOP instance UID, name, ID, study UID, series UID, image
    number, slice location.
    """
    return _listed(found_rows(server, srv, Finder.IMAGE, str), fmt, file)


@command("serieslister:srv|pat|stu|fmt|file", group=GROUP, rights="read")
def serieslister(
    server: Server, srv: str, pat: str = "", stu: str = "", fmt: Printf = _STAR, file: OutputFile = REPLY
) -> str:
    """List series in a study.

    Values: series UID, running number from 0 (``%d``). A ``*`` that ends `fmt` is printed after every item, in place
    of a line end. An empty patient or study selects all.
    """
    star = fmt.text.endswith("*")
    inner = Printf(fmt.text[:-1]) if star else fmt
    end = "*" if star else "\n"
    with _asking():
        items = [(uid, number) for number, uid in enumerate(found_series(server, srv, pat, stu))]
    return file.deliver("".join(f"{inner % item}{end}" for item in items))


@dataclass(frozen=True, slots=True)
class _Style:
    """An imagelister format: the sign it begins with, the rest, and whether that ended in a star."""

    sign: str
    fmt: Printf
    star: bool

    @classmethod
    def of(cls, fmt: Printf) -> _Style:
        sign = fmt.text[:1] if fmt.text.startswith(("#", "@", ":", "?", "$")) else ""
        text = fmt.text[len(sign) :]
        star = text.endswith("*")
        return cls(sign, Printf(text[:-1] if star else text), star)


@command("imagelister:srv|pat|ser|fmt|file", group=GROUP, rights="read")
def imagelister(
    server: Server, srv: str, pat: str = "", ser: str = "", fmt: Printf = _STAR, file: OutputFile = REPLY
) -> str:
    """List (local) files in a series.

    In order of image number; an empty patient or series selects all. Values: full path, index from 0, index from 1.
    A `fmt` that begins with ``#``: device, file, index, index from 1; ``@``: the same with forward slashes; ``:``:
    patient ID (blanks as %20), SOP instance UID, index, index from 1; ``?``: the number of files, once; ``$``: the
    number of frames of each. A ``*`` that ends `fmt` is put between items, which else end in a line end.
    """
    style = _Style.of(fmt)
    with _asking():
        images = found_images(server, srv, pat, ser)
    if style.sign == "?":
        return file.deliver(f"{style.fmt % len(images)}\n")
    items = []
    for index, image in enumerate(images):
        counted = (index, index + 1)
        if style.sign == "$":
            items.append(style.fmt % image.frames)
        elif style.sign == ":":
            items.append(style.fmt % (image.patient.replace(" ", "%20"), image.sop, *counted))
        elif style.sign:
            name = image.file.replace("\\", "/") if style.sign == "@" else image.file
            items.append(style.fmt % (image.device, name, *counted))
        else:
            items.append(style.fmt % (image.path, *counted))
    if style.sign == "$":
        return file.deliver("".join(items))
    return file.deliver("*".join(items) if style.star else "".join(f"{item}\n" for item in items))
