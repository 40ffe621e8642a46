"""The servers that are measured: ours in its modes, DCMTK's storescp, Orthanc; each a process in a new directory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.material import files
from tests.peers import ENVIRONMENT, free_port, orthanc, wait_for_port
from tests.servers import AE, program, write_map

Opened = AbstractContextManager["Running"]


@dataclass(frozen=True)
class Running:
    """A server under test: where it listens, its AE title, and how many objects it holds."""

    ae: str
    port: int
    stored: Callable[[], int]


@contextmanager
def ours(directory: Path, sink_port: int = 1, **settings: object) -> Iterator[Running]:
    """dgate with its index; `sink_port` is where its map sends SINK."""
    directory.mkdir(parents=True)
    write_map(directory, {"SINK": (sink_port, "as")})
    with program(directory, **settings) as server:
        yield Running(AE, server.port, lambda: files(directory / "MAG0"))


@contextmanager
def storescp(directory: Path, *options: str, port: int = 0) -> Iterator[Running]:
    """DCMTK's storescp, which files and indexes nothing; `--fork` takes several associations."""
    directory.mkdir(parents=True)
    port = port or free_port()
    command = ["storescp", "-pdu", "131072", *options, "-od", str(directory), str(port)]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield Running("STORESCP", port, lambda: files(directory))
    finally:
        process.kill()
        process.wait()


@contextmanager
def orthanc_as(directory: Path, sink_port: int = 1, *, sync: bool) -> Iterator[Running]:
    """Orthanc with 128 KB PDUs and no delayed segments; `sync` is its SyncStorageArea (default: on)."""
    extra = {
        "SyncStorageArea": sync,
        "MaximumPduLength": 131072,
        "StoreMD5ForAttachments": False,
        "OverwriteInstances": True,
    }
    with orthanc(directory, {"sink": ("SINK", sink_port)}, **extra) as peer:
        yield Running(peer.ae, peer.port, lambda: int(peer.get("/statistics")["CountInstances"]))
