"""Ways out: to a C-MOVE destination, or back on the association of a C-GET; and in which transfer syntax."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

from server.commandset import Buffer
from server.dimse import Association, PeerGone
from server.log import printable
from server.pipeline.compression import NOT_OF_PIXELS, code_of
from server.pipeline.making import Making
from server.pipeline.reader import Kind, Outgoing
from server.pipeline.route import Route, may_be_nki, proposals, route
from server.scu import (
    MAX_CONTEXTS,
    AssociationFailed,
    Originator,
    OutgoingAssociation,
    Peer,
    Proposal,
    begin_c_store,
    connect,
    store_status,
)
from server.server import Server
from storage.codecs.native import convert
from storage.codecs.table import Code
from storage.errors import CodecFailed, NotConvertible

log = logging.getLogger("dgate")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a C-MOVE sends to, and the compression code for it."""

    peer: Peer
    code: str


class Sender(Protocol):
    """Sends objects to one receiver; `on_request` tells that it uses the association of the request."""

    on_request: bool

    def beside(self, count: int) -> list[Sender]:
        """Up to `count` further senders to the same receiver, where it may be sent to over several associations."""

    def prepare(self, kinds: Sequence[Kind]) -> None:
        """Be ready for objects of these kinds; raises AssociationFailed when the receiver cannot be reached."""

    def make(self, outgoing: Outgoing) -> Making | None:
        """Begin to bring an object into the form for the receiver; None when that takes no codec, or is not known."""

    def begin(self, outgoing: Outgoing, making: Making | None = None) -> None:
        """Send one object, or what `make` began to make of it; the answer is awaited by `end`.

        Raises NotConvertible when the receiver accepts no form of it, CodecFailed, NotDicom, OSError or EOFError.
        """

    def end(self) -> int:
        """Wait for the receiver's status of what was sent."""

    def finish(self, *, failed: bool) -> None:
        """Release what was opened, or abort it."""


class MoveSender:
    """Sends over an association of our own to a C-MOVE destination, opened anew when its contexts do not serve."""

    on_request = False

    def __init__(self, server: Server, destination: Destination, originator: Originator) -> None:
        self._server = server
        self._destination = destination
        self._originator = originator
        self._code = code_of(destination.code)
        self._association: OutgoingAssociation | None = None
        self._forms = _Forms(server, self._code, str(destination.peer), {})
        self._proposed: dict[Proposal, None] = {}
        self._kinds: set[Kind] = set()
        self._message_id = 0
        if self._code.codec.code in NOT_OF_PIXELS:
            log.info("Compression %r is not done yet: %s gets objects as stored", self._code.text, destination.peer)

    def beside(self, count: int) -> list[Sender]:
        count = min(count, self._server.settings.MoveAssociations - 1)
        return [MoveSender(self._server, self._destination, self._originator) for _ in range(count)]

    def prepare(self, kinds: Sequence[Kind]) -> None:
        """Open an association that proposes every form of these objects, unless the present one does.

        What was proposed before is proposed again, so that kinds which alternate need no further association.
        """
        if self._association is not None and self._kinds.issuperset(kinds):
            return
        needed = dict.fromkeys(proposal for kind in kinds for proposal in proposals(kind, self._code))
        known = self._kinds.union(kinds)
        if self._association is None or not self._proposed.keys() >= needed.keys():
            together = {**self._proposed, **needed}
            self.finish(failed=False)
            self._open(list(together if len(together) <= MAX_CONTEXTS else needed)[:MAX_CONTEXTS])
        self._kinds = {kind for kind in known if self._proposed.keys() >= set(proposals(kind, self._code))}

    def _open(self, proposed: list[Proposal]) -> None:
        if not proposed:
            return
        settings = self._server.settings
        self._association = connect(
            self._destination.peer,
            settings.MyACRNema,
            proposed,
            timeout_s=settings.TCPIPTimeOut,
            pdu_size=settings.PDUSize,
        )
        self._proposed = dict.fromkeys(proposed)
        self._forms = _Forms(self._server, self._code, str(self._destination.peer), _accepted(self._association))

    def make(self, outgoing: Outgoing) -> Making | None:
        return self._forms.make(outgoing) if outgoing.kind in self._kinds else None

    def begin(self, outgoing: Outgoing, making: Making | None = None) -> None:
        self.prepare([outgoing.kind])
        with self._forms.form(outgoing, making) as form, self._opened() as association:
            self._message_id = association.next_id()
            form.send(association, self._message_id, self._originator)

    def end(self) -> int:
        with self._opened() as association:
            return store_status(association, self._message_id)

    @contextmanager
    def _opened(self) -> Iterator[OutgoingAssociation]:
        """The association; one that the peer leaves meanwhile is given up with AssociationFailed."""
        association = self._association
        assert association is not None, "there is something to propose for every object"
        try:
            yield association
        except PeerGone as error:
            association.abort()
            self._association = None
            raise AssociationFailed(f"{self._destination.peer}: {error}") from error

    def finish(self, *, failed: bool) -> None:
        """Release the association, or abort it when sending ended in the middle."""
        association, self._association, self._proposed = self._association, None, {}
        if association is None:
            return
        if failed:
            association.abort()
        else:
            association.release()


