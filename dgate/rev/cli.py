"""The command line: `dgate rev -I DIR -O DIR`, and `dgate rev nearest DIR` to look an age up."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import click

from dgate import __version__
from dgate.rev import checks
from dgate.rev.age import Entry, age_between, nearest, read_date
from dgate.rev.errors import BadRequest, MissingPrerequisite, RevError
from dgate.rev.files import Links
from dgate.rev.layout import SMALL_SIZE
from dgate.rev.mapping import read_map
from dgate.rev.messages import NORMAL, QUIET, Messages
from dgate.rev.options import STRIP_MAX, TITLES, USUAL_OVERLAY, Copying, Drawing, Options
from dgate.rev.run import Report, Run
from dgate.rev.tagstruct import Anonymisation, read_tag_struct

EXIT_FAILED, EXIT_USAGE, EXIT_PREREQUISITE, EXIT_FATAL = 1, 2, 3, 4
IN_PLACE = "%inputDir"
_PRELOADED = ["dgate.rev.series", "dgate.rev.draw", "storage.pool"]
_SYNOPSIS = (
    "dgate rev -I DIR [-O DIR|%inputDir] [-T JSON] [-S URL] [--stage 1,2,3,4] [--json] [-v N]; -x for all options"
)

_EPILOG = """\
The library has its series in YY-yr/MM-mo/XX-ex/SERIES. Stage 1 makes pictures, tags and descriptors of series, 2 the
descriptor and page of each study, 3 the page of each month, 4 map.json; 2 and 3 need stage 1, 4 needs 2. Only series
that have changed are made again. dgate rev nearest DIR tells which example is closest to an age.

