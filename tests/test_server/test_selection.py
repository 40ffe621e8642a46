"""The objects of a retrieve: in their order, each once, and not in memory when they are many."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from db.matches import Rows
from db.objects import StoredObject
from server.pipeline.selection import Selection


def rows(count: int, at_once: int = 200) -> Iterator[Rows]:
    """Rows as the index gives them: some at a time, with a gap or two."""
    made = [
        (b"1.2.840.10008.5.1.4.1.1.2", b"1.2.3.%d" % number, b"P", b"1.2", b"1.2.3", b"MAG0", b"P/%d.dcm" % number)
        for number in range(count)
    ]
    for at in range(0, count, at_once):
        yield made[at : at + at_once]


def test_objects_are_taken_in_their_order_and_each_once() -> None:
    selection = Selection(rows(450))
    assert selection.count == 450
    assert [row.file for row in selection.first(2)] == ["P/0.dcm", "P/1.dcm"]
    assert selection.take() == StoredObject(
        "1.2.840.10008.5.1.4.1.1.2", "1.2.3.0", "P", "1.2", "1.2.3", "MAG0", "P/0.dcm"
    )
    second = selection.take()
    assert second is not None
    selection.give_back(second)
    assert [row.sop_instance for row in selection.rest()] == [f"1.2.3.{number}" for number in range(1, 450)]
    assert selection.take() is None
    selection.close()


def test_what_a_row_lacks_is_empty_and_text_of_any_encoding_is_read() -> None:
    selection = Selection([[(None, b"1.2", "Müller".encode("latin-1"), b"", None, b"MAG0", "ä.dcm".encode())]])
    assert selection.take() == StoredObject("", "1.2", "Müller", "", "", "MAG0", "ä.dcm")
    selection.close()


def test_nobody_takes_anything_once_it_is_stopped() -> None:
    selection = Selection(rows(5))
    row = selection.take()
    assert row is not None
    selection.stop()
    selection.give_back(row)
    assert selection.take() is None
    selection.close()


def test_several_threads_take_each_object_once() -> None:
    selection = Selection(rows(5000))
    taken: list[list[str]] = [[], [], [], []]
    threads = [
        threading.Thread(target=lambda mine=mine: mine.extend(row.sop_instance for row in selection.rest()))
        for mine in taken
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [uid for mine in taken for uid in mine]
    assert sorted(together) == sorted(f"1.2.3.{number}" for number in range(5000))
    assert all(mine == sorted(mine, key=lambda uid: int(uid.rpartition(".")[2])) for mine in taken)
    selection.close()


def test_ten_thousand_objects_take_no_more_memory_than_a_thousand() -> None:
    def some(count: int) -> Iterator[Rows]:
        for _ in range(count // 200):
            yield from rows(200)

    tracemalloc.start()
    try:
        selection = Selection(some(10_000))
        assert sum(1 for _ in selection.rest()) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    selection.close()


def test_an_index_that_fails_half_way_leaves_nothing_open() -> None:
    def failing() -> Iterator[Rows]:
        yield from rows(200)
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError):
        Selection(failing())
