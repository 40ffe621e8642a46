"""C-MOVE: send what an identifier selects to a destination of acrnema.map."""

from __future__ import annotations

from server.commandset import C_MOVE_RQ, MOVE_DESTINATION
from server.pipeline.retrieve import retrieve
from server.pipeline.sending import Destination, MoveSender
from server.scu import Originator, Peer
from server.server import Server
from server.service import Request, SopClass, service
from server.status import Answer, Refused, Status

_NKI = "1.2.826.0.1.3680043.2.135.1066.5.1.4.1.2"

MOVE_CLASSES = [
    SopClass("1.2.840.10008.5.1.4.1.2.1.2", "Patient Root Query/Retrieve Information Model - MOVE"),
    SopClass("1.2.840.10008.5.1.4.1.2.2.2", "Study Root Query/Retrieve Information Model - MOVE"),
    SopClass("1.2.840.10008.5.1.4.1.2.3.2", "Patient/Study Only Query/Retrieve Information Model - MOVE"),
    SopClass(f"{_NKI}.1.2", "NKI Patient Root Query/Retrieve - MOVE (private)"),
    SopClass(f"{_NKI}.2.2", "NKI Study Root Query/Retrieve - MOVE (private)"),
    SopClass(f"{_NKI}.3.2", "NKI Patient/Study Only Query/Retrieve - MOVE (private)"),
]


@service("C-MOVE", C_MOVE_RQ, MOVE_CLASSES)
def move(request: Request, server: Server) -> Answer | None:
    """Retrieve to a destination of acrnema.map (PS3.4 C.4.2), with some ten pending responses a second."""
    server.counters.add("Move")
    request.tally("move")
    if MOVE_DESTINATION not in request.message.command:
        raise Refused(Status.LEVEL_MISSING, "the request names no move destination")
    name = request.message.command.text(MOVE_DESTINATION)
    if not name:
        raise Refused(Status.DESTINATION_EMPTY, "the move destination is empty")
    destination = _destination(server, name, request.association.code_suffix)
    sender = MoveSender(server, destination, Originator(request.association.calling, request.message_id))
    return retrieve(request, server, sender)


def _destination(server: Server, name: str, suffix: str) -> Destination:
    """Look the destination up; ``~pN`` on the called AE title adds N to its port, any other ``~xx`` is a code."""
    entry = server.amap.lookup(name)
    if entry is None:
        status = Status.DESTINATION_UNKNOWN if server.settings.ConquestStatuses else Status.UNKNOWN_DESTINATION
        raise Refused(status, f"move destination {name} is not in acrnema.map")
    try:
        port = int(entry.port)
    except ValueError:
        raise Refused(Status.UNKNOWN_DESTINATION, f"port {entry.port[:8]!r} of {name} in acrnema.map is none") from None
    code = entry.compression or "as"
    if len(suffix) == 2 and suffix[0] == "p" and suffix[1].isdigit():
        port += int(suffix[1])
    elif suffix:
        code = suffix
    if not 0 < port < 65536:
        raise Refused(Status.UNKNOWN_DESTINATION, f"port {port} of {name} in acrnema.map is none")
    called = name.upper() if server.settings.SendUpperCaseAE else name
    return Destination(Peer(called, entry.address, port), code)
