"""What can keep a configuration from being used, as one line on standard error and exit status 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager

from db.errors import DatabaseError, SchemaError
from dgate.command import CommandError
from dgate.commandline import Invocation
from dgate.config import Configuration, ConfigurationError, find_base, load
from server.listener import ListenError
from server.pipeline.delete import TooWide
from server.pipeline.dropped import NotEntered
from storage.errors import StorageError


class Failed(Exception):
    """The program ends with this exit status; what is wrong has been said."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def configuration(invocation: Invocation) -> Configuration:
    """Load what `-w` names, with the keys that options override. Raises ConfigurationError or OSError."""
    return load(find_base(invocation.base), invocation.overrides)


@contextmanager
def told() -> Iterator[None]:
    """Turn the declared errors of all packages into lines on standard error and `Failed`."""
    try:
        yield
    except (
        ConfigurationError,
        SchemaError,
        DatabaseError,
        StorageError,
        ListenError,
        CommandError,
        NotEntered,
        TooWide,
    ) as error:
        for line in str(error).splitlines():
            print(f"dgate: {line}", file=sys.stderr)
        raise Failed(1) from error
    except BrokenExecutor as error:
        print("dgate: a worker process was killed, by lack of memory perhaps; run the same again", file=sys.stderr)
        raise Failed(1) from error
    except (OSError, ValueError) as error:
        print(f"dgate: {_text(error)}", file=sys.stderr)
        raise Failed(1) from error


def _text(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
