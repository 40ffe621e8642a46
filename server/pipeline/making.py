"""Objects that codecs must bring into another form before they are sent: made ahead of their turn, in order."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from db.objects import StoredObject
from server.pipeline.compression import count
from server.pipeline.reader import Outgoing, Reader
from server.pipeline.route import Route
from server.pipeline.selection import Selection
from server.server import Server
from storage.errors import NotConvertible
from storage.part10 import read_object

if TYPE_CHECKING:
    from storage.transcode import Transcoded

log = logging.getLogger("dgate")

# Stored bytes of the objects that are taken ahead of their turn: what they become is on the disk until it is sent.
_MOST_BYTES = 64 << 20


class Making:
    """One object that a codec process brings into another form."""

    def __init__(self, server: Server, path: Path, accepted: tuple[str, ...], route: Route) -> None:
        """Begin; returns at once. Raises OSError, or CodecFailed when the server is about to end."""
        from storage.recoding import transcode_first  # here: most objects go out as they are, without codecs
        from storage.transcode import Wanted

        quality = server.storage.settings.LossyQuality
        choices = tuple(Wanted(to, accepted=accepted, quality=quality, meta=True) for to in route.made)
        self._server, self._code = server, route.made[0]
        self._out = server.storage.scratch(passing=True)
        self._future: Future[Transcoded] = server.codecs.submit(transcode_first, path, choices, self._out)

    def finished(self, outgoing: Outgoing) -> Outgoing:
        """Wait for the result and open it: the same object in another form, to be closed by the caller.

        Raises NotConvertible when it stays as it is, CodecFailed, NotDicom or OSError.
        """
        try:
            done = self._future.result()
            if not done.changed:
                raise NotConvertible(done.reason)
            count(self._server, outgoing.file.transfer_syntax, done, self._code)
            for note in done.notes:
                log.info("%s: %s", outgoing.sop_instance, note)
            source = self._out.open("rb")
        finally:
            # An open file needs no name.
            self.discard()
        try:
            file = read_object(source, self._out)
        except BaseException:
            source.close()
            raise
        return Outgoing(outgoing.sop_class, outgoing.sop_instance, file, source, None)

    def discard(self) -> None:
        """Let go of the result, now or when it is there."""
        self._future.cancel()
        self._future.add_done_callback(lambda _: self._out.unlink(missing_ok=True))


class Maker(Protocol):
    """Whoever knows how to begin with an object: a `Sender`."""

    def make(self, outgoing: Outgoing) -> Making | None:
        """Begin to bring an object into the form the receiver wants; None when it takes no codec, or is not known."""


@dataclass(frozen=True, slots=True)
class Next:
    """An object whose turn has come: None in place of one that cannot be read, or that nothing need be made of."""

    row: StoredObject
    outgoing: Outgoing | None
    making: Making | None

    def close(self) -> None:
        if self.outgoing is not None:
            self.outgoing.close()
        if self.making is not None:
            self.making.discard()


class Ahead:
    """Takes objects of a selection one after another; while codecs work, as many ahead as keep all of them busy."""

    def __init__(self, server: Server, maker: Maker, selection: Selection, reader: Reader) -> None:
        self._most = server.codecs.workers + 1
        self._maker = maker
        self._selection = selection
        self._reader = reader
        self._waiting: deque[Next] = deque()

    def take(self) -> Next | None:
        """The next object, opened; None behind the last, and once the selection is stopped."""
        if not self._waiting and not self._taken():
            return None
        found = self._waiting.popleft()
        while (found.making or any(each.making for each in self._waiting)) and self._has_room(found) and self._taken():
            pass
        return found

    def close(self) -> None:
        """Give back what was taken and not returned."""
        for each in reversed(self._waiting):
            each.close()
            self._selection.give_back(each.row)
        self._waiting.clear()

    def _has_room(self, found: Next) -> bool:
        if len(self._waiting) >= self._most:
            return False
        together = (found, *self._waiting)
        return sum(each.outgoing.file.length for each in together if each.outgoing is not None) < _MOST_BYTES

    def _taken(self) -> bool:
        row = self._selection.take()
        if row is None:
            return False
        outgoing = self._reader.open(row)
        making = None
        if outgoing is not None:
            try:
                making = self._maker.make(outgoing)
            except BaseException:
                outgoing.close()
                self._selection.give_back(row)
                raise
        self._waiting.append(Next(row, outgoing, making))
        return True
