"""The power fails at any moment of a recorded run: with Durability = safe nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from db.errors import DatabaseError, LinkRefused
from db.index import Index
from db.query import Query
from server.commandset import CommandSet
from server.pipeline.fsck import fsck
from server.pipeline.ingest import Incoming, ingest
from server.server import Server
from storage.part10 import read_object_file
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.commands import ask
from tests.conformance.blackout import Disk, Event, build_recorder, events, recording
from tests.conformance.dialogue import CONTEXTS, CT
from tests.conformance.scu import Wire, store_elements, wire
from tests.objects import data_set_bytes, ds, encoded, with_pixels, write
from tests.peers import free_port, running
from tests.servers import environment, started, write_ini

CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None, reason="cc, with which to record what a server writes, is not installed")

SENDERS = 3
COMMAND = 0x99990400


@dataclass
class Step:
    """What is done to one object: it is stored with these bytes, or deleted (None); `number` is the message ID."""

    number: int
    uid: str
    data: bytes | None


@dataclass
class History:
    """What happened to one object, in order, and how much of that was acknowledged."""

    steps: list[Step] = field(default_factory=list)
    acknowledged: int = 0

    @property
    def possible(self) -> list[bytes | None]:
        """What may be found: the outcome of what was acknowledged last, or of the step behind that one."""
        return [None if not at else self.steps[at - 1].data for at in self._ends()]

    def _ends(self) -> list[int]:
        return [self.acknowledged, *([self.acknowledged + 1] if self.acknowledged < len(self.steps) else [])]


def lives(directory: Path, old: list[Dataset]) -> list[list[Step]]:
    """For each sender what it does: objects that are there go or come again, new ones come, come again and go."""
    plans = []
    for sender in range(SENDERS):
        plan: list[tuple[str, bytes | None]] = []
        for number, made in enumerate(old[sender::SENDERS]):
            # Of some directories all that happens is that something goes.
            made.StudyDescription = "again, years later"
            plan.append((str(made.SOPInstanceUID), _bytes(directory, made) if number % 2 else None))
        for number in range(8):
            made = ds(PatientID=f"P{sender}-{number % 3}", StudyDescription="first")
            if number % 2:
                # Every other one is too large for memory.
                with_pixels(made, *((40, 40) if number % 4 == 1 else (300, 300)))
            uid = str(made.SOPInstanceUID)
            plan.append((uid, _bytes(directory, made)))
            if number % 3 == 0:
                made.StudyDescription = "again, with other bytes"
                plan.append((uid, _bytes(directory, made)))
            if number % 4 == 1:
                plan.append((uid, None))
            if number % 8 == 5:
                plan.append((uid, _bytes(directory, made)))
        plans.append([Step(1000 * (sender + 1) + number, *each) for number, each in enumerate(plan)])
    return plans


def _bytes(directory: Path, made: Dataset) -> bytes:
    return data_set_bytes(write(directory, made))


def perform(port: int, plan: list[Step]) -> None:
    """Take the steps one by one; each must succeed."""
    with wire(port) as peer:
        peer.associate(CONTEXTS)
        for step in plan:
            assert _taken(peer, step) == 0
        assert peer.release()


def _taken(peer: Wire, step: Step) -> int:
    if step.data is not None:
        peer.message(1, store_elements(CT, step.uid, step.number), step.data)
    else:
        elements = {0x0002: "1.2.840.10008.1.1", 0x0100: 0x0030, 0x0110: step.number, 0x0800: 0x0101}
        peer.message(3, {**elements, COMMAND: f"deleteimage:{step.uid}".encode()})
    answer = peer.answer()
    assert answer is not None
    return answer[0].number(0x0900)


def acknowledged(event: Event) -> Iterator[int]:
    """The message IDs that a piece of what was sent says yes to."""
    data = event.data
    while len(data) > 12 and data[0] == 4:
        length = int.from_bytes(data[2:6], "big")
        if data[11] == 3:
            command = CommandSet.parse(data[12 : 6 + length])
            if command.number(0x0100) in (0x8001, 0x8030) and command.number(0x0900) == 0:
                yield command.number(0x0120)
        data = data[6 + length :]


@dataclass(frozen=True)
class Recorded:
    """A run: where it was, what was there before it, and everything that happened."""

    root: Path
    before: Path
    inodes: dict[Path, int]
    covering: bool
    happened: list[Event]
    first: list[Step]
    plans: list[list[Step]]


# The program, told what kind of file system its devices lie on, and to settle names while it is recorded.
_PROGRAM = """
import sys
import storage.settling, storage.spares, storage.staging
storage.staging.kind_of = storage.spares.kind_of = lambda _: sys.argv[1]
storage.settling._PAUSE_S = 0.05
from dgate.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module", params=["ext4", "nfs4"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run on a file system where the sync of a new file covers its name, and on one where that is not known."""
    base = tmp_path_factory.mktemp("power")
    root, before, log = base / "archive", base / "before", base / "log"
    port = free_port()
    write_ini(root, TCPPort=port, Durability="safe")
    old = [ds(PatientID=f"OLD{number}") for number in range(4 * SENDERS)]
    first = [Step(number, str(made.SOPInstanceUID), _bytes(base / "made", made)) for number, made in enumerate(old)]
    with started(root) as daemon:
        perform(daemon.port, first)
    shutil.copytree(root, before)
    inodes = {path: path.stat().st_ino for path in (root, *root.rglob("*"))}
    assert CC is not None
    library = build_recorder(base, CC)
    plans = lives(base / "made", old)
    command = [sys.executable, "-c", _PROGRAM, request.param, f"-w{root}"]
    preload = {**environment(), **recording(library, root, log)}
    with running(command, port, cwd=root, stdout=subprocess.DEVNULL, env=preload) as process:
        threads = [threading.Thread(target=perform, args=(port, plan)) for plan in plans]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        process.kill()
        process.wait()
    return Recorded(root, before, inodes, request.param == "ext4", list(events(log)), first, plans)


