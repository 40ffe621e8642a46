"""The command line: ConQuest's attached single-dash options, and the double-dash ones, out of one table."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from dgate.tools import TOOLS

DEFAULT_CONSOLE_PORT = 1111


class UsageError(Exception):
    """A command line that cannot be followed: one line for standard error; the program then exits with 2."""


class Mode(StrEnum):
    """What the program is to do."""

    SERVE = "serve"
    COMMAND = "command"
    HELP = "help"
    CHECK = "check"
    FSCK = "fsck"
    VERSION = "version"
    INITIALISE = "initialise"
    REGEN = "regen"
    REGEN_DEVICE = "regen device"
    REGEN_DIRECTORY = "regen directory"
    LIST_DEVICES = "list devices"
    LIST_AES = "list AEs"
    LIST_SCHEMA = "list schema"
    TEST_CONSOLE = "test console"
    TEST_DATABASE = "test database"
    ZAP_PATIENT = "zap patient"
    DELETE_PATIENT_ROWS = "delete patient rows"
    DELETE_STUDY_ROWS = "delete study rows"
    DELETE_SERIES_ROWS = "delete series rows"
    DELETE_IMAGE_ROWS = "delete image rows"
    ENTER_FILE = "enter file"
    DELETE_FILE_ROWS = "delete file rows"
    ZAP_FILE = "zap file"
    ADD_FILE = "add file"
    SHOW_FILE_UID = "show file UID"
    NEW_UID = "new UID"
    NKI_DECOMPRESS = "NKI decompress"
    NKI_COMPRESS = "NKI compress"
    JPEG_DECOMPRESS = "JPEG decompress"
    JPEG_COMPRESS = "JPEG compress"
    RECOMPRESS = "recompress"
    RECOMPRESS_TO = "recompress to"


@dataclass(frozen=True, slots=True)
class Invocation:
    """A parsed command line. `argument` belongs to `mode`: the command line to send, a file, an ID, a name.

    Nothing was looked up on disk. `base` is what ``-w`` gave; `port` and `ae` override TCPPort and MyACRNema.
    """

    mode: Mode = Mode.SERVE
    argument: str = ""
    base: str | None = None
    port: int | None = None
    host: str = "127.0.0.1"
    ae: str | None = None
    verbose: bool = False
    single: bool = False
    console_port: int | None = None
    debug_target: str | None = None
    log_file: str | None = None
    debug_file: str | None = None
    uid_offset: int = 0
    exit_value: bool = False

    @property
    def overrides(self) -> dict[str, str]:
        """The dicom.ini keys that the command line sets instead, for `dgate.config.load`."""
        port = {} if self.port is None else {"TCPPort": str(self.port)}
        return port if self.ae is None else port | {"MyACRNema": self.ae}


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table.

    `value` describes the text that is attached to `flag` (empty: none may be; in square brackets: it may be left
    out). A row with a `mode` is what the program then does and ends the line; one with a `sets` fills that field of
    Invocation. A row with neither is an option of ConQuest that does not exist yet.
    """

    flag: str
    value: str
    help: str
    mode: Mode | None = None
    sets: str = ""

    @property
    def exists(self) -> bool:
        return self.mode is not None or bool(self.sets)

    @property
    def shown(self) -> str:
        return f"{self.flag}{self.value}"

    @property
    def needs_value(self) -> bool:
        return bool(self.value) and not (self.value.startswith("[") and self.value.endswith("]"))


