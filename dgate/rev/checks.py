"""What the options of `dgate rev` may be: checked one by one, each mistake with its remedy."""

from __future__ import annotations

import re

import click
from pydicom.datadict import keyword_dict

from dgate.rev.layout import EXAMPLES, MAP, PAGE, SERIES_SUFFIX, SMALL_SIZE
from dgate.rev.options import OVERLAY_WORDS, STAGES

_LARGEST = 4096


def size(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """Read 300x300: width and height of large images."""
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", value)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(SMALL_SIZE[0] <= side <= _LARGEST for side in size):
        raise click.BadParameter(f"{value!r} is no size of {SMALL_SIZE[0]} to {_LARGEST}: write 300x300.")
    return size


def stages(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Read which stages are to be run: all, or 1,2,4."""
    if value == "all":
        return STAGES
    words = value.split(",")
    if not all(word in {str(stage) for stage in STAGES} for word in words):
        raise click.BadParameter(f"{value!r}: write all, or numbers of 1 to 4 with commas between them.")
    return tuple(stage for stage in STAGES if str(stage) in words)


def leaf(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take a format with %s once, which makes the name of a directory."""
    if value and (value.count("%s") != 1 or "%" in value.replace("%s", "") or "/" in value or "\0" in value):
        raise click.BadParameter(
            f"{value!r}: write %s once for the name of the directory, and neither / nor another %."
        )
    return value


def file_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take the name of a file that no other file of a library has."""
    reserved = {PAGE, EXAMPLES, MAP}
    if not value or value in {".", "..", *reserved} or value.endswith(SERIES_SUFFIX) or re.search(r"[/\0]", value):
        raise click.BadParameter(f"{value!r} cannot name the descriptor of a study.")
    return value


def overlay(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Read keywords and the words that are none, with commas between them."""
    words = tuple(word.strip() for word in (value or "").split(",") if word.strip())
    for word in words:
        if word not in OVERLAY_WORDS and word not in keyword_dict:
            raise click.BadParameter(f"{word!r} is neither a keyword of DICOM nor {' nor '.join(OVERLAY_WORDS)}.")
    return words


def server(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take an address that a page may lead to: a name alone is one of http."""
    if re.search(r"[\x00-\x20\x7f]", value):
        raise click.BadParameter(f"{value!r} is no address.")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?![0-9])", value)
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise click.BadParameter(f"{value!r}: write an address of http or https.")
    return value if not value or scheme or value.startswith(("/", ".")) else f"http://{value}"


def relative(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Take a path that is relative."""
    if re.search(r"[\x00-\x20\x7f]", value) or re.match(r"/|[A-Za-z][A-Za-z0-9+.-]*:", value):
        raise click.BadParameter(f"{value!r} is not relative; --server takes addresses.")
    return value
