"""What series look like: windows, colour, frames, strips, middle images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dgate.rev.strip import chosen
from tests.objects import pydicom_files
from tests.test_rev.library import PLACE, described, flat, greys, image, names, picture, put, rev, series

# JPEG at quality 90 is not exact.
NEAR = 3


def middle(root: Path, name: str) -> np.ndarray:
    return greys(root / PLACE / name / f"dcm2jpgRaw/middle-{name}.jpg").astype(int)


def grey(values: list[int], **keywords: object) -> Dataset:
    """Four stripes of values, each 16 pixels wide."""
    return image(np.repeat(np.array([values], "<i2"), 16, axis=1).repeat(16, axis=0), **keywords)


def shades(found: np.ndarray) -> list[int]:
    """The values in the middles of the stripes."""
    return [int(found[8, 8 + 16 * number]) for number in range(found.shape[1] // 16)]


def lut(entries: list[int], first: int) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "SS", [len(entries), first, 8])
    item.add_new(0x00283006, "US", entries)
    return Sequence([item])


STEPS = [-300, -160, 40, 240]
WINDOWS: dict[str, tuple[Dataset, list[int]]] = {
    "window": (grey(STEPS, WindowCenter=40, WindowWidth=400), [0, 0, 128, 255]),
    "two windows": (grey(STEPS, WindowCenter=[40, 0], WindowWidth=[400, 10]), [0, 0, 128, 255]),
    "none": (grey([0, 10, 20, 30]), [0, 85, 170, 255]),
    "sigmoid": (
        grey([-560, 40, 140, 640], WindowCenter=40, WindowWidth=400, VOILUTFunction="SIGMOID"),
        [1, 128, 186, 254],
    ),
    "exact": (
        grey([0, 50, 100, 150], WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT"),
        [0, 128, 255, 255],
    ),
    "rescaled": (
        grey([0, 100, 200, 300], RescaleSlope=2, RescaleIntercept=-300, WindowCenter=0.5, WindowWidth=601),
        [0, 85, 170, 255],
    ),
    "lut": (grey([0, 1, 2, 3], VOILUTSequence=lut([10, 60, 160, 250], 0)), [10, 60, 160, 250]),
    "monochrome1": (
        grey(STEPS, PhotometricInterpretation="MONOCHROME1", WindowCenter=40, WindowWidth=400),
        [255, 255, 127, 0],
    ),
    "inverse": (grey(STEPS, PresentationLUTShape="INVERSE", WindowCenter=40, WindowWidth=400), [255, 255, 127, 0]),
    "padding": (grey([-2000, 0, 50, 100], PixelPaddingValue=-2000), [0, 0, 128, 255]),
    "zero width": (grey([0, 10, 20, 30], WindowCenter=0, WindowWidth=0), [0, 85, 170, 255]),
}


def float_pixels() -> Dataset:
    made = grey([0, 0, 0, 0])
    values = np.repeat(np.array([[0.0, 0.25, 0.5, 1.0]], "<f4"), 16, axis=1).repeat(16, axis=0)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, keyword)
    made.BitsAllocated = 32
    made.FloatPixelData = values.tobytes()
    return made


def dose() -> Dataset:
    made = grey([0, 100, 200, 400], Modality="RTDOSE")
    made.DoseGridScaling = 0.01
    return made


def mask() -> Dataset:
    made = image(np.zeros((16, 64), np.uint8), Modality="SEG")
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    made.PixelData = np.packbits(np.repeat([[0, 1, 0, 1]], 16, axis=1).repeat(16, axis=0), bitorder="little").tobytes()
    return made


def palette() -> Dataset:
    made = image(np.repeat(np.array([[0, 1, 2, 3]], np.uint8), 16, axis=1).repeat(16, axis=0))
    made.PhotometricInterpretation = "PALETTE COLOR"
    for colour, entries in (("Red", [0, 255, 0, 9]), ("Green", [0, 0, 255, 9]), ("Blue", [0, 0, 0, 9])):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 8])
        setattr(made, f"{colour}PaletteColorLookupTableData", np.array(entries, "<u2").tobytes())
    return made


def colours(photometric: str, values: list[tuple[int, int, int]]) -> Dataset:
    pixels = np.repeat(np.array([values], np.uint8), 16, axis=1).repeat(16, axis=0)
    return image(pixels, PhotometricInterpretation=photometric)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run over a series of each kind."""
    root = tmp_path_factory.mktemp("gallery")
    for name, (made, _) in WINDOWS.items():
        put(root, name, [made])
    put(root, "float", [float_pixels()])
    put(root, "dose", [dose()])
    put(root, "mask", [mask()])
    put(root, "palette", [palette()])
    put(root, "rgb", [colours("RGB", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)])])
    put(root, "ybr", [colours("YBR_FULL", [(76, 85, 255), (150, 44, 21), (29, 255, 107), (90, 128, 128)])])
    put(root, "flicker", [flat(value, WindowCenter=None, WindowWidth=None) for value in (0, 50, 100)])
    put(root, "mixed colours", [flat(40), colours("RGB", [(255, 0, 0)] * 4)])
    put(
        root,
        "frames",
        [image(np.arange(12, dtype="<i2").repeat(256).reshape(12, 16, 16) * 20, WindowCenter=120.5, WindowWidth=241)],
    )
    put(
        root,
        "wide pixels",
        [image(np.full((16, 16), 1000, "<i2"), PixelSpacing=[0.5, 2], WindowCenter=0, WindowWidth=10)],
    )
    put(root, "report", [flat(0)])
    (report,) = (path for path in pydicom_files() if path.name == "test-SR.dcm")
    (root / PLACE / "report/0000.dcm").write_bytes(report.read_bytes())
    assert rev(root) == 0
    return root


