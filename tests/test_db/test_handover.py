"""Rows that are handed over: seen by all at once, committed soon, and lost with nobody."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from db.engine import Session
from db.errors import DatabaseError, DatabaseFull, DatabaseLocked, LinkRefused, Refused
from db.index import Index
from db.objects import Added, Checked, Location, NewObject, StoredObject
from db.query import Query
from db.rings import Rings
from db.schema import TagPath, load_schema
from db.settings import DbSettings
from tests.test_db.headers import CT, header, path_of

IMAGES = Query("IMAGE", {}, [path_of("SOPInstanceUID")])


def image(number: int, **elements: str) -> dict[TagPath, str]:
    return header(**({"SOPInstanceUID": f"1.1.1.{number}", "InstanceNumber": f"{number}"} | elements))


class Heard:
    """What becomes of rows, as a server hears it."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Added | Refused]] = []
        self.said: list[str] = []

    def entered(self, new: NewObject, result: Added | Refused) -> None:
        self.entries.append((new.file, result))

    def failing(self, error: Exception) -> None:
        self.said.append(type(error).__name__)

    def recovered(self) -> None:
        self.said.append("recovered")


class Site:
    """An index whose rings several processes share; each opens its own."""

    def __init__(self, settings: DbSettings, base: Path, closing: ExitStack, rings: Rings) -> None:
        self.rings = rings
        self.heard = Heard()
        self.checked = Checked()
        self._settings = settings
        self._base = base
        self._closing = closing

    def index(self, slot: int | None = None) -> Index:
        """The index as process `slot` of the server has it, or somebody else."""
        index = Index(self._settings, load_schema(None, self._settings), self._base, durability="fast")
        self._closing.callback(index.close)
        index.report_to(self.heard)
        if slot is not None:
            index.share(self.rings, slot)
        return index

    def begin(self, index: Index) -> None:
        """Enter the first object of the series, image 0."""
        values = image(0)
        self.checked.add(values, index.add(values, "MAG0", "0.dcm"))

    def hand_over(self, index: Index, number: int, file: str = "", **elements: str) -> bool:
        return index.hand_over(image(number, **elements), "MAG0", file or f"{number}.dcm", self.checked)


@pytest.fixture
def site(database: Callable[..., DbSettings], tmp_path: Path) -> Iterator[Site]:
    settings = database()
    with ExitStack() as closing:
        site = Site(settings, tmp_path, closing, Rings(3))
        made = Index(settings, load_schema(None, settings), tmp_path)
        made.ensure_tables()
        made.close()
        yield site


