"""What is kept beside the pictures of a series, so that only what has changed is made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dgate.rev.files import as_json, read_json, write
from dgate.rev.layout import LARGE_STRIP, PICTURES, RAW, STATE, STRIP, TAGS, middle


@dataclass(frozen=True, slots=True)
class Stamp:
    """A source file as it was found: name, size in bytes, time of its last change."""

    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, and with what: `path` is below the root, `kind` one word."""

    path: str
    stage: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class State:
    """What was made of a series: of which files of which directory, and with which settings.

    `data` are the DICOM files it consists of, `number` is SeriesNumber, `modalities` what its files themselves say of
    the modalities of their study, `pictures` how many of each size there are, `leaf` the format of --outputLeafDir.
    """

    source: str
    settings: str
    files: tuple[Stamp, ...]
    data: tuple[str, ...]
    leaf: str = ""
    number: str = ""
    modalities: str = ""
    pictures: int = 0
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    version: int = field(default=1)

    def save(self, directory: Path) -> None:
        """Keep it in the directory of the series."""
        write(directory / STATE, as_json(asdict(self)))

    def is_of(self, source: str, settings: str, files: Sequence[Stamp]) -> bool:
        """Whether just these files were worked on with these settings."""
        return (self.source, self.settings, self.files) == (source, settings, tuple(files))

    def is_whole(self, directory: Path, json_path: Path) -> bool:
        """Whether what was made is still all there."""
        names = (STRIP, LARGE_STRIP, TAGS, middle(directory.name), *self.data)
        return (
            json_path.is_file()
            and all((directory / name).is_file() for name in names)
            and all(sum(1 for _ in (directory / name).iterdir()) == self.pictures + (name == RAW) for name in PICTURES)
        )


def read_state(directory: Path) -> State | None:
    """What is kept of a series; None when there is nothing, or nothing that can be used."""
    try:
        return _made(read_json(directory / STATE))
    except (OSError, KeyError, TypeError, ValueError):
        return None


def _made(found: Any) -> State | None:
    if not isinstance(found, dict) or found.get("version") != 1:
        return None
    return State(
        str(found["source"]),
        str(found["settings"]),
        tuple(Stamp(str(one["name"]), int(one["size"]), int(one["mtime_ns"])) for one in found["files"]),
        tuple(str(name) for name in found["data"]),
        str(found["leaf"]),
        str(found["number"]),
        str(found["modalities"]),
        int(found["pictures"]),
        _problems(found["problems"]),
        _problems(found["warnings"]),
    )


def _problems(found: list[dict[str, Any]]) -> tuple[Problem, ...]:
    return tuple(Problem(str(one["path"]), int(one["stage"]), str(one["kind"]), str(one["message"])) for one in found)
