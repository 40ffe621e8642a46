"""The tables: those that we make are ConQuest's, those that ConQuest made are served as they stand."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from db.errors import DatabaseError, LinkRefused
from db.index import Index
from db.layout import DEFAULT_LAYOUT
from db.objects import Location
from db.query import Query
from db.schema import load_schema
from db.settings import DbSettings
from tests.test_db.headers import header, keys, path_of

DATABASE_LINES = ["Patient Database", "Study Database", "Series Database", "Image Database"]

# What ConQuest 1.5.0e makes of its default dicom.sql.
OWN = "AccessTime int, qTimeStamp int, qFlags int, qSpare varchar(64)"
CONQUEST = f"""
CREATE TABLE DICOMPatients (PatientID varchar(64) PRIMARY KEY not null, PatientNam varchar(64), PatientBir char(8),
    PatientSex varchar(16), {OWN});
CREATE TABLE DICOMStudies (StudyInsta varchar(64) PRIMARY KEY not null, StudyDate char(8), StudyTime varchar(16),
    StudyID varchar(16), StudyDescr varchar(64), AccessionN varchar(16), ReferPhysi varchar(64), PatientsAg varchar(16),
    PatientsWe varchar(16), StudyModal varchar(64), PatientNam varchar(64), PatientBir char(8), PatientSex varchar(16),
    PatientID varchar(64), {OWN});
CREATE TABLE DICOMSeries (SeriesInst varchar(64) PRIMARY KEY not null, SeriesNumb varchar(12), SeriesDate char(8),
    SeriesTime varchar(16), SeriesDesc varchar(64), Modality varchar(16), PatientPos varchar(16),
    ContrastBo varchar(64), Manufactur varchar(64), ModelName varchar(64), BodyPartEx varchar(64),
    ProtocolNa varchar(64), StationNam varchar(16), Institutio varchar(64), FrameOfRef varchar(64),
    SeriesPat varchar(64), StudyInsta varchar(64), {OWN});
CREATE TABLE DICOMImages (SOPInstanc varchar(64) PRIMARY KEY not null, SOPClassUI varchar(64), ImageNumbe varchar(12),
    ImageDate char(8), ImageTime varchar(16), EchoNumber varchar(64), NumberOfFr varchar(12), AcqDate char(8),
    AcqTime varchar(16), ReceivingC varchar(16), AcqNumber varchar(12), SliceLocat varchar(16), SamplesPer varchar(5),
    PhotoMetri varchar(16), QRows varchar(5), QColumns varchar(5), BitsStored varchar(5), ImageType varchar(128),
    ImageID varchar(16), ImagePat varchar(64), SeriesInst varchar(64), {OWN},
    ObjectFile varchar(255), DeviceName varchar(32));
CREATE TABLE DICOMWorkList (AccessionN varchar(16), PatientID varchar(64), PatientNam varchar(64), PatientBir char(8),
    PatientSex varchar(16), MedicalAle varchar(64), ContrastAl varchar(64), StudyInsta varchar(64),
    ReqPhysici varchar(64), ReqProcDes varchar(64), Modality varchar(16), ReqContras varchar(64),
    ScheduledA varchar(16), StartDate char(8), StartTime varchar(16), PerfPhysic varchar(64), SchedPSDes varchar(64),
    SchedPSID varchar(16), SchedStati varchar(16), SchedPSLoc varchar(16), PreMedicat varchar(64),
    SchedPSCom varchar(64), ReqProcID varchar(16), ReqProcPri varchar(16), {OWN});
CREATE TABLE UIDMODS (MODTime int, OldUID varchar(64), MODType varchar(32), NewUID varchar(64), Stage varchar(32),
    Annotation varchar(64));
CREATE INDEX study_lnk ON DICOMStudies(PatientID);
CREATE INDEX idx_patientid ON DICOMStudies(PatientSex);
CREATE INDEX series_lnk ON DICOMSeries(StudyInsta);
CREATE INDEX images_lnk ON DICOMImages(SeriesInst);
INSERT INTO DICOMPatients VALUES ('P1', CAST(x'4DFC6C6C65725E4A6F7267' AS TEXT), '19700101', 'M', 1600000000,
    NULL, NULL, NULL);
