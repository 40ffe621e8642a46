"""The servers that are measured: ours in its modes, DCMTK's, Orthanc, and the bare limit; each in a new directory."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.material import files
from tests.benchmarks.measure import children_of_ours
from tests.peers import ENVIRONMENT, free_port, orthanc, wait_for_port
from tests.servers import AE, program, write_map

_COMMIT_SECONDS = 5
_LIMIT = Path(__file__).with_name("limit.c")


@dataclass
class Running:
    """A server under test: where it listens, its AE title, its process, and how many objects it holds."""

    ae: str
    port: int
    pid: int
    stored: Callable[[], int]
    directory: Path
    seen: int = 0

    def check(self, count: int) -> None:
        """So many objects must have been added since this was asked last."""
        before, self.seen = self.seen, self.stored()
        assert self.seen - before == count, f"{self.seen - before} of {count} objects are in {self.directory}"


Opening = AbstractContextManager[Running]
Open = Callable[[Path], Opening]


@contextmanager
def ours(directory: Path, sink_port: int = 1, **settings: object) -> Iterator[Running]:
    """dgate with its index; `sink_port` is where its map sends SINK."""
    directory.mkdir(parents=True, exist_ok=True)
    write_map(directory, {"SINK": (sink_port, "as")})
    with program(directory, **settings) as server:
        yield Running(AE, server.port, server.process.pid, lambda: _kept(directory), directory)


def _kept(directory: Path) -> int:
    """The rows of the index, of which each must have its file; those that were handed over come a moment later."""
    patients = (path for path in (directory / "MAG0").iterdir() if path.name != "printer_files")
    found = sum(map(files, patients))
    deadline = time.monotonic() + _COMMIT_SECONDS
    while True:
        with closing(sqlite3.connect(f"file:{directory}/dbase/conquest.db3?mode=ro", uri=True)) as database:
            ((rows,),) = database.execute("SELECT count(*) FROM DICOMImages")
            ((filled,),) = database.execute("SELECT count(*) FROM DICOMImages WHERE ObjectFile LIKE 'FILLED/%'")
        if found == rows - filled or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert found == rows - filled, f"{rows - filled} rows and {found} files in {directory}"
    return int(rows)


@contextmanager
def storescp(directory: Path, *options: str, port: int = 0) -> Iterator[Running]:
    """DCMTK's storescp, which files and indexes nothing; `--fork` takes several associations."""
    directory.mkdir(parents=True)
    port = port or free_port()
    command = ["storescp", "-pdu", "131072", *options, "-od", str(directory), str(port)]
    with _started(command, port) as pid:
        yield Running("STORESCP", port, pid, lambda: files(directory), directory)


@contextmanager
def dcmqrscp(directory: Path) -> Iterator[Running]:
    """DCMTK's archive, with a file as its index; a process an association."""
    area = directory / "area"
    area.mkdir(parents=True)
    port = free_port()
    configuration = directory / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQRSCP {area} RW (10000, 100000mb) ANY\nAETable END\n"
    )
    with _started(["dcmqrscp", "-c", str(configuration)], port) as pid:
        yield Running("QRSCP", port, pid, lambda: files(area) - (area / "index.dat").exists(), directory)


@contextmanager
def orthanc_as(directory: Path, sink_port: int = 1, *, sync: bool, **more: object) -> Iterator[Running]:
    """Orthanc with 128 KB PDUs and no delayed segments; `sync` is its SyncStorageArea (default: on)."""
    extra = {
        "SyncStorageArea": sync,
        "MaximumPduLength": 131072,
        "StoreMD5ForAttachments": False,
        "OverwriteInstances": True,
        **more,
    }
    before = set(children_of_ours())
    with orthanc(directory, {"sink": ("SINK", sink_port)}, **extra) as peer:
        (pid,) = set(children_of_ours()) - before
        count: Callable[[], int] = lambda: int(peer.get("/statistics")["CountInstances"])  # noqa: E731
        yield Running(peer.ae, peer.port, pid, count, directory)


@contextmanager
def limit(directory: Path, *, sync: bool) -> Iterator[Running]:
    """The C program that receives, writes, perhaps syncs, renames and answers."""
    area = directory / "area"
    area.mkdir(parents=True)
    built = directory / "limit"
    subprocess.run(["cc", "-O2", "-o", str(built), str(_LIMIT)], check=True)
    port = free_port()
    with _started([str(built), str(port), str(area), *(["sync"] if sync else [])], port) as pid:
        yield Running("LIMIT", port, pid, lambda: files(area), directory)


@contextmanager
def _started(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield process.pid
    finally:
        process.kill()
        process.wait()


# What must be installed for each rival, and the package to name when it is not.
_NEEDED: Mapping[str, tuple[str, str]] = {
    "storescp": ("storescp", "dcmtk"),
    "dcmqrscp": ("dcmqrscp", "dcmtk"),
    "Orthanc": ("Orthanc", "orthanc"),
    "limit": ("cc", "gcc"),
}


def missing(names: list[str]) -> dict[str, str]:
    """Those contenders, by name, whose program is not installed, with the line that says so."""
    absent = {}
    for name in names:
        for rival, (needed, package) in _NEEDED.items():
            if name.startswith(rival) and shutil.which(needed) is None:
                absent[name] = f"{name}: skipped, {needed} is missing: apt-get install {package}"
    return absent
