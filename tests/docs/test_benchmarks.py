"""The benchmark's own parts: what it keeps, what it compares with, what it says of programs that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks import clients
from tests.benchmarks.material import SMALL, Kind, fresh, objects, shares
from tests.benchmarks.measure import Contender, Result, rounds
from tests.benchmarks.parts import PARTS
from tests.benchmarks.report import Bar, Section, kept, table
from tests.benchmarks.rivals import limit, missing, ours
from tests.benchmarks.stores import dcmsend
from tests.peers import needs, needs_dcmtk

FEW = Kind(SMALL.name, SMALL.size, 20)


def test_a_run_of_some_parts_leaves_the_others_and_sums_up_all_bars(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    first = Section("One", table(["a"], [["1"]]), (Bar("speed of one", 0.95, 1.0, 0.9),))
    second = Section("Two", "text", (Bar("speed of two", 12_345, 10_000, 20_000, "/s", high=True),))
    third = Section("Three", "text", (Bar("speed of three", None, 1, 0.5),))
    path.write_text(kept(path, {"find": first.markdown(), "get": second.markdown()}, list(PARTS)))
    text = kept(path, {"get": third.markdown()}, list(PARTS))
    summary, _, sections = text.partition("## Measurements")
    assert [line for line in summary.splitlines() if line.startswith("| speed")] == [
        "| speed of one | 0.95 | ≤ 1 | met | ≤ 0.9 | missed |",
        "| speed of three | not measured | ≤ 1 |  | ≤ 0.5 |  |",
    ]
    assert [line for line in sections.splitlines() if line.startswith("###")] == ["### One", "### Three"]
    assert second.markdown().splitlines()[-1] == "| speed of two | 12,345/s | ≥ 10,000/s | met | ≥ 20,000/s | missed |"


def test_rounds_take_turns_and_leave_the_first_out() -> None:
    ran: list[tuple[str, int]] = []

    def contender(name: str, seconds: float) -> Contender:
        return Contender(name, lambda number: ran.append((name, number)) or seconds, "ours")  # type: ignore[func-returns-value]

    begun: list[int] = []
    result = rounds(Result("x", "things", 8), [contender("ours", 1.0), contender("theirs", 4.0)], 2, begun.append)
    assert begun == [0, 1, 2]
    assert ran == [(name, number) for number in range(3) for name in ("ours", "theirs")]
    assert result.ratio("ours", "theirs") == 0.25
    assert result.ratio("ours", "nobody") is None
    assert "| theirs | 4.0000 | 4.0000 - 4.0000 | 2 | 0.00 | 0.25 (ours) |" in result.section().body


def test_objects_of_every_run_have_uids_of_their_own(tmp_path: Path) -> None:
    made = [*objects(FEW, 20, "A"), *objects(FEW, 20, "A")]
    assert len({one.uid for one in made}) == 40
    assert all(one.uid.encode() in one.data_set for one in made)
    assert [len(share) for share in shares(made, 3)] == [14, 13, 13]
    assert [len(list(directory.iterdir())) for directory in fresh(tmp_path / "sent", FEW, 2).directories] == [10, 10]


def test_a_rival_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert missing(["dgate fast", "storescp --fork", "Orthanc, no sync", "limit"]) == {
        "storescp --fork": "storescp --fork: skipped, storescp is missing: apt-get install dcmtk",
        "Orthanc, no sync": "Orthanc, no sync: skipped, Orthanc is missing: apt-get install orthanc",
        "limit": "limit: skipped, cc is missing: apt-get install gcc",
    }


@needs_dcmtk
@needs("cc", "gcc")
@pytest.mark.parametrize("sync", [False, True])
def test_the_limit_program_takes_what_dcmsend_and_the_raw_client_send(tmp_path: Path, sync: bool) -> None:
    with limit(tmp_path / "limit", sync=sync) as server:
        dcmsend(server, fresh(tmp_path / "sent", FEW, 2))
        made = list(objects(FEW, 20, "RAW"))
        clients.store(server, shares(made, 2))
        server.check(20)
        written = sorted(path.read_bytes() for path in (server.directory / "area").iterdir())
        assert set(written) >= {one.data_set for one in made}


def test_the_raw_clients_store_find_and_get(tmp_path: Path) -> None:
    with ours(tmp_path / "ours") as server:
        made = list(objects(FEW, 20, "RAW"))
        clients.store(server, [made])
        server.check(20)
        assert len(clients.find(server, [clients.identifier(b"STUDY ", patient=b"RAW")] * 3, 1)) == 3
        assert clients.get(server, "RAW") == (20, sum(len(one.data_set) for one in made))
        with pytest.raises(AssertionError, match="0 of 1 objects"):
            server.check(1)
