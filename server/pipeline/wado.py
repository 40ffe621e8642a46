"""What WADO answers, over HTTP or by command: an object found, and made into a picture, a listing or a file."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from server.pipeline.dicomfile import dicom_file
from server.pipeline.stored import stored_file
from server.server import Server
from storage.dump import dump_header
from storage.errors import NotRendered
from storage.header import read_header
from storage.part10 import read_object_file
from storage.render.view import USUAL_QUALITY, Encoding, Kind, View, draw
from storage.transfer import EXPLICIT_LITTLE

PICTURES: dict[str, Kind] = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF", "image/bmp": "BMP"}
DICOM = "application/dicom"
TEXTS = ("text/plain", "text/html")
MEDIA = (*PICTURES, DICOM, *TEXTS)
# In place of a transfer syntax: the one the object is stored in.
AS_STORED = "*"

_ROWS = (0x00280010,)
_WHOLE = View()


@dataclass(frozen=True, slots=True)
class WadoRequest:
    """What is asked for. `media` are types of MEDIA, best first; none: what suits the object.

    `view.frame` counts from 0. `transfer_syntax` is for application/dicom: empty is explicit little endian, as PS3.18
    wants.
    """

    study: str
    series: str
    sop: str
    media: tuple[str, ...] = ()
    view: View = _WHOLE
    quality: int = USUAL_QUALITY
    transfer_syntax: str = ""


@dataclass(frozen=True, slots=True)
class WadoAnswer:
    """The answer: its media type, and a body in pieces whose length may not be known before they are made.

    Whoever does not take all pieces calls `close`.
    """

    media: str
    pieces: Iterator[bytes]
    close: Callable[[], None]
    length: int | None

    @classmethod
    def of(cls, media: str, body: bytes) -> WadoAnswer:
        """An answer that is there as a whole."""
        return cls(media, iter((body,)), lambda: None, len(body))


def answer(server: Server, request: WadoRequest) -> WadoAnswer:
    """Make the answer to a request.

    Raises NotStored and MissingFile; NoSuchFrame; for what cannot be made of the object NotRendered, NotConvertible,
    NotDicom and CodecFailed; or OSError.
    """
    path = stored_file(server, request.sop, study=request.study, series=request.series)
    media = _chosen(path, request)
    if media == DICOM:
        syntax = request.transfer_syntax or EXPLICIT_LITTLE
        file = dicom_file(server, path, "" if syntax == AS_STORED else syntax)
        return WadoAnswer(media, file.pieces, file.close, file.length)
    if media in TEXTS:
        listing = dump_header(path, server.dictionary)
        text = f"<pre>{html.escape(listing)}</pre>\n" if media == "text/html" else listing
        return WadoAnswer.of(media, text.encode("utf-8", "replace"))
    return WadoAnswer.of(media, draw_in_pool(server, path, request.view, Encoding(PICTURES[media], request.quality)))


def draw_in_pool(server: Server, path: Path, view: View, encoding: Encoding) -> bytes:
    """Make a picture in a codec process, where pixels can harm nobody; raises what `storage.render.picture` does."""
    return server.codecs.run(draw, path, view, encoding)


def _chosen(path: Path, request: WadoRequest) -> str:
    """The media type: an object without image has no picture, whatever is preferred."""
    wanted = request.media or ("image/jpeg", DICOM)
    if wanted[0] not in PICTURES or (len(wanted) == 1 and request.media):
        return wanted[0]
    file = read_object_file(path)
    with path.open("rb") as source:
        source.seek(file.offset)
        has_image = _ROWS in read_header(source, file.transfer_syntax, (_ROWS,)).values
    suitable = [media for media in wanted if has_image or media not in PICTURES]
    if not suitable or (not has_image and request.view != _WHOLE):
        raise NotRendered("it has no image")
    return suitable[0]
