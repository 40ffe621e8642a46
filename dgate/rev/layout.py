"""Where everything lies in a ReV library: the names of directories and files, from the root down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RAW, SMALL, LARGE = "dcm2jpgRaw", "dcm2jpgResize", "dcm2jpgDCMresize"
PICTURES = (RAW, SMALL, LARGE)
STRIP, LARGE_STRIP = "preview.jpg", "raw-preview.jpg"
TAGS = "tag-raw.txt"
STATE = ".rev-state.json"
EXAMPLES = "ex.json"
SERIES_SUFFIX = "-series.json"
MAP, INDEX = "map.json", "rev-index.json"
PAGE = "index.html"
SCRIPT, STYLE = "rev.js", "rev.css"

SMALL_SIZE = (96, 96)

_FORMS = (re.compile(r"[0-9]{2,}-yr"), re.compile(r"[0-9]{2}-mo"), re.compile(r"[0-9]{2,}-ex"))
# Six digits and none more is what the viewer can tell apart.
_IN_MAP = re.compile(r"[0-9]{2}-yr/[0-9]{2}-mo/[0-9]{2}-ex")
DEPTH = 4


@dataclass(frozen=True, slots=True, order=True)
class Example:
    """A study of a library, by the names of its directories: ``02-yr``, ``11-mo``, ``00-ex``."""

    year: str
    month: str
    name: str

    @property
    def path(self) -> str:
        """Where it is below the root."""
        return f"{self.year}/{self.month}/{self.name}"

    @property
    def month_path(self) -> str:
        """Where the month of it is below the root."""
        return f"{self.year}/{self.month}"

    @property
    def numbers(self) -> tuple[str, str, str]:
        """Year, month and number of the example as digits."""
        return self.year.removesuffix("-yr"), self.month.removesuffix("-mo"), self.name.removesuffix("-ex")

    @property
    def fits_map(self) -> bool:
        """Whether map.json can hold it: ages of 100 years and more it cannot."""
        return _IN_MAP.fullmatch(self.path) is not None


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A series of a library: its example and the name of its directory."""

    example: Example
    series: str

    @property
    def path(self) -> str:
        """Where it is below the root."""
        return f"{self.example.path}/{self.series}"

    @property
    def json_path(self) -> str:
        """Where its descriptor is below the root."""
        return f"{self.path}{SERIES_SUFFIX}"


def is_form(depth: int, name: str) -> bool:
    """Whether a directory so deep below the root, from 1, may have that name in a library."""
    return depth >= DEPTH or _FORMS[depth - 1].fullmatch(name) is not None


def place_of(parts: tuple[str, ...]) -> Place | None:
    """The series that the names of a path below the root lead to, None when that is not the place of one."""
    if len(parts) != DEPTH or not all(is_form(depth, name) for depth, name in enumerate(parts, 1)):
        return None
    return Place(Example(*parts[:3]), parts[3])


def middle(series: str) -> str:
    """The path of a series' middle image inside its directory."""
    return f"{RAW}/middle-{series}.jpg"


def examples_below(root: Path) -> list[Example]:
    """The directories of a library that are examples, in order; raises OSError."""
    return [Example(*path) for path in _below(root, 3)]


def months_below(root: Path) -> list[str]:
    """The paths of the directories of a library that are months, in order; raises OSError."""
    return ["/".join(path) for path in _below(root, 2)]


def _below(root: Path, deepest: int) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = [()] if root.is_dir() else []
    for depth in range(1, deepest + 1):
        paths = [
            (*path, entry.name)
            for path in paths
            for entry in sorted(root.joinpath(*path).iterdir(), key=lambda entry: entry.name)
            if is_form(depth, entry.name) and entry.is_dir()
        ]
    return paths