INSERT INTO DICOMStudies VALUES ('1.1', '20200101', '101500.000000', '7', CAST(x'53636865646C' AS TEXT), 'A1',
    NULL, NULL, NULL, 'MR\\CT', CAST(x'4DFC6C6C65725E4A6F7267' AS TEXT), '19700101', 'M', 'P1', 1600000000,
    NULL, NULL, NULL);
INSERT INTO DICOMSeries (SeriesInst, SeriesNumb, Modality, SeriesPat, StudyInsta, AccessTime)
    VALUES ('1.1.1', '1', 'CT', 'P1', '1.1', 1600000000);
INSERT INTO DICOMImages (SOPInstanc, SOPClassUI, ImageNumbe, ImagePat, SeriesInst, AccessTime, ObjectFile, DeviceName)
    VALUES ('1.1.1.1', '1.2.840.10008.5.1.4.1.1.2', '1', 'P1', '1.1.1', 1600000000, 'P1/1.1.1_0001.dcm', 'MAG0');
"""


def described(path: Path) -> dict[str, str]:
    """Return the SQL of every table and index in a SQLite file, on one line each."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(sql.replace("IF NOT EXISTS ", "").split()) for name, sql in rows}


def conquest_database(path: Path, *changes: tuple[str, str]) -> None:
    script = CONQUEST
    for before, after in changes:
        assert before in script
        script = script.replace(before, after)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def opened(tmp_path: Path, **others: object) -> Index:
    settings = DbSettings(SqLite=True, SQLServer="conquest.db3", **others)  # type: ignore[arg-type]
    return Index(settings, load_schema(None, settings), tmp_path)


