"""File names: each FileNameSyntax, templates, and that hostile headers stay below the device."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.cleaning import RESERVED
from storage.header import ANYWHERE, Header, TagPath, in_item
from storage.naming import SYNTAXES, Naming, check_syntax, object_name, read_syntax
from storage.scan import is_object_name

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

NAMING = Naming("CALLING", "CALLED", IMPLICIT, time_s=1795210713, counter=0)
HEADER = Header(
    {
        (0x00100010,): "HEAD^EXP2 LONG",
        (0x00100020,): "P1",
        (0x00080018,): "1.2.3.1.1.5",
        (0x0020000E,): "1.2.3.1.1",
        (0x0020000D,): "1.2.3.1",
        (0x00200011,): "1",
        (0x00200013,): "1 ",
        (0x00080060,): "CT",
        (0x00200010,): "S 7",
        (0x00080020,): "20260721",
        (0x00081030,): "HEAD/NECK",
    }
)


def name(syntax: str, header: Header = HEADER, **changes: Any) -> str:
    values = {"calling": "CALLING", "called": "CALLED", "transfer_syntax": IMPLICIT, "time_s": 1795210713, "counter": 0}
    return object_name(syntax, header, Naming(**{**values, **changes}))


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [
        ("0", "HEAD^EXP_P1/1_1_1795210713.v2"),
        ("1", "HEAD^EXP_P1/0001_000001_17952107130000.v2"),
        ("2", "HEAD^EXP_P1/1.2.3.1.1_0001_000001_17952107130000.v2"),
        ("3", "P1/1.2.3.1.1_0001_000001_17952107130000.v2"),
        # The example of the specification, seen on a ConQuest 1.5.0e.
        ("4", "P1/1.2.3.1.1_0001_000001_17952107130000.dcm"),
        ("5", "HEAD^EXP2_LONG/1.2.3.1.1_0001_000001_17952107130000.v2"),
        ("6", "P1/1.2.3.1/1.2.3.1.1/1.2.3.1.1.5.v2"),
        ("7", "1.2.3.1/1.2.3.1.1/1.2.3.1.1.5.v2"),
        ("8", "P1/1.2.3.1/1.2.3.1.1/1.2.3.1.1.5.dcm"),
        ("9", "1.2.3.1/1.2.3.1.1/1.2.3.1.1.5.dcm"),
        ("10", "Images/1.2.3.1.1.5.dcm"),
        ("11", "HEAD^EXP2_LONG/1.2.3.1/1.2.3.1.1/1.2.3.1.1.5.dcm"),
        ("12", "HEAD^EXP2_LONG_P1/CT_S_7/1/1.2.3.1.1.5.dcm"),
        ("13", "HEAD^EXP_P1/1_1_1795210713.v2"),
        ("999", "HEAD^EXP_P1/1_1_1795210713.v2"),
        ("", "HEAD^EXP_P1/1_1_1795210713.v2"),
        ("words", "HEAD^EXP_P1/1_1_1795210713.v2"),
        (" 4 ", "P1/1.2.3.1.1_0001_000001_17952107130000.dcm"),
    ],
)
def test_each_numbered_syntax_gives_conquests_name(syntax: str, expected: str) -> None:
    assert name(syntax) == expected


@pytest.mark.parametrize("syntax", [number for number, text in SYNTAXES.items() if text.endswith(".v2")])
@pytest.mark.parametrize("transfer_syntax", [EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.70", "1.2.3"])
def test_v2_is_for_implicit_little_endian_only(syntax: int, transfer_syntax: str) -> None:
    assert name(str(syntax)).endswith(".v2")
    assert name(str(syntax), transfer_syntax=transfer_syntax) == name(str(syntax))[:-3] + ".dcm"
    assert read_syntax(str(syntax)).is_bare(IMPLICIT)
    assert not read_syntax(str(syntax)).is_bare(transfer_syntax)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%id/%sopuid.dcm", "P1/1.2.3.1.1.5.dcm"),
        ("%id/%studyid/%studyuid/%seriesid/%seriesuid.dcm", "P1/S_7/1.2.3.1/1/1.2.3.1.1.dcm"),
        ("%modality/%imagenum_%image_%series.dcm", "CT/1_000001_0001.dcm"),
        ("%imageid_%imagenumber.dcm", "empty_1ber.dcm"),
        ("%time_%counter_%calledae_%callingae.dcm", "1795210713_0000_CALLED_CALLING.dcm"),
        ("%studydate/%studydesc/%sopuid", "20260721/HEAD_NECK/1.2.3.1.1.5.dcm"),
        ("%name[0,3]/%id[0,0]%sopuid[7,10].dcm", "HEAD/P.1.5.dcm"),
        ("%name[,4]/%studydate[4,7].dcm", "LONG/0721.dcm"),
        ("%name[90,99]/%sopuid.dcm", "unknown/1.2.3.1.1.5.dcm"),
        ("%v0010,0020/%vSeriesNumber.dcm", "P1/1.dcm"),
        ("%vStudyDescription[0,3]_x/%sopuid.dcm", "HEAD_x/1.2.3.1.1.5.dcm"),
        ("%v0009,0009/%sopuid.dcm", "empty/1.2.3.1.1.5.dcm"),
        ("%nosuch/%%id/%sopuid.dcm", "nosuch/P1/1.2.3.1.1.5.dcm"),
        ("%volume/%sopuid.dcm", "volume/1.2.3.1.1.5.dcm"),
        ("%ID/%sopuid.dcm", "ID/1.2.3.1.1.5.dcm"),
        ("archive\\%id\\%sopuid.dcm", "archive/P1/1.2.3.1.1.5.dcm"),
        ("%id//%sopuid.img", "P1/1.2.3.1.1.5.img"),
        ("%id/%modality", "P1/CT"),
        ("%id/%sopuid.v2", "P1/1.2.3.1.1.5.v2"),
        ("%id/%sopuid.bak", "P1/1.2.3.1.1.5.bak.dcm"),
        ("%sopuid[0,2", "1.2.3.1.1.5[0,2"),
    ],
)
def test_templates_are_filled(template: str, expected: str) -> None:
    assert name(template) == expected


def test_the_date_is_that_of_today_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"2026112[01]/1\.2\.3\.1\.1\.5\.dcm", name("%date/%sopuid.dcm"))


def test_elements_inside_sequences_can_be_part_of_a_name() -> None:
    paths: dict[TagPath, str] = {
        (0x00400275, 0x00400007): "first item",
        (in_item(0x00400275, 1), 0x00400007): "second",
        (0x00400275, 0x00400008, 0x00080100): "CODE",
        (ANYWHERE, 0x00081155): "1.2.9",
    }
    template = "%v/0040,0275/0040,0007_%v/0040,0275.1/0040,0007/%v/0040,0275//0040,0008/0008,0100_%v*0008,1155.dcm"
    assert read_syntax(template).tags == paths.keys()
    assert name(template, Header(paths)) == "first_item_second/CODE_1_2_9.dcm"


@pytest.mark.parametrize(
    ("syntax", "tags", "counted"),
    [
        ("0", {0x00100010, 0x00100020, 0x00200011, 0x00200013}, False),
        ("4", {0x00100020, 0x0020000E, 0x00200011, 0x00200013}, True),
        ("10", {0x00080018}, False),
        ("%counter.dcm", set(), True),
    ],
)
def test_a_syntax_tells_what_it_needs(syntax: str, tags: set[int], counted: bool) -> None:
    assert read_syntax(syntax).tags == {(tag,) for tag in tags}
    assert read_syntax(syntax).counted is counted


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7", "0007"),
        (" 7", "0007"),
        ("12abc", "0012"),
        ("-1", "-001"),
        ("", "0000"),
        ("x", "0000"),
        ("123456", "123456"),
    ],
)
def test_numbers_are_read_as_c_does(text: str, number: str) -> None:
    assert name("%series.dcm", Header({(0x00200011,): text})) == f"{number}.dcm"
    assert name("%series.dcm", Header({})) == "0000.dcm"


def test_missing_and_empty_values_are_told_apart() -> None:
    assert name("11", Header({(0x00100010,): "", (0x00080018,): "1.2"})) == "unknown/empty/empty/1.2.dcm"


def test_different_bad_uids_never_share_a_name() -> None:
    one, other = (name("10", Header({(0x00080018,): uid})) for uid in ("../a", "...a"))
    assert one != other
    assert one.startswith("Images/___a_")


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        ("lua:Data.PatientID", "FileNameSyntax = lua:Data.PatientID: names made by Lua are not available"),
        ("LUA:'%id'", "FileNameSyntax = LUA:'%id': names made by Lua are not available"),
        ("/%id/%sopuid.dcm", "FileNameSyntax = /%id/%sopuid.dcm: a part is empty or of dots only"),
        ("../%sopuid.dcm", "FileNameSyntax = ../%sopuid.dcm: a part is empty or of dots only"),
        ("%id/", "FileNameSyntax = %id/: a part is empty or of dots only"),
        ("%id/./%sopuid.dcm", "FileNameSyntax = %id/./%sopuid.dcm: a part is empty or of dots only"),
        ("%id\t%sopuid", "FileNameSyntax = '%id\\t%sopuid': it has control characters"),
        ("100%", "FileNameSyntax = 100%: every file would have one name"),
        ("%nosuch.dcm", "FileNameSyntax = %nosuch.dcm: every file would have one name"),
    ],
)
def test_a_syntax_that_cannot_be_used_is_refused_at_the_start(syntax: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        check_syntax(syntax)


_HOSTILE = [
    "",
    "..",
    ".",
    "/",
    "../../etc/passwd",
    "/abs",
    "C:\\x",
    "a\0b",
    "BIN",
    "incoming",
    "printer_files",
    "~",
    "-rf",
]
_HOSTILE += ["x" * 300, "山" * 90, "\u202e", "%id", "a\nb", "$(id)", "..\\..", "....", " "]
_TEXT = st.one_of(
    st.text(max_size=100),
    st.sampled_from(_HOSTILE),
)
_PATHS = sorted(frozenset().union(*(read_syntax(str(number)).tags for number in SYNTAXES)))
_TEMPLATES = [
    "%vPatientName/%v0010,0020",
    "%calledae/%callingae/%sopuid.dcm",
    "%studydate/%imageid",
    "%sopuid[0,1]/%id[2,3]",
]
_TEMPLATES += ["%name", "%studydesc%name%id%studyuid%seriesuid/%name%id%studyuid%seriesuid.dcm"]


@settings(deadline=None)
@given(
    values=st.fixed_dictionaries({}, optional=dict.fromkeys((*_PATHS, (5506048,), (524320,)), _TEXT)),
    syntax=st.sampled_from([*map(str, range(14)), *_TEMPLATES]),
    ae=_TEXT,
    transfer_syntax=st.sampled_from([IMPLICIT, EXPLICIT]),
    limit=st.integers(64, 255),
)
def test_any_header_gives_a_valid_name_below_the_root(
    values: dict[TagPath, str], syntax: str, ae: str, transfer_syntax: str, limit: int
) -> None:
    path = name(syntax, Header(values), calling=ae, called=ae, transfer_syntax=transfer_syntax, limit=limit)
    components = path.split("/")
    root = Path("/mag0")
    assert Path(os.path.normpath(root / path)) == root / path
    assert (root / path).is_relative_to(root)
    assert all(component.strip(".") for component in components)
    assert all(len(os.fsencode(component)) <= 255 for component in components)
    assert not {component.lower() for component in components} & RESERVED
    assert path.isprintable()
    assert "\\" not in path
    assert len(path) <= 255
    assert is_object_name(components[-1])
    assert not (path.endswith(".v2") and transfer_syntax != IMPLICIT)
