"""C-FIND on the query/retrieve information models."""

from __future__ import annotations

from server.commandset import C_FIND_RQ
from server.pipeline.answer import Encoding, answers_for
from server.pipeline.identifier import identified
from server.pipeline.query import build_query
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
    question = identified(request)
    combined = request.association.combined_datetime(request.abstract_syntax)
    query = build_query(question, wanted=question.wanted, combined_datetime=combined)
    found = server.index.matches(query, lambda: request.cancelled or not request.association.dul.is_alive())
    encoding, forced = Encoding(*request.encoding), server.settings.QueriesReturnISO_IR
    answers = answers_for(question, found.paths, encoding, ae_title=server.ae_title, forced=forced)
    known = all(server.index.knows(path) for path in question.keys)
    pending = request.response(Status.PENDING if known else Status.PENDING_KEYS_IGNORED, data=True)
    matches = 0
    for rows in found.rows:
        if request.cancelled:
            break
        request.association.dimse.send_many(request.message.context_id, pending, answers.encode(rows))
        matches += len(rows)
    request.tally("matches", matches)
    return Answer(Status.CANCEL, "cancelled by the peer") if request.cancelled else Answer(Status.SUCCESS)
