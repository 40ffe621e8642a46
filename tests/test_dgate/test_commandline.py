"""The command line: ConQuest's attached options, the double-dash ones, and mistakes told in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.commandline import OPTIONS, Invocation, Mode, UsageError, parse, usage


def test_nothing_means_serve() -> None:
    assert parse([]) == Invocation(Mode.SERVE)


def test_modifiers_combine_with_a_command() -> None:
    assert parse(["-w/srv", "-p5678", "-q10.0.0.1", "-hME", "--get_param:MyACRNema,<%s>"]) == Invocation(
        Mode.COMMAND, "get_param:MyACRNema,<%s>", base="/srv", port=5678, host="10.0.0.1", ae="ME"
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("-v", Invocation(verbose=True)),
        ("-V", Invocation(verbose=True)),
        ("-b", Invocation(single=True)),
        ("-W/Some/Dir", Invocation(base="/Some/Dir")),
        ("-^/var/log/dgate.log", Invocation(log_file="/var/log/dgate.log")),
        ("-#debug.log", Invocation(debug_file="debug.log")),
        ("-lnormal.log", Invocation(log_file="normal.log")),
        ("-Ldebug.log", Invocation(debug_file="debug.log")),
        ("-!", Invocation(console_port=1111)),
        ("-!2000", Invocation(console_port=2000)),
        ("-u1112", Invocation(debug_target="1112")),
        ("-u/run/pipe", Invocation(debug_target="/run/pipe")),
        ("-c99", Invocation(uid_offset=99)),
        ("--exit-value", Invocation(exit_value=True)),
    ],
)
def test_modifiers(word: str, expected: Invocation) -> None:
    assert parse([word]) == expected


@pytest.mark.parametrize(
    ("word", "mode", "argument"),
    [
        ("-i", Mode.INITIALISE, ""),
        ("-I1", Mode.INITIALISE, "1"),
        ("-r", Mode.REGEN, ""),
        ("-r1", Mode.REGEN, "1"),
        ("-arMAG0", Mode.REGEN_DEVICE, "MAG0"),
        ("-arMAG0,sub/dir", Mode.REGEN_DEVICE, "MAG0,sub/dir"),
        ("-frMAG0,dir", Mode.REGEN_DIRECTORY, "MAG0,dir"),
        ("-d", Mode.LIST_DEVICES, ""),
        ("-M", Mode.LIST_AES, ""),
        ("-k", Mode.LIST_SCHEMA, ""),
        ("-t", Mode.TEST_CONSOLE, ""),
        ("-o", Mode.TEST_DATABASE, ""),
        ("-zP1", Mode.ZAP_PATIENT, "P1"),
        ("-fpP1", Mode.DELETE_PATIENT_ROWS, "P1"),
        ("-ftP1:1.2", Mode.DELETE_STUDY_ROWS, "P1:1.2"),
        ("-FS1.2", Mode.DELETE_SERIES_ROWS, "1.2"),
        ("-fi1.2", Mode.DELETE_IMAGE_ROWS, "1.2"),
        ("-fe/mag/x.dcm", Mode.ENTER_FILE, "/mag/x.dcm"),
        ("-fdx", Mode.DELETE_FILE_ROWS, "x"),
        ("-fzx", Mode.ZAP_FILE, "x"),
        ("-fax.dcm,P2", Mode.ADD_FILE, "x.dcm,P2"),
        ("-f?x.dcm", Mode.SHOW_FILE_UID, "x.dcm"),
        ("-fu", Mode.NEW_UID, ""),
        ("--check", Mode.CHECK, ""),
        ("--version", Mode.VERSION, ""),
        ("--help", Mode.HELP, ""),
        ("--help:get_param", Mode.HELP, "get_param"),
        ("-?", Mode.HELP, ""),
        ("--genuid:", Mode.COMMAND, "genuid:"),
        ("--lua:return 1, --x:", Mode.COMMAND, "lua:return 1, --x:"),
    ],
)
def test_actions(word: str, mode: Mode, argument: str) -> None:
    assert parse(["-w/srv", word]) == Invocation(mode, argument, base="/srv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p"], "-p needs a value attached to it: -pPORT"),
        (["-p", "5678"], "-p needs a value attached to it: -pPORT"),
        (["-p56x"], "-p56x: write -pPORT with a number from 1 to 65535"),
        (["-p65536"], "-p65536: write -pPORT with a number from 1 to 65535"),
        (["-c100"], "-c100: write -cN with a number from 0 to 99"),
        (["-uwindows"], "-uwindows: write -uPORT|/PIPE with a number from 1 to 65535"),
        (["-h" + "X" * 17], "-hXXXXXXXXXXXXXXXXX: an AE title has at most 16 characters"),
        (["-ft"], "-ft needs a value attached to it: -ft[PATID:]UID"),
        (["-z"], "-z needs a value attached to it: -zPATID"),
        (["-regen"], "-regen is not known: -r[MODE], where MODE is 1 or 2; see dgate --help"),
        (["-dx"], "-dx is not known: did you mean -d?; see dgate --help"),
        (["-help"], "-help is not known: did you mean --help?; see dgate --help"),
        (["-"], "- is not known; see dgate --help"),
        (["--genuid"], "--genuid is not known: a command is written --genuid: See dgate --help"),
        (["--chek"], "--chek is not known: did you mean --check? See dgate --help"),
        (["--check:all"], "--check:all is not known: --check takes nothing behind it"),
        (["--"], "-- is not known: a command is written --NAME: See dgate --help"),
        (["file.map"], "file.map is no option: options begin with -, commands with --; see dgate --help"),
        ([""], " is no option: options begin with -, commands with --; see dgate --help"),
        (
            ["-zP1", "-w/other"],
            "-w/other stands behind -zP1, which must be the last word: put -w/other before it",
        ),
        (
            ["--genuid:", "--exit-value"],
            "--exit-value stands behind --genuid:, which must be the last word: put --exit-value before it",
        ),
        (
            ["-gSERVER"],
            "-gSERVER[,DATE] (Fetch what SERVER has and we have not) is not available yet; dgate --help lists what is",
        ),
        (["-jsx"], "-jsFILE (Print a file as JSON) is not available yet; dgate --help lists what is"),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(words)
    assert str(error.value) == message


def test_overrides_are_the_keys_that_the_options_stand_for() -> None:
    assert parse(["-p104", "-hME"]).overrides == {"TCPPort": "104", "MyACRNema": "ME"}
    assert parse(["-v"]).overrides == {}


def test_usage_lists_every_option_once() -> None:
    text = usage()
    for option in OPTIONS:
        if option.exists:
            assert text.count(f"\n  {option.shown} ") == 1
        else:
            assert f" {option.flag}" in text.splitlines()[-1]
    assert max(map(len, text.splitlines()[:-1])) <= 120


def test_flags_are_unique_and_none_hides_another() -> None:
    flags = [option.flag for option in OPTIONS]
    assert len(flags) == len(set(flags))


@given(st.lists(st.one_of(st.text(max_size=10), st.sampled_from(OPTIONS).map(lambda option: option.flag)), max_size=4))
def test_any_words_are_parsed_or_refused_in_one_line(words: list[str]) -> None:
    try:
        result = parse(words)
    except UsageError:
        return
    assert isinstance(result, Invocation)


@given(st.from_regex(r"[a-z_]{1,15}", fullmatch=True), st.text(max_size=30))
def test_every_command_line_is_sent_as_it_was_written(name: str, text: str) -> None:
    if f"--{name}" not in [option.flag for option in OPTIONS]:
        assert parse([f"--{name}:{text}"]) == Invocation(Mode.COMMAND, f"{name}:{text}")
