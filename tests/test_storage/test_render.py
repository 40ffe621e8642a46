"""Pictures against values worked out by hand from PS3.3: windows, tables, colour, sizes, and what cannot be drawn."""

from __future__ import annotations

import io
import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from storage.errors import NotConvertible, NotDicom, NotRendered
from storage.render.lookup import Descriptor, plain_table, segmented_table
from storage.render.picture import picture
from storage.render.view import Encoding, NoSuchFrame, View, Window
from tests.objects import write
from tests.pictures import half_up, image_of, linear, opened

PNG = Encoding("PNG")
WHOLE = View()


def drawn(path: Path, view: View = WHOLE, encoding: Encoding = PNG) -> NDArray[np.uint8]:
    """The pixels of the picture of a file."""
    return np.asarray(opened(picture(path, view, encoding)))


def exact(value: Fraction, center: Fraction, width: Fraction) -> int:
    """PS3.3 C.11.2.1.3.2."""
    if value <= center - width / 2:
        return 0
    if value > center + width / 2:
        return 255
    return half_up(((value - center) / width + Fraction(1, 2)) * 255)


RAMP = np.arange(-128, 384, dtype=np.int16).reshape(16, 32)


@pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 1), (127, 2), (100, 255), (-20, 33), (50.5, 100.25)])
def test_the_linear_window_is_that_of_the_standard(tmp_path: Path, center: float, width: float) -> None:
    path = write(tmp_path, image_of(RAMP, WindowCenter=str(center), WindowWidth=str(width)))
    expected = [linear(Fraction(int(v)), Fraction(center), Fraction(width)) for v in RAMP.flat]
    assert drawn(path).reshape(-1).tolist() == expected


def test_window_and_rescale_work_in_modality_units(tmp_path: Path) -> None:
    made = image_of(RAMP, RescaleSlope="2", RescaleIntercept="-100", WindowCenter="40", WindowWidth="400")
    expected = [linear(Fraction(2 * int(v) - 100), Fraction(40), Fraction(400)) for v in RAMP.flat]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_an_exact_linear_window_has_no_half_values(tmp_path: Path) -> None:
    made = image_of(RAMP, WindowCenter="10", WindowWidth="100", VOILUTFunction="LINEAR_EXACT")
    expected = [exact(Fraction(int(v)), Fraction(10), Fraction(100)) for v in RAMP.flat]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_a_sigmoid_window_is_that_of_the_standard(tmp_path: Path) -> None:
    made = image_of(RAMP, WindowCenter="10", WindowWidth="100", VOILUTFunction="SIGMOID")
    expected = [math.floor(255 / (1 + math.exp(-4 * (int(v) - 10) / 100)) + 0.5) for v in RAMP.flat]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_of_several_windows_the_first_counts_and_the_one_asked_for_before_it(tmp_path: Path) -> None:
    path = write(tmp_path, image_of(RAMP, WindowCenter=["40", "300"], WindowWidth=["400", "50"]))
    first = [linear(Fraction(int(v)), Fraction(40), Fraction(400)) for v in RAMP.flat]
    asked = [linear(Fraction(int(v)), Fraction(5), Fraction(20)) for v in RAMP.flat]
    assert drawn(path).reshape(-1).tolist() == first
    assert drawn(path, View(window=Window(5, 20))).reshape(-1).tolist() == asked


def test_monochrome1_and_an_inverse_presentation_are_inverted_once(tmp_path: Path) -> None:
    keywords = {"WindowCenter": "40", "WindowWidth": "400"}
    plain = drawn(write(tmp_path, image_of(RAMP, **keywords)))
    for more in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ):
        inverted = drawn(write(tmp_path, image_of(RAMP, **keywords, **more)))
        # Halves are rounded up on both sides, so that the two may meet at one more than 255.
        assert set(np.unique(plain.astype(int) + inverted)) <= {255, 256}
        assert (plain[-1, -1], inverted[-1, -1]) == (255, 0)


