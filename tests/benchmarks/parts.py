"""What is measured, a function a part."""

from __future__ import annotations

import itertools
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.material import CT, SMALL, Kind, fresh
from tests.benchmarks.measure import Result, rounds, timed
from tests.benchmarks.queries import ask
from tests.benchmarks.rivals import Running, orthanc_as, ours, storescp
from tests.objects import ds, study, write
from tests.peers import dcmtk, free_port
from tests.servers import dgate, write_ini

Open = Callable[[Path], AbstractContextManager[Running]]
_places = itertools.count()

STORES: Mapping[str, Open] = {
    "dgate, fast": lambda place: ours(place, Durability="fast"),
    "dgate, safe": lambda place: ours(place, Durability="safe"),
    "storescp --fork": lambda place: storescp(place, "--fork"),
    "Orthanc, no sync": lambda place: orthanc_as(place, sync=False),
    "Orthanc, default": lambda place: orthanc_as(place, sync=True),
}


def place(base: Path) -> Path:
    """A directory no run has used; nothing is deleted while a measurement runs."""
    return base / f"run{next(_places)}"


def store(base: Path, kind: Kind, senders: int, runs: int) -> Result:
    """C-STORE by `dcmsend`, one process a sender; every object must be there afterwards."""

    def contender(opened: Open) -> Callable[[int], float]:
        def run(number: int) -> float:
            batch = fresh(base / "sent", kind, senders)
            with opened(place(base)) as server:
                target = ["-aec", server.ae, "127.0.0.1", str(server.port), "+sd"]
                seconds = timed([["dcmsend", "-pdu", "131072", *target, str(one)] for one in batch.directories])
                found = server.stored()
                assert found == kind.count, f"{found} of {kind.count} objects are there"
            return seconds

        return run

    result = Result(f"C-STORE, {kind.count} {kind.name}, {senders} association(s)", "objects", count=kind.count)
    return rounds(result, {name: contender(opened) for name, opened in STORES.items()}, runs, base)


@dataclass(frozen=True)
class Asked:
    """A C-FIND measurement: what is in the index, and how often what of it is asked for."""

    title: str
    studies: int
    patients: Sequence[str]
    matches: int


ONE_MATCH = Asked(
    "C-FIND of one study among 2 000, open association", 2000, [f"FIND{number * 7}" for number in range(200)], 1
)
MANY_MATCHES = Asked("C-FIND with 10 000 matches", 10_000, ["*"], 10_000)


def find(base: Path, asked: Asked, runs: int) -> Result:
    """C-FIND at study level, over one association each."""
    sent = place(base)
    for number in range(asked.studies):
        write(sent, ds(PatientID=f"FIND{number}"))

    def contender(opened: Open) -> Callable[[int], float]:
        server = stack.enter_context(opened(place(base)))
        timed([["dcmsend", "-pdu", "131072", "-aec", server.ae, "127.0.0.1", str(server.port), "+sd", str(sent)]])
        return lambda number: ask(server, asked.patients, asked.matches)

    responses = len(asked.patients) * asked.matches
    result = Result(asked.title, "responses", count=responses)
    contenders = {"dgate": STORES["dgate, fast"], "Orthanc": STORES["Orthanc, no sync"]}
    with ExitStack() as stack:
        return rounds(result, {name: contender(opened) for name, opened in contenders.items()}, runs, base)


def retrieve(base: Path, how: str, runs: int) -> Result:
    """C-GET with `getscu +B`, or C-MOVE to `storescp --ignore`, of 200 CT."""
    sink_port = free_port()
    opened: Mapping[str, Open] = {
        "dgate": lambda where: ours(where, sink_port, Durability="fast"),
        "Orthanc": lambda where: orthanc_as(where, sink_port, sync=False),
    }
    result = Result(f"C-{how.upper()} of {CT.count} CT", "objects", count=CT.count)
    batch = fresh(base / "sent", CT)
    with ExitStack() as stack:
        if how == "move":
            stack.enter_context(_sink(place(base), sink_port))
        contenders = {}
        for name, one in opened.items():
            server = stack.enter_context(one(place(base)))
            target = ["-aec", server.ae, "127.0.0.1", str(server.port)]
            timed([["dcmsend", "-pdu", "131072", *target, "+sd", str(batch.directories[0])]])
            contenders[name] = _retriever(base, how, server)
        return rounds(result, contenders, runs, base)


def _sink(directory: Path, port: int) -> AbstractContextManager[Running]:
    return storescp(directory, "--ignore", "--fork", "-aet", "SINK", port=port)


def _retriever(base: Path, how: str, server: Running) -> Callable[[int], float]:
    keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=BENCH0"]

    def run(number: int) -> float:
        if how == "move":
            command = ["movescu", "-P", "-d", "-pdu", "131072", "-aec", server.ae, "-aem", "SINK", *keys]
            start = time.perf_counter()
            ran = dcmtk(*command, "127.0.0.1", server.port)
            seconds = time.perf_counter() - start
            counts = re.findall(r"Completed Suboperations *: (\d+)", ran.output)
            assert (ran.code, counts[-1:]) == (0, [str(CT.count)]), f"{counts[-1:]} of {CT.count} objects were moved"
            return seconds
        target = place(base)
        target.mkdir()
        command = ["getscu", "-P", "+B", "-pdu", "131072", "-aec", server.ae, "-od", str(target), *keys]
        seconds = timed([[*command, "127.0.0.1", str(server.port)]])
        assert len(list(target.iterdir())) == CT.count
        return seconds

    return run


def regen(base: Path, runs: int) -> Result:
    """`dgate -r` over 2 000 small files, program start included."""
    directory = place(base)
    write_ini(directory)
    for number in range(20):
        for obj in study(f"REGEN{number}", series=2, images=50):
            write(directory / "MAG0" / f"REGEN{number}", obj)

    def run(number: int) -> float:
        start = time.perf_counter()
        assert dgate(f"-w{directory}", "-r", directory=directory).returncode == 0
        seconds = time.perf_counter() - start
        with closing(sqlite3.connect(directory / "dbase" / "conquest.db3")) as database:
            ((entered,),) = database.execute("SELECT count(*) FROM DICOMImages")
        assert entered == 2000, f"{entered} of 2000 objects were entered"
        return seconds

    return rounds(Result("dgate -r, 2 000 small files", "files", count=2000), {"dgate": run}, runs, base)


PARTS: Mapping[str, Callable[[Path, int], Result]] = {
    "store-ct": lambda base, runs: store(base, CT, 1, runs),
    "store-small": lambda base, runs: store(base, SMALL, 1, runs),
    "store-ct-4": lambda base, runs: store(base, CT, 4, runs),
    "find": lambda base, runs: find(base, ONE_MATCH, runs),
    "find-many": lambda base, runs: find(base, MANY_MATCHES, runs),
    "get": lambda base, runs: retrieve(base, "get", runs),
    "move": lambda base, runs: retrieve(base, "move", runs),
    "regen": regen,
}