OPTIONS = (
    Option("-w", "DIR", "Work with DIR, or with an ini file of any name", sets="base"),
    Option("-p", "PORT", "Port to listen on, or to send a command to", sets="port"),
    Option("-q", "IP", "Address to send a command to (127.0.0.1)", sets="host"),
    Option("-h", "AE", "Own AE title", sets="ae"),
    Option("-b", "", "Serve in one process, debug log on standard output", sets="single"),
    Option("-v", "", "Log to standard output, debug log too", sets="verbose"),
    Option("-^", "FILE", "Log to FILE", sets="log_file"),
    Option("-#", "FILE", "Log to FILE, debug log too", sets="debug_file"),
    Option("-l", "FILE", "Log to FILE", sets="log_file"),
    Option("-L", "FILE", "Debug log to FILE", sets="debug_file"),
    Option("-!", "[PORT]", "Log to the operator console, UDP port PORT (1111)", sets="console_port"),
    Option("-u", "PORT|/PIPE", "Debug log to UDP port PORT, or to a pipe", sets="debug_target"),
    Option("-c", "N", "Offset 0 to 99 in UIDs made by this process", sets="uid_offset"),
    Option("--exit-value", "", "Exit with the number a command replies, else 0, instead of 255", sets="exit_value"),
    Option("-i", "[MODE]", "Create the database tables; 1: without indices, 2: worklist only", Mode.INITIALISE),
    Option("-r", "[MODE]", "Create the tables and enter all files", Mode.REGEN),
    Option("-ar", "DEVICE[,DIR]", "Enter all files of DEVICE", Mode.REGEN_DEVICE),
    Option("-fr", "DEVICE,DIR", "Enter all files of a directory of DEVICE", Mode.REGEN_DIRECTORY),
    Option("-d", "", "List devices and their free space", Mode.LIST_DEVICES),
    Option("-m", "", "List known AE titles", Mode.LIST_AES),
    Option("-k", "", "List the database layout", Mode.LIST_SCHEMA),
    Option("-t", "", "Write a line to the log, to test it", Mode.TEST_CONSOLE),
    Option("-o", "", "Test the database", Mode.TEST_DATABASE),
    Option("-z", "PATID", "Delete a patient with all files", Mode.ZAP_PATIENT),
    Option("-fp", "PATID", "Delete a patient from the database only", Mode.DELETE_PATIENT_ROWS),
    Option("-ft", "[PATID:]UID", "Delete a study from the database only", Mode.DELETE_STUDY_ROWS),
    Option("-fs", "[PATID:]UID", "Delete a series from the database only", Mode.DELETE_SERIES_ROWS),
    Option("-fi", "[PATID:]UID", "Delete an image from the database only", Mode.DELETE_IMAGE_ROWS),
    Option("-fe", "FILE", "Enter a file that lies on a device", Mode.ENTER_FILE),
    Option("-fd", "FILE", "Delete a file from the database only", Mode.DELETE_FILE_ROWS),
    Option("-fz", "FILE", "Delete a file, and from the database", Mode.ZAP_FILE),
    Option("-fa", "FILE[,PATID]", "Add a file, under another patient ID if given", Mode.ADD_FILE),
    Option("-f?", "FILE", "Print the SOP instance UID of a file", Mode.SHOW_FILE_UID),
    Option("-fu", "", "Print a new UID", Mode.NEW_UID),
    Option("-nd", "FILE", "Decompress an NKI file, in its place", Mode.NKI_DECOMPRESS),
    Option("-nc", "NFILE", "NKI compress a file with mode N, in its place", Mode.NKI_COMPRESS),
    Option("-jd", "FILE", "Decompress a file, in its place", Mode.JPEG_DECOMPRESS),
    Option("-jc", "NFILE", "JPEG compress a file with code jN, in its place", Mode.JPEG_COMPRESS),
    Option("-j*", "##FILE", "Recompress a file to code ##, in its place", Mode.RECOMPRESS),
    Option("-j-", "##,FILE", "Recompress a file to code ##, of any length, in its place", Mode.RECOMPRESS_TO),
    Option("--check", "", "Check dicom.ini and what it names, and show every setting", Mode.CHECK),
    Option("--fsck", "[:repair]", "Compare files and database, and mend what differs; 1 when something did", Mode.FSCK),
    Option("--help", "[:COMMAND]", "Show this, or the help on one command", Mode.HELP),
    Option("-?", "", "Show this", Mode.HELP),
    Option("--version", "", "Show the version", Mode.VERSION),
    Option("-x", "[!]PORT", "Progress messages to UDP port PORT, with ! by TCP"),
    Option("-ff", "MB", "Delete old patients until MB are free"),
    Option("-fc", "PATID,FILE", "Change the patient ID of a file"),
    Option("-fk", "PATID,FILE", "Copy a file under another patient ID"),
    Option("-g", "SERVER[,DATE]", "Fetch what SERVER has and we have not"),
    Option("-as", "KB[,N]", "Select KB of data on MAGN for archiving"),
    Option("-am", "FROM,TO", "Move data between devices"),
    Option("-au", "", "Undo the selection for archiving"),
    Option("-ae", "FROM,TO", "Rename a device in the database"),
    Option("-av", "DEVICE", "Verify a mirror device"),
    Option("-at", "DEVICE", "Test read the files of a device"),
    Option("-ab", "JUKEBOXN.M[,N]", "Prepare a disc of a jukebox"),
    Option("-ac", "JUKEBOXN.M", "Compare a disc with its cache"),
    Option("-ad", "JUKEBOXN.M", "Compare a disc with its cache and delete that"),
    Option("-nu", "", "Decompress an NKI or AVS file IN to OUT"),
    Option("-js", "FILE", "Print a file as JSON"),
    Option("-jj", "FILE", "Print a file as JSON with pixel data"),
    Option("-s", "OPT", "Create an ODBC source (Windows)"),
    Option("-e", "SA PW D U P", "Create a database (SQL Server)"),
    Option("-y", "QUERY", "Answer a CGI query"),
    Option("-$", "", "Binary standard output (Windows)"),
)

