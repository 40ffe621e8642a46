"""Stage 2: the descriptor of a study and the page that leads to the viewer; and ex.json of a month (stage 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from dgate.rev.descriptor import Entry, document, entry_of, series_of
from dgate.rev.files import as_json, read_json, write_if_new
from dgate.rev.layout import EXAMPLES, PAGE, SERIES_SUFFIX, Example, Place, middle
from dgate.rev.pages import study_page
from dgate.rev.state import Problem, read_state


@dataclass(frozen=True, slots=True)
class Described:
    """A series of an example as its descriptor and its state have it."""

    place: Place
    entry: Entry
    number: float
    modalities: str

    @property
    def has_image(self) -> bool:
        return str(series_of(self.entry)["status"]) != "noimage"


def described(root: Path, example: Example) -> list[Described]:
    """The series of an example that have descriptor and directory: by SeriesNumber and name, imageless ones last."""
    found = []
    for path in sorted((root / example.path).glob(f"*{SERIES_SUFFIX}")):
        place = Place(example, path.name.removesuffix(SERIES_SUFFIX))
        entry = entry_of(read_json(path))
        if entry is None or not (root / place.path).is_dir():
            continue
        state = read_state(root / place.path)
        found.append(
            Described(place, entry, _number("" if state is None else state.number), state.modalities if state else "")
        )
    return sorted(found, key=lambda one: (not one.has_image, one.number, one.place.series))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.inf
    return number if math.isfinite(number) else math.inf


def settle(root: Path, example: Example) -> int:
    """Give ModalitiesInStudy to the series of an example, where their files do not; return how many files changed."""
    series = described(root, example)
    modalities = "\\".join(sorted({one.entry["Modality"]["value"] for one in series} - {""}))
    changed = 0
    for one in series:
        one.entry["ModalitiesInStudy"]["value"] = one.modalities or modalities
        changed += write_if_new(root / one.place.json_path, as_json(document(one.entry)))
    return changed


def write_examples(root: Path, month: str, examples: list[Example]) -> bool:
    """Write ex.json of a month anew, from the descriptors there are; True when it is not as it was."""
    found = {}
    for example in examples:
        series = described(root, example)
        if series:
            found[example.name] = {
                "name": example.name,
                "imageLocation": [f"{one.place.path}/{middle(one.place.series)}" for one in series if one.has_image],
            }
    path = root / month / EXAMPLES
    if not found:
        # Nothing is left to be shown of that age.
        if path.exists():
            path.unlink()
            (root / month / PAGE).unlink(missing_ok=True)
            return True
        return False
    return write_if_new(path, as_json(found))


@dataclass(frozen=True, slots=True)
class StudyPages:
    """How descriptors of studies and the pages beside them are written."""

    name: str
    min_series: int
    server: str
    viewer: str

    def write(self, root: Path, example: Example) -> tuple[int, list[Problem]]:
        """Write both for an example that has series; return how many were written, and what there is to say."""
        entries, warnings = _told_apart(example, [one.entry for one in described(root, example)])
        while entries and len(entries) < self.min_series:
            entries.append(_repeated(entries[-1]))
        directory = root / example.path
        page = study_page(example, self.server, self.viewer)
        written = write_if_new(directory / self.name, as_json({"data": entries}))
        return written + write_if_new(directory / PAGE, page), warnings

    def remove(self, root: Path, example: Example) -> bool:
        """Remove what is left of a study without series, so that nothing leads there."""
        directory = root / example.path
        left = read_json(directory / self.name)
        if not isinstance(left, dict) or set(left) != {"data"}:
            return False
        (directory / self.name).unlink()
        (directory / PAGE).unlink(missing_ok=True)
        return True


def _repeated(entry: Entry) -> Entry:
    """The copy of an entry that fills a pane of the viewer: it never finishes loading with fewer than three."""
    return {**entry, "details": {"series": {**series_of(entry), "repeat": "1"}}}


def _told_apart(example: Example, entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Give each entry a UID of its own: the viewer finds series by it, and parts of one may lie in two directories."""
    seen: dict[str, int] = {}
    found: list[Entry] = []
    warnings = []
    for entry in entries:
        uid = entry["uid"]["value"]
        seen[uid] = seen.get(uid, 0) + 1
        if seen[uid] > 1:
            other = f"{uid}-{seen[uid]}"
            entry = {**entry, "uid": {"value": other}, "details": {"series": {**series_of(entry), "uid": other}}}
            text = f"two of its directories hold files of one series; the viewer knows one of them as {other}"
            warnings.append(Problem(example.path, 2, "series", text))
        found.append(entry)
    return found, warnings
