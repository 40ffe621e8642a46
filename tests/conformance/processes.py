"""The processes of a running server, as /proc shows them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.conformance.dialogue import wait_until
from tests.conformance.scu import Wire


def family(supervisor: int) -> dict[str, int]:
    """The processes that a server consists of beside its supervisor, by name."""
    found = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                head, _, tail = (directory / "stat").read_text().rpartition(")")
            except (FileNotFoundError, ProcessLookupError):
                continue
            state, parent = tail.split()[:2]
            if int(parent) == supervisor:
                name = head.partition("(")[2]
                found[name if state != "Z" else f"zombie {directory.name}"] = int(directory.name)
    return found


def workers(supervisor: int) -> list[int]:
    """The processes that hold associations."""
    return sorted(pid for name, pid in family(supervisor).items() if name.startswith("dgate worker"))


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def holder(supervisor: int, peer: Wire) -> int:
    """The process at the other end of a connection."""
    own, other = peer.socket.getsockname()[1], peer.socket.getpeername()[1]
    ends = (f":{other:04X}", f":{own:04X}")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [row[9] for row in rows if (row[1][-5:], row[2][-5:]) == ends]
    found = [pid for pid in workers(supervisor) if f"socket:[{inode}]" in descriptors(pid)]
    assert len(found) == 1, found
    return found[0]


def descriptors(pid: int) -> list[str]:
    """What the open descriptors of a process stand for."""
    names = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            names.append(str(link.readlink()))
        except FileNotFoundError:
            continue
    return names


def unnamed(pid: int, device: Path) -> list[int]:
    """The sizes of the files without a name that a process has open on a device."""
    sizes = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(link.readlink()).startswith(f"{device}/"):
                status = link.stat()
                sizes += [status.st_size] if status.st_nlink == 0 else []
    return sizes


def replaced(supervisor: int, name: str, pid: int) -> bool:
    """Wait until another process has taken the place of one that was killed."""
    return wait_until(lambda: family(supervisor).get(name, pid) != pid)


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def seconds_used(pid: int) -> float:
    """How much time of processors a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
