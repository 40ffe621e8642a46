"""Who may associate and about what; and what one accepted association keeps between its requests."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any, cast

from pydicom import config
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import _STORAGE_CLASSES, uid_to_service_class

from server.dimse import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    Association,
    CommandSet,
    DataSink,
    Identifier,
    Message,
    PeerGone,
    ProtocolError,
)
from server.log import USER
from server.server import Server
from server.service import SERVICES, Request, serve

log = logging.getLogger("dgate")

# A-ASSOCIATE-RJ: permanent, service user (PS3.8 9.3.4), as ConQuest rejects.
_REJECT_CONTEXT_NAME = (1, 1, 2)
_REJECT_CALLING = (1, 1, 3)
_REJECT_CALLED = (1, 1, 7)

# An uploaded file rides in the command set of the command channel.
_MAX_UPLOAD = 1 << 30

# ConQuest's names of the actions in its user log.
_USER_LOG = {0x0001: "C-Store", 0x0010: "C-Get ", 0x0020: "C-Find", 0x0021: "C-Move "}


def is_storage(uid: str) -> bool:
    """Whether an abstract syntax is a storage class: the standard's, and every UID that is nothing else known."""
    if uid in _STORAGE_CLASSES.values():
        return True
    return uid_to_service_class(uid) in (ServiceClass, StorageServiceClass)


def is_served(uid: str) -> bool:
    """Whether some service of the table answers on this abstract syntax."""
    return any(sop.uid == uid for row in SERVICES for sop in row.sop_classes) or is_storage(uid)


