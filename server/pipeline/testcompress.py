"""One object entered under many compression codes, to try a site's codecs and those of who retrieves it."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

from server.pipeline.compression import code_of, makes_nki, may_hold_nki
from server.pipeline.ingest import Incoming, ingest
from server.server import Server
from storage.codecs.native import edited, element
from storage.part10 import ObjectFile, file_meta, read_object_file

log = logging.getLogger("dgate")

_CODES = ["un", "as", "n1", "n2", "n3", "n4", "j1", "j2", "j3", "j4", "j5", "j6", "jk", "jl", "k1", "k2", "k4", "k8"]
_SOP_INSTANCE, _IMAGE_NUMBER = 0x00080018, 0x00200013


def enter_variants(server: Server, path: Path) -> None:
    """Enter copies of an object under each of the codes, each of them four times: see the command `testcompress:`.

    A code that does not fit leaves a copy as it is. Raises StorageError, the exceptions of `ingest`, or OSError.
    """
    with tempfile.TemporaryDirectory(dir=server.storage.temporary) as directory:
        base = _under(server, path, "un", Path(directory) / "base")
        for code in _CODES:
            for steps in ((), (code,), (code, "un"), (code, "un", code)):
                _enter(server, base, code, steps, Path(directory))


def _enter(server: Server, base: Path, code: str, steps: tuple[str, ...], directory: Path) -> None:
    file = read_object_file(base)
    uid = server.new_uid()
    made = directory / "0"
    edits = {_SOP_INSTANCE: element("UI", uid.encode("ascii")), _IMAGE_NUMBER: element("IS", code.encode("ascii"))}
    with base.open("rb") as source, made.open("wb") as out:
        source.seek(file.offset)
        out.write(file_meta(file.sop_class, uid, file.transfer_syntax))
        for piece in edited(source, file.transfer_syntax, file.transfer_syntax, edits):
            out.write(piece)
    for number, step in enumerate(steps, 1):
        made = _under(server, made, step, directory / str(number))
    _stored(server, read_object_file(made))


def _under(server: Server, path: Path, text: str, out: Path) -> Path:
    from storage.recoding import transcode_first
    from storage.transcode import Wanted

    to = "un" if makes_nki(code_of(text)) and not may_hold_nki(server) else text
    wanted = Wanted(to, quality=server.storage.settings.LossyQuality, meta=True)
    done = server.codecs.run(transcode_first, path, (wanted,), out)
    if not done.changed:
        log.info("Compression %r: %s stays as it is: %s", text, done.sop_instance, done.reason)
    return out if done.changed else path


def _stored(server: Server, file: ObjectFile) -> None:
    uids = (file.sop_class, file.sop_instance, file.transfer_syntax)
    spool = server.storage.spool(*uids)
    try:
        with file.path.open("rb") as source:
            source.seek(file.offset)
            shutil.copyfileobj(source, spool)
        log.info("%s", ingest(server, Incoming(spool, *uids, server.ae_title, server.ae_title, "as")))
    finally:
        spool.discard()
