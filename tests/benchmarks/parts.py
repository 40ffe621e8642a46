"""What is measured, a function a part; each gets an empty directory on the disk to measure, and how many runs count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks.archive import idle, memory, million, regen
from tests.benchmarks.codecs import codecs
from tests.benchmarks.crawl import crawl
from tests.benchmarks.material import CT, SMALL
from tests.benchmarks.report import Section
from tests.benchmarks.retrieves import find, get, move
from tests.benchmarks.rev import rev
from tests.benchmarks.stores import raw, store_ct, store_ct_4, store_small
from tests.benchmarks.transcode import transcoding

Part = Callable[[Path, int], list[Section]]

PARTS: Mapping[str, Part] = {
    "store-ct": store_ct,
    "store-small": store_small,
    "store-ct-4": store_ct_4,
    "raw-ct": lambda base, runs: raw(base, CT, 1, runs),
    "raw-small": lambda base, runs: raw(base, SMALL, 1, runs),
    "raw-ct-4": lambda base, runs: raw(base, CT, 4, runs),
    "find": find,
    "get": get,
    "move": move,
    "million": million,
    "idle": idle,
    "memory": memory,
    "regen": regen,
    "rev": rev,
    "codecs": codecs,
    "transcode": transcoding,
    "crawl": lambda base, runs: crawl(base, 2000, runs),
    "crawl-many": lambda base, runs: crawl(base, 100_000, 1),
}
