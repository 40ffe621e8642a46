"""UID changes: the same UID gets the same replacement, in each stage its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from db.index import Index


@pytest.fixture
def new_uids() -> Iterator[str]:
    return (f"9.{number}" for number in count(1))


def test_a_uid_is_replaced_by_the_same_one_every_time(index: Index, new_uids: Iterator[str]) -> None:
    assert index.change_uid("1.1", "StudyUID", "", lambda: next(new_uids)) == "9.1"
    assert index.change_uid("1.1", "lua", "", lambda: next(new_uids)) == "9.1"
    assert index.change_uid("1.2", "lua", "", lambda: next(new_uids)) == "9.2"
    assert index.original_uid("9.1") == "1.1"
    assert index.original_uid("1.1") is None


def test_stages_do_not_mix(index: Index, new_uids: Iterator[str]) -> None:
    assert index.change_uid("1.1", "lua", "", lambda: next(new_uids)) == "9.1"
    assert index.change_uid("1.1", "StudyUID", "(merge)", lambda: next(new_uids)) == "9.2"
    assert index.original_uid("9.2") is None
    assert index.original_uid("9.2", "(merge)") == "1.1"


def test_rows_are_those_of_conquest(index: Index) -> None:
    index.change_uid("1.1", "StudyInstanceUID", "", lambda: "9.1")
    assert list(index.raw_query("UIDMODS", "OldUID, MODType, NewUID, Stage, Annotation")) == [
        ("1.1", "StudyInstanceUID", "9.1", "(empty)", "")
    ]
    ((when,),) = index.raw_query("UIDMODS", "MODTime")
    assert int(when) > 1_700_000_000


def test_threads_that_ask_for_one_uid_at_once_get_one_answer(index: Index, new_uids: Iterator[str]) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: index.change_uid("1.1", "lua", "", lambda: next(new_uids)), range(32)))
    assert set(answers) == {"9.1"}
    assert len(list(index.raw_query("UIDMODS", "*"))) == 1


def test_several_uids_may_become_one(index: Index) -> None:
    for old in ("1.1", "1.2"):
        assert index.change_uid(old, "StudyUID", "(merge)", lambda: "9.1") == "9.1"
    assert index.original_uid("9.1", "(merge)") in ("1.1", "1.2")