def test_without_window_the_percentiles_a_half_and_99_and_a_half_are_black_and_white(tmp_path: Path) -> None:
    values = np.arange(20 * 10, dtype=np.uint16).reshape(10, 20) * 3 + 1000
    # Of 200 values 3 apart, the two lie 0.995 and 198.005 steps from the first.
    low, high = 1000 + 3 * Fraction(995, 1000), 1000 + 3 * Fraction(198005, 1000)
    middle, width = (low + high) / 2, high - low
    expected = [exact(Fraction(int(v)), middle, width) for v in values.flat]
    assert drawn(write(tmp_path, image_of(values))).reshape(-1).tolist() == expected


@pytest.mark.parametrize("useless", [{"WindowCenter": "40"}, {"WindowCenter": "40", "WindowWidth": "0"}])
def test_a_window_that_is_none_is_as_good_as_none(tmp_path: Path, useless: dict[str, str]) -> None:
    automatic = drawn(write(tmp_path, image_of(RAMP)))
    assert np.array_equal(drawn(write(tmp_path, image_of(RAMP, **useless))), automatic)


def test_padding_is_no_part_of_the_automatic_window(tmp_path: Path) -> None:
    values = np.full((20, 20), -2000, np.int16)
    values[5:15, 5:15] = np.arange(100).reshape(10, 10)
    shown = drawn(write(tmp_path, image_of(values, PixelPaddingValue=-2000)))
    alone = drawn(write(tmp_path, image_of(np.ascontiguousarray(values[5:15, 5:15]))))
    assert np.array_equal(shown[5:15, 5:15], alone)
    assert shown[0, 0] == 0
    within = image_of(values, PixelPaddingValue=-2000)
    within.add_new(0x00280121, "SS", -1500)
    assert np.array_equal(drawn(write(tmp_path, within)), shown)


def test_a_flat_image_is_black_and_a_nearly_empty_one_is_seen(tmp_path: Path) -> None:
    values = np.full((50, 50), 7, np.uint8)
    assert set(drawn(write(tmp_path, image_of(values))).flat) == {0}
    values[25, 25] = 9
    shown = drawn(write(tmp_path, image_of(values)))
    assert (shown[25, 25], set(np.delete(shown.reshape(-1), 25 * 50 + 25))) == (255, {0})


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_the_picture_is_the_same_in_every_uncompressed_syntax(tmp_path: Path, syntax: str) -> None:
    made = image_of(RAMP, WindowCenter="40", WindowWidth="400", PixelPaddingValue=-100)
    plain = drawn(write(tmp_path, made))
    assert np.array_equal(drawn(write(tmp_path / "other", made, syntax)), plain)


def lut(first: int, entries: list[int], bits: int) -> Dataset:
    made = Dataset()
    made.add_new(0x00283002, "SS" if first < 0 else "US", [len(entries), first, bits])
    made.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return made


