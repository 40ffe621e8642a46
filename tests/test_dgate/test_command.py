"""The table of commands: what may be declared, how a line is cut, and what each kind of failure answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dgate import command as table
from dgate.arguments import REPLY, TEXT, Ae, DroppedFile, Index, Key, OutputFile, Printf, ServerFile, Uid, Upload
from dgate.command import CommandError, command, help_text, reference, run
from server.authority import Caller, caller_for
from server.server import Outcome, Server
from server.settings import ServerSettings

LOOPBACK = "127.0.0.1"
READER = "10.0.0.1"
STRANGER = "192.168.0.1"


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> dict[str, table.Command]:
    """An empty table of commands for each test."""
    empty: dict[str, table.Command] = {}
    monkeypatch.setattr(table, "COMMANDS", empty)
    return empty


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Log lines reach the test whatever a server of another test left on the logger."""
    logger = logging.getLogger("dgate")
    before = logger.propagate
    logger.propagate = True
    with caplog.at_level(logging.DEBUG, logger="dgate"):
        yield
    logger.propagate = before


def server(base: Path = Path("/base")) -> Server:
    """What `run` and the argument types look at of a server."""
    settings = ServerSettings(CommandReadOnly=READER)
    return cast(Server, SimpleNamespace(base=base, settings=settings))


def caller(address: str = LOOPBACK, calling: str = "TESTER") -> Caller:
    return caller_for(ServerSettings(CommandReadOnly=READER), Path("/base"), address, calling)


def answer(line: str, address: str = LOOPBACK, upload: bytes | None = None) -> Outcome:
    return run(server(), line, upload, caller(address))


def reply(line: str) -> bytes | None:
    outcome = answer(line)
    assert outcome.status == 0
    return outcome.payload


def declare_show() -> None:
    @command("show:first,second,rest", group="Test options", rights="read")
    def show(server: Server, first: str, second: str, rest: str = "none") -> str:
        """Show arguments."""
        return f"<{first}><{second}><{rest}>"


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        ("show:a,b,c", b"<a><b><c>"),
        ("show:a,b,c,d,,e", b"<a><b><c,d,,e>"),
        ("show:a,b", b"<a><b><none>"),
        ("show:a,b,", b"<a><b><none>"),
        ("show:,,c", b"<><><c>"),
        ("show: a , b ,c:d", b"< a >< b ><c:d>"),
        ("show:a", None),
        ("show:", None),
        ("show", None),
        ("Show:a,b,c", None),
        ("showing:a,b,c", None),
        (" show:a,b,c", None),
        ("nosuchcommand:x", None),
        ("", None),
        (":", None),
    ],
)
def test_a_line_is_cut_at_its_first_commas_and_the_last_argument_keeps_the_rest(
    line: str, payload: bytes | None
) -> None:
    declare_show()
    assert reply(line) == payload


def test_a_bar_in_the_syntax_separates_instead_of_commas() -> None:
    @command("query:table|fields|where|fmt", group="Database options")
    def query(server: Server, table: str, fields: str, where: str = "", fmt: Printf = TEXT) -> str:
        """Show arguments."""
        return f"{table}.{fields}.{where}." + fmt % "x"

    assert reply("query:a|b,c||[%s]") == b"a.b,c..[x]"
    assert reply("query:a|b") == b"a.b..x"
    assert reply("query:a,b") is None


def test_file_names_keep_their_commas_where_the_type_says_so() -> None:
    @command("addimagefile:file,patid", group="Communication options")
    def addimagefile(server: Server, file: DroppedFile, patid: str = "") -> str:
        """Show arguments."""
        return f"{file.path} {patid}"

    assert reply("addimagefile:/a,b/c,d.DCM,P1,2") == b"/a,b/c,d.DCM P1,2"
    assert reply("addimagefile:/a,b") == b"/a b"


def test_a_repeated_argument_takes_every_word() -> None:
    @command("mergestudy:uid,uid,..", group="Modification of dicom objects")
    def mergestudy(server: Server, *uid: Uid) -> str:
        """Show arguments."""
        return " ".join(uid)

    assert reply("mergestudy:1.2,1.3,1.4") == b"1.2 1.3 1.4"
    assert reply("mergestudy:") is None


def test_signs_in_the_syntax_stand_for_underscores_in_the_name() -> None:
    @command("convert:file,l/w/f", group="Conversion options")
    def convert(server: Server, file: str, l_w_f: str = "0/0/0") -> str:
        """Show arguments."""
        return f"{file} {l_w_f}"

    @command("deletestudies:date(range)", group="Delete options")
    def deletestudies(server: Server, date_range: str) -> str:
        """Show arguments."""
        return date_range

    assert (reply("convert:a"), reply("deletestudies:-2020")) == (b"a 0/0/0", b"-2020")