@pytest.fixture
def gathering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stay in flight until somebody reads, writes or closes."""
    monkeypatch.setattr("db.handover._GATHER_S", 60.0)


def child(run: Callable[[], None]) -> int:
    """Run a function in a process of its own, which then waits to be killed; 1 is its status if it failed."""
    number = os.fork()
    if number:
        return number
    try:
        run()
        signal.pause()
    finally:
        os._exit(1)


def killed(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL


def uids(index: Index) -> list[str]:
    return sorted(row[path_of("SOPInstanceUID")] for row in index.find(IMAGES))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def outside(tmp_path: Path) -> sqlite3.Connection:
    """The file as another program has it."""
    return sqlite3.connect(tmp_path / "data" / "index.db3", isolation_level=None)


# Who sees what, and when


@pytest.mark.usefixtures("gathering")
def test_what_a_process_handed_over_is_read_by_another_at_once(site: Site) -> None:
    reading, writing = os.pipe()

    def hand_over() -> None:
        index = site.index(1)
        site.begin(index)
        for number in range(1, 31):
            assert site.hand_over(index, number)
            os.write(writing, b".")

    process = child(hand_over)
    index = site.index(2)
    for number in range(1, 31):
        assert os.read(reading, 1) == b"."
        assert index.locate(f"1.1.1.{number}") == Location("MAG0", f"{number}.dcm")
    killed(process)
    os.close(reading)
    os.close(writing)
    assert len(uids(index)) == 31


READS: dict[str, Callable[[Index], object]] = {
    "find": lambda index: len(list(index.find(IMAGES))),
    "matches": lambda index: sum(len(rows) for rows in index.matches(IMAGES).rows),
    "count": lambda index: index.count(IMAGES),
    "places": lambda index: len(list(index.places())),
    "select_objects": lambda index: len(list(index.select_objects(IMAGES))),
    "object_rows": lambda index: sum(len(rows) for rows in index.object_rows(IMAGES)),
    "raw_query": lambda index: len(list(index.raw_query("DICOMImages", "SOPInstanc"))),
    "check": lambda index: int(index.check()[4].split()[1]),
    "locate": lambda index: 2 if index.locate("1.1.1.1") else 1,
    "delete": lambda index: len(
        index.delete([StoredObject(CT, f"1.1.1.{n}", "P1", "1.1", "1.1.1", "MAG0", f"{n}.dcm") for n in range(2)])
    ),
    "switch": lambda index: 1 + index.switch("1.1.1.1", {}, Location("MAG0", "1.dcm"), Location("MAG0", "2.dcm")),
    "add": lambda index: 2 if index.add(image(1), "MAG0", "again.dcm").previous else 1,
}


@pytest.mark.usefixtures("gathering")
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whoever_reads_or_writes_enters_what_was_handed_over_first(site: Site, read: Callable[[Index], int]) -> None:
    index = site.index(0)
    site.begin(index)
    assert site.hand_over(index, 1)
    assert index.in_flight
    assert read(site.index(1)) == 2
    assert not index.in_flight


def test_rows_are_entered_soon_when_nobody_asks_and_the_thread_for_that_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.handover._IDLE_S", 0.05)
    site.rings = Rings(1)
    index = site.index(0)
    site.begin(index)
    for number in (1, 2):
        assert site.hand_over(index, number)
        assert thread_names().count("rows") == 1
        assert eventually(lambda: not site.rings.in_flight)
        assert eventually(lambda: "rows" not in thread_names())
    assert uids(site.index()) == ["1.1.1.0", "1.1.1.1", "1.1.1.2"]


def test_rows_of_all_processes_are_entered_by_the_first_when_nobody_asks(site: Site) -> None:
    process = child(lambda: site.index(0))
    others = [site.index(1), site.index(2)]
    site.begin(others[0])
    assert others[1].count(IMAGES) == 1
    for number in range(1, 7):
        assert site.hand_over(others[number % 2], number)
        assert eventually(lambda: not site.rings.in_flight)
    assert "rows" not in thread_names()
    # A row that is put while the first is away is entered by its successor.
    killed(process)
    assert site.hand_over(others[0], 7)
    process = child(lambda: site.index(0))
    assert eventually(lambda: not site.rings.in_flight)
    killed(process)
    assert uids(site.index()) == [f"1.1.1.{number}" for number in range(8)]


@pytest.mark.usefixtures("gathering")
def test_closing_leaves_nothing_in_flight_and_the_index_can_be_used_again(site: Site) -> None:
    index = site.index(0)
    site.begin(index)
    for number in (1, 2):
        assert site.hand_over(index, number)
        assert index.in_flight
        assert not index.at_rest
        index.close()
        assert not index.in_flight
        assert index.at_rest
        assert "rows" not in thread_names()
    assert uids(site.index()) == ["1.1.1.0", "1.1.1.1", "1.1.1.2"]


def test_a_server_of_one_process_needs_no_rings_from_elsewhere(index: Index) -> None:
    checked = Checked()
    checked.add(image(0), index.add(image(0), "MAG0", "0.dcm"))
    assert index.hand_over(image(1), "MAG0", "1.dcm", checked)
    assert index.locate("1.1.1.1") == Location("MAG0", "1.dcm")


def test_many_threads_hand_over_and_read_what_they_did(site: Site) -> None:
    index, other = site.index(0), site.index(1)
    site.begin(index)
    assert other.count(IMAGES) == 1

    def run(part: int) -> bool:
        for number in range(1 + part * 100, 101 + part * 100):
            mine = (index, other)[number % 2]
            assert site.hand_over(mine, number)
            if number % 20 == 0:
                assert (other, index)[number % 2].locate(f"1.1.1.{number}") is not None
        return True

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, range(4))) == [True] * 4
    assert index.count(IMAGES) == 401


# What is not handed over


@pytest.mark.usefixtures("gathering")
def test_an_object_that_needs_a_look_is_not_handed_over(site: Site) -> None:
    index = site.index(0)
    assert not site.hand_over(index, 1)  # nothing of its series was entered
    site.begin(index)
    for number, elements in (
        (0, {}),  # it is there
        (1, {"SeriesInstanceUID": "1.1.2"}),
        (1, {"StudyInstanceUID": "1.2"}),
        (1, {"PatientID": "P2"}),
        (1, {"PatientID": ""}),
        (1, {"PatientID": "P1 "}),
        (1, {"SOPInstanceUID": ""}),
        (1, {"SOPInstanceUID": "1.2 "}),
        (1, {"SOPInstanceUID": "1." + "2" * 63}),
    ):
        assert not site.hand_over(index, number, **elements), elements
    assert not site.hand_over(index, 1, "x" * 256)
    assert not site.hand_over(index, 1, "ä.dcm")
    assert not index.in_flight
    assert site.hand_over(index, 1)


@pytest.mark.parametrize(
    "elements",
    [{"PatientID": ""}, {"PatientID": " P1"}, {"StudyInstanceUID": "1.1 "}],
    ids=["no patient ID", "padded patient ID", "padded study UID"],
)
def test_a_series_whose_links_were_repaired_is_not_handed_over(index: Index, elements: dict[str, str]) -> None:
    checked = Checked()
    checked.add(image(0, **elements), index.add(image(0, **elements), "MAG0", "0.dcm"))
    assert not index.hand_over(image(1, **elements), "MAG0", "1.dcm", checked)


def test_what_is_cut_of_a_row_that_was_handed_over_is_told(site: Site) -> None:
    index = site.index(1)
    site.begin(index)
    assert site.hand_over(index, 1, StudyID="x" * 100)
    assert uids(index) == [image(0)[path_of("SOPInstanceUID")], image(1)[path_of("SOPInstanceUID")]]
    ((file, told),) = site.heard.entries
    assert file == "1.dcm"
    assert isinstance(told, Added)
    assert len(told.warnings) == 1


def test_a_series_that_the_index_has_is_handed_over_from_its_first_object_on(site: Site) -> None:
    index = site.index(1)
    site.begin(index)
    checked = Checked()
    assert index.hand_over(image(1), "MAG0", "1.dcm", checked)
    assert image(2) in checked


@pytest.mark.parametrize("elements", [{"PatientID": "P2"}, {"StudyInstanceUID": "1.2"}, {"SeriesInstanceUID": "1.1.2"}])
def test_an_object_with_another_link_than_the_index_has_is_not_handed_over(
    site: Site, elements: dict[str, str]
) -> None:
    index = site.index(1)
    site.begin(index)
    assert not index.hand_over(image(1, **elements), "MAG0", "1.dcm", Checked())


def test_what_was_checked_is_forgotten_before_it_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.objects._MOST_CHECKED", 2)
    checked = Checked()
    series = [header(SeriesInstanceUID=f"1.1.{number}") for number in range(3)]
    for number, values in enumerate(series):
        checked.add(values, Added(True, None, "P1", "1.1", f"1.1.{number}", "1"))
    assert [values in checked for values in series] == [False, False, True]


def test_in_tables_without_keys_nothing_is_handed_over(site: Site) -> None:
    index = site.index(0)
    index.create_tables(1)
    site.begin(index)
    assert not site.hand_over(index, 1)


@pytest.mark.usefixtures("gathering")
def test_a_ring_that_is_full_is_no_obstacle(database: Callable[..., DbSettings], tmp_path: Path) -> None:
    settings = database()
    with ExitStack() as closing:
        site = Site(settings, tmp_path, closing, Rings(1, 2000))
        index = site.index(0)
        index.ensure_tables()
        site.begin(index)
        taken = 1
        while site.hand_over(index, taken):
            taken += 1
        assert 2 < taken < 20
        assert index.add(image(taken), "MAG0", f"{taken}.dcm").stored
        assert not index.in_flight
        assert uids(index) == sorted(f"1.1.1.{number}" for number in range(taken + 1))
        assert site.hand_over(index, taken + 1)


# What dies


@pytest.mark.usefixtures("gathering")
def test_rows_of_a_process_that_was_killed_are_found_by_the_next_who_reads(site: Site) -> None:
    ready, writing = os.pipe()

    def hand_over() -> None:
        index = site.index(1)
        site.begin(index)
        assert all(site.hand_over(index, number) for number in range(1, 700))
        os.write(writing, b".")

    process = child(hand_over)
    assert os.read(ready, 1) == b"."
    killed(process)
    os.close(ready)
    os.close(writing)
    assert site.rings.in_flight
    assert site.index(2).count(IMAGES) == 700
    assert not site.rings.in_flight


@pytest.mark.usefixtures("gathering")
@pytest.mark.parametrize("last", ["db.rings.Rings.let_go", "db.progress.Progress.write"])
def test_who_is_killed_while_entering_leaves_each_row_entered_once(
    site: Site, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the commit, before the tails are moved; and in the transaction."""
    index = site.index(2)
    site.begin(index)
    # Two of one object, of which the second replaces the first.
    assert [site.hand_over(index, number, file) for number, file in ((1, "a"), (1, "b"), (2, "c"))] == [True] * 3

    def enter() -> None:
        monkeypatch.setattr(last, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        site.index(1).count(IMAGES)

    process = child(enter)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert site.rings.in_flight
    committed = last == "db.rings.Rings.let_go"
    stranger = site.index()  # it has no rings, as a writer who had waited for its turn since before
    assert uids(stranger) == (["1.1.1.0", "1.1.1.1", "1.1.1.2"] if committed else ["1.1.1.0"])
    if committed:
        assert stranger.add(image(2), "MAG0", "later").previous == Location("MAG0", "c")
    assert uids(index) == ["1.1.1.0", "1.1.1.1", "1.1.1.2"]
    assert not site.rings.in_flight
    assert index.locate("1.1.1.1") == Location("MAG0", "b")
    assert index.locate("1.1.1.2") == Location("MAG0", "later" if committed else "c")
    gone = sorted(each.location.file for each in index.tombstones.all())
    assert gone == (["a", "c"] if committed else ["a"])
    replaced = [(file, result.previous) for file, result in site.heard.entries if isinstance(result, Added)]
    assert replaced == ([] if committed else [("b", Location("MAG0", "a"))])
    # Positions go on where they were.
    assert site.hand_over(index, 3)
    assert uids(index) == ["1.1.1.0", "1.1.1.1", "1.1.1.2", "1.1.1.3"]


# What goes wrong


@pytest.mark.usefixtures("gathering")
def test_of_two_rows_of_one_object_the_later_counts_and_the_file_of_the_other_is_told(site: Site) -> None:
    index = site.index(0)
    site.begin(index)
    assert [site.hand_over(index, 1, file) for file in ("a", "b")] == [True, True]
    assert site.index(1).locate("1.1.1.1") == Location("MAG0", "b")
    added = Added(True, Location("MAG0", "a"), "P1", "1.1", "1.1.1", "1.1.1.1")
    assert site.heard.entries == [("b", added)]
    assert [each.location.file for each in index.tombstones.all()] == ["a"]


@pytest.mark.usefixtures("gathering")
def test_what_is_refused_when_it_is_entered_is_told_and_holds_up_no_other(site: Site) -> None:
    index = site.index(0)
    site.begin(index)
    assert all(site.hand_over(index, number) for number in (1, 2, 3))
    # A writer who had looked before they came.
    site.index().add(image(2, SeriesInstanceUID="1.1.9"), "MAG0", "other.dcm")
    assert uids(index) == [f"1.1.1.{number}" for number in range(4)]
    ((file, result),) = site.heard.entries
    assert file == "2.dcm"
    assert isinstance(result, LinkRefused)
    assert str(result).startswith("***Refused to enter inconsistent link SeriesInst into DICOMImages: SOPInstanc = '1")
    assert index.locate("1.1.1.2") == Location("MAG0", "other.dcm")


@pytest.mark.usefixtures("gathering")
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_value_that_the_database_cannot_hold_is_told_and_holds_up_no_other(site: Site) -> None:
    index = site.index(0)
    site.begin(index)
    assert index.hand_over(image(1), "MAG0" * 9, "1.dcm", site.checked)
    assert site.hand_over(index, 2)
    assert uids(index) == ["1.1.1.0", "1.1.1.2"]
    ((file, result),) = site.heard.entries
    assert (file, type(result)) == ("1.dcm", Refused)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_while_the_database_is_locked_nothing_is_handed_over_and_nothing_lost(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.sqlite.LOCK_TIMEOUT_S", 0.2)
    monkeypatch.setattr("db.handover._GATHER_S", 60.0)
    index, other = site.index(0), site.index(1)
    site.begin(index)
    index.close()
    lock = outside(tmp_path)
    lock.execute("BEGIN IMMEDIATE")
    assert site.hand_over(index, 1)
    for _ in range(2):
        with pytest.raises(DatabaseLocked, match="has been locked by another program"):
            other.locate("1.1.1.1")
    for each, number in ((index, 2), (other, 3)):
        assert not site.hand_over(each, number)
        with pytest.raises(DatabaseLocked, match="has been locked by another program"):
            each.add(image(number), "MAG0", f"{number}.dcm")
    assert site.heard.said == ["DatabaseLocked"]
    lock.execute("COMMIT")
    lock.close()
    assert index.add(image(2), "MAG0", "2.dcm").stored
    assert site.heard.said == ["DatabaseLocked", "recovered"]
    assert site.hand_over(other, 3)
    assert uids(index) == ["1.1.1.0", "1.1.1.1", "1.1.1.2", "1.1.1.3"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_while_another_keeps_writers_out_nothing_is_handed_over_and_nothing_lost(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.postgresql.LOCK_TIMEOUT_S", 0.3)
    monkeypatch.setattr("db.handover._GATHER_S", 60.0)
    index, stranger = site.index(0), site.index()
    site.begin(index)
    assert site.hand_over(index, 1)
    with ThreadPoolExecutor(1) as threads:

        def hold(session: Session) -> None:
            with pytest.raises(DatabaseLocked, match="has been locked by another program"):
                threads.submit(index.count, IMAGES).result()
            assert not threads.submit(site.hand_over, index, 2).result()

        stranger._database.write(hold)
    assert site.heard.said == ["DatabaseLocked"]
    assert uids(index) == ["1.1.1.0", "1.1.1.1"]
    assert site.heard.said == ["DatabaseLocked", "recovered"]
    assert site.hand_over(index, 2)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_rows_that_could_not_be_entered_are_tried_again_when_nobody_asks(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.sqlite.LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr("db.handover._RETRY_S", 0.1)
    index = site.index(0)
    site.begin(index)
    index.close()
    lock = outside(tmp_path)
    lock.execute("BEGIN IMMEDIATE")
    assert site.hand_over(index, 1)
    assert eventually(lambda: site.rings.failures > 1)
    lock.execute("COMMIT")
    lock.close()
    assert eventually(lambda: not site.rings.in_flight)
    assert site.heard.said == ["DatabaseLocked", "recovered"]


@pytest.mark.usefixtures("gathering")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_disk_that_is_full_is_said_to_be_and_rows_wait_for_room(site: Site) -> None:
    index = site.index(0)
    site.begin(index)

    def pages(most: int) -> None:
        index._database.enter(lambda session: session.execute(f"PRAGMA max_page_count = {most}"))

    pages(1)  # no more than there are
    taken = 1
    while site.hand_over(index, taken, ImageComments="x" * 60):
        taken += 1
        if taken % 100 == 0:
            try:
                index.count(IMAGES)
            except DatabaseFull:
                break
    assert site.heard.said == ["DatabaseFull"]
    assert not site.hand_over(index, taken)
    with pytest.raises(DatabaseFull):
        index.add(image(taken), "MAG0", "0.dcm")
    pages(100_000)
    assert len(uids(index)) == taken
    assert site.heard.said == ["DatabaseFull", "recovered"]
    assert site.hand_over(index, taken)


@pytest.mark.usefixtures("gathering")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_who_waited_while_another_failed_hears_the_same_at_once(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.sqlite.LOCK_TIMEOUT_S", 1.0)
    index = site.index(0)
    site.begin(index)
    index.close()
    lock = outside(tmp_path)
    lock.execute("BEGIN IMMEDIATE")
    assert site.hand_over(index, 1)
    started = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        reading = [threads.submit(index.count, IMAGES) for _ in range(6)]
        errors = [each.exception() for each in reading]
    assert [type(error) for error in errors] == [DatabaseLocked] * 6
    assert len({str(error) for error in errors}) == 1
    assert time.monotonic() - started < 3
    lock.execute("COMMIT")
    lock.close()
    assert index.count(IMAGES) == 2


def test_an_index_that_cannot_be_asked_takes_no_rows(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    index = site.index(0)
    site.begin(index)
    assert site.hand_over(index, 1)
    lookup = index._handing._lookup  # type: ignore[union-attr]
    assert lookup is not None
    lookup.close()
    assert not site.hand_over(index, 2)
    assert site.hand_over(index, 2)
    assert uids(index) == ["1.1.1.0", "1.1.1.1", "1.1.1.2"]


def test_where_no_thread_can_be_started_nothing_is_handed_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.rings = Rings(1)
    index = site.index(0)
    site.begin(index)

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        assert not site.hand_over(index, 1)
    assert not index.in_flight
    assert site.hand_over(index, 1)


@pytest.mark.usefixtures("gathering")
def test_nobody_else_is_kept_out_while_it_is_told_what_became_of_rows(site: Site) -> None:
    index = site.index(0)
    site.begin(index)
    assert all(site.hand_over(index, 1, file) for file in ("a", "b"))
    seen: list[object] = []

    class Asks(Heard):
        def entered(self, new: NewObject, result: Added | Refused) -> None:
            assert site.hand_over(index, 2)
            seen.append(index.count(IMAGES))

    index.report_to(Asks())
    assert index.count(IMAGES) == 3
    assert seen == [3]


def test_a_failure_that_is_no_databases_is_told_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    index = site.index(0)
    site.begin(index)
    with monkeypatch.context() as patched:
        patched.setattr("db.handover._RETRY_S", 60.0)

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a mistake of ours")

        patched.setattr("db.write.Writer.add_many", fail)
        assert site.hand_over(index, 1)
        assert eventually(lambda: site.heard.said == ["ZeroDivisionError"])
        assert not site.hand_over(index, 2)
        with pytest.raises((ZeroDivisionError, DatabaseError), match="a mistake of ours"):
            index.count(IMAGES)
    assert uids(index) == ["1.1.1.0", "1.1.1.1"]
    assert site.heard.said == ["ZeroDivisionError", "recovered"]


def test_runs_that_ended_long_ago_are_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(index: Index) -> int:
        return len(index._database.write(lambda session: session.execute("SELECT run FROM dgate_handed")))

    index = site.index(0)
    site.begin(index)
    assert site.hand_over(index, 1)
    assert index.count(IMAGES) == 2
    assert runs(index) == 1
    monkeypatch.setattr("db.progress._KEPT_S", -10)
    site.rings = Rings(1)
    again = site.index(0)
    assert not site.hand_over(again, 2)  # nothing was opened yet
    assert again.count(IMAGES) == 2
    assert site.hand_over(again, 2)
    assert again.count(IMAGES) == 3
    assert runs(again) == 1
