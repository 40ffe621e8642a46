"""The table of commands as text: the list, the help on one command, and the page docs/commands.md."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dgate.command import Command

_INTRODUCTION = """\
# Commands

This page is generated from the table of commands; `dgate --help:NAME` shows the same for one command.

`dgate --NAME:ARGUMENTS` sends a command to the server that `-p` and `-q` select; from Lua, scripts and DICOM peers
the same names work. The colon is part of the name. Arguments are separated by commas (or `|` where the syntax shows
it); the last one takes the rest of the line, separators included. Arguments at the end may be left out.

"Reply: none" means that success answers nothing; a failure is then one line that begins with `***`. Commands from
other machines are refused unless `CommandReadOnly` (commands that need `read`) or `CommandAdmin` (all) of dicom.ini
lists their address.
"""


def overview(commands: Mapping[str, Command], groups: Sequence[str]) -> str:
    """The list of commands, one line each, under their headings."""
    blocks = []
    for group in groups:
        members = _members(commands, group)
        if members:
            rows = [f"  --{one.syntax:<38} {one.doc.splitlines()[0]}" for one in members]
            blocks.append("\n".join([f"{group}:", *rows, ""]))
    return "\n".join(blocks)


def one(commands: Mapping[str, Command], name: str) -> str:
    """Everything about one command, or what may have been meant."""
    declared = commands.get(name.strip().removeprefix("--").rstrip(":"))
    if declared is None:
        close = difflib.get_close_matches(name, commands, 1)
        return f"no command {name}" + (f": did you mean {close[0]}?" if close else "; dgate --help lists all") + "\n"
    return f"--{declared.syntax}\n\n{declared.doc}\n\n{_conditions(declared)}\n"


def page(commands: Mapping[str, Command], groups: Sequence[str]) -> str:
    """The Markdown page on all commands."""
    parts = [_INTRODUCTION]
    for group in groups:
        members = _members(commands, group)
        if members:
            parts.append(f"## {group}\n")
            parts.extend(_section(declared) for declared in members)
    return "\n".join(parts)


def _members(commands: Mapping[str, Command], group: str) -> list[Command]:
    return [declared for declared in commands.values() if declared.group == group]


def _section(declared: Command) -> str:
    return f"### `{declared.syntax}`\n\n{declared.doc.replace('``', '`')}\n\n{_conditions(declared)}\n"


def _conditions(declared: Command) -> str:
    reply = "" if declared.replies else "Reply: none. "
    return f"{reply}Needs: {declared.rights}.{' Logged as destructive.' if declared.destructive else ''}"
