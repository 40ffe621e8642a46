"""C-ECHO, and the command channel that ConQuest carries in it."""

from __future__ import annotations

from server.authority import caller_for
from server.commandset import C_ECHO_RQ, Value
from server.log import printable
from server.scu import CONSOLE_COMMAND, CONSOLE_DATA, CONSOLE_ODD, CONSOLE_RESPONSE, CONSOLE_TEXT, VERIFICATION
from server.server import Server
from server.service import Request, SopClass, log, service
from server.status import Answer, Status

# ConQuest's own limit on a command line.
MAX_COMMAND = 64000


@service("C-ECHO", C_ECHO_RQ, [SopClass(VERIFICATION, "Verification")])
def echo(request: Request, server: Server) -> Answer | None:
    """Verification (PS3.4 Annex A); with (9999,0400) in its command set, a ConQuest command and its reply.

    Padding is one NUL or one blank; (9999,0404) says whether the last byte of an upload or reply is padding.
    """
    command, association = request.message.command, request.association
    caller = caller_for(server.settings, server.base, association.peer_address, association.calling, association.called)
    if CONSOLE_TEXT in command and caller.allows("read"):
        log.info("%s", printable(command.text(CONSOLE_TEXT)))
    raw = command.get(CONSOLE_COMMAND, b"")
    line = _line(raw)
    if not line:
        server.counters.add("Echo")
        request.tally("echo")
        return Answer(Status.SUCCESS)
    request.tally("command")
    if len(raw) > MAX_COMMAND:
        _reply(request, Status.PROCESSING_FAILURE, f"***The command is longer than {MAX_COMMAND} bytes".encode())
        return None
    outcome = server.run_command(server, line, _upload(request), caller)
    _reply(request, outcome.status, outcome.payload)
    return None


def _line(raw: bytes) -> str:
    """The command text: UTF-8, or Latin-1 as older clients send, without its one byte of padding."""
    stripped = raw[:-1] if raw[-1:] in (b"\0", b" ") else raw
    try:
        return stripped.decode("utf-8")
    except UnicodeDecodeError:
        return stripped.decode("latin-1")


def _upload(request: Request) -> bytes | None:
    command = request.message.command
    data = command.get(CONSOLE_DATA)
    if data is not None and command.number(CONSOLE_ODD) == 1:
        return data[:-1]
    return data


def _reply(request: Request, status: int, payload: bytes | None) -> None:
    fields: dict[int, Value] = {}
    if payload:
        fields[CONSOLE_RESPONSE] = payload
        if len(payload) & 1:
            fields[CONSOLE_ODD] = 1
    request.respond(status, fields=fields)