def test_a_modality_lut_replaces_the_rescale(tmp_path: Path) -> None:
    values = np.array([[-2, -1, 0, 1, 2, 3]], np.int16)
    made = image_of(values, WindowCenter="500", WindowWidth="1000", RescaleSlope="9", RescaleIntercept="9")
    made.ModalityLUTSequence = Sequence([lut(-1, [100, 300, 900], 10)])
    through = [100, 100, 300, 900, 900, 900]
    expected = [linear(Fraction(v), Fraction(500), Fraction(1000)) for v in through]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_a_voi_lut_serves_where_there_is_no_window(tmp_path: Path) -> None:
    values = np.array([[0, 10, 11, 12, 50]], np.uint16)
    made = image_of(values)
    made.VOILUTSequence = Sequence([lut(10, [0, 512, 1023], 10), lut(10, [5, 6, 7], 10)])
    expected = [half_up(Fraction(v * 255, 1023)) for v in (0, 0, 512, 1023, 1023)]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected
    made.WindowCenter, made.WindowWidth = "11", "5"
    expected = [linear(Fraction(int(v)), Fraction(11), Fraction(5)) for v in values.flat]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_bits_above_the_stored_ones_are_not_shown(tmp_path: Path) -> None:
    values = (np.arange(64, dtype=np.uint16).reshape(8, 8) << 4) | 0xF00F
    made = image_of(values, BitsStored=8, WindowCenter="32", WindowWidth="64")
    made.HighBit = 11
    expected = [linear(Fraction(v), Fraction(32), Fraction(64)) for v in range(64)]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[[1, 0, 1], [0, 1, 1]], [[0, 0, 1], [1, 1, 1]]], np.uint8)
    made = image_of(bits, BitsStored=1)
    made.BitsAllocated, made.HighBit = 1, 0
    made.PixelData = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    path = write(tmp_path, made)
    assert np.array_equal(drawn(path, View(frame=0)), bits[0] * 255)
    assert np.array_equal(drawn(path, View(frame=1)), bits[1] * 255)


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_float_pixels_have_an_automatic_window_without_what_is_no_number(
    tmp_path: Path, keyword: str, kind: str
) -> None:
    values = np.linspace(-1, 1, 400).reshape(2, 10, 20)
    values[0, 0, :3] = math.nan, math.inf, -math.inf
    made = image_of(np.zeros(values.shape, np.uint16))
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.BitsAllocated = 8 * np.dtype(kind).itemsize
    setattr(made, keyword, values.astype(kind).tobytes())
    path = write(tmp_path, made)
    shown = drawn(path, View(frame=0)).reshape(-1)
    kept = np.sort(values[0].astype(kind).reshape(-1)[3:].astype(float))
    low, high = (kept[int(place)] + (kept[int(place) + 1] - kept[int(place)]) * (place % 1) for place in (0.98, 195.02))
    assert shown[:3].tolist() == [0, 255, 0]
    expected = np.floor(np.clip((kept - low) / (high - low), 0, 1) * 255 + 0.5)
    assert np.abs(shown[3:] - expected).max() <= 1e-6
    assert drawn(path, View(frame=1, window=Window(0.5, 1, "LINEAR_EXACT")))[9, 19] == 255


def test_a_dose_is_scaled_to_gray_before_its_window(tmp_path: Path) -> None:
    values = np.arange(100, dtype=np.uint32).reshape(10, 10) * 100_000
    made = image_of(values, Modality="RTDOSE", DoseGridScaling="1e-5")
    shown = drawn(write(tmp_path, made), View(window=Window(50, 20)))
    # Thousandths that a float cannot hold are kept away from the halves that are rounded.
    expected = [linear(Fraction(v), Fraction(50), Fraction(20)) for v in range(100)]
    assert np.abs(shown.reshape(-1).astype(int) - expected).max() <= 1
    assert drawn(write(tmp_path, made))[0, 0] == 0
    assert drawn(write(tmp_path, made))[9, 9] == 255


def rgb_of(values: NDArray[Any], photometric: str, **keywords: Any) -> Dataset:
    """An object of (rows, columns, samples)."""
    made = image_of(values[:, :, 0], PhotometricInterpretation=photometric, **keywords)
    made.SamplesPerPixel = values.shape[2]
    made.PlanarConfiguration = 0
    made.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    return made


COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [200, 100, 50]]], np.uint8)


def test_rgb_is_shown_as_it_is_plane_by_plane_too(tmp_path: Path) -> None:
    made = rgb_of(COLOURS, "RGB", WindowCenter="5", WindowWidth="3")
    assert np.array_equal(drawn(write(tmp_path, made)), COLOURS)
    planes = rgb_of(COLOURS, "RGB")
    planes.PlanarConfiguration = 1
    planes.PixelData = COLOURS.transpose(2, 0, 1).tobytes()
    assert np.array_equal(drawn(write(tmp_path, planes)), COLOURS)


def test_sixteen_bits_of_colour_become_eight_by_what_is_stored(tmp_path: Path) -> None:
    values = np.array([[[4095, 2048, 0], [16, 8, 4087]]], np.uint16)
    expected = [[[half_up(Fraction(int(v) * 255, 4095)) for v in pixel] for pixel in row] for row in values]
    assert drawn(write(tmp_path, rgb_of(values, "RGB", BitsStored=12))).tolist() == expected


