"""C-STORE: by `dcmsend`, a real client, and by one that costs nothing, so that servers themselves are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks import clients
from tests.benchmarks.material import CT, SMALL, Batch, Kind, fresh, objects, shares
from tests.benchmarks.measure import Contender, Result, rounds, timed
from tests.benchmarks.report import Bar, Section
from tests.benchmarks.rivals import Open, Running, dcmqrscp, limit, missing, orthanc_as, ours, storescp

FAST, SAFE = "dgate fast", "dgate safe"
_OURS: Mapping[str, Open] = {
    FAST: lambda place: ours(place, Durability="fast"),
    SAFE: lambda place: ours(place, Durability="safe"),
}
_STORESCP: Mapping[str, Open] = {"storescp --fork": lambda place: storescp(place, "--fork")}
_ORTHANC: Mapping[str, Open] = {
    "Orthanc, no sync": lambda place: orthanc_as(place, sync=False),
    "Orthanc": lambda place: orthanc_as(place, sync=True),
}
_SINGLE: Mapping[str, Open] = {"storescp": lambda place: storescp(place)}
_DCMQRSCP: Mapping[str, Open] = {"dcmqrscp": dcmqrscp}
_LIMITS: Mapping[str, Open] = {
    "limit, no sync": lambda place: limit(place, sync=False),
    "limit": lambda place: limit(place, sync=True),
}
# These sync what they store, so our `safe` is compared with them.
_SYNC = {SAFE, "Orthanc", "limit"}

Opened = Mapping[str, Running]


def opened(stack: ExitStack, base: Path, servers: Mapping[str, Open]) -> Opened:
    """Start the servers that are installed; those that are not are named and left out."""
    absent = missing(list(servers))
    for line in absent.values():
        print(line, flush=True)
    return {
        name: stack.enter_context(open_one(base / f"server{number}"))
        for number, (name, open_one) in enumerate(servers.items())
        if name not in absent
    }


def dcmsend(server: Running, batch: Batch, *options: str) -> float:
    """Send a batch, a process a directory; every object must be there afterwards."""
    target = ["-aec", server.ae, "127.0.0.1", str(server.port), "+sd"]
    seconds = timed([["dcmsend", *options, "-pdu", "131072", *target, str(one)] for one in batch.directories])
    server.check(batch.kind.count)
    return seconds


def _measured(
    result: Result,
    base: Path,
    runs: int,
    servers: Mapping[str, Open],
    make: Callable[[int], Callable[[Running], float]],
) -> Result:
    """Rounds in which each server is sent what `make` made for that round."""
    current: list[Callable[[Running], float]] = []

    def before(number: int) -> None:
        current[:] = [make(number)]

    with ExitStack() as stack:
        contenders = [
            Contender(name, lambda _, server=server: current[0](server), SAFE if name in _SYNC else FAST, server.pid)
            for name, server in opened(stack, base, servers).items()
        ]
        return rounds(result, contenders, runs, before)


def by_dcmsend(base: Path, kind: Kind, senders: int, runs: int) -> Result:
    """The usual client."""
    servers = {**_OURS, **_STORESCP, **_ORTHANC}
    if senders == 1:
        servers |= _SINGLE
    if senders == 1 and kind.count < 500:
        # It reads all of its index for each object, so that thousands take minutes, and loses some of four senders'.
        servers |= _DCMQRSCP

    def make(number: int) -> Callable[[Running], float]:
        batch = fresh(base / "sent", kind, senders)
        return lambda server: dcmsend(server, batch)

    title = f"C-STORE of {kind.count} {kind.name} by dcmsend, {_associations(senders)}"
    return _measured(Result(title, "objects", kind.count), base, runs, servers, make)


def by_raw_client(base: Path, kind: Kind, senders: int, runs: int) -> Result:
    """A client that sends what it encoded before."""

    def make(number: int) -> Callable[[Running], float]:
        made = shares(list(objects(kind, kind.count, "RAW")), senders)

        def run(server: Running) -> float:
            seconds = clients.store(server, made)
            server.check(kind.count)
            return seconds

        return run

    title = f"C-STORE of {kind.count} {kind.name} encoded beforehand, {_associations(senders)}"
    servers = {**_OURS, **_STORESCP, **_LIMITS}
    return _measured(Result(title, "objects", kind.count), base, runs, servers, make)


def _associations(count: int) -> str:
    return "1 association" if count == 1 else f"{count} associations"


def _bars(result: Result, work: str, marks: Sequence[tuple[str, str, float, float]]) -> list[Bar]:
    return [
        Bar(f"{work}, {mine} vs {other}", result.ratio(mine, other), first, then) for mine, other, first, then in marks
    ]


def store_ct(base: Path, runs: int) -> list[Section]:
    result = by_dcmsend(base, CT, 1, runs)
    marks = [(FAST, "storescp --fork", 0.9, 0.7), (FAST, "Orthanc, no sync", 0.5, 0.4), (SAFE, "Orthanc", 0.6, 0.4)]
    return [result.section(_bars(result, "C-STORE CT, 1 association", marks))]


def store_small(base: Path, runs: int) -> list[Section]:
    result = by_dcmsend(base, SMALL, 1, runs)
    marks = [(FAST, "storescp --fork", 1.0, 0.85), (FAST, "Orthanc, no sync", 0.5, 0.25), (SAFE, "Orthanc", 0.6, 0.4)]
    return [result.section(_bars(result, "C-STORE small, 1 association", marks))]


def store_ct_4(base: Path, runs: int) -> list[Section]:
    result = by_dcmsend(base, CT, 4, runs)
    marks = [(FAST, "storescp --fork", 1.0, 0.7), (FAST, "Orthanc, no sync", 0.5, 0.35), (SAFE, "Orthanc", 0.6, 0.4)]
    return [result.section(_bars(result, "C-STORE CT, 4 associations", marks))]


def raw(base: Path, kind: Kind, senders: int, runs: int) -> list[Section]:
    """The rate of `safe` as a part of the limit's that syncs."""
    result = by_raw_client(base, kind, senders, runs)
    ratio = result.ratio(SAFE, "limit")
    work = f"C-STORE {kind.name}, {_associations(senders)}, rate of {SAFE} / limit"
    return [result.section([Bar(work, ratio and 1 / ratio, 0.75, 0.9, high=True)])]
