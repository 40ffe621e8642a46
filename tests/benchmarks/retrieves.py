"""C-FIND, C-GET and C-MOVE beside Orthanc."""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks import clients
from tests.benchmarks.material import CT, fresh, studies
from tests.benchmarks.measure import Contender, Result, rounds, timed
from tests.benchmarks.report import Bar, Section
from tests.benchmarks.rivals import Open, Running, orthanc_as, ours, storescp
from tests.benchmarks.stores import dcmsend, opened
from tests.peers import dcmtk, free_port

_OURS = "dgate"
_ORTHANC = "Orthanc"
_places = itertools.count()


def _contenders(servers: Mapping[str, Running], run: Callable[[Running], float]) -> list[Contender]:
    return [
        Contender(name, lambda _, server=server: run(server), _OURS, server.pid) for name, server in servers.items()
    ]


def find(base: Path, runs: int) -> list[Section]:
    """C-FIND at study level among 10 000 studies: of one, over and over on one association, and of all."""
    both: Mapping[str, Open] = {
        _OURS: lambda place: ours(place, Durability="fast"),
        _ORTHANC: lambda place: orthanc_as(place, sync=False),
    }
    made = list(studies(10_000))
    ones = [clients.identifier(b"STUDY ", patient=f"FIND{number * 47:05d}".encode()) for number in range(200)]
    every = [clients.identifier(b"STUDY ", patient=b"*")]
    one = Result("C-FIND of one study among 10 000, 200 times on one association", "queries", len(ones))
    many = Result("C-FIND with 10 000 matches, to a client that reads as fast as it can", "responses", len(made))
    with ExitStack() as stack:
        servers = opened(stack, base, both)
        for server in servers.values():
            clients.store(server, [made])
        rounds(one, _contenders(servers, lambda server: sum(clients.find(server, ones, 1))), runs)
        rounds(many, _contenders(servers, lambda server: sum(clients.find(server, every, len(made)))), runs)
    rate = many.count / many.runs[_OURS].median
    bar = Bar("C-FIND, 10 000 study matches", rate, 100_000, 250_000, "/s", high=True)
    return [one.section(), many.section([bar])]


def get(base: Path, runs: int) -> list[Section]:
    result = _retrieve(base, "get", runs, Result(f"C-GET of {CT.count} CT by getscu +B", "objects", CT.count))
    return [result.section([Bar("C-GET of 200 CT vs Orthanc", result.ratio(_OURS, _ORTHANC), 1.0, 0.85)])]


def move(base: Path, runs: int) -> list[Section]:
    title = f"C-MOVE of {CT.count} CT to storescp --ignore"
    result = _retrieve(base, "move", runs, Result(title, "objects", CT.count))
    return [result.section([Bar("C-MOVE of 200 CT vs Orthanc", result.ratio(_OURS, _ORTHANC), 0.9, 0.7)])]


def _retrieve(base: Path, how: str, runs: int, result: Result) -> Result:
    sink_port = free_port()
    both: dict[str, Open] = {_OURS: lambda place: ours(place, sink_port, Durability="fast")}
    if how == "move":
        both["dgate, MoveAssociations = 2"] = lambda place: ours(
            place, sink_port, Durability="fast", MoveAssociations=2
        )
    both[_ORTHANC] = lambda place: orthanc_as(place, sink_port, sync=False)
    batch = fresh(base / "sent", CT)
    with ExitStack() as stack:
        if how == "move":
            sink = storescp(base / "sink", "--ignore", "--fork", "-aet", "SINK", port=sink_port)
            stack.enter_context(sink)
        servers = opened(stack, base, both)
        for server in servers.values():
            dcmsend(server, batch)
        run = moved if how == "move" else partial(_get, base)
        return rounds(result, _contenders(servers, run), runs)


_KEYS = ("-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=BENCH0")


def moved(server: Running) -> float:
    """The seconds that a C-MOVE of the patient BENCH0 to SINK takes, all of whose objects must arrive."""
    start = time.perf_counter()
    command = ["movescu", "-P", "-d", "-pdu", "131072", "-aec", server.ae, "-aem", "SINK", *_KEYS]
    ran = dcmtk(*command, "127.0.0.1", server.port)
    seconds = time.perf_counter() - start
    counts = re.findall(r"Completed Suboperations *: (\d+)", ran.output)
    assert (ran.code, counts[-1:]) == (0, [str(CT.count)]), f"{counts[-1:]} of {CT.count} objects were moved"
    return seconds


def _get(base: Path, server: Running) -> float:
    target = base / f"got{next(_places)}"
    target.mkdir()
    command = ["getscu", "-P", "+B", "-pdu", "131072", "-aec", server.ae, "-od", str(target), *_KEYS]
    seconds = timed([[*command, "127.0.0.1", str(server.port)]])
    assert len(list(target.iterdir())) == CT.count
    return seconds


def one_match(server: Running, runs: int, count: int) -> list[Section]:
    """C-FIND of one study by its patient, accession number, or name and date; the median of single queries."""
    asked = {
        "patient ID": lambda number: {"patient": f"FIND{number}"},
        "accession number": lambda number: {"accession": f"ACC{number}"},
        "NAME* and study date": lambda number: {"name": f"NAME{number:06d}*", "date": "20000101-20991231"},
    }
    result = Result("C-FIND of one study among 1 M instances, open association, one query", "queries", 1)
    contenders = []
    for name, keys in asked.items():
        queries = [
            clients.identifier(b"STUDY ", **{key: text.encode() for key, text in keys(number).items()})
            for number in range(0, count, count // 200)
        ]
        contenders.append(
            Contender(
                f"dgate, by {name}",
                lambda _, queries=queries: statistics.median(clients.find(server, queries, 1)),
                f"dgate, by {name}",
                server.pid,
            )
        )
    rounds(result, contenders, runs)
    median = result.runs["dgate, by patient ID"].median * 1000
    return [result.section([Bar("C-FIND, one match among 1 M instances", median, 1.0, 0.2, " ms")])]