def test_ybr_full_becomes_rgb(tmp_path: Path) -> None:
    values = np.array([[[128, 128, 128], [76, 85, 255], [150, 44, 21], [29, 255, 107]]], np.uint8)
    expected = []
    for y, cb, cr in values[0].astype(float):
        colour = (y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128))
        expected.append([max(0, min(255, math.floor(v + 0.5))) for v in colour])
    assert drawn(write(tmp_path, rgb_of(values, "YBR_FULL"))).tolist() == [expected]


def test_ybr_full_422_has_the_colour_of_its_pair(tmp_path: Path) -> None:
    full = np.array([[[76, 85, 255], [100, 85, 255], [150, 44, 21], [29, 44, 21]]], np.uint8)
    made = rgb_of(full, "YBR_FULL_422")
    made.PixelData = bytes([76, 100, 85, 255, 150, 29, 44, 21])
    assert np.array_equal(drawn(write(tmp_path, made)), drawn(write(tmp_path, rgb_of(full, "YBR_FULL"))))


def palette_image(values: NDArray[Any], first: int, tables: list[list[int]], bits: int) -> Dataset:
    made = image_of(values, PhotometricInterpretation="PALETTE COLOR")
    for channel, table in enumerate(tables):
        made.add_new(0x00281101 + channel, "SS" if first < 0 else "US", [len(table) % 65536, first, bits])
        raw = np.array(table, "<u2").tobytes() if bits == 16 else bytes(table) + b"\0" * (len(table) % 2)
        made.add_new(0x00281201 + channel, "OW", raw)
    return made


def test_a_palette_of_bytes_begins_at_its_first_value(tmp_path: Path) -> None:
    tables = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    made = palette_image(np.array([[0, 5, 6, 7, 8]], np.uint8), 5, tables, 8)
    assert drawn(write(tmp_path, made)).tolist() == [
        [[10, 40, 70], [10, 40, 70], [20, 50, 80], [30, 60, 90], [30, 60, 90]]
    ]


def test_a_palette_of_words_is_scaled_and_may_begin_below_zero(tmp_path: Path) -> None:
    tables = [[0, 0x8000, 0xFFFF], [0xFFFF, 0, 257], [128 * 257, 1000, 2000]]
    made = palette_image(np.array([[-1, 0, 1]], np.int16), -1, tables, 16)
    expected = [[half_up(Fraction(table[n] * 255, 65535)) for table in tables] for n in range(3)]
    assert drawn(write(tmp_path, made)).tolist() == [expected]


def test_a_full_palette_has_65536_entries(tmp_path: Path) -> None:
    table = list(range(65536))
    made = palette_image(np.array([[0, 0x8080, 0xFFFF]], np.uint16), 0, [table] * 3, 16)
    assert drawn(write(tmp_path, made)).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_a_palette_of_eight_bit_values_called_sixteen_is_not_black(tmp_path: Path) -> None:
    made = palette_image(np.array([[0, 1]], np.uint8), 0, [[0, 255], [0, 128], [0, 1]], 16)
    assert drawn(write(tmp_path, made)).tolist() == [[[0, 0, 0], [255, 128, 1]]]


# Two discrete entries, a line of four to 400, and both once more: PS3.3 C.7.9.2, the offset in bytes.
SEGMENTS = [0, 2, 0, 200, 1, 4, 400, 2, 2, 0, 0]
EXPANDED = [0, 200, 250, 300, 350, 400, 0, 200, 250, 300, 350, 400]


def test_segments_are_expanded_as_the_standard_says(tmp_path: Path) -> None:
    raw = np.array(SEGMENTS, "<u2").tobytes()
    table = segmented_table(Descriptor(12, 0, 16), raw, little_endian=True)
    assert table.entries.tolist() == EXPANDED
    narrow = bytes([0, 2, 0, 200, 1, 4, 40, 2, 1, 0, 0, 0, 0])
    table = segmented_table(Descriptor(8, 0, 8), narrow, little_endian=True)
    assert table.entries.tolist() == [0, 200, 160, 120, 80, 40, 0, 200]
    # From the second segment on, which is at byte 8.
    raw = np.array([0, 2, 0, 200, 1, 4, 400, 2, 1, 8, 0], "<u2").tobytes()
    table = segmented_table(Descriptor(10, 0, 16), raw, little_endian=True)
    assert table.entries.tolist() == [0, 200, 250, 300, 350, 400, 400, 400, 400, 400]


