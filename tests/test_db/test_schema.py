"""dicom.sql: the built-in layout, files of any shape, and complaints that name the line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import SchemaError
from db.layout import DEFAULT_LAYOUT
from db.schema import LEVELS, MODALITY, OLD_SERIES_UID, OLD_STUDY_UID, Schema, load_schema, render_schema
from db.settings import DbSettings
from db.sqldef import parse_sqldef
from tests.test_db.headers import path_of

SMALL = """
*Patient* { { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR } }
*Study* { { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI }
          { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR } }
*Series* { { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI }
           { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI } }
*Image* { { 0x0008, 0x0018, "SOPInstanceUID", 64, SQL_C_CHAR, DT_UI }
          { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI } }
"""


def load(text: str, tmp_path: Path, settings: DbSettings | None = None) -> Schema:
    (tmp_path / "dicom.sql").write_text(text)
    return load_schema(tmp_path / "dicom.sql", settings or DbSettings())


def names(schema: Schema, level: str) -> str:
    return " ".join(column.name for column in schema.tables[level].columns)


def test_the_built_in_layout_is_conquests_revision_19() -> None:
    schema = load_schema(None, DbSettings())
    assert [schema.tables[level].name for level in (*LEVELS, "WORKLIST")] == [
        "DICOMPatients",
        "DICOMStudies",
        "DICOMSeries",
        "DICOMImages",
        "DICOMWorkList",
    ]
    assert names(schema, "PATIENT") == "PatientID PatientNam PatientBir PatientSex"
    assert names(schema, "STUDY") == (
        "StudyInsta StudyDate StudyTime StudyID StudyDescr AccessionN ReferPhysi PatientsAg PatientsWe "
        "StudyModal PatientNam PatientBir PatientSex PatientID"
    )
    assert names(schema, "SERIES") == (
        "SeriesInst SeriesNumb SeriesDate SeriesTime SeriesDesc Modality PatientPos ContrastBo Manufactur "
        "ModelName BodyPartEx ProtocolNa StationNam Institutio FrameOfRef SeriesPat StudyInsta"
    )
    assert names(schema, "IMAGE") == (
        "SOPInstanc SOPClassUI ImageNumbe ImageDate ImageTime EchoNumber NumberOfFr AcqDate AcqTime "
        "ReceivingC AcqNumber SliceLocat SamplesPer PhotoMetri QRows QColumns BitsStored ImageType ImageID "
        "ImagePat SeriesInst"
    )
    worklist = schema.tables["WORKLIST"]
    assert len(worklist.columns) == 24
    assert len(worklist.entries) == 26
    assert [entry.hl7 for entry in worklist.entries][:5] == ["OBR.3", "PID.4", "PID.5", "PID.7", "PID.8"]


def test_headers_are_asked_for_all_columns_and_for_what_repairs_need() -> None:
    schema = load_schema(None, DbSettings())
    assert {MODALITY, OLD_STUDY_UID, OLD_SERIES_UID} <= schema.paths
    assert path_of("SliceLocation") in schema.paths
    assert path_of("ScheduledProcedureStepSequence/Modality") not in schema.paths  # the worklist is no object's


def test_the_first_column_is_the_key_and_the_last_the_link() -> None:
    image = load_schema(None, DbSettings()).tables["IMAGE"]
    assert (image.key.keyword, image.link.keyword) == ("SOPInstanceUID", "SeriesInstanceUID")


def test_worklist_columns_lie_in_their_sequence() -> None:
    worklist = load_schema(None, DbSettings()).tables["WORKLIST"]
    paths = {column.keyword: column.path for column in worklist.columns}
    assert paths["ScheduledAE"] == path_of("ScheduledProcedureStepSequence/ScheduledStationAETitle")
    assert paths["AccessionNumber"] == path_of("AccessionNumber")
    assert paths["ReqProcID"] == path_of("RequestedProcedureID")


def test_the_layout_is_written_so_that_it_reads_back_the_same(tmp_path: Path) -> None:
    for settings in (DbSettings(), DbSettings(TruncateFieldNames=64), DbSettings(MaxFieldLength=30)):
        schema = load_schema(None, settings)
        assert load(render_schema(schema), tmp_path, settings) == schema


def test_tokens_may_stand_anywhere_and_commas_are_optional(tmp_path: Path) -> None:
    squeezed = " ".join(SMALL.split()).replace(", ", ",").replace("0x0010", "16").replace("0x0020", "0X20")
    spread = "/* a\n comment */\n" + SMALL.replace(" ", "\n\t").replace(",", "\n,\n") + "/**/"
    plain = load(SMALL, tmp_path)
    assert load(squeezed, tmp_path) == load(spread, tmp_path) == plain
    assert names(plain, "STUDY") == "StudyInsta PatientID"


def test_a_file_without_worklist_gets_the_built_in_one(tmp_path: Path) -> None:
    assert load(SMALL, tmp_path).tables["WORKLIST"] == load_schema(None, DbSettings()).tables["WORKLIST"]


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "dicom.sql").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert names(load_schema(tmp_path / "dicom.sql", DbSettings()), "PATIENT") == "PatientID"


def test_lengths_obey_dicom_ini_but_dates_are_dates() -> None:
    schema = load_schema(None, DbSettings(MaxFieldLength=32, TruncateFieldNames=30))
    columns = {column.keyword: column for column in schema.tables["STUDY"].columns}
    assert columns["StudyDescription"].length == 32
    assert columns["AccessionNumber"].length == 16
    assert columns["StudyDate"].length == 8
    assert columns["StudyDescription"].name == "StudyDescription"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("*Patient*", "*Person*", "line 2: *Person* where one of *Patient* *Study*"),
        ("*Series*", "*Study*", "line 5: a second section *Study*"),
        ('"PatientID", 64', '"PatientID", x', "line 2: x where a number is expected"),
        ('"PatientID", 64', '"PatientID", 99999', "line 2: 99999 where a number up to 65535"),
        ('"PatientID", 64', '"PatientID", 0', "line 2: length 0; give PatientID"),
        ('"PatientID", 64', '"Patient ID", 64', "line 2: 'Patient ID' is no column name"),
        ('"PatientID", 64', "PatientID, 64", "line 2: PatientID where a name in double quotes is expected"),
        (
            '0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI }\n ',
            "0x0020, 0x000e }\n",
            "line 5: } where a name",
        ),
        ("DT_STR", "DT_STRING", "line 2: DT_STRING where one of DT_DATE"),
        ("SQL_C_CHAR", "SQL_CHAR", "line 2: SQL_CHAR where one of SQL_C_CHAR"),
        ("0x0010, 0x0020", "0x0010, 0x0021", "line 2: the first entry of *Patient* must be 0x0010, 0x0020"),
        (
            "DT_UI }\n          { 0x0010, 0x0020",
            "DT_UI }\n { 0x0010, 0x0021",
            "line 4: the last entry of *Study* must be",
        ),
        ("*Study* {", "*Study* ( {", "line 3: '( { { 0x0020"),
        ("DT_STR } }\n*Study*", "DT_STR }\n*Study*", "line 3: *Study* where { is expected"),
        ("DT_STR } }\n*Study*", "DT_STARTSEQUENCE } }\n*Study*", "DT_STARTSEQUENCE in *Patient* is never closed"),
        ("DT_STR } }\n*Study*", "DT_ENDSEQUENCE } }\n*Study*", "line 2: DT_ENDSEQUENCE without a DT_STARTSEQUENCE"),
        (
            '"StudyInstanceUID", 64, SQL_C_CHAR, DT_UI }\n          {',
            '"AccessTime", 64, SQL_C_CHAR, DT_UI } {',
            "AccessTime is there",
        ),
        (SMALL, "", "section *Patient* is missing"),
        ('*Patient* { { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR } }', "*Patient* { }", "has no columns"),
        ("*Patient* {", "/* *Patient* {", "line 2: '/* *Patient*"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in SMALL
    with pytest.raises(SchemaError) as wrong:
        load(SMALL.replace(before, after, 1), tmp_path)
    assert message in str(wrong.value)
    assert str(tmp_path / "dicom.sql") in str(wrong.value)


def test_names_that_are_one_when_cut_are_refused(tmp_path: Path) -> None:
    text = DEFAULT_LAYOUT.replace('"StudyTime"', '"StudyDate2"')
    assert "StudyDate2" in names(load(text, tmp_path), "STUDY")
    with pytest.raises(SchemaError, match="column StudyDat is there already"):
        load(text, tmp_path, DbSettings(TruncateFieldNames=8))


def test_a_missing_file_and_a_bad_table_name_are_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"nothing\.sql: No such file or directory; put a dicom\.sql there"):
        load_schema(tmp_path / "nothing.sql", DbSettings())
    with pytest.raises(SchemaError, match="ImageTableName = 'a; DROP' is no table name"):
        load_schema(None, DbSettings(ImageTableName="a; DROP"))


def read_or_refused(text: str) -> bool:
    """Tell whether a text is a dicom.sql; anything but reading or refusing it is an error."""
    try:
        parse_sqldef(text, "dicom.sql")
    except SchemaError as refused:
        return "dicom.sql, line " in str(refused)
    return True


@given(st.text())
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    assert read_or_refused(text)


PIECES = ["*Study*", "{", "}", ",", "0x10", "7", '"Name"', "SQL_C_CHAR", "DT_STR", "/*", "*/", "\n", " ", '"', "*"]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_no_order_of_tokens_does_worse_than_be_refused(pieces: list[str]) -> None:
    assert read_or_refused(" ".join(pieces))


def test_vrs_come_from_the_type_or_else_the_dictionary() -> None:
    schema = load_schema(None, DbSettings())
    vrs = {column.keyword: column.vr for level in LEVELS for column in schema.tables[level].columns}
    assert {keyword: vrs[keyword] for keyword in ("PatientName", "StudyDate", "StudyTime", "ImageNumber", "QRows")} == {
        "PatientName": "PN",
        "StudyDate": "DA",
        "StudyTime": "TM",
        "ImageNumber": "IS",
        "QRows": "US",
    }
