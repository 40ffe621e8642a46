"""The program: serve, send a command, or do one thing and exit."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from dgate.commandline import Invocation, Mode, UsageError, parse
from dgate.tools import TOOLS

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dgate`; returns the exit status (of `--command:`, ConQuest's: 255 with a reply, 0 without, 1 on failure)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in TOOLS:
            return TOOLS[words[0]].run(words[1:])
        return _run(parse(words))
    except UsageError as error:
        print(f"dgate: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # The reader of our output has gone: `dgate --help | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(invocation: Invocation) -> int:
    # Imported when needed: help and commands answer without waiting for the whole server to load.
    if invocation.mode is Mode.HELP:
        from dgate.help import show_help

        return show_help(invocation.argument)
    if invocation.mode is Mode.VERSION:
        from dgate import __version__

        print(f"dgate {__version__}")
        return EXIT_OK
    if invocation.mode is Mode.COMMAND:
        from dgate.client import send

        return send(invocation)
    if invocation.mode is Mode.CHECK:
        from dgate.check import check

        return check(invocation)
    if invocation.mode is Mode.FSCK:
        from dgate.fsck import check_files

        return check_files(invocation)
    if invocation.mode is Mode.SERVE:
        # numpy would start threads when it is imported, and a process with threads must not fork.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from dgate.serve import serve

        return serve(invocation)
    from dgate.oneshot import run

    return run(invocation)


if __name__ == "__main__":
    sys.exit(main())
