"""What the finder and lister commands ask: of our own index, or of another server by C-FIND."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from db.query import Query
from server.dimse import PeerGone
from server.outgoing import peer_or_self
from server.scu import AssociationFailed, Proposal, associate, send_c_find
from server.server import Server
from server.textfile import decode
from storage.errors import MissingFile
from storage.header import TagPath
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE

PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

PATIENT_NAME = (0x00100010,)
PATIENT_ID = (0x00100020,)
STUDY_DATE = (0x00080020,)
STUDY_MODALITY = (0x00080061,)
STUDY_UID = (0x0020000D,)
SERIES_TIME = (0x00080031,)
MODALITY = (0x00080060,)
SERIES_UID = (0x0020000E,)
SERIES_NUMBER = (0x00200011,)
SOP_UID = (0x00080018,)
IMAGE_NUMBER = (0x00200013,)
SLICE_LOCATION = (0x00201041,)
FRAMES = (0x00280008,)
OBJECT_FILE = (0x99990800,)
DEVICE_NAME = (0x99990801,)

_DATE = re.compile(r"[0-9]{4}(?:[0-9]{2}){0,2}|[0-9]{8}-(?:[0-9]{8})?|-[0-9]{8}")

Row = Mapping[TagPath, str]


class FinderFailed(Exception):
    """Another server could not be asked; the text says why."""


class Finder(Enum):
    """A finder command: query level, the values it lists, in that order."""

    PATIENT = ("PATIENT", (PATIENT_NAME, PATIENT_ID))
    STUDY = ("STUDY", (STUDY_DATE, STUDY_MODALITY, PATIENT_NAME, PATIENT_ID, STUDY_UID))
    SERIES = ("SERIES", (STUDY_DATE, SERIES_TIME, MODALITY, PATIENT_NAME, PATIENT_ID, STUDY_UID, SERIES_UID))
    IMAGE = ("IMAGE", (SOP_UID, PATIENT_NAME, PATIENT_ID, STUDY_UID, SERIES_UID, IMAGE_NUMBER, SLICE_LOCATION))

    def __init__(self, level: str, listed: tuple[TagPath, ...]) -> None:
        self.level = level
        self.listed = listed


@dataclass(frozen=True, slots=True)
class Image:
    """One stored file as `imagelister` lists it."""

    path: str
    device: str
    file: str
    patient: str
    sop: str
    frames: str


def found_rows(server: Server, source: str, finder: Finder, text: str) -> Iterator[tuple[str, ...]]:
    """The rows of a finder, each once, sorted by their values in the order listed. Raises FinderFailed."""
    rows: set[tuple[str, ...]] = set()
    for keys in _questions(finder, text):
        for row in _ask(server, source, finder.level, keys, finder.listed):
            rows.add(tuple(row.get(path, "").strip() for path in finder.listed))
    yield from sorted(rows)


def _questions(finder: Finder, text: str) -> Iterator[dict[TagPath, str]]:
    """The queries whose results together are what `text` finds."""
    if not text:
        yield {}
        return
    if text.startswith("="):
        exact = text[1:]
        if finder is Finder.IMAGE:
            yield {SERIES_UID: exact}
            return
        if finder is Finder.SERIES and len(exact) > 8:
            yield {STUDY_UID: exact}
            return
        yield {PATIENT_ID: exact}
        yield {PATIENT_NAME: exact}
    else:
        yield {PATIENT_ID: f"*{text}*"}
        yield {PATIENT_NAME: f"*{text}*"}
    date = text.removeprefix("=")
    if finder in (Finder.STUDY, Finder.SERIES) and _DATE.fullmatch(date):
        yield {STUDY_DATE: _whole_dates(date)}


def _whole_dates(date: str) -> str:
    """A year or a month as the range of its days."""
    if len(date) == 4 and date.isdigit():
        return f"{date}0101-{date}1231"
    if len(date) == 6 and date.isdigit():
        return f"{date}01-{date}31"
    return date


def found_series(server: Server, source: str, patient: str, study: str) -> list[str]:
    """Series UIDs of a patient and study, each empty for all, in order of series number."""
    keys = _given({PATIENT_ID: patient, STUDY_UID: study})
    rows = sorted(_ask(server, source, "SERIES", keys, (SERIES_UID, SERIES_NUMBER)), key=_in_order(SERIES_NUMBER))
    return list(dict.fromkeys(row[SERIES_UID] for row in rows if row.get(SERIES_UID)))


def found_images(server: Server, source: str, patient: str, series: str) -> list[Image]:
    """The images of a patient and series, each empty for all, in order of image number."""
    keys = _given({PATIENT_ID: patient, SERIES_UID: series})
    wanted = (PATIENT_ID, SOP_UID, IMAGE_NUMBER, FRAMES, OBJECT_FILE, DEVICE_NAME)
    rows = sorted(_ask(server, source, "IMAGE", keys, wanted), key=_in_order(IMAGE_NUMBER))
    local = _is_local(source)
    return [_image(server, row, local=local) for row in rows]


def _image(server: Server, row: Row, *, local: bool) -> Image:
    device, file = row.get(DEVICE_NAME, ""), row.get(OBJECT_FILE, "")
    path = file
    if local:
        try:
            path = str(server.storage.locate(device, file))
        except MissingFile:
            path = file
    frames = row.get(FRAMES, "").strip() or "0"
    return Image(path, device, file, row.get(PATIENT_ID, ""), row.get(SOP_UID, ""), frames)


def _in_order(number: TagPath) -> Callable[[Row], tuple[float, str, str]]:
    """What to sort by: a number, those without one last, then UIDs, so that equal numbers never change places."""

    def key(row: Row) -> tuple[float, str, str]:
        try:
            value = float(row.get(number, ""))
        except ValueError:
            value = math.inf
        return math.inf if math.isnan(value) else value, row.get(SERIES_UID, ""), row.get(SOP_UID, "")

    return key


def _given(keys: Mapping[TagPath, str]) -> dict[TagPath, str]:
    return {path: value for path, value in keys.items() if value}


def _is_local(source: str) -> bool:
    return source.lower() in ("local", "(local)", "")


def _ask(
    server: Server, source: str, level: str, keys: Mapping[TagPath, str], wanted: Sequence[TagPath]
) -> Iterator[Row]:
    if _is_local(source):
        yield from server.index.find(Query(level=level, keys=keys, wanted=frozenset(wanted)))
        return
    peer = peer_or_self(server, source)
    if peer is None:
        raise FinderFailed(f"{source} is not in acrnema.map")
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for path in (*wanted, *keys):
        vr = server.dictionary.vr_of(path[0]) if path[0] < 0x99990000 else "LO"
        identifier.add_new(Tag(path[0]), vr, keys.get(path, ""))
    if any(not value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    # Study root has no patient level (PS3.4 C.6.2.1), but peers that take only one model may answer it all the same.
    models = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND) if level == "PATIENT" else (STUDY_ROOT_FIND, PATIENT_ROOT_FIND)
    proposals = [Proposal(model, (EXPLICIT_LITTLE, IMPLICIT_LITTLE)) for model in models]
    try:
        with associate(peer, server.ae_title, proposals, timeout_s=server.settings.TCPIPTimeOut) as association:
            model = next(model for model in models if association.context_for(model))
            for answer in send_c_find(association, model, identifier):
                yield {path: _text(answer, path[0]) for path in wanted}
    except (AssociationFailed, PeerGone) as error:
        raise FinderFailed(str(error)) from error


def _text(answer: Dataset, tag: int) -> str:
    element = answer.get(Tag(tag))
    if element is None or element.value is None:
        return ""
    value = element.value
    if isinstance(value, bytes):
        return decode(value).strip(" \0")
    return "\\".join(str(part) for part in value) if element.VM > 1 else str(value)
