"""Stage 4: map.json, which the viewer looks ages up in, and a richer index beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from dgate.rev.age import Entry
from dgate.rev.descriptor import series_of
from dgate.rev.errors import BadRequest, MissingPrerequisite
from dgate.rev.files import as_json, read_json, write_if_new
from dgate.rev.layout import INDEX, MAP, Example
from dgate.rev.state import Problem
from dgate.rev.study import described


def write_map(
    root: Path, examples: Sequence[Example], changed: Collection[Example] | None = None
) -> tuple[int, list[Problem]]:
    """Write both for the examples that have a study descriptor; return how many files changed, and who was left out.

    What the index says of others than the `changed` ones stays.

    The viewer takes map.json for one text and every digit in it for one of its six-digit numbers: nothing else may be
    in it.
    """
    fitting = [example for example in examples if example.fits_map]
    warnings = [
        Problem(
            one.path, 4, "map", f"{MAP} cannot hold it: the viewer knows ages below 100 years and examples below 100"
        )
        for one in examples
        if not one.fits_map
    ]
    written = write_if_new(root / MAP, as_json({"data": [f"./{one.path}" for one in sorted(fitting)]}))
    before = {} if changed is None else _before(root)
    known = {example: before[example.path] for example in examples if example.path in before}
    for example in changed or ():
        known.pop(example, None)
    index = {"examples": [known.get(one) or _indexed(root, one) for one in sorted(examples)]}
    return written + write_if_new(root / INDEX, as_json(index)), warnings


def _before(root: Path) -> dict[str, Mapping[str, Any]]:
    """What the index has of each example."""
    match read_json(root / INDEX):
        case {"examples": list(entries)}:
            return {entry["path"]: entry for entry in entries if isinstance(entry, dict) and "path" in entry}
    return {}


def _indexed(root: Path, example: Example) -> Mapping[str, Any]:
    year, month, number = example.numbers
    return {
        "path": example.path,
        "year": year,
        "month": month,
        "example": number,
        "months": str(12 * int(year) + int(month)),
        "series": [
            {
                "name": one.place.series,
                "uid": one.entry["uid"]["value"],
                "modality": one.entry["Modality"]["value"],
                **{
                    key: series_of(one.entry).get(key, "")
                    for key in ("description", "date", "files", "frames", "status")
                },
            }
            for one in described(root, example)
        ],
    }


def read_map(root: Path) -> list[Entry]:
    """The examples of a library as map.json names them; raises MissingPrerequisite and BadRequest."""
    found = read_json(root / MAP)
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        raise MissingPrerequisite(f"{root} has no {MAP}: it is no library, or stage 4 has not been run")
    if not found["data"]:
        raise BadRequest(f"{root / MAP} names no examples")
    return [Entry.read(str(path)) for path in found["data"]]