class GetSender:
    """Sends on the association a C-GET came on, in the contexts it has."""

    on_request = True

    def __init__(self, server: Server, association: Association, code: str, originator: Originator) -> None:
        self._association = association
        self._forms = _Forms(server, code_of(code), originator.ae, _accepted(association))
        self._originator = originator
        self._message_id = 0

    def beside(self, count: int) -> list[Sender]:
        """None: a C-GET has the one association."""
        return []

    def prepare(self, kinds: Sequence[Kind]) -> None:
        """Nothing to do: the requestor chose the contexts."""

    def make(self, outgoing: Outgoing) -> Making | None:
        return self._forms.make(outgoing)

    def begin(self, outgoing: Outgoing, making: Making | None = None) -> None:
        with self._forms.form(outgoing, making) as form:
            self._message_id = self._message_id % 0xFFFF + 1
            form.send(self._association, self._message_id, self._originator)

    def end(self) -> int:
        return store_status(self._association, self._message_id)

    def finish(self, *, failed: bool) -> None:
        """Nothing to do: the association is the requestor's."""


# Context IDs by SOP class and transfer syntax.
_Accepted = Mapping[str, Mapping[str, int]]


def _accepted(association: Association) -> _Accepted:
    """What the receiver accepts from us."""
    found: dict[str, dict[str, int]] = {}
    for number, context in association.contexts_by_id.items():
        if association.is_requestor or context.as_scu:
            found.setdefault(str(context.abstract_syntax), {})[str(context.transfer_syntax[0])] = number
    return found


@dataclass(frozen=True, slots=True)
class _Form:
    """An object in the form in which it is sent, and the context for that."""

    outgoing: Outgoing
    syntax: str
    context_id: int

    def send(self, association: Association, message_id: int, originator: Originator) -> None:
        outgoing = self.outgoing
        stored = outgoing.file.transfer_syntax == self.syntax
        data: Iterable[Buffer] = outgoing.data() if stored else convert(outgoing.file, self.syntax)
        sop = (outgoing.sop_class, outgoing.sop_instance)
        begin_c_store(association, self.context_id, message_id, sop, data, originator)


class _Forms:
    """Finds for each object the form in which a receiver gets it, and has that made where it takes a codec."""

    def __init__(self, server: Server, code: Code, receiver: str, accepted: _Accepted) -> None:
        self._server = server
        self._code = code
        self._receiver = printable(receiver)
        self._accepted = accepted
        self._told: set[tuple[str, str]] = set()

    def make(self, outgoing: Outgoing) -> Making | None:
        """Begin to make what is to be made of an object; what keeps it from being begun is found by `form` again."""
        contexts = self._accepted.get(outgoing.sop_class, {})
        try:
            chosen = self._route(outgoing)
            return self._making(outgoing, chosen, contexts) if chosen.made else None
        except (CodecFailed, OSError):
            return None

    @contextmanager
    def form(self, outgoing: Outgoing, making: Making | None) -> Iterator[_Form]:
        """The best form of an object that the receiver accepts.

        Where pixels cannot be decoded or encoded it is the stored one, if the receiver takes that. Raises
        NotConvertible, CodecFailed, NotDicom or OSError.
        """
        contexts = self._accepted.get(outgoing.sop_class)
        if not contexts:
            raise NotConvertible(f"the receiver does not accept its SOP class {outgoing.sop_class}")
        chosen = self._route(outgoing)
        made = self._made(outgoing, chosen, making, contexts) if chosen.made else None
        if made is not None:
            with closing(made):
                self._tell(outgoing, made)
                yield _Form(made, made.file.transfer_syntax, contexts[made.file.transfer_syntax])
        elif chosen.plain:
            yield _Form(outgoing, chosen.plain, contexts[chosen.plain])
        else:
            stored = outgoing.file.transfer_syntax
            raise NotConvertible(f"the receiver accepts {', '.join(contexts)} for it and it is stored as {stored}")

    def _made(
        self, outgoing: Outgoing, chosen: Route, making: Making | None, contexts: Mapping[str, int]
    ) -> Outgoing | None:
        """What a codec made of an object; None when it goes out as it is."""
        try:
            made = (making or self._making(outgoing, chosen, contexts)).finished(outgoing)
            if made.file.transfer_syntax not in contexts and making is not None:
                # It was begun for what another association accepted.
                made.close()
                made = self._making(outgoing, chosen, contexts).finished(outgoing)
        except NotConvertible as error:
            if not chosen.plain:
                raise
            log.debug("%s goes out as it is: %s", outgoing.sop_instance, error)
            return None
        except CodecFailed as error:
            if not chosen.plain:
                raise
            log.error("***%s goes out as it is stored: %s", outgoing.sop_instance, error)
            return None
        return made

    def _making(self, outgoing: Outgoing, chosen: Route, contexts: Mapping[str, int]) -> Making:
        return Making(self._server, outgoing.file.path, tuple(contexts), chosen)

    def _route(self, outgoing: Outgoing) -> Route:
        stored, path = outgoing.file.transfer_syntax, outgoing.file.path
        contexts = self._accepted.get(outgoing.sop_class, {})
        return route(stored, contexts, self._code, nki=may_be_nki(path, stored))

    def _tell(self, outgoing: Outgoing, made: Outgoing) -> None:
        """Say once for an association which form takes the place of which."""
        forms = (outgoing.file.transfer_syntax, made.file.transfer_syntax)
        if forms not in self._told:
            self._told.add(forms)
            log.info("%s gets as %s what is stored as %s", self._receiver, forms[1], forms[0])
