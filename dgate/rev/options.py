"""What `dgate rev` was asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from dgate.rev.files import Links
from dgate.rev.tagstruct import Anonymisation

STAGES = (1, 2, 3, 4)
TITLES = {
    1: "DICOM analysis",
    2: "series JSON analysis",
    3: "example index.html generation",
    4: "data-space tree building",
}
# The most that a JPEG can have in height.
STRIP_MAX = 65_500
# Drawn on the large images when nothing else is asked for: nothing that tells who it is.
USUAL_OVERLAY = ("SeriesDescription", "InstanceNumber", "SliceLocation", "image", "window")
# Those that are no keywords: the number of the image in its series, and its window.
OVERLAY_WORDS = ("image", "window")

# Raised when the same input would give other pictures or other files.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """How pictures are made: width and height of the large ones, the highest strip, what is written on the large."""

    large: tuple[int, int] = (300, 300)
    strip_max: int = STRIP_MAX
    overlay: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copying:
    """What becomes of the DICOM files on their way to the output tree."""

    anonymisation: Anonymisation | None = None
    links: Links = "hard"
    transcode: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that a run goes by. `in_place` is the explicit permission to write over source files."""

    input: Path
    output: Path
    in_place: bool = False
    stages: tuple[int, ...] = STAGES
    only: str = ""
    extension: str = ""
    leaf: str = ""
    copying: Copying = field(default_factory=Copying)
    drawing: Drawing = field(default_factory=Drawing)
    server: str = ""
    viewer: str = "../"
    study_json: str = "description.json"
    min_series: int = 3
    workers: int = 0
    follow_links: bool = False

    @property
    def settings(self) -> str:
        """A name of all that decides what stage 1 makes of a series; it tells nothing of the seed."""
        hidden = self.copying.anonymisation
        seed = b"" if hidden is None else hidden.seed.encode("utf-8", "surrogateescape")
        text = repr(
            (_VERSION, self.drawing, self.copying.links, self.copying.transcode, self.leaf, hidden and hidden.mark)
        )
        # It is kept where a web server may hand it out: guessing seeds by it must be slow.
        return hashlib.pbkdf2_hmac("sha256", seed, text.encode("utf-8", "surrogateescape"), 200_000, 16).hex()
