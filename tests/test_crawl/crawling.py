"""Crawling a tree of a test and looking at what came of it."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from dgate.crawl import Crawler, Summary
from tests.test_crawl.material import put


def crawled(root: Path, **options: Any) -> Summary:
    """Crawl with the defaults."""
    return Crawler(root, **options).crawl()


def tree(root: Path, objects: Mapping[str, Dataset]) -> Path:
    """Write objects under their names."""
    for name, made in objects.items():
        put(root / name, made)
    return root


def database(summary: Summary) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = json.loads((summary.directory / "crawl_db.json").read_bytes())
    return found


def table(summary: Summary, name: str = "index.csv") -> list[dict[str, str]]:
    with (summary.directory / name).open(encoding="utf-8", errors="surrogateescape", newline="") as source:
        return list(csv.DictReader(source))


def contents(summary: Summary) -> dict[str, bytes]:
    """Every file of the index."""
    return {path.name: path.read_bytes() for path in sorted(summary.directory.iterdir())}
