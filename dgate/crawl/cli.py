"""The command line of the crawler: `dgate crawl`, `dgate crawl show` and `dgate crawl query`."""

from __future__ import annotations

import logging
import signal
import sqlite3
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgate.crawl.cluster import cluster_executor
from dgate.crawl.crawler import Crawler, Summary
from dgate.crawl.errors import CrawlError
from dgate.crawl.graph import Forest, Node, find_index, read_index
from dgate.crawl.progress import shown_on
from dgate.crawl.show import printable, tree
from dgate.crawl.svg import svg
from storage.executor import processors

if TYPE_CHECKING:
    from concurrent.futures import Executor

EXIT_FAILED, EXIT_USAGE = 1, 2
# Warnings that are printed without -v; crawl-errors.csv and -v have the rest.
_MOST_WARNINGS = 20

_EPILOG = """\
dgate crawl show PATH prints an index as trees, or draws it; dgate crawl query PATH CT,RTSTRUCT,RTDOSE finds what
belongs together. Write ./show for a directory of that name. Exit status: 0 for success, 1 for a failure (with
--strict also when files were skipped), 2 for a command line that makes no sense.
"""


class _Warnings(logging.Handler):
    """Prints what there is to say on standard error, and without `all` no more than fits on a screen."""

    def __init__(self, verbose: int, quiet: bool) -> None:
        super().__init__(logging.ERROR if quiet else max(logging.DEBUG, logging.WARNING - 10 * max(0, verbose - 1)))
        self._left = 0 if quiet else _MOST_WARNINGS if not verbose else -1

    def emit(self, record: logging.LogRecord) -> None:
        if self._left == 0 and record.levelno <= logging.WARNING:
            return
        click.echo(f"dgate crawl: {printable(record.getMessage())}", err=True)
        self._left -= self._left > 0
        if self._left == 0:
            click.echo("dgate crawl: further warnings are not shown, -v shows all", err=True)


