"""A server whose index is a PostgreSQL database: the same services, and what happens when the database goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom.dataset import Dataset

from server.dimse import CommandSet
from tests.conformance.conftest import Archive
from tests.conformance.scu import EXPLICIT, store_elements, wire
from tests.conformance.test_retrieve import by_uid
from tests.conformance.test_store import send
from tests.conformance.test_vectors import ask, expected
from tests.objects import data_set_bytes, ds, encoded, study, variety, write
from tests.peers import StoreScp, dcmtk, free_port, needs_dcmtk, storescp
from tests.servers import AE, dgate, started, write_ini, write_map

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

pytestmark = needs_dcmtk

TABLES = ("dicompatients", "dicomstudies", "dicomseries", "dicomimages")


@dataclass
class Site:
    """A server's directory and its database."""

    directory: Path
    postgres: PostgresServer
    database: str

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        """Ask the database, beside the server."""
        import psycopg

        with psycopg.connect(host=str(self.postgres.socket), user="dgate", dbname=self.database) as connection:
            return connection.execute(statement.encode()).fetchall()

    def rows(self) -> dict[str, list[dict[str, object]]]:
        """Every row of the four tables, AccessTime aside."""
        return {
            table: sorted(
                ({**row, "accesstime": 0} for (row,) in self.ask(f"SELECT to_jsonb(t) FROM {table} t")), key=repr
            )
            for table in TABLES
        }

    def end_connections(self) -> None:
        """End the connections of the server, as a restart of the database does."""
        self.postgres.run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.database}' "
            "AND application_name = 'dgate'"
        )

    @contextmanager
    def closed(self) -> Iterator[None]:
        """The database lets nobody in."""
        self.postgres.run(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS false")
        self.end_connections()
        try:
            yield
        finally:
            self.postgres.run(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS true")


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreScp]:
    with storescp(tmp_path_factory.mktemp("sink")) as running:
        yield running


@contextmanager
def made(postgresql: PostgresServer, directory: Path, port: int = 0) -> Iterator[Site]:
    """A directory that names a new database."""
    database = postgresql.create_database()
    settings = {"SQLite": None, "PostGres": 1, "SQLServer": database, "SQLHost": postgresql.socket}
    write_ini(directory, TCPPort=port, Username="dgate", Password="secret", **settings)
    try:
        yield Site(directory, postgresql, database)
    finally:
        postgresql.drop_database(database)


@pytest.fixture
def site(postgresql: PostgresServer, tmp_path: Path) -> Iterator[Site]:
    with made(postgresql, tmp_path / "archive") as made_site:
        yield made_site


@pytest.fixture
def archive(site: Site) -> Iterator[Archive]:
    with started(site.directory) as daemon:
        yield Archive(site.directory, daemon)


def store(port: int, made_object: Dataset) -> CommandSet:
    """Store one object and return the response."""
    raw = encoded(made_object)
    with wire(port) as peer:
        peer.associate({1: (str(made_object.SOPClassUID), (EXPLICIT,))})
        data = raw[144 + int.from_bytes(raw[140:144], "little") :]
        peer.message(1, store_elements(str(made_object.SOPClassUID), str(made_object.SOPInstanceUID)), data)
        answer = peer.answer()
        assert answer is not None
        assert peer.release()
        return answer[0]


def find(port: int, *keys: str) -> str:
    options = [word for key in ("QueryRetrieveLevel=PATIENT", "PatientID", *keys) for word in ("-k", key)]
    return dcmtk("findscu", "-v", "-P", "-aec", AE, *options, "localhost", port).output


def test_objects_are_stored_found_moved_and_deleted(site: Site, sink: StoreScp, tmp_path: Path) -> None:
    write_map(site.directory, {sink.ae: (sink.port, "as")})
    with started(site.directory) as daemon:
        archive = Archive(site.directory, daemon)
        for made_object, syntax in variety("VARIETY"):
            send(archive, write(tmp_path / "made", made_object, syntax))
        archive.keep(*study("P1", PatientName="DOE^JANE"))
        assert find(daemon.port, "PatientName=doe^ja*").count("(Pending)") == 1
        assert find(daemon.port, "PatientName=MÜLLER*", "SpecificCharacterSet=ISO_IR 192").count("(Pending)") == 1
        keys = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=*"]
        ran = dcmtk("movescu", "-P", "-aec", AE, "-aem", sink.ae, *keys, "localhost", daemon.port)
        assert ran.code == 0, ran.output
        stored, moved = by_uid(archive.files()), by_uid(sink.received())
        assert moved.keys() == stored.keys()
        assert {uid: data_set_bytes(path) for uid, path in moved.items()} == {
            uid: data_set_bytes(path) for uid, path in stored.items()
        }
        assert len(stored) == len(site.ask("SELECT 1 FROM dicomimages")) == 23
        assert ask(daemon.port, "deletepatient:P1").payload is None
        assert ask(daemon.port, "patientfinder:local|P1").payload is None
        assert len(archive.files()) == len(site.ask("SELECT 1 FROM dicomimages")) == 17


def test_commands_answer_as_they_do_with_sqlite(archive: Archive) -> None:
    archive.keep(ds(PatientID="P1", PatientName="DOE^JANE", StudyInstanceUID="1.2.3", StudyDate="20260102"))
    for line, reply in (
        ("patientfinder:local|JANE", "DOE^JANE P1\n"),
        ("studyfinder:local|=P1", "20260102 CT DOE^JANE P1 1.2.3\n"),
        ("imagelister:local|P1||?%d", "1\n"),
        ("query:DICOMPatients|PatientNam,PatientID||%2$s", "P1\n"),
        ("query:DICOMStudies|count(*)|StudyInsta = '1.2.3'|<%s>*", "<1>"),
        ("changeuidback:1.2.3", ""),
    ):
        assert ask(archive.port, line) == expected(reply), line
    status = ask(archive.port, "display_status:").payload
    assert status is not None
    assert b"Database type: PostgreSQL driver\n" in status
    refused = ask(archive.port, "query:pg_user|usename").payload
    assert refused is None


def test_check_shows_the_database_and_not_its_password(postgresql: PostgresServer, tmp_path: Path) -> None:
    with made(postgresql, tmp_path, free_port()) as site:
        assert dgate(f"-w{tmp_path}", "-i", directory=tmp_path).returncode == 0
        ran = dgate(f"-w{tmp_path}", "--check", directory=tmp_path)
        shown = ran.stdout.decode()
        assert ran.returncode == 0, shown
        assert f"ok       database {site.database} on {postgresql.socket}: PostgreSQL " in shown
        assert "ok       DICOMImages: 0 rows" in shown
        assert "secret" not in shown
        with site.closed():
            ran = dgate(f"-w{tmp_path}", "--check", directory=tmp_path)
        assert ran.returncode == 1
        (failed,) = [line for line in ran.stdout.decode().splitlines() if line.startswith("FAILED")]
        assert site.database in failed


def test_a_rebuilt_index_equals_the_one_it_replaces(site: Site, tmp_path: Path) -> None:
    objects = [*study("P1"), *study("P1"), *study("P2", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")]
    with started(site.directory) as daemon:
        archive = Archive(site.directory, daemon)
        archive.keep(*objects, ds(PatientID="P1", PatientName="DOE^RENAMED", Modality="SR"))
        before = site.rows()
        assert ask(daemon.port, "initializetables:").payload is None
        assert site.rows() == {table: [] for table in TABLES}
        assert ask(daemon.port, "regen:").payload is None
        assert site.rows() == before
    ran = dgate(f"-w{site.directory}", "-r", directory=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "19 files entered, 0 failed" in ran.stdout.decode().splitlines()
    assert site.rows() == before


def test_connections_that_were_ended_are_made_anew(archive: Archive, site: Site) -> None:
    assert store(archive.port, ds(PatientID="P1")).number(0x0900) == 0
    assert find(archive.port).count("(Pending)") == 1
    for number in range(3):
        site.end_connections()
        assert store(archive.port, ds(PatientID=f"Q{number}")).number(0x0900) == 0
        site.end_connections()
        assert find(archive.port).count("(Pending)") == number + 2


def test_without_its_database_the_server_says_so_and_goes_on_when_it_is_back(archive: Archive, site: Site) -> None:
    first = ds(PatientID="P1")
    assert store(archive.port, first).number(0x0900) == 0
    kept = {path: path.read_bytes() for path in archive.files()}
    with site.closed():
        response = store(archive.port, ds(PatientID="P2"))
        assert (response.number(0x0900), response.text(0x0902)) == (0xA700, "the index does not answer")
        assert store(archive.port, first).number(0x0900) == 0xA700
        found = find(archive.port)
        assert "(Pending)" not in found
        assert "a700" in found.lower() or "OutOfResources" in found, found
        assert ask(archive.port, "patientfinder:local|").status == 0x0110
        assert ask(archive.port, "echo:none").payload is not None
        assert {path: path.read_bytes() for path in archive.files()} == kept
    assert store(archive.port, ds(PatientID="P2")).number(0x0900) == 0
    assert find(archive.port).count("(Pending)") == 2


def test_a_connection_that_ends_in_the_middle_of_storing_leaves_nothing(archive: Archive, site: Site) -> None:
    import psycopg

    first = ds(PatientID="P1")
    assert store(archive.port, first).number(0x0900) == 0
    kept = {path: path.read_bytes() for path in archive.files()}
    statuses: list[int] = []

    def resend() -> None:
        statuses.append(store(archive.port, first).number(0x0900))

    with psycopg.connect(host=str(site.postgres.socket), user="dgate", dbname=site.database) as other:
        # Another writer has its turn, so that ours has begun its transaction and waits.
        other.execute("SELECT pg_advisory_lock(%s)", [0x64676174])
        thread = threading.Thread(target=resend)
        thread.start()
        end = time.monotonic() + 20
        while not site.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory'") and time.monotonic() < end:
            time.sleep(0.02)
        assert len(archive.files()) == 2
        site.end_connections()
        thread.join()
    assert statuses == [0xA700]
    assert {path: path.read_bytes() for path in archive.files()} == kept
    resend()
    assert statuses[1:] == [0]
    assert len(archive.files()) == len(site.ask("SELECT 1 FROM dicomimages")) == 1


def test_without_a_database_at_the_start_one_line_says_so(site: Site) -> None:
    with site.closed():
        ran = dgate(f"-w{site.directory}", directory=site.directory)
    (line,) = ran.stderr.decode().splitlines()
    assert ran.returncode == 1
    assert line.startswith(f"dgate: database {site.database} on {site.postgres.socket} cannot be reached: ")
    assert "secret" not in line
