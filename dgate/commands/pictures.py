"""Conversion options: stored objects as pictures, as files for others, and by WADO."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from dgate.arguments import Call, Index, ObjectName, OutputFile, ServerFile
from dgate.command import CommandError, command, telling_of_objects
from server.pipeline.dicomfile import made_file, write_frames
from server.pipeline.wado import DICOM, MEDIA, PICTURES, WadoRequest, answer, draw_in_pool
from server.server import Server
from server.web.parameters import BadParameter, parse
from storage.codecs.table import parse_code
from storage.frames import count_frames as frames_of
from storage.render.view import MOST_SIDE, USUAL_QUALITY, Encoding, Region, View, Window

GROUP = "Conversion options"

_JPEG_QUALITY = 95
# What WADO makes of an object when no size is given, as in ConQuest.
_WADO_SIZE = 1600
_MEDIA_OF = {kind: media for media, kind in PICTURES.items()}
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{0,9})?")
# ConQuest writes these without the blank behind the last colon.
_NO_BLANK = frozenset({"image/jpeg", "text/html"})


@dataclass(frozen=True, slots=True)
class PictureFile(OutputFile):
    """Where a picture goes: nowhere or ``binary`` (the plain reply), ``cgi`` (for browsers), else a file."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        output = cls(text, call)
        if text not in ("", "binary", "cgi"):
            output._path()  # refused before anything is drawn
        return output

    def deliver_bytes(self, data: bytes, head: str) -> bytes | None:
        """Return the reply: `data`, behind `head` for browsers, or None after it was written to the file."""
        if self.text in ("", "binary"):
            return data
        if self.text == "cgi":
            return head.encode() + data
        self._path().write_bytes(data)
        return None


PLAIN_REPLY = PictureFile()


@dataclass(frozen=True, slots=True)
class LevelWindow:
    """``level/window/frame/quality``, each of which may be left out; level and window 0: as the object says."""

    window: Window | None = None
    frame: int | None = None
    quality: int | None = None

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        parts = [part.strip() for part in text.split("/")]
        if len(parts) > 4:
            raise ValueError("is not level/window/frame")
        parts += [""] * (4 - len(parts))
        level, width = (_number(part) for part in parts[:2])
        frame, quality = (_whole(part) for part in parts[2:])
        if width < 0 or (0 < width < 1):
            raise ValueError("has a window of less than 1")
        return cls(Window.usable(level, width) if width else None, frame, quality or None)


@dataclass(frozen=True, slots=True)
class Size:
    """``rows/columns``; 0 leaves that side free."""

    rows: int = 0
    columns: int = 0

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        parts = text.split("/")
        if len(parts) > 2:
            raise ValueError("is not rows/columns")
        return cls(*((_whole(part.strip(), MOST_SIDE) or 0) for part in parts))


@dataclass(frozen=True, slots=True)
class Part:
    """``x0/y0/x1/y1``: left, top, right and bottom of a region, as parts of the whole from 0 to 1."""

    region: Region | None = None

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        parts = text.split("/")
        if len(parts) != 4:
            raise ValueError("is not x0/y0/x1/y1")
        left, top, right, bottom = (_number(part.strip()) for part in parts)
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError("is no region: 0 <= x0 < x1 <= 1, y0 and y1 likewise")
        return cls((left, top, right, bottom))


class Side(int):
    """The most pixels that a side of a picture may have; 0 keeps the size."""

    @classmethod
    def parse(cls, text: str, call: Call) -> Self:
        return cls(_whole(text.strip(), 65_535) or 0)


def _number(text: str) -> float:
    if text and not _NUMBER.fullmatch(text):
        raise ValueError("holds what is no number")
    return float(text or 0)


def _whole(text: str, most: int = 10_000_000) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most):
        raise ValueError(f"holds what is no whole number from 0 to {most}")
    return int(text)


_GIF_SIZE, _KEPT = Side(256), Side(0)
_ALL_FROM_OBJECT, _ANY_SIZE, _WHOLE = LevelWindow(), Size(), Part()


