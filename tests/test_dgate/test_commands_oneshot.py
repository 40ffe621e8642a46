"""One-shot actions: what they print, what they touch, and what they refuse, in the process of the test."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from dgate.__main__ import main
from tests.objects import ds, study, write
from tests.servers import write_ini, write_map

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run an action on the base directory ``site``; returns exit status, standard output and standard error."""
    write_map(_made(tmp_path / "site"), {"PEER": (104, "j2")})
    write_ini(tmp_path / "site")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def act(option: str) -> tuple[int, str, str]:
        code = main([f"-w{tmp_path / 'site'}", option])
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return act


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def counts(site: Path) -> list[int]:
    connection = sqlite3.connect(site / "dbase" / "conquest.db3")
    tables = ("DICOMPatients", "DICOMStudies", "DICOMSeries", "DICOMImages")
    found = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    connection.close()
    return found


def stored(site: Path) -> list[Path]:
    return sorted((site / "MAG0").rglob("*.dcm"))


def test_lists_are_printed_as_conquest_prints_them(run: Run) -> None:
    code, shown, said = run("-d")
    assert (code, said) == (0, "")
    assert re.fullmatch(r"\*\* MAG DEVICE CHECK\n\nFree space on MAG   Device 0 := \d+ MByte\n", shown)
    line = "PEER              127.0.0.1                      104        j2              "
    assert run("-m") == (0, f"**\tAE / IP-PORT Map dump\n\n{line}\n", "")
    code, shown, _ = run("-k")
    lines = shown.splitlines()
    assert lines[:3] == ["**\tDatabase Description dump", "", "--Patient Database: DICOMPatients"]
    assert lines[3] == "0x0010,0x0020   PatientID    64  SQL_C_CHAR          DT_STR"
    titles = [line for line in lines if line.startswith("--")]
    assert titles == [
        "--Patient Database: DICOMPatients",
        "--Study Database: DICOMStudies",
        "--Series Database: DICOMSeries",
        "--Image Database: DICOMImages",
        "--WorkList Database: DICOMWorkList",
    ]


def test_tables_are_made_with_conquests_lines(run: Run, tmp_path: Path) -> None:
    titles = [f"{name} Database" for name in ("Patient", "Study", "Series", "Image")]
    code, shown, _ = run("-i")
    lines = shown.splitlines()
    assert code == 0
    assert lines[:2] == ["Initializing Tables", "Dropping Existing tables (if-any)"]
    assert [line for line in lines if line in titles] == titles
    connection = sqlite3.connect(tmp_path / "site" / "dbase" / "conquest.db3")
    connection.execute("INSERT INTO DICOMWorkList (PatientID) VALUES ('W1')")
    connection.commit()
    connection.close()
    assert "Worklist contains data" in run("-i1")[1].splitlines()
    assert "Worklist contains data" not in run("-i2")[1].splitlines()


def test_files_are_named_as_seen_from_where_the_command_is_typed(run: Run, tmp_path: Path) -> None:
    site = tmp_path / "site"
    made = ds(PatientID="P1")
    (tmp_path / "work" / "one,two.dcm").write_bytes(write(tmp_path / "sent", made).read_bytes())
    assert run("-faone,two.dcm")[0] == 0
    assert run("-f?one,two.dcm") == (0, f"{made.SOPInstanceUID}\n", "")
    assert run("-faone,two.dcm,P2")[0] == 0
    assert counts(site) == [2, 2, 2, 2]
    first = stored(site)[0]
    assert run(f"-fd../site/MAG0/P1/{first.name}") == (0, "", "")
    assert counts(site) == [1, 1, 1, 1]
    assert run(f"-fe../site/MAG0/P1/{first.name}") == (0, "", "")
    assert counts(site) == [2, 2, 2, 2]
    assert run(f"-fz../site/MAG0/P1/{first.name}") == (0, "", "")
    assert counts(site) == [1, 1, 1, 1]
    assert not first.exists()