@pytest.mark.parametrize("name", WINDOWS)
def test_greys_are_windowed_as_the_standard_says(gallery: Path, name: str) -> None:
    expected = WINDOWS[name][1]
    assert shades(middle(gallery, name)) == pytest.approx(expected, abs=NEAR)


@pytest.mark.parametrize(
    ("name", "expected"), [("float", [0, 64, 128, 255]), ("dose", [0, 64, 128, 255]), ("mask", [0, 255, 0, 255])]
)
def test_floats_doses_and_masks_are_shown(gallery: Path, name: str, expected: list[int]) -> None:
    assert shades(middle(gallery, name)) == pytest.approx(expected, abs=NEAR)


@pytest.mark.parametrize("name", ["rgb", "ybr", "palette"])
def test_colour_is_shown_in_colour(gallery: Path, name: str) -> None:
    found = middle(gallery, name)
    expected = {"palette": [(0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9)]}.get(
        name, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90)]
    )
    assert [tuple(found[8, 8 + 16 * number]) for number in range(4)] == [pytest.approx(one, abs=6) for one in expected]


def test_a_series_without_windows_gets_one_for_all_of_it(gallery: Path) -> None:
    strip = greys(gallery / PLACE / "flicker/preview.jpg")
    assert strip.shape == (3 * 96, 96)
    assert [int(strip[48 + 96 * number, 48]) for number in range(3)] == pytest.approx([0, 128, 255], abs=NEAR)


def test_a_strip_is_in_colour_when_one_of_its_images_is(gallery: Path) -> None:
    strip = picture(gallery / PLACE / "mixed colours/preview.jpg")
    assert (strip.mode, strip.size) == ("RGB", (96, 192))
    assert picture(gallery / PLACE / "flicker/preview.jpg").mode == "L"


def test_frames_of_one_file_are_named_in_their_order(gallery: Path) -> None:
    directory = gallery / PLACE / "frames"
    assert names(directory / "dcm2jpgResize") == [f"0000.{number:02d}.jpg" for number in range(12)]
    assert names(directory / "dcm2jpgRaw") == [*(f"0000.{number:02d}.jpg" for number in range(12)), "middle-frames.jpg"]
    assert (directory / "dcm2jpgRaw/middle-frames.jpg").read_bytes() == (
        directory / "dcm2jpgRaw/0000.06.jpg"
    ).read_bytes()
    strip = greys(directory / "preview.jpg")
    assert [int(strip[48 + 96 * number, 48]) for number in range(12)] == pytest.approx(
        [number * 255 / 12 for number in range(12)], abs=NEAR
    )
    series = described(gallery, "frames")["details"]["series"]
    assert (series["files"], series["frames"], series["preview"]["frames"]) == ("1", "12", "12")


def test_pixels_that_are_not_square_are_so_in_small_and_large_images_only(gallery: Path) -> None:
    directory = gallery / PLACE / "wide pixels"
    assert picture(directory / "dcm2jpgRaw/0000.0.jpg").size == (16, 16)
    small = greys(directory / "dcm2jpgResize/0000.0.jpg")
    white = np.flatnonzero(small[:, 48] > 128)
    assert (len(white), white[0]) == (24, 36)
    assert (small[48] > 128).all()


def test_an_object_without_image_gets_a_placeholder(gallery: Path) -> None:
    directory = gallery / PLACE / "report"
    assert names(directory / "dcm2jpgRaw") == ["0000.0.jpg", "middle-report.jpg"]
    assert (picture(directory / "preview.jpg").size, picture(directory / "raw-preview.jpg").size) == (
        (96, 96),
        (300, 300),
    )
    entry = described(gallery, "report")
    assert entry["details"]["series"]["status"] == "noimage"
    assert entry["details"]["series"]["preview"]["frames"] == "1"


