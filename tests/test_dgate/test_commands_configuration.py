"""Configuration commands over the wire: what they read, what they write, and what the server makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Reply, Site, expected, site
from tests.conformance.scu import APPLICATION_CONTEXT, IMPLICIT, VERIFICATION, wire
from tests.servers import started, write_ini

NOTHING = Reply(None, None, 0)
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """A site whose files may be written."""
    with site(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose dicom.ini has what is odd about such files."""
    directory = tmp_path_factory.mktemp("fixed")
    write_ini(directory, Password="hunter2")
    ini = directory / "dicom.ini"
    ini.write_bytes(
        ini.read_bytes()
        + b'Empty =\nQuoted = " a b "\r\nTwice = first\nTwice = second\n; Comment = 1\n Indented = 1\n'
        + b"Umlaut = J\xfcrg\nCommas = a,b,c\n\n[lua]\nOther = 1\n[sscscp]\nLater = yes"
    )
    with started(directory) as daemon:
        yield Site(directory, daemon)


@pytest.mark.parametrize("command", ["get_param", "get_ini_param"])
@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("MyACRNema", "CONQUESTSRV1"),
        ("myacrnema", "CONQUESTSRV1"),
        ("MyACRNema,", "CONQUESTSRV1"),
        ("MyACRNema,<%s>", "<CONQUESTSRV1>"),
        ("MyACRNema,%-14s|", "CONQUESTSRV1  |"),
        ("MyACRNema,%.3s,%s", "CON,CONQUESTSRV1"),
        ("MyACRNema,100%%", "100%"),
        ("MyACRNema,%n%p", "%n%p"),
        ("MyACRNema,a\nb", "a\nb"),
        ("SQLite,%03d", "001"),
        ("Empty", ""),
        ("Empty,<%s>", "<>"),
        ("Quoted,<%s>", "< a b >"),
        ("Twice", "first"),
        ("Later", "yes"),
        ("Commas", "a,b,c"),
        ("Umlaut", "Jürg"),
        ("MicroPACS", "sscscp"),
        ("Other", ""),
        ("Comment", ""),
        ("Indented", ""),
        ("nosuch", ""),
        ("nosuch,<%s>", ""),
        ("Password", ""),
        ("PASSWORD,%s", ""),
        ("", ""),
        (",%s", ""),
    ],
)
def test_a_parameter_is_read_as_conquest_reads_it(fixed: Site, command: str, argument: str, reply: str) -> None:
    assert fixed.ask(f"{command}:{argument}") == expected(reply)


def test_lines_are_listed_raw_with_their_line_ends(fixed: Site) -> None:
    lines = fixed.daemon.server.ini.lines()
    for number in (0, 3, len(lines) - 1):
        assert fixed.says(f"get_ini_num:{number}") == lines[number]
    assert "".join(lines) == (fixed.directory / "dicom.ini").read_bytes().decode("latin-1")
    quoted = next(number for number, line in enumerate(lines) if line.startswith("Quoted"))
    assert fixed.ask(f"get_ini_num:{quoted},[%s]") == expected('[Quoted = " a b "\r\n]')
    assert fixed.says("get_ini:") == "".join(lines)
    assert fixed.says("get_ini:%.2s") == "".join(line[:2] for line in lines)


@pytest.mark.parametrize("argument", ["", "9999", "-1", "one", "0x1", " ", "99999999999999999999"])
@pytest.mark.parametrize(
    "command",
    ["get_ini_num", "get_amap", "get_sop", "get_transfer", "get_application", "get_localae", "get_remoteae", "get_dic"],
)
def test_what_is_no_entry_number_has_no_reply(fixed: Site, command: str, argument: str) -> None:
    assert fixed.ask(f"{command}:{argument}") == NOTHING
    assert fixed.ask(f"{command}:{argument},%s") == NOTHING


