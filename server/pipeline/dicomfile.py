"""A stored object as a DICOM file in the form somebody asks for, on its way out."""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from server.server import Server
from storage.codecs.native import convert
from storage.errors import NotConvertible, NotDicom
from storage.frames import keep_frames
from storage.header import read_header
from storage.part10 import ObjectFile, file_meta, read_object_file
from storage.transfer import NATIVE

if TYPE_CHECKING:
    from storage.transcode import Wanted

log = logging.getLogger("dgate")

_PIECE = 256 * 1024
_SOP_CLASS, _SOP_INSTANCE = (0x00080016,), (0x00080018,)


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A file to be sent once: its pieces, and how many bytes they are together, None where that is not known yet.

    Whoever does not take all pieces calls `close`.
    """

    pieces: Iterator[bytes]
    close: Callable[[], None]
    length: int | None = None


def dicom_file(server: Server, path: Path, transfer_syntax: str) -> DicomFile:
    """Open a stored object as a file in `transfer_syntax`, an empty one being that it is stored in.

    Pixels are decoded and encoded only where that cannot be avoided. What keeps the object from being sent is found
    before this returns: NotConvertible, CodecFailed, NotDicom or OSError.
    """
    from storage.transcode import Wanted  # here, and below: most objects go out as they are, without codecs

    file = _named(read_object_file(path))
    wanted = transfer_syntax or file.transfer_syntax
    if wanted == file.transfer_syntax:
        source = path.open("rb")
        source.seek(file.offset)
        meta = file_meta(file.sop_class, file.sop_instance, wanted)
        return DicomFile(itertools.chain((meta,), _rest(source)), source.close, len(meta) + file.length)
    if {wanted, file.transfer_syntax} <= set(NATIVE):
        meta = file_meta(file.sop_class, file.sop_instance, wanted)
        pieces = convert(file, wanted)
        return DicomFile(itertools.chain((meta,), pieces), pieces.close)
    return made_file(server, path, Wanted(wanted, meta=True))


def made_file(server: Server, path: Path, *steps: Wanted) -> DicomFile:
    """Do what each of `steps` asks for in a codec process, one on the result of the other, and open what comes out.

    A step that has nothing to change leaves the object as it is. An object whose pixels lose something gets a new SOP
    instance UID: it must never take the place of the one it was made of. Raises as `dicom_file` does.
    """
    with tempfile.TemporaryDirectory(dir=server.storage.temporary) as directory:
        made = path
        for number, wanted in enumerate(steps):
            made = _step(server, made, wanted, Path(directory) / str(number))
        if made == path:
            return dicom_file(server, path, "")
        source = made.open("rb")
    return DicomFile(_rest(source), source.close, os.fstat(source.fileno()).st_size)


def write_frames(server: Server, path: Path, out: Path, frames: Iterable[int]) -> None:
    """Write an object of these frames, counted from 0, to `out`, which is replaced when all of it is there.

    It is uncompressed and has a new SOP instance UID. Raises as `dicom_file` does.
    """
    from storage.transcode import Wanted

    made = made_file(server, path, Wanted("un", frames=tuple(frames), meta=True))
    part = out.with_name(f".{out.name}.part")
    try:
        with part.open("wb") as target:
            for piece in made.pieces:
                target.write(piece)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _step(server: Server, path: Path, wanted: Wanted, out: Path) -> Path:
    """Do one step; the result is in `out`, or `path` when there is nothing to do."""
    from storage.transcode import transcode

    cut = out.with_suffix(".cut")
    if wanted.frames is not None and server.codecs.run(keep_frames, path, wanted.frames, cut):
        path = cut
    done = server.codecs.run(transcode, path, replace(wanted, new_uid=wanted.new_uid or server.new_uid()), out)
    for note in done.notes:
        log.info("%s: %s", done.sop_instance, note)
    if not done.changed and wanted.to.startswith("1."):
        raise NotConvertible(done.reason)
    return out if done.changed else path


def _named(file: ObjectFile) -> ObjectFile:
    """The file with its SOP UIDs, which files without group 0002 have in their data set alone."""
    if file.sop_class and file.sop_instance:
        return file
    with file.path.open("rb") as source:
        source.seek(file.offset)
        header = read_header(source, file.transfer_syntax, (_SOP_CLASS, _SOP_INSTANCE))
    named = replace(file, sop_class=header.text(*_SOP_CLASS), sop_instance=header.text(*_SOP_INSTANCE))
    if not (named.sop_class and named.sop_instance):
        raise NotDicom("it lacks its SOP class or SOP instance UID")
    return named


def _rest(source: BinaryIO) -> Iterator[bytes]:
    with source:
        while piece := source.read(_PIECE):
            yield piece