@pytest.mark.parametrize(("count", "most"), [(1, 1), (219, 218), (1000, 682), (5, 2), (683, 682)])
def test_a_strip_that_is_full_shows_images_spread_evenly(count: int, most: int) -> None:
    assert chosen(count, most) == [int((k + 0.5) * count / most) for k in range(most)] or count <= most
    assert chosen(most, most) == list(range(most))
    assert len(set(chosen(count, most))) == min(count, most)


@pytest.mark.parametrize("count", [1, 54, 167, 219, 1000])
def test_a_series_of_any_length_has_both_strips(tmp_path: Path, count: int) -> None:
    frames = image(
        (np.arange(count, dtype="<i2") * 4).repeat(64).reshape(count, 8, 8), WindowCenter=2000, WindowWidth=4001
    )
    if count == 1:
        frames = image(np.zeros((8, 8), "<i2"), WindowCenter=2000, WindowWidth=4001)
    put(tmp_path, "S", [frames])
    assert rev(tmp_path) == 0
    small, large = picture(tmp_path / PLACE / "S/preview.jpg"), picture(tmp_path / PLACE / "S/raw-preview.jpg")
    shown, large_shown = min(count, 682), min(count, 218)
    assert (small.size, large.size) == ((96, 96 * shown), (300, 300 * large_shown))
    assert described(tmp_path, "S")["details"]["series"]["preview"]["frames"] == str(shown)
    values = np.asarray(small)[48::96, 48]
    assert values == pytest.approx([number * 4 * 255 / 4000 for number in chosen(count, 682)], abs=NEAR)


def test_a_lower_limit_makes_a_shorter_strip(tmp_path: Path) -> None:
    put(tmp_path, "S", series(5))
    assert rev(tmp_path, "--stripMax", "300", "-D", "96x100") == 0
    assert picture(tmp_path / PLACE / "S/preview.jpg").size == (96, 3 * 96)
    large = picture(tmp_path / PLACE / "S/raw-preview.jpg")
    assert large.size == (96, 300)
    assert [int(value) for value in np.asarray(large)[50::100, 48]] == pytest.approx([0, 128, 255], abs=NEAR)


def test_slices_are_shown_by_position_and_else_by_number(tmp_path: Path) -> None:
    objects = series(4, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    for number, made in enumerate(objects):
        made.ImagePositionPatient = [0, 0, -3.5 * number]
    put(tmp_path, "A", objects)
    put(tmp_path, "B", [flat(0, InstanceNumber=number, SeriesInstanceUID="1.2") for number in (3, 1, 2)])
    put(tmp_path, "C", [flat(0, InstanceNumber=1, SeriesInstanceUID="1.3") for _ in range(2)])
    assert rev(tmp_path) == 0
    found = {name: described(tmp_path, name)["details"]["series"] for name in "ABC"}
    assert {name: (one["order"], [Path(path).stem for path in one["data"]]) for name, one in found.items()} == {
        "A": ("position", ["0003", "0002", "0001", "0000"]),
        "B": ("instance", ["0001", "0002", "0000"]),
        "C": ("name", ["0000", "0001"]),
    }
    raw = tmp_path / PLACE / "A/dcm2jpgRaw"
    assert (raw / "middle-A.jpg").read_bytes() == (raw / "0001.0.jpg").read_bytes()


def test_frames_of_an_enhanced_object_have_their_own_windows(tmp_path: Path) -> None:
    made = image(np.full((2, 16, 16), 100, "<i2"))
    groups = []
    for center in (100, 101):
        window, item = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 3
        item.FrameVOILUTSequence = Sequence([window])
        groups.append(item)
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put(tmp_path, "S", [made])
    assert rev(tmp_path) == 0
    strip = greys(tmp_path / PLACE / "S/preview.jpg")
    assert [int(strip[48, 48]), int(strip[144, 48])] == pytest.approx([191, 64], abs=NEAR)


def test_tags_can_be_written_on_the_large_images(tmp_path: Path) -> None:
    put(tmp_path, "S", [flat(-500)])
    assert rev(tmp_path) == 0
    plain = greys(tmp_path / PLACE / "S/raw-preview.jpg")
    assert rev(tmp_path, "--tagOverlay") == 0
    written = greys(tmp_path / PLACE / "S/raw-preview.jpg")
    assert (int(plain.max()), int(written.max()) > 200, int(written[100:].max()) <= 1) == (0, True, True)
    assert rev(tmp_path, "--tagOverlay", "PatientName") == 0
    assert not np.array_equal(written, greys(tmp_path / PLACE / "S/raw-preview.jpg"))


def test_pictures_are_quality_90_without_metadata(gallery: Path) -> None:
    with Image.open(gallery / PLACE / "rgb/preview.jpg") as found:
        assert (found.getexif(), found.info.get("exif"), found.layer[0][1:3]) == ({}, None, (2, 2))
