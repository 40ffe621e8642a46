"""`dgatesop.lst`: which AE titles, classes and transfer syntaxes associations are accepted for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import presentation

from server.textfile import (
    BOM,
    Stamp,
    body,
    decode,
    encode,
    line_end,
    read_stamped,
    replace_file,
    split_lines,
    stamp,
)

Kind = Literal["RemoteAE", "LocalAE", "application", "sop", "transfer"]

_KINDS: dict[str, Kind] = {
    "remoteae": "RemoteAE",
    "localae": "LocalAE",
    "application": "application",
    "sop": "sop",
    "abstract": "sop",
    "transfer": "transfer",
}
# What ConQuest writes in the third column.
_WRITTEN: dict[Kind, str] = {
    "RemoteAE": "RemoteAe",
    "LocalAE": "LocalAe",
    "application": "application",
    "sop": "sop",
    "transfer": "transfer",
}


@dataclass(frozen=True, slots=True)
class SopEntry:
    """One accepted UID or AE title and its name; `extra` holds further columns, which nothing reads."""

    uid: str
    name: str
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    raw: bytes
    kind: Kind | None = None
    entry: SopEntry | None = None


class SopList:
    """The five lists of `dgatesop.lst`; an empty list, or a missing file, accepts everything of its kind.

    `accepts_...` answer from what `refresh` last read: call that once per association, and an edit of the file
    counts from the next one on. `warnings` names the lines that could not be read. May be used from many threads.
    """

    def __init__(self, path: Path) -> None:
        """Read `path` if it is there; any OSError but a missing file is raised."""
        self.path = path
        self.warnings: tuple[str, ...] = ()
        self._lock = threading.RLock()
        self._stamp: Stamp | None = None
        self._lines: tuple[_Line, ...] = ()
        self._lists: dict[Kind, tuple[SopEntry, ...]] = {}
        self._accepted: dict[Kind, frozenset[str]] = {}
        if stamp(path) is not None:
            self._take(*read_stamped(path))

    def refresh(self) -> None:
        """Read the file again if it changed. While it is gone or cannot be read, the last lists stay in force."""
        found = stamp(self.path)
        if found is None or found == self._stamp:
            return
        with self._lock, contextlib.suppress(OSError):
            self._take(*read_stamped(self.path))

    def entries(self, kind: Kind) -> tuple[SopEntry, ...]:
        """One list in the order of the (present) file."""
        self.refresh()
        return self._lists.get(kind, ())

    def accepts_remote_ae(self, title: str) -> bool:
        """Whether `title` may request an association: compared exactly, up to a blank, a ``~xx`` suffix included."""
        return self._accepts("RemoteAE", title.split(" ")[0])

    def accepts_local_ae(self, title: str) -> bool:
        """Whether an association may call us `title`; compared as in `accepts_remote_ae`."""
        return self._accepts("LocalAE", title.split(" ")[0])

    def accepts_application(self, uid: str) -> bool:
        """Whether the application context `uid` is accepted."""
        return self._accepts("application", uid)

    def accepts_sop(self, uid: str) -> bool:
        """Whether presentation contexts for the class `uid` may be accepted."""
        return self._accepts("sop", uid)

    def accepts_transfer(self, uid: str) -> bool:
        """Whether the transfer syntax `uid` may be accepted."""
        return self._accepts("transfer", uid)

    def put(self, kind: Kind, index: int, uid: str, name: str = "") -> None:
        """Set entry `index` of a list, or append one when it is past the end, and rewrite the file.

        The line is written in ConQuest's columns; every other line stays as it is. An empty `name` keeps the old
        one, or for a new entry is `uid`. Raises ValueError for what would not be one word, and OSError.
        """
        for what, text in (("UID or AE title", uid), ("name", name or uid)):
            if not text or not text.isprintable() or " " in text or (what == "name" and text.startswith("#")):
                raise ValueError(f"{what}: one word that does not begin with #")
        with self._lock:
            self.refresh()
            lines = list(self._lines)
            places = [place for place, line in enumerate(lines) if line.kind == kind]
            old = self._lists.get(kind, ())[index : index + 1] if index >= 0 else ()
            entry = SopEntry(uid, name or (old[0].name if old else uid), old[0].extra if old else ())
            new = _Line(self._encode(_columns(kind, entry)), kind, entry)
            if old:
                lines[places[index]] = new
            else:
                lines.insert(places[-1] + 1 if places else len(lines), new)
            self._write(lines)

    def delete(self, kind: Kind, index: int) -> bool:
        """Remove entry `index` of a list and rewrite the file; False when there is none. Raises OSError."""
        with self._lock:
            self.refresh()
            places = [place for place, line in enumerate(self._lines) if line.kind == kind]
            if not 0 <= index < len(places):
                return False
            self._write([line for place, line in enumerate(self._lines) if place != places[index]])
            return True

    def _accepts(self, kind: Kind, value: str) -> bool:
        accepted = self._accepted.get(kind)
        return not accepted or value in accepted

    def _encode(self, text: str) -> bytes:
        raws = [line.raw for line in self._lines]
        return encode(text, b"".join(raws)) + line_end(raws)

    def _write(self, lines: list[_Line]) -> None:
        end = line_end([line.raw for line in self._lines])
        data = bytearray()
        for line in lines:
            if data and not data.endswith(b"\n"):
                data += end
            data += line.raw
        replace_file(self.path, bytes(data))
        self._take(bytes(data), stamp(self.path))

    def _take(self, data: bytes, found: Stamp | None) -> None:
        lines: list[_Line] = []
        warnings: list[str] = []
        for number, raw in enumerate(split_lines(data), 1):
            words = decode(body(raw.removeprefix(BOM) if number == 1 else raw)).split()
            kind, entry = _entry(words)
            if words and not words[0].startswith("#") and kind is None:
                warnings.append(f"{self.path.name}:{number}: not an entry: write name, UID or AE title, and type")
            lines.append(_Line(raw, kind, entry))
        lists: dict[Kind, tuple[SopEntry, ...]] = {
            kind: tuple(line.entry for line in lines if line.kind == kind and line.entry) for kind in _WRITTEN
        }
        self._lines, self._lists, self._stamp = tuple(lines), lists, found
        self._accepted = {kind: frozenset(entry.uid for entry in entries) for kind, entries in lists.items()}
        self.warnings = tuple(warnings)


def _entry(words: list[str]) -> tuple[Kind | None, SopEntry | None]:
    if len(words) < 3 or words[0].startswith("#"):
        return None, None
    kind = _KINDS.get(words[2].lower())
    return kind, SopEntry(words[1], words[0], tuple(words[3:])) if kind else None


def _columns(kind: Kind, entry: SopEntry) -> str:
    return " ".join((f"{entry.name:<42} {entry.uid:<44} {_WRITTEN[kind]}", *entry.extra))


_EXPLANATION = """\
# Which associations dgate accepts. Columns: name, UID or AE title, type.
#
# A list that has no line accepts everything of its kind, and every line below is a comment: as this file stands,
# anybody may store any class, private ones too, in any transfer syntax. Take the # off a line and only what is
# listed is accepted of its kind, so take it off all lines of that kind that are to stay.
# Edits count from the next association on. Listing a class does not add support for it.
#
# RemoteAE: who may call us. LocalAE: what we may be called.
#
"""


def render_default() -> str:
    """The text of a `dgatesop.lst` that accepts everything and offers every known class and syntax as a comment."""
    lines = [_EXPLANATION, "#" + _columns("RemoteAE", SopEntry("MODALITY1", "MODALITY1"))]
    lines.append("#" + _columns("LocalAE", SopEntry("CONQUESTSRV1", "CONQUESTSRV1")))
    lines.append("#" + _columns("application", SopEntry("1.2.840.10008.3.1.1.1", "DICOM")))
    lines.extend("#" + _columns("sop", SopEntry(uid, UID(uid).keyword)) for uid in _known_classes())
    lines.extend("#" + _columns("transfer", SopEntry(uid, UID(uid).keyword)) for uid in AllTransferSyntaxes)
    return lines[0] + "\n".join(lines[1:]) + "\n"


def _known_classes() -> Iterator[str]:
    contexts = (
        *presentation.VerificationPresentationContexts,
        *presentation.QueryRetrievePresentationContexts,
        *presentation.BasicWorklistManagementPresentationContexts,
        *presentation.AllStoragePresentationContexts,
    )
    for context in contexts:
        if context.abstract_syntax is not None:
            yield str(context.abstract_syntax)
