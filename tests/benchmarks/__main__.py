"""``make bench``: measure, print the tables as Markdown, and keep them."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measure import scarce_memory
from tests.benchmarks.parts import PARTS
from tests.benchmarks.report import kept, machine


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without one")
    parser.add_argument("--runs", type=int, default=5, help="rounds that count, after one that does not (5)")
    parser.add_argument("--where", type=Path, help="directory on the disk to measure (a temporary one)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep what was measured, such as docs/benchmarks.md")
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if chosen.runs < 1:
        parser.error(f"--runs {chosen.runs}: at least 1")
    if shutil.which("dcmsend") is None:
        parser.error("dcmsend is missing, which sends and fetches: apt-get install dcmtk")
    # Servers are stopped and files removed on the way out, whoever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="dgate-bench-", dir=chosen.where) as directory, scarce_memory():
        host = machine(Path(directory))
        print(host, end="\n\n", flush=True)
        for name in chosen.parts or PARTS:
            start = time.monotonic()
            base = Path(directory) / name
            base.mkdir()
            text = "\n\n".join(section.markdown() for section in PARTS[name](base, chosen.runs))
            # Between parts only: deleting makes the files that are created next slower for a while.
            shutil.rmtree(base)
            print(f"{text}\n\n({name} took {time.monotonic() - start:.0f} s)\n", flush=True)
            if chosen.write is not None:
                note = f"{time.strftime('%Y-%m-%d')}, runs: {chosen.runs}. {host}"
                chosen.write.write_text(kept(chosen.write, {name: f"{text}\n\n{note}"}, list(PARTS)))


if __name__ == "__main__":
    main()
