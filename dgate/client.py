"""Sending a `--command:` to a server, ours or ConQuest's, and showing its reply."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from dgate.arguments import DroppedFile
from dgate.commandline import Invocation
from dgate.config import Configuration, ConfigurationError
from dgate.starting import Failed, configuration, told
from server.dimse import PeerGone
from server.scu import AssociationFailed, CommandReply, Peer, send_command

# ConQuest's client exits with -1 whenever it got a reply (a defect that scripts have learnt to live with).
EXIT_REPLIED = 255
EXIT_SILENT = 0
EXIT_FAILED = 1

# Commands that ConQuest answers by closing the connection.
_HANG_UP = ("quit", "safequit", "luastart")

_LARGEST_UPLOAD = 1 << 30
_TIMEOUT_S = 30.0
_NUMBER = re.compile(rb"\s*([0-9]{1,3})(?![0-9])")


def send(invocation: Invocation) -> int:
    """Send the command and write the reply to standard output as it came; returns the exit status."""
    try:
        line, upload = _command(invocation.argument)
        peer, calling = _peer(invocation)
        reply = send_command(peer, calling, line, upload=upload, timeout_s=_TIMEOUT_S)
    except Failed as failed:
        return failed.status
    except (AssociationFailed, PeerGone) as error:
        if line.partition(":")[0] in _HANG_UP and isinstance(error, PeerGone):
            return EXIT_SILENT
        print(f"dgate: {error}", file=sys.stderr)
        return EXIT_FAILED
    return _show(reply, exit_value=invocation.exit_value)


def _command(line: str) -> tuple[str, bytes | None]:
    """What goes over the wire: `addlocalfile` reads its file here and is sent as `addimagefile`."""
    name, _, argument = line.partition(":")
    if name != "addlocalfile":
        return line, None
    end = DroppedFile.end(argument)
    file = argument if end < 0 else argument[:end]
    with told():
        path = Path(file)
        if path.stat().st_size > _LARGEST_UPLOAD:
            raise ValueError(f"{file}: larger than 1 GiB, which is too much for the command channel; use C-STORE")
        return f"addimagefile:{argument}", path.read_bytes()


def _peer(invocation: Invocation) -> tuple[Peer, str]:
    """The server to talk to, and our AE title: called and calling title are the same, as ConQuest sends them."""
    found: Configuration | None = None
    if invocation.base is not None or invocation.port is None:
        with told():
            found = configuration(invocation)
    else:
        try:
            found = configuration(invocation)
        except (ConfigurationError, OSError):
            found = None  # -p says all that is needed
    ae = invocation.ae or (found.server.MyACRNema if found else "") or "none"
    port = invocation.port or (found.server.TCPPort if found else 0)
    return Peer(ae, invocation.host, port), ae


def _show(reply: CommandReply, *, exit_value: bool) -> int:
    payload = None if reply.payload is None else _unpadded(reply.payload)
    refused = reply.status != 0
    stream = sys.stderr.buffer if refused else sys.stdout.buffer
    if payload is not None:
        stream.write(payload + (b"\n" if refused else b""))
        stream.flush()
    if refused:
        return EXIT_FAILED
    if not exit_value:
        return EXIT_SILENT if payload is None else EXIT_REPLIED
    if payload is not None and payload.startswith(b"***"):
        return EXIT_FAILED
    number = _NUMBER.match(payload or b"")
    return min(int(number[1]), 255) if number else 0


def _unpadded(payload: bytes) -> bytes:
    """Without the NUL that ends a text of odd length from a server that knows no (9999,0404), which is gone already.

    Only where it is the one NUL there is: of a picture or archive the last byte may be meant.
    """
    padded = not len(payload) & 1 and payload.find(b"\0") == len(payload) - 1
    return payload[:-1] if padded else payload
