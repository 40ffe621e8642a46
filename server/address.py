"""Addresses as settings write them: lists of ranges, and what is listened on."""

from __future__ import annotations

import ipaddress
import socket


def parse_ranges(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Read a list of addresses and ranges such as ``10.0.0.0/8, 192.168.1.7``; raises ValueError naming the bad one."""
    found = []
    for word in text.replace(",", " ").split():
        try:
            found.append(ipaddress.ip_network(word, strict=False))
        except ValueError:
            raise ValueError(f"{word} is no address; write addresses or ranges such as 10.0.0.0/8") from None
    return tuple(found)


def taken(host: str, port: int) -> socket.socket:
    """A socket that has the port but does not listen yet; raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, connections get TCP_NODELAY from asyncio; else every answer waits 40 ms for an acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
