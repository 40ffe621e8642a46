"""C-STORE: take an object in."""

from __future__ import annotations

from server.commandset import C_STORE_RQ
from server.pipeline.ingest import Incoming, ingest
from server.server import Server
from server.service import Request, service
from server.status import Answer, Refused, Status


@service("C-STORE", C_STORE_RQ)
def store(request: Request, server: Server) -> Answer:
    """Storage of any class and transfer syntax (PS3.4 Annex B): the data set is kept byte for byte as it came."""
    sop_class, data = request.sop_class, request.message.data
    abstract_syntax, transfer_syntax = request.association.syntaxes(request.message.context_id)
    if sop_class != abstract_syntax:
        raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, "the SOP class is not that of the presentation context")
    if data is None:
        raise Refused(Status.CANNOT_UNDERSTAND, "the request has no data set")
    association = request.association
    called, _, code = association.called.partition("~")
    note = ingest(
        server,
        Incoming(
            spool=data,
            sop_class=sop_class,
            sop_instance=request.sop_instance,
            transfer_syntax=transfer_syntax,
            calling=association.calling,
            called=called,
            code=code or None,
            checked=association.checked,
        ),
    )
    request.tally("stored")
    return Answer(Status.SUCCESS, note=note)
