"""acrnema.map: its columns and comments, wildcards, and rewriting without losing what the operator wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.amap import AeEntry, AeMap, columns

CONQUEST = """\
/* **********************************************************
 * DICOM AE (Application entity) -> IP address / Port map   *
 *   AE   <IP adress|Host name>   port number   compression *
 * j2=lossless jpeg;j3..j6=lossy jpeg;n1..n4=nki private    *
 ********************************************************** */

CONQUESTSRV1\t\t127.0.0.1\t5678\t\tun

V*\t        \t*               1234            un
NG*  101.11.11.*  56*  j2
"""


def amap(tmp_path: Path, text: str | bytes) -> AeMap:
    path = tmp_path / "acrnema.map"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return AeMap(path)


def test_the_distributed_file_reads_as_its_entries(tmp_path: Path) -> None:
    read = amap(tmp_path, CONQUEST)
    assert read.entries == (
        AeEntry("CONQUESTSRV1", "127.0.0.1", "5678", "un"),
        AeEntry("V*", "*", "1234", "un"),
        AeEntry("NG*", "101.11.11.*", "56*", "j2"),
    )
    assert read.warnings == ()


@pytest.mark.parametrize(
    "line",
    [
        "A h 104 j2",
        "A\th\t104\tj2\r",
        "  A  h  104  j2  # the rest # is ignored",
        "A h 104 j2// so is this",
        "A h 104 j2; and this: nothing before ; is eaten",
        "/* x */ A h /* y */ 104 j2 /* z",
    ],
)
def test_comments_of_every_kind_leave_the_entry_as_it_is(tmp_path: Path, line: str) -> None:
    assert amap(tmp_path, f"{line}\n*/\n").entries == (AeEntry("A", "h", "104", "j2"),)


def test_missing_compression_is_un_and_further_columns_are_kept(tmp_path: Path) -> None:
    read = amap(tmp_path, "A h 104\nB h 104 j2! 4 x\n")
    assert read.entries == (AeEntry("A", "h", "104", "un"), AeEntry("B", "h", "104", "j2!", ("4", "x")))


def test_what_stands_in_a_comment_of_several_lines_is_no_entry(tmp_path: Path) -> None:
    assert amap(tmp_path, "/* A h 1\nB h 2 // */ C h 3\nD h 4\n").entries == (
        AeEntry("C", "h", "3"),
        AeEntry("D", "h", "4"),
    )


def test_lines_that_are_no_entry_are_named_and_kept(tmp_path: Path) -> None:
    read = amap(tmp_path, "A h\nB h port\nC h 70000\nD h 104\n/* open\n")
    assert [entry.ae for entry in read.entries] == ["D"]
    assert read.warnings == (
        "acrnema.map:1: not an entry: write AE title, address, port and compression in columns",
        "acrnema.map:2: not an entry: write AE title, address, port and compression in columns",
        "acrnema.map:3: not an entry: write AE title, address, port and compression in columns",
        "acrnema.map:5: the comment that begins here with /* has no */",
    )
    read.write()
    assert read.path.read_text() == "A h\nB h port\nC h 70000\nD h 104\n/* open\n"


def test_a_missing_file_is_an_empty_map_with_a_warning(tmp_path: Path) -> None:
    read = AeMap(tmp_path / "acrnema.map")
    assert read.entries == ()
    assert read.warnings == ("acrnema.map is missing: no AE title has an address, so C-MOVE reaches nobody",)


@pytest.mark.parametrize(
    ("ae", "found"),
    [
        ("CONQUESTSRV1", AeEntry("CONQUESTSRV1", "127.0.0.1", "5678")),
        ("CONQUESTSRV1 ", AeEntry("CONQUESTSRV1", "127.0.0.1", "5678")),
        ("conquestsrv1", AeEntry("CONQUESTSRV1", "127.0.0.1", "5678")),
        ("V10.1.2.3", AeEntry("V10.1.2.3", "10.1.2.3", "1234")),
        ("vhost", AeEntry("vhost", "host", "1234")),
        ("NG78", AeEntry("NG78", "101.11.11.78", "5678", "j2")),
        ("V", None),
        ("NG", AeEntry("NG", "101.11.11.", "56", "j2")),
        ("NG12x", None),
        ("NG99999999", None),
        ("Vho st", None),
        ("NOPE", None),
        ("", None),
    ],
)
def test_lookup_in_the_distributed_file(tmp_path: Path, ae: str, found: AeEntry | None) -> None:
    assert amap(tmp_path, CONQUEST).lookup(ae) == found


def test_the_first_line_that_fits_wins_and_case_counts_before_it_does_not(tmp_path: Path) -> None:
    read = amap(tmp_path, "abc one 1\nABC two 2\nX* three 3\nXY four 4\n")
    addresses = [entry.address if (entry := read.lookup(ae)) else None for ae in ("ABC", "abc", "Abc", "XY", "xz")]
    assert addresses == ["two", "one", "one", "three", "three"]


def test_a_map_with_one_line_for_all(tmp_path: Path) -> None:
    assert amap(tmp_path, "* gateway 104\n").lookup("ANY") == AeEntry("ANY", "gateway", "104")


def test_put_changes_what_is_given_and_appends_past_the_end(tmp_path: Path) -> None:
    read = amap(tmp_path, "A h 104 j2 4\n")
    read.put(0, "", port="105")
    read.put(7, "B", "host", "106")
    assert read.entries == (AeEntry("A", "h", "105", "j2", ("4",)), AeEntry("B", "host", "106", "un"))
    assert AeMap(read.path).entries == (AeEntry("A", "h", "104", "j2", ("4",)),)


def test_read_forgets_what_was_not_written(tmp_path: Path) -> None:
    read = amap(tmp_path, "A h 104\n")
    read.put(0, "B")
    read.read()
    assert read.entries == (AeEntry("A", "h", "104"),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (("A B", "h", "1", "un"), "AE title: one word"),
        (("A", "h\nX h 1", "1", "un"), "address: one word"),
        (("A#", "h", "1", "un"), "AE title: one word"),
        (("A", "h", "1", "un/*"), "compression: one word"),
        (("A" * 17, "h", "1", "un"), "at most 16"),
        (("A", "h", "0", "un"), "port: a number"),
        (("A", "h", "65536", "un"), "port: a number"),
        (("A", "", "1", "un"), "needs an address"),
        (("A", "h", "", "un"), "port: a number"),
    ],
)
def test_an_entry_that_would_not_be_read_back_is_refused(
    tmp_path: Path, fields: tuple[str, str, str, str], message: str
) -> None:
    read = amap(tmp_path, "")
    with pytest.raises(ValueError, match=message):
        read.put(0, *fields)
    assert read.entries == ()


def test_write_keeps_comments_untouched_lines_and_latin_1(tmp_path: Path) -> None:
    read = amap(
        tmp_path, b"# Z\xfcrich\r\nA\th\t104\tun  # left\r\n\r\n/* two\r\nlines */ B h 105 un ; right\r\nC h 106\r\n"
    )
    read.put(1, "B", "newhost")
    read.delete(2)
    read.put(2, "D", "d", "107", "j2")
    read.write()
    assert read.path.read_bytes() == (
        b"# Z\xfcrich\r\nA\th\t104\tun  # left\r\n\r\n/* two\r\n"
        b"lines */ B                 newhost                        105        un ; right\r\n"
        b"D                 d                              107        j2\r\n"
    )


def test_deleting_an_entry_does_not_open_the_comment_it_closes(tmp_path: Path) -> None:
    read = amap(tmp_path, "/* two\nlines */ A h 104\nB h 105 /* more\nlines */\nC h 106\n")
    assert read.delete(0)
    assert read.delete(0)
    assert not read.delete(1)
    read.write()
    assert [entry.ae for entry in AeMap(read.path).entries] == ["C"]
    assert AeMap(read.path).warnings == ()


def test_nothing_is_appended_inside_an_open_comment(tmp_path: Path) -> None:
    read = amap(tmp_path, "A h 104\n/* open\n")
    with pytest.raises(ValueError, match=r"the comment that begins at acrnema\.map:2 must be closed first"):
        read.put(1, "B", "h", "104")


words = st.from_regex(r"[A-Za-z0-9_.!*-]{1,12}", fullmatch=True).filter(
    lambda word: "*/" not in word and "/*" not in word
)
entries = st.builds(
    AeEntry,
    words,
    words,
    st.one_of(st.integers(1, 65535).map(str), st.just("*"), st.integers(0, 999).map(lambda number: f"{number}*")),
    words,
    st.lists(words, max_size=2).map(tuple),
)


@given(st.lists(entries, max_size=5), st.lists(entries, max_size=5))
def test_entries_survive_being_put_written_and_read(first: list[AeEntry], second: list[AeEntry]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "acrnema.map"
        path.write_text("".join(f"{columns(entry)}  # note\n" for entry in first))
        read = AeMap(path)
        assert read.entries == tuple(first)
        for number, entry in enumerate(second):
            read.put(number, entry.ae, entry.address, entry.port, entry.compression)
        expected = read.entries
        assert [(entry.ae, entry.address, entry.port, entry.compression) for entry in expected[: len(second)]] == [
            (entry.ae, entry.address, entry.port, entry.compression) for entry in second
        ]
        read.write()
        assert AeMap(path).entries == expected == read.entries
        assert path.read_text().count("# note") == len(first)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_file_can_be_read_and_written_back_unchanged_and_any_title_looked_up(data: bytes, title: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "acrnema.map"
        path.write_bytes(data)
        read = AeMap(path)
        entry = read.lookup(title)
        assert entry is None or (0 < int(entry.port) < 65536 and entry.address.isprintable())
        read.write()
        assert path.read_bytes() == data
