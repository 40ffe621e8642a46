"""The parameters of a WADO-URI request (PS3.18 section 9), each checked before anything is done."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from server.pipeline.wado import DICOM, MEDIA, TEXTS, WadoRequest
from storage.render.view import MOST_SIDE, USUAL_QUALITY, Region, View, Window

# No request of a sane client is longer, or has more parameters.
LONGEST_QUERY = 4096
_MOST_PARAMETERS = 40
_LARGEST_FRAME = 10_000_000
_LARGEST_LEVEL = 1e9

_UID = re.compile(r"[0-9.]{1,64}")
_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?")
_MEDIA = re.compile(r"[a-z0-9]+/[a-z0-9.+*-]+|\*/\*")
_CHARSET = re.compile(r"[A-Za-z0-9_.:,;=*\" -]{1,200}")

# What only pictures have; PS3.18 9.4.1.2 and 9.5.1.2.
_OF_PICTURES = ("rows", "columns", "region", "windowCenter", "windowWidth", "frameNumber", "imageQuality")
# Asked for, these change what is shown or told: leaving them out would be an answer to another question.
_NOT_DONE = ("annotation", "imageAnnotation", "presentationUID", "presentationSeriesUID", "bridge")

_Value = TypeVar("_Value")


class BadParameter(Exception):
    """A request that cannot be understood; `status` is the one of HTTP, the text names the parameter."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def parse(query: bytes, accept: str = "", *, strict: bool = True) -> WadoRequest:
    """Read a query string; `accept` is the header of that name, which counts when there is no contentType.

    Not `strict`: requestType is not looked at, as in ConQuest's `wadoparse:`.

    Raises BadParameter: 400 naming what is missing or wrong, 406 for what is right and cannot be done, 414 for a query
    longer than anybody needs. Parameters that PS3.18 does not know are passed over, as it wants (8.3.1).
    """
    if len(query) > LONGEST_QUERY:
        raise BadParameter(f"the query has more than {LONGEST_QUERY} characters", 414)
    values = _values(query)
    if strict and values.get("requestType") != "WADO":
        raise BadParameter("requestType must be WADO")
    study, series, sop = (_uid(values, name) for name in ("studyUID", "seriesUID", "objectUID"))
    media = _media(values, accept)
    _refuse(values)
    _check_charset(values.get("charset", ""), media)
    own = [name for name in _OF_PICTURES if name in values]
    if media and media[0] == DICOM and own:
        raise BadParameter(f"{own[0]} is for pictures, not for {DICOM}")
    if "transferSyntax" in values and media[:1] != (DICOM,):
        raise BadParameter(f"transferSyntax is for contentType {DICOM}")
    return WadoRequest(
        study,
        series,
        sop,
        media,
        View(
            frame=_optional(values, "frameNumber", lambda name, text: _whole(name, text, _LARGEST_FRAME) - 1),
            window=_window(values),
            region=_optional(values, "region", _region),
            rows=_optional(values, "rows", _side) or 0,
            columns=_optional(values, "columns", _side) or 0,
        ),
        _optional(values, "imageQuality", lambda name, text: _whole(name, text, 100)) or USUAL_QUALITY,
        _transfer_syntax(values),
    )


