"""Libraries for tests: small objects in their places, a run over them, and what came of it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dgate.rev.cli import main
from tests.objects import PREFIX, ds, encoded

PLACE = "02-yr/11-mo/00-ex"


def image(pixels: NDArray[Any], **keywords: Any) -> Dataset:
    """An object with these pixels: (rows, columns), (frames, rows, columns) or, of bytes, with 3 samples at the end."""
    made = ds(**keywords)
    samples = 3 if pixels.ndim > 2 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8 else 1
    shape = pixels.shape[:-1] if samples == 3 else pixels.shape
    made.Rows, made.Columns = shape[-2:]
    made.SamplesPerPixel = samples
    if len(shape) == 3:
        made.NumberOfFrames = shape[0]
    if samples == 3:
        made.PlanarConfiguration = 0
    if "PhotometricInterpretation" not in made:
        made.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if bits > 8 else "OB"
    return made


def flat(value: int, size: int = 16, **keywords: Any) -> Dataset:
    """A signed 16-bit CT of one value."""
    wanted = {"WindowCenter": 40, "WindowWidth": 400, **keywords}
    return image(np.full((size, size), value, "<i2"), **{key: one for key, one in wanted.items() if one is not None})


def series(count: int, **keywords: Any) -> list[Dataset]:
    """Slices of one series whose values grow with their instance number."""
    uid = generate_uid(PREFIX)
    return [
        flat(round(-160 + 400 * number / max(1, count - 1)), SeriesInstanceUID=uid, InstanceNumber=number, **keywords)
        for number in range(count)
    ]


def put(
    root: Path,
    name: str,
    objects: Sequence[Dataset],
    place: str = PLACE,
    suffix: str = ".dcm",
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """Write objects as the files of a series, numbered from 0."""
    directory = root / place / name
    directory.mkdir(parents=True)
    for number, made in enumerate(objects):
        (directory / f"{number:04d}{suffix}").write_bytes(encoded(made, syntax))
    return directory


def rev(root: Path, *options: str, output: str | Path = "%inputDir") -> int:
    """Run the tool in this process; its exit status."""
    return main(["-I", str(root), "-O", str(output), "--threads", "1", "-v", "0", *options])


def read(path: Path) -> Any:
    """The JSON of a file."""
    return json.loads(path.read_bytes())


def described(root: Path, name: str, place: str = PLACE) -> dict[str, Any]:
    """The one object of a series' descriptor."""
    (found,) = read(root / place / f"{name}-series.json")["query"]["data"]
    made: dict[str, Any] = found
    return made


def picture(path: Path) -> Image.Image:
    """A picture, read."""
    return Image.open(io.BytesIO(path.read_bytes()))


def greys(path: Path) -> NDArray[np.uint8]:
    """The values of a picture."""
    return np.asarray(picture(path))


def names(directory: Path) -> list[str]:
    """What a directory holds, in order."""
    return sorted(path.name for path in directory.iterdir())
