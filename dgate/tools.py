"""The tools beside the server: each is a first word of the command line, with options of its own behind it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True, slots=True)
class Tool:
    """One row of the table. `module` is loaded when it is asked for; its `main(arguments)` returns the exit status."""

    name: str
    module: str
    arguments: str
    help: str

    def run(self, arguments: list[str]) -> int:
        status: int = import_module(self.module).main(arguments)
        return status


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("crawl", "dgate.crawl.cli", "DIR", "Index every series of a tree of DICOM files and what it refers to"),
        Tool("rev", "dgate.rev.cli", "-I DIR -O DIR", "Make previews and pages of a library for the ReV viewer"),
    )
}
