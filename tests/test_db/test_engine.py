"""Opening databases: which one dicom.ini names, how it is set up, and one clear line when it cannot be used."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db import mounts
from db.engine import choose_backend
from db.errors import DatabaseError, DatabaseFull, DatabaseLocked
from db.index import Index
from db.mounts import network_type
from db.postgresql import PostgresBackend
from db.query import Query
from db.schema import load_schema
from db.settings import DbSettings
from db.sqlite import SqliteBackend
from tests.test_db.headers import header, keys, path_of


def opened(tmp_path: Path, durability: str = "safe", **settings: Any) -> Index:
    values = DbSettings(**settings)
    return Index(values, load_schema(None, values), tmp_path, durability=durability)


# Which database


def test_without_any_key_the_index_is_a_sqlite_file_below_the_base_directory(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.ensure_tables()
    index.close()
    assert (tmp_path / "data/dbase/conquest.db3").is_file()
    assert index.database_type == "built-in SQLite driver"


def test_a_relative_file_is_below_the_base_directory_and_an_absolute_one_where_it_says(tmp_path: Path) -> None:
    for name in ("here/index.db3", str(tmp_path / "there/index.db3")):
        index = opened(tmp_path / "base", SqLite=True, SQLServer=name)
        index.ensure_tables()
        index.close()
    assert (tmp_path / "base/here/index.db3").is_file()
    assert (tmp_path / "there/index.db3").is_file()


@pytest.mark.parametrize("name", ["with space.db3", "what?mode=memory#.db3", "100%41.db3", "ü.db3"])
def test_any_file_name_is_taken_literally(tmp_path: Path, name: str) -> None:
    index = opened(tmp_path, SqLite=True, SQLServer=name)
    index.ensure_tables()
    index.close()
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MySQL": True}, "MySQL is not supported; set SqLite = 1 or PostGres = 1 and make the index .* dgate -r"),
        ({"SQLServer": "conquest"}, "no driver flag means ODBC, which is not supported; set SqLite = 1 .* dgate -r"),
        ({"SQLServer": "dbf"}, "no driver flag means the DBF driver, which is not supported; .* dgate -r"),
        ({"SqLite": True, "MySQL": True}, "SqLite and MySQL are 1; choose one"),
        ({"PostGres": True}, "PostGres = 1 needs the database name in SQLServer"),
    ],
)
def test_other_databases_get_one_line_that_says_how_to_move(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    (tmp_path / "dbf").mkdir()
    with pytest.raises(DatabaseError, match=message) as refused:
        opened(tmp_path, **settings)
    assert "\n" not in str(refused.value)


def test_a_missing_driver_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pathlib import Path\n"
        "from db.engine import choose_backend\n"
        "from db.errors import DatabaseError\n"
        "from db.settings import DbSettings\n"
        "try: choose_backend(DbSettings(PostGres=True, SQLServer='x'), Path(), 'safe')\n"
        "except DatabaseError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert "needs psycopg" in said.stdout
    assert "pip install 'dgate[postgresql]'" in said.stdout


# SQLite


def pragma(index: Index, name: str, *, writer: bool) -> object:
    database = index._database
    if writer:
        return database.write(lambda session: session.execute(f"PRAGMA {name}"))[0][0]
    with database.reading() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_sqlite_keeps_commits_through_a_crash_unless_fast_and_told_otherwise(tmp_path: Path) -> None:
    off = "PRAGMA synchronous = OFF; PRAGMA cache_size = 1234"
    safe = opened(tmp_path, SqLite=True, SQLServer="i.db3", SQLiteStartup=off)
    safe.ensure_tables()
    assert pragma(safe, "journal_mode", writer=True) == "wal"
    assert pragma(safe, "synchronous", writer=True) == 1
    assert pragma(safe, "cache_size", writer=True) == 1234
    safe.close()
    fast = opened(tmp_path, "fast", SqLite=True, SQLServer="i.db3", SQLiteStartup=off)
    assert pragma(fast, "synchronous", writer=True) == 0
    fast.close()
    full = opened(tmp_path, "fast", SqLite=True, SQLServer="i.db3", SQLiteStartup="PRAGMA main.synchronous = FULL")
    assert pragma(full, "synchronous", writer=True) == 2
    full.close()


def test_a_startup_statement_that_fails_is_named(tmp_path: Path) -> None:
    index = opened(tmp_path, SqLite=True, SQLServer="i.db3", SQLiteStartup="PRAGMA cache_size = 1; NONSENSE")
    with pytest.raises(DatabaseError, match=r"SQLiteStartup in dicom\.ini: NONSENSE: near"):
        index.ensure_tables()
    index.close()


def test_readers_cannot_write(tmp_path: Path) -> None:
    index = opened(tmp_path, SqLite=True, SQLServer="i.db3")
    index.ensure_tables()
    with pytest.raises(DatabaseError, match="read-only"), index._database.reading() as connection:
        connection.exec_driver_sql("DELETE FROM DICOMImages")
    index.close()


def test_closing_folds_the_log_into_the_one_file(tmp_path: Path) -> None:
    index = opened(tmp_path, SqLite=True, SQLServer="i.db3")
    index.ensure_tables()
    index.add(header(), "MAG0", "1.dcm")
    assert (tmp_path / "i.db3-wal").exists()
    index.close()
    assert [path.name for path in tmp_path.iterdir()] == ["i.db3"]
    shutil.copy(tmp_path / "i.db3", tmp_path / "copy.db3")
    with closing(sqlite3.connect(tmp_path / "copy.db3")) as connection:
        assert connection.execute("SELECT count(*) FROM DICOMImages").fetchone() == (1,)
    assert index.locate("1.1.1.1") is not None  # and it opens again
    index.close()
    index.close()


def test_check_looks_and_makes_nothing(tmp_path: Path) -> None:
    index = opened(tmp_path, SqLite=True, SQLServer="data/i.db3")
    with pytest.raises(DatabaseError, match=r"i\.db3 does not exist yet; the server makes it"):
        index.check()
    index.close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    sqlite3.connect(tmp_path / "data/i.db3").close()
    (tmp_path / "data/i.db3").touch()
    with pytest.raises(DatabaseError, match="has no table DICOMPatients; start the server or run dgate -i"):
        index.check()
    index.close()
    assert (tmp_path / "data/i.db3").stat().st_size == 0


def test_a_file_that_is_missing_when_it_is_asked_is_not_made(tmp_path: Path) -> None:
    index = opened(tmp_path, SqLite=True, SQLServer="i.db3")
    with pytest.raises(DatabaseError, match=r"i\.db3 does not exist; start the server or run dgate -i"):
        index.locate("1.1")
    index.close()
    assert list(tmp_path.iterdir()) == []


def test_check_leaves_the_log_of_others_alone(tmp_path: Path) -> None:
    working = opened(tmp_path, SqLite=True, SQLServer="i.db3")
    working.ensure_tables()
    working.add(header(), "MAG0", "1.dcm")
    log, file = ((tmp_path / name).read_bytes() for name in ("i.db3-wal", "i.db3"))
    looking = opened(tmp_path, SqLite=True, SQLServer="i.db3")
    assert "DICOMImages: 1 rows" in looking.check()
    looking.close()
    assert [(tmp_path / name).read_bytes() for name in ("i.db3-wal", "i.db3")] == [log, file]
    working.close()


def test_a_file_that_is_no_database_or_a_damaged_one_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "text.db3").write_text("this is no database, however long it may be " * 100)
    index = opened(tmp_path, SqLite=True, SQLServer="text.db3")
    with pytest.raises(DatabaseError, match="is no SQLite database; check SQLServer"):
        index.ensure_tables()
    index.close()
    index = opened(tmp_path, SqLite=True, SQLServer="i.db3")
    index.ensure_tables()
    index.close()
    raw = bytearray((tmp_path / "i.db3").read_bytes())
    raw[100:4096] = b"\xff" * 3996
    (tmp_path / "i.db3").write_bytes(raw)
    with pytest.raises(DatabaseError, match="is damaged; restore it, or make it anew with dgate -r"):
        index.locate("1.1")
    index.close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = opened(tmp_path, SqLite=True, SQLServer="file/i.db3")
    with pytest.raises(DatabaseError, match="its directory cannot be made: "):
        index.ensure_tables()
    index.close()


def sqlite_error(script: str, mode: str = "rwc") -> sqlite3.Error:
    with closing(sqlite3.connect(f"file::memory:?mode={mode}", uri=True)) as connection:
        try:
            connection.executescript(script)
        except sqlite3.Error as error:
            return error
    raise AssertionError("no error")


def test_causes_of_sqlite_are_told_apart(tmp_path: Path) -> None:
    backend = SqliteBackend(DbSettings(), tmp_path / "i.db3", "safe")
    full = "PRAGMA max_page_count = 2; CREATE TABLE x (y); CREATE TABLE z (y); CREATE TABLE a (b);"
    assert isinstance(backend.translate(sqlite_error(full)), DatabaseFull)
    read_only = "CREATE TABLE x (y); PRAGMA query_only = ON; INSERT INTO x VALUES (1);"
    assert "is read-only for this user" in str(backend.translate(sqlite_error(read_only)))
    assert "no such table: x" in str(backend.translate(sqlite_error("SELECT * FROM x")))


# Network file systems

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/archive /mnt/archive nfs4 rw 0 0
/dev/sdb1 /mnt/archive/local ext4 rw 0 0
//win/share /mnt/my\\040share cifs rw 0 0
user@host:/ /mnt/ssh fuse.sshfs rw 0 0
/dev/sdc1 /mnt/ssh ext4 rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/index.db3", ""),
        ("/mnt/archive/index.db3", "nfs4"),
        ("/mnt/archive/local/index.db3", ""),
        ("/mnt/archives/index.db3", ""),
        ("/mnt/my share/dbase/index.db3", "cifs"),
        ("/mnt/ssh/index.db3", ""),
    ],
)
def test_the_mount_that_a_file_is_on_decides(path: str, kind: str) -> None:
    assert network_type(Path(path), MOUNTS) == kind


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mounts").write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/ {tmp_path.resolve()} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "mounts")
    index = opened(tmp_path, SqLite=True, SQLServer="data/i.db3")
    for attempt in (index.ensure_tables, index.check):
        with pytest.raises(DatabaseError, match=r"network file system \(nfs4\).*put SQLServer on a local disk"):
            attempt()
    index.close()
    assert not (tmp_path / "data").exists()
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "nothing")
    index.ensure_tables()
    index.close()


# PostgreSQL


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", {"host": "localhost"}),
        ("db.example.org:5433", {"host": "db.example.org", "port": "5433"}),
        ("10.0.0.1", {"host": "10.0.0.1"}),
        ("/var/run/postgresql", {"host": "/var/run/postgresql"}),
        ("/var/run/postgresql:5433", {"host": "/var/run/postgresql", "port": "5433"}),
        ("::1", {"host": "::1"}),
        ("[::1]:5433", {"host": "::1", "port": "5433"}),
        ("[fe80::1]", {"host": "fe80::1"}),
        ("", {}),
    ],
)
def test_sqlhost_is_a_host_a_host_with_port_or_a_directory(host: str, expected: dict[str, str]) -> None:
    backend = PostgresBackend(DbSettings(PostGres=True, SQLServer="index", SQLHost=host))
    assert {key: value for key, value in backend._connection.items() if key in ("host", "port")} == expected


def test_a_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    index = opened(tmp_path, PostGres=True, SQLServer="index", SQLHost=str(tmp_path), Password="hush")
    by_hand = index._database.backend.select_read_only("SELECT 1")
    for attempt in (index.ensure_tables, index.check, lambda: index.locate("1.1"), lambda: list(by_hand)):
        with pytest.raises(DatabaseError, match=f"database index on {tmp_path} cannot be reached: ") as said:
            attempt()
        assert "\n" not in str(said.value)
        assert "hush" not in str(said.value)
    index.close()


def test_a_database_that_does_not_exist_is_one_line(postgresql: Any, tmp_path: Path) -> None:
    index = opened(tmp_path, PostGres=True, SQLServer="nothing_here", SQLHost=str(postgresql.socket), Username="dgate")
    with pytest.raises(DatabaseError, match=r'cannot be reached: .*database "nothing_here" does not exist'):
        index.ensure_tables()
    index.close()


@pytest.fixture
def on_server(postgresql: Any, tmp_path: Path) -> Any:
    """Return what opens an index in a database of the server, made with options of one's own."""
    made: list[tuple[Index, str]] = []

    def make(options: str = "", **settings: Any) -> tuple[Index, str]:
        name = postgresql.create_database(options)
        place = {"PostGres": True, "SQLServer": name, "SQLHost": str(postgresql.socket), "Username": "dgate"}
        index = opened(tmp_path, **place, **settings)
        made.append((index, name))
        return index, name

    yield make
    for index, name in made:
        index.close()
        postgresql.drop_database(name)


