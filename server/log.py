"""ConQuest's logs: server (operator) log, trouble log, user log and the debug log, on the handlers that are asked for.

Everything goes through the `dgate` logger of the standard library: INFO is the operator log, DEBUG the debug log, any
line holding ``***`` is also trouble. The user log is the logger `dgate.user`. No line names a patient, but one with a
path holds what FileNameSyntax puts there.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import logging.handlers
import os
import socket
import stat
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

LOG = logging.getLogger("dgate")
USER = logging.getLogger("dgate.user")

# A log file of this size is turned over; five older ones are kept.
ROTATE_BYTES = 10 << 20
ROTATE_KEEP = 5
# How often it is looked at who has the name of a log file, and how long the file is.
_LOOK_SECONDS = 0.2


class LineFormatter(logging.Formatter):
    """The message as one line: what came over the wire must not look like another one."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return record.message if record.message.isprintable() else printable(record.message, len(record.message))


class StampedFormatter(LineFormatter):
    """``Fri Nov 20 21:38:34 2026 text``, a stamp before each line of a traceback too, as ConQuest stamps files."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = _stamp(int(record.created))
        text = super().format(record)
        if "\n" not in text:
            return f"{stamp} {text}"
        return "\n".join(f"{stamp} {line}" for line in text.split("\n"))


@lru_cache(maxsize=2)
def _stamp(seconds: int) -> str:
    return time.ctime(seconds)


class LogFile(logging.Handler):
    """A file that is turned over when it has grown to ROTATE_BYTES; any number of processes may write to one.

    Each line, or traceback, is one write at the end of the file, so lines of different processes never mix.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; raises OSError."""
        super().__init__()
        self.path = path.absolute()
        self._turns = False
        self._look_again = 0.0
        self._failed = False
        self._file = -1
        self._open()
        self.setFormatter(StampedFormatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. A full disk is said once, not with a traceback for every line."""
        try:
            line = f"{self.format(record)}\n".encode("utf-8", "replace")
            self._follow()
            self._size += os.write(self._file, line)
        except OSError as error:
            if not self._failed:
                self._failed = True
                print(f"{self.path}: {error}", file=sys.stderr)
        except Exception:  # a mistake in a log call must not end what the call tells about
            self.handleError(record)

    def close(self) -> None:
        with self.lock or contextlib.nullcontext():
            file, self._file = self._file, -1
            if file >= 0:
                os.close(file)
        super().close()

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        found = os.fstat(self._file)
        self._turns = stat.S_ISREG(found.st_mode)
        self._identity = found.st_dev, found.st_ino
        self._size = found.st_size

    def _follow(self) -> None:
        """Have the file open that has the name now, and is not too long."""
        if self._file < 0:
            self._open()
        now = time.monotonic()
        if not self._turns or (now < self._look_again and self._size < ROTATE_BYTES):
            return
        self._look_again = now + _LOOK_SECONDS
        for _ in range(ROTATE_KEEP):
            found = self._named()
            if found is not None and (found.st_dev, found.st_ino) == self._identity:
                self._size = found.st_size
                if found.st_size < ROTATE_BYTES:
                    return
                self._turn_over()
            os.close(self._file)
            self._file = -1
            self._open()

    def _named(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except FileNotFoundError:
            return None

    def _turn_over(self) -> None:
        """Rename the files, unless another process has meanwhile: the file itself is the lock between them."""
        try:
            # Opened anew: a process shares a lock on a descriptor with those it forks.
            lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found, locked = self._named(), os.fstat(lock)
            if found is None or not found.st_ino == locked.st_ino == self._identity[1]:
                return
            for number in range(ROTATE_KEEP, 0, -1):
                older = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
                with contextlib.suppress(FileNotFoundError):
                    older.replace(self.path.with_name(f"{self.path.name}.{number}"))
        finally:
            os.close(lock)


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
    """The log destinations of one server; `close` takes them off the loggers again.

    `switched` is what `switch` was last given, None before.
    """

    base: Path
    pacs_name: str
    console_host: str = "127.0.0.1"
    debug_level: int = 0
    switched: tuple[str, bool] | None = None
    _destination: list[logging.Handler] = field(default_factory=list)
    _debug: list[logging.Handler] = field(default_factory=list)
    _fixed: list[logging.Handler] = field(default_factory=list)

    def open(self, trouble: str, user: str) -> None:
        """Start the trouble and user logs, which are always written. Raises OSError when a file cannot be."""
        _leave_out_what_no_line_shows()
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
        self.switched = target, debug

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


def _leave_out_what_no_line_shows() -> None:
    """Keep the standard library from finding out where each line comes from (logging HOWTO, "Optimization")."""
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def printable(text: str, most: int = 400) -> str:
    """Wire text as a line of a log may hold it: it must not look like another line."""
    text = text[:most]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def console_host(setting: str) -> str:
    """The host that gets UDP log lines; ConQuest's Windows pipe names stand for this machine."""
    try:
        socket.getaddrinfo(setting, None)
    except OSError:
        return "127.0.0.1"
    return setting