def test_put_param_replaces_adds_and_leaves_everything_else(own: Site) -> None:
    ini = own.directory / "dicom.ini"
    ini.write_text(
        "; mine\n[sscscp]\nMicroPACS = sscscp\nMyACRNema = A\nmyacrnema = B\nTCPPort = 1\n[lua]\nMyACRNema = C\n"
    )
    assert own.ask("put_param:MyACRNema,NEW,ONE") == NOTHING
    assert own.ask("put_param:FileNameSyntax,3") == NOTHING
    first, *lines = ini.read_text().splitlines()
    assert re.fullmatch(r"# Written by put_param on \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", first)
    assert lines[:3] == ["; mine", "[sscscp]", "MicroPACS = sscscp"]
    assert lines[3:6] == ["MyACRNema                = NEW,ONE", "MyACRNema                = NEW,ONE", "TCPPort = 1"]
    assert lines[6] == ""
    assert lines[7].startswith("# Parameter added by put_param on ")
    assert lines[8:] == ["FileNameSyntax           = 3", "[lua]", "MyACRNema = C"]
    assert own.says("get_param:MyACRNema") == "NEW,ONE"
    assert own.says("get_param:FileNameSyntax") == "3"
    assert own.ask("put_param:FileNameSyntax,") == NOTHING
    assert own.ask("get_param:FileNameSyntax,<%s>") == expected("<>")
    assert own.ask("delete_param:MYACRNEMA") == NOTHING
    assert own.ask("get_param:MyACRNema") == NOTHING
    assert ini.read_text().splitlines()[-2:] == ["[lua]", "MyACRNema = C"]
    assert ini.read_text().count("# Written by put_param") == 1


@pytest.mark.parametrize(
    "line",
    ["put_param:", "put_param:Name", "put_param:,value", "delete_param:", "delete_param:NoSuch"],
)
def test_incomplete_changes_of_parameters_change_nothing(own: Site, line: str) -> None:
    before = (own.directory / "dicom.ini").read_bytes()
    assert own.ask(line) == NOTHING
    assert (own.directory / "dicom.ini").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "put_param:A=B,1",
        "put_param:[lua],1",
        "put_param:two words,1",
        "put_param:A,1\n[lua]\nx = y",
        "put_param:A\nB,1",
    ],
)
def test_what_would_become_another_line_is_refused(own: Site, line: str) -> None:
    before = (own.directory / "dicom.ini").read_bytes()
    assert own.says(line).startswith("*** put_param: ")
    assert (own.directory / "dicom.ini").read_bytes() == before


def test_read_ini_makes_changes_count_and_keeps_what_was_when_they_are_bad(own: Site) -> None:
    own.says("put_param:MyACRNema,RENAMED")
    assert "DICOM server 'CONQUESTSRV1'" in own.says("display_status:")
    assert own.ask("read_ini:") == NOTHING
    assert "DICOM server 'RENAMED'" in own.says("display_status:")
    own.says("put_param:StorageFailedErrorCode,many")
    assert "StorageFailedErrorCode" in own.says("read_ini:")
    assert "DICOM server 'RENAMED'" in own.says("display_status:")


def test_entries_of_the_map_are_changed_in_memory_then_written(own: Site) -> None:
    path = own.directory / "acrnema.map"
    path.write_text("/* ours\n   */\nONE 10.0.0.1 104 un\n# a remark\nV* 10.0.1.* 10* as\nTWO 10.0.0.2 5678\n")
    assert own.ask("get_amap:0") == NOTHING
    assert own.ask("read_amap:") == NOTHING
    assert own.says("get_amap:0") == "ONE               10.0.0.1                       104        un              "
    assert own.says("get_amap:1,%s") == "V*"
    assert own.says("get_amap:2,%4$s %3$s %5$s") == "un 5678 TWO"
    line = "%-17s %-30s %-10s %-16s\n"
    assert own.says("get_amaps:") == line % ("ONE", "10.0.0.1", "104", "un") + line % ("TWO", "10.0.0.2", "5678", "un")
    assert own.says("get_amaps:%s;") == "ONE;TWO;"
    assert own.ask("put_amap:0,,10.0.0.9,,j2") == NOTHING
    assert own.ask("put_amap:9,THREE,10.0.0.3,11112") == NOTHING
    assert own.ask("put_amap:9,FOUR,host.example,4,k4") == NOTHING
    assert own.ask("delete_amap:2") == NOTHING
    assert own.says("get_amap:0,%s %s %s %s") == "ONE 10.0.0.9 104 j2"
    assert own.says("get_amap:2,%s %s %s %s") == "THREE 10.0.0.3 11112 un"
    assert own.says("get_amaps:%s;") == "ONE;THREE;FOUR;"
    assert "10.0.0.9" not in path.read_text()
    assert own.ask("write_amap:") == NOTHING
    lines = path.read_text().splitlines()
    assert lines == [
        "/* ours",
        "   */",
        "ONE               10.0.0.9                       104        j2",
        "# a remark",
        "V* 10.0.1.* 10* as",
        "THREE             10.0.0.3                       11112      un",
        "FOUR              host.example                   4          k4",
    ]
    own.says("delete_amap:0")
    own.says("read_amap:")
    assert own.says("get_amap:0,%s") == "ONE"


