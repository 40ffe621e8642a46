"""What an archive costs as it grows and waits: a million instances, idle associations, memory, regeneration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from db.objects import NewObject
from dgate.app import build
from dgate.config import load
from tests.benchmarks import clients
from tests.benchmarks.material import CT, SMALL, Kind, fresh, objects
from tests.benchmarks.measure import Contender, Result, cpu_seconds, memory_mb, rounds
from tests.benchmarks.report import Bar, Section, table
from tests.benchmarks.retrieves import one_match
from tests.benchmarks.rivals import Running, ours
from tests.benchmarks.stores import dcmsend
from tests.conformance.scu import IMPLICIT, VERIFICATION
from tests.objects import study, write
from tests.servers import dgate, write_ini

_STUDIES, _SERIES, _IMAGES = 10_000, 10, 10


def million(base: Path, runs: int) -> list[Section]:
    """Store into an archive of a million instances and into an empty one, and ask the large one."""
    full = base / "full"
    seconds = _fill(full)
    count = _STUDIES * _SERIES * _IMAGES
    filled = Section(
        "Filling the index with 1 M instances", f"{count:,} instances in {seconds:.1f} s, {count / seconds:,.0f}/s."
    )
    with ExitStack() as stack:
        empty = stack.enter_context(ours(base / "empty", Durability="fast"))
        large = stack.enter_context(ours(full, Durability="fast"))
        large.seen = large.stored()
        sections = [filled, *_growth(base, runs, empty, large)]
        return [*sections, *one_match(large, runs, _STUDIES)]


def _growth(base: Path, runs: int, empty: Running, large: Running) -> list[Section]:
    batches = []

    def before(number: int) -> None:
        batches[:] = [fresh(base / "sent", SMALL)]

    contenders = [
        Contender(name, lambda _, server=server: dcmsend(server, batches[0]), "at 0", server.pid)
        for name, server in (("at 0", empty), ("at 1 M", large))
    ]
    title = f"C-STORE of {SMALL.count} {SMALL.name} by dcmsend into an empty archive and one of 1 M instances"
    result = rounds(Result(title, "objects", SMALL.count), contenders, runs, before)
    rate = result.ratio("at 0", "at 1 M")
    return [result.section([Bar("ingest rate at 1 M instances vs at 0", rate, 0.9, 0.97, high=True)])]


def _fill(directory: Path) -> float:
    """Enter instances that have no files; seconds it took."""
    write_ini(directory)
    server = build(load(directory, {}))
    server.index.ensure_tables()
    start = time.perf_counter()
    rows = _rows()
    while part := list(islice(rows, 5000)):
        server.index.add_many(part)
    server.index.close()
    return time.perf_counter() - start


def _rows() -> Iterator[NewObject]:
    for number in range(_STUDIES):
        uid = f"1.2.826.0.1.3680043.10.1.3.{number}"
        patient = {
            (0x00080016,): clients.CT,
            (0x00080060,): "CT",
            (0x00080020,): f"20{number % 25:02d}{number // 25 % 12 + 1:02d}{number // 300 % 28 + 1:02d}",
            (0x00080030,): "101500",
            (0x00080050,): f"ACC{number}",
            (0x00081030,): "THORAX",
            (0x00100010,): f"NAME{number:06d}^FIRST",
            (0x00100020,): f"FIND{number}",
            (0x00100030,): "19700101",
            (0x00100040,): "M",
            (0x0020000D,): uid,
            (0x00200010,): f"{number % 1000}",
        }
        for series in range(_SERIES):
            for image in range(_IMAGES):
                sop = f"{uid}.{series}.{image}"
                own = {
                    (0x00080018,): sop,
                    (0x0020000E,): f"{uid}.{series}",
                    (0x00200011,): f"{series + 1}",
                    (0x00200013,): f"{image + 1}",
                }
                yield NewObject(patient | own, "MAG0", f"FILLED/{number}/{sop}.dcm")


def idle(base: Path, runs: int) -> list[Section]:
    """The CPU time of a server with 50 associations that say nothing."""
    seconds = 5
    with ours(base / "idle", Durability="fast") as server:
        peers = [clients.associated(server, {1: (VERIFICATION, (IMPLICIT,))}) for _ in range(50)]
        time.sleep(1)
        spent = []
        for _ in range(min(runs, 3)):
            before = cpu_seconds(server.pid)
            time.sleep(seconds)
            spent.append((cpu_seconds(server.pid) - before) / seconds * 100)
        memory = memory_mb(server.pid)
        for peer in peers:
            peer.release()
            peer.socket.close()
    body = f"{', '.join(f'{part:.2f} %' for part in spent)} of a core in {seconds} s each; {memory:.0f} MB."
    return [Section("50 idle associations", body, (Bar("50 idle associations", max(spent), 1, 0.1, " % of a core"),))]


def memory(base: Path, runs: int) -> list[Section]:
    """Memory while a study of 1 GB is retrieved 20 times and while 10 000 objects are stored."""
    large, many = Kind("CT 512x512", 512, 2000), Kind("small 64x64", 64, 10_000)
    with ours(base / "memory", Durability="fast") as server:
        rows = [["start", f"{memory_mb(server.pid):.0f}"]]
        for _ in range(0, large.count, CT.count):
            clients.store(server, [list(objects(large, CT.count, "LARGE"))])
            server.check(CT.count)
        rows.append([f"{large.count} CT stored (1 GB)", f"{memory_mb(server.pid):.0f}"])
        # Every worker has its first retrieve now: what that brings into memory is no growth.
        with ThreadPoolExecutor(4) as side_by_side:
            list(side_by_side.map(lambda _: clients.get(server, "LARGE"), range(4)))
        rows.append(["4 retrieves of it side by side", f"{memory_mb(server.pid):.0f}"])
        after_gets = _gets(server, large.count, rows)
        after_stores = []
        for part in range(10):
            clients.store(server, [list(objects(many, many.count // 10, f"MANY{part}"))])
            server.check(many.count // 10)
            after_stores.append(memory_mb(server.pid))
            rows.append([f"{(part + 1) * many.count // 10} small stored", f"{after_stores[-1]:.0f}"])
    bars = (
        Bar("memory, growth over the last 15 of 20 retrieves of 1 GB", after_gets[-1] - after_gets[4], 8, 2, " MB"),
        Bar("memory, growth over the last half of 10 000 stores", after_stores[-1] - after_stores[4], 16, 4, " MB"),
    )
    return [Section("Memory of all processes of the server", table(["after", "MB (anonymous PSS)"], rows), bars)]


def _gets(server: Running, count: int, rows: list[list[str]]) -> list[float]:
    used = []
    for number in range(20):
        found, size = clients.get(server, "LARGE")
        assert (found, size > count * 500_000) == (count, True), f"{found} objects, {size} bytes"
        used.append(memory_mb(server.pid))
        if number % 5 in (0, 4):
            rows.append([f"{number + 1} retrieves of it", f"{used[-1]:.0f}"])
    return used


def regen(base: Path, runs: int) -> list[Section]:
    """`dgate -r` over 2 000 small files, program start included."""
    directory = base / "regen"
    write_ini(directory)
    for number in range(20):
        for made in study(f"REGEN{number}", series=2, images=50):
            write(directory / "MAG0" / f"REGEN{number}", made)

    def run(number: int) -> float:
        start = time.perf_counter()
        assert dgate(f"-w{directory}", "-r", directory=directory).returncode == 0
        seconds = time.perf_counter() - start
        rows = _entered(directory)
        assert rows == 2000, f"{rows} of 2000 objects were entered"
        return seconds

    result = Result("dgate -r over 2 000 small files", "files", 2000)
    return [rounds(result, [Contender("dgate -r", run, "dgate -r")], runs).section()]


def _entered(directory: Path) -> int:
    server = build(load(directory, {}))
    lines = [line for line in server.index.check() if line.startswith("DICOMImages")]
    server.index.close()
    return int(lines[0].split()[1])
