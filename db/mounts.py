"""Whether a path lies on a network file system, where file locks cannot be trusted."""

import re
from pathlib import Path

_MOUNTS = Path("/proc/self/mounts")
_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"smb2", "smb3", "smbfs", "fuse.ceph", "fuse.davfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)


def network_file_system(path: Path) -> str:
    """Return the type of the network file system that a path is (or would be made) on, "" when it is local."""
    try:
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux
    return network_type(path.resolve(), mounts)


def network_type(path: Path, mounts: str) -> str:
    """Return the network file system type for an absolute path and the text of /proc/mounts."""
    found, kind = Path("/"), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount_point = Path(_unescape(fields[1]))
        # The last line wins where one file system is mounted over another.
        if path.is_relative_to(mount_point) and mount_point.is_relative_to(found):
            found, kind = mount_point, fields[2]
    return kind if kind in _NETWORK else ""


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