@pytest.mark.parametrize(
    "line",
    [
        "put_amap:9",
        "put_amap:9,NEW",
        "put_amap:9,NEW,host",
        "put_amap:9,NEW,host,0",
        "put_amap:9,NEW,host,70000",
        "put_amap:9,TWO WORDS,host,104",
        "put_amap:9,AN_AE_TITLE_TOO_LONG,host,104",
        "put_amap:9,NEW,host,104,un\nX y 1 un",
        "put_amap:-1,NEW,host,104",
        "delete_amap:7",
    ],
)
def test_entries_that_could_not_be_lines_of_the_map_are_refused(own: Site, line: str) -> None:
    assert own.says(line).startswith(f"*** {line.partition(':')[0]}: ")
    assert own.ask("get_amap:0") == NOTHING


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("sop", "sop"),
        ("transfer", "transfer"),
        ("application", "application"),
        ("localae", "LocalAe"),
        ("remoteae", "RemoteAe"),
    ],
)
def test_a_list_is_filled_changed_and_emptied_and_the_file_with_it(own: Site, kind: str, written: str) -> None:
    # What the test itself needs to go on talking.
    needed = {
        "sop": VERIFICATION,
        "transfer": IMPLICIT,
        "application": APPLICATION_CONTEXT,
        "localae": "PYTEST",
        "remoteae": "PYTEST",
    }[kind]
    path = own.directory / "dgatesop.lst"
    assert own.ask(f"get_{kind}:0") == NOTHING
    assert own.ask(f"put_{kind}:0,{needed},Needed") == NOTHING
    assert own.ask(f"put_{kind}:7,1.2.3,Another") == NOTHING
    assert own.ask(f"get_{kind}:0") == expected(f"{needed} Needed")
    assert own.ask(f"get_{kind}:1,%2$s=%1$s") == expected("Another=1.2.3")
    assert own.ask(f"put_{kind}:1,1.2.4,Changed") == NOTHING
    assert path.read_text().splitlines() == [
        f"{'Needed':<42} {needed:<44} {written}",
        f"{'Changed':<42} {'1.2.4':<44} {written}",
    ]
    path.write_text("# mine\n" + path.read_text())
    assert own.ask(f"delete_{kind}:1") == NOTHING
    assert own.ask(f"get_{kind}:1") == NOTHING
    assert own.says(f"delete_{kind}:1").startswith(f"*** delete_{kind}: ")
    assert own.says(f"put_{kind}:1,two words,x").startswith(f"*** put_{kind}: ")
    assert own.ask(f"put_{kind}:1") == NOTHING
    assert own.ask(f"put_{kind}:1,") == NOTHING
    assert own.ask(f"delete_{kind}:0") == NOTHING
    assert path.read_text() == "# mine\n"
    assert own.ask(f"get_{kind}:0") == NOTHING


def accepted(own: Site, abstract: str, syntax: str, *, calling: str = "PYTEST", called: str = "ANY") -> bool:
    """Whether an association about one class in one syntax is accepted."""
    with wire(own.port) as peer:
        answer = peer.associate({1: (abstract, (syntax,))}, calling=calling, called=called)
        return answer is not None and answer.kind == 2 and b"\x21\0\0" in answer.body and _result(answer.body) == 0


