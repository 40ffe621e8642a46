"""The configuration of a first run: what it takes to start in an empty directory, and what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from dgate.examples import acrnema_map, dicom_ini
from server.soplist import render_default

AE = "CONQUESTSRV1"
PORT = "5678"

# One machine, one directory, SQLite, objects kept as they come.
_SETTINGS = {
    "MicroPACS": "sscscp",
    "MyACRNema": AE,
    "TCPPort": PORT,
    "BindAddress": "127.0.0.1",
    "SOPClassList": "dgatesop.lst",
    "ACRNemaMap": "acrnema.map",
    "FileNameSyntax": "4",
    "IncomingCompression": "as",
    "DroppedFileCompression": "as",
    "MAGDevices": "1",
    "MAGDevice0": "./MAG0/",
    "SqLite": "1",
    "SQLServer": "dbase/conquest.db3",
    "EnableComputedFields": "1",
}

_HEAD = """\
# Configuration of dgate: what the first run set. dicom.ini.example and docs/dicom-ini.md list all keys.
# dgate --check tells what is wrong with this file, and where every setting comes from.
"""

_USAGE = "usage: python -m dgate.firstrun [--container] DIR"


def container_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What differs in a container: all interfaces, and the PostgreSQL database that the environment names, if any.

    DGATE_DB_HOST asks for it, and then DGATE_DB_PASSWORD must be set; DGATE_DB_NAME and DGATE_DB_USER are
    ``conquest`` by default. Raises ValueError, which does not show the password.
    """
    settings = _SETTINGS | {"BindAddress": ""}
    host = environment.get("DGATE_DB_HOST", "")
    if not host:
        return settings
    password = environment.get("DGATE_DB_PASSWORD", "")
    if not password:
        raise ValueError("DGATE_DB_HOST is set, so DGATE_DB_PASSWORD must be, too")
    return settings | {
        "SqLite": "0",
        "PostGres": "1",
        "SQLHost": _value("DGATE_DB_HOST", host),
        "SQLServer": _value("DGATE_DB_NAME", environment.get("DGATE_DB_NAME") or "conquest"),
        "Username": _value("DGATE_DB_USER", environment.get("DGATE_DB_USER") or "conquest"),
        "Password": _value("DGATE_DB_PASSWORD", password),
    }


def _value(variable: str, text: str) -> str:
    """A value as dicom.ini can hold it: in quotes when reading it would take something off."""
    if any(character in text for character in "\r\n\0"):
        raise ValueError(f"{variable} has a line break, which dicom.ini cannot hold")
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return f'"{text}"' if quoted or text != text.strip(" \t") else text


def write_configuration(base: Path, settings: Mapping[str, str] = _SETTINGS) -> list[Path]:
    """Write dicom.ini, acrnema.map and dgatesop.lst, and make the directories they name, where there is no dicom.ini.

    A dicom.ini with a password can be read by its owner alone. Returns the files written: none when `base` has a
    dicom.ini, and never one that was there. Raises OSError.
    """
    if (base / "dicom.ini").exists():
        return []
    for directory in (base, base / "MAG0", base / "dbase"):
        directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "acrnema.map": acrnema_map(AE, PORT),
        "dgatesop.lst": render_default(),
        # Last, so that what was interrupted is begun again.
        "dicom.ini": dicom_ini(settings, _HEAD),
    }
    written = []
    for name, text in contents.items():
        mode = 0o600 if name == "dicom.ini" and "Password" in settings else 0o666
        try:
            descriptor = os.open(base / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        written.append(base / name)
    return written


def next_steps(base: Path, written: list[Path]) -> str:
    """What was written and what to type now."""
    dgate, where = shlex.quote(program()), shlex.quote(f"-w{base}")
    return f"""\
{_done(base, written)}
start the server:   {dgate} {where} -v    (Ctrl-C stops it; make run does the same)
is it there?        {dgate} {where} --echo:{AE}
give it a file:     {dgate} {where} --addlocalfile:FILE
all commands:       {dgate} --help
It listens on this machine only: BindAddress in {base / "dicom.ini"} changes that.
"""


def program() -> str:
    """How to call dgate in a shell here: by name when that finds this one, else by its path."""
    beside = Path(sys.executable).with_name("dgate")
    found = shutil.which("dgate")
    if not beside.exists() or (found is not None and Path(found).samefile(beside)):
        return "dgate"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _done(base: Path, written: list[Path]) -> str:
    return f"wrote {', '.join(path.name for path in written)} in {base}" if written else f"{base} has a dicom.ini"


def main() -> int:
    """``python -m dgate.firstrun [--container] DIR``: exit status 0, or 1 with one line on standard error."""
    container = sys.argv[1:2] == ["--container"]
    directories = sys.argv[2:] if container else sys.argv[1:]
    if len(directories) != 1 or directories[0].startswith("-"):
        print(_USAGE, file=sys.stderr)
        return 2
    base = Path(directories[0]).absolute()
    try:
        written = write_configuration(base, container_settings(os.environ) if container else _SETTINGS)
    except OSError as error:
        print(f"cannot write a configuration in {base}: {error.strerror}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{_done(base, written)}\n" if container else next_steps(base, written), end="")
    if container and not written and os.environ.get("DGATE_DB_HOST"):
        print("DGATE_DB_HOST and the others count on the first run only: change the database in that file")
    return 0


if __name__ == "__main__":
    sys.exit(main())
