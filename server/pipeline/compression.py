"""Compression codes on the way in: an object brought into the form asked for, between its arrival and its file."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from server.server import Server
from server.status import cause
from storage.codecs.table import RLE, Code, parse_code
from storage.errors import NotConvertible, StorageError
from storage.header import Header, read_header
from storage.settings import StorageSettings
from storage.spool import Spool
from storage.transfer import IMPLICIT_LITTLE, is_jpeg

if TYPE_CHECKING:
    from storage.transcode import Transcoded

log = logging.getLogger("dgate")

# Codes are few, and each object asks for one.
code_of = lru_cache(maxsize=256)(parse_code)
# What a code does that no codec can: a script, an entry without file.
NOT_OF_PIXELS = ("s", "v")
SOP_INSTANCE = (0x00080018,)


def incoming_code(settings: StorageSettings, asked: str | None) -> str:
    """The code for objects that are received: what was asked for with ``~xx``, else that of dicom.ini."""
    return asked or settings.IncomingCompression or file_compress_code(settings)


def dropped_code(settings: StorageSettings) -> str:
    """The code for files that are added."""
    return settings.DroppedFileCompression or file_compress_code(settings)


def file_compress_code(settings: StorageSettings) -> str:
    """The code that the obsolete FileCompressMode stands for, where nothing else is said."""
    return f"n{settings.FileCompressMode}" if 1 <= settings.FileCompressMode <= 4 else "as"


def compressed(server: Server, spool: Spool, text: str) -> tuple[Spool, Header] | None:
    """Bring a spooled object under a compression code: a spool of its own with its header, or None when it stays.

    What the code does not fit, and what a codec fails, crashes or hangs on, stays as it was received, with a line in
    the log. Whoever gets a spool ends it, and the one given.
    """
    if _is_as_asked(text, spool.transfer_syntax):
        return None
    code = code_of(text)
    if code.codec.code in NOT_OF_PIXELS:
        _stays(code, spool, "this is not done yet")
        return None
    scratch: list[Path] = []
    try:
        scratch += server.storage.scratch(), server.storage.scratch()
        return _made(server, spool, code, spool.file(scratch[0]), scratch[1])
    except (StorageError, OSError) as error:
        log.error(
            "***Compression %r failed: %s is kept as received (%s): %s",
            *(code.text, spool.sop_instance, spool.transfer_syntax, cause(error)),
        )
        return None
    finally:
        for file in scratch:
            file.unlink(missing_ok=True)


def _made(server: Server, spool: Spool, code: Code, source: Path, out: Path) -> tuple[Spool, Header] | None:
    from storage.recoding import transcode_first  # here: most servers keep objects as they come
    from storage.transcode import Wanted

    settings = server.storage.settings
    to = code.text
    if makes_nki(code) and not may_hold_nki(server):
        to = "un"  # as ConQuest, which decompresses what goes into a .dcm file
    wanted = Wanted(to, quality=settings.LossyQuality, meta=True)
    done = server.codecs.run(transcode_first, source, (wanted,), out)
    if not done.changed:
        _stays(code, spool, done.reason)
        return None
    count(server, spool.transfer_syntax, done, to)
    for note in done.notes:
        log.info("%s: %s", spool.sop_instance, note)
    made = server.storage.take(out)
    try:
        with closing(made.data()) as data:
            header = read_header(data, made.transfer_syntax, server.wanted, whole=True)
        if header.text(*SOP_INSTANCE) != spool.sop_instance:
            raise NotConvertible("its SOP instance UID did not stay")
    except BaseException:
        made.discard()
        raise
    return made, header


def _stays(code: Code, spool: Spool, why: str) -> None:
    log.info(
        "Compression %r: %s is kept as received (%s): %s",
        *(code.text, spool.sop_instance, spool.transfer_syntax, why),
    )


@lru_cache(maxsize=1024)
def _is_as_asked(text: str, transfer_syntax: str) -> bool:
    """Whether a code leaves an object as it is, or it is in the code's best form already, as its syntax tells."""
    code = code_of(text)
    return code.keeps(transfer_syntax) or (code.codec.makes[:1] == (transfer_syntax,) and code.factor is None)


def count(server: Server, before: str, done: Transcoded, code: str = "") -> None:
    """Count what a codec process has done, for `display_status:`: by the forms before and after, and the code."""
    families = {_family(before), _family(done.transfer_syntax)} | ({"NKI"} if done.nki else set())
    if code_of(code).side is not None and done.lossy:
        families.add("Downsize")
    for family in families - {""}:
        server.counters.add(f"Codec{family}")


def _family(transfer_syntax: str) -> str:
    if transfer_syntax == RLE:
        return "RLE"
    if not is_jpeg(transfer_syntax):
        return ""
    last = transfer_syntax.rpartition(".")[2]
    return "JPEG2000" if len(last) == 3 or last >= "90" else "JPEG"


def makes_nki(code: Code) -> bool:
    """Whether a code makes ConQuest's own compression."""
    return code.codec.code in ("n", "n#", "nj")


def may_hold_nki(server: Server) -> bool:
    """Whether files of the archive may hold ConQuest's own compression: `.v2` files, others where dicom.ini says so."""
    return server.storage.settings.AllowNKIAsDICOM or server.storage.is_bare(IMPLICIT_LITTLE)
