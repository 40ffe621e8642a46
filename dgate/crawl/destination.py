"""Where the files of a crawl go, and how they come to be there all at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dgate.crawl.errors import CrawlerOutputDirError
from dgate.crawl.output import CACHE, SOP_MAP, STATE

DEFAULT_OUTPUT = ".imgtools"


@dataclass(frozen=True, slots=True)
class Destination:
    """The directory that the files of one data set lie in."""

    directory: Path

    @classmethod
    def choose(cls, output: Path, name: str) -> Destination:
        """The place for a data set of that name in an output directory, which is made.

        Raises CrawlerOutputDirError when that cannot be used, ValueError for a name that is none.
        """
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise ValueError(f"{name!r} cannot name a data set: it has to be the name of a directory, without /")
        chosen = Path(output).expanduser().resolve()
        try:
            chosen.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise CrawlerOutputDirError(
                f"Output path {chosen} is not a directory; it is {_described(chosen)}"
            ) from None
        except OSError as error:
            raise CrawlerOutputDirError(f"Failed to create output directory {chosen}: {error.strerror}") from error
        if not os.access(chosen, os.W_OK | os.X_OK):
            raise CrawlerOutputDirError(f"Output directory {chosen} is not writable; it is {_described(chosen)}")
        return cls(chosen / name)

    def has_cache(self) -> bool:
        """Whether the files are there that are only written when something was read."""
        return all((self.directory / name).is_file() for name in (CACHE, SOP_MAP, STATE))

    @property
    def stage(self) -> Path:
        """The directory beside this one in which the files are made."""
        return self.directory.with_name(f".{self.directory.name}.crawling")

    @contextmanager
    def staged(self) -> Iterator[None]:
        """Have that directory; what an interrupted crawl left in it is still there."""
        self.stage.mkdir(exist_ok=True)
        try:
            yield
        finally:
            with suppress(OSError):  # not empty: the next crawl goes on from there
                self.stage.rmdir()

    def publish(self) -> None:
        """Put the files in place: all at once for a new data set, one by one over an older crawl's."""
        stage = self.stage
        try:
            stage.rename(self.directory)
        except OSError:
            # The state says what the other files are about, so an old one goes first and a new one comes last.
            if (stage / STATE).exists():
                (self.directory / STATE).unlink(missing_ok=True)
            for path in sorted(stage.iterdir(), key=lambda path: path.name == STATE):
                path.replace(self.directory / path.name)


def _described(path: Path) -> str:
    status = path.stat()
    return f"{stat.filemode(status.st_mode)}, owner {status.st_uid}"
