"""The types that command arguments are declared with: each makes itself out of text, or says what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from dgate.printf import NUMBER as NUMBER
from dgate.printf import TEXT as TEXT
from dgate.printf import Printf as Printf
from server.pipeline.stored import stored_file

if TYPE_CHECKING:
    from server.authority import Caller
    from server.server import Server

Upload = bytes | Path

_UID = re.compile(r"[0-9.]{1,64}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DATES = re.compile(r"([0-9]{8})|([0-9]{8})?-([0-9]{8})?")
# What the end of a file name looks like where a name may hold commas (2.1 of the compatibility specification).
_FILE_END = re.compile(r"\.(?:dcm|v2|hl7|gz)", re.ASCII | re.IGNORECASE)


class Missing(ValueError):
    """An argument that a command cannot do without is empty; the command then does nothing, as in ConQuest."""


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a command: what the types of its arguments may have to know."""

    server: Server
    caller: Caller
    upload: Upload | None = None
    destructive: bool = False


class Argument(Protocol):
    """A class usable as annotation of a command's parameter.

    A class may also have a static method ``end(text) -> int``: where the argument ends in the text that is left
    (-1: it takes all), for arguments that may hold the separator.
    """

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        """Make the value; raises ValueError saying what is wrong, Missing when there is nothing, or Forbidden."""
        ...


class Filled(str):
    """A text that may not be empty; blanks around it are removed."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        if not text.strip():
            raise Missing("is empty")
        return cls(text.strip())


class Ae(Filled):
    """An AE title: 1 to 16 printable ASCII characters without backslash (PS3.5 6.2)."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        title = super().parse(text, call)
        if len(title) > 16 or "\\" in title or not (title.isascii() and title.isprintable()):
            raise ValueError("is no AE title: at most 16 letters, digits and signs")
        return title


class Uid(Filled):
    """A DICOM UID: up to 64 digits and periods (PS3.5 9.1)."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        uid = super().parse(text, call)
        if not _UID.fullmatch(uid):
            raise ValueError("is no UID: at most 64 digits and periods")
        return uid


class Number(int):
    """A whole number."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        if not text.strip():
            raise Missing("is empty")
        if not _WHOLE.fullmatch(text.strip()):
            raise ValueError("is no whole number")
        return cls(text)


