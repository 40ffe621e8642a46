"""Logging options: what the server is doing and how full it is."""

from __future__ import annotations

import re
import shutil
import struct
import time

from dgate import __version__
from dgate.arguments import NUMBER, REPLY, Filled, Number, OutputFile, Printf
from dgate.command import CommandError, command
from server.authority import Caller
from server.dimse import PeerGone
from server.outgoing import peer_or_self
from server.scu import VERIFICATION, AssociationFailed, Proposal, associate, send_c_echo
from server.server import Server
from storage.transfer import IMPLICIT_LITTLE

GROUP = "Logging options"

MB = 1024 * 1024

# CACHE devices belong to jukeboxes, of which there are none.
_DEVICE = re.compile("MAG|MIRROR|CACHE")
# What is counted of codecs; planes and palettes are never removed.
_CODECS = ("NKI", "JPEG", "JPEG2000", "RLE")


@command("debuglog_on:file/port", group=GROUP)
def debuglog_on(server: Server, file_port: Filled, *, caller: Caller) -> None:
    """Start debug logging.

    A name that begins with a digit is a UDP port of the operator console, any other a file, to which lines are
    appended with time stamps. Normal logging goes there too, and no longer to where it went.
    """
    _switch(server, file_port, caller, debug=True)


@command("log_on:file/port/pipe", group=GROUP)
def log_on(server: Server, file_port_pipe: Filled, *, caller: Caller) -> None:
    """Start normal logging.

    As `debuglog_on`, without the debug log, which stops.
    """
    _switch(server, file_port_pipe, caller, debug=False)


def _switch(server: Server, target: str, caller: Caller, *, debug: bool) -> None:
    if target[0].isdigit():
        if not target.isdigit() or not 0 < int(target) < 65536:
            raise CommandError(f"{target} is no port; a file name may not begin with a digit")
    else:
        target = str(caller.path(target, server.base))
    try:
        server.logs.switch(target, debug=debug)
    except OSError as error:
        raise CommandError(f"cannot log to {target}: {error.strerror}") from error


@command("debuglevel:level", group=GROUP)
def debuglevel(server: Server, level: Number) -> None:
    """Set debug logging level.

    0 writes nothing to the debug log, 1 to 4 everything.
    """
    if not 0 <= level <= 4:
        raise CommandError(f"{level} is no debug level: they are 0 to 4")
    server.logs.set_debug_level(level)


@command("display_status:file", group=GROUP, rights="read")
def display_status(server: Server, file: OutputFile = REPLY) -> str:
    """Display server status.

    The lines are ConQuest's, its spelling of ``recieved`` included, because monitoring scripts parse them.
    """
    done, running = server.counters, server.running
    bits = struct.calcsize("P") * 8
    threads = f"Threads={running.threads} ({running.open_threads} open)"
    images = ", ".join(
        f"{what}={done[name]}"
        for what, name in (("sent", "ImagesSent"), ("recieved", "ImagesReceived"), ("forwarded", "ImagesForwarded"))
    )
    served = f"Echo:{done['Echo']}, Find:{done['Find']}, Move:{done['Move'] + done['Get']}, Unknown:{done['Unknown']}"
    codecs = ", ".join(f"{name} {done[f'Codec{name}']}" for name in _CODECS)
    seconds = int(time.time() - server.started)
    about = f"version {__version__}, port {server.port}, bits {bits}"
    lines = [
        f"DICOM server '{server.ae_title}' ({about}) was started on {time.ctime(server.started)}",
        "Old JPEG decoder=0, JPEGLIB jpeg codec=0, LIBJASPER jpeg2000 codec=0",
        f"Run time (s) total {seconds}, query 0, load 0, save 0, compress 0, process 0, gpps 0",
        f"Associations={running.threads}; {threads}; Images {images}",
        "Images printed=0, in color=0",
        f"Activity: {served}, gpps:0",
        f"Images (de)compressed: {codecs}, Planes removed 0, Palettes removed 0, Downsize {done['CodecDownsize']}",
        *(f"Space on {space.name:<6}: {space.free_mb} MByte" for space in server.storage.space()),
        f"Database type: {server.index.database_type}",
    ]
    return file.deliver("".join(f"{line}\n" for line in lines), pre=True)


@command("status_string:file", group=GROUP, rights="read")
def status_string(server: Server, file: OutputFile = REPLY) -> str:
    """Display status string of submit operation.

    Empty when nothing was submitted since the server started.
    """
    return file.deliver(server.status_string, pre=True, content_type="text/plain")


@command("get_freestore:dev,fmt", group=GROUP, rights="read")
def get_freestore(server: Server, dev: str, fmt: Printf = NUMBER) -> str:
    """Report free #Mb on device.

    `dev` is ``MAGn``, or ``MIRRORn`` for its mirror. The reply is the whole number of mebibytes that can still be
    written there, printed through `fmt`: ``get_freestore:MAG0,%d MB free`` gives ``51200 MB free``.

    A number that dicom.ini does not declare has 0 free and a name of any other kind -1, so that scripts which test
    for these keep working.
    """
    return fmt % _free_mb(server, dev.strip().upper())


def _free_mb(server: Server, name: str) -> int:
    kind = _DEVICE.match(name)
    if kind is None:
        return -1
    for device in server.storage.devices:
        root = {"MAG": device.root, "MIRROR": device.mirror}.get(kind[0])
        if root is not None and name == device.name.replace("MAG", kind[0]):
            try:
                return shutil.disk_usage(root).free // MB
            except OSError:
                return 0  # its directory is gone
    return 0


@command("echo:AE,file", group=GROUP, rights="read")
def echo(server: Server, AE: Filled, file: OutputFile = REPLY) -> str:
    """Echo server; show response.

    `AE` is a title of acrnema.map, or this server's own; the reply is ``AE is UP`` or ``AE is DOWN``.
    """
    return file.deliver(f"{AE} is {'UP' if _answers(server, AE) else 'DOWN'}", pre=True)


def _answers(server: Server, ae: str) -> bool:
    peer = peer_or_self(server, ae)
    if peer is None:
        return False
    proposals = [Proposal(VERIFICATION, (IMPLICIT_LITTLE,))]
    try:
        with associate(peer, server.ae_title, proposals, timeout_s=server.settings.TCPIPTimeOut) as association:
            return send_c_echo(association) == 0
    except (AssociationFailed, PeerGone):
        return False