Exit status: 0 for success, 1 when some series failed and the rest is complete, 2 for a command line that makes no
sense, 3 when another stage has to be run first, 4 when the disk gave out.
"""


def _manual(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        click.echo(context.get_help() if parameter.name == "man" else _SYNOPSIS)
        context.exit(0)


@click.command("dgate rev", epilog=_EPILOG, no_args_is_help=True)
@click.option(
    "-I", "--inputDir", "input_dir", type=click.Path(path_type=Path), required=True, help="Root of the library."
)
@click.option("-i", "--inputFile", "only", metavar="TEXT", default="", help="Take only files whose path contains TEXT.")
@click.option(
    "-e", "--extension", metavar="EXT", default="", help="Take files that end in .EXT. [default: whatever holds DICOM]"
)
@click.option("-o", "--outputFileStem", "stem", metavar="TEXT", default="", help="Has no effect.")
@click.option(
    "-O",
    "--outputDir",
    "output_dir",
    metavar="DIR",
    default=".",
    help="Root of what is written; %inputDir writes into the input, where -T overwrites. [default: .]",
)
@click.option(
    "--outputLeafDir",
    "leaf",
    metavar="FMT",
    default="",
    callback=checks.leaf,
    help="preview-%s: prefix names of series with preview-.",
)
@click.option("-T", "--tagStruct", "tag_struct", metavar="JSON", help="Anonymise: an object of keywords and templates.")
@click.option("--tagSeed", "seed", metavar="TEXT", default="", help="Secret that invented names depend on (%_name).")
@click.option("--strictTags", "strict", is_flag=True, help="Templates that refer to absent elements are errors.")
@click.option("--removePrivateTags", "remove_private", is_flag=True, help="Leave private elements out (with -T).")
@click.option("-S", "--server", metavar="URL", default="", callback=checks.server, help="Address of the viewer.")
@click.option(
    "--viewerPath",
    "viewer",
    metavar="PATH",
    default="../",
    callback=checks.relative,
    help="The viewer, relative to the root of the library. [default: ../]",
)
@click.option(
    "--stage",
    "stages",
    metavar="N",
    default="all",
    callback=checks.stages,
    help="Stages to run: 1,2,3,4. [default: all]",
)
@click.option(
    "--studyJSON",
    "study_json",
    metavar="NAME",
    default="description.json",
    callback=checks.file_name,
    help="Name of the descriptor of a study. [default: description.json]",
)
@click.option(
    "-D",
    "--DICOMthumbnail",
    "large",
    metavar="WxH",
    default="300x300",
    callback=checks.size,
    help="Size of large images. [default: 300x300]",
)
@click.option(
    "--stripMax",
    "strip_max",
    type=click.IntRange(SMALL_SIZE[1], STRIP_MAX),
    default=STRIP_MAX,
    metavar="PX",
    help=f"Greatest height of a strip. [default: {STRIP_MAX}]",
)
@click.option(
    "--tagOverlay",
    "overlay",
    is_flag=False,
    flag_value=",".join(USUAL_OVERLAY),
    metavar="[KEYWORDS]",
    callback=checks.overlay,
    help=f"Write tags on the large images. [without KEYWORDS: {','.join(USUAL_OVERLAY)}]",
)
@click.option(
    "--minSeries",
    "min_series",
    type=click.IntRange(0, 100),
    default=3,
    metavar="N",
    help="Repeat the last series to N. [default: 3]",
)
@click.option(
    "--links",
    type=click.Choice(["hard", "symlink", "copy"]),
    default="hard",
    help="How DICOM files come into another output tree. [default: hard]",
)
@click.option("--transcode", is_flag=True, help="Decompress what the viewer's loader cannot read.")
@click.option("--printElapsedTime", "elapsed", is_flag=True, help="Print seconds since the start after each stage.")
@click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Worker processes; 0: one for each processor, 1: none. [default: 0]",
)
@click.option("--followLinks", "follow", is_flag=True, help="Follow links to directories.")
@click.option("--json", "as_document", is_flag=True, help="Print what was done as one JSON document.")
@click.option(
    "-v",
    "--verbosity",
    type=click.IntRange(0),
    default=NORMAL,
    metavar="N",
    help="0 nothing, 1 stages and failures, 2 progress, 3 directories, 5 files. [default: 1]",
)
@click.option("-x", "--man", is_flag=True, is_eager=True, expose_value=False, callback=_manual, help="Print this.")
@click.option(
    "-y", "--synopsis", is_flag=True, is_eager=True, expose_value=False, callback=_manual, help="Print a line."
)
@click.version_option(__version__, message="dgate rev %(version)s")
@click.pass_context
def rev(context: click.Context, /, **given: Any) -> None:
    """Make previews, descriptors and pages of a library of DICOM files for the ReV viewer."""
    messages = Messages(sys.stderr, given["verbosity"])
    options = _options(given)
    if given["stem"]:
        messages.say(NORMAL, "--outputFileStem has no effect")

    def after(stage: int, seconds: float) -> None:
        if given["elapsed"] and given["verbosity"] > QUIET:
            messages.say(NORMAL, f"{seconds:.2f} s since the start")

    run = Run(options, messages)
    report = run.report
    try:
        run.run(after_stage=after)
    finally:
        if given["as_document"] and report.stages:
            click.echo(json.dumps(_document(options, report), indent=4))
    if not report.status:
        context.exit(EXIT_FATAL if report.fatal else EXIT_FAILED)


def _options(given: dict[str, Any]) -> Options:
    """Check what only makes sense together; raises BadRequest."""
    root = Path(given["input_dir"])
    if not root.is_dir():
        raise BadRequest(f"{root} is no directory: -I names the root of a library")
    in_place = given["output_dir"] == IN_PLACE
    output = root if in_place else Path(given["output_dir"])
    if output.exists() and not output.is_dir():
        raise BadRequest(f"{output} is no directory: -O names where the output goes")
    if given["large"][1] > given["strip_max"]:
        raise BadRequest(f"a large image is higher than --stripMax {given['strip_max']}")
    anonymisation = _anonymisation(given)
    same = output.resolve() == root.resolve()
    if same and not in_place and not given["leaf"] and (anonymisation or given["transcode"]):
        raise BadRequest(f"-O {output} is the input, whose files would be overwritten: say -O {IN_PLACE} for that")
    return Options(
        root,
        root if same else output,
        in_place,
        given["stages"],
        given["only"],
        given["extension"],
        given["leaf"],
        Copying(anonymisation, cast(Links, given["links"]), given["transcode"]),
        Drawing(given["large"], given["strip_max"], given["overlay"]),
        given["server"],
        given["viewer"],
        given["study_json"],
        given["min_series"],
        given["threads"],
        given["follow"],
    )


def _anonymisation(given: dict[str, Any]) -> Anonymisation | None:
    text = given["tag_struct"]
    if text is None:
        for name, option in (
            ("remove_private", "--removePrivateTags"),
            ("strict", "--strictTags"),
            ("seed", "--tagSeed"),
        ):
            if given[name]:
                raise BadRequest(f"{option} belongs to -T: give a tagStruct with it")
        return None
    read_tag_struct(text)
    return Anonymisation(text, given["seed"], given["strict"], given["remove_private"])


def _document(options: Options, report: Report) -> dict[str, Any]:
    """What --json prints."""
    return {
        "status": report.status,
        "runTime": round(report.seconds, 3),
        "version": __version__,
        "inputDir": str(options.input),
        "outputDir": str(options.output),
        "stages": [
            {
                "stage": stage.stage,
                "description": TITLES[stage.stage],
                "status": stage.status,
                "runTime": round(stage.seconds, 3),
                "d_process": {
                    "status": stage.status,
                    "processType": "Threaded" if stage.parallel else "Not threaded",
                    "fileSetsProcessed": stage.directories,
                    "filesRead": stage.read,
                    "filesAnalyzed": stage.analysed,
                    "filesSaved": stage.saved,
                },
            }
            for stage in report.stages
        ],
        "errors": [asdict(problem) for problem in report.errors],
        "warnings": [asdict(problem) for problem in report.warnings],
    }


@click.command("dgate rev nearest")
@click.argument("library", type=click.Path(path_type=Path))
@click.option("--year", type=click.IntRange(0, 99), metavar="YY", help="Years of age.")
@click.option("--month", type=click.IntRange(0, 99), metavar="MM", help="Months beyond the years.")
@click.option("--birthdate", metavar="YYYYMMDD", help="Date of birth, with --scandate in place of --year and --month.")
@click.option("--scandate", metavar="YYYYMMDD", help="Date of the scan.")
@click.option(
    "--example", type=click.IntRange(0, 99), default=0, metavar="XX", help="Number of the example. [default: 0]"
)
@click.option(
    "--by",
    type=click.Choice(["rev", "months"]),
    default="rev",
    help="rev: as the viewer does, by YYMMXX as a number; months: by age. [default: rev]",
)
def nearest_example(
    library: Path,
    year: int | None,
    month: int | None,
    birthdate: str | None,
    scandate: str | None,
    example: int,
    by: Literal["rev", "months"],
) -> None:
    """Print the example of a library that is closest to an age."""
    if (birthdate is None) != (scandate is None):
        raise click.UsageError("--birthdate and --scandate belong together.")
    if birthdate is not None and scandate is not None:
        if year is not None or month is not None:
            raise click.UsageError("Give --year and --month, or --birthdate and --scandate.")
        age = age_between(read_date(birthdate), read_date(scandate))
        year, month = age.years, age.months
    wanted = Entry(year or 0, month or 0, example)
    click.echo(nearest(read_map(library), wanted, by).path)


def main(arguments: Sequence[str]) -> int:
    """Run `dgate rev` with what stands behind that word; returns the exit status."""
    words = list(arguments)
    _prepare_processes()
    command: click.Command = rev
    if words[:1] == ["nearest"]:
        command, words = nearest_example, words[1:]
    try:
        return int(command.main(words, prog_name=command.name, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        print("dgate rev: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT
    except MissingPrerequisite as error:
        return _failed(error, EXIT_PREREQUISITE)
    except BadRequest as error:
        return _failed(error, EXIT_USAGE)
    except RevError as error:
        return _failed(error, EXIT_FAILED)
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return _failed(what, EXIT_FATAL)


def _prepare_processes() -> None:
    """Have what draws loaded once, in the process that all workers are forked from, instead of in each of them."""
    # numpy would start threads when it is imported, and a process with threads must not fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload(_PRELOADED)


def _failed(what: object, status: int) -> int:
    print(f"dgate rev: {' '.join(str(what).split())}", file=sys.stderr)
    return status


COMMANDS = (rev, nearest_example)