_DOUBLE = tuple(option.flag for option in OPTIONS if option.flag.startswith("--"))

_USE = """\
Usage: dgate [options]                    serve DICOM
       dgate [options] ACTION             do one thing and exit
       dgate [-pPORT] [-qIP] --COMMAND:ARGUMENTS
                                          send a command to the server; the reply goes to standard output
       dgate TOOL ...                     run a tool that needs no server
       Values are attached to their option: -w/srv/dicom. Letters may be of either case, but for -l and -L.
"""


def usage() -> str:
    """The text of ``dgate --help``, without the list of commands."""
    blocks = [_USE]
    for title, rows in (
        ("Options", [option for option in OPTIONS if option.sets]),
        ("Actions, the last word of the line", [option for option in OPTIONS if option.mode]),
    ):
        blocks.append("\n".join([f"{title}:", *(f"  {row.shown:<24} {row.help}" for row in rows), ""]))
    tools = [f"  {f'{tool.name} {tool.arguments}':<24} {tool.help}" for tool in TOOLS.values()]
    blocks.append("\n".join(["Tools, the first word of the line; dgate TOOL --help tells more:", *tools, ""]))
    others = " ".join(option.flag for option in OPTIONS if not option.exists)
    blocks.append(f"Not available yet: {others}\n")
    return "\n".join(blocks)


def parse(arguments: Sequence[str]) -> Invocation:
    """Read the words after the program's name. Raises UsageError, without having looked at any file.

    An action or a command ends the line: in ConQuest the words behind it go unread, here they are an error, since
    `dgate -zID -w/other` would delete from another archive than the one it seems to name.
    """
    result = Invocation()
    for number, word in enumerate(arguments):
        parsed = _parse_word(result, word)
        if parsed.mode is not Mode.SERVE and number + 1 < len(arguments):
            behind = arguments[number + 1]
            raise UsageError(f"{behind} stands behind {word}, which must be the last word: put {behind} before it")
        result = parsed
    return result