class AcceptedAssociation(Association):
    """An association that a peer requested of us, served by the table of services, one request at a time."""

    max_command = _MAX_UPLOAD

    def __init__(self, ae: ApplicationEntity, server: Server) -> None:
        super().__init__(ae, MODE_ACCEPTOR, stock=server.settings.StockNetwork)
        self.server = server
        self.thread_number = 0
        self.done: Counter[str] = Counter()
        self.bind(evt.EVT_REQUESTED, lambda event: self._admit())
        self.bind(evt.EVT_SOP_EXTENDED, lambda event: _extended(event.app_info))
        self.bind(evt.EVT_CONN_CLOSE, lambda event: self._closed())

    @property
    def calling(self) -> str:
        return str(self.requestor.ae_title).strip()

    @property
    def called(self) -> str:
        primitive = self.requestor.primitive
        return str(primitive.called_ae_title).strip() if primitive is not None else ""

    @property
    def peer_address(self) -> str:
        return str(self.requestor.address_info.address) if self.requestor.address_info else ""

    @property
    def code_suffix(self) -> str:
        """The compression code a peer appended to the called AE title with ``~``; empty without one."""
        return self.called.partition("~")[2]

    def combined_datetime(self, sop_class: str) -> bool:
        """Whether the peer negotiated combined date-time matching for a FIND class (PS3.4 C.5.1.1)."""
        items = {str(uid): bytes(info) for uid, info in self.requestor.sop_class_extended.items()}
        return items.get(sop_class, b"")[1:2] == b"\1"

    def run_reactor(self) -> None:
        """Serve the association from request to release; pynetdicom calls this in the association's thread."""
        self.thread_number = self.server.running.begin()
        started = time.monotonic()
        try:
            super().run_reactor()
        finally:
            self._discard_pending()
            self._report(time.monotonic() - started)
            self.server.running.end()

    def _closed(self) -> None:
        """Wake the thread of a connection that closed without ever requesting an association; it would wait on."""
        if self.upper is None and self.requestor.primitive is None:
            self.dul.to_user_queue.put(None)

    def _admit(self) -> None:
        """Check AE titles and application context against dgatesop.lst, then choose what to accept (spec 9.2)."""
        primitive = cast(A_ASSOCIATE, self.requestor.primitive)
        calling = str(primitive.calling_ae_title).strip()
        called = str(primitive.called_ae_title).strip()
        sops = self.server.sops
        sops.refresh()
        for accepted, reason, what in (
            (sops.accepts_remote_ae(calling), _REJECT_CALLING, f"calling AE {calling!r} is not in RemoteAE"),
            (sops.accepts_local_ae(called), _REJECT_CALLED, f"called AE {called!r} is not in LocalAE"),
            (
                sops.accepts_application(str(primitive.application_context_name)),
                _REJECT_CONTEXT_NAME,
                "its application context is not listed",
            ),
        ):
            if not accepted:
                log.warning("*** Association from %s rejected: %s of dgatesop.lst", self.peer_address, what)
                self.acse.send_reject(*reason)
                self.is_rejected = True
                evt.trigger(self, evt.EVT_REJECTED, {})
                self.kill()
                return
        self.acceptor.supported_contexts = self._choose(primitive.presentation_context_definition_list)

    def _choose(self, proposed: list[PresentationContext]) -> list[PresentationContext]:
        """Accept, for each proposed context, the first proposed transfer syntax that dgatesop.lst allows.

        pynetdicom looks a class up once for all its contexts, so each proposal is cut to its one chosen syntax.
        """
        supported: dict[str, PresentationContext] = {}
        for context in proposed:
            uid = str(context.abstract_syntax)
            if not is_served(uid) or not self.server.sops.accepts_sop(uid):
                continue
            allowed = [str(ts) for ts in context.transfer_syntax if self.server.sops.accepts_transfer(str(ts))]
            if not is_storage(uid):
                allowed = [ts for ts in allowed if ts in UNCOMPRESSED]
            row = supported.setdefault(uid, _context(uid))
            if allowed:
                context.transfer_syntax = [UID(allowed[0])]
                row.add_transfer_syntax(allowed[0])
        if not any(row.transfer_syntax for row in supported.values()):
            log.warning("No valid presentation contexts/transfer syntax found in %d candidates", len(proposed))
        return list(supported.values())

    def open_sink(self, context_id: int, command: CommandSet) -> DataSink:
        """Spool the data set of a C-STORE-RQ; everything else is an identifier."""
        if command.number(COMMAND_FIELD) != C_STORE_RQ:
            return Identifier()
        context = self.contexts_by_id[context_id]
        return self.server.storage.spool(
            command.text(AFFECTED_SOP_CLASS) or str(context.abstract_syntax),
            command.text(AFFECTED_SOP_INSTANCE),
            str(context.transfer_syntax[0]),
        )

    def protocol_error(self, error: ProtocolError) -> None:
        log.error("*** Association from %s (%s) aborted: %s", self.peer_address, self.calling, error)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Answer one message; pynetdicom's reactor calls this with what `DimseProvider` queued."""
        message = cast(Message, msg)
        if message.context_id not in self.contexts_by_id:
            self.abort()
            return
        request = Request(self, message)
        if message.field != C_ECHO_RQ:
            action = _USER_LOG.get(message.field, f"0x{message.field:04x}")
            USER.info("%s %s -> %s", action, self.calling, self.called)
        try:
            serve(request, self.server)
        except PeerGone as error:
            log.info("Association with %s: %s", self.calling, error)
        finally:
            self.dimse.cancelled.discard(request.message_id)
            self.dul._idle_timer.restart()

    def _discard_pending(self) -> None:
        """Let go of objects that arrived, wholly or in part, after the last one served."""
        self.dimse.discard()

    def _report(self, seconds: float) -> None:
        if self.requestor.primitive is None:
            return
        done = ", ".join(f"{count} {what}" for what, count in self.done.items()) or "nothing"
        how = "rejected" if self.is_rejected else "released" if self.is_released else "aborted"
        log.info(
            "UPACS THREAD %d: %s (%s) -> %s: %s, %s after %.1f s",
            *(self.thread_number, self.calling, self.peer_address, self.called, done, how, seconds),
        )


UNCOMPRESSED = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")


# PS3.4 C.5.1.1: relational queries, combined date-time matching; no fuzzy matching, no time zone adjustment.
_EXTENDED = b"\1\1\0\0\0"


def _extended(proposed: dict[Any, bytes]) -> dict[Any, bytes]:
    """Answer SOP class extended negotiation: of what the peer proposes, what we do."""
    return {uid: bytes(a & b for a, b in zip(info, _EXTENDED, strict=False)) for uid, info in proposed.items()}


def _context(uid: str) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = UID(uid)
    if is_storage(uid):
        # Roles are echoed as proposed: a C-GET requestor is the SCP of its storage classes.
        context.scu_role = True
        context.scp_role = True
    return context


# Values are taken as they come: many devices send what the standard does not allow, and it is not ours to judge.
_config.ENFORCE_UID_CONFORMANCE = False
config.settings.reading_validation_mode = config.IGNORE
config.settings.writing_validation_mode = config.IGNORE
