"""`acrnema.map`: which AE title stands for which address, port and compression."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from server.textfile import BOM, body, decode, encode, line_end, read_stamped, replace_file, split_lines

DEFAULT_COMPRESSION = "un"

# A port may end in * (the rest of the AE title goes there), or be * alone.
_PORT = re.compile(r"[0-9]{1,5}\*?|\*")
_COMMENT = re.compile(r"/\*|//|#|;")


@dataclass(frozen=True, slots=True)
class AeEntry:
    """One line of the map. AE title, address and port may end in ``*``; `extra` are further columns, kept as text."""

    ae: str
    address: str
    port: str
    compression: str = DEFAULT_COMPRESSION
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the file, its entry if it has one, and the comments that stand before and behind that."""

    raw: bytes
    entry: AeEntry | None = None
    before: str = ""
    after: str = ""


class AeMap:
    """The entries of `acrnema.map`, in memory until `write`; may be used from many threads.

    `warnings` names every line that is neither entry nor comment; such lines are kept.
    """

    def __init__(self, path: Path) -> None:
        """Read `path`. A missing file is an empty map; any other OSError is raised."""
        self.path = path
        self.warnings: tuple[str, ...] = ()
        self._lock = threading.RLock()
        self._lines: list[_Line] = []
        self._entries: tuple[AeEntry, ...] = ()
        self._unclosed = 0
        self._version = 0
        self.read()

    def read(self) -> None:
        """Forget what was changed in memory and take what the file says, as `read_amap:` does; raises OSError."""
        try:
            data, _ = read_stamped(self.path)
        except FileNotFoundError:
            data = b""
            missing: tuple[str, ...] = (
                f"{self.path.name} is missing: no AE title has an address, so C-MOVE reaches nobody",
            )
        else:
            missing = ()
        with self._lock:
            self._take(data)
            self.warnings = missing or self.warnings

    @property
    def version(self) -> int:
        """A number that grows with each change."""
        return self._version

    def content(self) -> bytes:
        """The file as `write` would make it."""
        with self._lock:
            around = b"".join(line.raw for line in self._lines)
            end = line_end(split_lines(around))
            data = bytearray()
            for line in self._lines:
                if data and not data.endswith(b"\n"):
                    data += end
                data += line.raw or encode(_render(line), around) + end
            return bytes(data)

    def take(self, content: bytes) -> None:
        """Hold in memory what `content` of another process returned; the file stays as it is."""
        with self._lock:
            self._take(content)

    @property
    def entries(self) -> tuple[AeEntry, ...]:
        """All entries in the order of the file, which is also the order of `get_amap:`."""
        return self._entries

    def lookup(self, ae: str) -> AeEntry | None:
        """Find where `ae` is: the first line whose title is equal, or ends in ``*`` and begins `ae` (in any case).

        Behind a ``*`` title the rest of `ae` replaces a ``*`` that ends address or port. Only when no line fits, a
        title that is equal but for its case counts. An entry whose address or port comes out unusable is passed over.
        """
        title = ae.strip(" \0")
        entries = self._entries
        for entry in entries:
            found = _match(entry, title)
            if found:
                return found
        for entry in entries:
            if entry.ae.upper() == title.upper() and _usable(entry):
                return entry
        return None

    def put(self, index: int, ae: str, address: str = "", port: str = "", compression: str = "") -> None:
        """Change entry `index` in memory, or append one when it is past the end; an empty field stays as it is.

        Raises ValueError for what could not be written as one line of the map.
        """
        with self._lock:
            places = self._places()
            if 0 <= index < len(places):
                line = self._lines[places[index]]
                assert line.entry is not None
                old = line.entry
                place = places[index]
            else:
                if self._unclosed:
                    raise ValueError(
                        f"the comment that begins at {self.path.name}:{self._unclosed} must be closed first"
                    )
                line, place = _Line(b""), len(self._lines)
                old = AeEntry("", "", "")
            new = replace(
                old,
                ae=ae or old.ae,
                address=address or old.address,
                port=port or old.port,
                compression=compression or old.compression,
            )
            _check(new)
            lines = list(self._lines)
            lines[place : place + 1] = [_Line(b"", new, line.before, line.after)]
            self._set(lines)

    def delete(self, index: int) -> bool:
        """Remove entry `index` in memory; False when there is none. A comment that spans lines is kept."""
        with self._lock:
            places = self._places()
            if not 0 <= index < len(places):
                return False
            lines = list(self._lines)
            line = lines.pop(places[index])
            comments = " ".join(part for part in (line.before, line.after) if "/*" in part or "*/" in part)
            if comments:
                raws = b"".join(line.raw for line in self._lines)
                lines.insert(places[index], _Line(encode(comments, raws) + line_end(split_lines(raws))))
            self._set(lines)
            return True

    def write(self) -> None:
        """Replace the file at once: changed entries in ConQuest's columns, the rest as it was; raises OSError."""
        with self._lock:
            data = self.content()
            replace_file(self.path, data)
            self._take(data)

    def _take(self, data: bytes) -> None:
        lines, self._unclosed, warnings = _parse(data, self.path.name)
        self._set(lines)
        self.warnings = tuple(warnings)

    def _places(self) -> list[int]:
        return [place for place, line in enumerate(self._lines) if line.entry]

    def _set(self, lines: list[_Line]) -> None:
        self._lines = lines
        self._version += 1
        self._entries = tuple(line.entry for line in lines if line.entry)


