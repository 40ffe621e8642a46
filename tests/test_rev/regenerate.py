"""Makes reference.json anew with pfdicom_rev: ``python -m tests.test_rev.regenerate PATH/TO/pfdicom_rev``.

That is 3.0.4 with pfdicom 1.7.10, pftree 2.0.4, pfmisc 1.3.32, pydicom 2.4 and matplotlib, and ImageMagick and DCMTK in
/usr/bin; `tests.benchmarks.rev` installs it so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.test_rev.library import flat, put

REFERENCE = Path(__file__).with_name("reference.json")
ROOT = "ROOT"


def build(root: Path) -> Path:
    """A small library of which everything that comes into the JSON is fixed."""
    for number, (place, name, files) in enumerate(
        (
            ("00-yr/06-mo/00-ex", "T1-axial", 3),
            ("00-yr/06-mo/00-ex", "T2", 1),
            ("00-yr/06-mo/01-ex", "S", 1),
            ("10-yr/00-mo/00-ex", "S", 2),
        )
    ):
        objects = [
            flat(
                40,
                SeriesInstanceUID=f"1.2.3.{number}",
                SOPInstanceUID=f"1.2.3.{number}.{one}",
                StudyInstanceUID="1.2.3",
                PatientID="4MR1",
                SeriesNumber=number,
                SeriesDescription=name,
                SeriesDate="20200102" if number else None,
                StudyDate="20200103" if number < 2 else "",
                InstanceNumber=one,
            )
            for one in range(files)
        ]
        put(root, name, objects, place)
    return root


def collected(root: Path) -> dict[str, object]:
    """Every JSON file of a library by its path, the path of the root taken out."""
    found = {}
    for path in sorted(root.rglob("*.json")):
        if not path.name.startswith("."):
            found[str(path.relative_to(root))] = json.loads(path.read_text().replace(str(root), ROOT))
    return found


def main() -> None:
    """Run the original over a new tree and keep what it wrote."""
    with tempfile.TemporaryDirectory() as directory:
        root = build(Path(directory) / "library")
        subprocess.run([sys.argv[1], "-I", str(root), "-O", "%inputDir", "--threads", "0", "-v", "0"], check=True)
        REFERENCE.write_text(json.dumps(collected(root), indent=1) + "\n")


if __name__ == "__main__":
    main()
