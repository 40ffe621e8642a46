"""Fixtures of the conformance tests: a server of ours, a sink to move to, and what DCMTK is told to reach them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dgate.app import Daemon
from tests.conformance.dialogue import CONTEXTS, CT, answered
from tests.conformance.scu import store_elements, wire
from tests.objects import data_set_bytes, study, write
from tests.peers import Ran, StoreScp, dcmtk, storescp
from tests.servers import AE, started, write_ini, write_map


@dataclass
class Archive:
    """A running server and the directory it was started in."""

    directory: Path
    daemon: Daemon

    @property
    def port(self) -> int:
        return self.daemon.port

    def store(self, *paths: Path, options: tuple[str, ...] = ()) -> Ran:
        """Send files with storescu in the transfer syntaxes they have."""
        return dcmtk("storescu", "-v", "-aec", AE, *options, "localhost", self.port, *paths)

    def keep(self, *objects: Dataset) -> None:
        """Store small explicit little endian objects, which must succeed."""
        paths = [write(self.directory / "sent", made) for made in objects]
        ran = self.store(*paths)
        assert ran.code == 0, ran.output

    def files(self) -> list[Path]:
        """Every file on MAG0 but those of the server itself."""
        root = self.directory / "MAG0"
        return sorted(p for p in root.rglob("*") if p.is_file() and "printer_files" not in p.parts)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[StoreScp]:
    """A storescp that takes everything."""
    with storescp(tmp_path / "sink") as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A server with an empty store."""
    directory = tmp_path / "archive"
    write_ini(directory)
    with started(directory) as daemon:
        yield Archive(directory, daemon)


@pytest.fixture
def archive_with_sink(tmp_path: Path, sink: StoreScp) -> Iterator[Archive]:
    """A server whose acrnema.map knows `sink` as STORESCP."""
    directory = tmp_path / "archive"
    directory.mkdir()
    write_map(directory, {"STORESCP": (sink.port, "as")})
    write_ini(directory)
    with started(directory) as daemon:
        yield Archive(directory, daemon)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """A server with 300 objects of one study, which no test changes."""
    directory = tmp_path_factory.mktemp("full") / "archive"
    write_ini(directory)
    with started(directory) as daemon:
        archive = Archive(directory, daemon)
        with wire(archive.port) as peer:
            peer.associate(CONTEXTS)
            for made in study("FULL", series=1, images=300):
                data = data_set_bytes(write(directory / "sent", made))
                assert answered(peer, 1, store_elements(CT, made.SOPInstanceUID), data) == 0
            assert peer.release()
        yield archive


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """One server for the tests that leave nothing behind in it."""
    directory = tmp_path_factory.mktemp("shared") / "archive"
    write_ini(directory)
    with started(directory) as daemon:
        yield Archive(directory, daemon)
