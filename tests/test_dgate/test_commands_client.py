"""Our client against servers as ConQuest's behave, old ones included: what it sends, shows, and exits with."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from dgate.__main__ import main
from tests.commands import COMMAND, DATA, ODD, RESPONSE, TEXT
from tests.conformance.scp import Accepted, Asked, Script, listening
from tests.conformance.scu import IMPLICIT, VERIFICATION, CommandSet, Value

REPLIED, SILENT, FAILED = 255, 0, 1


def conquest(reply: dict[int, Value], heard: list[Asked | CommandSet] | None = None) -> Script:
    """What a ConQuest server does: status 0 always, PDUs of 4096 bytes, and nothing but these elements beside it."""

    def script(peer: Accepted) -> None:
        asked = peer.accept(max_pdu=4096)
        context, command, _ = peer.hear()
        peer.say(
            context,
            {0x0002: VERIFICATION, 0x0100: 0x8030, 0x0120: command.number(0x0110), 0x0800: 0x0101, 0x0900: 0, **reply},
            max_pdu=4096,
        )
        assert peer.released()
        if heard is not None:
            heard.extend([asked, command])

    return script


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, bytes, bytes]]:
    """Run the client against a script; returns exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run_against(script: Script, *words: str) -> tuple[int, bytes, bytes]:
        with listening(script) as server:
            code = main([f"-p{server.port}", "-hME", *words])
        shown = capfdbinary.readouterr()
        return code, shown.out, shown.err

    return run_against


Run = Callable[..., tuple[int, bytes, bytes]]


def test_a_command_goes_out_as_conquests_client_sends_it(run: Run) -> None:
    heard: list[Asked | CommandSet] = []
    raw: list[bytes] = []

    def script(peer: Accepted) -> None:
        conquest({RESPONSE: b"port=5678", ODD: 1}, heard)(peer)
        raw.append(peer.raw)

    assert run(script, "--get_ini_param:TCPPort,port=%s") == (REPLIED, b"port=5678", b"")
    asked = heard[0]
    assert isinstance(asked, Asked)
    assert (asked.calling, asked.called) == ("ME", "ME")
    ((number, context),) = asked.contexts.items()
    assert context == (VERIFICATION, [IMPLICIT])
    # Section 1.3 of the compatibility specification, byte for byte but for the context's number.
    elements = (
        b"\0\0\0\0\4\0\0\0\x38\0\0\0"
        b"\0\0\2\0\x12\0\0\0" + b"1.2.840.10008.1.1\0"
        b"\0\0\0\1\2\0\0\0\x30\0"
        b"\0\0\x10\1\2\0\0\0\1\0"
        b"\0\0\0\x08\2\0\0\0\1\1"
        b"\x99\x99\0\3\x2a\0\0\0" + b"Server command sent using DGATE -- option\0"
        b"\x99\x99\0\4\x1e\0\0\0" + b"get_ini_param:TCPPort,port=%s\0"
    )
    assert raw == [struct.pack(">BBIIBB", 4, 0, 0xA2, 0x9E, number, 3) + elements]


def test_our_ae_title_is_that_of_dicom_ini_and_the_called_one_is_the_same(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dicom.ini").write_text("[sscscp]\nMicroPACS = sscscp\nMyACRNema = HOSPITAL\n")
    heard: list[Asked | CommandSet] = []
    with listening(conquest({}, heard)) as server:
        assert main([f"-p{server.port}", "--genuid:"]) == SILENT
    assert isinstance(heard[0], Asked)
    assert (heard[0].calling, heard[0].called) == ("HOSPITAL", "HOSPITAL")


@pytest.mark.parametrize(
    ("reply", "code", "shown"),
    [
        ({}, SILENT, b""),
        ({RESPONSE: b"0 "}, REPLIED, b"0 "),
        ({RESPONSE: b"0", ODD: 1}, REPLIED, b"0"),
        # 1.4.17 pads without saying so.
        ({RESPONSE: b"0"}, REPLIED, b"0"),
        ({RESPONSE: b"port=5678"}, REPLIED, b"port=5678"),
        ({RESPONSE: b"text with a line end\n"}, REPLIED, b"text with a line end\n"),
        # Bytes of a picture or an archive stay whole: their last NUL may be meant.
        ({RESPONSE: b"PK\5\6\0\0\0\0"}, REPLIED, b"PK\5\6\0\0\0\0"),
        ({RESPONSE: b"GIF89a\0\1\2", ODD: 1}, REPLIED, b"GIF89a\0\1\2"),
        ({RESPONSE: b"\xe9\n"}, REPLIED, b"\xe9\n"),
        ({RESPONSE: b""}, REPLIED, b""),
        ({RESPONSE: b"1 Move failed from A to "}, REPLIED, b"1 Move failed from A to "),
    ],
)
def test_a_reply_is_shown_as_it_is_and_the_status_is_conquests(
    run: Run, reply: dict[int, Value], code: int, shown: bytes
) -> None:
    assert run(conquest(reply), "--anything:") == (code, shown, b"")


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"0", 0), (b"1 Move failed", 1), (b"12", 12), (b"1000 ", 0), (b"UP", 0), (b"*** failed", 1), (b"", 0)],
)
def test_the_number_replied_is_the_exit_status_when_that_is_asked_for(run: Run, payload: bytes, code: int) -> None:
    reply: dict[int, Value] = {RESPONSE: payload} | ({ODD: 1} if len(payload) & 1 else {})
    assert run(conquest(reply), "--exit-value", "--anything:")[0] == code