def test_an_image_with_segmented_palettes_is_drawn(tmp_path: Path) -> None:
    made = image_of(np.arange(12, dtype=np.uint8).reshape(3, 4), PhotometricInterpretation="PALETTE COLOR")
    scaled = [word * 100 for word in SEGMENTS[:4]]
    segments = [0, 2, scaled[2], scaled[3], 1, 4, 40000, 2, 2, 0, 0]
    for channel in range(3):
        made.add_new(0x00281101 + channel, "US", [12, 0, 16])
        made.add_new(0x00281221 + channel, "OW", np.array(segments, "<u2").tobytes())
    expected = [half_up(Fraction(value * 100 * 255, 65535)) for value in EXPANDED]
    assert drawn(write(tmp_path, made))[:, :, 1].reshape(-1).tolist() == expected


@pytest.mark.parametrize(
    "segments",
    [
        [1, 4, 400],  # a line from nowhere
        [0, 2, 0],  # cut
        [0, 1, 5, 2, 1, 6, 0],  # copies itself
        [0, 1, 5, 7, 1, 1, 1],  # of no kind
        [0, 1, 5, 2, 9, 0xFFFF, 0xFFFF],  # from beyond
        [0, 1, 5] + [2, 0xFFFF, 6, 0] * 3,
        [0, 1, 5, 0, 0, 0, 0] * 2,
    ],
)
def test_segments_that_make_no_table_are_refused(segments: list[int]) -> None:
    with pytest.raises(NotRendered):
        segmented_table(Descriptor(1000, 0, 16), np.array(segments, "<u2").tobytes(), little_endian=True)


@settings(max_examples=200, deadline=1000)
@given(data=st.binary(max_size=400), entries=st.integers(1, 65536), bits=st.integers(0, 70), little=st.booleans())
def test_any_bytes_make_a_table_of_the_size_declared_or_none(
    data: bytes, entries: int, bits: int, little: bool
) -> None:
    for make in (plain_table, segmented_table):
        try:
            table = make(Descriptor(entries, -5, bits), data, little_endian=little)
        except NotRendered:
            continue
        assert len(table.entries) == entries
        assert int(table.entries.max()) <= table.top


def test_frames_have_windows_of_their_own_where_the_object_says_so(tmp_path: Path) -> None:
    frame = np.arange(200, dtype=np.uint16).reshape(10, 20)
    made = image_of(np.stack([frame, frame, frame]), WindowCenter="1", WindowWidth="2")
    shared, items = Dataset(), []
    shared.PixelValueTransformationSequence = Sequence([Dataset()])
    shared.PixelValueTransformationSequence[0].RescaleSlope = "2"
    shared.PixelValueTransformationSequence[0].RescaleIntercept = "10"
    for center in ("100", "200"):
        item = Dataset()
        item.FrameVOILUTSequence = Sequence([Dataset()])
        item.FrameVOILUTSequence[0].WindowCenter = center
        item.FrameVOILUTSequence[0].WindowWidth = "100"
        items.append(item)
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence([*items, Dataset()])
    path = write(tmp_path, made)
    for number, (center, width) in enumerate([(100, 100), (200, 100), (1, 2)]):
        expected = [linear(Fraction(2 * v + 10), Fraction(center), Fraction(width)) for v in range(200)]
        assert drawn(path, View(frame=number)).reshape(-1).tolist() == expected


def test_an_enhanced_object_of_one_frame_has_its_window_with_that_frame(tmp_path: Path) -> None:
    made = image_of(RAMP, WindowCenter="1", WindowWidth="2")
    item = Dataset()
    item.FrameVOILUTSequence = Sequence([Dataset()])
    item.FrameVOILUTSequence[0].WindowCenter = "40"
    item.FrameVOILUTSequence[0].WindowWidth = "400"
    made.PerFrameFunctionalGroupsSequence = Sequence([item])
    expected = [linear(Fraction(int(v)), Fraction(40), Fraction(400)) for v in RAMP.flat]
    assert drawn(write(tmp_path, made)).reshape(-1).tolist() == expected