@pytest.fixture
def filled(run: Run, tmp_path: Path) -> Path:
    """A site with the studies of two patients, two series of one image each."""
    for patient in ("P1", "P2"):
        for obj in study(patient, series=2, images=1):
            obj.StudyInstanceUID = f"1.{patient[1]}"
            assert run(f"-fa{write(tmp_path / 'sent', obj)}")[0] == 0
    return tmp_path / "site"


def series_of(site: Path, patient: str) -> list[str]:
    connection = sqlite3.connect(site / "dbase" / "conquest.db3")
    found = connection.execute("SELECT SeriesInst FROM DICOMSeries WHERE SeriesPat = ?", (patient,)).fetchall()
    connection.close()
    return [uid for (uid,) in found]


def test_rows_go_and_files_stay(run: Run, filled: Path) -> None:
    taken = "images taken out of the database; their files stay\n"
    (first, _) = series_of(filled, "P1")
    assert run(f"-fsP2:{first}") == (0, f"0 {taken}", "")
    assert run(f"-fsP1:{first}") == (0, f"1 {taken}", "")
    assert run("-ft1.1") == (0, f"1 {taken}", "")
    assert run("-fpP2") == (0, f"2 {taken}", "")
    assert run("-fi9.9") == (0, f"0 {taken}", "")
    assert counts(filled) == [0, 0, 0, 0]
    assert len(stored(filled)) == 4


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("-ft:", "(0020,000d) is empty"),
        ("-ftP1:", "(0020,000d) is empty"),
        ("-fsP1: ", "(0020,000e) is empty"),
        ("-fi:", "(0008,0018) is empty"),
        ("-fp ", "(0010,0020) is empty"),
        ("-z ", "(0010,0020) is empty"),
        ("-fp*", "WildcardDelete"),
        ("-ftP?:1.1", "WildcardDelete"),
        ("-fs*", "WildcardDelete"),
        ("-zP*", "WildcardDelete"),
        ("-fd/etc/passwd", "not on a MAG device"),
        ("-fznone.dcm", "not on a MAG device"),
        ("-fe/etc/passwd", "File to enter is not on a MAG device"),
        ("-fanone.dcm", "was not entered"),
        ("-f?none.dcm", "No such file"),
        ("-f?/etc/passwd", "no DICOM"),
        ("-arMAG7", "no device"),
        ("-frMAG0,..", "no directory"),
        ("-arMAG0,nosuch", "no directory"),
    ],
)
def test_what_names_too_much_or_nothing_is_one_line_and_deletes_nothing(
    run: Run, filled: Path, option: str, said: str
) -> None:
    code, _, error = run(option)
    assert code == 1
    assert said in error
    assert len(error.splitlines()) == 1
    assert counts(filled) == [2, 2, 4, 4]
    assert len(stored(filled)) == 4


def test_a_patient_goes_with_all_files(run: Run, filled: Path) -> None:
    assert run("-zP1") == (0, "", "")
    assert counts(filled) == [1, 1, 2, 2]
    assert [path.parent.name for path in stored(filled)] == ["P2", "P2"]


def test_devices_and_directories_are_entered_again(run: Run, filled: Path) -> None:
    run("-i")
    code, shown, _ = run("-frMAG0,P1")
    assert code == 0
    assert shown.splitlines() == [
        "Regen Device 'MAG0', directory 'P1'",
        "2 files entered, 0 failed",
        "Regeneration Complete",
    ]
    assert counts(filled) == [1, 1, 2, 2]
    assert run("-arMAG0,P2")[1].splitlines()[0] == "Regen Device 'MAG0', directory 'P2'"
    assert counts(filled) == [2, 2, 4, 4]
    run("-i")
    assert run("-arMAG0")[1].splitlines() == [
        "Regen Device 'MAG0'",
        "4 files entered, 0 failed",
        "Regeneration Complete",
    ]
    assert counts(filled) == [2, 2, 4, 4]
