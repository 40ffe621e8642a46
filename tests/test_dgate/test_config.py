"""From dicom.ini to settings: values, their origin, and every mistake with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dgate.config import SYSTEM_BASE, Configuration, ConfigurationError, find_base, load
from dgate.setting import settings

# A dicom.ini as ConQuest 1.5 distributes it.
CONQUEST = """\
# This file contains configuration information for the DICOM server

[sscscp]
MicroPACS                = sscscp

# Network configuration: server name and TCP/IP port#
MyACRNema                = CONQUESTSRV1
TCPPort                  = 5678

SQLHost                  = localhost
SQLServer                = ./data/dbase/conquest.db3
Username                 = dontcare
Password                 = dontcare
PostGres                 = 0
MySQL                    = 0
SQLite                   = 1
UseEscapeStringConstants = 0
DoubleBackSlashToDB      = 0

ImportExportDragAndDrop  = 1
ZipTime                  = 05:
UIDPrefix                = 99999.99999
EnableComputedFields     = 1
FileNameSyntax           = 4

DroppedFileCompression   = un
IncomingCompression      = un
ArchiveCompression       = as

PACSName                 = CONQUESTSRV1
OperatorConsole          = 127.0.0.1
DebugLevel               = 0

MAGDeviceFullThreshold   = 30
MAGDevices               = 1
MAGDevice0               = ./data/

