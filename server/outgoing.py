"""Which peer a name stands for: acrnema.map, and this server itself."""

from __future__ import annotations

from server.scu import Peer
from server.server import Server

_ANY = ("", "0.0.0.0", "::")


def own_peer(server: Server) -> Peer:
    """This server, as it reaches itself."""
    bound = server.settings.BindAddress
    return Peer(server.ae_title, "127.0.0.1" if bound in _ANY else bound, server.port)


def peer_named(server: Server, ae: str) -> Peer | None:
    """The peer of an AE title of acrnema.map; None when it has no line, or one without a usable port."""
    entry = server.amap.lookup(ae)
    if entry is None or not entry.port.isdigit() or not 0 < int(entry.port) < 65536:
        return None
    return Peer(ae.upper() if server.settings.SendUpperCaseAE else ae, entry.address, int(entry.port))


def peer_or_self(server: Server, ae: str) -> Peer | None:
    """The peer of an AE title of acrnema.map, or of our own, which need not stand there."""
    return own_peer(server) if ae == server.ae_title else peer_named(server, ae)