def moments(happened: list[Event], count: int, chance: random.Random) -> list[int]:
    """Where the power fails: behind syncs, answers and changes of names, at some other points, and at the end."""
    likely = [number + 1 for number, event in enumerate(happened) if event.kind in "EALRU"]
    others = range(1, len(happened))
    chosen = set(chance.sample(likely, min(len(likely), count))) | set(chance.sample(others, min(len(others), count)))
    return sorted({*chosen, len(happened)})


@needs_cc
def test_whenever_the_power_fails_what_was_acknowledged_is_there_whole_and_found(
    recorded: Recorded, tmp_path: Path
) -> None:
    chance = random.Random(7)
    count = int(os.environ.get("SOAK_BLACKOUTS", "16"))
    stops = set(moments(recorded.happened, count, chance))
    by_number = {step.number: step for plan in recorded.plans for step in plan}
    objects = {step.uid: History([step], 1) for step in recorded.first}
    for step in by_number.values():
        objects.setdefault(step.uid, History()).steps.append(step)
    disk = Disk(recorded.root, recorded.before, recorded.inodes, covering=recorded.covering)
    answered = 0
    for number, event in enumerate(recorded.happened):
        disk.happen(number, event)
        if event.kind == "A":
            for message in acknowledged(event):
                objects[by_number[message].uid].acknowledged += 1
                answered += 1
        if number + 1 in stops:
            for name, drawn in (("strict", None), ("torn", chance)):
                directory = tmp_path / f"{number}-{name}"
                disk.write(directory, drawn)
                check(directory, objects)
                shutil.rmtree(directory)
    assert answered == len(by_number)


def booted(directory: Path) -> None:
    """Let the machine have been started anew since the server on a directory was."""
    journal = directory / "MAG0" / "printer_files" / "dgate.touched"
    if journal.exists():
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
        journal.write_bytes(journal.read_bytes().replace(boot, b"the boot before the power failed"))


def check(directory: Path, objects: dict[str, History]) -> None:
    """Start on what is left, and compare."""
    write_ini(directory, Durability="safe")
    booted(directory)
    with started(directory) as daemon:
        server = daemon.server
        found = {row.sop_instance: row for row in server.index.select_objects(Query(level="IMAGE", keys={}))}
        assert [str(finding) for finding in fsck(server, repair=False, alone=True)] == [], directory
        for uid, life in objects.items():
            row = found.pop(uid, None)
            held = None if row is None else data_set_bytes(server.storage.locate(row.device, row.file))
            assert held in life.possible, f"{directory}: {uid} after {life.acknowledged} of {len(life.steps)} steps"
        assert found == {}


# Final names that were not durable yet


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sync of a file cover its name, and nothing settle names but a stop."""
    monkeypatch.setattr("storage.staging.kind_of", lambda _: "ext4")
    monkeypatch.setattr("storage.settling._PAUSE_S", 3600)


def put(server: Server, made: Dataset, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Store an object; its data set."""
    raw = encoded(made, syntax)
    data = raw[144 + int.from_bytes(raw[140:144], "little") :]
    uids = (str(made.SOPClassUID), str(made.SOPInstanceUID), syntax)
    spool = server.storage.spool(*uids)
    try:
        spool.write(data)
        ingest(server, Incoming(spool, *uids, "A", "B"))
    finally:
        spool.discard()
    return data