@command("convert_to_gif:file,size,out,l/w/f", group=GROUP, rights="read")
def convert_to_gif(
    server: Server,
    file: ObjectName,
    size: Side = _GIF_SIZE,
    out: PictureFile = PLAIN_REPLY,
    l_w_f: LevelWindow = _ALL_FROM_OBJECT,
) -> bytes | None:
    """Downsize and convert to GIF.

    `file` is a file on the server, ``patid:sop`` or ``study\\series\\sop``. Whole rows and columns are left out until
    no side is longer than `size` (256; 0 keeps the size). `l/w/f` is ``level/window/frame``, frames counted from 0;
    level and window 0 are the object's own. Without a frame all frames of the object are animated. The reply is the
    GIF, unless `out` names a file; ``cgi`` adds a head for browsers.
    """
    return _converted(server, file, size, out, l_w_f, Encoding("GIF"))


@command("convert_to_bmp:file,size,out,l/w/f", group=GROUP, rights="read")
def convert_to_bmp(
    server: Server,
    file: ObjectName,
    size: Side = _KEPT,
    out: PictureFile = PLAIN_REPLY,
    l_w_f: LevelWindow = _ALL_FROM_OBJECT,
) -> bytes | None:
    """Downsize and convert to BMP.

    As `convert_to_gif`; 24 bits, one frame (the first), `size` kept unless given.
    """
    return _converted(server, file, size, out, l_w_f, Encoding("BMP", rgb=True))


@command("convert_to_jpg:file,size,out,l/w/f", group=GROUP, rights="read")
def convert_to_jpg(
    server: Server,
    file: ObjectName,
    size: Side = _KEPT,
    out: PictureFile = PLAIN_REPLY,
    l_w_f: LevelWindow = _ALL_FROM_OBJECT,
) -> bytes | None:
    """Downsize and convert to JPG.

    As `convert_to_bmp`; baseline JPEG with three components of quality 95, or of the fourth number of `l/w/f`.
    """
    return _converted(
        server, file, size, out, l_w_f, Encoding("JPEG", min(l_w_f.quality or _JPEG_QUALITY, 100), rgb=True)
    )


def _converted(
    server: Server, name: ObjectName, size: int, out: PictureFile, shown: LevelWindow, encoding: Encoding
) -> bytes | None:
    view = View(shown.frame, shown.window, longest=size)
    with telling_of_objects():
        data = draw_in_pool(server, name.file(server), view, encoding)
    return out.deliver_bytes(data, f"Content-type: {_MEDIA_OF[encoding.kind]}\n\n")


@command("convert_to_dicom:file,size,comp,f", group=GROUP, rights="read")
def convert_to_dicom(
    server: Server, file: ObjectName, size: Side = _KEPT, comp: str = "un", f: Index | None = None
) -> bytes:
    """Downsize, compress and frame of DICOM.

    Frame `f`, counted from 0, if given; then downsized as in `convert_to_gif` (0 or nothing keeps the size); then
    under the compression code `comp`. The reply is a head for browsers and the file. What is not the whole object as
    it was stored gets a new SOP instance UID.
    """
    from storage.transcode import Wanted  # here: a start need not load every codec

    if not parse_code(comp).known:
        raise CommandError(f"{comp} is no compression code")
    frames = None if f is None else (int(f),)
    with telling_of_objects():
        selected = [Wanted("un", frames=frames, side=size, meta=True)] if frames or size else []
        made = made_file(server, file.file(server), *selected, Wanted(comp, meta=True))
        data = b"".join(made.pieces)
    return _dicom_head(len(data)).encode() + data


def _dicom_head(length: int) -> str:
    """The head of a file for browsers, as ConQuest writes it: of even length."""
    head = (
        'Content-type: application/dicom\nContent-Disposition: attachment; filename="file.dcm"\n'
        f"Content-length: {length}\nAccess-Control-Allow-Origin: *"
    )
    return f"{head}{' ' * (len(head) % 2)}\n\n"


