"""Tags written on the large images (--tagOverlay)."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from dgate.rev.slices import Slice

# A line of the height of a large image that holds some twenty of them.
_LINES = 22
_SMALLEST = 9
_LONGEST = 60


def lines_of(one: Slice, wanted: Sequence[str], place: int, count: int) -> tuple[str, ...]:
    """The lines for an image of a file: `place` counts the images of the series from 1, of which there are `count`."""
    found = []
    for word in wanted:
        if word == "image":
            found.append(f"image {place}/{count}")
        elif word == "window":
            found.append("{window}")
        elif one.text(word):
            # Only the windows that a frame is drawn in are filled in later.
            found.append(f"{word} {one.text(word)}".replace("{window}", "").replace("\\", " ")[:_LONGEST])
    return tuple(found)


def write_lines(image: Image.Image, lines: Sequence[str]) -> None:
    """Write lines into the upper left corner, white with a black rim so that they can be read on anything."""
    size = max(_SMALLEST, image.height // _LINES)
    font = ImageFont.load_default(size)
    drawing = ImageDraw.Draw(image)
    white: int | tuple[int, int, int] = 255 if image.mode == "L" else (255, 255, 255)
    black: int | tuple[int, int, int] = 0 if image.mode == "L" else (0, 0, 0)
    for number, line in enumerate(line for line in lines if line):
        drawing.text((4, 3 + number * (size + 3)), line, fill=white, font=font, stroke_width=1, stroke_fill=black)
