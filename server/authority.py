"""Who may run which command and reach which path: loopback, and what CommandReadOnly and CommandAdmin grant."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.address import parse_ranges

if TYPE_CHECKING:
    from server.settings import ServerSettings


class Forbidden(Exception):
    """A path outside what the caller may reach, or a command it may not run; the text may be told to the caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a command came from, and what that gives it: `rights` is "admin", "read" or "" (nothing).

    `export_root` is where a caller that is no administrator may name files; None when no such place is set.
    """

    address: str
    calling: str = ""
    called: str = ""
    rights: str = ""
    export_root: Path | None = None

    def allows(self, needed: str) -> bool:
        """Whether a command that needs "read" or "admin" may be run."""
        return self.rights == "admin" or (self.rights == "read" and needed == "read")

    def path(self, text: str, base: Path) -> Path:
        """The file a command argument names; relative names are below `base`.

        An administrator reaches whatever the daemon's user can; everybody else only what lies below ExportRoot,
        symbolic links resolved. Raises Forbidden.
        """
        if "\0" in text:
            raise Forbidden("a file name holds a NUL")
        if self.rights == "admin":
            return base / text
        if self.export_root is None:
            raise Forbidden(
                "file names are accepted from loopback and CommandAdmin only: set ExportRoot to allow others"
            )
        root = self.export_root.resolve()
        resolved = (root / text).resolve()
        if not resolved.is_relative_to(root):
            raise Forbidden(f"{text} is not below ExportRoot")
        return resolved


def caller_for(settings: ServerSettings, base: Path, address: str, calling: str = "", called: str = "") -> Caller:
    """Look up what `address` may do (design section 8): loopback everything, others what the address ranges grant."""
    export_root = base / settings.ExportRoot if settings.ExportRoot else None
    return Caller(address, calling, called, _rights(settings, address), export_root)


def _rights(settings: ServerSettings, address: str) -> str:
    try:
        peer = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    if peer.is_loopback or _within(peer, settings.CommandAdmin):
        return "admin"
    return "read" if _within(peer, settings.CommandReadOnly) else ""


def _within(peer: ipaddress.IPv4Address | ipaddress.IPv6Address, ranges: str) -> bool:
    return any(peer in network for network in parse_ranges(ranges))
