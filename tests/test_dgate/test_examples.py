"""The example files and the reference page: complete, and read without a complaint."""

from __future__ import annotations

from pathlib import Path

from dgate.config import load
from dgate.examples import acrnema_map_example, dicom_ini, dicom_ini_example, dicom_ini_reference
from dgate.setting import settings
from server.amap import AeEntry, AeMap


def test_the_example_is_read_without_problem_or_warning(tmp_path: Path) -> None:
    (tmp_path / "dicom.ini").write_text(dicom_ini_example())
    found = load(tmp_path)
    assert (found.warnings, found.later) == ((), ())
    assert (found.server.MyACRNema, found.server.TCPPort, found.server.BindAddress) == (
        "CONQUESTSRV1",
        5678,
        "127.0.0.1",
    )
    assert len(found.storage.MAGDevice) == 1


def test_every_key_is_in_the_example_with_its_text() -> None:
    lines = dicom_ini_example().splitlines()
    for setting in settings():
        first = f"{setting.key}0" if setting.family else setting.key
        assert [line for line in lines if line.lstrip("#").split(" ")[0] == first and " =" in line] != []
    assert max(map(len, lines)) <= 120


def test_the_defaults_of_the_example_are_the_defaults(tmp_path: Path) -> None:
    lines = [
        line.lstrip("#") if line[:1] == "#" and line[1:2] not in (" ", "") else line
        for line in dicom_ini_example().splitlines()
    ]
    (tmp_path / "dicom.ini").write_text("\n".join(lines))
    found = load(tmp_path)
    for setting in settings():
        if setting.example is None and not setting.family:
            assert getattr(getattr(found, setting.package), setting.key) == setting.default


def test_a_short_dicom_ini_sets_what_it_is_given_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "dicom.ini").write_text(
        dicom_ini({"TCPPort": "104", "MAGDevice0": "a", "MAGDevice1": "b", "MAGDevices": "2"}, "# head")
    )
    found = load(tmp_path)
    assert (found.server.TCPPort, found.storage.MAGDevice) == (104, ("a", "b"))
    assert [key for key, origin in found.origins.items() if origin != "default"] == [
        "TCPPort",
        "MAGDevices",
        "MAGDevice",
    ]


def test_the_example_map_holds_the_server_itself(tmp_path: Path) -> None:
    (tmp_path / "acrnema.map").write_text(acrnema_map_example())
    read = AeMap(tmp_path / "acrnema.map")
    assert read.entries == (AeEntry("CONQUESTSRV1", "127.0.0.1", "5678", "as"),)
    assert read.warnings == ()
    (tmp_path / "acrnema.map").write_text(acrnema_map_example().replace("\n#", "\n").replace("\n ", "\n# "))
    assert AeMap(tmp_path / "acrnema.map").lookup("NODE7") == AeEntry("NODE7", "10.0.1.7", "104", "as")


def test_the_reference_page_has_one_row_for_each_key() -> None:
    rows = [line for line in dicom_ini_reference().splitlines() if line.startswith("| `")]
    assert len(rows) == len(settings())
    assert "| `TCPPort` | `104` | Listening port; 0 takes any that is free |" in rows
    assert [row.split("|")[1].strip() for row in rows if "WebPort" in row] == [
        "`WebPort0` (also `Ladleport`)".replace("0", "")
    ]
