"""A server under load from several senders that is killed again and again, and what must be found after each time."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from db.query import Query
from dgate.app import build
from dgate.config import load
from server.commandset import Value
from server.pipeline.fsck import fsck
from tests.conformance.dialogue import (
    CONTEXTS,
    CT,
    FIND,
    GET,
    identifier,
    request,
    responses,
    store_response,
    wait_until,
)
from tests.conformance.processes import alive, family
from tests.conformance.scu import VERIFICATION, Wire, store_elements
from tests.objects import data_set_bytes
from tests.servers import Program, dgate, program
from tests.soak.life import Life, made_uid, object_bytes

COMMAND = 0x99990400
# What is killed: everything at once, the main process alone, one worker, the process that runs commands.
KINDS = ("all", "parent", "worker", "core")


@dataclass
class Figures:
    """What a siege came to."""

    counts: Counter[str] = field(default_factory=Counter)
    starts_s: list[float] = field(default_factory=list)

    def lines(self) -> list[str]:
        starts = sorted(self.starts_s)
        return [
            *(f"{what}: {count}" for what, count in sorted(self.counts.items())),
            f"start to answering port: median {starts[len(starts) // 2]:.2f} s, longest {starts[-1]:.2f} s",
        ]


class Siege:
    """Senders that store, store again, delete and look; rounds that each end with a kill; a check after each."""

    def __init__(self, directory: Path, seed: int, *, senders: int = 4, **settings: object) -> None:
        self._directory = directory
        self._settings = settings
        self._chance = random.Random(seed)
        self._senders = [_Sender(number, random.Random(f"{seed} {number}")) for number in range(1, senders + 1)]
        self._family: dict[str, int] = {}
        self.figures = Figures()

    @property
    def lives(self) -> dict[str, Life]:
        return {uid: life for sender in self._senders for uid, life in sender.lives.items()}

    def last(self, seconds: float) -> None:
        """Besiege the server for so long, then check everything that there is to check."""
        end = time.monotonic() + seconds
        kinds = list(KINDS)
        while time.monotonic() < end:
            self._round(kinds[0])
            kinds.append(kinds.pop(0))
        self._conclude()

    def _round(self, kind: str) -> None:
        with self._started() as running:
            self.check()
            stop = threading.Event()
            threads = [threading.Thread(target=sender.work, args=(running.port, stop)) for sender in self._senders]
            for thread in threads:
                thread.start()
            time.sleep(self._chance.uniform(0.05, 0.8))
            if self._kill(running, kind):
                # The server goes on; so do the senders.
                time.sleep(self._chance.uniform(0.3, 0.8))
                self._kill(running, self._chance.choice(("all", "parent")))
            running.process.wait(10)
            assert wait_until(lambda: not any(map(alive, self._family.values()))), "processes outlive the main one"
            stop.set()
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive(), "a sender hangs"

    def _kill(self, running: Program, kind: str) -> bool:
        """Kill; whether the server is to go on. A server of one process has nothing but itself to kill."""
        self._family = family(running.process.pid)
        chosen = [pid for name, pid in self._family.items() if name.startswith(f"dgate {kind}")]
        if kind in ("worker", "core") and not chosen:
            kind = "all"
        self.figures.counts[f"killed, {kind}"] += 1
        if kind in ("worker", "core"):
            os.kill(self._chance.choice(chosen), signal.SIGKILL)
            return True
        os.kill(running.process.pid, signal.SIGKILL)
        for pid in self._family.values() if kind == "all" else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return False

    def _started(self) -> _Timed:
        return _Timed(self._directory, self._settings, self.figures)

    def check(self) -> None:
        """Compare files, index and what was acknowledged while the server runs."""
        server = build(load(self._directory, {}))
        try:
            found = {row.sop_instance: row for row in server.index.select_objects(Query(level="IMAGE", keys={}))}
            wrong = [str(finding) for finding in fsck(server, repair=False, alone=False)]
            for uid, life in self.lives.items():
                row = found.pop(uid, None)
                held = None if row is None else data_set_bytes(server.storage.locate(row.device, row.file))
                if held not in life.possible:
                    wrong.append(f"{uid} is {'there' if held else 'not there'} or has other bytes than it may have")
                life.acknowledged(held)
            wrong += [f"{uid} was never sent" for uid in found]
            staging = self._directory / "MAG0" / "printer_files"
            # In `safe` the last ones go a second after their objects were answered.
            wait_until(lambda: not any(staging.glob("*.part")))
            wrong += [str(path) for path in staging.glob("*.part")]
        finally:
            server.index.close()
        assert wrong == []

    def _conclude(self) -> None:
        with self._started() as running:
            self.check()
            there = {uid for uid, life in self.lives.items() if life.possible != {None}}
            for sender in self._senders:
                sender.look(running.port)
            assert running.stop() == 0
        ran = dgate(f"-w{self._directory}", "--fsck", directory=self._directory)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
        for sender in self._senders:
            self.figures.counts.update(sender.counts)
        self.figures.counts["objects at the end"] = len(there)


class _Timed:
    """The program on a directory, with the time it took until it answered."""

    def __init__(self, directory: Path, settings: dict[str, object], figures: Figures) -> None:
        self._program = program(directory, **settings)
        self._figures = figures

    def __enter__(self) -> Program:
        begun = time.monotonic()
        running = self._program.__enter__()
        self._figures.starts_s.append(time.monotonic() - begun)
        return running

    def __exit__(self, *error: object) -> None:
        self._program.__exit__(*error)  # type: ignore[arg-type]


class _Sender:
    """A peer with objects of its own, which nobody else touches, so that their order is known."""

    def __init__(self, number: int, chance: random.Random) -> None:
        self._number = number
        self._chance = chance
        self.lives: dict[str, Life] = {}
        self.counts: Counter[str] = Counter()

    def work(self, port: int, stop: threading.Event) -> None:
        """Store, delete and look until told to stop, over one association after another."""
        while not stop.is_set():
            try:
                peer = Wire(port)
            except OSError:
                time.sleep(0.02)
                continue
            try:
                if peer.associate(CONTEXTS) is None:
                    continue
                while not stop.is_set() and self._step(peer):
                    pass
            except OSError:
                self.counts["associations cut"] += 1
            finally:
                peer.socket.close()

    def _step(self, peer: Wire) -> bool:
        drawn = self._chance.random()
        if drawn < 0.65 or not self.lives:
            uid = made_uid(self._number, len(self.lives))
            self.lives[uid] = Life()
            return self._store(peer, uid, "stored")
        uid = self._chance.choice(list(self.lives))
        if drawn < 0.82:
            return self._store(peer, uid, "stored again")
        if drawn < 0.93:
            return self._delete(peer, uid)
        return self._find(peer, uid)

    def _patient(self, uid: str) -> str:
        return f"S{self._number}-{int(uid.rpartition('.')[2]) % 7}"

    def _store(self, peer: Wire, uid: str, what: str) -> bool:
        life = self.lives[uid]
        life.versions += 1
        patient = self._patient(uid)
        study = made_uid(9, self._number, int(patient[-1]))
        pixels = self._chance.choice((0, 0, 0, 8_000, 8_000, 200_000))
        data = object_bytes(uid, study, patient, life.versions, pixels)
        return self._asked(peer, 1, store_elements(CT, uid, life.versions % 60_000), data, life, data, what)

    def _delete(self, peer: Wire, uid: str) -> bool:
        elements: dict[int, Value] = {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 7, 0x0800: 0x0101}
        elements[COMMAND] = f"deleteimage:{uid}".encode()
        return self._asked(peer, 3, elements, None, self.lives[uid], None, "deleted")

    def _asked(
        self,
        peer: Wire,
        context: int,
        elements: dict[int, Value],
        data: bytes | None,
        life: Life,
        outcome: bytes | None,
        what: str,
    ) -> bool:
        life.asked(outcome)
        peer.message(context, elements, data)
        answer = peer.answer()
        if answer is None:
            self.counts["associations cut"] += 1
            return False
        status = answer[0].number(0x0900)
        if status == 0:
            life.acknowledged(outcome)
            self.counts[what] += 1
        else:
            self.counts[f"answered 0x{status:04x}"] += 1
        return True

    def _find(self, peer: Wire, uid: str) -> bool:
        key = uid.encode() + b"\0" * (len(uid) & 1)
        peer.message(5, request(FIND, 0x0020), identifier(b"IMAGE ", _implicit(0x0008, 0x0018, key)))
        count = 0
        while True:
            answer = peer.answer()
            if answer is None:
                self.counts["associations cut"] += 1
                return False
            if answer[0].number(0x0900) not in (0xFF00, 0xFF01):
                break
            count += 1
        expected = {0 if outcome is None else 1 for outcome in self.lives[uid].possible}
        assert count in expected, f"{uid} found {count} times"
        self.counts["found"] += 1
        return True

    def look(self, port: int) -> None:
        """Find all there is of each patient by C-FIND, and retrieve some by C-GET."""
        there = {uid: next(iter(life.possible)) for uid, life in self.lives.items()}
        held = {uid: data for uid, data in there.items() if data is not None}
        peer = Wire(port)
        peer.associate(CONTEXTS, scp_of=(CT,))
        found: set[str] = set()
        for patient in sorted({self._patient(uid) for uid in self.lives}):
            keys = _implicit(0x0008, 0x0018, b"") + _implicit(0x0010, 0x0020, patient.encode())
            peer.message(5, request(FIND, 0x0020), identifier(b"IMAGE ", keys))
            for _, answer in responses(peer)[:-1]:
                at = answer.index(b"\x08\0\x18\0") + 8
                found.add(answer[at : at + int.from_bytes(answer[at - 4 : at], "little")].rstrip(b"\0").decode())
        assert found == held.keys()
        for uid in self._chance.sample(sorted(held), min(len(held), 30)):
            assert self._retrieved(peer, uid) == held[uid], uid
        assert peer.release()
        peer.socket.close()

    def _retrieved(self, peer: Wire, uid: str) -> bytes:
        key = uid.encode() + b"\0" * (len(uid) & 1)
        peer.message(7, request(GET, 0x0010), identifier(b"IMAGE ", _implicit(0x0008, 0x0018, key)))
        received = b""
        while True:
            answer = peer.answer()
            assert answer is not None
            command, data = answer
            if command.number(0x0100) == 0x0001:
                received = data
                peer.message(1, store_response(command))
            elif command.number(0x0900) != 0xFF00:
                assert command.number(0x0900) == 0
                return received


def _implicit(group: int, element: int, value: bytes) -> bytes:
    return (
        b"".join(number.to_bytes(2, "little") for number in (group, element)) + len(value).to_bytes(4, "little") + value
    )