def test_commands_without_arguments_ignore_what_follows_the_colon() -> None:
    @command("genuid:", group="Test options")
    def genuid(server: Server) -> str:
        """Generate an UID."""
        return "1.2"

    assert (reply("genuid:"), reply("genuid:x,y")) == (b"1.2", b"1.2")


def test_upload_and_caller_are_handed_to_commands_that_ask_for_them() -> None:
    @command("attach:file", group="Communication options")
    def attach(server: Server, file: str, *, upload: Upload | None, caller: Caller) -> str:
        """Show the run."""
        return f"{file} {upload!r} {caller.address}"

    assert answer("attach:x", upload=b"DICM").payload == b"x b'DICM' 127.0.0.1"


@pytest.mark.parametrize(
    ("value", "payload"), [("", None), (b"", None), (None, None), ("Zürich", "Zürich".encode()), (b"\0\xff", b"\0\xff")]
)
def test_replies_are_bytes_or_nothing(value: str | bytes | None, payload: bytes | None) -> None:
    @command("reply:", group="Test options")
    def show(server: Server) -> str | bytes | None:
        """Reply."""
        return value

    assert answer("reply:") == Outcome(0, payload)


def test_bytes_that_were_no_utf_8_go_back_as_they_came() -> None:
    @command("back:text", group="Test options")
    def back(server: Server, text: str) -> str:
        """Reply."""
        return text

    assert reply("back:" + b"a\xffb".decode("utf-8", "surrogateescape")) == b"a\xffb"


def declare_two() -> None:
    @command("change:number", group="Maintenance options")
    def change(server: Server, number: Index) -> None:
        """Change something."""
        if number == 3:
            raise CommandError("entry 3 is in use")
        if number == 4:
            raise ValueError("a value with\nSECRET in it")

    @command("show:number", group="Maintenance options")
    def show(server: Server, number: Index) -> str | None:
        """Show something."""
        change(server, number)
        return "shown"