def test_a_gif_holds_every_frame_in_grey_and_at_its_pace(tmp_path: Path) -> None:
    frames = np.stack([np.full((8, 12), 40 * number, np.uint8) for number in range(5)])
    made = image_of(frames, WindowCenter="128", WindowWidth="256", FrameTime="250")
    path = write(tmp_path, made)
    raw = picture(path, View(), Encoding("GIF"))
    assert raw[:6] == b"GIF89a"
    with Image.open(io.BytesIO(raw)) as image:
        assert image.n_frames == 5
        assert image.info["duration"] == 250
        shown = [np.asarray(frame.convert("L"))[0, 0] for frame in ImageSequence.Iterator(image)]
    assert shown == [linear(Fraction(40 * n), Fraction(128), Fraction(256)) for n in range(5)]
    single = picture(path, View(frame=3), Encoding("GIF"))
    with Image.open(io.BytesIO(single)) as image:
        assert getattr(image, "n_frames", 1) == 1
        assert image.mode in ("L", "P")
        assert np.asarray(image.convert("L"))[0, 0] == shown[3]


def test_an_animation_without_window_does_not_flicker(tmp_path: Path) -> None:
    frames = np.stack([np.full((10, 10), 100 * number, np.uint16) for number in range(4)])
    with Image.open(io.BytesIO(picture(write(tmp_path, image_of(frames)), View(), Encoding("GIF")))) as image:
        shown = [int(np.asarray(frame.convert("L"))[0, 0]) for frame in ImageSequence.Iterator(image)]
    assert shown == [0, 85, 170, 255]


def test_a_frame_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    path = write(tmp_path, image_of(np.zeros((2, 4, 4), np.uint8)))
    with pytest.raises(NoSuchFrame, match="it has 2 frames"):
        picture(path, View(frame=2), PNG)


GRADIENT = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)


@pytest.mark.parametrize(
    ("view", "size"),
    [
        (View(), (60, 40)),
        (View(rows=20), (30, 20)),
        (View(columns=30), (30, 20)),
        (View(rows=20, columns=60), (30, 20)),
        (View(rows=400, columns=120), (120, 80)),
        (View(rows=1, columns=1), (1, 1)),
        (View(longest=60), (60, 40)),
        (View(longest=59), (30, 20)),
        (View(longest=20), (20, 13)),
        (View(longest=1), (1, 1)),
        (View(longest=500), (60, 40)),
        (View(region=(0, 0, 0.5, 0.5)), (30, 20)),
        (View(region=(0.99, 0.99, 1, 1)), (1, 1)),
        (View(region=(0, 0, 0.5, 1), columns=60), (60, 80)),
    ],
)
def test_sizes_keep_the_shape(tmp_path: Path, view: View, size: tuple[int, int]) -> None:
    made = image_of(GRADIENT, WindowCenter="128", WindowWidth="256")
    with Image.open(io.BytesIO(picture(write(tmp_path, made), view, PNG))) as image:
        assert image.size == size


def test_whole_rows_and_columns_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, image_of(GRADIENT, WindowCenter="128", WindowWidth="256"))
    assert np.array_equal(drawn(path, View(longest=20)), drawn(path)[:39:3, ::3])


def test_a_region_is_cut_out_of_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path, image_of(GRADIENT))
    assert np.array_equal(drawn(path, View(region=(0.25, 0.1, 0.5, 0.9))), drawn(path)[4:36, 15:30])


@pytest.mark.parametrize("keywords", [{"PixelAspectRatio": ["2", "1"]}, {"PixelSpacing": ["1.0", "0.5"]}])
def test_pixels_become_square_when_the_size_changes(tmp_path: Path, keywords: dict[str, Any]) -> None:
    path = write(tmp_path, image_of(GRADIENT, **keywords))
    assert drawn(path).shape == (40, 60)
    assert drawn(path, View(columns=30)).shape == (40, 30)
    assert drawn(path, View(rows=20)).shape == (20, 15)


