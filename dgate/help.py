"""`dgate --help` and `dgate --help:COMMAND`."""

from __future__ import annotations

import sys

import dgate.commands  # noqa: F401  (fills the table of commands)
from dgate.command import COMMANDS, help_text
from dgate.commandline import usage


def show_help(name: str) -> int:
    """Print all options and commands, or everything about one command; 2 when there is none of that name."""
    if not name:
        print(usage())
        print(help_text())
        return 0
    known = name.strip().removeprefix("--").rstrip(":") in COMMANDS
    print(help_text(name), end="", file=sys.stdout if known else sys.stderr)
    return 0 if known else 2
