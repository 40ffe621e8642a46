"""The listening socket: accepts connections and gives each its association."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler
from pynetdicom.utils import make_target

from server.association import AcceptedAssociation
from server.dimse import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, prepare
from server.server import Server

log = logging.getLogger("dgate")


# How long a stop waits for associations to end; their threads do not keep the process.
_STOP_SECONDS = 5.0


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

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("*** Connection from %s failed", client_address)


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
        # pynetdicom's shutdown takes the server off this list.
        ae._servers.append(self._listener)  # type: ignore[arg-type]
        self._ae = ae
        self.port: int = self._listener.server_address[1]
        server.port = self.port
        self._thread = threading.Thread(target=make_target(self._listener.serve_forever), name="listener")

    def start(self) -> None:
        """Accept connections in a thread of their own."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port, then abort what is still open."""
        self._listener.shutdown()
        self._thread.join()
        for association in self._ae.active_associations:
            cast(AcceptedAssociation, association).hang_up()
        end = time.monotonic() + _STOP_SECONDS
        for association in self._ae.active_associations:
            association.join(max(0.0, end - time.monotonic()))
