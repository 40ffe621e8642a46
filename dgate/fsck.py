"""`dgate --fsck[:repair]`: files and index compared, beside a running server or without one."""

from __future__ import annotations

from dgate.app import build
from dgate.commandline import Invocation
from dgate.starting import Failed, configuration, told
from server.pipeline.fsck import fsck
from storage.errors import DeviceBusy

CLEAN, FINDINGS, COULD_NOT_RUN = 0, 1, 2


def check_files(invocation: Invocation) -> int:
    """Print one line a finding; 0 when there is none or all are mended, 1 when some remain, 2 when it could not run.

    Beside a running server the index is shared with it, and objects that arrive meanwhile are no findings.
    """
    repair = invocation.argument == "repair"
    remaining = 0
    try:
        with told():
            server = build(configuration(invocation))
            try:
                locks = server.storage.lock()
            except DeviceBusy:
                locks = None
            try:
                for finding in fsck(server, repair=repair, alone=locks is not None):
                    print(finding, flush=True)
                    remaining += not finding.settled
            finally:
                server.index.close()
                if locks is not None:
                    locks.close()
    except Failed:
        return COULD_NOT_RUN
    return FINDINGS if remaining else CLEAN
