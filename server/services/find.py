"""C-FIND on the query/retrieve information models."""

from __future__ import annotations

from server.commandset import C_FIND_RQ
from server.pipeline.answer import Answers, Encoding
from server.pipeline.query import build_query, identify
from server.server import Server
from server.service import Request, SopClass, service
from server.status import Answer, Status

FIND_CLASSES = [
    SopClass("1.2.840.10008.5.1.4.1.2.1.1", "Patient Root Query/Retrieve Information Model - FIND"),
    SopClass("1.2.840.10008.5.1.4.1.2.2.1", "Study Root Query/Retrieve Information Model - FIND"),
    SopClass("1.2.840.10008.5.1.4.1.2.3.1", "Patient/Study Only Query/Retrieve Information Model - FIND"),
]


@service("C-FIND", C_FIND_RQ, FIND_CLASSES)
def find(request: Request, server: Server) -> Answer:
    """Query at PATIENT, STUDY, SERIES and IMAGE level (PS3.4 C.4.1), relational in every model.

    Matches are sent as the index yields them. Keys the index does not hold come back empty, and then every pending
    response says so with status 0xFF01.
    """
    server.counters.add("Find")
    request.tally("find")
    identified = identify(request.identifier())
    combined = request.association.combined_datetime(request.abstract_syntax)
    query = build_query(identified, wanted=identified.wanted, combined_datetime=combined)
    forced = server.settings.QueriesReturnISO_IR
    answers = Answers(identified, Encoding(*request.encoding), ae_title=server.ae_title, forced=forced)
    known = all(server.index.knows(path) for path in identified.keys)
    pending = request.response(Status.PENDING if known else Status.PENDING_KEYS_IGNORED, data=True)
    matches = 0
    for row in server.index.find(query):
        if request.cancelled:
            return Answer(Status.CANCEL, "cancelled by the peer")
        request.association.dimse.collect(request.message.context_id, pending, answers.encode(row))
        matches += 1
    request.tally("matches", matches)
    return Answer(Status.SUCCESS)
