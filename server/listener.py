"""The listening socket, and the associations that connections become."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from typing import Any

from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AddressInformation

from server.address import taken
from server.association import AcceptedAssociation
from server.server import Server
from server.upper import Connection, prepare
from storage.part10 import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

log = logging.getLogger("dgate")

_BACKLOG = 128
# How many connections may be without an association request; of more, the one that waited longest is closed.
WAITING = 64
# How long a stop waits for answers under way, then for associations to end; their threads do not keep the process.
_ANSWER_SECONDS = 0.5
_STOP_SECONDS = 5.0
# How long nothing is accepted when the system has no descriptors left.
RETRY_SECONDS = 0.2


class ListenError(Exception):
    """The port cannot be listened on; the text names key, address and remedy."""


class Associations:
    """Makes an association of each connection this process is given, and ends them all.

    Of connections without an association request `waiting` may be open; then the oldest of them is closed.
    """

    def __init__(self, server: Server, waiting: int = WAITING) -> None:
        self._server = server
        self._ae = _entity()
        self._limit = waiting
        self._waiting: deque[AcceptedAssociation] = deque()

    def begin(self, connection: socket.socket, address: tuple[Any, ...], number: int = 0) -> None:
        """Serve a connection in a thread of its own, under the thread number it may have got already.

        Raises OSError when it has gone, RuntimeError when no thread can be started; then it is the caller's to close.
        """
        self._server.refresh()
        settings = self._server.settings
        prepare(connection, settings.TCPIPTimeOut)
        self._make_room()
        association = AcceptedAssociation(self._ae, self._server)
        association.name = f"association {address[0]}:{address[1]}"
        association.thread_number = number
        association.set_socket(Connection(association, client_socket=connection))
        association.acceptor.maximum_length = settings.PDUSize
        association.acceptor.ae_title = self._ae.ae_title
        association.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        association.acceptor.implementation_class_uid = self._ae.implementation_class_uid
        association.acceptor.implementation_version_name = self._ae.implementation_version_name
        association.requestor.address_info = AddressInformation.from_tuple(address)
        association.start()
        self._waiting.append(association)

    def stop(self) -> None:
        """End what is open: answers under way, such as that to `quit:`, get a moment, the rest is aborted."""
        associations = [one for one in self._ae.active_associations if isinstance(one, AcceptedAssociation)]
        busy = [one for one in associations if one.is_busy(_ANSWER_SECONDS)]
        for association in associations:
            if association not in busy:
                association.hang_up()
        _join(busy, _ANSWER_SECONDS)
        for association in busy:
            association.hang_up()
        _join(associations, _STOP_SECONDS)

    def _make_room(self) -> None:
        """Keep silent connections from crowding out the others: they have no association that a limit would count."""
        self._waiting = deque(association for association in self._waiting if association.is_waiting)
        while len(self._waiting) >= self._limit:
            oldest = self._waiting.popleft()
            log.warning("*** Connection from %s closed: no association request came", oldest.peer_address)
            oldest.hang_up()


class Listener:
    """Listens for associations of this process until `stop`; `port` is the one that was bound (with TCPPort 0)."""

    def __init__(self, server: Server) -> None:
        self._associations = Associations(server)
        self._socket = bound(server.settings.BindAddress, server.settings.TCPPort)
        self._stopping = threading.Event()
        self.port: int = self._socket.getsockname()[1]
        server.port = self.port
        self._thread = threading.Thread(target=self._accept, name="listener")

    def start(self) -> None:
        """Accept connections in a thread of their own."""
        listen(self._socket)
        self._thread.start()

    def stop(self) -> None:
        """Close the port, then end what is still open."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()
        self._associations.stop()

    def _accept(self) -> None:
        """Give each connection its association until the socket is shut down."""
        while not self._stopping.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    log.error("***Cannot accept a connection: %s", error.strerror)
                    # Out of file descriptors, most likely: it passes when associations end.
                    self._stopping.wait(RETRY_SECONDS)
                continue
            try:
                self._associations.begin(connection, address)
            except (OSError, RuntimeError) as error:  # gone already, or no thread can be started
                log.error("***Connection from %s failed: %s", address[0], error)
                connection.close()


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the port but does not listen yet; raises ListenError."""
    try:
        return taken(host, port)
    except OSError as error:
        raise _taken(host, port, error) from None


def listen(socket_: socket.socket) -> None:
    """Let peers connect; raises ListenError when another program has begun to listen on the port meanwhile."""
    host, port = socket_.getsockname()[:2]
    try:
        socket_.listen(_BACKLOG)
    except OSError as error:
        raise _taken(host, port, error) from None


def _taken(host: str, port: int, error: OSError) -> ListenError:
    return ListenError(
        f"TCPPort: cannot listen on {host or '*'}:{port}: {error.strerror}; stop what uses the port or choose another"
    )


def _join(associations: list[AcceptedAssociation], seconds: float) -> None:
    end = time.monotonic() + seconds
    for association in associations:
        association.join(max(0.0, end - time.monotonic()))


def _entity() -> ApplicationEntity:
    """What pynetdicom wants to know of us; how many associations there may be is decided when one is requested."""
    _config.LOG_HANDLER_LEVEL = "none"
    ae = ApplicationEntity(ae_title="DGATE")
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS)
    ae.implementation_version_name = IMPLEMENTATION_VERSION
    ae.maximum_associations = 1 << 30
    return ae
