"""The listening socket: accepts connections and gives each its association."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from server.association import AcceptedAssociation
from server.dimse import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from server.server import Server
from server.upper import prepare

log = logging.getLogger("dgate")


# How long a stop waits for associations to end; their threads do not keep the process.
_STOP_SECONDS = 5.0
_ACCEPT_RETRY_S = 0.2


class ListenError(Exception):
    """The port cannot be listened on; the text names key, address and remedy."""


class _Handler(RequestHandler):
    """Builds the association of one connection; pynetdicom's own would build its stock class."""

    server: _Listener

    def _create_association(self) -> AcceptedAssociation:
        ae = self.ae
        association = AcceptedAssociation(ae, self.server.dgate)
        association._server = self.server
        association.name = f"association {self.client_address[0]}:{self.client_address[1]}"
        association.set_socket(AssociationSocket(association, client_socket=self.request))
        association.acceptor.maximum_length = ae.maximum_pdu_size
        association.acceptor.ae_title = self.server.ae_title
        association.acceptor.address_info = self.local
        association.acceptor.implementation_class_uid = ae.implementation_class_uid
        association.acceptor.implementation_version_name = ae.implementation_version_name
        association.requestor.address_info = self.remote
        return association


class _Listener(AssociationServer):
    """pynetdicom's server with a backlog, no delayed segments, and a bound on how long sending may block."""

    request_queue_size = 128
    dgate: Server

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        prepare(connection, self.dgate.settings.TCPIPTimeOut)
        return connection, address


class Listener:
    """Listens for associations until `stop`; `port` is the one that was bound (of interest with TCPPort 0)."""

    def __init__(self, server: Server) -> None:
        settings = server.settings
        _config.LOG_HANDLER_LEVEL = "none"
        ae = ApplicationEntity(ae_title="DGATE")
        ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION
        ae.maximum_pdu_size = settings.PDUSize
        ae.maximum_associations = settings.MaxAssociations
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = settings.TCPIPTimeOut
        address = (settings.BindAddress, settings.TCPPort)
        try:
            self._listener = _Listener(ae, address, "DGATE", [], request_handler=_Handler)
        except OSError as error:
            where = f"{address[0] or '*'}:{address[1]}"
            raise ListenError(
                f"TCPPort: cannot listen on {where}: {error.strerror}; stop what uses the port or choose another"
            ) from None
        self._listener.dgate = server
        assert self._listener.socket is not None, "the socket was bound"
        self._socket: socket.socket = self._listener.socket
        self._socket.settimeout(None)
        self._ae = ae
        self._stopping = threading.Event()
        self.port: int = self._listener.server_address[1]
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
        self._thread.join()
        self._listener.server_close()
        for association in self._ae.active_associations:
            cast(AcceptedAssociation, association).hang_up()
        end = time.monotonic() + _STOP_SECONDS
        for association in self._ae.active_associations:
            association.join(max(0.0, end - time.monotonic()))

    def _accept(self) -> None:
        """Give each connection its association until the socket is shut down."""
        while not self._stopping.is_set():
            try:
                connection, address = self._listener.get_request()
            except OSError as error:
                if not self._stopping.is_set():
                    log.error("***Cannot accept a connection: %s", error.strerror)
                    # Out of file descriptors, most likely: it passes when associations end.
                    self._stopping.wait(_ACCEPT_RETRY_S)
                continue
            try:
                self._listener.process_request(connection, address)
            except OSError as error:
                log.error("***Connection from %s failed: %s", address[0], error.strerror)
                connection.close()
