"""Our JSON beside that of pfdicom_rev 3.0.4 for the same library, but for the departures that are listed here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.test_rev.library import rev
from tests.test_rev.regenerate import REFERENCE, ROOT, build, collected

ADDED = {"Modality", "AcquisitionDate"}
ADDED_TO_SERIES = {"frames", "order", "status"}


def without_additions(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as the original would have it: what was added taken out."""
    series = entry["details"]["series"]
    kept = {key: value for key, value in series.items() if key not in ADDED_TO_SERIES}
    kept["preview"] = {key: value for key, value in series["preview"].items() if key != "frames"}
    return {**{key: value for key, value in entry.items() if key not in ADDED}, "details": {"series": kept}}


def mended(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the original with the modalities of the study, which instances do not have."""
    assert entry["ModalitiesInStudy"] == {"value": "ModalitiesInStudy not found"}
    return {**entry, "ModalitiesInStudy": {"value": "CT"}}


def test_our_json_is_that_of_the_original(tmp_path: Path) -> None:
    theirs = json.loads(REFERENCE.read_text())
    root = build(tmp_path / "library")
    assert rev(root, "--minSeries", "0") == 0
    ours: dict[str, Any] = collected(root)
    # A second index, for programs, is ours alone.
    del ours["rev-index.json"]
    assert set(ours) == set(theirs)
    for name, found in ours.items():
        expected = theirs[name]
        if name.endswith("-series.json"):
            (one,), (other,) = found["query"]["data"], expected["query"]["data"]
            assert without_additions(one) == mended(other), name
        elif name.endswith("description.json"):
            assert [without_additions(one) for one in found["data"]] == [mended(one) for one in expected["data"]], name
        elif name.endswith("ex.json"):
            # Theirs are absolute, and in the order of the file system.
            relative = {
                key: {**one, "imageLocation": sorted(path.replace(f"{ROOT}/./", "") for path in one["imageLocation"])}
                for key, one in expected.items()
            }
            assert found == relative, name
        else:
            assert found == {"data": sorted(expected["data"])}, name
