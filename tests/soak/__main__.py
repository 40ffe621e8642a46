"""The long form of tests/conformance/test_soak.py: `make soak ARGS="--minutes 30 --seed 7"`."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.soak.siege import Siege


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long the server is besieged (10)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="what is done when (random)")
    parser.add_argument("--senders", type=int, default=4, help="associations that store and delete (4)")
    parser.add_argument("--durability", choices=("safe", "fast"), default="fast", help="the key of that name (fast)")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.senders} senders, Durability = {options.durability}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dgate-soak-") as directory:
        siege = Siege(Path(directory) / "archive", options.seed, senders=options.senders, Durability=options.durability)
        siege.last(options.minutes * 60)
        for line in siege.figures.lines():
            print(line)
    print(f"nothing acknowledged was lost in {(time.monotonic() - begun) / 60:.1f} minutes")


main()