def test_the_startup_statement_runs_on_every_connection(on_server: Callable[..., tuple[Index, str]]) -> None:
    index, _ = on_server(PostGreSQLStartup="SET work_mem = '7MB'")
    index.ensure_tables()
    with index._database.reading() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
    wrong, _ = on_server(PostGreSQLStartup="NONSENSE")
    with pytest.raises(DatabaseError, match=r"PostGreSQLStartup in dicom\.ini: syntax error"):
        wrong.ensure_tables()


def test_a_connection_that_the_server_dropped_is_replaced(
    on_server: Callable[..., tuple[Index, str]], postgresql: Any
) -> None:
    index, name = on_server()
    index.ensure_tables()
    index.add(header(), "MAG0", "1.dcm")
    assert index.locate("1.1.1.1") is not None
    postgresql.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    assert index.locate("1.1.1.1") is not None
    assert index.add(header(), "MAG0", "1.dcm").stored


def test_a_database_of_raw_bytes_is_read_as_utf_8_or_latin_1(
    on_server: Callable[..., tuple[Index, str]], postgresql: Any
) -> None:
    index, name = on_server("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    index.ensure_tables()
    index.add(header(PatientName="Müller", StudyDescription="Schädel"), "MAG0", "1.dcm")
    postgresql.run("UPDATE DICOMStudies SET StudyDescr = E'Sch\\344del'", name)  # as ConQuest writes it
    wanted = [path_of("PatientName"), path_of("StudyDescription")]
    assert [list(row.values()) for row in index.find(Query("STUDY", {}, wanted))] == [["Müller", "Schädel"]]
    assert list(index.raw_query("DICOMStudies", "StudyDescr")) == [("Schädel",)]
    assert index.count(Query("STUDY", keys(PatientName="müller"), wanted)) == 1


def test_other_locales_compare_as_c_does(on_server: Callable[..., tuple[Index, str]]) -> None:
    index, _ = on_server("ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    index.ensure_tables()
    for number, name in enumerate(["Ärger", "ZORN", "apfel", "BIRNE"]):
        uids = {"StudyInstanceUID": f"{number}", "SeriesInstanceUID": f"{number}.1", "SOPInstanceUID": f"{number}.1.1"}
        index.add(header(**uids, PatientID=f"P{number}", PatientName=name), "MAG0", f"{number}.dcm")
    wanted = [path_of("PatientName")]
    assert [row[wanted[0]] for row in index.find(Query("STUDY", {}, wanted))] == ["BIRNE", "ZORN", "apfel", "Ärger"]
    assert index.count(Query("STUDY", keys(PatientName="ärg*"), wanted)) == 1


def test_causes_of_postgresql_are_told_apart_and_quote_no_values() -> None:
    backend = PostgresBackend(DbSettings(PostGres=True, SQLServer="index"))
    assert isinstance(backend.translate(psycopg.errors.LockNotAvailable()), DatabaseLocked)
    assert isinstance(backend.translate(psycopg.errors.DeadlockDetected()), DatabaseLocked)
    assert isinstance(backend.translate(psycopg.errors.DiskFull("no space")), DatabaseFull)
    assert "is read-only" in str(backend.translate(psycopg.errors.ReadOnlySqlTransaction()))
    doubled = psycopg.errors.UniqueViolation("duplicate key\nDETAIL:  Key (patientid)=(P1) already exists.")
    assert backend.may_retry(doubled)
    assert "P1" not in str(backend.translate(doubled))


def test_a_row_that_conquest_enters_meanwhile_is_found_on_the_second_try(
    on_server: Callable[..., tuple[Index, str]], postgresql: Any
) -> None:
    index, name = on_server()
    index.ensure_tables()
    attempts = []

    def work(session: Any) -> str:
        attempts.append(len(session.execute("SELECT 1 FROM DICOMPatients")))
        if not attempts[-1]:
            postgresql.run("INSERT INTO DICOMPatients (PatientID) VALUES ('P1')", name)
            session.execute("INSERT INTO DICOMPatients (PatientID) VALUES ('P1')")
        return "done"

    assert index._database.write(work) == "done"
    assert attempts == [0, 1]


def test_choosing_opens_nothing(tmp_path: Path) -> None:
    choose_backend(DbSettings(SqLite=True, SQLServer="data/i.db3"), tmp_path, "safe")
    assert list(tmp_path.iterdir()) == []
