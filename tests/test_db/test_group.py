"""Objects of several threads share commits, and each thread hears what became of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from db.errors import DatabaseLocked, MissingUid, Refused
from db.group import GroupCommit
from db.objects import Added, NewObject


def entered(new: NewObject) -> Added:
    return Added(True, None, "P", "1", "2", new.file)


class Writer:
    """Stands where the index commits: notes the groups, and holds the first one until it is told to go on."""

    def __init__(self, fail: Callable[[NewObject], Refused | None] = lambda new: None) -> None:
        self.groups: list[list[str]] = []
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.fail = fail

    def add_many(self, objects: Sequence[NewObject]) -> list[Added | Refused]:
        self.groups.append([new.file for new in objects])
        self.started.set()
        assert self.go_on.wait(20)
        return [self.fail(new) or entered(new) for new in objects]


def test_what_waits_while_one_commits_is_committed_together() -> None:
    writer = Writer()
    group = GroupCommit(writer.add_many)
    with ThreadPoolExecutor(20) as threads:
        first = threads.submit(group.add, NewObject({}, "MAG0", "first"))
        assert writer.started.wait(20)
        others = [threads.submit(group.add, NewObject({}, "MAG0", f"{number}")) for number in range(10)]
        while len(group._queue) < 10:
            pass
        writer.go_on.set()
        assert first.result(20).sop_instance == "first"
        assert [other.result(20).sop_instance for other in others] == [f"{number}" for number in range(10)]
    assert writer.groups[0] == ["first"]
    assert sorted(writer.groups[1]) == sorted(f"{number}" for number in range(10))
    assert len(writer.groups) == 2


def test_a_refused_object_is_refused_in_its_own_thread_only() -> None:
    writer = Writer(lambda new: MissingUid("no UID") if new.file == "bad" else None)
    writer.go_on.set()
    group = GroupCommit(writer.add_many)
    assert isinstance(group.add(NewObject({}, "MAG0", "bad")), MissingUid)
    assert group.add(NewObject({}, "MAG0", "good")) == entered(NewObject({}, "MAG0", "good"))


def test_a_database_that_fails_fails_everyone_in_the_group_and_nobody_after() -> None:
    calls: list[int] = []

    def add_many(objects: Sequence[NewObject]) -> list[Added | Refused]:
        calls.append(len(objects))
        if len(calls) == 1:
            raise DatabaseLocked("locked")
        return [entered(new) for new in objects]

    group = GroupCommit(add_many)
    with pytest.raises(DatabaseLocked):
        group.add(NewObject({}, "MAG0", "a"))
    assert group.add(NewObject({}, "MAG0", "b")) == entered(NewObject({}, "MAG0", "b"))


def test_many_threads_get_each_their_own_answer() -> None:
    writer = Writer()
    writer.go_on.set()
    group = GroupCommit(writer.add_many)

    def run(name: int) -> list[str]:
        return [group.add(NewObject({}, "MAG0", f"{name}-{number}")).sop_instance for number in range(200)]  # type: ignore[union-attr]

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(run, range(16)))
    assert results == [[f"{name}-{number}" for number in range(200)] for name in range(16)]
    assert sorted(name for one in writer.groups for name in one) == sorted(
        f"{a}-{b}" for a in range(16) for b in range(200)
    )
