"""Argument types: the value out of the text, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.arguments import (
    REPLY,
    Ae,
    Call,
    DateRange,
    DroppedFile,
    Filled,
    Index,
    Key,
    Missing,
    Number,
    ObjectName,
    OutputFile,
    PatientAnd,
    ServerFile,
    Uid,
)
from server.authority import Caller, Forbidden
from server.settings import ServerSettings

if TYPE_CHECKING:
    from server.server import Server


def call(
    base: Path = Path("/base"),
    *,
    rights: str = "admin",
    export_root: Path | None = None,
    destructive: bool = False,
    upload: bytes | None = None,
    settings: ServerSettings | None = None,
) -> Call:
    """A call with what argument types look at: the base directory, the settings and the caller."""
    server = cast("Server", SimpleNamespace(base=base, settings=settings or ServerSettings()))
    return Call(server, Caller("127.0.0.1", rights=rights, export_root=export_root), upload, destructive)


@pytest.mark.parametrize(
    "kind", [Filled, Ae, Uid, Number, Index, Key, PatientAnd, DateRange, ServerFile, DroppedFile, ObjectName]
)
@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_is_missing(kind: Any, text: str) -> None:
    with pytest.raises(Missing):
        kind.parse(text, call())


@pytest.mark.parametrize("text", ["CONQUESTSRV1", "(local)", "A B", "X" * 16, "SERVER~j2", " padded "])
def test_ae_titles(text: str) -> None:
    assert Ae.parse(text, call()) == text.strip()


@pytest.mark.parametrize("text", ["X" * 17, "A\\B", "A\nB", "Ä", "A\0"])
def test_what_is_no_ae_title(text: str) -> None:
    with pytest.raises(ValueError, match="is no AE title"):
        Ae.parse(text, call())


def test_uids_are_digits_and_periods() -> None:
    assert Uid.parse("1.2.840", call()) == "1.2.840"
    for text in ("1.2.x", "1" * 65, "1.2 3", "../1"):
        with pytest.raises(ValueError, match="is no UID"):
            Uid.parse(text, call())


def test_numbers_are_whole_and_entry_numbers_begin_at_0() -> None:
    assert (Number.parse(" -12 ", call()), Index.parse("0", call())) == (-12, 0)
    for text in ("x", "1.5", "1 2", "٣", "9" * 20):
        with pytest.raises(ValueError, match="is no whole number"):
            Number.parse(text, call())
    with pytest.raises(ValueError, match="begin at 0"):
        Index.parse("-1", call())


@pytest.mark.parametrize(
    ("text", "first", "last", "dicom"),
    [
        ("20240229", "20240229", "20240229", "20240229"),
        ("20200101-20201231", "20200101", "20201231", "20200101-20201231"),
        ("-20201231", "", "20201231", "-20201231"),
        ("20200101-", "20200101", "", "20200101-"),
        ("20200101-20200101", "20200101", "20200101", "20200101"),
    ],
)
def test_dates(text: str, first: str, last: str, dicom: str) -> None:
    read = DateRange.parse(text, call())
    assert (read.first, read.last, str(read)) == (first, last, dicom)


@pytest.mark.parametrize(
    "text", ["*", "-", "2020", "20200101*", "20200101-2021", "2020-01-01", "20230229", "20201301", "٢٠٢٠٠١٠١"]
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no date|no calendar"):
        DateRange.parse(text, call())


@pytest.mark.parametrize(
    ("text", "patient", "uid"),
    [("1.2.3", "", "1.2.3"), ("P1:1.2.3", "P1", "1.2.3"), ("A:B:1.2.3", "A:B", "1.2.3"), (":1", "", "1")],
)
def test_patient_and_uid_split_at_the_last_colon(text: str, patient: str, uid: str) -> None:
    assert PatientAnd.parse(text, call()) == PatientAnd(patient, uid)


def test_a_patient_without_uid_is_missing_one() -> None:
    with pytest.raises(Missing):
        PatientAnd.parse("P1:", call())


@pytest.mark.parametrize("kind", [Key, PatientAnd])
@pytest.mark.parametrize("text", ["*", "P*", "P?", "P*:1.2"])
def test_wildcards_in_destructive_commands_need_the_setting(kind: Any, text: str) -> None:
    with pytest.raises(ValueError, match="set WildcardDelete = 1"):
        kind.parse(text, call(destructive=True))
    kind.parse(text, call())
    kind.parse(text, call(destructive=True, settings=ServerSettings(WildcardDelete=True)))


def test_the_message_about_a_wildcard_does_not_repeat_the_patient_id() -> None:
    with pytest.raises(ValueError, match="wildcard") as error:
        Key.parse("SECRET*", call(destructive=True))
    assert "SECRET" not in str(error.value)


def test_server_files_are_below_the_base_for_administrators() -> None:
    assert ServerFile.parse("a/b.dcm", call()).path == Path("/base/a/b.dcm")
    assert ServerFile.parse("/etc/x", call()).path == Path("/etc/x")


def test_server_files_are_below_the_export_root_for_others(tmp_path: Path) -> None:
    reader = call(rights="read", export_root=tmp_path)
    assert ServerFile.parse("a.dcm", reader).path == tmp_path / "a.dcm"
    for text in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(Forbidden):
            ServerFile.parse(text, reader)
    with pytest.raises(Forbidden):
        ServerFile.parse("a.dcm", call(rights="read"))


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("/a/b.dcm,P1", 8),
        ("/a,b/c.dcm,P1", 10),
        ("/a,b/C.DCM", -1),
        ("/a.v2,b.hl7,c,d", 11),
        ("/a,b,c", 2),
        ("/a.gz", -1),
        ("a.dcmx,b", 6),
    ],
)
def test_where_a_dropped_file_name_ends(text: str, end: int) -> None:
    assert DroppedFile.end(text) == end


@given(st.text(",.dcmvhlgz27P", max_size=20))
def test_the_end_of_a_dropped_file_is_the_first_comma_with_no_extension_behind_it(text: str) -> None:
    commas = [place for place, character in enumerate(text) if character == ","]
    open_ends = [
        place for place in commas if not any(e in text[place:].lower() for e in (".dcm", ".v2", ".hl7", ".gz"))
    ]
    assert DroppedFile.end(text) == (open_ends[0] if open_ends else -1)


def test_an_upload_names_no_file_on_the_server() -> None:
    assert DroppedFile.parse("/etc/passwd", call(upload=b"x", rights="read")) == DroppedFile("/etc/passwd", None)
    with pytest.raises(Forbidden):
        DroppedFile.parse("/etc/passwd", call(rights="read"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("0009703828:1.2.3", ObjectName(patient="0009703828", sop="1.2.3")),
        (":1.2.3", ObjectName(sop="1.2.3")),
        ("A:B?1.2.3", ObjectName(patient="A:B", sop="1.2.3")),
        ("1.2\\1.2.3\\1.2.3.4", ObjectName(study="1.2", series="1.2.3", sop="1.2.3.4")),
        ("MAG0/x.dcm", ObjectName(Path("/base/MAG0/x.dcm"))),
        ("c:\\x.dcm", ObjectName(Path("/base/c:\\x.dcm"))),
    ],
)
def test_objects_are_named_by_file_by_patient_or_by_uids(text: str, name: ObjectName) -> None:
    assert ObjectName.parse(text, call()) == name


def test_an_object_file_is_one_the_caller_may_reach() -> None:
    with pytest.raises(Forbidden):
        ObjectName.parse("/etc/passwd", call(rights="read"))


@pytest.mark.parametrize(
    ("text", "pre", "content_type", "reply"),
    [
        ("", False, "text/html", "x\n"),
        ("binary", True, "text/html", "x\n"),
        ("cgi", False, "text/html", "Content-type: text/html\n\nx\n"),
        ("cgi", True, "text/html", "Content-type: text/html\n\n<pre>x\n"),
        ("cgi", True, "text/plain", "Content-type: text/plain\n\nx\n"),
        ("pre", True, "text/html", "<pre>x\n"),
    ],
)
def test_output_that_is_the_reply(text: str, pre: bool, content_type: str, reply: str) -> None:
    assert OutputFile.parse(text, call()).deliver("x\n", done="0", pre=pre, content_type=content_type) == reply


@pytest.mark.parametrize("name", ["out.txt", "pre"])
def test_output_that_goes_to_a_file_overwrites_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("older and longer")
    assert OutputFile.parse(name, call(tmp_path)).deliver("Zürich", done="0") == "0"
    assert (tmp_path / name).read_bytes() == "Zürich".encode()


def test_output_files_are_refused_before_any_work_is_done() -> None:
    with pytest.raises(Forbidden):
        OutputFile.parse("/etc/motd", call(rights="read"))
    assert OutputFile.parse("cgi", call(rights="read")).deliver("x") == "Content-type: text/html\n\nx"


def test_an_output_argument_that_is_left_out_is_the_reply() -> None:
    assert REPLY.deliver("x") == "x"