def test_a_reply_of_many_pdus_is_put_together(run: Run) -> None:
    payload = bytes(range(256)) * 300 + b"end"
    assert run(conquest({RESPONSE: payload, ODD: 1}), "--get_ini:") == (REPLIED, payload, b"")


@pytest.mark.parametrize("size", [56170, 56171, 4090, 1, 0])
def test_an_upload_is_cut_at_the_peers_maximum(run: Run, tmp_path: Path, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    (tmp_path / "image.dcm").write_bytes(data)
    heard: list[Asked | CommandSet] = []
    pieces: list[int] = []

    def script(peer: Accepted) -> None:
        conquest({RESPONSE: b"0", ODD: 1}, heard)(peer)
        pieces.extend(peer.pieces)

    assert run(script, "--addlocalfile:image.dcm,NEW") == (REPLIED, b"0", b"")
    command = heard[1]
    assert isinstance(command, CommandSet)
    assert command[TEXT] == b"Server command sent using DGATE -- option\0"
    assert command[COMMAND].rstrip(b"\0") == b"addimagefile:image.dcm,NEW"
    assert command[DATA] == data + b"\0" * (size % 2)
    assert (command.number(ODD) if ODD in command else 0) == size % 2
    # PDV lengths count context and control: 4092 is a whole PDU of 4096.
    assert set(pieces[:-1]) <= {0x0FFC}
    assert pieces[-1] <= 0x0FFC
    assert len(pieces) == -(-(sum(pieces) - 2 * len(pieces)) // 4090)


def test_a_file_that_is_not_there_is_one_line_and_nothing_is_sent(run: Run, tmp_path: Path) -> None:
    code = main(["-p1", "--addlocalfile:none.dcm"])
    assert code == FAILED


def drop(peer: Accepted) -> None:
    """`quit:` and `luastart:` on ConQuest: the connection is gone, no reply comes."""
    peer.accept()
    peer.hear()


@pytest.mark.parametrize("command", ["quit:", "safequit:", "luastart:return 1"])
def test_a_server_that_hangs_up_on_quit_did_what_it_was_told(run: Run, command: str) -> None:
    assert run(drop, f"--{command}") == (SILENT, b"", b"")


def test_a_server_that_hangs_up_on_anything_else_has_failed(run: Run) -> None:
    code, shown, said = run(drop, "--get_param:MyACRNema")
    assert (code, shown) == (FAILED, b"")
    assert len(said.splitlines()) == 1


def abort(peer: Accepted) -> None:
    peer.accept()
    peer.hear()
    peer.send(7, bytes(4))


def reject(peer: Accepted) -> None:
    assert peer.receive() is not None
    peer.send(3, bytes([0, 1, 1, 3]))


def refuse_context(peer: Accepted) -> None:
    pdu = peer.receive()
    assert pdu is not None
    body = pdu.body
    at = 68 + 4 + int.from_bytes(body[70:72], "big")
    refused = b"\x21\0\0\4" + body[at + 4 : at + 5] + b"\0\3\0"
    user = b"\x50\0\0\x08\x51\0\0\4\0\0\x10\0"
    answer = body[:at] + refused + user
    peer.send(2, answer)


def garbage(peer: Accepted) -> None:
    peer.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("script", [abort, reject, refuse_context, garbage], ids=lambda script: script.__name__)
def test_an_association_that_fails_is_one_line_and_exit_status_1(run: Run, script: Script) -> None:
    code, shown, said = run(script, "--quit:" if script is reject else "--genuid:")
    assert (code, shown) == (FAILED, b"")
    assert len(said.splitlines()) == 1
    assert said.startswith(b"dgate: ")


def test_nobody_listening_is_one_line_and_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with listening(lambda peer: None, connections=0) as gone:
        port = gone.port
    assert main([f"-p{port}", "--quit:"]) == FAILED
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_a_refusal_of_ours_is_told_on_standard_error(run: Run) -> None:
    def script(peer: Accepted) -> None:
        peer.accept()
        context, _, _ = peer.hear()
        peer.say(
            context,
            {0x0002: VERIFICATION, 0x0100: 0x8030, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0x0124, RESPONSE: b"*** no"},
        )
        peer.released()

    assert run(script, "--quit:") == (FAILED, b"", b"*** no\n")