def test_a_command_without_reply_answers_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    declare_two()
    assert reply("change:1") is None
    assert reply("change:x") == b"*** change: number is no whole number"
    assert reply("change:3") == b"*** change: entry 3 is in use"
    assert reply("change:4") == b"*** change: a value with SECRET in it"
    told = [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    assert told == [
        "*** Command change from 127.0.0.1 (TESTER): number is no whole number",
        "*** Command change from 127.0.0.1 (TESTER): entry 3 is in use",
        "*** Command change from 127.0.0.1 (TESTER): refused its arguments",
    ]


def test_a_command_with_a_reply_answers_nothing_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    declare_two()
    assert [reply(f"show:{argument}") for argument in ("1", "x", "3", "4")] == [b"shown", None, None, None]
    assert "*** Command show from 127.0.0.1 (TESTER): entry 3 is in use" in caplog.messages


def test_missing_arguments_do_nothing_answer_nothing_and_log_the_syntax(caplog: pytest.LogCaptureFixture) -> None:
    declare_two()
    assert reply("change:") is None
    assert caplog.messages == ["Command change from 127.0.0.1 (TESTER): arguments are missing: change:number"]


def test_what_nobody_foresaw_is_logged_with_its_traceback_and_answered_without_detail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @command("broken:", group="Test options")
    def broken(server: Server) -> str:
        """Fail."""
        raise KeyError("detail")

    assert answer("broken:") == Outcome(0x0110, b"*** broken failed: the server's log has the details")
    assert caplog.messages == ["*** Command broken from 127.0.0.1 (TESTER) failed"]
    assert "KeyError: 'detail'" in caplog.text


def test_rights_decide_before_anything_is_run(caplog: pytest.LogCaptureFixture) -> None:
    ran = []

    @command("look:", group="Logging options", rights="read")
    def look(server: Server) -> str:
        """Look."""
        return "seen"

    @command("act:", group="Maintenance options")
    def act(server: Server) -> None:
        """Act."""
        ran.append("act")

    assert answer("look:", READER).payload == b"seen"
    refused = b"*** act is not allowed from here: commands are allowed by CommandReadOnly and CommandAdmin of dicom.ini"
    assert answer("act:", READER) == Outcome(0x0124, refused)
    assert answer("look:", STRANGER).status == 0x0124
    assert ran == []
    assert caplog.messages == [
        "*** Command act from 10.0.0.1 (TESTER) refused",
        "*** Command look from 192.168.0.1 (TESTER) refused",
    ]


def test_a_path_out_of_reach_is_refused_like_a_command() -> None:
    @command("dump:object,file", group="Communication options", rights="read")
    def dump(server: Server, object: ServerFile, file: OutputFile = REPLY) -> str:
        """Dump."""
        return file.deliver(str(object.path))

    assert answer("dump:/x").payload == b"/x"
    outcome = answer("dump:/x", READER)
    assert outcome.status == 0x0124
    assert (outcome.payload or b"").startswith(
        b"*** dump is not allowed from here: file names are accepted from loopback"
    )


def test_destructive_commands_are_logged_without_their_arguments(caplog: pytest.LogCaptureFixture) -> None:
    @command("deletepatient:patid", group="Delete options", destructive=True)
    def deletepatient(server: Server, patid: Key) -> None:
        """Delete."""

    assert run(server(), "deletepatient:SECRET", None, caller(calling="EVIL\nAE")) == Outcome(0)
    assert caplog.messages == ["Command deletepatient from 127.0.0.1 (EVIL?AE)"]
    assert reply("deletepatient:SECRET*") == (
        b"*** deletepatient: patid has a wildcard: set WildcardDelete = 1 in dicom.ini to allow that"
    )
    assert reply("deletepatient:") is None
    assert "SECRET" not in caplog.text


def test_an_unknown_name_is_logged_only_when_it_is_a_word(caplog: pytest.LogCaptureFixture) -> None:
    reply("nosuch:SECRET")
    reply("Doe^John SECRET:x")
    assert caplog.messages == [
        "Unknown command nosuch from 127.0.0.1 (TESTER)",
        "Unknown command (no name) from 127.0.0.1 (TESTER)",
    ]


@given(st.text(max_size=40))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_line_is_an_exception(text: str) -> None:
    table.COMMANDS.clear()
    declare_show()
    declare_pair()
    for line in (text, f"show:{text}", f"pair:{text}"):
        assert answer(line).status in (0, 0x0124)


def declare_pair() -> None:
    @command("pair:ae,file,fmt", group="Test options")
    def pair(server: Server, ae: Ae, file: ServerFile, fmt: Printf = TEXT) -> str:
        """Show arguments."""
        return fmt % ae


@given(st.lists(st.text(st.characters(exclude_characters=","), max_size=5), min_size=3, max_size=6))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_joining_what_was_cut_gives_the_line_back(words: list[str]) -> None:
    table.COMMANDS.clear()
    declare_show()
    assert ",".join(table.COMMANDS["show"].split(",".join(words))) == ",".join(words)


def test_what_does_not_fit_together_is_an_error_at_import() -> None:
    def fine(server: Server, one: str) -> None:
        """Do."""

    def undocumented(server: Server, one: str) -> None: ...

    def odd(server: Server, one: float) -> None:
        """Do."""

    def told(server: Server, one: str, *, secret: str) -> None:
        """Do."""

    for syntax, function, message in (
        ("x:two", fine, "the syntax names ['two'], the function ['one']"),
        ("x:", fine, "the syntax names [], the function ['one']"),
        ("x", fine, "no command syntax"),
        ("X:one", fine, "no command syntax"),
        ("x:one", undocumented, "has no docstring"),
        ("x:one", odd, "one is neither str, int nor a class with parse"),
        ("x:one", told, "keyword-only parameters are caller and upload"),
    ):
        with pytest.raises(TypeError) as error:
            command(syntax, group="Test options")(function)
        assert message in str(error.value)
    with pytest.raises(TypeError, match="unknown group 'Tests'"):
        command("x:one", group="Tests")(fine)
    with pytest.raises(TypeError, match="needs admin rights"):
        command("x:one", group="Test options", rights="read", destructive=True)(fine)
    command("x:one", group="Test options")(fine)
    with pytest.raises(TypeError, match="command x is declared twice"):
        command("x:one", group="Test options")(fine)


def test_the_list_of_commands_stands_under_conquests_headings() -> None:
    declare_two()

    @command("deletepatient:patid", group="Delete options", destructive=True)
    def deletepatient(server: Server, patid: Key) -> None:
        """Delete given patient from server.

        With all ``files``.
        """

    assert help_text() == (
        "Delete options:\n"
        "  --deletepatient:patid                    Delete given patient from server.\n\n"
        "Maintenance options:\n"
        "  --change:number                          Change something.\n"
        "  --show:number                            Show something.\n"
    )
    assert (
        help_text("deletepatient")
        == help_text("--deletepatient:")
        == (
            "--deletepatient:patid\n\nDelete given patient from server.\n\nWith all ``files``.\n\n"
            "Reply: none. Needs: admin. Logged as destructive.\n"
        )
    )
    assert help_text("deletepatent") == "no command deletepatent: did you mean deletepatient?\n"
    assert help_text("xyz") == "no command xyz; dgate --help lists all\n"


def test_the_reference_page_has_a_section_for_each_command() -> None:
    declare_pair()
    declare_two()
    assert [line for line in reference().splitlines() if line.startswith("#")] == [
        "# Commands",
        "## Maintenance options",
        "### `change:number`",
        "### `show:number`",
        "## Test options",
        "### `pair:ae,file,fmt`",
    ]
