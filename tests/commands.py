"""Commands as ConQuest's client sends them, over a plain socket, and a site of ours to send them to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from dgate.app import Daemon
from tests.conformance.scu import IMPLICIT, VERIFICATION, wire
from tests.objects import write
from tests.servers import started, write_ini

TEXT = 0x99990300
COMMAND = 0x99990400
RESPONSE = 0x99990401
DATA = 0x99990402
ODD = 0x99990404


@dataclass(frozen=True)
class Reply:
    """The two elements of a reply as they were on the wire, and its status."""

    payload: bytes | None
    odd: int | None
    status: int


def ask(port: int, line: str | bytes, *, calling: str = "PYTEST", data: bytes | None = None) -> Reply:
    """Send one command as ConQuest's client does."""
    raw = line.encode("latin-1") if isinstance(line, str) else line
    elements: dict[int, int | str | bytes] = {
        0x0002: VERIFICATION,
        0x0100: 0x0030,
        0x0110: 1,
        0x0800: 0x0101,
        TEXT: "Server command sent using DGATE -- option",
        COMMAND: raw,
    }
    if data is not None:
        elements[DATA] = data
        if len(data) & 1:
            elements[ODD] = 1
    with wire(port) as peer:
        accepted = peer.associate({3: (VERIFICATION, (IMPLICIT,))}, calling=calling, called=calling, max_pdu=4096)
        assert accepted is not None
        assert accepted.kind == 2
        peer.message(3, elements, piece=4090)
        answer = peer.answer()
        assert answer is not None
        assert peer.release()
    received = answer[0]
    assert received.number(0x0100) == 0x8030
    assert received.number(0x0120) == 1
    assert received.number(0x0800) == 0x0101
    odd = received.number(ODD) if ODD in received else None
    return Reply(received.get(RESPONSE), odd, received.number(0x0900))


def expected(text: str) -> Reply:
    """What the wire holds for a text: one NUL of padding and a flag when its length is odd, nothing when empty."""
    raw = text.encode()
    if not raw:
        return Reply(None, None, 0)
    return Reply(raw + b"\0", 1, 0) if len(raw) & 1 else Reply(raw, None, 0)


@dataclass(frozen=True)
class Site:
    """A running server, the directory it was started in, and what can be asked of it."""

    directory: Path
    daemon: Daemon

    @property
    def port(self) -> int:
        return self.daemon.port

    def ask(self, line: str | bytes, *, calling: str = "PYTEST", data: bytes | None = None) -> Reply:
        """The reply as it was on the wire."""
        return ask(self.port, line, calling=calling, data=data)

    def says(self, line: str, *, data: bytes | None = None) -> str:
        """The text of a successful reply, empty when there is none."""
        reply = self.ask(line, data=data)
        assert reply.status == 0, reply
        return text_of(reply)

    def keep(self, *objects: Dataset) -> None:
        """Enter objects through the command channel, which must succeed."""
        for made in objects:
            path = write(self.directory / "sent", made)
            assert self.says(f"addimagefile:{path}") == "0", made

    def files(self) -> list[str]:
        """Every file on MAG0 but those of the server itself, below the device."""
        root = self.directory / "MAG0"
        paths = (path for path in root.rglob("*") if path.is_file() and "printer_files" not in path.parts)
        return sorted(path.relative_to(root).as_posix() for path in paths)

    def directories(self) -> list[str]:
        """Every directory on MAG0 but that of the server itself."""
        root = self.directory / "MAG0"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir())

    def images(self, patient: str) -> list[Path]:
        """The files that the index has of a patient."""
        return [Path(path) for path in self.says(f"imagelister:local|{patient}|").split("*") if path]

    def rows(self, table: str, columns: str) -> list[tuple[object, ...]]:
        """Rows of a SQLite index, sorted."""
        self.daemon.server.index.locate("")  # whoever asks the index has it commit what was handed over
        with sqlite3.connect(self.directory / "dbase" / "conquest.db3") as connection:
            rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
        connection.close()
        return sorted(rows)

    def counts(self) -> tuple[int, int, int, int]:
        """How many patients, studies, series and images a SQLite index has."""
        patients, studies, series, images = (
            len(self.rows(table, "1")) for table in ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")
        )
        return patients, studies, series, images

    def log(self, name: str = "PacsTrouble.log") -> str:
        """A log as it stands."""
        return (self.directory / name).read_text()


def text_of(reply: Reply) -> str:
    """The payload as text, without padding."""
    payload = reply.payload or b""
    return (payload[:-1] if reply.odd else payload).decode()


@contextmanager
def site(directory: Path, **settings: object) -> Iterator[Site]:
    """A server of ours, in this process, on a directory of its own; `settings` go into its dicom.ini."""
    write_ini(directory, **settings)
    with started(directory) as daemon:
        yield Site(directory, daemon)
