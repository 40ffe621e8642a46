"""The real programs we are tested against: DCMTK's tools and Orthanc, each started in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Without this DCMTK waits 40 ms for each of our small answers (Nagle against delayed acknowledgement).
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """Skip a test, by name and loudly, when a Debian package it needs is missing."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is missing: apt-get install {package}")


needs_dcmtk = needs("storescu", "dcmtk")
needs_orthanc = needs("Orthanc", "orthanc")


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 30) -> None:
    """Wait until somebody listens on `port`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on port {port} after {seconds} s")


@dataclass(frozen=True)
class Ran:
    """How a program ended, and all it wrote."""

    code: int
    output: str


def dcmtk(program: str, *arguments: object, timeout: float = 120) -> Ran:
    """Run a DCMTK program to its end."""
    done = subprocess.run(
        [program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode("utf-8", "replace"))


@dataclass(frozen=True)
class StoreScp:
    """A running `storescp`, what it listens as, and where it puts what it receives."""

    ae: str
    port: int
    directory: Path

    def received(self) -> list[Path]:
        return sorted(path for path in self.directory.iterdir() if path.is_file())


@contextmanager
def storescp(directory: Path, *options: str, ae: str = "STORESCP") -> Iterator[StoreScp]:
    """DCMTK's storescp: keeps data sets bit for bit, takes every transfer syntax and SOP class."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = ["storescp", "-aet", ae, "+B", *(options or ("+xa", "-pm"))]
    process = subprocess.Popen(
        [*command, "-od", str(directory), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    try:
        wait_for_port(port, process)
        yield StoreScp(ae, port, directory)
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(command: Sequence[str], port: int, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A server program, from the moment its port answers to SIGTERM."""
    process = subprocess.Popen(command, **{"env": ENVIRONMENT, **options})
    try:
        wait_for_port(port, process)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc and its REST interface."""

    ae: str
    port: int
    http: int

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return json.load(answer)

    def raw(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def post(self, path: str, body: object) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def orthanc(directory: Path, modalities: dict[str, tuple[str, int]], **settings: object) -> Iterator[Orthanc]:
    """Debian's Orthanc with the DICOM modalities it may talk to: name -> (AE title, port)."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Orthanc("ORTHANC", free_port(), free_port())
    configuration = {
        "Name": "peer",
        "DicomAet": made.ae,
        "DicomPort": made.port,
        "HttpPort": made.http,
        "StorageDirectory": str(directory / "storage"),
        "IndexDirectory": str(directory / "storage"),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {name: [ae, "127.0.0.1", port] for name, (ae, port) in modalities.items()},
        "DicomAlwaysAllowMove": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowFind": True,
        "UnknownSopClassAccepted": True,
        "TcpNoDelay": True,
        **settings,
    }
    path = directory / "orthanc.json"
    path.write_text(json.dumps(configuration))
    log = (directory / "orthanc.log").open("wb")
    with log, running(["Orthanc", str(path)], made.http, stdout=log, stderr=log):
        wait_for_port(made.port)
        yield made
