"""The reference graph as a picture: a block for each patient, images to the left, what refers to them to the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from dgate.crawl.graph import DEEPEST, REFERRING, Forest, Node
from dgate.crawl.show import by_patient, printable

_WIDTH, _HEIGHT = 220, 40
_ACROSS, _DOWN = 275, 52
_MARGIN, _TITLE = 24, 34
_FONT = "font-family='Helvetica, Arial, sans-serif'"
# Dark enough for white text, and apart for those who tell colours badly.
_COLOURS = {
    "CT": "#2f6690", "MR": "#3a7d44", "PT": "#b5651d", "SEG": "#7b4b94",
    "RTSTRUCT": "#b23a48", "RTPLAN": "#8a6d1f", "RTDOSE": "#a0397a", "SR": "#4a5a6a",
}  # fmt: skip
_OTHER = "#6b6b6b"


@dataclass(frozen=True, slots=True)
class _Box:
    """A series in its place; `above` is the one it refers to."""

    node: Node
    x: int
    y: int
    above: _Box | None


class _Layout:
    """Puts boxes in rows: a leaf takes the next row, its parents stand level with their first child."""

    def __init__(self) -> None:
        self.boxes: list[_Box] = []
        self.titles: list[tuple[str, int, int]] = []
        self.bottom = _MARGIN
        self.right = 2 * _MARGIN + _WIDTH

    def patient(self, name: str, roots: Sequence[Node], apart: Sequence[Node]) -> None:
        self.titles.append((name, _MARGIN, self.bottom))
        self.bottom += _TITLE
        for root in roots:
            self._place(root, 0, None, ())
        for node in apart:
            self._box(node, 0, None)
            self.bottom += _DOWN
        self.bottom += _MARGIN

    def _place(self, node: Node, depth: int, above: _Box | None, path: tuple[int, ...]) -> None:
        box = self._box(node, depth, above)
        path = (*path, id(node))
        children = [child for child in node.children if id(child) not in path and len(path) < DEEPEST]
        for child in children:
            self._place(child, depth + 1, box, path)
        if not children:
            self.bottom += _DOWN

    def _box(self, node: Node, depth: int, above: _Box | None) -> _Box:
        box = _Box(node, _MARGIN + depth * _ACROSS, self.bottom, above)
        self.boxes.append(box)
        self.right = max(self.right, box.x + _WIDTH + _MARGIN)
        return box


def svg(forest: Forest) -> str:
    """The picture as an SVG document. Patient IDs are in it, as they are in the index."""
    layout = _Layout()
    patients, alone = by_patient(forest.roots), by_patient(forest.apart())
    for name in sorted({*patients, *alone}):
        layout.patient(name, patients.get(name, ()), alone.get(name, ()))
    modalities = sorted({box.node.modality for box in layout.boxes})
    width = max(layout.right, _MARGIN * 2 + 110 * len(modalities))
    height = layout.bottom + 2 * _MARGIN
    size = f"width='{width}' height='{height}'"
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' {size} {_FONT}>",
            f"<rect width='{width}' height='{height}' fill='#ffffff'/>",
            *(_title(*title, width) for title in layout.titles),
            *(_edge(box.above, box) for box in layout.boxes if box.above is not None),
            *(line for box in layout.boxes for line in _drawn(box)),
            *_legend(modalities, layout.bottom),
            "</svg>",
            "",
        ]
    )


def _title(name: str, x: int, y: int, width: int) -> str:
    line = f"<line x1='{x}' y1='{y + 24}' x2='{width - _MARGIN}' y2='{y + 24}' stroke='#d0d0d0'/>"
    return f"{line}<text x='{x}' y='{y + 16}' font-size='15' font-weight='bold'>{_text(name) or '(no ID)'}</text>"


def _edge(above: _Box, box: _Box) -> str:
    x, y = above.x + _WIDTH, above.y + _HEIGHT // 2
    end_x, end_y = box.x, box.y + _HEIGHT // 2
    middle = (x + end_x) // 2
    return f"<path d='M{x} {y} H{middle} V{end_y} H{end_x}' fill='none' stroke='#9a9a9a' stroke-width='1.5'/>"


def _drawn(box: _Box) -> Iterator[str]:
    row = box.node.row
    refers = f"\nrefers to {row.ReferencedSeriesUID}" if row.ReferencedSeriesUID else ""
    # Dashed: it hangs from nothing although it should.
    loose = box.above is None and box.node.modality in REFERRING
    dash = " stroke='#1a1a1a' stroke-width='1.5' stroke-dasharray='5 3'" if loose else ""
    yield f"<g><title>{_text(row.SeriesInstanceUID)}\n{_text(row.folder)}{_text(refers)}</title>"
    yield (
        f"<rect x='{box.x}' y='{box.y}' width='{_WIDTH}' height='{_HEIGHT}' rx='6' "
        f"fill='{_COLOURS.get(row.Modality, _OTHER)}'{dash}/>"
    )
    about = f"{_text(row.SeriesInstanceUID[-8:])}, {box.node.files}"
    yield (
        f"<text x='{box.x + 10}' y='{box.y + 17}' font-size='13' font-weight='bold' fill='#ffffff'>"
        f"{_text(row.Modality[:12])}<tspan font-weight='normal'> {about}</tspan></text>"
    )
    tail = _text(_tail(row.folder))
    yield f"<text x='{box.x + 10}' y='{box.y + 32}' font-size='11' fill='#ffffff'>{tail}</text></g>"


def _tail(folder: str, most: int = 34) -> str:
    return folder if len(folder) <= most else f"...{folder[-most + 3 :]}"


def _legend(modalities: Sequence[str], y: int) -> Iterator[str]:
    for number, modality in enumerate(modalities):
        x = _MARGIN + 110 * number
        yield f"<rect x='{x}' y='{y}' width='12' height='12' rx='2' fill='{_COLOURS.get(modality, _OTHER)}'/>"
        yield f"<text x='{x + 18}' y='{y + 11}' font-size='12'>{_text(modality[:12])}</text>"
    note = "dashed: what it refers to is not here"
    yield f"<text x='{_MARGIN}' y='{y + 32}' font-size='12' fill='#555555'>{note}</text>"


def _text(text: str) -> str:
    """Text of an object in XML, line ends of our own kept."""
    return "\n".join(escape(printable(line)) for line in text.split("\n"))
