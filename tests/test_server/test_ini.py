"""dicom.ini: ConQuest's reading rules, and changes that touch nothing but what they are asked to."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ini import IniEntry, IniFile

DATED = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"


def ini(tmp_path: Path, text: str | bytes) -> IniFile:
    path = tmp_path / "dicom.ini"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return IniFile(path)


def touched(path: Path, text: str) -> None:
    """Rewrite a file so that its modification time differs for sure."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_blanks_and_tabs_around_key_and_value_go_and_only_the_first_equals_sign_separates(tmp_path: Path) -> None:
    assert ini(tmp_path, "[sscscp]\nImportConverter0\t =\t set 0010,0010 to a=b ; \t\n").get("ImportConverter0") == (
        "set 0010,0010 to a=b ;"
    )


def test_sections_and_keys_are_found_in_any_case(tmp_path: Path) -> None:
    file = ini(tmp_path, "[SSCSCP]\nTcpPort = 5678\n[Lua]\nStartup = print(1)\n")
    assert file.get("TCPPORT") == "5678"
    assert file.get("startup", "LUA") == "print(1)"


@pytest.mark.parametrize("line", [" TCPPort = 1", ";TCPPort = 1", "# TCPPort = 1", "//TCPPort = 1", "TCPPort"])
def test_lines_that_set_nothing(tmp_path: Path, line: str) -> None:
    assert ini(tmp_path, f"[sscscp]\n{line}\n").get("TCPPort") is None


def test_a_tab_before_a_key_does_not_comment_it_out(tmp_path: Path) -> None:
    assert ini(tmp_path, "[sscscp]\n\tTCPPort = 1\n").get("TCPPort") == "1"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"a b"', "a b"),
        ("'a b'", "a b"),
        ('"a', '"a'),
        ("\"a'", "\"a'"),
        ('"', '"'),
        ('""', ""),
        ("", ""),
        ('" a "', " a "),
        ('""a""', '"a"'),
    ],
)
def test_a_value_wholly_in_quotes_is_unquoted_once(tmp_path: Path, written: str, read: str) -> None:
    assert ini(tmp_path, f"[sscscp]\nKey = {written}\n").get("Key") == read


