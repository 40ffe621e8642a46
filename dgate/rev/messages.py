"""What a run says: lines on standard error by level, and a bar or lines of progress."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

QUIET, NORMAL, BARS, LISTS, FILES = 0, 1, 2, 3, 5
REPORT_SECONDS = 10.0

# Told how many series are done, of how many.
Progress = Callable[[int, int], None]


def printable(text: str) -> str:
    """Text of an object or a file name as it can go to a terminal: without control characters."""
    return "".join("?" if unicodedata.category(sign) in ("Cc", "Cf", "Cs") else sign for sign in text)


class Messages:
    """Says things on a stream, up to a level."""

    def __init__(self, target: TextIO, level: int) -> None:
        self.level = level
        self._target = target

    def say(self, level: int, text: str) -> None:
        """Print a line if the level is asked for."""
        if level <= self.level:
            print(f"dgate rev: {printable(text)}", file=self._target, flush=True)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress: a bar on a terminal, else a line every ten seconds."""
        if self.level < BARS:
            yield lambda done, total: None
        elif self._target.isatty():
            with _bar(self._target) as progress:
                yield progress
        else:
            yield self._lines()

    def _lines(self) -> Progress:
        started = reported = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal reported
            now = time.monotonic()
            if done and (now - reported >= REPORT_SECONDS or done == total):
                reported = now
                left = (total - done) * (now - started) / done
                self.say(BARS, f"{done} of {total} series, {left:.0f} s left")

        return progress


@contextmanager
def _bar(target: TextIO) -> Iterator[Progress]:
    # Loaded where there is somebody to look at it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("Series"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(file=target), transient=True) as bar:
        task = bar.add_task("series", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
