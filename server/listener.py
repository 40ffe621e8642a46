"""The listening socket: accepts connections and gives each its association."""

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

from server.association import AcceptedAssociation
from server.server import Server
from server.upper import Connection, prepare
from storage.part10 import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

log = logging.getLogger("dgate")

_BACKLOG = 128
# How many connections may be without an association request; of more, the one that waited longest is closed.
_WAITING = 64
# How long a stop waits for associations to end; their threads do not keep the process.
_STOP_SECONDS = 5.0
_RETRY_SECONDS = 0.2


class ListenError(Exception):
    """The port cannot be listened on; the text names key, address and remedy."""


class Listener:
    """Listens for associations until `stop`; `port` is the one that was bound (of interest with TCPPort 0)."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ae = _entity(server)
        self._socket = _bound(server.settings.BindAddress, server.settings.TCPPort)
        self._stopping = threading.Event()
        self._waiting: deque[AcceptedAssociation] = deque()
        self.port: int = self._socket.getsockname()[1]
        server.port = self.port
        self._thread = threading.Thread(target=self._accept, name="listener")

    def start(self) -> None:
        """Accept connections in a thread of their own."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, then end what is still open."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()
        associations = [one for one in self._ae.active_associations if isinstance(one, AcceptedAssociation)]
        for association in associations:
            association.hang_up()
        end = time.monotonic() + _STOP_SECONDS
        for association in associations:
            association.join(max(0.0, end - time.monotonic()))

    def _accept(self) -> None:
        """Give each connection its association until the socket is shut down."""
        while not self._stopping.is_set():
            try:
                connection, address = self._socket.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    log.error("***Cannot accept a connection: %s", error.strerror)
                    # Out of file descriptors, most likely: it passes when associations end.
                    self._stopping.wait(_RETRY_SECONDS)
                continue
            try:
                self._begin(connection, address)
            except (OSError, RuntimeError) as error:  # gone already, or no thread can be started
                log.error("***Connection from %s failed: %s", address[0], error)
                connection.close()

    def _begin(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        prepare(connection, self._server.settings.TCPIPTimeOut)
        self._make_room()
        association = AcceptedAssociation(self._ae, self._server)
        association.name = f"association {address[0]}:{address[1]}"
        association.set_socket(Connection(association, client_socket=connection))
        association.acceptor.maximum_length = self._server.settings.PDUSize
        association.acceptor.ae_title = self._ae.ae_title
        association.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        association.acceptor.implementation_class_uid = self._ae.implementation_class_uid
        association.acceptor.implementation_version_name = self._ae.implementation_version_name
        association.requestor.address_info = AddressInformation.from_tuple(address)
        association.start()
        self._waiting.append(association)

    def _make_room(self) -> None:
        """Keep silent connections from crowding out the others: they have no association that a limit would count."""
        self._waiting = deque(association for association in self._waiting if association.is_waiting)
        while len(self._waiting) >= _WAITING:
            oldest = self._waiting.popleft()
            log.warning("*** Connection from %s closed: no association request came", oldest.peer_address)
            oldest.hang_up()


def _entity(server: Server) -> ApplicationEntity:
    """What pynetdicom wants to know of us; how many associations there may be is decided when one is requested."""
    _config.LOG_HANDLER_LEVEL = "none"
    ae = ApplicationEntity(ae_title="DGATE")
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS)
    ae.implementation_version_name = IMPLEMENTATION_VERSION
    ae.maximum_associations = 1 << 30
    return ae


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ListenError(
            f"TCPPort: cannot listen on {host or '*'}:{port}: {error.strerror}; "
            "stop what uses the port or choose another"
        ) from None