def test_jpeg_and_bmp_are_written_as_asked(tmp_path: Path) -> None:
    path = write(tmp_path, image_of(GRADIENT, WindowCenter="128", WindowWidth="256"))
    plain = drawn(path)
    rough, fine = (picture(path, View(), Encoding("JPEG", quality)) for quality in (5, 100))
    assert len(rough) < len(fine)
    with Image.open(io.BytesIO(fine)) as image:
        assert (image.format, image.mode) == ("JPEG", "L")
        assert np.abs(np.asarray(image).astype(int) - plain).max() <= 2
    with Image.open(io.BytesIO(picture(path, View(), Encoding("JPEG", 95, rgb=True)))) as image:
        assert image.mode == "RGB"
    raw = picture(path, View(), Encoding("BMP", rgb=True))
    # 24 bits, from the bottom up.
    assert struct.unpack_from("<iiHH", raw, 18) == (60, 40, 1, 24)
    assert raw[54] == plain[39, 0]


def test_what_would_be_too_large_is_refused_before_it_is_made(tmp_path: Path) -> None:
    flat = write(tmp_path, image_of(np.zeros((1, 3000), np.uint8)))
    with pytest.raises(NotRendered, match="too large"):
        picture(flat, View(rows=1000), PNG)
    many = image_of(np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(NotRendered, match="3 frames of 12000 x 12000 are too many for an animation"):
        picture(write(tmp_path, many), View(rows=12_000, columns=12_000), Encoding("GIF"))
    # A megabyte of single bits.
    countless = image_of(np.zeros((1, 1), np.uint8), BitsStored=1)
    countless.BitsAllocated, countless.HighBit, countless.NumberOfFrames = 1, 0, 8_000_000
    countless.PixelData = bytes(1_000_000)
    path = write(tmp_path, countless)
    with pytest.raises(NotRendered, match="its 8000000 frames are too many"):
        picture(path, View(), Encoding("GIF"))
    assert drawn(path, View(frame=7_999_999)).tolist() == [[0]]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"Rows": 0}, NotConvertible),
        ({"Rows": 65535, "Columns": 65535}, NotConvertible),
        ({"NumberOfFrames": 100_000_000}, NotConvertible),
        ({"Rows": 100}, NotDicom),
        ({"PhotometricInterpretation": "HSV", "SamplesPerPixel": 3, "Rows": 1, "Columns": 2}, NotRendered),
        ({"PhotometricInterpretation": "RGB"}, NotRendered),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, NotRendered),
        ({"BitsAllocated": 12}, NotConvertible),
        ({"PixelData": None}, NotConvertible),
    ],
)
def test_what_cannot_be_drawn_is_a_declared_error(
    tmp_path: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    made = image_of(np.zeros((4, 4), np.uint8))
    for keyword, value in change.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    with pytest.raises(error):
        picture(write(tmp_path, made), View(frame=0), PNG)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"]
        ),
        st.sampled_from([0, 1, 3, 8, 12, 16, 32, 64, 65535]),
        max_size=3,
    ),
    st.sampled_from(
        ["MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "YBR_ICT", "NONE"]
    ),
    st.sampled_from(["", "1e400", "-1", "0", "nan", "inf", "abc", "1\\2", "1e-300"]),
    st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]),
)
def test_headers_that_lie_give_a_picture_or_a_declared_error(
    tmp_path_factory: pytest.TempPathFactory, lies: dict[str, int], photometric: str, number: str, kind: Any
) -> None:
    made = palette_image(np.arange(64, dtype=np.uint8).reshape(8, 8), 0, [[1, 2], [3, 4], [5, 6]], 8)
    made.PhotometricInterpretation = photometric
    for keyword, value in lies.items():
        setattr(made, keyword, value)
    for tag in (0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00280034):
        made.add_new(tag, "LO", number)
    path = write(tmp_path_factory.mktemp("lies"), made)
    try:
        raw = picture(path, View(rows=16), Encoding(kind))
    except (NotConvertible, NotRendered, NotDicom):
        return
    with Image.open(io.BytesIO(raw)) as image:
        assert image.height == 16
