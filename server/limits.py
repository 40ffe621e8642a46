"""How many associations may be open, in all, of one address and of one AE, and the room that is kept for known AEs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks for an association: its address, its calling AE title, and whether acrnema.map has that title there.

    Anybody can claim a title, so `known` is for who comes from the address of the entry too.
    """

    host: str
    ae: str = ""
    known: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How many associations may be open, 0 for no limit: `total`, `per_host` and, of known AEs, `per_host` each.

    Of the total an eighth is kept for known AEs, so that others cannot shut them out.
    """

    total: int = 0
    per_host: int = 0

    @property
    def reserved(self) -> int:
        """How many of the total only known AEs get."""
        return self.total // 8


class Admissions:
    """Which associations are open, and of whom; not for several threads at a time."""

    def __init__(self) -> None:
        self._peers: dict[int, Peer] = {}
        self._unknown = 0
        self._of_ae: Counter[tuple[str, str]] = Counter()
        self.of_host: Counter[str] = Counter()

    def admit(self, number: int, peer: Peer, limits: Limits) -> str:
        """Count association `number` in, or say why there are too many already."""
        why = self._refusal(peer, limits)
        if not why:
            self._peers[number] = peer
            self._count(peer, 1)
        return why

    def leave(self, number: int) -> None:
        """Count an association out, if it was in."""
        peer = self._peers.pop(number, None)
        if peer is not None:
            self._count(peer, -1)

    def _refusal(self, peer: Peer, limits: Limits) -> str:
        if limits.total and len(self._peers) >= limits.total:
            return f"{limits.total} associations are open (MaxAssociations)"
        if limits.total and not peer.known and self._unknown >= limits.total - limits.reserved:
            return (
                f"{self._unknown} associations of AEs that acrnema.map does not know are open, "
                f"{limits.reserved} of {limits.total} are kept for those it does (MaxAssociations)"
            )
        if not limits.per_host:
            return ""
        if peer.known:
            # Behind one address there may be many of them: a gateway, or another server.
            if self._of_ae[peer.host, peer.ae] >= limits.per_host:
                return f"{limits.per_host} associations of its AE are open (MaxAssociationsPerHost)"
        elif self.of_host[peer.host] >= limits.per_host:
            return f"{self.of_host[peer.host]} associations of its host are open (MaxAssociationsPerHost)"
        return ""

    def _count(self, peer: Peer, change: int) -> None:
        self._unknown += 0 if peer.known else change
        self.of_host[peer.host] += change
        self._of_ae[peer.host, peer.ae] += change
        if not self.of_host[peer.host]:
            del self.of_host[peer.host]
        if not self._of_ae[peer.host, peer.ae]:
            del self._of_ae[peer.host, peer.ae]