def _values(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise BadParameter(
            f"the query is not URL-encoded UTF-8, or has more than {_MOST_PARAMETERS} parameters"
        ) from None
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadParameter(f"{_shown(twice)} is given more than once")
    return values


def _shown(text: str) -> str:
    """A piece of the request as an answer may repeat it."""
    return repr(text[:80])


def _optional(values: Mapping[str, str], name: str, read: Callable[[str, str], _Value]) -> _Value | None:
    return read(name, values[name]) if name in values else None


def _uid(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise BadParameter(f"{name} is missing")
    if not _UID.fullmatch(values[name]):
        raise BadParameter(f"{name} {_shown(values[name])} is no UID: at most 64 digits and periods")
    return values[name]


def _whole(name: str, text: str, most: int) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
        raise BadParameter(f"{name} {_shown(text)} is no whole number from 1 to {most}")
    return int(text)


def _side(name: str, text: str) -> int:
    return _whole(name, text, MOST_SIDE)


def _number(name: str, text: str) -> float:
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not abs(number) <= _LARGEST_LEVEL:
        raise BadParameter(f"{name} {_shown(text)} is no decimal number within {_LARGEST_LEVEL:.0f}")
    return number


def _window(values: Mapping[str, str]) -> Window | None:
    center, width = _optional(values, "windowCenter", _number), _optional(values, "windowWidth", _number)
    if center is None and width is None:
        return None
    if center is None or width is None:
        raise BadParameter("windowCenter and windowWidth need each other")
    window = Window.usable(center, width)
    if window is None:
        raise BadParameter(f"windowWidth {_shown(values['windowWidth'])} is less than 1")
    return window


def _region(name: str, text: str) -> Region:
    parts = text.split(",")
    if len(parts) != 4:
        raise BadParameter(f"{name} {_shown(text)} is not xmin,ymin,xmax,ymax")
    left, top, right, bottom = (_number(name, part.strip()) for part in parts)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadParameter(
            f"{name} {_shown(text)} is not xmin,ymin,xmax,ymax with 0 <= xmin < xmax <= 1, ymin likewise"
        )
    return left, top, right, bottom


def _transfer_syntax(values: Mapping[str, str]) -> str:
    text = values.get("transferSyntax", "")
    if "transferSyntax" in values and text != "*" and not _UID.fullmatch(text):
        raise BadParameter(f"transferSyntax {_shown(text)} is no UID")
    return text


def _media(values: Mapping[str, str], accept: str) -> tuple[str, ...]:
    """Media types in the order in which they are wanted; those that are not made here are left out."""
    text = values.get("contentType", accept)
    wanted = []
    for part in text.lower().split(",") if text.strip() else ():
        media, *options = (piece.strip() for piece in part.split(";"))
        if not _MEDIA.fullmatch(media):
            if "contentType" not in values:
                continue
            raise BadParameter(f"contentType {_shown(text)} is no list of media types")
        wanted.append((-_weight(options), media))
    named = [media for weight, media in sorted(wanted, key=lambda pair: pair[0]) if weight < 0]
    if not named or ("contentType" not in values and any(media in ("*/*", "image/*") for media in named)):
        return ()
    offered = tuple(media for media in named if media in MEDIA)
    if not offered:
        if "*/*" in named:
            return ()
        raise BadParameter(f"none of {_shown(text)} is made here: there are {', '.join(MEDIA)}", 406)
    return offered


def _weight(options: list[str]) -> float:
    for option in options:
        name, _, value = option.partition("=")
        if name.strip() == "q":
            return float(value) if re.fullmatch(r"[01](\.[0-9]{0,3})?", value) else 0.0
    return 1.0


def _refuse(values: Mapping[str, str]) -> None:
    """Raise BadParameter for what is asked for and not done here: leaving it out would be no success."""
    anonymize = values.get("anonymize", "")
    if anonymize not in ("", "yes"):
        raise BadParameter(f"anonymize {_shown(anonymize)} can only be yes")
    if anonymize:
        raise BadParameter("anonymize=yes: this server does not anonymise what it sends", 406)
    for name in _NOT_DONE:
        if values.get(name):
            raise BadParameter(f"{name} is not supported by this server", 406)


def _check_charset(charset: str, media: tuple[str, ...]) -> None:
    """Pictures and objects have no character set, texts are UTF-8."""
    if charset and not _CHARSET.fullmatch(charset):
        raise BadParameter(f"charset {_shown(charset)} is no list of character sets")
    if charset and media and media[0] in TEXTS and not {"utf-8", "*"} & _names(charset):
        raise BadParameter(f"charset {_shown(charset)}: texts are UTF-8", 406)


def _names(charset: str) -> set[str]:
    return {part.partition(";")[0].strip().lower() for part in charset.split(",")}
