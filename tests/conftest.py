"""Fixtures for all packages: a PostgreSQL server of our own, started once per session where one is installed."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


@dataclass(frozen=True)
class PostgresServer:
    """A running server that listens on a Unix socket in `socket` alone and trusts the user ``dgate``."""

    socket: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def run(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(host=str(self.socket), user="dgate", dbname=database, autocommit=True) as connection:
            connection.execute(statement.encode())

    def create_database(self, options: str = "") -> str:
        name = f"index_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} {options}")
        return name

    def drop_database(self, name: str) -> None:
        self.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server with no databases of ours yet; the tests that need it are skipped where there is none."""
    if not _BINARIES:
        pytest.skip("PostgreSQL is not installed (apt install postgresql): its half of the index tests does not run")
    pytest.importorskip(
        "psycopg", reason="psycopg is not installed: the PostgreSQL half of the index tests does not run"
    )
    binaries = _BINARIES[-1]
    directory = Path(tempfile.mkdtemp(prefix="dgate-pg-"))
    user = None
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(directory, account.pw_uid, account.pw_gid)
        user = account.pw_name
    data = directory / "data"
    initdb = [binaries / "initdb", "-D", data, "-U", "dgate", "--auth=trust", "--no-sync"]
    # The directory may be one that the other user cannot enter.
    subprocess.run(
        [*initdb, "--locale=C.UTF-8", "--encoding=UTF8"], check=True, capture_output=True, user=user, cwd=directory
    )
    settings = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses="]
    options = [part for setting in settings for part in ("-c", setting)]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", directory, *options], stderr=log, user=user, cwd=directory
        )
    try:
        _wait_until_ready(binaries, directory, server)
        yield PostgresServer(directory)
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(directory)


def _wait_until_ready(binaries: Path, directory: Path, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        if subprocess.run([binaries / "pg_isready", "-q", "-h", directory], check=False).returncode == 0:
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError((directory / "log").read_text())