@command("extract_frames:file,out,first,last", group=GROUP, rights="read")
def extract_frames(server: Server, file: ObjectName, out: ServerFile, first: Index, last: Index | None = None) -> None:
    """Select frames of DICOM file.

    Writes the frames from `first` to `last` (`first` alone without it), counted from 0, to `out`: uncompressed, with
    a new SOP instance UID, and with what the header says of these frames.
    """
    final = first if last is None else last
    if final < first:
        raise CommandError(f"last {final} is before first {first}")
    with telling_of_objects():
        path = file.file(server)
        count = int(frames_of(path) or 1)
        if final >= count:
            raise CommandError(f"last {final} is no frame: it has {count}, counted from 0")
        write_frames(server, path, out.path, range(first, final + 1))


@command("count_frames:file", group=GROUP, rights="read")
def count_frames(server: Server, file: ObjectName) -> str:
    """Report # frames in DICOM file.

    Number of Frames (0028,0008); ``0`` when the object does not have it.
    """
    with telling_of_objects():
        found = frames_of(file.file(server))
    return found if found.isdecimal() else "0"


@command("wadorequest:obj,lwfq,size,region,type,syntax,anonymize,annotation,bridge,file", group=GROUP, rights="read")
def wadorequest(
    server: Server,
    obj: ObjectName,
    lwfq: LevelWindow = _ALL_FROM_OBJECT,
    size: Size = _ANY_SIZE,
    region: Part = _WHOLE,
    type: str = "image/jpeg",
    syntax: str = "",
    anonymize: str = "",
    annotation: str = "",
    bridge: str = "",
    file: PictureFile = PLAIN_REPLY,
) -> bytes | None:
    """WADO server.

    `obj` is ``study\\series\\sop``; `lwfq` ``level/window/frame/quality``, frames counted from 1 and 0 for none;
    `size` ``rows/columns`` that the picture is fitted into, at most 1600 without; `region` ``x0/y0/x1/y1`` between 0
    and 1; `type` image/jpeg, image/png, image/gif (all frames, when none is named), image/bmp, application/dicom (in
    the transfer syntax `syntax`), text/plain or text/html. The reply is a head for browsers and the answer; with a
    `file` that is written there. `anonymize`, `annotation` and `bridge` are refused.
    """
    for name, value in (("anonymize", anonymize), ("annotation", annotation), ("bridge", bridge)):
        if value.strip() not in ("", "0", "no"):
            raise CommandError(f"{name} is not done here")
    if not obj.study:
        raise CommandError("obj is study\\series\\sop")
    media = type.strip().lower()
    if media not in MEDIA:
        raise CommandError(f"type {media[:40]} is not made here: there are {', '.join(MEDIA)}")
    longest = 0 if size.rows or size.columns else _WADO_SIZE
    frame = lwfq.frame - 1 if lwfq.frame else None
    view = View(frame, lwfq.window, region.region, size.rows, size.columns, longest)
    quality = min(lwfq.quality or USUAL_QUALITY, 100)
    request = WadoRequest(obj.study, obj.series, obj.sop, (media,), view, quality, syntax.strip())
    return _answered(server, request, file)


@command("wadoparse:query", group=GROUP, rights="read")
def wadoparse(server: Server, query: str) -> bytes | None:
    """WADO server.

    `query` is the query string of a WADO request over HTTP, and the reply what `wadorequest` replies.
    """
    try:
        request = parse(query.encode("utf-8", "surrogateescape"), strict=False)
    except BadParameter as error:
        raise CommandError(str(error)) from error
    return _answered(server, request, PLAIN_REPLY)


def _answered(server: Server, request: WadoRequest, file: PictureFile) -> bytes | None:
    with telling_of_objects():
        made = answer(server, request)
        data = b"".join(made.pieces)
    if made.media == DICOM:
        head = _dicom_head(len(data))
    else:
        blank = "" if made.media in _NO_BLANK else " "
        head = f"Content-type: {made.media}\nAccess-Control-Allow-Origin:{blank}*\n\n"
    return file.deliver_bytes(data, "") if file.text not in ("", "cgi", "binary") else head.encode() + data
