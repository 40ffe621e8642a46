"""How far a crawl is: a bar on a terminal, else a line now and then, with rate and time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from dgate.crawl.reading import Progress, no_progress

REPORT_SECONDS = 10.0


@contextmanager
def shown_on(target: TextIO, *, quiet: bool) -> Iterator[Progress]:
    """Progress on standard error or another text stream."""
    if quiet:
        yield no_progress
    elif target.isatty():
        with _bar(target) as progress:
            yield progress
    else:
        yield in_lines(lambda line: print(line, file=target, flush=True))


@contextmanager
def _bar(target: TextIO) -> Iterator[Progress]:
    # Loaded where there is somebody to look at it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("Reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(file=target), transient=True) as bar:
        task = bar.add_task("files", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def in_lines(tell: Callable[[str], None]) -> Progress:
    """Progress as a line every ten seconds."""
    started = reported = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal reported
        now = time.monotonic()
        if done and now - reported >= REPORT_SECONDS:
            reported = now
            rate = done / (now - started)
            tell(f"{done} of {total} files read, {rate:.0f}/s, {(total - done) / rate:.0f} s left")

    return progress
