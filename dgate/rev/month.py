"""Stage 3: the page of a month."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dgate.rev.descriptor import entry_of, series_of
from dgate.rev.errors import MissingPrerequisite
from dgate.rev.files import read_json, write_if_new
from dgate.rev.layout import EXAMPLES, PAGE, Example, Place
from dgate.rev.pages import Shown, month_page


def write_month_page(root: Path, month: str, large: tuple[int, int]) -> bool:
    """Write the page of a month from its ex.json; True when it is not as it was.

    Raises MissingPrerequisite when ex.json is not what stage 1 writes.
    """
    found = read_json(root / month / EXAMPLES)
    if not isinstance(found, dict):
        raise MissingPrerequisite(f"{month}/{EXAMPLES} is not what stage 1 writes: run that again")
    year, name = month.split("/")
    examples = [(key, _series(root, Example(year, name, key), found[key])) for key in sorted(found)]
    return write_if_new(root / month / PAGE, month_page(month, examples, large))


def _series(root: Path, example: Example, described: Any) -> list[Shown]:
    """The series that ex.json names, each by the path of its middle image."""
    locations = described.get("imageLocation") if isinstance(described, dict) else None
    if not isinstance(locations, list):
        raise MissingPrerequisite(f"{example.month_path}/{EXAMPLES} is not what stage 1 writes: run that again")
    shown = []
    for location in locations:
        parts = str(location).split("/")
        name = parts[3] if len(parts) == 6 else ""
        entry = entry_of(read_json(root / Place(example, name).json_path)) if name else None
        if entry is not None:
            series = series_of(entry)
            frames = series["preview"]["frames"]
            shown.append(Shown(name, int(frames) if frames.isdigit() else 1, series["description"]))
    return shown