def _parse_word(so_far: Invocation, word: str) -> Invocation:
    option = _find(word)
    if option is None:
        name, colon, _ = word.removeprefix("--").partition(":")
        if f"--{name}" in _DOUBLE:
            raise UsageError(f"{word} is not known: --{name} takes nothing behind it")
        if word.startswith("--") and colon and name:
            return replace(so_far, mode=Mode.COMMAND, argument=word.removeprefix("--"))
        raise UsageError(_unknown(word))
    if not option.exists:
        raise UsageError(f"{option.shown} ({option.help}) is not available yet; dgate --help lists what is")
    value = word[len(option.flag) :]
    if not value and option.needs_value:
        raise UsageError(f"{option.flag} needs a value attached to it: {option.shown}")
    if option.mode is not None:
        return replace(so_far, mode=option.mode, argument=_argument(option, value))
    return _set(so_far, option, value)


def _find(word: str) -> Option | None:
    """The row with the longest flag that `word` begins with; one that takes no value must be all of it."""
    found: Option | None = None
    if f"-{word}" in _DOUBLE:
        return None  # -help is no AE title ELP
    for option in OPTIONS:
        exact = option.flag in ("-l", "-L") or option.flag.startswith("--")
        begins = word.startswith(option.flag) if exact else word.lower().startswith(option.flag)
        fits = begins and (option.value != "" or len(word) == len(option.flag))
        if option.flag.startswith("--") and option.value:
            fits = begins and word[len(option.flag) :][:1] in ("", ":")
        if fits and (found is None or len(option.flag) > len(found.flag)):
            found = option
    return found


def _argument(option: Option, value: str) -> str:
    if option.mode is Mode.FSCK and value not in ("", ":repair"):
        raise UsageError(f"{option.flag}{value} is not known: write --fsck or --fsck:repair")
    if option.mode in (Mode.INITIALISE, Mode.REGEN) and value not in ("", "1", "2"):
        raise UsageError(f"{option.flag}{value} is not known: {option.shown}, where MODE is 1 or 2; see dgate --help")
    return value.removeprefix(":") if option.flag.startswith("--") else value


def _set(so_far: Invocation, option: Option, value: str) -> Invocation:
    field = option.sets
    if option.value == "":
        return _with(so_far, field, True)
    if field == "port":
        return replace(so_far, port=_number(option, value, 1, 65535))
    if field == "console_port":
        return replace(so_far, console_port=_number(option, value or str(DEFAULT_CONSOLE_PORT), 1, 65535))
    if field == "uid_offset":
        return replace(so_far, uid_offset=_number(option, value, 0, 99))
    if field == "debug_target" and not value.startswith("/"):
        _number(option, value, 1, 65535)
    if field == "ae" and len(value) > 16:
        raise UsageError(f"{option.flag}{value}: an AE title has at most 16 characters")
    return _with(so_far, field, value)


def _with(so_far: Invocation, field: str, value: object) -> Invocation:
    change: dict[str, Any] = {field: value}
    return replace(so_far, **change)


def _number(option: Option, value: str, low: int, high: int) -> int:
    if value.isascii() and value.isdigit() and len(value) <= 6 and low <= int(value) <= high:
        return int(value)
    raise UsageError(f"{option.flag}{value}: write {option.shown} with a number from {low} to {high}")


def _unknown(word: str) -> str:
    if not word.startswith("-"):
        return f"{word} is no option: options begin with -, commands with --; see dgate --help"
    if word.startswith("--"):
        close = difflib.get_close_matches(word, _DOUBLE, 1)
        hint = f"did you mean {close[0]}?" if close else f"a command is written --{word[2:] or 'NAME'}:"
        return f"{word} is not known: {hint} See dgate --help"
    close = [option.shown for option in OPTIONS if option.exists and option.flag[:2].lower() == word[:2].lower()]
    double = difflib.get_close_matches("-" + word, _DOUBLE, 1)
    hints = [*double, *close][:1]
    return f"{word} is not known{': did you mean ' + hints[0] + '?' if hints else ''}; see dgate --help"
