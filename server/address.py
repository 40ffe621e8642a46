"""Lists of addresses and address ranges, as settings write them."""

from __future__ import annotations

import ipaddress


def parse_ranges(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Read a list of addresses and ranges such as ``10.0.0.0/8, 192.168.1.7``; raises ValueError naming the bad one."""
    found = []
    for word in text.replace(",", " ").split():
        try:
            found.append(ipaddress.ip_network(word, strict=False))
        except ValueError:
            raise ValueError(f"{word} is no address; write addresses or ranges such as 10.0.0.0/8") from None
    return tuple(found)
