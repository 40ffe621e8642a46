"""C-GET: send what an identifier selects back on the same association."""

from __future__ import annotations

from server.commandset import C_GET_RQ
from server.pipeline.retrieve import retrieve
from server.pipeline.sending import GetSender
from server.scu import Originator
from server.server import Server
from server.service import Request, SopClass, service
from server.status import Answer

GET_CLASSES = [
    SopClass("1.2.840.10008.5.1.4.1.2.1.3", "Patient Root Query/Retrieve Information Model - GET"),
    SopClass("1.2.840.10008.5.1.4.1.2.2.3", "Study Root Query/Retrieve Information Model - GET"),
    SopClass("1.2.840.10008.5.1.4.1.2.3.3", "Patient/Study Only Query/Retrieve Information Model - GET"),
]


@service("C-GET", C_GET_RQ, GET_CLASSES)
def get(request: Request, server: Server) -> Answer | None:
    """Retrieve on the association itself (PS3.4 C.4.3), in the stored syntax when the requestor accepted it.

    A code behind ``~`` on the called AE title is that of the objects sent.
    """
    server.counters.add("Get")
    request.tally("get")
    association = request.association
    originator = Originator(association.calling, request.message_id)
    sender = GetSender(server, association, association.code_suffix or "as", originator)
    return retrieve(request, server, sender)