[lua]
association = package.path=package.path..';'..Global.basedir..'lua/?.lua'
"""


def base(tmp_path: Path, text: str, name: str = "dicom.ini") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path


def read(tmp_path: Path, *lines: str) -> Configuration:
    return load(base(tmp_path, "\n".join(["[sscscp]", *lines])))


def problems(tmp_path: Path, *lines: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, *lines)
    return error.value.problems


def test_a_dicom_ini_of_conquest_works_as_it_is(tmp_path: Path) -> None:
    found = load(base(tmp_path, CONQUEST))
    assert (found.server.MyACRNema, found.server.TCPPort, found.server.PACSName) == (
        "CONQUESTSRV1",
        5678,
        "CONQUESTSRV1",
    )
    assert (found.storage.MAGDevice, found.storage.UIDPrefix, found.storage.FileNameSyntax) == (
        ("./data/",),
        "99999.99999",
        "4",
    )
    assert (found.db.SqLite, found.db.SQLServer, found.db.EnableComputedFields) == (
        True,
        "./data/dbase/conquest.db3",
        True,
    )
    assert found.base == tmp_path
    assert found.warnings == ()
    assert found.later == (
        "dicom.ini:21: ZipTime is accepted, but what it asks for does not exist yet",
        "dicom.ini:39: association in [lua] is accepted, but what it asks for does not exist yet",
    )


def test_every_value_knows_where_it_comes_from(tmp_path: Path) -> None:
    found = load(base(tmp_path, CONQUEST), {"TCPPort": "104"})
    assert found.server.TCPPort == 104
    assert {key: found.origins[key] for key in ("TCPPort", "MyACRNema", "PDUSize", "MAGDevice")} == {
        "TCPPort": "command line",
        "MyACRNema": "dicom.ini:7",
        "PDUSize": "default",
        "MAGDevice": "dicom.ini:36",
    }
    assert set(found.origins) == {setting.key for setting in settings()}


def test_the_effective_settings_are_listed_without_secrets(tmp_path: Path) -> None:
    lines = load(base(tmp_path, CONQUEST)).effective()
    assert "TCPPort                            = 5678  (dicom.ini:8)" in lines
    assert "PDUSize                            = 131072  (default)" in lines
    assert "Password                           = (not shown)  (dicom.ini:13)" in lines
    assert len(lines) == len(settings())


def test_all_problems_are_told_at_once_each_with_its_remedy(tmp_path: Path) -> None:
    assert problems(tmp_path, "TCPPort = 99999", "PDUSize = big", "Durability = slow", "CommandAdmin = x") == (
        "dicom.ini:2: TCPPort = 99999: out of range; write a whole number from 0 to 65535",
        "dicom.ini:3: PDUSize = big: not a number; write a whole number from 4096 to 1048576",
        "dicom.ini:5: CommandAdmin = x: x is no address; write addresses or ranges such as 10.0.0.0/8",
        "dicom.ini:4: Durability = slow: write one of safe, fast",
    )


def test_a_bad_value_on_the_command_line_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(base(tmp_path, "[sscscp]"), {"TCPPort": "x"})
    assert str(error.value) == "command line: TCPPort = x: not a number; write a whole number from 0 to 65535"


def test_a_number_with_something_behind_it_is_read_as_conquest_does_with_a_warning(tmp_path: Path) -> None:
    found = read(tmp_path, "TCPPort = 5678 ; the port")
    assert (found.server.TCPPort, found.warnings) == (5678, ("dicom.ini:2: TCPPort = 5678 ; the port is read as 5678",))


def test_an_unknown_key_is_a_warning_with_the_key_that_was_meant(tmp_path: Path) -> None:
    assert read(tmp_path, "TCPort = 5678", "Frobnicate = 1", "MAGDevice = x", "// note = 1", "# a = b").warnings == (
        "dicom.ini:2: TCPort is not known: did you mean TCPPort?",
        "dicom.ini:3: Frobnicate is not known",
        "dicom.ini:4: MAGDevice is a numbered key: write MAGDevice0, MAGDevice1 ...",
    )


def test_keys_that_conquest_never_read_come_with_the_one_that_does_it(tmp_path: Path) -> None:
    assert read(tmp_path, "DuplicateMode = 1").warnings == (
        "dicom.ini:2: DuplicateMode is read by nothing: use IgnoreRewrite",
    )


def test_the_second_of_two_equal_keys_is_reported(tmp_path: Path) -> None:
    found = read(tmp_path, "TCPPort = 1", "tcpport = 2")
    assert (found.server.TCPPort, found.warnings) == (1, ("dicom.ini:3: tcpport is not used: line 2 sets it already",))


def test_an_alias_sets_the_key_and_yields_to_it(tmp_path: Path) -> None:
    assert read(tmp_path, "Ladleport = 80").server.WebPort == 80
    found = read(tmp_path, "MAGDeviceFullThreshHold = 80", "MAGDeviceFullThreshold = 81")
    assert (found.storage.MAGDeviceFullThreshold, found.warnings) == (
        81,
        ("dicom.ini:2: MAGDeviceFullThreshHold is not used: dicom.ini:3: MAGDeviceFullThreshold says the same",),
    )


def test_a_family_is_cut_to_its_count(tmp_path: Path) -> None:
    found = read(tmp_path, "MAGDevice1 = b", "magdevice0 = a", "MAGDevice2 = c", "MAGDevices = 2")
    assert found.storage.MAGDevice == ("a", "b")
    assert found.warnings == ("MAGDevice2 is not used because MAGDevices = 2 (dicom.ini:5)",)
    assert found.origins["MAGDevice"] == "dicom.ini:2 dicom.ini:3 dicom.ini:4"


def test_one_device_counts_when_nothing_says_how_many(tmp_path: Path) -> None:
    found = read(tmp_path, "MAGDevice0 = a", "MAGDevice1 = b")
    assert found.storage.MAGDevice == ("a",)
    assert found.warnings == ("MAGDevice1 is not used because MAGDevices = 1 (default)",)


def test_a_count_without_its_keys_is_a_warning(tmp_path: Path) -> None:
    found = read(tmp_path, "MAGDevices = 2", "MAGDevice0 = a", "ExportConverters = 1", "[lua]", "ExportConverter0 = x")
    assert found.warnings == ("dicom.ini:2: MAGDevices = 2, but there is no MAGDevice1",)


def test_gaps_in_a_family_are_filled(tmp_path: Path) -> None:
    found = read(tmp_path, "ImportConverter2 = nop", "ImportModality1 = CT", "VirtualServerPerSeries1 = 5")
    assert found.server.ImportConverter == ("", "", "nop")
    assert found.server.ImportModality == ("*", "CT")
    assert found.server.VirtualServerPerSeries == (0, 5)


def test_a_family_number_beyond_reason_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, "MAGDevice99999999999999999999 = x") == (
        "dicom.ini:2: MAGDevice99999999999999999999: numbers go up to 999",
    )


def test_filters_of_any_kind_of_converter_are_known(tmp_path: Path) -> None:
    found = read(tmp_path, "QueryCallingAE0 = X", "RetrieveConverter0 = nop")
    assert found.warnings == ()
    assert found.later == (
        "dicom.ini:3: RetrieveConverter0 is accepted, but what it asks for does not exist yet",
        "dicom.ini:2: QueryCallingAE0: converters do not exist yet",
    )


def test_scripts_in_the_lua_section_are_said_not_to_run(tmp_path: Path) -> None:
    found = read(tmp_path, "[lua]", "ImportConverter0 = x()", "Association = y()", "nightly =", "ownvariable = 1")
    assert found.warnings == ()
    assert found.later == (
        "dicom.ini:3: ImportConverter0 in [lua] is accepted, but what it asks for does not exist yet",
        "dicom.ini:4: Association in [lua] is accepted, but what it asks for does not exist yet",
    )


def test_an_accepted_key_at_its_default_is_not_reported_as_missing_its_feature(tmp_path: Path) -> None:
    assert read(tmp_path, "WEBReadOnly = 1", "QueueSize = 128").later == ()


def test_a_secret_is_not_repeated_in_messages(tmp_path: Path) -> None:
    found = read(tmp_path, "Password = topsecret")
    assert found.db.Password == "topsecret"
    assert "topsecret" not in "\n".join(found.effective())


def test_micropacs_must_name_a_section(tmp_path: Path) -> None:
    assert problems(tmp_path, "MicroPACS = other") == (
        "dicom.ini:2: MicroPACS = other: there is no section [other]: put the settings below a line [other]",
    )
    with pytest.raises(ConfigurationError, match=r"there is no section \[sscscp\]"):
        load(base(tmp_path, "TCPPort = 5678\n"))


def test_settings_of_another_section_count_when_micropacs_names_it(tmp_path: Path) -> None:
    assert read(tmp_path, "MicroPACS = mine", "[mine]", "TCPPort = 7").server.TCPPort == 7


def test_a_base_without_dicom_ini_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path / "nowhere")
    assert str(error.value) == (
        f"{tmp_path}/nowhere does not exist: -w takes the directory of a dicom.ini, or an ini file"
    )


def test_w_names_a_directory_or_an_ini_file_of_any_name(tmp_path: Path) -> None:
    base(tmp_path, "[sscscp]\nTCPPort = 1\n", "other.ini")
    base(tmp_path, "[sscscp]\nTCPPort = 2\n")
    assert find_base(str(tmp_path)) == tmp_path
    found = load(find_base(str(tmp_path / "other.ini")))
    assert (found.server.TCPPort, found.base, found.ini.path) == (1, tmp_path, tmp_path / "other.ini")
    with pytest.raises(ConfigurationError, match=r"none\.ini/dicom\.ini does not exist|none\.ini does not exist"):
        find_base(str(tmp_path / "none.ini"))


@pytest.mark.skipif((SYSTEM_BASE / "dicom.ini").exists(), reason="this machine has a server of its own")
def test_without_w_the_current_directory_counts_when_it_has_a_dicom_ini(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"no dicom.ini in {tmp_path} or /etc/conquest-dicom-server: name its"):
        find_base(None, tmp_path)
    assert find_base(None, base(tmp_path, "[sscscp]")) == tmp_path


@given(
    st.lists(
        st.tuples(st.sampled_from([s.key + ("0" if s.family else "") for s in settings()]), st.text(max_size=12)),
        max_size=8,
    )
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_are_read_or_told_apart_by_line(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    lines = [f"{key} = {' '.join(value.split())}" for key, value in pairs if key != "MicroPACS"]
    try:
        found = read(tmp_path, *lines)
    except ConfigurationError as error:
        wrong = error.problems
    else:
        wrong = ()
        assert len(found.effective()) == len(settings())
    assert [problem for problem in wrong if not problem.startswith("dicom.ini:") or "\n" in problem] == []
