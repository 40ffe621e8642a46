"""Killed again and again under load: nothing acknowledged is lost, nothing deleted comes back, nothing is left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.siege import Siege


@pytest.mark.parametrize(("durability", "seconds"), [("fast", 8), ("safe", 4)])
def test_a_server_that_is_killed_under_load_keeps_what_it_acknowledged(
    tmp_path: Path, durability: str, seconds: float
) -> None:
    siege = Siege(tmp_path / "archive", 11, Durability=durability)
    siege.last(seconds)
    counts = siege.figures.counts
    assert counts["stored"] > 50
    assert counts["stored again"] > 5
    assert counts["deleted"] > 2