class Index(Number):
    """The number of an entry in a list, from 0."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        number = super().parse(text, call)
        if number < 0:
            raise ValueError("is no entry number: they begin at 0")
        return number


class Key(Filled):
    """A patient ID or UID that selects what a command works on.

    In a destructive command ``*`` and ``?`` are refused unless WildcardDelete is set: one slip would empty the archive.
    """

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        _guard_wildcards(text, call)
        return super().parse(text, call)


@dataclass(frozen=True, slots=True)
class PatientAnd:
    """``[patid:]uid``, split at the last colon; `patient` is empty when it is not given. Wildcards as in `Key`."""

    patient: str
    uid: str

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        _guard_wildcards(text, call)
        patient, _, uid = text.rpartition(":")
        if not uid.strip():
            raise Missing("is empty")
        return cls(patient.strip(), uid.strip())


def _guard_wildcards(text: str, call: Call) -> None:
    if call.destructive and not call.server.settings.WildcardDelete and ("*" in text or "?" in text):
        raise ValueError("has a wildcard: set WildcardDelete = 1 in dicom.ini to allow that")


@dataclass(frozen=True, slots=True)
class DateRange:
    """``yyyymmdd``, ``yyyymmdd-yyyymmdd``, ``-yyyymmdd`` or ``yyyymmdd-``; an open end is empty."""

    first: str
    last: str

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        if not text.strip():
            raise Missing("is empty")
        found = _DATES.fullmatch(text.strip())
        if not found or text.strip() == "-":
            raise ValueError("is no date: write yyyymmdd or yyyymmdd-yyyymmdd, either end may be left out")
        day, first, last = found.group(1), found.group(2) or "", found.group(3) or ""
        for date in (day, first, last):
            if date:
                _check_date(date)
        return cls(day, day) if day else cls(first, last)

    def __str__(self) -> str:
        """The range as DICOM queries write it (PS3.4 C.2.2.2.5)."""
        return self.first if self.first == self.last else f"{self.first}-{self.last}"


def _check_date(date: str) -> None:
    try:
        datetime.strptime(date, "%Y%m%d")
    except ValueError:
        raise ValueError("holds a day that no calendar has") from None


@dataclass(frozen=True, slots=True)
class ServerFile:
    """A file on the server; relative names are below the base directory. `path` is one the caller may reach."""

    text: str
    path: Path

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        if not text.strip():
            raise Missing("is empty")
        return cls(text, call.caller.path(text, call.server.base))


@dataclass(frozen=True, slots=True)
class DroppedFile:
    """A file, or with a trailing separator a directory, to take in: on the server, or what came with the command.

    Its name may hold commas as long as one of .dcm, .v2, .hl7 and .gz follows. With an upload `path` is None and
    only the extension of `text` means anything: nothing on the server may be read or removed under that name.
    """

    text: str
    path: Path | None

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        if not text.strip():
            raise Missing("is empty")
        return cls(text, None if call.upload is not None else call.caller.path(text, call.server.base))

    @staticmethod
    def end(text: str) -> int:
        """The first comma behind which no file name can end any more."""
        return text.find(",", max((match.start() for match in _FILE_END.finditer(text)), default=0))


@dataclass(frozen=True, slots=True)
class ObjectName:
    """Which stored object is meant: a file (`path`), ``patid:sop``, or ``study\\series\\sop``; the rest is empty."""

    path: Path | None = None
    patient: str = ""
    study: str = ""
    series: str = ""
    sop: str = ""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        if not text.strip():
            raise Missing("is empty")
        parts = text.split("\\")
        if len(parts) == 3 and all(_UID.fullmatch(part) for part in parts):
            return cls(study=parts[0], series=parts[1], sop=parts[2])
        split = max(text.rfind(sign) for sign in ":?*|")
        # A backslash behind the colon is a drive letter of Windows.
        if split >= 0 and text[split + 1 : split + 2] != "\\":
            return cls(patient=text[:split], sop=text[split + 1 :])
        return cls(call.caller.path(text, call.server.base))

    def file(self, server: Server) -> Path:
        """Where the object is; raises StorageError."""
        return self.path or stored_file(server, self.sop, patient=self.patient, study=self.study, series=self.series)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """Where a text goes: nowhere or ``binary`` (the plain reply), ``cgi`` or ``pre`` (for browsers), else a file.

    The file is one on the server that the caller may reach; it is overwritten.
    """

    text: str = ""
    call: Call | None = None

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        output = cls(text, call)
        if text not in ("", "binary", "cgi", "pre"):
            output._path()  # refused before the command has done its work
        return output

    def deliver(self, text: str, *, done: str = "", pre: bool = False, content_type: str = "text/html") -> str:
        """Return the reply: `text` as asked for, or `done` after it was written to the file.

        `pre`: the command knows the value ``pre`` and marks its text as preformatted for browsers, as
        `display_status:`, `echo:`, `dump_header:` and `status_string:` do. Raises OSError.
        """
        mark = "<pre>" if pre else ""
        if self.text in ("", "binary"):
            return text
        if self.text == "cgi":
            return f"Content-type: {content_type}\n\n{mark if content_type == 'text/html' else ''}{text}"
        if self.text == "pre" and pre:
            return mark + text
        # Written in place, not replaced: the name may be that of a pipe or a device.
        self._path().write_bytes(text.encode("utf-8", "surrogateescape"))
        return done

    def _path(self) -> Path:
        assert self.call is not None, "only an empty OutputFile is made without a call"
        return self.call.caller.path(self.text, self.call.server.base)


# The default of an output argument: the text is the reply.
REPLY = OutputFile()