def held(server: Server) -> dict[str, bytes]:
    """What the index has, by SOP instance: the data set in the file that it names."""
    rows = server.index.select_objects(Query(level="IMAGE", keys={}))
    files = {row.sop_instance: read_object_file(server.storage.locate(row.device, row.file)) for row in rows}
    return {uid: file.path.read_bytes()[file.offset :] for uid, file in files.items()}


@pytest.mark.usefixtures("slow")
def test_an_object_that_lost_its_final_name_is_taken_in_by_the_one_that_tells_that_it_is_whole(tmp_path: Path) -> None:
    run, cut = tmp_path / "run", tmp_path / "cut"
    write_ini(run, Durability="safe", FileNameSyntax=3)
    bare, whole, again, gone, torn = (ds(PatientID=f"P{number}") for number in range(5))
    with started(run) as daemon:
        server = daemon.server
        staging = server.storage.devices[0].staging
        expected = {bare.SOPInstanceUID: put(server, bare, IMPLICIT_LITTLE), whole.SOPInstanceUID: put(server, whole)}
        put(server, again)
        put(server, gone)
        # Their temporary names go now, and a power cut brings them back.
        shutil.copytree(staging, tmp_path / "kept")
        again.StudyDescription = "later"
        expected[again.SOPInstanceUID] = put(server, again)
        assert ask(daemon.port, f"deleteimage:{gone.SOPInstanceUID}").status == 0
        before = set(staging.iterdir())
        put(server, torn)
        (part,) = set(staging.iterdir()) - before
        shutil.copytree(run, cut)
    for path in (tmp_path / "kept").glob("*.part"):
        shutil.copy2(path, cut / "MAG0" / "printer_files")
    for path in (cut / "MAG0").glob("P*/*"):
        path.unlink()
    # Of one object all bytes but the last ones had got to the disk, so it cannot have been acknowledged.
    torn_part = cut / "MAG0" / "printer_files" / part.name
    torn_part.write_bytes(torn_part.read_bytes()[:-4] + bytes(4))
    write_ini(cut, Durability="safe", FileNameSyntax=3)
    booted(cut)
    for _ in range(2):
        with started(cut) as daemon:
            assert held(daemon.server) == expected
            assert [str(finding) for finding in fsck(daemon.server, repair=False, alone=True)] == []
        assert list((cut / "MAG0" / "printer_files").glob("*.part")) == []


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("error", [DatabaseError("the disk is full"), LinkRefused("another study"), OSError("broken")])
def test_what_cannot_be_taken_in_waits_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    run, cut = tmp_path / "run", tmp_path / "cut"
    write_ini(run, Durability="safe")
    made = ds(PatientID="P0")
    with started(run) as daemon:
        expected = {made.SOPInstanceUID: put(daemon.server, made)}
        shutil.copytree(run, cut)
    (final,) = (cut / "MAG0" / "P0").iterdir()
    final.unlink()
    (part,) = (cut / "MAG0" / "printer_files").glob("*.part")
    write_ini(cut, Durability="safe")
    booted(cut)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Index, "add", fail)
        try:
            with started(cut) as daemon:
                assert held(daemon.server) == {}
        except DatabaseError:
            pass
    assert part.exists()
    assert list((cut / "MAG0").glob("P*/*")) == []
    with started(cut) as daemon:
        assert held(daemon.server) == expected
    assert not part.exists()


@pytest.mark.usefixtures("slow")
def test_after_a_kill_names_are_made_durable_before_others_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, killed = tmp_path / "run", tmp_path / "killed"
    write_ini(run, Durability="safe")
    made = ds(PatientID="P0")
    with started(run) as daemon:
        expected = {made.SOPInstanceUID: put(daemon.server, made)}
        shutil.copytree(run, killed)
    (final,) = (killed / "MAG0" / "P0").iterdir()
    (part,) = (killed / "MAG0" / "printer_files").glob("*.part")
    part.unlink()
    os.link(final, part)
    write_ini(killed, Durability="safe")
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append(name if part.exists() else f"{name} without")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with started(killed) as daemon:
        assert held(daemon.server) == expected
    assert "P0" in synced
    assert not part.exists()
