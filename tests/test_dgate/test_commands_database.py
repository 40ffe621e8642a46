"""Database commands over the wire, on SQLite and on PostgreSQL: what is listed, and what no query can do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db.schema import load_schema, render_schema
from db.settings import DbSettings
from tests.commands import Reply, Site, expected, site
from tests.objects import ds, with_pixels

NOTHING = Reply(None, None, 0)
S1, S2, S3 = "1.1", "1.2", "1.3"

# (patient, name, study, date, series, modality, SOP instance, number, location)
OBJECTS = [
    ("A1", "ADAMS^ANN", S1, "20260101", "1.1.1", "CT", "1.1.1.1", 2, "-1.5"),
    ("A1", "ADAMS^ANN", S1, "20260101", "1.1.1", "CT", "1.1.1.2", 10, "2.5"),
    ("A1", "ADAMS^ANN", S1, "20260101", "1.1.1", "CT", "1.1.1.3", 1, "0"),
    ("A1", "ADAMS^ANN", S1, "20260101", "1.1.2", "SR", "1.1.2.1", 1, None),
    ("A1", "ADAMS^ANN", S2, "20250630", "1.2.1", "MR", "1.2.1.1", 1, None),
    ("B 2", "O'BRIEN^BOB", S3, "20251231", "1.3.1", "MR", "1.3.1.1", 1, None),
]


@contextmanager
def database(kind: str, request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """The settings of an empty database."""
    if kind == "sqlite":
        yield {}
        return
    server = request.getfixturevalue("postgresql")
    name = server.create_database()
    try:
        yield {"SQLite": 0, "PostGres": 1, "SQLServer": name, "SQLHost": server.socket, "Username": "dgate"}
    finally:
        server.drop_database(name)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def archive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        database(request.param, request) as settings,
        site(tmp_path_factory.mktemp(request.param), **settings) as running,
    ):
        for patient, name, study, date, series, modality, sop, number, location in OBJECTS:
            made = ds(
                PatientID=patient, PatientName=name, StudyInstanceUID=study, StudyDate=date, SeriesInstanceUID=series,
                Modality=modality, SOPInstanceUID=sop, InstanceNumber=number, SeriesTime="101112",
                SeriesNumber=int(series[-1]) + (10 if study == S1 else 0),
            )  # fmt: skip
            if location is not None:
                made.SliceLocation = location
            if sop == "1.2.1.1":
                made = with_pixels(made, frames=3)
            running.keep(made)
        yield running


Q = "query:DICOMPatients"
BY_ID = "1=1 order by PatientID"
JOINED = "DICOMStudies.PatientID=DICOMPatients.PatientID and DICOMPatients.PatientNam like 'ADAMS%'"

QUERIES = [
    (f"{Q}|PatientID|{BY_ID}", "A1 \nB 2 \n"),
    (f"{Q}|PatientID,PatientNam|{BY_ID}", "A1 ADAMS^ANN \nB 2 O'BRIEN^BOB \n"),
    (f"{Q}|PatientID|{BY_ID}|%s", "A1\nB 2\n"),
    (f"{Q}|PatientID|{BY_ID}|%s*", "A1*B 2"),
    (f"{Q}|PatientID|{BY_ID}|*", "*"),
    (f"{Q}|PatientID|{BY_ID}|%s*,%s", "A1*,A1\nB 2*,B 2\n"),
    (f"{Q}|PatientID,PatientSex|{BY_ID}|%2$s%1$s %2$s", "MA1 M\nMB 2 M\n"),
    (f"{Q}|PatientID,PatientSex|{BY_ID}|%s%s%s%s%s", "A1MA1MA1\nB 2MB 2MB 2\n"),
    (f"{Q}|PatientID|PatientNam='O''BRIEN^BOB'|%s", "B 2\n"),
    (f"{Q}|PatientID|PatientID='nobody'|%s", ""),
    (f"{Q}|PatientID|PatientID='nobody'|%s|cgi", ""),
    (f"{Q}|PatientID|PatientID='A1'|%s|cgi", "Content-type: text/html\n\nA1\n"),
    (f"{Q}|PatientID|PatientID='A1'|%s|binary", "A1\n"),
    (f"{Q}|PatientID|PatientID='A1'|", "A1 \n"),
    (f"{Q}|PatientID||%s|", None),
    (f"{Q}|count(*)||%s", "2\n"),
    (f"{Q}|count(*),max(PatientID)||%s %s", "2 B 2\n"),
    (
        f"query:DICOMStudies,DICOMPatients|StudyInsta|{JOINED} order by StudyDate|%s",
        f"{S2}\n{S1}\n",
    ),
    (f"{Q}|{','.join(['PatientID'] * 50)}|PatientID='A1'|%48$s%49$s", "A1A1\n"),
    (f"{Q}|{','.join(['PatientID'] * 47)},PatientSex,PatientNam|PatientID='A1'", f"{'A1 ' * 47}M \n"),
    (f"query2:{Q[6:]}|PatientID|{BY_ID}|%s|2", "A1\nB 2\n"),
    (f"query2:{Q[6:]}|PatientID|{BY_ID}|%s|1", "A1\n"),
    (f"query2:{Q[6:]}|PatientID|{BY_ID}|%s|0", "A1\nB 2\n"),
    (f"query2:{Q[6:]}|PatientID|{BY_ID}|%s*|9", "A1*B 2"),
    (f"query2:{Q[6:]}|PatientID|{BY_ID}|%s|", "A1\nB 2\n"),
    ("query2:DICOMImages|SOPInstanc|1=1 order by SOPInstanc|%s|4", "1.1.1.1\n1.1.1.3\n1.2.1.1\n"),
    ("query2:DICOMImages|SOPInstanc|1=1 order by SOPInstanc|%s|5", "1.1.1.1\n1.1.1.3\n1.2.1.1\n"),
    ("query2:DICOMImages|SOPInstanc|1=1 order by SOPInstanc|%s|many", ""),
    ("query:", ""),
    ("query:DICOMPatients", ""),
    ("query:DICOMPatients|", ""),
    ("query:|PatientID", ""),
]


@pytest.mark.parametrize(("line", "reply"), QUERIES, ids=range(len(QUERIES)))
def test_a_query_lists_rows_through_its_format(archive: Site, line: str, reply: str | None) -> None:
    if reply is None:
        assert sorted(archive.says(line).splitlines()) == ["A1", "B 2"]
    else:
        assert archive.ask(line) == expected(reply)


HOSTILE = [
    f"{Q}; DROP TABLE DICOMPatients|PatientID|",
    f"{Q}|PatientID; DROP TABLE DICOMPatients|",
    f"{Q}|PatientID|1=1; DELETE FROM DICOMPatients",
    f"{Q}|PatientID|1=1 --",
    f"{Q}|PatientID /* x */|",
    f"{Q}|PatientID|1=1 UNION SELECT sql FROM sqlite_master",
    "query:sqlite_master|name|",
    "query:sqlite_schema|sql|",
    "query:pg_tables|tablename|",
    "query:pg_catalog.pg_shadow|passwd|",
    "query:information_schema.tables|table_name|",
    'query:"sqlite_master"|name|',
    "query:[sqlite_master]|name|",
    "query:`sqlite_master`|name|",
    f"{Q}|(SELECT sql FROM sqlite_master LIMIT 1)|",
    f"{Q}|PatientID|PatientID IN (SELECT usename FROM pg_user)",
    f"{Q}|load_extension('x')|",
    f"{Q}|writefile('/tmp/dgate-was-here', 'x')|",
    f"{Q}|readfile('/etc/passwd')|",
    f"{Q}|pg_read_file('/etc/passwd')|",
    f"{Q}|pg_sleep(10)|",
    f"{Q}|randomblob(1000000000)|",
    f"{Q}|zeroblob(1000000000)|",
    f"{Q}|printf('%1000000000s', 'x')|",
    f"{Q}|PatientID|ATTACH DATABASE '/tmp/dgate-was-here' AS x",
    f"{Q}|PatientID|1=1) UNION SELECT 1 FROM (DICOMPatients",
    f"{Q}|PatientID INTO OUTFILE '/tmp/dgate-was-here'|",
    f"{Q}|PatientID INTO TEMP x|",
    f"{Q}|PatientID|1=1 FOR UPDATE",
    f"{Q}|PatientID|PatientID = $1",
    f"{Q}|PatientID|PatientID = ?",
    f"{Q}|PatientID|PatientID = :x",
    f"{Q}|PatientID|PatientID = 'A1",
    f"{Q}|PatientID|PatientID = 'A\0'",
    f"{Q}|PatientID|E'\\x41' = PatientID",
    f"{Q}|PatientID|PRAGMA writable_schema = 1",
    f"{Q}|PatientID, nosuchcolumn|",
    "query:nosuchtable|PatientID|",
    f"{Q}|PatientID|(((",
    f"{Q}|current_user|",
    f"{Q}|version()|",
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_query_reads_the_tables_of_the_index_and_does_nothing_else(archive: Site, line: str) -> None:
    assert archive.ask(line) == NOTHING
    assert archive.ask(f"{Q}|count(*)||%s") == expected("2\n")
    assert not Path("/tmp/dgate-was-here").exists()


def test_names_with_quotes_stay_values(archive: Site) -> None:
    for text in ("O'BRIEN", "x' OR '1'='1", "%", "_", "A1'; --", '"'):
        found = archive.says(f"patientfinder:local|{text}|%2$s")
        assert found == ("B 2\n" if text == "O'BRIEN" else "")


def test_a_query_into_a_file_answers_0_or_1(archive: Site, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    assert archive.ask(f"{Q}|PatientID|{BY_ID}|%s|{out}") == expected("0")
    assert out.read_text() == "A1\nB 2\n"
    assert archive.ask(f"query2:DICOMPatients|PatientID|{BY_ID}|%s*|2|{out}") == expected("0")
    assert out.read_text() == "A1*B 2"
    assert archive.ask(f"{Q}|PatientID|PatientID='x'|%s|{out}") == expected("1")
    assert out.read_text() == ""
    assert archive.ask(f"query:nosuch|x||%s|{out}") == expected("1")
    # To this command `pre` is a file like any other.
    assert archive.ask(f"{Q}|PatientID|{BY_ID}|%s|pre") == expected("0")
    assert (archive.directory / "pre").read_text() == "A1\nB 2\n"
    refused = archive.ask(f"{Q}|PatientID|{BY_ID}|%s|{tmp_path}/no/such/file")
    assert refused.status == 0x0110


FINDERS = [
    ("patientfinder:local|", "ADAMS^ANN A1\nO'BRIEN^BOB B 2\n"),
    ("patientfinder:local", "ADAMS^ANN A1\nO'BRIEN^BOB B 2\n"),
    ("patientfinder:|", "ADAMS^ANN A1\nO'BRIEN^BOB B 2\n"),
    ("patientfinder:local|adams", "ADAMS^ANN A1\n"),
    ("patientfinder:local|a1", "ADAMS^ANN A1\n"),
    ("patientfinder:local|B", "O'BRIEN^BOB B 2\n"),
    ("patientfinder:local|=A1", "ADAMS^ANN A1\n"),
    ("patientfinder:local|=A", ""),
    ("patientfinder:local|=a1", ""),
    ("patientfinder:local|=ADAMS^ANN", "ADAMS^ANN A1\n"),
    ("patientfinder:local|=adams^ann|%2$s", "A1\n"),
    ("patientfinder:local|2026", ""),
    ("patientfinder:local|A*N", "ADAMS^ANN A1\n"),
    ("patientfinder:local||%s|cgi", "Content-type: text/html\n\nADAMS^ANN\nO'BRIEN^BOB\n"),
    ("patientfinder:local|A1|%s %s %s", "ADAMS^ANN A1 ADAMS^ANN\n"),
    ("patientfinder:local|A1|%-12s|", "ADAMS^ANN   \n"),
    ("patientfinder:local|A1|%s*", "ADAMS^ANN*\n"),
    (
        "studyfinder:local|A1",
        f"20250630 MR ADAMS^ANN A1 {S2}\n20260101 SR\\CT ADAMS^ANN A1 {S1}\n",
    ),
    ("studyfinder:local|20260101|%5$s", f"{S1}\n"),
    ("studyfinder:local|202506|%5$s", f"{S2}\n"),
    ("studyfinder:local|2025|%5$s", f"{S2}\n{S3}\n"),
    ("studyfinder:local|20250601-20251231|%5$s", f"{S2}\n{S3}\n"),
    ("studyfinder:local|-20250701|%5$s", f"{S2}\n"),
    ("studyfinder:local|20260101-|%5$s", f"{S1}\n"),
    ("studyfinder:local|=20260101|%5$s", f"{S1}\n"),
    ("studyfinder:local|19991231", ""),
    ("studyfinder:local|=1.1", ""),
    ("seriesfinder:local|B 2", f"20251231 101112 MR O'BRIEN^BOB B 2 {S3} 1.3.1\n"),
    ("seriesfinder:local|=A1|%7$s", "1.2.1\n1.1.1\n1.1.2\n"),
    ("seriesfinder:local|20260101|%7$s", "1.1.1\n1.1.2\n"),
    ("imagefinder:local|B 2", f"1.3.1.1 O'BRIEN^BOB B 2 {S3} 1.3.1 1 \n"),
    ("imagefinder:local|=1.1.1|%1$s %6$s %7$s", "1.1.1.1 2 -1.5\n1.1.1.2 10 2.5\n1.1.1.3 1 0\n"),
    ("imagefinder:local|=A1", ""),
    ("imagefinder:local|20260101", ""),
    ("serieslister:local|A1|1.1", "1.1.1*1.1.2*"),
    ("serieslister:local|A1|1.1|%s", "1.1.1\n1.1.2\n"),
    ("serieslister:local|A1|1.1|%s,%d*", "1.1.1,0*1.1.2,1*"),
    ("serieslister:local||1.3|%2$d", "0\n"),
    ("serieslister:local|A1|", "1.2.1*1.1.1*1.1.2*"),
    ("serieslister:local|A1|1.3", ""),
    ("serieslister:local|nobody|", ""),
    ("imagelister:local|A1|1.1.1|:%s %s %s %s", "A1 1.1.1.3 0 1\nA1 1.1.1.1 1 2\nA1 1.1.1.2 2 3\n"),
    ("imagelister:local|A1|1.1.1|:%2$s*", "1.1.1.3*1.1.1.1*1.1.1.2"),
    ("imagelister:local|B 2||:%s/%s*", "B%202/1.3.1.1"),
    ("imagelister:local|A1||?%d files", "5 files\n"),
    ("imagelister:local|nobody||?%d", "0\n"),
    ("imagelister:local|||?%d", "6\n"),
    ("imagelister:local|A1|1.2.1|$%d", "3"),
    ("imagelister:local|A1|1.1.1|$%d;", "0;0;0;"),
    ("imagelister:local|nobody|", ""),
]


@pytest.mark.parametrize(("line", "reply"), FINDERS, ids=[line for line, _ in FINDERS])
def test_finders_and_listers_list_what_the_index_has(archive: Site, line: str, reply: str) -> None:
    assert archive.ask(line) == expected(reply)


@pytest.mark.parametrize("number", [n for n, (line, _) in enumerate(FINDERS) if ":local" in line])
def test_asked_by_c_find_a_server_of_ours_answers_the_same(archive: Site, number: int) -> None:
    line, reply = FINDERS[number]
    assert archive.ask(line.replace(":local", ":CONQUESTSRV1")) == expected(reply)


def test_imagelister_lists_paths_names_and_devices(archive: Site) -> None:
    names = [archive.says(f"query:DICOMImages|ObjectFile|SOPInstanc='1.1.1.{n}'|%s*") for n in (3, 1, 2)]
    root = archive.directory / "MAG0"
    paths = [f"{root}/{name}" for name in names]
    assert all(Path(path).is_file() for path in paths)
    lister = "imagelister:local|A1|1.1.1|"
    assert archive.says(lister) == "*".join(paths)
    assert archive.says(f"{lister}%s") == "".join(f"{path}\n" for path in paths)
    assert archive.says(f"{lister}%2$s %3$s*") == "0 1*1 2*2 3"
    assert archive.says(f"{lister}%2$03d %3$d") == "000 1\n001 2\n002 3\n"
    assert archive.says(f"{lister}#%s:%s %s %s*") == "*".join(
        f"MAG0:{name} {number} {number + 1}" for number, name in enumerate(names)
    )
    assert archive.says(f"{lister}@%2$s*") == "*".join(names)
    out = archive.directory / "list.txt"
    assert archive.ask(f"{lister}%s|{out}") == NOTHING
    assert out.read_text() == "".join(f"{path}\n" for path in paths)


def test_a_windows_name_is_listed_as_it_is_or_with_forward_slashes(tmp_path: Path) -> None:
    with site(tmp_path) as running:
        running.keep(ds(PatientID="W1"))
        (file,) = running.files()
        with sqlite3.connect(tmp_path / "dbase" / "conquest.db3") as connection:
            connection.execute("UPDATE DICOMImages SET ObjectFile = ?", (file.replace("/", "\\"),))
        connection.close()
        windows = file.replace("/", "\\")
        assert running.says("imagelister:local|W1||#%s:%s*") == f"MAG0:{windows}"
        assert running.says("imagelister:local|W1||@%s:%s*") == f"MAG0:{file}"
        assert running.says("imagelister:local|W1|") == f"{tmp_path}/MAG0/{file}"


@pytest.mark.parametrize(
    "command", ["patientfinder", "studyfinder", "seriesfinder", "imagefinder", "serieslister", "imagelister"]
)
def test_a_server_that_cannot_be_asked_has_no_reply_and_the_log_says_why(archive: Site, command: str) -> None:
    assert archive.ask(f"{command}:NOWHERE|A1|") == NOTHING
    assert f"*** Command {command} from 127.0.0.1 (PYTEST): NOWHERE is not in acrnema.map" in archive.log()


def test_values_are_cut_at_255_characters(tmp_path: Path) -> None:
    schema = render_schema(load_schema(None, DbSettings()))
    lines = [line.replace(" 64,", " 500,", 1) if '"StudyDescription"' in line else line for line in schema.splitlines()]
    (tmp_path / "dicom.sql").write_text("\n".join(lines))
    with site(tmp_path) as running:
        made = ds(PatientID="L1")
        made.add_new(0x00081030, "LT", "x" * 300)
        running.keep(made)
        assert running.says("query:DICOMStudies|length(StudyDescr)||%s") == "300\n"
        assert running.says("query:DICOMStudies|StudyDescr||%s") == "x" * 255 + "\n"


def test_results_of_any_size_come_whole(tmp_path: Path) -> None:
    with site(tmp_path) as running:
        with sqlite3.connect(tmp_path / "dbase" / "conquest.db3") as connection:
            connection.executemany(
                "INSERT INTO DICOMPatients (PatientID, PatientNam) VALUES (?, ?)",
                [(f"P{number:06d}", "X" * 50) for number in range(30_000)],
            )
        connection.close()
        listed = running.says(f"{Q}|PatientID,PatientNam|{BY_ID}|%s %s").splitlines()
        assert len(listed) == 30_000
        assert listed[-1] == f"P029999 {'X' * 50}"
        assert len(running.says(f"query2:DICOMPatients|PatientID|{BY_ID}|%s|100").splitlines()) == 100
        assert len(running.says("patientfinder:local|P").splitlines()) == 30_000


def test_a_database_that_cannot_be_read_is_a_failure_that_is_told(tmp_path: Path) -> None:
    with site(tmp_path) as running:
        running.keep(ds(PatientID="P1"))
        running.daemon.server.index.close()
        database = tmp_path / "dbase" / "conquest.db3"
        whole = database.read_bytes()
        database.write_bytes(b"no database" * 1000)
        for line in (f"{Q}|PatientID|", "patientfinder:local|", "deletepatient:P1", "regen:"):
            reply = running.ask(line)
            assert reply.status == 0x0110, line
            assert (reply.payload or b"").startswith(f"*** {line.partition(':')[0]} failed: ".encode())
        assert "Traceback" not in running.log()
        running.daemon.server.index.close()
        database.write_bytes(whole)
        assert running.says(f"{Q}|PatientID||%s") == "P1\n"
        assert len(running.files()) == 1


def test_a_result_too_large_to_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgate.commands.database._MOST_BYTES", 1000)
    with site(tmp_path) as running:
        running.keep(*(ds(PatientID=f"P{number}") for number in range(12)))
        assert running.ask(f"{Q}|PatientID|{BY_ID}|%s") == NOTHING
        assert "ask for less of it" in running.log()
        assert running.says(f"{Q}|PatientID|PatientID='P1'|%s") == "P1\n"
