"""Make reference.json anew: ``python -m tests.test_crawl.regenerate PYTHON``, an interpreter with med-imagetools."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.test_crawl.material import build

REFERENCE = Path(__file__).with_name("reference.json")
NAME = "DICOM_FILES"

# The order of files decides whose header stands for a series; there it is the file system's, here it is sorted.
_RUN = """
import sys
from importlib.metadata import version
from pathlib import Path
from imgtools.dicom.crawl import parse_dicoms
found = parse_dicoms.find_dicoms
parse_dicoms.find_dicoms = lambda *words, **named: sorted(found(*words, **named))
parse_dicoms.parse_dicom_dir(Path(sys.argv[1]), Path(sys.argv[2]), n_jobs=1)
print(version("med-imagetools"))
"""


def main(python: str) -> None:
    """Write what med-imagetools makes of the tree."""
    with tempfile.TemporaryDirectory() as directory:
        root = build(Path(directory) / NAME)
        output = Path(directory) / "out"
        # The order of what is a set there would be another in every run.
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        ran = subprocess.run([python, "-c", _RUN, root, output], check=True, capture_output=True, text=True, env=env)
        files = {
            name: json.loads((output / NAME / f"{name}.json").read_text())
            for name in ("crawl_db", "crawl-cache", "sop_map")
        }
        with (output / NAME / "index.csv").open(newline="") as source:
            index = list(csv.reader(source))
    about = f"written by med-imagetools {ran.stdout.strip()}, see regenerate.py"
    rows = [f"{json.dumps(name)}: {json.dumps(content)}" for name, content in files.items()]
    lines = [f'"about": {json.dumps(about)}', *rows, f'"index": {json.dumps(index)}']
    REFERENCE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
