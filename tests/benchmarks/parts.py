"""What is measured, a function a part."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from pydicom.dataset import Dataset

from server.scu import IMPLICIT_LITTLE, Peer, Proposal, associate, send_c_find
from tests.benchmarks.material import CT, SMALL, Kind, fresh
from tests.benchmarks.measure import Result, rounds, timed
from tests.benchmarks.rivals import Running, orthanc_as, ours, storescp
from tests.objects import study, write
from tests.peers import free_port
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
    return rounds(result, {name: contender(opened) for name, opened in STORES.items()}, runs)


def find(base: Path, runs: int) -> Result:
    """C-FIND of one study among 2 000, 200 times over one association each."""

    def contender(opened: Open) -> tuple[Running, Callable[[int], float]]:
        server = stack.enter_context(opened(place(base)))
        sent = base / "studies"
        timed([["dcmsend", "-pdu", "131072", "-aec", server.ae, "127.0.0.1", str(server.port), "+sd", str(sent)]])
        return server, lambda number: _find_repeatedly(server)

    shutil.rmtree(base / "studies", ignore_errors=True)
    for number in range(2000):
        for obj in study(f"FIND{number}", series=1, images=1):
            write(base / "studies", obj)
    result = Result("C-FIND, one study among 2 000, open association", "queries", count=200)
    contenders = {"dgate": STORES["dgate, fast"], "Orthanc": STORES["Orthanc, no sync"]}
    with ExitStack() as stack:
        return rounds(result, {name: contender(opened)[1] for name, opened in contenders.items()}, runs)


def _find_repeatedly(server: Running) -> float:
    model = "1.2.840.10008.5.1.4.1.2.2.1"
    peer = Peer(server.ae, "127.0.0.1", server.port)
    with associate(peer, "BENCH", [Proposal(model, (IMPLICIT_LITTLE,))], timeout_s=30) as association:
        start = time.perf_counter()
        for number in range(200):
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "STUDY"
            identifier.PatientID = f"FIND{number * 7}"
            identifier.StudyInstanceUID = ""
            assert len(list(send_c_find(association, model, identifier))) == 1
        return time.perf_counter() - start


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
        return rounds(result, contenders, runs)


def _sink(directory: Path, port: int) -> AbstractContextManager[Running]:
    return storescp(directory, "--ignore", "--fork", "-aet", "SINK", port=port)


def _retriever(base: Path, how: str, server: Running) -> Callable[[int], float]:
    keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=BENCH0"]

    def run(number: int) -> float:
        if how == "move":
            command = ["movescu", "-P", "-pdu", "131072", "-aec", server.ae, "-aem", "SINK", *keys]
            return timed([[*command, "127.0.0.1", str(server.port)]])
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
        return time.perf_counter() - start

    return rounds(Result("dgate -r, 2 000 small files", "files", count=2000), {"dgate": run}, runs)


PARTS: Mapping[str, Callable[[Path, int], Result]] = {
    "store-ct": lambda base, runs: store(base, CT, 1, runs),
    "store-small": lambda base, runs: store(base, SMALL, 1, runs),
    "store-ct-4": lambda base, runs: store(base, CT, 4, runs),
    "find": find,
    "get": lambda base, runs: retrieve(base, "get", runs),
    "move": lambda base, runs: retrieve(base, "move", runs),
    "regen": regen,
}
