"""All pictures of a series, drawn by codec processes and written as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dgate.rev.draw import Drawn, Piece, Sampled, draw, sample
from dgate.rev.files import PART, write
from dgate.rev.layout import LARGE, LARGE_STRIP, PICTURES, RAW, SMALL, SMALL_SIZE, STRIP, middle
from dgate.rev.options import Drawing
from dgate.rev.overlay import lines_of
from dgate.rev.slices import Slice, named
from dgate.rev.strip import placeholder, strip
from storage.errors import CodecFailed
from storage.pool import CodecPool
from storage.render.view import Window
from storage.render.window import MOST_VALUES, automatic_window

# Of small files so many frames make a task, of one with many frames more, since each task reads its header; and no
# more bytes of decoded frames than that.
_FRAMES, _FRAMES_OF_ONE = 32, 128
_BYTES = 64 << 20
# More frames of one file than anybody looks at in a strip; each is three files.
MOST_FRAMES = 20_000
# So often a codec process may be lost over a series before what else is lost is no longer looked into.
_MOST_CRASHES = 8
_FEWEST_VALUES = 256

Tell = Callable[[str, str, str], None]


@dataclass(slots=True)
class Pictures:
    """What was drawn: `names` are of the files of each size, in the order of the series; `shown` are in the strip."""

    names: list[str] = field(default_factory=list)
    colour: bool = False
    failed: int = 0
    shown: int = 0
    has_image: bool = False

    @property
    def status(self) -> str:
        if not self.has_image:
            return "noimage"
        return "partial" if self.failed else "ok"


class Artist:
    """Makes the pictures of one series in its output directory.

    `tell` is called with a file name, one word and a line for everything that could not be drawn.
    """

    def __init__(self, directory: Path, drawing: Drawing, pool: CodecPool, tell: Tell) -> None:
        self._directory = directory
        self._drawing = drawing
        self._pool = pool
        self._tell = tell
        self._crashes = 0

    def make(self, slices: Sequence[Slice]) -> Pictures:
        """Draw all frames in the order of the files; write them, the strips and the middle image. Raises OSError."""
        for name in PICTURES:
            (self._directory / name).mkdir(exist_ok=True)
        made = Pictures()
        frames = {one.path: self._frames(one) for one in slices}
        stems = named(slices)
        window = self._window([one for one in slices if not one.has_window], frames)
        digits = {one.path: len(str(frames[one.path] - 1)) if frames[one.path] > 10 else 1 for one in slices}
        for drawn in self._drawn(list(self._pieces(slices, frames)), window):
            if drawn.error:
                made.failed += 1
                of_many = f"frame {drawn.frame}: " * (frames[drawn.path] > 1)
                self._tell(drawn.path.name, "decode", of_many + drawn.error)
                continue
            name = f"{stems[drawn.path.name]}.{drawn.frame:0{digits[drawn.path]}d}.jpg"
            self._write(name, drawn.raw, drawn.large, drawn.small)
            made.names.append(name)
            made.colour |= drawn.colour
        made.has_image = bool(made.names)
        if not made.names:
            self._placeholder(made, slices[0], stems)
        self._strips(made)
        self._tidy(made)
        return made

    def _frames(self, one: Slice) -> int:
        if one.frames > MOST_FRAMES:
            self._tell(one.name, "frames", f"it has {one.frames} frames, of which {MOST_FRAMES} are drawn")
        return min(one.frames, MOST_FRAMES)

    def _pieces(self, slices: Sequence[Slice], frames: dict[Path, int]) -> Iterator[Piece]:
        """The frames of files in their order, cut into pieces; with the lines that are written on each."""
        count, place = sum(frames.values()), 0
        for one in slices:
            step = max(1, min(_FRAMES_OF_ONE, _BYTES // max(1, one.frame_bytes)))
            for first in range(0, frames[one.path], step):
                stop = min(first + step, frames[one.path])
                wanted = self._drawing.overlay
                lines = tuple(
                    lines_of(one, wanted, place + number + 1, count) for number in range(first, stop) if wanted
                )
                yield Piece(one.path, first, stop, lines)
            place += frames[one.path]

    def _window(self, bare: Sequence[Slice], frames: dict[Path, int]) -> Window | None:
        """One window for all frames that have none of their own: a strip must not flicker."""
        count = sum(frames[one.path] for one in bare)
        if not count:
            return None
        share = max(_FEWEST_VALUES, MOST_VALUES // count)
        pieces = [Piece(piece.path, piece.first, piece.stop) for piece in self._pieces(bare, frames)]
        values: list[NDArray[np.float32]] = []
        for task in _tasks(pieces):
            # What cannot be decoded is told when it is drawn.
            for sampled in self._sampled(task, share):
                values += sampled.values
        return automatic_window(values, len(values)) if values else None

    def _sampled(self, task: Sequence[Piece], share: int) -> Iterator[Sampled]:
        try:
            yield self._pool.run(sample, task, share)
        except CodecFailed:
            self._crashes += 1
            for single in self._singles(task):
                yield from self._sampled([single], share)

    def _drawn(self, pieces: Sequence[Piece], window: Window | None) -> Iterator[Drawn]:
        """Draw pieces, some at a time, and yield the frames in their order."""
        waiting: deque[tuple[Sequence[Piece], Future[list[Drawn]]]] = deque()
        tasks = iter(_tasks(pieces))
        try:
            while True:
                while len(waiting) <= self._pool.workers and (task := next(tasks, None)) is not None:
                    waiting.append((task, self._pool.submit(draw, task, window, self._drawing.large)))
                if not waiting:
                    return
                task, future = waiting.popleft()
                try:
                    yield from future.result()
                except CodecFailed as error:
                    yield from self._again(task, window, error)
        finally:
            for _, future in waiting:
                future.cancel()

    def _again(self, task: Sequence[Piece], window: Window | None, error: CodecFailed) -> Iterator[Drawn]:
        """Find out over which frames a codec process was lost, and draw the others."""
        self._crashes += 1
        singles = self._singles(task)
        if not singles:
            yield from (Drawn(piece.path, number, error=str(error)) for piece in task for number in piece.numbers)
        for at, single in enumerate(singles):
            if self._crashes > _MOST_CRASHES:
                text = "given up: codec processes were lost over too many frames of this series"
                yield from (Drawn(one.path, one.first, error=text) for one in singles[at:])
                return
            try:
                yield from self._pool.run(draw, [single], window, self._drawing.large)
            except CodecFailed as lost:
                self._crashes += 1
                yield Drawn(single.path, single.first, error=str(lost))

    def _singles(self, task: Sequence[Piece]) -> list[Piece]:
        """The frames of a task one by one, none at all when it is one or when enough processes have been lost."""
        if self._crashes > _MOST_CRASHES or sum(piece.frames for piece in task) == 1:
            return []
        return [
            Piece(piece.path, number, number + 1, piece.lines[number - piece.first : number - piece.first + 1])
            for piece in task
            for number in piece.numbers
        ]

    def _write(self, name: str, raw: bytes, large: bytes, small: bytes) -> None:
        for directory, data in ((RAW, raw), (LARGE, large), (SMALL, small)):
            write(self._directory / directory / name, data)

    def _placeholder(self, made: Pictures, first: Slice, stems: dict[str, str]) -> None:
        name = f"{stems[first.name]}.0.jpg"
        modality = "".join(sign for sign in first.text("Modality")[:16] if sign.isprintable())
        large = placeholder(modality, self._drawing.large)
        self._write(name, large, large, placeholder(modality, SMALL_SIZE))
        made.names.append(name)

    def _strips(self, made: Pictures) -> None:
        raw = self._directory / RAW
        write(self._directory / middle(self._directory.name), (raw / made.names[len(made.names) // 2]).read_bytes())
        for name, kind, size in ((LARGE_STRIP, LARGE, self._drawing.large), (STRIP, SMALL, SMALL_SIZE)):
            pictures = [self._directory / kind / one for one in made.names]
            data, made.shown = strip(pictures, size, self._drawing.strip_max, colour=made.colour)
            write(self._directory / name, data)

    def _tidy(self, made: Pictures) -> None:
        """Remove pictures of files that are no longer there, and what a run left behind that was ended."""
        kept = set(made.names)
        for kind in PICTURES:
            for path in (self._directory / kind).iterdir():
                if path.name not in kept and not (kind == RAW and path.name == Path(middle(self._directory.name)).name):
                    path.unlink()
        for path in self._directory.glob(f"{PART}*"):
            path.unlink(missing_ok=True)


def _tasks(pieces: Sequence[Piece]) -> Iterator[Sequence[Piece]]:
    """Put the pieces of small files together, so that a task is worth the asking."""
    task: list[Piece] = []
    for piece in pieces:
        if task and (len(task) >= _FRAMES or sum(one.frames for one in task) + piece.frames > _FRAMES):
            yield task
            task = []
        task.append(piece)
    if task:
        yield task