def _result(body: bytes) -> int:
    """The result of the first presentation context of an A-ASSOCIATE-AC."""
    at = 68 + 4 + int.from_bytes(body[70:72], "big")
    return body[at + 6]


def test_a_list_counts_from_the_next_association_on(own: Site) -> None:
    assert accepted(own, CT, EXPLICIT)
    own.says(f"put_sop:0,{VERIFICATION},Verification")
    assert not accepted(own, CT, EXPLICIT)
    own.says(f"put_sop:1,{CT},CT")
    assert accepted(own, CT, EXPLICIT)
    own.says(f"put_transfer:0,{IMPLICIT},Implicit")
    assert not accepted(own, CT, EXPLICIT)
    assert accepted(own, CT, IMPLICIT)
    own.says("put_remoteae:0,PYTEST,Test")
    assert not accepted(own, CT, IMPLICIT, calling="OTHER")
    own.says("put_remoteae:1,OTHER,Other")
    assert accepted(own, CT, IMPLICIT, calling="OTHER")
    own.says("put_localae:0,PYTEST,Test")
    assert not accepted(own, CT, IMPLICIT, called="ANY")
    assert accepted(own, CT, IMPLICIT, called="PYTEST")
    own.says(f"put_application:0,{APPLICATION_CONTEXT},DICOM")
    assert accepted(own, CT, IMPLICIT, called="PYTEST")


def test_the_dictionary_is_listed_by_number_in_order_of_tag(own: Site) -> None:
    assert own.says("get_dic:0").startswith("0000 0000 UL ")
    entries = [own.daemon.server.dictionary.entry(number) for number in (0, 100, 2000)]
    for number, entry in zip((0, 100, 2000), entries, strict=True):
        assert entry is not None
        shown = f"{entry.tag >> 16:04x} {entry.tag & 0xFFFF:04x} {entry.vr} {entry.keyword}"
        assert own.says(f"get_dic:{number}") == shown
        assert own.says(f"get_dic:{number},%5$s/%1$d") == f"{entry.keyword}/{entry.tag >> 16}"


def test_a_dgate_dic_is_listed_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dgate.dic").write_text(
        '(0000,0000)\tVERS="3"\tVR="UL"\tVM="1"\tKeyword="GroupLength"\tName="x"\n'
        '(0010,0020)\tVERS="3"\tVR="LO"\tVM="1"\tKeyword="PatientID"\tName="x"\n'
        '(0008,0033)\tVERS="3"\tVR="TM"\tVM="1"\tKeyword="ContentTime"\tName="x"\n'
    )
    with site(tmp_path) as running:
        listed = [running.says(f"get_dic:{number}") for number in range(4)]
    assert listed == ["0000 0000 UL GroupLength", "0008 0033 TM ContentTime", "0010 0020 LO PatientID", ""]


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("patient,0", "0x0010, 0x0020            PatientID   64 SQL_C_CHAR       DT_STR"),
        ("PATIENT,2", "0x0010, 0x0030           PatientBir    8 SQL_C_DATE DT_DATE (DA)"),
        ("study,0,%3$s", "StudyInsta"),
        ("series,0,%x %x %s %d %s %s", "20 e SeriesInst 64 SQL_C_CHAR DT_UI (UI)"),
        ("image,0,%3$s", "SOPInstanc"),
        ("worklist,0,%3$s", "AccessionN"),
        ("patient,99", ""),
        ("patient,-1", ""),
        ("patient", ""),
        ("nosuch,0", ""),
        (",0", ""),
    ],
)
def test_the_database_layout_is_listed_by_level_and_number(fixed: Site, argument: str, reply: str) -> None:
    assert fixed.ask(f"get_sqldef:{argument}") == expected(reply)


def test_sequences_of_the_worklist_are_listed_as_such(fixed: Site) -> None:
    kinds = [fixed.says(f"get_sqldef:worklist,{number},%6$s") for number in range(40)]
    begin, end = kinds.index("Start sequence"), kinds.index("End sequence")
    assert begin < end
    assert fixed.says(f"get_sqldef:worklist,{begin},%04x,%04x") == "0040,0100"