def _is_directory(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and not value.is_dir():
        raise click.BadParameter(f"{value} is no directory.", context, parameter)
    return value


@click.command("dgate crawl", epilog=_EPILOG, no_args_is_help=True)
@click.argument("directory", required=False, type=click.Path(path_type=Path), callback=_is_directory)
@click.option(
    "--dicom-dir",
    type=click.Path(path_type=Path),
    callback=_is_directory,
    metavar="DIR",
    help="The directory to crawl, in place of the argument.",
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the index goes, in a directory of the data set's name. [default: .imgtools beside the directory]",
)
@click.option("--dataset-name", metavar="NAME", help="Name of the data set. [default: the directory's name]")
@click.option(
    "--n-jobs",
    type=int,
    metavar="N",
    default=max(1, processors() - 2),
    help="Processes that read; -1: one for each processor. [default: processors - 2, at least 1]",
)
@click.option("--force", is_flag=True, help="Read every file again, not only those that have changed.")
@click.option(
    "--extension",
    "extensions",
    multiple=True,
    metavar="EXT",
    default=("dcm",),
    help="Take files that end in .EXT; may be given several times. '' takes all files that hold DICOM. [default: dcm]",
)
@click.option("--all-subseries", is_flag=True, help="Keep rows of index.csv that differ in nothing but SubSeries.")
@click.option("--strict", is_flag=True, help="End with status 1 when files were skipped; the index is written.")
@click.option("--cluster", metavar="ADDRESS", help="Read on the Dask cluster with this scheduler (dgate[cluster]).")
@click.option("--from-archive", is_flag=True, help="Index what the server stores, out of its database.")
@click.option(
    "-w", "--base", metavar="DIR", help="Base directory of the server, or its ini file (with --from-archive)."
)
@click.option("-v", "--verbose", count=True, help="Print all warnings; -vv more.")
@click.option("-q", "--quiet", is_flag=True, help="Print neither warnings nor progress.")
@click.pass_context
def crawl(
    context: click.Context,
    directory: Path | None,
    dicom_dir: Path | None,
    output_dir: Path | None,
    dataset_name: str | None,
    n_jobs: int,
    force: bool,
    extensions: tuple[str, ...],
    all_subseries: bool,
    strict: bool,
    cluster: str | None,
    from_archive: bool,
    base: str | None,
    verbose: int,
    quiet: bool,
) -> None:
    """Index every series of a tree of DICOM files, and what it refers to.

    Headers are read and nothing is changed. The index is written to .imgtools/NAME beside the directory:
    crawl_db.json, index.csv, sop_map.json and more, as med-imagetools writes them. A second crawl reads only what
    has changed.
    """
    root = _one_directory(directory, dicom_dir, from_archive)
    if base is not None and not from_archive:
        raise click.UsageError("-w names the server of --from-archive; give one with the other.")
    log = logging.getLogger("dgate.crawl")
    handler = _Warnings(verbose, quiet)
    before = log.level
    log.addHandler(handler)
    log.setLevel(handler.level)
    reading: AbstractContextManager[Executor | None] = cluster_executor(cluster) if cluster else nullcontext()
    try:
        with reading as executor, shown_on(sys.stderr, quiet=quiet) as progress:
            crawler = Crawler(
                root or Path(),
                output_dir,
                dataset_name,
                n_jobs,
                force,
                extensions,
                all_subseries,
                executor,
                progress,
            )
            summary = _from_archive(crawler, base) if from_archive else crawler.crawl()
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    click.echo(str(summary))
    if not quiet:
        click.echo(f"The index is in {summary.directory}", err=True)
    if strict and summary.skipped:
        context.exit(EXIT_FAILED)


def _one_directory(directory: Path | None, dicom_dir: Path | None, from_archive: bool) -> Path | None:
    given = [path for path in (directory, dicom_dir) if path is not None]
    if from_archive and given:
        raise click.UsageError(f"--from-archive takes no directory, and {given[0]} is one; -w names the server.")
    if len(given) + from_archive != 1:
        raise click.UsageError("Name one directory to crawl: dgate crawl DIR.")
    return given[0] if given else None


def _from_archive(crawler: Crawler, base: str | None) -> Summary:
    # It loads the database's half of dgate, which crawling a directory does not need.
    from dgate.crawl.archive import crawl_archive

    return crawl_archive(crawler, base)


@click.command("dgate crawl show")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--svg", "picture", type=click.Path(path_type=Path), metavar="FILE", help="Draw it to FILE instead.")
def show(path: Path, picture: Path | None) -> None:
    """Print patients, series and what refers to what, as trees.

    PATH is an index.csv, its directory, or a directory that was crawled.
    """
    forest = Forest(read_index(find_index(path)))
    if picture is None:
        for line in tree(forest):
            click.echo(line)
    else:
        picture.write_text(svg(forest), encoding="utf-8")
        click.echo(f"{len(forest.nodes)} series drawn to {picture}")


@click.command("dgate crawl query")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("modalities")
@click.option("--group/--no-group", default=True, help="Join results that begin with the same series. [default: group]")
@click.option("--same-path", is_flag=True, help="Only what stands on one path of references, as in med-imagetools.")
@click.option("--paths", is_flag=True, help="Print a line for each result: its directories, with tabs between them.")
def query(path: Path, modalities: str, group: bool, same_path: bool, paths: bool) -> None:
    """Find series that belong together: dgate crawl query DIR CT,RTSTRUCT,RTDOSE.

    PATH is an index.csv, its directory, or a directory that was crawled. MODALITIES are of CT, MR, PT, SEG, RTSTRUCT
    and RTDOSE, with commas between them; '*' lists all. Directories are relative to the one above the crawled one.
    """
    forest = Forest(read_index(find_index(path)))
    found = forest.query(modalities.split(","), grouped=group, same_path=same_path)
    for nodes in found:
        if paths:
            click.echo("\t".join(node.row.folder for node in nodes))
        else:
            click.echo(printable(nodes[0].row.PatientID) or "(no patient ID)")
            for node in nodes:
                click.echo(f"  {_line(node)}")
    if not found:
        click.echo("nothing was found", err=True)


def _line(node: Node) -> str:
    return f"{printable(node.modality):<9} {printable(node.row.folder)}  {node.row.SeriesInstanceUID}"


def main(arguments: Sequence[str]) -> int:
    """Run `dgate crawl` with what stands behind those words; returns the exit status."""
    command, words = _command(list(arguments))
    try:
        return int(command.main(words, prog_name=command.name, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("dgate crawl: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenExecutor:
        print(
            "dgate crawl: a worker process was killed, by lack of memory perhaps; run the same again", file=sys.stderr
        )
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        print(f"dgate crawl: {what}", file=sys.stderr)
    except (CrawlError, ValueError, sqlite3.Error) as error:
        print(f"dgate crawl: {error}", file=sys.stderr)
    return EXIT_FAILED


COMMANDS = (crawl, show, query)


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that is meant; the directory ./show is no command."""
    commands: dict[str, click.Command] = {"show": show, "query": query}
    if words and words[0] in commands:
        return commands[words[0]], words[1:]
    return crawl, words