def test_a_new_database_has_conquests_tables(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3")
    settings = DbSettings(SqLite=True, SQLServer="ours.db3")
    index = Index(settings, load_schema(None, settings), tmp_path)
    index.ensure_tables()
    index.close()
    theirs, ours = described(tmp_path / "conquest.db3"), described(tmp_path / "ours.db3")
    for table in ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages", "DICOMWorkList", "UIDMODS"):
        assert ours[table] == theirs[table]
    assert sorted(name for name in ours if not name.startswith(("dgate_", "DICOM", "UIDMODS"))) == [
        "idx_patientid",
        "idx_patientid_studyinsta",
        "idx_seriesinst_sopinstanc",
        "idx_studyinsta_seriesinst",
        "images_pat",
        "mods_back",
        "mods_joint",
        "mods_old",
        "mods_stage",
        "series_lnk",
        "series_pat",
        "study_lnk",
    ]
    assert ours["idx_patientid"] == "CREATE INDEX idx_patientid ON DICOMStudies(PatientID)"


def test_conquests_sqlite_3_8_can_still_open_what_we_made(tmp_path: Path) -> None:
    index = opened(tmp_path)
    index.ensure_tables()
    index.close()
    own = {name: sql for name, sql in described(tmp_path / "conquest.db3").items() if name.startswith("dgate_")}
    # No expressions, no functions, nothing partial: those came later. Triggers may call functions.
    assert {name: sql for name, sql in own.items() if sql.startswith("CREATE INDEX")} == {
        "dgate_DICOMPatients_PatientNam": (
            "CREATE INDEX dgate_DICOMPatients_PatientNam ON DICOMPatients(PatientNam COLLATE NOCASE, PatientID)"
        ),
        "dgate_DICOMStudies_PatientNam": (
            "CREATE INDEX dgate_DICOMStudies_PatientNam ON DICOMStudies(PatientNam COLLATE NOCASE, StudyInsta)"
        ),
        "dgate_DICOMStudies_StudyDate": "CREATE INDEX dgate_DICOMStudies_StudyDate ON DICOMStudies(StudyDate)",
        "dgate_DICOMStudies_AccessionN": "CREATE INDEX dgate_DICOMStudies_AccessionN ON DICOMStudies(AccessionN)",
    }
    assert {name: sql for name, sql in own.items() if name.startswith("dgate_DICOMStudies_groups")} == {
        "dgate_DICOMStudies_groups": (
            "CREATE TABLE dgate_DICOMStudies_groups (name_key varchar(64) PRIMARY KEY not null)"
        ),
        **{
            f"dgate_DICOMStudies_groups_{name}": (
                f"CREATE TRIGGER dgate_DICOMStudies_groups_{name} AFTER {event} ON DICOMStudies"
                " WHEN instr(NEW.PatientNam, '=') > 0"
                " BEGIN INSERT OR IGNORE INTO dgate_DICOMStudies_groups VALUES (NEW.StudyInsta); END"
            )
            for name, event in (("new", "INSERT"), ("set", "UPDATE OF PatientNam"))
        },
    }


def test_names_of_several_groups_are_found_whoever_entered_them(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3")

    def conquest(sql: str, *values: object) -> None:
        with closing(sqlite3.connect(tmp_path / "conquest.db3")) as connection, connection:
            connection.execute(sql, values)

    def found(index: Index) -> list[str]:
        query = Query("STUDY", {path_of("PatientName"): "YAMADA*"}, [path_of("StudyInstanceUID")])
        return sorted(row[path_of("StudyInstanceUID")] for row in index.find(query))

    enter = "INSERT INTO DICOMStudies (StudyInsta, PatientNam, PatientID) VALUES (?, ?, 'Y')"
    conquest(enter, "8.1", "X=YAMADA")
    index = opened(tmp_path)
    index.ensure_tables()
    assert found(index) == ["8.1"]
    conquest(enter, "8.2", "X=Yamada^T")
    conquest(enter, "8.3", "YAMADA")
    assert found(index) == ["8.1", "8.2", "8.3"]
    conquest("UPDATE DICOMStudies SET PatientNam = 'NOBODY' WHERE StudyInsta = '8.1'")
    conquest("UPDATE DICOMStudies SET PatientNam = 'Z=YAMADA' WHERE StudyInsta = '8.3'")
    assert found(index) == ["8.2", "8.3"]
    index.close()
    # ConQuest makes its tables anew, and our triggers go with the old ones.
    (made,) = (sql for name, sql in described(tmp_path / "conquest.db3").items() if name == "DICOMStudies")
    conquest("DROP TABLE DICOMStudies")
    conquest(made)
    conquest(enter, "8.4", "X=YAMADA")
    index = opened(tmp_path)
    index.ensure_tables()
    conquest(enter, "8.5", "X=YAMADA")
    assert found(index) == ["8.4", "8.5"]
    index.close()


def test_a_database_of_conquest_is_served_as_it_stands(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3")
    before = described(tmp_path / "conquest.db3")
    index = opened(tmp_path)
    assert index.ensure_tables() == []
    wanted = [path_of("PatientName"), path_of("StudyTime"), path_of("ModalitiesInStudy")]
    for key in ("MÜLLER^JORG", "müller*", "M?ller^*", "*ller*"):
        rows = list(index.find(Query("STUDY", keys(PatientName=key), wanted)))
        assert [list(row.values()) for row in rows] == [["Müller^Jorg", "101500.000000", "MR\\CT"]], key
    assert index.locate("1.1.1.1", "P1") == Location("MAG0", "P1/1.1.1_0001.dcm")
    index.close()
    after = described(tmp_path / "conquest.db3")
    assert {name: sql for name, sql in after.items() if not name.startswith("dgate_")} == before


def test_conquests_latin_1_is_matched_exactly_too(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3", ("x'53636865646C'", "x'536368E4646C'"))
    index = opened(tmp_path)
    index.ensure_tables()
    for key in ("Schädl", "Schädl\\Other", "SCHÄ*", "S?h?dl"):
        assert index.count(Query("STUDY", keys(StudyDescription=key), [path_of("StudyInstanceUID")])) == 1, key
    assert list(index.raw_query("DICOMStudies", "StudyDescr")) == [("Schädl",)]
    index.close()


@pytest.mark.parametrize(("to_database", "stored"), [(True, "Müller".encode()), (False, "Müller".encode("latin-1"))])
def test_text_is_written_as_dicom_ini_says(tmp_path: Path, to_database: bool, stored: bytes) -> None:
    conquest_database(tmp_path / "conquest.db3")
    index = opened(tmp_path, UTF8ToDB=to_database)
    index.ensure_tables()
    uids = {"StudyInstanceUID": "2.1", "SeriesInstanceUID": "2.1.1", "SOPInstanceUID": "2.1.1.1"}
    for _ in range(2):  # inserted, then compared and updated
        index.add(header(PatientID="P2", PatientName="Müller", StudyDescription="山田", **uids), "MAG0", "ü.dcm")
    assert index.locate("2.1.1.1") == Location("MAG0", "ü.dcm")
    assert index.count(Query("STUDY", keys(PatientName="müller"), [path_of("StudyInstanceUID")])) == 1
    assert len(index.delete(index.select_objects(Query("STUDY", keys(PatientID="P1"))))) == 1
    index.close()
    with closing(sqlite3.connect(tmp_path / "conquest.db3")) as connection:
        connection.text_factory = bytes
        rows = connection.execute("SELECT PatientNam, typeof(PatientNam), StudyDescr FROM DICOMStudies").fetchall()
    # What Latin-1 cannot hold stays UTF-8.
    assert rows == [(stored, b"text", "山田".encode())]


def test_a_patient_id_in_latin_1_is_found_and_not_doubled(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3")
    latin1 = opened(tmp_path, UTF8ToDB=False)
    latin1.ensure_tables()
    uids = {"StudyInstanceUID": "2.1", "SeriesInstanceUID": "2.1.1"}
    latin1.add(header(PatientID="Ä1", SOPInstanceUID="2.1.1.1", **uids), "MAG0", "1.dcm")
    latin1.close()
    utf8 = opened(tmp_path)
    utf8.add(header(PatientID="Ä1", SOPInstanceUID="2.1.1.2", **uids), "MAG0", "2.dcm")
    assert utf8.count(Query("PATIENT", keys(PatientID="Ä1"), [path_of("PatientName"), path_of("PatientID")])) == 1
    assert utf8.locate("2.1.1.1", "Ä1") == Location("MAG0", "1.dcm")
    utf8.close()


def test_former_names_of_rows_and_columns_are_taken(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3", ("QRows", "Rows"), ("QColumns", "Columns"))
    index = opened(tmp_path)
    index.ensure_tables()
    index.add(header(SOPInstanceUID="1.1.1.2", Rows="512", PatientName="Müller^Jorg"), "MAG0", "2.dcm")
    query = Query("IMAGE", keys(Rows="512"), [path_of("Rows"), path_of("SOPInstanceUID")])
    assert [list(row.values()) for row in index.find(query)] == [["512", "1.1.1.2"]]
    index.close()


def test_a_column_that_the_database_lacks_is_named(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3", ("BitsStored varchar(5), ", ""))
    index = opened(tmp_path)
    with pytest.raises(DatabaseError, match=r"table DICOMImages has no column BitsStored, .* dgate -r"):
        index.ensure_tables()
    with pytest.raises(DatabaseError, match="has no column BitsStored"):
        index.locate("1.1.1.1")
    index.close()


def test_missing_tables_are_made_and_the_others_stay(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3")
    with closing(sqlite3.connect(tmp_path / "conquest.db3")) as connection:
        connection.executescript("DROP TABLE DICOMWorkList; DROP TABLE UIDMODS;")
    index = opened(tmp_path)
    index.ensure_tables()
    assert index.check()[1:] == [
        "DICOMPatients: 1 rows",
        "DICOMStudies: 1 rows",
        "DICOMSeries: 1 rows",
        "DICOMImages: 1 rows",
        "DICOMWorkList: 0 rows",
    ]
    index.close()


def test_duplicates_that_conquest_left_are_refused_and_not_dropped(tmp_path: Path) -> None:
    conquest_database(tmp_path / "conquest.db3", (" PRIMARY KEY not null", ""))
    with closing(sqlite3.connect(tmp_path / "conquest.db3")) as connection:
        connection.execute("INSERT INTO DICOMStudies SELECT * FROM DICOMStudies")
        connection.commit()
    index = opened(tmp_path)
    index.ensure_tables()
    assert not [name for name in described(tmp_path / "conquest.db3") if name.startswith("dgate_")]
    with pytest.raises(LinkRefused, match=r"Duplicate found in DICOMStudies: StudyInsta = '1\.1'"):
        index.add(header(SOPInstanceUID="1.1.1.2"), "MAG0", "2.dcm")
    assert len(list(index.find(Query("STUDY", {}, [path_of("StudyInstanceUID")])))) == 1
    assert len(list(index.raw_query("DICOMStudies", "*"))) == 2
    index.close()


def test_making_tables_anew_says_what_conquest_says(index: Index) -> None:
    assert index.create_tables() == [
        "Initializing Tables",
        "Dropping Existing tables (if-any)",
        "Dropping worklist",
        "Dropping other tables",
        "WorkList Database",
        *DATABASE_LINES,
    ]
    index.add(header(), "MAG0", "1.dcm")
    index.change_uid("1.1", "lua", "", lambda: "9.1")
    index._database.write(lambda session: session.execute("INSERT INTO DICOMWorkList (AccessionN) VALUES ('A')"))
    assert index.create_tables(0) == [
        "Initializing Tables",
        "Dropping Existing tables (if-any)",
        "Worklist contains data",
        "Dropping other tables",
        *DATABASE_LINES,
    ]
    assert index.count(Query("IMAGE", {})) == 0
    assert index.original_uid("9.1") == "1.1"
    assert index.create_tables(2) == [
        "Initializing Tables",
        "Dropping Existing tables (if-any)",
        "Dropping worklist",
        "WorkList Database",
    ]
    assert list(index.raw_query("DICOMWorkList", "*")) == []
    assert index.create_tables(0, drop=False) == ["Initializing Tables", "WorkList Database", *DATABASE_LINES]


def test_tables_without_keys_work_like_those_with(index: Index) -> None:
    index.create_tables(1)
    assert index.add(header(), "MAG0", "1.dcm").previous is None
    assert index.add(header(), "MAG0", "2.dcm").previous == Location("MAG0", "1.dcm")
    assert index.count(Query("PATIENT", {}, [path_of("PatientID")])) == 1
    assert index.ensure_tables() == []
    assert len(index.delete(index.select_objects(Query("IMAGE", {})))) == 1


def test_ensuring_twice_changes_nothing(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    assert index.ensure_tables() == []
    assert index.locate("1.1.1.1") == Location("MAG0", "1.dcm")


def test_reserved_words_may_be_column_names(open_index: Callable[..., Index], tmp_path: Path) -> None:
    text = DEFAULT_LAYOUT.replace('"AccessionNumber", 16, SQL_C_CHAR, DT_STR }', '"Order", 16, SQL_C_CHAR, DT_STR }')
    (tmp_path / "dicom.sql").write_text(text.replace('"PatientSex"', '"Group"'))
    index = open_index(tmp_path / "dicom.sql")
    index.add(header(AccessionNumber="A1", PatientSex="F"), "MAG0", "1.dcm")
    query = Query("STUDY", keys(AccessionNumber="A1", PatientSex="F"), [path_of("PatientSex")], sort="Order")
    assert [list(row.values()) for row in index.find(query)] == [["F"]]


def test_table_names_come_from_dicom_ini(open_index: Callable[..., Index]) -> None:
    index = open_index(PatientTableName="Patients2", ImageTableName="Images2")
    index.add(header(), "MAG0", "1.dcm")
    assert list(index.raw_query("Images2", "SOPInstanc")) == [("1.1.1.1",)]
    assert index.check()[1] == "Patients2: 1 rows"


def test_check_names_product_version_and_rows(index: Index) -> None:
    index.add(header(), "MAG0", "1.dcm")
    first, *tables = index.check()
    assert ": SQLite 3." in first or ": PostgreSQL " in first
    assert tables == [
        "DICOMPatients: 1 rows",
        "DICOMStudies: 1 rows",
        "DICOMSeries: 1 rows",
        "DICOMImages: 1 rows",
        "DICOMWorkList: 0 rows",
    ]
