"""Single keys against stored values: PS3.4 C.2.2.2 and ConQuest's leniency, the same on both databases."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from db.index import Index
from db.layout import DEFAULT_LAYOUT
from db.objects import Added, NewObject
from db.query import Query
from db.wildcard import variants
from tests.test_db.headers import header, keys, path_of

_NUMBERS = count(1)


def store_values(index: Index, keyword: str, values: Sequence[str | None], station: str) -> None:
    """Store one study of one image per value, all from one station."""
    objects = []
    for value in values:
        uid = f"1.2.{next(_NUMBERS)}"
        elements = {
            "PatientID": f"ID{uid}",
            "StudyInstanceUID": uid,
            "SeriesInstanceUID": f"{uid}.1",
            "SOPInstanceUID": f"{uid}.1.1",
            "StationName": station,
        }
        objects.append(NewObject(header(**(elements | {keyword: value})), "MAG0", f"{uid}.dcm"))
    results = index.add_many(objects)
    assert [type(result) for result in results] == [Added] * len(objects)


def matches(index: Index, keyword: str, key: str, station: str) -> list[str]:
    """Return the values that match a key, once for each image."""
    wanted = [path_of(keyword), path_of("SOPInstanceUID")]
    query = Query("IMAGE", {**keys(StationName=station), path_of(keyword): key}, wanted)
    return sorted(match[path_of(keyword)] for match in index.find(query))


TEXTS = ["CHEST", "chest", "CHEST 1", "ABDOMEN", "50% off", "50x off", "a_b", "axb", "O'Neil", 'say "x"', "", None]
MUELLER = ["Müller", "MÜLLER", "Muller", "Ωmega", "ωMEGA", "東京", "ſ"]
NAMES = [
    "DOE^JOHN",
    "DOE^JOHN^^",
    "doe^john",
    "DOE^JOHNNY",
    "DOE",
    "DOE^^^DR",
    "O'NEIL^SEAN",
    "MÜLLER^Jörg",
    "SMITH ^ANN",
]
GROUPS = ["Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^花子", "Hong^Gildong=洪^吉洞=홍^길동", "Yamada"]
DATES = ["19991231", "20200101", "20200102", "20201231", "20210101", "", None]
TIMES = ["10", "1030", "103000", "103000.5", "103059.999999", "1031", "110000", "235959", "000000", "", None]
NUMBERS = ["1", "01", "10", "2", "-1", None]
TYPES = ["ORIGINAL\\PRIMARY\\AXIAL", "DERIVED\\PRIMARY", "PRIMARY", "PRIMARYX", "original\\primary", None]
UIDS = ["1.2.3", "1.2.30", "1.2", "9.9", None]

CASES: list[tuple[str, Sequence[str | None], str, list[str]]] = [
    # Universal matching: everything, the absent and the empty too
    ("StudyDescription", TEXTS, "", [text or "" for text in TEXTS]),
    ("StudyDescription", TEXTS, "*", [text or "" for text in TEXTS]),
    ("StudyDescription", TEXTS, "**", [text or "" for text in TEXTS]),
    ("StudyDescription", TEXTS, "  ", [text or "" for text in TEXTS]),
    ("PatientName", NAMES, "^^", NAMES),
    ("StudyDate", DATES, "-", [date for date in DATES if date]),
    # Single values compare exactly, but for padding
    ("StudyDescription", TEXTS, "CHEST", ["CHEST"]),
    ("StudyDescription", TEXTS, "CHEST ", ["CHEST"]),
    ("StudyDescription", TEXTS, "CHEST\0", ["CHEST"]),
    ("StudyDescription", TEXTS, "Chest", []),
    ("StudyDescription", TEXTS, "50% off", ["50% off"]),
    ("StudyDescription", TEXTS, "O'Neil", ["O'Neil"]),
    ("StudyDescription", TEXTS, "O''Neil", []),
    ("StudyDescription", TEXTS, 'say "x"', ['say "x"']),
    ("StudyDescription", TEXTS, "' OR 1=1--", []),
    ("StudyDescription", TEXTS, "%", []),
    ("StudyDescription", MUELLER, "Müller", ["Müller"]),
    ("StudyDescription", MUELLER, "東京", ["東京"]),
    # Wildcards, without case
    ("StudyDescription", TEXTS, "CHEST*", ["CHEST", "CHEST 1", "chest"]),
    ("StudyDescription", TEXTS, "chest*", ["CHEST", "CHEST 1", "chest"]),
    ("StudyDescription", TEXTS, "CHEST *", ["CHEST", "CHEST 1", "chest"]),
    ("StudyDescription", TEXTS, "*EST*", ["CHEST", "CHEST 1", "chest"]),
    ("StudyDescription", TEXTS, "?HEST", ["CHEST", "chest"]),
    ("StudyDescription", TEXTS, "C*T", ["CHEST", "chest"]),
    ("StudyDescription", TEXTS, "CHEST?", []),
    ("StudyDescription", TEXTS, "CHEST??", ["CHEST 1"]),
    ("StudyDescription", TEXTS, "50% *", ["50% off"]),
    ("StudyDescription", TEXTS, "*%*", ["50% off"]),
    ("StudyDescription", TEXTS, "a_*", ["a_b"]),
    ("StudyDescription", TEXTS, "?_?", ["a_b"]),
    ("StudyDescription", TEXTS, "o'*", ["O'Neil"]),
    ("StudyDescription", MUELLER, "mü*", ["MÜLLER", "Müller"]),
    ("StudyDescription", MUELLER, "M?LLER", ["MÜLLER", "Muller", "Müller"]),
    ("StudyDescription", MUELLER, "ωmega*", ["Ωmega", "ωMEGA"]),
    ("StudyDescription", MUELLER, "?京", ["東京"]),
    ("StudyDescription", MUELLER, "s*", []),  # no letter of ASCII equals one that is not
    # Alternatives
    ("StudyDescription", TEXTS, "CHEST\\ABDOMEN", ["ABDOMEN", "CHEST"]),
    ("StudyDescription", TEXTS, "ABD*\\axb", ["ABDOMEN", "axb"]),
    ("StudyDescription", TEXTS, "ABDOMEN\\", ["ABDOMEN"]),
    ("StudyDescription", TEXTS, "\\", []),
    ("StudyDescription", MUELLER, "Müller\\東京\\Muller", ["Muller", "Müller", "東京"]),
    # Person names: without case, padding and empty components
    ("PatientName", NAMES, "DOE^JOHN", ["DOE^JOHN", "DOE^JOHN^^", "doe^john"]),
    ("PatientName", NAMES, "doe^john^", ["DOE^JOHN", "DOE^JOHN^^", "doe^john"]),
    ("PatientName", NAMES, "DOE ^ JOHN", ["DOE^JOHN", "DOE^JOHN^^", "doe^john"]),
    ("PatientName", NAMES, "SMITH^ANN", ["SMITH ^ANN"]),
    ("PatientName", NAMES, "DOE", ["DOE"]),
    ("PatientName", NAMES, "DOE*", ["DOE", "DOE^JOHN", "DOE^JOHNNY", "DOE^JOHN^^", "DOE^^^DR", "doe^john"]),
    ("PatientName", NAMES, "doe^*", ["DOE", "DOE^JOHN", "DOE^JOHNNY", "DOE^JOHN^^", "DOE^^^DR", "doe^john"]),
    ("PatientName", NAMES, "*JOHN*", ["DOE^JOHN", "DOE^JOHNNY", "DOE^JOHN^^", "doe^john"]),
    ("PatientName", NAMES, "*^JOHN", ["DOE^JOHN", "DOE^JOHN^^", "doe^john"]),
    ("PatientName", NAMES, "D?E^JOHN??", ["DOE^JOHNNY"]),
    ("PatientName", NAMES, "müller^JÖRG", ["MÜLLER^Jörg"]),
    ("PatientName", NAMES, "M*^j?rg", ["MÜLLER^Jörg"]),
    ("PatientName", NAMES, "o'n*", ["O'NEIL^SEAN"]),
    ("PatientName", NAMES, "DOE\\SMITH^ANN", ["DOE", "SMITH ^ANN"]),
    ("PatientName", NAMES, "JOHN", []),
    ("PatientName", [" DOE^JANE", "DOE^JANE"], "DOE^JANE", ["DOE^JANE", "DOE^JANE"]),
    # Component groups
    ("PatientName", GROUPS, "Yamada^Tarou", [GROUPS[0]]),
    ("PatientName", GROUPS, "山田^太郎", [GROUPS[0]]),
    ("PatientName", GROUPS, "山田*", [GROUPS[1], GROUPS[0]]),
    ("PatientName", GROUPS, "やまだ^*", [GROUPS[0]]),
    ("PatientName", GROUPS, "yamada*", [GROUPS[3], GROUPS[0]]),
    ("PatientName", GROUPS, "Yamada^Tarou=山田^太郎", [GROUPS[0]]),
    ("PatientName", GROUPS, "Yamada^Tarou=田中^太郎", []),
    ("PatientName", GROUPS, "=山田*", [GROUPS[1], GROUPS[0]]),
    ("PatientName", GROUPS, "*=*=홍*", [GROUPS[2]]),
    ("PatientName", GROUPS, "yamada=", [GROUPS[3]]),
    ("PatientName", ["山田^太郎=Yamada^Tarou"], "yamada*", ["山田^太郎=Yamada^Tarou"]),
    # Dates
    ("StudyDate", DATES, "20200101", ["20200101"]),
    ("StudyDate", DATES, "2020.01.01", ["20200101"]),
    ("StudyDate", DATES, "20200101-20201231", ["20200101", "20200102", "20201231"]),
    ("StudyDate", DATES, "20200101 - 20201231", ["20200101", "20200102", "20201231"]),
    ("StudyDate", DATES, "2020.01.01-2020.12.31", ["20200101", "20200102", "20201231"]),
    ("StudyDate", DATES, "20201231-", ["20201231", "20210101"]),
    ("StudyDate", DATES, "-20200101", ["19991231", "20200101"]),
    ("StudyDate", DATES, "2020-2021", ["20200101", "20200102", "20201231"]),
    ("StudyDate", DATES, "20200102-20200101", []),
    ("StudyDate", DATES, "2020*", ["20200101", "20200102", "20201231"]),
    ("StudyDate", DATES, "19991231\\20210101-", ["19991231", "20210101"]),
    ("StudyDate", DATES, "2020", []),
    ("StudyDate", DATES, "20200101'", []),
    ("StudyDate", DATES, "202001011", []),
    ("StudyDate", DATES, "a-b-c", []),
    # Times, in all their precisions
    ("StudyTime", TIMES, "103000", ["103000", "103000.5", "1030"]),
    ("StudyTime", TIMES, "1030", ["1030", "103000", "103000.5", "103059.999999"]),
    ("StudyTime", TIMES, "10", ["10", "1030", "103000", "103000.5", "103059.999999", "1031"]),
    ("StudyTime", TIMES, "103000.5", ["103000.5"]),
    ("StudyTime", TIMES, "10:30:00", ["1030", "103000", "103000.5"]),
    ("StudyTime", TIMES, "10-10", ["10", "1030", "103000", "103000.5", "103059.999999", "1031"]),
    ("StudyTime", TIMES, "103000.4-1031", ["103000.5", "103059.999999", "1031"]),
    ("StudyTime", TIMES, "11-", ["110000", "235959"]),
    ("StudyTime", TIMES, "-1000", ["000000", "10"]),
    ("StudyTime", TIMES, "10:30-11:00", ["1030", "103000", "103000.5", "103059.999999", "1031", "110000"]),
    ("StudyTime", TIMES, "1", []),
    ("StudyTime", ["10:30:00", "11:00:00"], "103000", ["10:30:00"]),
    # Numbers are texts without padding
    ("InstanceNumber", NUMBERS, "1", ["1"]),
    ("InstanceNumber", NUMBERS, " 1 ", ["1"]),
    ("InstanceNumber", NUMBERS, "1*", ["1", "10"]),
    ("InstanceNumber", NUMBERS, "1\\2", ["1", "2"]),
    # Several values in a column: any of them
    ("ImageType", TYPES, "PRIMARY", ["DERIVED\\PRIMARY", "ORIGINAL\\PRIMARY\\AXIAL", "PRIMARY"]),
    ("ImageType", TYPES, "AXIAL", ["ORIGINAL\\PRIMARY\\AXIAL"]),
    ("ImageType", TYPES, "AXI", []),
    ("ImageType", TYPES, "AXIAL\\DERIVED", ["DERIVED\\PRIMARY", "ORIGINAL\\PRIMARY\\AXIAL"]),
    ("ImageType", TYPES, "PRIMARY?", ["PRIMARYX"]),
    ("ImageType", TYPES, "primary", ["original\\primary"]),
    ("ImageType", TYPES, "orig*", ["ORIGINAL\\PRIMARY\\AXIAL", "original\\primary"]),
    ("ImageType", TYPES, "*AL", ["ORIGINAL\\PRIMARY\\AXIAL", "original\\primary"]),
    ("ImageType", ["Ä\\B", "C"], "Ä", ["Ä\\B"]),
    # UIDs and lists of them
    ("FrameOfReferenceUID", UIDS, "1.2.3", ["1.2.3"]),
    ("FrameOfReferenceUID", UIDS, "1.2.3\\9.9\\5.5", ["1.2.3", "9.9"]),
    ("FrameOfReferenceUID", UIDS, "1.2.*", ["1.2.3", "1.2.30"]),
    ("FrameOfReferenceUID", UIDS, "\\".join(["9.9", *(f"7.{number}" for number in range(5000))]), ["9.9"]),
]


@pytest.fixture(scope="module")
def stations(shared_index: Index) -> dict[tuple[str, tuple[str | None, ...]], str]:
    """Store each set of values once; return the station that each comes from."""
    found: dict[tuple[str, tuple[str | None, ...]], str] = {}
    for keyword, values, _, _ in CASES:
        if (keyword, tuple(values)) not in found:
            station = found[(keyword, tuple(values))] = f"SET{len(found)}"
            store_values(shared_index, keyword, values, station)
    return found


@pytest.mark.parametrize(("keyword", "values", "key", "expected"), CASES)
def test_a_key_matches_what_the_standard_and_conquest_say(
    shared_index: Index,
    stations: dict[tuple[str, tuple[str | None, ...]], str],
    keyword: str,
    values: Sequence[str | None],
    key: str,
    expected: list[str],
) -> None:
    stored = [value.strip(" ") for value in expected] if keyword == "PatientName" else expected
    found = matches(shared_index, keyword, key, stations[(keyword, tuple(values))])
    assert found == sorted(stored)


PIECES = [
    "a",
    "B",
    "%",
    "_",
    "'",
    '"',
    "\\",
    "*",
    "?",
    "^",
    "=",
    " ",
    "-",
    "ü",
    "Ü",
    "東",
    "1",
    "[",
    ".",
    "(",
    "$",
    "+",
]
POOL = sorted(
    {f"{one}{two}".strip(" ") for one in PIECES for two in PIECES} | {"ab%c", "a_b", "O'Neil", "x" * 64, "Üb%"}
)
ANY_KEY = st.one_of(
    st.text(st.sampled_from(PIECES), max_size=6),
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.text(st.sampled_from("*?ab"), max_size=80),
)


def like(key: str, value: str) -> bool:
    """The rules for wildcards once more, slowly."""

    @cache
    def match(i: int, j: int) -> bool:
        if i == len(key):
            return j == len(value)
        if key[i] == "*":
            return match(i + 1, j) or (j < len(value) and match(i, j + 1))
        return j < len(value) and (key[i] == "?" or value[j] in variants(key[i])) and match(i + 1, j + 1)

    return match(0, 0)


def text_matches(key: str, value: str) -> bool:
    key = key.rstrip("\0").strip(" ")
    parts = [part.strip(" ") for part in key.split("\\") if part.strip(" ")]
    if not key.strip("* ") or any(not part.strip("* ") for part in parts):
        return True
    return any(
        like(part.rstrip("*").rstrip(" ") + "*" if part.endswith("*") else part, value)
        if "*" in part or "?" in part
        else part == value
        for part in parts
    )


@pytest.fixture(scope="module")
def pool(shared_index: Index) -> str:
    for keyword in ("StudyDescription", "PatientName"):
        store_values(shared_index, keyword, POOL, f"POOL-{keyword[:4]}")
    return "POOL"


LENIENT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LENIENT
@given(key=ANY_KEY)
@example(key="%")
@example(key="*_*")
@example(key="a\\")
@example(key="\ud800")
@example(key="a\0b")
@example(key="*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b")
def test_any_key_means_its_characters_and_never_sql(shared_index: Index, pool: str, key: str) -> None:
    found = matches(shared_index, "StudyDescription", key, f"{pool}-Stud")
    assert found == sorted(value for value in POOL if text_matches(key, value))


@LENIENT
@given(key=ANY_KEY, keyword=st.sampled_from(["PatientName", "StudyDate", "StudyTime", "ImageType", "SOPInstanceUID"]))
@example(key="=", keyword="PatientName")
@example(key="^*=*^", keyword="PatientName")
def test_any_key_of_any_kind_is_answered(shared_index: Index, pool: str, key: str, keyword: str) -> None:
    found = matches(shared_index, keyword, key, f"{pool}-Pati")
    everything = matches(shared_index, keyword, "", f"{pool}-Pati")
    assert set(found) <= set(everything)


def test_a_key_of_many_stars_costs_no_more_than_a_plain_one(shared_index: Index) -> None:
    store_values(shared_index, "PatientName", ["ü" + "a" * 62], "STARS")
    assert matches(shared_index, "PatientName", "ü" + "*a" * 30 + "*b", "STARS") == []


def test_a_key_longer_than_any_column_matches_nothing(shared_index: Index) -> None:
    store_values(shared_index, "StudyDescription", ["x"], "LONG")
    assert matches(shared_index, "StudyDescription", "x" * 100_000 + "*", "LONG") == []


MOMENTS = ["20200101", "20200101120000", "20200101120000.5+0100", "202001011300", "20210101-0500", "", None]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("20200101", ["20200101", "20200101120000", "20200101120000.5+0100", "202001011300"]),
        ("2020010112", ["20200101120000", "20200101120000.5+0100"]),
        ("20200101120000-20200101130000", ["20200101120000", "20200101120000.5+0100", "202001011300"]),
        ("20200101120000+0100-", ["20200101120000", "20200101120000.5+0100", "202001011300", "20210101-0500"]),
        ("-2020", ["20200101", "20200101120000", "20200101120000.5+0100", "202001011300"]),
        ("2021-", ["20210101-0500"]),
        ("2020-2021", ["20200101", "20200101120000", "20200101120000.5+0100", "202001011300", "20210101-0500"]),
        ("20210101-0500", ["20210101-0500"]),
        ("20200101*", ["20200101", "20200101120000", "20200101120000.5+0100", "202001011300"]),
        ("nonsense", []),
    ],
)
def test_date_times_match_in_all_their_precisions(
    open_index: Callable[..., Index], tmp_path: Path, key: str, expected: list[str]
) -> None:
    column = '{ 0x0008, 0x002a, "AcqDateTime", 26, SQL_C_CHAR, DT_STR }\n    { 0x0010, 0x0020, "ImagePat"'
    (tmp_path / "dicom.sql").write_text(DEFAULT_LAYOUT.replace('{ 0x0010, 0x0020, "ImagePat"', column))
    index = open_index(tmp_path / "dicom.sql")
    store_values(index, "AcquisitionDateTime", MOMENTS, "DT")
    assert matches(index, "AcquisitionDateTime", key, "DT") == sorted(expected)


@pytest.mark.parametrize(
    ("key", "expected"),
    [("head", ["HEAD", "Head"]), ("SCHÄDEL", ["Schädel"]), ("h*", ["HEAD", "Head"]), ("50%", ["50%"])],
)
def test_columns_of_type_istr_compare_without_case(
    open_index: Callable[..., Index], tmp_path: Path, key: str, expected: list[str]
) -> None:
    plain, lenient = '"StudyDescription", 64, SQL_C_CHAR, DT_STR', '"StudyDescription", 64, SQL_C_CHAR, DT_ISTR'
    (tmp_path / "dicom.sql").write_text(DEFAULT_LAYOUT.replace(plain, lenient))
    index = open_index(tmp_path / "dicom.sql")
    store_values(index, "StudyDescription", ["HEAD", "Head", "Schädel", "50%", "50x"], "ISTR")
    assert matches(index, "StudyDescription", key, "ISTR") == sorted(expected)
