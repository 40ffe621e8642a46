"""A directory as ConQuest 1.5.0e leaves it: its configuration, its database by raw SQL, image files of every syntax."""

from __future__ import annotations

import io
import os
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.conformance.conquest_files import ACRNEMA_MAP, DGATE_DIC, DGATESOP_LST, DICOM_INI, DICOM_SQL
from tests.objects import ds, encoded, with_pixels
from tests.peers import free_port

ROOT_UID = "1.3.46.670589.5.2.10.2156913941.892665339"
WRITTEN = 1795210713
TABLES = {"Patient": "DICOMPatients", "Study": "DICOMStudies", "Series": "DICOMSeries", "Image": "DICOMImages"}


@dataclass(frozen=True)
class Stored:
    """One image of the site: what it holds, where its row says it is, where it really is."""

    made: Dataset
    row: str
    path: Path
    data_set: bytes

    @property
    def uid(self) -> str:
        return str(self.made.SOPInstanceUID)


@dataclass
class Site:
    """The directory, its port, and its images in the order in which they were stored."""

    directory: Path
    port: int
    images: list[Stored] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.directory / "data"

    @property
    def database(self) -> Path:
        return self.root / "dbase" / "conquest.db3"

    def tables(self) -> dict[str, list[dict[str, object]]]:
        """Every row of the four tables as the bytes that are there, AccessTime aside."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        connection.text_factory = bytes
        connection.row_factory = sqlite3.Row
        found = {}
        for table in TABLES.values():
            rows = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for row in rows:
                del row["AccessTime"]
            found[table] = sorted(rows, key=lambda row: next(iter(row.values())))
        connection.close()
        return found

    def image_files(self) -> dict[bytes, tuple[bytes, int]]:
        """Content and modification time of every image file by its name below MAG0."""
        found = {}
        for path in self.root.rglob("*"):
            below = path.relative_to(self.root)
            if below.parts[0] not in ("dbase", "printer_files", "incoming") and path.is_file():
                found[bytes(below)] = (path.read_bytes(), path.stat().st_mtime_ns)
        return found


def build(directory: Path, *, port: int, sink: int = 104, syntax: str = "3") -> Site:
    """Make the site in an empty directory; `sink` is the port of STORESCP in its acrnema.map."""
    site = Site(directory, port)
    for folder in ("data/dbase", "data/incoming", "data/printer_files", "lua"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    texts = {
        "dicom.ini": DICOM_INI.format(base=directory, port=port, syntax=syntax, web=free_port()),
        "acrnema.map": ACRNEMA_MAP.format(sink=sink),
        "dicom.sql": DICOM_SQL,
        "dgatesop.lst": DGATESOP_LST,
        "dgate.dic": DGATE_DIC,
        "PacsTrouble.log": "Fri Nov 20 21:38:34 2026 ***an old line\n",
    }
    for name, text in texts.items():
        (directory / name).write_text(text)
    for number, (row, made, form) in enumerate(_images()):
        _write(site, number, row, made, form)
    _make_database(site)
    return site


def _image(number: int, patient: str, name: str, **more: object) -> Dataset:
    """Image `number` of the site, one study each."""
    study = f"{ROOT_UID}.{number}"
    return with_pixels(
        ds(
            PatientID=patient,
            PatientName=name,
            StudyInstanceUID=study,
            SeriesInstanceUID=f"{study}.3",
            SOPInstanceUID=f"{study}.3.7",
            SeriesNumber=3,
            InstanceNumber=7,
            AccessionNumber=f"ACC{number}",
            Manufacturer="Philips",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            **more,
        )
    )


def _images() -> list[tuple[str, Dataset, str]]:
    """Row, object and form of each: ``v2`` is a bare implicit data set, ``explicit`` and ``implicit`` are Part 10."""
    stamp = WRITTEN
    series = f"{ROOT_UID}.%d.3_0003_0007_{stamp}"
    latin1 = _image(0, "0009703828", "Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    rows = [
        (f"Müller^J_00097038/3_7_{stamp}.v2", latin1, "v2"),
        (f"DOE^JOHN_P1/0003_0007_{stamp}0001.v2", _image(1, "P1", "DOE^JOHN"), "v2"),
        (f"DOE^JOHN_P2/{series % 2}0002.v2", _image(2, "P2", "DOE^JOHN"), "v2"),
        (f"P3/{series % 3}0003.v2", _image(3, "P3", "DOE^JOHN"), "v2"),
        (f"P4/{series % 4}0004.dcm", _image(4, "P4", "DOE^JOHN"), "explicit"),
        (f"VAN_DER_BERG^ANNA/{series % 5}0005.v2", _image(5, "P5", "VAN DER BERG^ANNA"), "v2"),
    ]
    for number, form, template in (
        (6, "v2", "P6/{study}/{study}.3/{study}.3.7.v2"),
        (7, "v2", "{study}/{study}.3/{study}.3.7.v2"),
        (8, "explicit", "P8/{study}/{study}.3/{study}.3.7.dcm"),
        (9, "explicit", "{study}/{study}.3/{study}.3.7.dcm"),
        (10, "implicit", "Images/{study}.3.7.dcm"),
        (11, "explicit", "DOE^JANE/{study}/{study}.3/{study}.3.7.dcm"),
        (12, "explicit", "DOE^JANE_P12/CT_1/3/{study}.3.7.dcm"),
        (13, "v2", f"DOE^JANE_P13/3_7_{stamp}.v2"),
    ):
        name = "DOE^JOHN" if number < 11 else "DOE^JANE"
        rows.append((template.format(study=f"{ROOT_UID}.{number}"), _image(number, f"P{number}", name), form))
    # The database came from Windows; a scanner's own names were added with -fe; one data set has a preamble in a .v2.
    rows.append((f"P14\\{series % 14}000e.dcm", _image(14, "P14", "DOE^JOHN"), "explicit"))
    rows.append(("P15/old.img", _image(15, "P15", "DOE^JOHN"), "implicit"))
    rows.append(("P16/IM0001", _image(16, "P16", "DOE^JOHN"), "explicit"))
    rows.append((f"P17/{series % 17}0011.v2", _image(17, "P17", "DOE^JOHN"), "implicit"))
    rows.append((f"P18/{series % 18}0012.dcm", _image(18, "P18", "DOE^JOHN"), "jpeg"))
    # One patient with a second series and image: what a table has once for several files.
    second = _image(3, "P3", "DOE^JOHN", Modality="SR", SeriesDescription="report")
    second.SeriesInstanceUID, second.SOPInstanceUID = f"{ROOT_UID}.3.4", f"{ROOT_UID}.3.4.1"
    rows.append((f"P3/{ROOT_UID}.3.4_0003_0007_{stamp}0013.v2", second, "v2"))
    return rows


def _write(site: Site, number: int, row: str, made: Dataset, form: str) -> None:
    raw, data_set = _encoded(made, form)
    # ConQuest writes names as the bytes they have in the object, Latin-1 here.
    path = Path(os.fsdecode(bytes(site.root) + b"/" + row.replace("\\", "/").encode("latin-1")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    os.utime(path, (WRITTEN + number, WRITTEN + number))
    site.images.append(Stored(made, row, path, data_set))


def _encoded(made: Dataset, form: str) -> tuple[bytes, bytes]:
    """The file, and the data set in it."""
    if form == "jpeg":
        name = get_testdata_file("JPEG-lossy.dcm", download=False)
        assert name is not None
        compressed = pydicom.dcmread(str(name))
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(compressed, keyword, made[keyword].value)
        made.clear()
        made.update(compressed)
        made.file_meta = compressed.file_meta
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        buffer = io.BytesIO()
        compressed.save_as(buffer)
        raw = buffer.getvalue()
    else:
        raw = encoded(made, ExplicitVRLittleEndian if form == "explicit" else ImplicitVRLittleEndian)
    data_set = raw[144 + int.from_bytes(raw[140:144], "little") :]
    return (data_set if form == "v2" else raw), data_set


def _columns(section: str) -> list[tuple[str, int, str]]:
    """Column name, tag and SQL type of a section of dicom.sql."""
    text = DICOM_SQL.partition(f"*{section}*")[2].partition("}\n\n*")[0]
    return [
        (name[:10], int(group, 16) << 16 | int(element, 16), "char(8)" if "DATE" in kind else f"varchar({length})")
        for group, element, name, length, kind in re.findall(r'\{ (0x\w+), (0x\w+), "(\w+)", (\d+), (SQL_C_\w+)', text)
    ]


def _make_database(site: Site) -> None:
    """Tables, keys, indices and rows as ConQuest's SQLite driver makes them; text is Latin-1."""
    connection = sqlite3.connect(site.database)
    for section, table in TABLES.items():
        columns = [f"{name} {kind}" for name, _, kind in _columns(section)]
        columns[0] += " PRIMARY KEY not null"
        columns += ["AccessTime int", "qTimeStamp int", "qFlags int", "qSpare varchar(64)"]
        columns += ["ObjectFile varchar(255)", "DeviceName varchar(32)"] if section == "Image" else []
        connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    worklist = ", ".join(f"{name} {kind}" for name, _, kind in _columns("WorkList"))
    connection.execute(
        f"CREATE TABLE DICOMWorkList ({worklist}, AccessTime int, qTimeStamp int, qFlags int, qSpare varchar(64))"
    )
    connection.execute("INSERT INTO DICOMWorkList (AccessionN, PatientID) VALUES ('ACC1', 'P1')")
    connection.execute(
        "CREATE TABLE UIDMODS (MODTime int, OldUID varchar(64), MODType varchar(32), NewUID varchar(64), "
        "Stage varchar(32), Annotation varchar(64))"
    )
    connection.execute("INSERT INTO UIDMODS VALUES (1795210000, '1.2.3', '--changeuid', '1.2.3.4', '(empty)', NULL)")
    for index in (
        "study_lnk ON DICOMStudies(PatientID)",
        "idx_patientid ON DICOMStudies(PatientSex)",
        "idx_patientid_studyinsta ON DICOMStudies(PatientID, StudyInsta)",
        "series_lnk ON DICOMSeries(StudyInsta)",
        "series_pat ON DICOMSeries(SeriesPat)",
        "idx_studyinsta_seriesinst ON DICOMSeries(StudyInsta, SeriesInst)",
        "images_lnk ON DICOMImages(SeriesInst)",
        "images_pat ON DICOMImages(ImagePat)",
        "idx_seriesinst_sopinstanc ON DICOMImages(SeriesInst, SOPInstanc)",
        "mods_old ON UIDMODS(OldUID)",
        "mods_stage ON UIDMODS(Stage)",
        "mods_joint ON UIDMODS(OldUID, Stage)",
        "mods_back ON UIDMODS(NewUID, Stage)",
    ):
        connection.execute(f"CREATE INDEX {index}")
    modalities: dict[str, list[str]] = {}
    for number, image in enumerate(site.images):
        of_study = modalities.setdefault(str(image.made.StudyInstanceUID), [])
        if str(image.made.Modality) not in of_study:
            of_study.insert(0, str(image.made.Modality))
        for section, table in TABLES.items():
            names, values = [], []
            for name, tag, _ in _columns(section):
                names.append(name)
                values.append("\\".join(of_study) if name == "StudyModal" else _text(image.made, tag))
            names += ["AccessTime"]
            values += [str((WRITTEN + number) & ~31)]
            if section == "Image":
                names += ["ObjectFile", "DeviceName"]
                values += [image.row, "MAG0"]
            marks = ", ".join("CAST(? AS TEXT)" if name != "AccessTime" else "?" for name in names)
            raw = [None if value is None else value.encode("latin-1") for value in values]
            raw[names.index("AccessTime")] = values[names.index("AccessTime")]  # type: ignore[call-overload]
            connection.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})", raw)
    connection.commit()
    connection.close()


def _text(made: Dataset, tag: int) -> str | None:
    element = made.get(tag)
    if element is None:
        return None
    return "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)
