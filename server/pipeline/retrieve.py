"""The one way out: send stored objects as they are stored, or in another uncompressed form the peer prefers."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from typing import Protocol

from pydicom.dataset import Dataset

from server.commandset import Value
from server.pipeline.identifier import identified
from server.pipeline.lanes import Lane, Lanes
from server.pipeline.query import build_query
from server.pipeline.reader import Kind, Reader
from server.pipeline.selection import Selection
from server.pipeline.sending import Sender
from server.pipeline.suboperations import Reports, SubOperations
from server.scu import AssociationFailed
from server.server import Server
from server.status import Answer, Refused, Status

log = logging.getLogger("dgate")

# The first so many objects decide what one association is opened for; others have it opened anew.
_LOOKED_AT = 500


class Requestor(Protocol):
    """Who asked for a retrieve, as far as retrieving needs to know: a `server.service.Request`."""

    @property
    def cancelled(self) -> bool: ...

    @property
    def encoding(self) -> tuple[bool, bool]: ...

    def identifier(self) -> Dataset: ...

    def identifier_bytes(self) -> bytes: ...

    def encoded(self, identifier: Dataset) -> bytes: ...

    def respond(
        self, status: int, *, comment: str = "", fields: dict[int, Value] | None = None, data: bytes = b""
    ) -> None: ...

    def report(self, fields: dict[int, Value], *, with_next: bool) -> None: ...

    def tally(self, what: str, count: int) -> None: ...


def retrieve(request: Requestor, server: Server, sender: Sender) -> Answer | None:
    """Serve a C-MOVE or C-GET: select, send each object, report, and end with counts and the failed UIDs.

    What cannot be sent counts as failed and the rest goes on; a receiver that is gone fails all that remain.
    """
    question = identified(request)
    if not any(question.keys.values()):
        raise Refused(Status.MISMATCH, "the identifier names nothing to retrieve")
    selection = Selection(server.index.object_rows(build_query(question, wanted=frozenset())))
    try:
        if selection.count:
            _send(request, server, sender, selection)
        elif server.settings.ConquestStatuses:
            raise Refused(Status.NOTHING_FOUND, "nothing found")
        else:
            request.respond(Status.SUCCESS, fields=SubOperations(0).fields(final=True))
    finally:
        selection.close()
    return None


def _send(request: Requestor, server: Server, sender: Sender, selection: Selection) -> None:
    operations = SubOperations(selection.count)
    gone = True
    try:
        kinds = [] if sender.on_request else _kinds(server, selection)
        sender.prepare(kinds)
        steps = _steps(server, sender, kinds, selection, operations)
        status = _looked_after(request, steps, operations, selection, on_request=sender.on_request)
        # The requestor need not wait for the receiver to release.
        _final(request, status, operations)
        gone = False
    except AssociationFailed as error:
        log.error("***Retrieve: %s", error)
        if server.settings.ConquestStatuses:
            raise Refused(Status.DESTINATION_UNREACHABLE, str(error)) from error
        for row in selection.rest():
            operations.fail(row.sop_instance)
        _final(request, Status.CANNOT_PERFORM_SUBOPERATIONS, operations)
    finally:
        request.tally("sent", operations.sent)
        sender.finish(failed=gone)


def _kinds(server: Server, selection: Selection) -> list[Kind]:
    """The kinds of the first objects, by one of each series and SOP class: the others are as a rule like it."""
    reader = Reader(server)
    kinds: dict[Kind, None] = {}
    seen: set[tuple[str, str]] = set()
    for row in selection.first(_LOOKED_AT):
        if (row.series_uid, row.sop_class) not in seen:
            kind = reader.kind(row)
            if kind is not None:
                seen.add((row.series_uid, row.sop_class))
                kinds[kind] = None
    return list(kinds)


def _steps(
    server: Server, sender: Sender, kinds: list[Kind], selection: Selection, operations: SubOperations
) -> Generator[None, None, None]:
    """Send everything, a step at a time, over as many associations as the sender has."""
    beside = sender.beside(selection.count - 1)
    if beside:
        return Lanes(server, [sender, *beside], kinds, selection, operations).steps()
    return Lane(server, sender, selection, operations).steps()


def _looked_after(
    request: Requestor,
    steps: Generator[None, None, None],
    operations: SubOperations,
    selection: Selection,
    *,
    on_request: bool,
) -> int:
    """Take the steps, report between them, and end at a C-CANCEL; returns the final status."""
    reports = Reports(operations)
    with closing(steps):
        for _ in steps:
            if request.cancelled:
                selection.stop()
            elif reports.due():
                request.report(operations.fields(final=False), with_next=on_request)
    return Status.CANCEL if selection.stopped else operations.status


def _final(request: Requestor, status: int, operations: SubOperations) -> None:
    data = b""
    if operations.failed:
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = operations.failed_uids
        data = request.encoded(failed)
    comment = f"{operations.failed} sub-operations failed" if operations.failed else ""
    request.respond(status, comment=comment, fields=operations.fields(final=True), data=data)
