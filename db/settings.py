"""The dicom.ini keys that the index reads."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class DbSettings:
    """The dicom.ini keys that db reads; field names are the keys, letter for letter.

    Defaults are ConQuest's but for two. Without any driver flag and without `SQLServer`
    ConQuest has no database, we keep a SQLite one. And `UTF8ToDB`: a new site, whose file does
    not have the key, stores Unicode; a file that says 0 stores what Latin-1 can hold as Latin-1, so
    that ConQuest can take the database back. What is stored is always read as UTF-8, then Latin-1.
    """

    SqLite: Annotated[
        bool, "1: the index is a SQLite file (the default when no driver is chosen)", {"example": "1"}
    ] = False
    PostGres: Annotated[bool, "1: the index is a PostgreSQL database"] = False
    MySQL: Annotated[bool, "MySQL is not supported; move the index with -r"] = False
    SQLServer: Annotated[
        str,
        "SQLite: the database file, below the base directory; PostgreSQL: the database name",
        {"example": "data/dbase/conquest.db3"},
    ] = ""
    SQLHost: Annotated[str, "PostgreSQL: host or host:port, or the directory of its socket"] = "localhost"
    Username: Annotated[str, "PostgreSQL: user name"] = "Administrator"
    Password: Annotated[str, "PostgreSQL: password", {"secret": True}] = "password"
    SQLiteStartup: Annotated[str, "Statement run when SQLite opens; synchronous counts only with Durability = fast"] = (
        "PRAGMA synchronous = OFF"
    )
    PostGreSQLStartup: Annotated[str, "Statement run on each new PostgreSQL connection"] = ""
    MySQLStartup: Annotated[str, "Accepted, without effect"] = ""
    DoubleBackSlashToDB: Annotated[bool, "Accepted, without effect: values never pass through SQL text"] = False
    UseEscapeStringConstants: Annotated[bool, "Accepted, without effect: values never pass through SQL text"] = False
    UTF8ToDB: Annotated[bool, "0: SQLite text is written as Latin-1 where that can hold it, as ConQuest does"] = True
    UTF8FromDB: Annotated[bool, "Accepted, without effect: text is read as UTF-8, then as Latin-1"] = False

    PatientTableName: Annotated[str, "Name of the patient table"] = "DICOMPatients"
    StudyTableName: Annotated[str, "Name of the study table"] = "DICOMStudies"
    SeriesTableName: Annotated[str, "Name of the series table"] = "DICOMSeries"
    ImageTableName: Annotated[str, "Name of the image table"] = "DICOMImages"
    WorkListTableName: Annotated[str, "Name of the worklist table"] = "DICOMWorkList"
    TruncateFieldNames: Annotated[int, "Column names are cut to this length; scripts depend on 10", {"low": 1}] = 10
    MaxFieldLength: Annotated[int, "Upper limit for the length of columns, 0 for none", {"low": 0}] = 0
    AllowTruncate: Annotated[str, "Columns, with commas, whose values may be cut without a warning"] = ""

    EnableComputedFields: Annotated[bool, "1: answer the counts (0020,1200) to (0020,1209)", {"example": "1"}] = False
    PatientQuerySortOrder: Annotated[str, "Order of patient query results: table.column, with commas"] = ""
    StudyQuerySortOrder: Annotated[str, "Order of study query results"] = ""
    SeriesQuerySortOrder: Annotated[str, "Order of series query results"] = ""
    ImageQuerySortOrder: Annotated[str, "Order of image query results"] = ""

    AllowEmptyPatientID: Annotated[bool, "1: an object without patient ID gets the ID of its study, not 00000000"] = (
        False
    )
    FixPhilips: Annotated[bool, "1: leading zeros of patient IDs of ten digits are removed"] = False
    FixKodak: Annotated[bool, "1: leading zeros of patient IDs of eight digits are removed"] = False
    IndexDBF: Annotated[int, "DBF driver of ConQuest: accepted, without effect"] = 10
    PackDBF: Annotated[int, "DBF driver of ConQuest: accepted, without effect"] = 0
    LongQueryDBF: Annotated[int, "DBF driver of ConQuest: accepted, without effect"] = 1000