def test_the_first_of_two_keys_counts_also_across_a_continued_section(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\n[lua]\nA = 2\n[sscscp]\nA = 3\nB = 4\n")
    assert (file.get("A"), file.get("B"), file.get("A", "lua")) == ("1", "4", "2")
    assert file.entries() == (
        IniEntry("sscscp", "A", "1", 2),
        IniEntry("sscscp", "A", "3", 6),
        IniEntry("sscscp", "B", "4", 7),
    )


def test_crlf_lines_read_as_lf_lines_do(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\r\nA = 1\r\n")
    assert file.get("A") == "1"
    assert file.lines() == ("[sscscp]\r\n", "A = 1\r\n")


def test_bytes_that_are_not_utf_8_read_as_latin_1_line_by_line(tmp_path: Path) -> None:
    file = ini(tmp_path, b"[sscscp]\nA = Z\xfcrich\nB = Z\xc3\xbcrich\n")
    assert (file.get("A"), file.get("B")) == ("Zürich", "Zürich")


def test_a_byte_order_mark_does_not_hide_the_first_section(tmp_path: Path) -> None:
    file = ini(tmp_path, b"\xef\xbb\xbf[sscscp]\nA = 1\n")
    assert file.get("A") == "1"
    file.put("A", "2")
    assert file.get("A") == "2"
    assert file.path.read_bytes().startswith(b"\xef\xbb\xbf# Written by put_param on ")


def test_micropacs_names_the_main_section(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nMicroPACS = Other\nTCPPort = 1\n[other]\nTCPPort = 2\n")
    assert (file.main, file.get("TCPPort"), file.get("MicroPACS")) == ("other", "2", "other".capitalize())
    file.put("TCPPort", "3")
    assert (file.get("TCPPort"), file.get("TCPPort", "sscscp")) == ("3", "1")


def test_every_entry_knows_its_line(tmp_path: Path) -> None:
    entry = ini(tmp_path, "# x\n\n[sscscp]\n;\nTCPPort = 5678\n").entry("tcpport")
    assert entry == IniEntry("sscscp", "TCPPort", "5678", 5)


def test_lines_are_listed_raw_and_a_blank_one_is_its_line_end(tmp_path: Path) -> None:
    assert ini(tmp_path, "[sscscp]\n\nA = 1").lines() == ("[sscscp]\n", "\n", "A = 1")


def test_put_pads_the_name_and_dates_the_first_line(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nTCPPort=1 \nOther = x\n")
    file.put("tcpport", "5678")
    first, *rest = file.path.read_text().splitlines()
    assert re.fullmatch(f"# Written by put_param on {DATED}", first)
    assert rest == ["[sscscp]", "tcpport                  = 5678", "Other = x"]


def test_put_keeps_only_one_dated_line(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\n")
    for value in "234":
        file.put("A", value)
    assert file.path.read_text().count("# Written by put_param on ") == 1
    assert file.get("A") == "4"


def test_put_changes_every_line_of_the_main_section_and_none_of_another(tmp_path: Path) -> None:
    file = ini(tmp_path, "[lua]\nA = 1\n[sscscp]\nA = 1\n#A = 1\nA = 2\n[web]\nA = 1\n")
    file.put("A", "9")
    written = file.path.read_text().splitlines()[1:]
    line = "A                        = 9"
    assert written == ["[lua]", "A = 1", "[sscscp]", line, "#A = 1", line, "[web]", "A = 1"]


def test_a_new_key_goes_behind_the_last_key_of_the_main_section(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\n\n# scripts\n[lua]\nstartup = x\n")
    file.put("New", "2")
    written = file.path.read_text().splitlines()[1:]
    assert written[:3] == ["[sscscp]", "A = 1", ""]
    assert re.fullmatch(f"# Parameter added by put_param on {DATED}", written[3])
    assert written[4:] == ["New                      = 2", "", "# scripts", "[lua]", "startup = x"]
    assert (file.get("New"), file.get("New", "lua")) == ("2", None)


def test_a_new_key_begins_the_section_when_the_file_has_none(tmp_path: Path) -> None:
    file = ini(tmp_path, "# nothing")
    file.put("A", "1")
    assert file.get("A") == "1"
    assert "[sscscp]" in file.path.read_text().splitlines()


def test_put_keeps_crlf_and_bytes_of_other_lines(tmp_path: Path) -> None:
    file = ini(tmp_path, b"[sscscp]\r\nA = 1\r\n# Z\xfcrich\r\nB = 2")
    file.put("A", "Zürich")
    assert file.path.read_bytes().split(b"\r\n")[1:] == [
        b"[sscscp]",
        b"A                        = Z\xfcrich",
        b"# Z\xfcrich",
        b"B = 2",
    ]
    file.put("B", "3")
    assert file.get("B") == "3"
    assert file.path.read_bytes().count(b"\n") == file.path.read_bytes().count(b"\r\n")


@pytest.mark.parametrize("value", ["1\n[lua]\nstartup = os.exit()", "1\r2", "a\0b"])
def test_a_value_with_a_line_break_is_refused_and_the_file_untouched(tmp_path: Path, value: str) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\n")
    with pytest.raises(ValueError, match="one line"):
        file.put("A", value)
    assert file.path.read_text() == "[sscscp]\nA = 1\n"


@pytest.mark.parametrize("name", ["", " A", "A B", "A=B", "[lua]", ";A", "#A", "A\n", "A\tB"])
def test_a_name_that_is_no_key_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="parameter name"):
        ini(tmp_path, "[sscscp]\n").put(name, "1")


def test_delete_removes_the_lines_of_the_main_section_only(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\nB = 2\na = 3\n[lua]\nA = 4\n")
    assert file.delete("A") is True
    assert file.path.read_text().splitlines()[1:] == ["[sscscp]", "B = 2", "[lua]", "A = 4"]
    assert file.delete("A") is False


def test_an_edit_by_somebody_else_is_seen_at_the_next_question(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\n")
    assert file.get("A") == "1"
    touched(file.path, "[sscscp]\nA = 2\n")
    assert file.get("A") == "2"


def test_a_file_that_goes_away_keeps_counting(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\nA = 1\n")
    file.path.unlink()
    assert file.get("A") == "1"


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        IniFile(tmp_path / "dicom.ini")


def test_threads_that_put_different_keys_lose_none(tmp_path: Path) -> None:
    file = ini(tmp_path, "[sscscp]\n")
    threads = [threading.Thread(target=file.put, args=(f"Key{n}", str(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.get(f"key{n}") for n in range(8)] == [str(n) for n in range(8)]


keys = st.from_regex(r"[A-Za-z_äÖ][A-Za-z0-9_.äÖ]{0,10}", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=30)
lines = st.one_of(
    st.tuples(keys, values).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    st.sampled_from(["", "; comment", "# comment = x", "[lua]", "[sscscp]", "junk", " indented = 1"]),
)


@given(st.lists(lines, max_size=12), st.sampled_from(["\n", "\r\n"]), keys, values)
def test_put_then_get_gives_the_value_back_and_changes_no_other(
    content: list[str], end: str, key: str, value: str
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "dicom.ini"
        path.write_bytes(end.join(content).encode())
        file = IniFile(path)
        before = [entry for entry in _all(file) if (entry[0], entry[1].lower()) != (file.main, key.lower())]
        main = file.main
        file.put(key, value)
        expected = value.strip(" \t")
        if len(expected) >= 2 and expected[0] == expected[-1] and expected[0] in "'\"":
            expected = expected[1:-1]
        assert file.get(key) == expected
        if key.lower() != "micropacs":
            after = [entry for entry in _all(file) if (entry[0], entry[1].lower()) != (main, key.lower())]
            assert after == before
            file.delete(key)
            assert file.get(key) is None
            assert _all(file) == before


def _all(file: IniFile) -> list[tuple[str, str, str]]:
    found = [entry for section in ("", "sscscp", "lua") for entry in file.entries(section)]
    return [(entry.section, entry.key, entry.value) for entry in found]


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read_and_are_listed_whole(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "dicom.ini"
        path.write_bytes(data)
        file = IniFile(path)
        assert file.get("TCPPort") is None or b"=" in data
        assert len(file.lines()) == data.count(b"\n") + (not data.endswith(b"\n") and data != b"")
