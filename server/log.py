"""ConQuest's logs: server (operator) log, trouble log, user log and the debug log, on the handlers that are asked for.

Everything goes through the `dgate` logger of the standard library: INFO is the operator log, DEBUG the debug log, any
line holding ``***`` is also trouble. The user log is the logger `dgate.user`. No line names a patient, but one with a
path holds what FileNameSyntax puts there.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

LOG = logging.getLogger("dgate")
USER = logging.getLogger("dgate.user")

# A log file of this size is turned over; five older ones are kept.
ROTATE_BYTES = 10 << 20
ROTATE_KEEP = 5


class LineFormatter(logging.Formatter):
    """The message as one line: what came over the wire must not look like another one."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return record.message if record.message.isprintable() else printable(record.message, len(record.message))


class StampedFormatter(LineFormatter):
    """``Fri Nov 20 21:38:34 2026 text``, a stamp before each line of a traceback too, as ConQuest stamps files."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.ctime(record.created)
        return "\n".join(f"{stamp} {line}" for line in super().format(record).split("\n"))


class LogFile(logging.handlers.RotatingFileHandler):
    """A file that is turned over when it has grown to ROTATE_BYTES."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=ROTATE_BYTES, backupCount=ROTATE_KEEP, encoding="utf-8", errors="replace")
        self.setFormatter(StampedFormatter("%(message)s"))
        self._failed = False

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Look at the size alone: the standard library's formats each record a second time for this."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes

    def close(self) -> None:
        """Close the file; what a full disk did not take is lost and keeps nobody from stopping."""
        with contextlib.suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk is said once, not with a traceback for every line."""
        if not self._failed:
            self._failed = True
            print(f"{self.baseFilename}: {sys.exc_info()[1]}", file=sys.stderr)


class ConsoleHandler(logging.handlers.DatagramHandler):
    """Sends each line as a UDP datagram ``[PACSName] text`` to an operator console."""

    def __init__(self, host: str, port: int, pacs_name: str) -> None:
        super().__init__(host, port)
        self._prefix = f"[{pacs_name}] "

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._prefix + self.format(record) + "\n"
            self.send(text.encode("utf-8", "replace")[:8192])
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """A console that is not listening is no error."""


class PipeHandler(logging.Handler):
    """Writes each line to a named pipe that somebody reads; what he does not read in time is lost to him."""

    def __init__(self, path: Path) -> None:
        """Open the pipe; raises OSError when nobody reads it, where a plain open would wait for ever."""
        super().__init__()
        self._pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.setFormatter(LineFormatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            os.write(self._pipe, f"{self.format(record)}\n".encode("utf-8", "replace"))

    def close(self) -> None:
        with self.lock or contextlib.nullcontext():
            pipe, self._pipe = self._pipe, -1
            if pipe >= 0:
                os.close(pipe)
        super().close()


class _Trouble(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "***" in record.getMessage()


class _NotUser(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.name != USER.name


@dataclass(slots=True)
class Logs:
    """The log destinations of one server; `close` takes them off the loggers again."""

    base: Path
    pacs_name: str
    console_host: str = "127.0.0.1"
    debug_level: int = 0
    _destination: list[logging.Handler] = field(default_factory=list)
    _debug: list[logging.Handler] = field(default_factory=list)
    _fixed: list[logging.Handler] = field(default_factory=list)

    def open(self, trouble: str, user: str) -> None:
        """Start the trouble and user logs, which are always written. Raises OSError when a file cannot be."""
        LOG.setLevel(logging.DEBUG)
        LOG.propagate = False
        USER.propagate = False
        troubles = self._file(trouble)
        troubles.addFilter(_Trouble())
        self._add(self._fixed, troubles, LOG)
        self._add(self._fixed, self._file(user), USER)

    def add(self, target: str, *, debug: bool = False) -> None:
        """Log to `target` as well: ``-`` is standard output, digits a UDP port of the operator console, else a file."""
        self._attach(self._handler(target), debug=debug)

    def _attach(self, handler: logging.Handler, *, debug: bool) -> None:
        handler.addFilter(_NotUser())
        if debug:
            handler.setLevel(self._level())
            self._add(self._debug, handler, LOG)
        else:
            handler.setLevel(logging.INFO)
            self._add(self._destination, handler, LOG)

    def switch(self, target: str, *, debug: bool) -> None:
        """Send all logging to `target` instead (`log_on:`, `debuglog_on:`); log_on switches the debug log off."""
        opened = self._handler(target)
        self._remove(self._destination)
        self._remove(self._debug)
        self._attach(opened, debug=debug)

    def set_debug_level(self, level: int) -> None:
        """0 logs nothing to the debug log, 1 to 4 everything."""
        self.debug_level = level
        for handler in self._debug:
            handler.setLevel(self._level())

    def close(self) -> None:
        """Flush and close everything that was opened."""
        for handlers in (self._destination, self._debug, self._fixed):
            self._remove(handlers)

    def _level(self) -> int:
        return logging.DEBUG if self.debug_level > 0 else logging.INFO

    def _handler(self, target: str) -> logging.Handler:
        if target == "-":
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="replace")  # names of files may hold any bytes
            handler: logging.Handler = logging.StreamHandler(sys.stdout)
            handler.setFormatter(LineFormatter("%(message)s"))
            return handler
        if target[:1].isdigit():
            handler = ConsoleHandler(self.console_host, int(target), self.pacs_name)
            handler.setFormatter(LineFormatter("%(message)s"))
            return handler
        return self._file(target)

    def _file(self, name: str) -> logging.Handler:
        path = self.base / name
        if path.is_fifo():
            return PipeHandler(path)
        return LogFile(path)

    def _add(self, kept: list[logging.Handler], handler: logging.Handler, logger: logging.Logger) -> None:
        kept.append(handler)
        logger.addHandler(handler)

    def _remove(self, kept: list[logging.Handler]) -> None:
        for handler in kept:
            for logger in (LOG, USER):
                logger.removeHandler(handler)
            handler.close()
        kept.clear()


def printable(text: str, most: int = 400) -> str:
    """Wire text as a line of a log may hold it: it must not look like another line."""
    return "".join(c if c.isprintable() else "?" for c in text[:most])


def console_host(setting: str) -> str:
    """The host that gets UDP log lines; ConQuest's Windows pipe names stand for this machine."""
    try:
        socket.getaddrinfo(setting, None)
    except OSError:
        return "127.0.0.1"
    return setting
