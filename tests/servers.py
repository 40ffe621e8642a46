"""A real server of ours in a temporary directory, in this process or as the program users start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dgate.app import Daemon
from dgate.config import load
from tests.peers import free_port, running

AE = "CONQUESTSRV1"


def write_ini(directory: Path, **settings: object) -> None:
    """Write a dicom.ini as small as it can be; `settings` replace or add keys (None leaves one out)."""
    keys: dict[str, object] = {
        "MicroPACS": "sscscp",
        "MyACRNema": AE,
        "TCPPort": 0,
        "BindAddress": "127.0.0.1",
        "TCPIPTimeOut": 20,
        "SQLServer": "dbase/conquest.db3",
        "SQLite": 1,
        "EnableComputedFields": 1,
        "UTF8ToDB": 1,
        "Durability": "fast",
        "MAGDevices": 1,
        "MAGDevice0": "MAG0/",
        "MAGDeviceFullThreshold": 1,
        "UIDPrefix": "99999.99999",
        **settings,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "MAG0").mkdir(exist_ok=True)
    lines = [f"{key} = {value}" for key, value in keys.items() if value is not None]
    (directory / "dicom.ini").write_text("\n".join(["[sscscp]", *lines, ""]))
    if not (directory / "acrnema.map").exists():
        write_map(directory, {})


def write_map(directory: Path, peers: Mapping[str, tuple[int, str]]) -> None:
    """Write acrnema.map: AE title -> (port on this machine, compression code)."""
    lines = [f"{ae} 127.0.0.1 {port} {code}" for ae, (port, code) in peers.items()]
    (directory / "acrnema.map").write_text("\n".join([*lines, ""]))


@contextmanager
def started(directory: Path) -> Iterator[Daemon]:
    """The server on a directory, in this process, on a port of its own."""
    daemon = Daemon(load(directory, {}))
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@dataclass(frozen=True)
class Program:
    """`dgate` as its users run it: a process, its port and its directory."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def dgate(*arguments: str, directory: Path, timeout: float = 120) -> subprocess.CompletedProcess[bytes]:
    """Run the command line program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dgate", *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


def environment() -> dict[str, str]:
    """The environment in which `python -m dgate` finds this checkout from any directory."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


@contextmanager
def program(directory: Path, **settings: object) -> Iterator[Program]:
    """The server as a process of its own; `settings` go into its dicom.ini."""
    port = free_port()
    write_ini(directory, TCPPort=port, **settings)
    command = [sys.executable, "-m", "dgate", f"-w{directory}"]
    with running(command, port, cwd=directory, stdout=subprocess.DEVNULL, env=environment()) as process:
        yield Program(directory, port, process)
