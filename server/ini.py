"""`dicom.ini` by ConQuest's rules: what its lines mean, and changing one key without touching the rest."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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

# The section that is read first; its key MicroPACS names the section that holds everything else.
FIRST_SECTION = "sscscp"
SECTION_KEY = "MicroPACS"

_WRITTEN = b"# Written by put_param on "
_NAME = re.compile(r"[^\s=;#\[\x00-\x1f\x7f][^\s=\x00-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class IniEntry:
    """One ``key = value`` line: section in lower case, key as written, value unquoted, line number from 1."""

    section: str
    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class _Content:
    """The file as it was at one moment."""

    stamp: Stamp | None
    lines: tuple[bytes, ...]
    entries: tuple[IniEntry, ...]
    headers: Mapping[str, int]
    first: Mapping[tuple[str, str], IniEntry]
    main: str


class IniFile:
    """A `dicom.ini` that follows its file: whatever is asked is answered from its present content.

    Every call looks once at the file's modification time and reads it again when that moved; while the file
    cannot be read, the last content counts. May be used from many threads.
    """

    def __init__(self, path: Path) -> None:
        """Read `path`; raises OSError when it cannot be read."""
        self.path = path
        self._lock = threading.RLock()
        self._content = _parse(*read_stamped(path))

    @property
    def main(self) -> str:
        """The section that holds the settings, in lower case: what MicroPACS in [sscscp] names, else `sscscp`."""
        return self._current().main

    def has_section(self, section: str) -> bool:
        """Whether a ``[section]`` line stands in the file."""
        return section.lower() in self._current().headers

    def get(self, key: str, section: str | None = None) -> str | None:
        """The value of `key`, None when it is absent; `section` defaults to the main one. The first of two counts."""
        entry = self.entry(key, section)
        return entry.value if entry else None

    def entry(self, key: str, section: str | None = None) -> IniEntry | None:
        """The line that gives `key` its value."""
        content = self._current()
        return content.first.get((_section(content, key, section), key.lower()))

    def entries(self, section: str | None = None) -> tuple[IniEntry, ...]:
        """Every line of a section that has a key, in the order of the file, repeated keys too."""
        content = self._current()
        wanted = content.main if section is None else section.lower()
        return tuple(entry for entry in content.entries if entry.section == wanted)

    def lines(self) -> tuple[str, ...]:
        """The raw lines with their line ends, as `get_ini:` lists them."""
        return tuple(decode(line) for line in self._current().lines)

    def put(self, name: str, value: str) -> None:
        """Set `name` in the main section and rewrite the file, as `put_param:` does.

        Every line of that section that sets `name` is replaced; when there is none, one is added behind the
        section's last key. Blanks around the value and quotes about all of it are no part of it when it is read
        back. Raises ValueError for what could become another line or key, and OSError; then the file is as it was.
        """
        if not _NAME.fullmatch(name):
            raise ValueError("a parameter name is one word without = and does not begin with ; # or [")
        if any(character in value for character in "\r\n\0"):
            raise ValueError("a parameter value is one line")
        with self._lock:
            content = self._current()
            lines = list(content.lines)
            end = line_end(lines)
            new = encode(f"{name:<24} = {value}", b"".join(lines))
            places = _places(content, name)
            for place in places:
                lines[place] = new + (lines[place][len(body(lines[place])) :] or end)
            if not places:
                comment = f"# Parameter added by put_param on {time.ctime()}".encode()
                _insert(lines, content, _section(content, name, None), [b"", comment, new], end)
            self._write(lines, end)

    def delete(self, name: str) -> bool:
        """Remove every line of the main section that sets `name`, as `delete_param:` does; False when none did."""
        with self._lock:
            content = self._current()
            places = set(_places(content, name))
            if not places:
                return False
            kept = [line for number, line in enumerate(content.lines) if number not in places]
            self._write(kept, line_end(list(content.lines)))
            return True

    def _write(self, lines: list[bytes], end: bytes) -> None:
        kept = [line for line in lines if not line.removeprefix(BOM).startswith(_WRITTEN)]
        mark = BOM if lines and lines[0].startswith(BOM) else b""
        data = mark + _WRITTEN + time.ctime().encode() + end + b"".join(kept).removeprefix(BOM)
        replace_file(self.path, data)
        self._content = _parse(data, stamp(self.path))

    def _current(self) -> _Content:
        found = stamp(self.path)
        content = self._content
        if found is None or found == content.stamp:
            return content
        with self._lock:
            if found != self._content.stamp:
                try:
                    self._content = _parse(*read_stamped(self.path))
                except OSError:
                    return self._content
            return self._content


def _section(content: _Content, key: str, section: str | None) -> str:
    if section is not None:
        return section.lower()
    return FIRST_SECTION if key.lower() == SECTION_KEY.lower() else content.main


def _places(content: _Content, name: str) -> list[int]:
    """The line numbers, from 0, that set `name` in the main section."""
    section, key = _section(content, name, None), name.lower()
    return [entry.line - 1 for entry in content.entries if entry.section == section and entry.key.lower() == key]


def _insert(lines: list[bytes], content: _Content, section: str, new: list[bytes], end: bytes) -> None:
    """Add lines behind the last key of `section`, or begin the section at the end of the file."""
    place = max((entry.line for entry in content.entries if entry.section == section), default=0)
    place = max(place, content.headers.get(section, 0))
    if not place:
        new = [b"", b"[" + section.encode() + b"]", *new]
        place = len(lines)
    if place and not lines[place - 1].endswith(b"\n"):
        lines[place - 1] += end
    lines[place:place] = [line + end for line in new]


def _parse(data: bytes, found: Stamp | None) -> _Content:
    lines = split_lines(data)
    entries: list[IniEntry] = []
    headers: dict[str, int] = {}
    section = ""
    for number, raw in enumerate(lines, 1):
        text = decode(body(raw.removeprefix(BOM) if number == 1 else raw))
        # As ConQuest: a line that begins with a blank or ; is skipped. # lines have a key nobody asks for.
        if not text or text[0] in " ;":
            continue
        if text[0] == "[" and "]" in text:
            section = text[1 : text.index("]")].strip(" \t").lower()
            headers.setdefault(section, number)
            continue
        key, equals, value = text.partition("=")
        if equals:
            entries.append(IniEntry(section, key.strip(" \t"), _unquote(value.strip(" \t")), number))
    first: dict[tuple[str, str], IniEntry] = {}
    for entry in entries:
        first.setdefault((entry.section, entry.key.lower()), entry)
    named = first.get((FIRST_SECTION, SECTION_KEY.lower()))
    main = named.value.lower() if named and named.value else FIRST_SECTION
    return _Content(found, tuple(lines), tuple(entries), headers, first, main)


def _unquote(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
