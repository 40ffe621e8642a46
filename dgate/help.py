"""`dgate --help` and `dgate --help:COMMAND`."""

from __future__ import annotations

import sys

import dgate.commands  # noqa: F401  (fills the table of commands)
from dgate.command import COMMANDS, help_text
from dgate.commandline import usage
from dgate.tools import TOOLS


def show_help(name: str) -> int:
    """Print all options and commands, or everything about one command or tool; 2 when there is none of that name."""
    if not name:
        print(usage())
        print(help_text())
        return 0
    word = name.strip().removeprefix("--").rstrip(":")
    if word in TOOLS:
        TOOLS[word].run(["--help"])
        if word not in COMMANDS:
            return 0
        print()
    known = word in COMMANDS
    print(help_text(name), end="", file=sys.stdout if known else sys.stderr)
    return 0 if known else 2
