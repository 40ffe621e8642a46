"""The pages of a library: static HTML that works offline and under a strict content security policy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import quote, urlencode

from dgate.rev.layout import SCRIPT, STYLE, Example

# A row of the month page has so many series.
_COLUMNS = 5
# The name above a strip: cut at its first hyphen, and to so many characters.
_HEADING = 12


@dataclass(frozen=True, slots=True)
class Shown:
    """A series on a month page: directory, the frames that its strips hold, and what it is called."""

    name: str
    frames: int
    description: str


def assets() -> dict[str, bytes]:
    """The script and the style that lie in the root of a library."""
    return {name: (files(__package__) / "static" / name).read_bytes() for name in (SCRIPT, STYLE)}


def study_page(example: Example, server: str, viewer: str) -> bytes:
    """The page of an example: it leads to the viewer at once, without a script.

    `server` is the viewer's address; without it `viewer` is a path relative to the root of the library.
    """
    year, month, number = example.numbers
    base = server or f"../../../{viewer}"
    address = f"{base}{'&' if '?' in base else '?'}{urlencode({'year': year, 'month': month, 'example': number})}"
    return _filled(
        "study.html", address=escape(address), style=f"../../../{STYLE}", example=_text(f"{example.path}")
    ).encode()


def month_page(month: str, examples: Sequence[tuple[str, Sequence[Shown]]], large: tuple[int, int]) -> bytes:
    """The page of a month: a table for each example with the strips of its series.

    `large` is the size of the large pictures, which the panel shows.
    """
    tables = "\n".join(_table(name, series) for name, series in examples)
    return _filled(
        "month.html",
        month=_text(month),
        tables=tables,
        script=f"../../{SCRIPT}",
        style=f"../../{STYLE}",
        ratio=f"{large[1] / large[0]:.6f}",
    ).encode()


def _table(example: str, series: Sequence[Shown]) -> str:
    rows = [series[first : first + _COLUMNS] for first in range(0, len(series), _COLUMNS)] or [()]
    body = []
    for number, row in enumerate(rows):
        link = f'<th rowspan="{2 * len(rows)}" scope="rowgroup"><a href="{_url(example)}/">{_text(example)}</a></th>'
        filler = f'<td colspan="{_COLUMNS - len(row)}" rowspan="2"></td>' if number and len(row) < _COLUMNS else ""
        heads = "".join(f'<th scope="col" title="{_text(one.name)}">{_text(_heading(one.name))}</th>' for one in row)
        cells = "".join(_cell(example, one) for one in row)
        body.append(f"<tr>{link if not number else ''}{heads}{filler}</tr>\n<tr>{cells}</tr>")
    return f'<table id="{_text(example)}">\n' + "\n".join(body) + "\n</table>"


def _cell(example: str, one: Shown) -> str:
    place = f"{_url(example)}/{_url(one.name)}"
    label = f"{one.description or one.name}, {one.frames} image{'s' * (one.frames != 1)}"
    return (
        f'<td><a class="strip" href="{_url(example)}/" data-frames="{one.frames}" data-place="{place}" '
        f'data-name="{_text(one.name)}" aria-label="{_text(label)}" title="{_text(label)}">'
        f'<img loading="lazy" src="{place}/preview.jpg" alt=""></a>'
        f'<button type="button" class="tags">tags</button></td>'
    )


def _heading(name: str) -> str:
    return name.partition("-")[0][:_HEADING] or name[:_HEADING]


def _url(name: str) -> str:
    return escape(quote(os.fsencode(name), safe=""))


def _text(text: str) -> str:
    """Text of an object or of a file name in HTML, whatever it holds."""
    return escape("".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text))


def _filled(name: str, **values: str) -> str:
    return Template((files(__package__) / "static" / name).read_text(encoding="utf-8")).substitute(values)
