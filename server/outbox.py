"""Messages on their way out: cut into PDUs, small ones gathered, large ones handed to the kernel as they lie."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from server.commandset import Buffer
from server.upper import pdus, pdv

# What one PDU of ours carries at most; also DCMTK's hard limit.
MAX_PDU = 131072
# Small messages are sent together: so many bytes of them at a time, or after so long.
_COLLECT_BYTES = 32768
_COLLECT_SECONDS = 0.05
# Of a large message so much is handed to the kernel at a time, in so many parts at most (IOV_MAX is 1024).
_SEND_BYTES = 1 << 20
_SEND_PARTS = 1000


class PeerGone(Exception):
    """The association ended, or the peer stayed silent longer than TCPIPTimeOut, in the middle of an exchange."""


class Outbox(ABC):
    """Sends the messages of one association (PS3.7 6.3, PS3.8 Annex E); for the thread that owns it."""

    def __init__(self) -> None:
        self._collected = bytearray()
        self._collecting_since = 0.0
        self._most = 0

    @property
    @abstractmethod
    def _largest(self) -> int:
        """The largest PDU that the peer takes; 0 for any."""

    @abstractmethod
    def _transmit(self, parts: Sequence[Buffer]) -> None:
        """Write encoded P-DATA to the peer; raises PeerGone."""

    @abstractmethod
    def _give_up(self) -> None:
        """Abort the association."""

    def send(self, context_id: int, command: bytes, data: Iterable[Buffer] | None = None) -> None:
        """Send one message; `data` is the encoded data set in pieces of any size, left alone until this returns.

        Raises PeerGone. An error of `data` itself passes through while nothing has been sent; later it can only end the
        association.
        """
        if data is None and not self._collected and len(command) <= self._payload:
            self._transmit((pdv(context_id, command),))
            return
        waiting: list[Buffer] = [self._collected] if self._collected else []
        self._collected = bytearray()
        size = 0
        begun = False
        try:
            for part in pdus(context_id, command, data, self._payload):
                waiting.append(part)
                size += len(part)
                if size >= _SEND_BYTES or len(waiting) >= _SEND_PARTS:
                    begun = True
                    self._transmit(waiting)
                    waiting, size = [], 0
        except PeerGone:
            raise
        except Exception as error:
            if not begun:
                raise
            self._give_up()
            raise PeerGone(f"reading what was being sent failed: {type(error).__name__}") from error
        if waiting:
            self._transmit(waiting)

    def collect(self, context_id: int, command: bytes) -> None:
        """Send a message without data set, together with its neighbours; `send` sends what is left. Raises PeerGone."""
        now = time.monotonic()
        if not self._collected:
            self._collecting_since = now
        for part in pdus(context_id, command, None, self._payload):
            self._collected += part
        self._flush(_COLLECT_BYTES if now - self._collecting_since < _COLLECT_SECONDS else 0)

    def send_many(self, context_id: int, command: bytes, data_sets: Iterable[bytes]) -> None:
        """Send a message for each data set, all with the same command; a few wait for what `send` sends next.

        Raises PeerGone.
        """
        limit = self._payload
        heads: dict[int, bytes] = {}
        for data in data_sets:
            if len(data) > limit or len(command) > limit:
                self._collected += b"".join(pdus(context_id, command, (data,), limit))
                continue
            head = heads.get(len(data))
            if head is None:
                *parts, _ = pdus(context_id, command, (data,), limit)
                head = heads[len(data)] = b"".join(parts)
            self._collected += head + data
        self._flush(_COLLECT_BYTES)

    def _flush(self, least: int) -> None:
        """Send what has been collected when that is as much as this."""
        if len(self._collected) >= least:
            collected, self._collected = self._collected, bytearray()
            self._transmit((collected,))

    @property
    def _payload(self) -> int:
        """How much of a message one PDU to the peer carries: what it takes (0: anything), less the PDV's own head."""
        if not self._most:
            self._most = max(min(self._largest or MAX_PDU, MAX_PDU) - 6, 2)
        return self._most
