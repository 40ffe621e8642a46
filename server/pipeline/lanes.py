"""The sub-operations of a retrieve, one after another on each association: the next object is read while one goes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Sequence

from db.objects import StoredObject
from server.pipeline.making import Ahead, Making, Next
from server.pipeline.reader import Kind, Outgoing, Reader
from server.pipeline.selection import Selection
from server.pipeline.sending import Sender
from server.pipeline.suboperations import SubOperations
from server.scu import AssociationFailed
from server.server import Server
from server.status import cause
from storage.errors import CodecFailed, NotConvertible, NotDicom

log = logging.getLogger("dgate")

# How long may pass before somebody who waits for associations looks at a C-CANCEL.
_LOOK_SECONDS = 0.05


class Lane:
    """Sends objects of a selection over one association, in their order."""

    def __init__(self, server: Server, sender: Sender, selection: Selection, operations: SubOperations) -> None:
        self._server = server
        self._sender = sender
        self._selection = selection
        self._operations = operations
        self._reader = Reader(server)
        self._ahead = Ahead(server, sender, selection, self._reader)

    def steps(self) -> Generator[None, None, None]:
        """Send; stops before the first object and behind each, so that the caller can look around.

        Raises AssociationFailed; the object that was being sent has failed then.
        """
        yield
        following: Next | None = None
        try:
            following = self._ahead.take()
            while following is not None and not self._selection.stopped:
                now, following = following, None
                sent = self._begun(now.row, now.outgoing, now.making)
                following = self._ahead.take()
                if sent:
                    self._ended(now.row)
                yield
        finally:
            self._ahead.close()
            if following is not None:
                following.close()
                self._selection.give_back(following.row)

    def _begun(self, row: StoredObject, outgoing: Outgoing | None, making: Making | None) -> bool:
        """Send an object, for which the receiver's answer comes later; False when it has failed already."""
        if outgoing is not None and outgoing.is_gone:
            outgoing.close()
            if making is not None:
                making.discard()
            making = None
            outgoing = self._reader.open(row)
        if outgoing is None:
            self._operations.fail(row.sop_instance)
            return False
        try:
            self._sender.begin(outgoing, making)
        except AssociationFailed:
            self._operations.fail(row.sop_instance)
            raise
        except (CodecFailed, NotConvertible, NotDicom, OSError, EOFError) as error:
            log.error("***Cannot send %s: %s", row.sop_instance, cause(error))
            self._operations.fail(row.sop_instance)
            return False
        finally:
            outgoing.close()
        return True

    def _ended(self, row: StoredObject) -> None:
        """Take the receiver's answer for an object."""
        try:
            status = self._sender.end()
        except AssociationFailed:
            self._operations.fail(row.sop_instance)
            raise
        if self._operations.done(row.sop_instance, status):
            self._server.counters.add("ImagesSent")
        else:
            log.error("***%s was refused by the receiver with status 0x%04x", row.sop_instance, status)


class _Thread(threading.Thread):
    """A lane of its own: `sending` from the moment its association is open until it has sent its last object."""

    def __init__(self, lane: Lane, sender: Sender, kinds: Sequence[Kind], changed: threading.Event) -> None:
        super().__init__(name="retrieve", daemon=True)
        self._lane = lane
        self._sender = sender
        self._kinds = kinds
        self._changed = changed
        self.sending = False
        self.error: BaseException | None = None

    def run(self) -> None:
        failed = True
        try:
            self._sender.prepare(self._kinds)
            self.sending = True
            for _ in self._lane.steps():
                self._changed.set()
            failed = False
        except AssociationFailed as error:
            log.error("***Retrieve: %s", error)
            self.error = error
        except BaseException as error:
            self.error = error
        finally:
            self.sending = False
            self._changed.set()
            self._sender.finish(failed=failed)


class Lanes:
    """Several associations to one receiver that share a selection; the first is open, others come when it lets them."""

    def __init__(
        self,
        server: Server,
        senders: Sequence[Sender],
        kinds: Sequence[Kind],
        selection: Selection,
        operations: SubOperations,
    ) -> None:
        self._selection = selection
        self._operations = operations
        self._changed = threading.Event()
        self._threads = [
            _Thread(Lane(server, sender, selection, operations), sender, kinds, self._changed) for sender in senders
        ]

    def steps(self) -> Generator[None, None, None]:
        """Send; stops now and then, so that the caller can look around.

        An association that fails leaves its objects to the others. Raises AssociationFailed when none is left.
        """
        yield
        for thread in self._threads:
            thread.start()
        finished = False
        try:
            while self._goes_on():
                self._changed.wait(_LOOK_SECONDS)
                self._changed.clear()
                yield
            finished = True
        finally:
            if not finished:
                self._selection.stop()
            for thread in self._threads:
                # One whose association never opened would keep us waiting; it will find nothing to send.
                if thread.sending:
                    thread.join()
        errors = [thread.error for thread in self._threads if thread.error is not None]
        for error in errors:
            if not isinstance(error, AssociationFailed) or (self._operations.remaining and not self._selection.stopped):
                raise error

    def _goes_on(self) -> bool:
        if self._selection.stopped:
            return any(thread.sending for thread in self._threads)
        return bool(self._operations.remaining) and any(thread.is_alive() for thread in self._threads)
