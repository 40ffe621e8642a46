"""Test options: UIDs and checksums."""

from __future__ import annotations

from dgate.command import command
from server.server import Server

GROUP = "Test options"
_POLYNOMIAL = 0xEDB88320


@command("genuid:", group=GROUP, rights="read")
def genuid(server: Server) -> str:
    """Generate an UID.

    Below UIDPrefix, never the same twice from one server.
    """
    return server.new_uid()


@command("checksum:string", group=GROUP, rights="read")
def checksum(server: Server, string: str = "") -> str:
    """Give checksum of string.

    A CRC-32 that begins with 0 and is not inverted at the end, as ConQuest computes it, in decimal.
    """
    value = 0
    for byte in string.encode("utf-8", "surrogateescape"):
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return str(value)
