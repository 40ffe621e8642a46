"""Which peer a name stands for: acrnema.map, and this server itself."""

from __future__ import annotations

import ipaddress
import socket
import time
from functools import lru_cache

from server.scu import Peer
from server.server import Server

_ANY = ("", "0.0.0.0", "::")
# How long the addresses of a name are remembered.
_NAMES_SECONDS = 300.0


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


def is_known(server: Server, ae: str, address: str) -> bool:
    """Whether acrnema.map has an AE title, and with the address that who claims it comes from."""
    entry = server.amap.lookup(ae)
    return entry is not None and _plain(address) in _addresses(entry.address, int(time.time() / _NAMES_SECONDS))


@lru_cache(maxsize=1024)
def _addresses(host: str, period: int) -> frozenset[str]:
    """The addresses of a host of the map; none while its name cannot be looked up."""
    try:
        return frozenset(_plain(str(found[4][0])) for found in socket.getaddrinfo(host, None))
    except OSError:
        return frozenset()


def _plain(address: str) -> str:
    """An address in its shortest form: an IPv4 address may come as an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
