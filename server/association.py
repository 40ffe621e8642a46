"""Who may associate and about what; and what one accepted association keeps between its requests."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from typing import Any, cast

from pydicom import config
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

from db.objects import Checked
from server.authority import caller_for
from server.commandset import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    RESPONSE,
    CommandSet,
    ProtocolError,
)
from server.dimse import Association, DataSink, Identifier, Message, PeerGone
from server.limits import Limits, Peer
from server.log import USER, printable
from server.outgoing import is_known
from server.server import Server
from server.service import IDENTIFIER_SYNTAXES, Request, is_served, is_storage, serve

log = logging.getLogger("dgate")

# A-ASSOCIATE-RJ (PS3.8 9.3.4): permanent, service user, as ConQuest rejects; transient, local limit exceeded.
_REJECT_CONTEXT_NAME = (1, 1, 2)
_REJECT_CALLING = (1, 1, 3)
_REJECT_CALLED = (1, 1, 7)
_REJECT_LIMIT = (2, 3, 2)

# How many requests may wait while the responses to our own are awaited (C-GET).
_MAX_HELD = 16
# A command is 64000 bytes at most; an uploaded file rides with it, which only administrators may send.
_MAX_COMMAND_SET = 1 << 17
_MAX_UPLOAD = 1 << 30

# ConQuest's names of the actions in its user log.
_USER_LOG = {0x0001: "C-Store", 0x0010: "C-Get ", 0x0020: "C-Find", 0x0021: "C-Move "}


class AcceptedAssociation(Association):
    """An association that a peer requested of us, served by the table of services, one request at a time."""

    max_command = _MAX_COMMAND_SET

    def __init__(self, ae: ApplicationEntity, server: Server) -> None:
        super().__init__(ae, MODE_ACCEPTOR, stock=server.settings.StockNetwork)
        timeout_s = server.settings.TCPIPTimeOut
        self.acse_timeout = self.dimse_timeout = self.network_timeout = timeout_s
        self.server = server
        self.thread_number = 0
        self.done: Counter[str] = Counter()
        self.checked = Checked()
        self._held: deque[Message] = deque()
        self._problem = ""
        self._last_busy = -math.inf
        self.bind(evt.EVT_REQUESTED, lambda event: self._request())
        self.bind(evt.EVT_SOP_EXTENDED, lambda event: _extended(event.app_info))
        self.bind(evt.EVT_CONN_CLOSE, lambda event: self._closed())

    @property
    def calling(self) -> str:
        """The calling AE title, whatever bytes the peer put there; empty before the request."""
        return self.upper.calling if self.upper is not None else str(self.requestor.ae_title).strip()

    @property
    def called(self) -> str:
        """The called AE title, ``~xx`` included; empty before the request."""
        if self.upper is not None:
            return self.upper.called
        primitive = self.requestor.primitive
        return str(primitive.called_ae_title).strip() if primitive is not None else ""

    @property
    def peer_address(self) -> str:
        return str(self.requestor.address_info.address) if self.requestor.address_info else ""

    @property
    def code_suffix(self) -> str:
        """The compression code a peer appended to the called AE title with ``~``; empty without one."""
        return self.called.partition("~")[2]

    @property
    def is_waiting(self) -> bool:
        """Whether the peer has connected and asked for nothing yet."""
        return self.requestor.primitive is None and self.is_alive()

    def combined_datetime(self, sop_class: str) -> bool:
        """Whether the peer negotiated combined date-time matching for a FIND class (PS3.4 C.5.1.1)."""
        items = {str(uid): bytes(info) for uid, info in self.requestor.sop_class_extended.items()}
        return items.get(sop_class, b"")[1:2] == b"\1"

    def run_reactor(self) -> None:
        """Serve the association from request to release; pynetdicom calls this in the association's thread."""
        self.thread_number = self.server.running.begin(self.thread_number)
        started = time.monotonic()
        try:
            super().run_reactor()
        except Exception:
            self._problem = "failed"
            log.exception("*** Association %s failed", self._peer())
        finally:
            self.kill()
            self.close()
            self._discard()
            self._report(time.monotonic() - started)
            self.server.running.end(self.thread_number)

    def is_busy(self, within_s: float) -> bool:
        """Whether it serves a request, or did so this short time ago and may still have an answer under way."""
        return time.monotonic() - self._last_busy < within_s

    def _discard(self) -> None:
        """Let go of objects that arrived, wholly or in part, after the last one served."""
        self.dimse.discard()
        for message in self._held:
            super().unexpected(message)
        self._held.clear()

    def _closed(self) -> None:
        """Wake the thread of a connection that closed without ever requesting an association; it would wait on."""
        if self.upper is None and self.requestor.primitive is None:
            self.dul.to_user_queue.put(None)

    def _request(self) -> None:
        """Admit the peer or reject it, then choose what to accept; pynetdicom would swallow what goes wrong here."""
        try:
            self.server.refresh()
            reason, why = self._refusal()
            if reason is not None:
                log.warning("*** Association %s rejected: %s", self._peer(), why)
                self._reject(reason)
                return
            rights = caller_for(self.server.settings, self.server.base, self.peer_address).rights
            if rights == "admin":
                self.max_command = _MAX_UPLOAD
            primitive = cast(A_ASSOCIATE, self.requestor.primitive)
            self.acceptor.supported_contexts = self._choose(primitive.presentation_context_definition_list)
        except Exception:
            log.exception("*** Association %s failed", self._peer())
            self._reject(_REJECT_LIMIT)

    def _refusal(self) -> tuple[tuple[int, int, int] | None, str]:
        """Why not to talk to this peer: dgatesop.lst, in the order of the specification's 9.2, and our own limits."""
        primitive = cast(A_ASSOCIATE, self.requestor.primitive)
        calling, called = self.calling, self.called
        sops = self.server.sops
        sops.refresh()
        if not sops.accepts_remote_ae(calling):
            return _REJECT_CALLING, "its AE title is not in RemoteAE of dgatesop.lst"
        if not sops.accepts_local_ae(called):
            return _REJECT_CALLED, f"called AE {printable(called)} is not in LocalAE of dgatesop.lst"
        if not sops.accepts_application(str(primitive.application_context_name)):
            return _REJECT_CONTEXT_NAME, "its application context is not listed in dgatesop.lst"
        settings = self.server.settings
        peer = Peer(self.peer_address, calling, is_known(self.server, calling, self.peer_address))
        limits = Limits(settings.MaxAssociations, settings.MaxAssociationsPerHost)
        why = self.server.running.admit(self.thread_number, peer, limits)
        return (_REJECT_LIMIT, why) if why else (None, "")

    def _reject(self, reason: tuple[int, int, int]) -> None:
        self.acse.send_reject(*reason)
        self.is_rejected = True
        evt.trigger(self, evt.EVT_REJECTED, {})
        self.kill()

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
                allowed = [ts for ts in allowed if ts in IDENTIFIER_SYNTAXES]
            row = supported.setdefault(uid, _context(uid))
            if allowed:
                context.transfer_syntax = [UID(allowed[0])]
                row.add_transfer_syntax(allowed[0])
        if not any(row.transfer_syntax for row in supported.values()):
            log.warning("No valid presentation contexts/transfer syntax found in %d candidates", len(proposed))
        return list(supported.values())

    def open_sink(self, context_id: int, command: CommandSet) -> DataSink:
        """Spool the data set of a C-STORE-RQ; everything else is an identifier."""
        abstract_syntax, transfer_syntax = self.syntaxes(context_id)
        if command.number(COMMAND_FIELD) != C_STORE_RQ or not is_storage(abstract_syntax):
            return Identifier()
        spool = self.server.storage.spool(
            command.text(AFFECTED_SOP_CLASS) or abstract_syntax, command.text(AFFECTED_SOP_INSTANCE), transfer_syntax
        )
        spool.expect(self.server.wanted)
        return spool

    def fell_silent(self) -> None:
        self._problem = "idle"

    def protocol_error(self, error: ProtocolError) -> None:
        self._problem = "aborted"
        log.error("*** Association %s aborted: %s", self._peer(), error)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Answer one message; pynetdicom's reactor calls this with what `DimseProvider` queued."""
        self._serve(cast(Message, msg))
        while self._held and self.is_established:
            self._serve(self._held.popleft())

    def unexpected(self, message: Message) -> None:
        """Hold a request that comes during a C-GET until that is done; a response that is late is dropped."""
        if message.field & RESPONSE:
            super().unexpected(message)
            return
        self._held.append(message)
        if len(self._held) > _MAX_HELD:
            self.protocol_error(ProtocolError(f"more than {_MAX_HELD} requests while a response is awaited"))
            self.abort()

    def _serve(self, message: Message) -> None:
        request = Request(self, message)
        self._last_busy = math.inf
        if message.field not in (C_ECHO_RQ, C_STORE_RQ):
            self._note_use(message)
        try:
            serve(request, self.server)
        except PeerGone as error:
            log.info("Association %s: %s", self._peer(), error)
        finally:
            if message.field == C_STORE_RQ:  # its sender need not wait for a line in a log
                self._note_use(message)
            self._last_busy = time.monotonic()
            if self.dimse.cancelled:
                self.dimse.cancelled.discard(request.message_id)
            if self.upper is None:
                self.dul._idle_timer.restart()

    def _note_use(self, message: Message) -> None:
        action = _USER_LOG.get(message.field, f"0x{message.field:04x}")
        USER.info("%s %s -> %s", action, printable(self.calling), printable(self.called))

    def _peer(self) -> str:
        return f"of {printable(self.calling)} ({self.peer_address})"

    def _report(self, seconds: float) -> None:
        if self.requestor.primitive is None or self.is_rejected:
            return
        self.server.refresh()  # another process may have switched the log
        done = ", ".join(f"{count} {what}" for what, count in self.done.items() if count) or "nothing"
        how = self._problem or ("released" if self.is_released else "aborted")
        log.info(
            "UPACS THREAD %d: %s (%s) -> %s: %s, %s after %.1f s",
            *(self.thread_number, printable(self.calling), self.peer_address, printable(self.called)),
            *(done, how, seconds),
        )


# PS3.4 C.5.1.1, C.5.2.1, C.5.3.1: relational queries and retrieval, combined date-time matching; no fuzzy matching, no
# time zone adjustment, no conversion of enhanced multi-frame images.
_EXTENDED = {"FIND": b"\1\1\0\0\0", "MOVE": b"\1\0", "GET": b"\1\0"}
_MODELS = ("1.2.840.10008.5.1.4.1.2.1", "1.2.840.10008.5.1.4.1.2.2", "1.2.840.10008.5.1.4.1.2.3")
_ANSWERS = {
    f"{model}.{number}": _EXTENDED[service]
    for model in _MODELS
    for number, service in ((1, "FIND"), (2, "MOVE"), (3, "GET"))
}


def _extended(proposed: dict[Any, bytes]) -> dict[Any, bytes]:
    """Answer SOP class extended negotiation of the query/retrieve classes: of what the peer proposes, what we do."""
    return {
        uid: bytes(a & b for a, b in zip(info, _ANSWERS[str(uid)], strict=False))
        for uid, info in proposed.items()
        if str(uid) in _ANSWERS and info
    }


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
