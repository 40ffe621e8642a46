"""``make bench``: measure, and print the tables as Markdown."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from tests.benchmarks.measure import machine
from tests.benchmarks.parts import PARTS


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--runs", type=int, default=5, help="rounds that count, after one that does not (5)")
    parser.add_argument("--where", type=Path, help="directory on the disk to measure (a temporary one)")
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    missing = [program for program in ("dcmsend", "storescp", "Orthanc") if shutil.which(program) is None]
    if missing:
        parser.error(f"{', '.join(missing)} missing: apt-get install dcmtk orthanc")
    print(machine(), end="\n\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="dgate-bench-", dir=chosen.where) as directory:
        for name in chosen.parts or PARTS:
            print(PARTS[name](Path(directory), chosen.runs).markdown(), flush=True)


if __name__ == "__main__":
    main()