def columns(entry: AeEntry) -> str:
    """The entry in the columns that ConQuest writes, without blanks at the end."""
    text = f"{entry.ae:<17} {entry.address:<30} {entry.port:<10} {entry.compression:<16}"
    return " ".join((text, *entry.extra)).rstrip()


def _render(line: _Line) -> str:
    assert line.entry is not None
    return " ".join(part for part in (line.before, columns(line.entry), line.after) if part)


def _match(entry: AeEntry, title: str) -> AeEntry | None:
    if not entry.ae.endswith("*"):
        return entry if entry.ae == title and _usable(entry) else None
    prefix = entry.ae[:-1]
    if title[: len(prefix)].upper() != prefix.upper():
        return None
    rest = title[len(prefix) :]
    found = replace(entry, ae=title, address=_fill(entry.address, rest), port=_fill(entry.port, rest))
    return found if _usable(found) else None


def _fill(pattern: str, rest: str) -> str:
    return pattern[:-1] + rest if pattern.endswith("*") else pattern


def _usable(entry: AeEntry) -> bool:
    # The rest of an AE title comes from a peer: nothing but a port number may become one, no blank gets into a host.
    port = _valid_port(entry.port) and not entry.port.endswith("*")
    return port and bool(entry.address) and not any(c.isspace() or not c.isprintable() for c in entry.address)


def _check(entry: AeEntry) -> None:
    for what, text in (("AE title", entry.ae), ("address", entry.address), ("compression", entry.compression)):
        if not text:
            raise ValueError(f"a map entry needs an {what}" if what != "compression" else "a map entry needs a code")
        if not text.isprintable() or " " in text or _COMMENT.search(text) or "*/" in text:
            raise ValueError(f"{what}: one word without /* // # or ;")
    if len(entry.ae) > 16:
        raise ValueError("AE title: at most 16 characters")
    if not _valid_port(entry.port):
        raise ValueError("port: a number from 1 to 65535, or one that ends in *")


def _valid_port(port: str) -> bool:
    return bool(_PORT.fullmatch(port)) and (port.endswith("*") or 0 < int(port) < 65536)


def _parse(data: bytes, name: str) -> tuple[list[_Line], int, list[str]]:
    """The lines, the number of the one where a comment begins that never ends (else 0), and the warnings."""
    lines: list[_Line] = []
    warnings: list[str] = []
    opened = 0
    for number, raw in enumerate(split_lines(data), 1):
        text = decode(body(raw.removeprefix(BOM) if number == 1 else raw))
        pieces, inside = _pieces(text, bool(opened))
        opened = (opened or number) if inside else 0
        words = "".join(piece if not comment else " " for comment, piece in pieces).split()
        entry = _entry(words)
        if words and entry is None:
            warnings.append(f"{name}:{number}: not an entry: write AE title, address, port and compression in columns")
        lines.append(_Line(raw, entry, *(_comments(pieces) if entry else ("", ""))))
    if opened:
        warnings.append(f"{name}:{opened}: the comment that begins here with /* has no */")
    return lines, opened, warnings


def _entry(words: Sequence[str]) -> AeEntry | None:
    if len(words) < 3 or not _valid_port(words[2]):
        return None
    ae, address, port, *rest = words
    return AeEntry(ae, address, port, rest[0] if rest else DEFAULT_COMPRESSION, tuple(rest[1:]))


def _pieces(text: str, inside: bool) -> tuple[list[tuple[bool, str]], bool]:
    """Cut a line into (is a comment, text) pieces; the second value tells whether a /* is still open at its end."""
    pieces: list[tuple[bool, str]] = []
    start = 0
    while start < len(text):
        found = None if inside else _COMMENT.search(text, start)
        if not inside and found is None:
            pieces.append((False, text[start:]))
            break
        if found is not None:
            if found.start() > start:
                pieces.append((False, text[start : found.start()]))
            start = found.start()
            if found.group() != "/*":
                pieces.append((True, text[start:]))
                break
        close = text.find("*/", start if inside else start + 2)
        end = len(text) if close < 0 else close + 2
        pieces.append((True, text[start:end]))
        start, inside = end, close < 0
    return pieces, inside


def _comments(pieces: Sequence[tuple[bool, str]]) -> tuple[str, str]:
    """The comments before the first column, and all the others."""
    first = next(place for place, (comment, piece) in enumerate(pieces) if not comment and piece.strip())
    before = " ".join(piece for comment, piece in pieces[:first] if comment)
    after = " ".join(piece for comment, piece in pieces[first:] if comment)
    return before, after
