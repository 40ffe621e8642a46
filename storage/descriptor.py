"""Element descriptors: how converters, file names and scripts name an element of an object (ConQuest's `%v`)."""

import re
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword

from storage.header import ANYWHERE, TagPath, in_item

_NUMBERS = re.compile(r"([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})")
_SEQUENCE = re.compile(r"/([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})(?:\.(\d{1,6}))?/")
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9]*")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The element that a piece of text names, and how many characters of the text it took."""

    path: TagPath
    length: int


def parse_descriptor(text: str, start: int = 0) -> Descriptor | None:
    """Read a descriptor at `start` of `text`; None when there is none.

    ``gggg,eeee``, a dictionary keyword, ``*`` before either for the first match in any sequence, and
    ``/gggg,eeee/`` or ``/gggg,eeee.N/`` before it for the first item, or item N from 0, of that sequence. Of a run of
    letters the longest beginning that is a keyword counts.
    """
    position = start
    path: list[int] = []
    while match := _SEQUENCE.match(text, position):
        path.append(in_item(_tag(match), int(match[3] or 0)))
        position = match.end()
    if not path and text.startswith("*", position):
        path.append(ANYWHERE)
        position += 1
    if match := _NUMBERS.match(text, position):
        path.append(_tag(match))
        return Descriptor(tuple(path), match.end() - start)
    if match := _KEYWORD.match(text, position):
        for end in range(match.end(), position, -1):
            tag = tag_for_keyword(text[position:end])
            if tag is not None:
                return Descriptor((*path, tag), end - start)
    return None


def _tag(match: re.Match[str]) -> int:
    return int(match[1], 16) << 16 | int(match[2], 16)
