"""The configuration of a first run: what it takes to start in an empty directory, and what to type next."""

from __future__ import annotations

import shlex
import sys
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


def write_configuration(base: Path) -> list[Path]:
    """Write dicom.ini, acrnema.map and dgatesop.lst, and make the directories they name, where there is no dicom.ini.

    Returns the files written: none when `base` has a dicom.ini, and never one that was there. Raises OSError.
    """
    if (base / "dicom.ini").exists():
        return []
    for directory in (base, base / "MAG0", base / "dbase"):
        directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "acrnema.map": acrnema_map(AE, PORT),
        "dgatesop.lst": render_default(),
        # Last, so that what was interrupted is begun again.
        "dicom.ini": dicom_ini(_SETTINGS, _HEAD),
    }
    written = []
    for name, text in contents.items():
        try:
            with (base / name).open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            continue
        written.append(base / name)
    return written


def next_steps(base: Path, written: list[Path]) -> str:
    """What was written and what to type now."""
    done = f"wrote {', '.join(path.name for path in written)} in {base}" if written else f"{base} has a dicom.ini"
    where = shlex.quote(f"-w{base}")
    return f"""\
{done}
start the server:   dgate {where} -v
is it there?        dgate {where} --echo:{AE}
give it a file:     dgate {where} --addlocalfile:FILE
all commands:       dgate --help
It listens on this machine only: BindAddress in {base / "dicom.ini"} changes that.
"""


def main() -> int:
    """``python -m dgate.firstrun DIR``: exit status 0, or 1 with one line on standard error."""
    if len(sys.argv) != 2:
        print("usage: python -m dgate.firstrun DIR", file=sys.stderr)
        return 2
    base = Path(sys.argv[1]).absolute()
    try:
        written = write_configuration(base)
    except OSError as error:
        print(f"cannot write a configuration in {base}: {error.strerror}", file=sys.stderr)
        return 1
    print(next_steps(base, written), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
