"""The DICOM dictionary: pydicom's, ConQuest's own elements of group 9999, and what a `dgate.dic` says instead."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR, keyword_dict, keyword_for_tag

from server.textfile import decode, split_lines

# The binary form that ConQuest's mk_binary_dic: writes; only the text form is read here.
_BINARY = b"#!BinRTC"

_TEXT = re.compile(r"\(([0-9a-fA-F]{4}),([0-9a-fA-F]{4})\)")
_VR = re.compile(r'VR="([^"]*)"')
_KEYWORD = re.compile(r'Keyword="([^"]*)"')
_BRACES = re.compile(
    r"""\{\s*(?:0x)?([0-9a-f]{1,4})\s*,\s*(?:0x)?([0-9a-f]{1,4})\s*,\s*["']?([a-z/]{2,5})["']?\s*,\s*["']?([^"',}]*)""",
    re.IGNORECASE,
)

# (tag, VR, keyword); see the spec of the command channel and of the retrieve extensions of ConQuest 1.5.
CONQUEST = (
    (0x99990100, "US", "ConquestMaxVRSize"),
    (0x99990200, "US", "ConquestMaxRowsColumns"),
    (0x99990201, "US", "ConquestFrame"),
    (0x99990202, "LO", "ConquestScrubList"),
    (0x99990300, "LO", "ConquestConsoleText"),
    (0x99990400, "LO", "ConquestConsoleCommand"),
    (0x99990401, "LO", "ConquestConsoleResponse"),
    (0x99990402, "LO", "ConquestConsoleData"),
    (0x99990403, "SQ", "ConquestConsoleResponseSequence"),
    (0x99990404, "US", "ConquestConsoleDataOddlength"),
    (0x99990500, "US", "ConquestMaxSlices"),
    (0x99990600, "US", "ConquestMaxNKICompression"),
    (0x99990700, "LO", "ConquestRequestedCompression"),
    (0x99990800, "LO", "ConquestObjectFile"),
    (0x99990801, "LO", "ConquestDeviceName"),
    (0x99990802, "US", "ConquestVirtualServerMask"),
    (0x99990900, "LO", "ConquestScript"),
    (0x99990A00, "AE", "ConquestMoveOriginator"),
    (0x99990B00, "LO", "ConquestSplit"),
    (0x99990C00, "LO", "ConquestSort"),
)


@dataclass(frozen=True, slots=True)
class DictionaryEntry:
    """One element: `vr` is two letters, or ``NONE`` for item tags; of a choice such as OB/OW the first."""

    tag: int
    vr: str
    keyword: str


class DicomDictionary:
    """Keywords, tags and VRs of elements, and the numbering that `get_dic:` shows.

    Numbered are the entries of `dgate.dic` when there is one, as ConQuest does, else pydicom's and ConQuest's own.
    Look-ups know both, `dgate.dic` first. `warnings` tells of a file that could not be used.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read `path`; None or a missing file leaves the built-in dictionary. Any other OSError is raised."""
        self.warnings: tuple[str, ...] = ()
        read = self._read(path) if path else []
        # A stable sort: of two entries for one tag the first in the file counts, both are numbered.
        self.entries: tuple[DictionaryEntry, ...] = tuple(sorted(read or _built_in(), key=lambda entry: entry.tag))
        self._tags = [entry.tag for entry in self.entries]
        self._by_keyword: dict[str, int] = {}
        for entry in (*self.entries, *(_built_in() if read else ())):
            self._by_keyword.setdefault(entry.keyword, entry.tag)
        self._own = {tag: DictionaryEntry(tag, vr, keyword) for tag, vr, keyword in CONQUEST}

    def entry(self, number: int) -> DictionaryEntry | None:
        """Entry `number`, from 0, in order of tag; None past the end."""
        return self.entries[number] if 0 <= number < len(self.entries) else None

    def tag_of(self, keyword: str) -> int | None:
        """The tag of a keyword, spelled exactly; None when it is unknown."""
        return self._by_keyword.get(keyword)

    def keyword_of(self, tag: int) -> str:
        """The keyword of a tag, of overlays and curves too; empty when it is unknown."""
        entry = self._find(tag)
        return entry.keyword if entry else keyword_for_tag(tag)

    def vr_of(self, tag: int) -> str:
        """The VR of a tag; of a choice the first, ``UN`` when it is unknown."""
        entry = self._find(tag)
        if entry:
            return entry.vr
        try:
            return _first_vr(dictionary_VR(tag))
        except KeyError:
            return "UN"

    def _find(self, tag: int) -> DictionaryEntry | None:
        place = bisect.bisect_left(self._tags, tag)
        if place < len(self._tags) and self._tags[place] == tag:
            return self.entries[place]
        return self._own.get(tag)

    def _read(self, path: Path) -> list[DictionaryEntry]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return []
        if data.startswith(_BINARY):
            self.warnings = (f"{path.name} is a binary dictionary, which is not read: give its text form",)
            return []
        read = list(_parse(data))
        if not read:
            self.warnings = (f'{path.name} has no entry: write lines such as (0010,0020) VR="LO" Keyword="PatientID"',)
        return read


def _built_in() -> Iterator[DictionaryEntry]:
    for keyword, tag in keyword_dict.items():
        if keyword:
            yield DictionaryEntry(tag, _first_vr(dictionary_VR(tag)), keyword)
    for tag, vr, keyword in CONQUEST:
        yield DictionaryEntry(tag, vr, keyword)


def _parse(data: bytes) -> Iterator[DictionaryEntry]:
    for raw in split_lines(data):
        text = decode(raw)
        if text.startswith("("):
            where, vr, keyword = _TEXT.match(text), _VR.search(text), _KEYWORD.search(text)
            if where and vr and keyword:
                yield _entry(where[1], where[2], vr[1], keyword[1])
        elif text.startswith("{"):
            braces = _BRACES.match(text)
            if braces:
                yield _entry(*braces.groups())


def _entry(group: str, element: str, vr: str, keyword: str) -> DictionaryEntry:
    return DictionaryEntry(int(group, 16) << 16 | int(element, 16), _first_vr(vr), keyword.strip())


def _first_vr(vr: str) -> str:
    return vr if vr == "NONE" else vr[:2]
