"""Rings of records in shared memory, against a list."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import DatabaseError, DatabaseFull, DatabaseLocked
from db.rings import Rings
from db.sharing import FileLock

SIZE = 100
# Which ring, and a record to put; or how many records to let go.
_PUT = st.tuples(st.integers(0, 1), st.binary(max_size=110))
_LET_GO = st.tuples(st.integers(0, 1), st.integers(0, 5))


@given(steps=st.lists(st.one_of(_PUT, _PUT, _LET_GO), max_size=60))
def test_what_comes_out_is_what_went_in_until_it_is_let_go(steps: list[tuple[int, bytes | int]]) -> None:
    rings = Rings(2, SIZE)
    held: tuple[list[bytes], list[bytes]] = ([], [])
    for slot, what in steps:
        tails = rings.tails()
        if isinstance(what, bytes):
            room = SIZE - sum(4 + len(record) for record in held[slot])
            assert rings.put(slot, what) == (4 + len(what) <= room)
            if 4 + len(what) <= room:
                held[slot].append(what)
        else:
            found = rings.records(slot, tails[slot], rings.heads()[slot], what)
            assert [record for _, record in found] == held[slot][:what]
            if found:
                tails[slot] = found[-1][0]
                rings.let_go(tails)
                del held[slot][:what]
        for number in range(2):
            found = rings.records(number, rings.tails()[number], rings.heads()[number], 1000)
            assert [record for _, record in found] == held[number]
        assert rings.in_flight == (held != ([], []))


def test_a_failure_is_told_to_all_until_it_is_over() -> None:
    rings = Rings()
    assert rings.failures == 0
    for error, kind, text in (
        (DatabaseLocked("locked"), DatabaseLocked, "locked"),
        (DatabaseFull("full"), DatabaseFull, "full"),
        (DatabaseError("x" * 2000), DatabaseError, "x" * 1000),
        (KeyError("what"), DatabaseError, "'what'"),
    ):
        rings.failed(error)
        told = rings.failure()
        assert (type(told), str(told)) == (kind, text)
    assert rings.failures == 4
    rings.recovered()
    assert rings.failures == 0


def test_what_one_process_puts_another_finds() -> None:
    rings = Rings(2)
    child = os.fork()
    if not child:
        os._exit(0 if rings.put(1, b"from the other") else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert rings.heads() == [0, 18]
    assert rings.records(1, 0, 18, 9) == [(18, b"from the other")]


def test_a_lock_is_nobodys_when_its_holder_is_killed() -> None:
    file = os.memfd_create("lock")
    lock = FileLock(file, 0)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with lock:
            os.write(writing, b".")
            signal.pause()
    assert os.read(reading, 1) == b"."
    taken = threading.Event()

    def take() -> None:
        with lock:
            taken.set()

    waiting = threading.Thread(target=take)
    waiting.start()
    assert not taken.wait(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert taken.wait(20)
    waiting.join(20)
    for descriptor in (file, reading, writing):
        os.close(descriptor)


def test_a_lock_that_cannot_be_had_is_not_held_by_the_thread_either() -> None:
    lock = FileLock(-1, 0)
    for _ in range(2):
        with pytest.raises((OSError, ValueError)), lock:
            pass


def test_an_event_wakes_another_process_once_it_is_set() -> None:
    event = Rings(2).wake
    assert not event.is_set()
    assert not event.wait(0.01)
    child = os.fork()
    if not child:
        event.set()
        event.set()
        os._exit(0)
    assert event.wait(20)
    assert os.waitpid(child, 0)[1] == 0
    assert event.is_set()
    event.clear()
    assert not event.is_set()
    assert not event.wait(0)
    event.clear()
