"""Conversion between uncompressed syntaxes: pydicom reads the same, and the bytes are right to the last."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from storage.codecs.native import convert, rewritten
from storage.errors import NotConvertible, NotDicom
from storage.part10 import ObjectFile, file_meta, read_object_file

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = (IMPLICIT, EXPLICIT, BIG, DEFLATED)

Encode = Callable[..., bytes]
Make = Callable[..., Dataset]


def change(data: bytes, stored: str, wanted: str) -> bytes:
    assert list(rewritten(io.BytesIO(data), stored, wanted, dry=True)) is not None
    return b"".join(rewritten(io.BytesIO(data), stored, wanted))


def parse(data: bytes, syntax: str) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file_meta("1.2", "1.2.3", syntax) + data))


def _rich(ds: Make) -> Dataset:
    """A data set with a value of every kind of VR, and nested sequences."""
    inner = Dataset()
    inner.CodeValue = "INNER"
    inner.add_new(0x00080008, "CS", ["A", "B"])
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    data_set = ds(PatientName="Müller^山", PatientID="P1", Rows=2, Columns=3, SmallestImagePixelValue=-2)
    data_set.SpecificCharacterSet = "ISO_IR 192"
    data_set.PixelRepresentation = 1
    data_set.BitsAllocated = 16
    data_set.SmallestImagePixelValue = -2
    data_set["SmallestImagePixelValue"].VR = "SS"
    data_set.ReferencedImageSequence = Sequence([item, item])
    data_set.FrameIncrementPointer = [0x00181063, 0x00181065]
    data_set.add_new(0x00186022, "SL", [-5, 70000])
    data_set.add_new(0x00189087, "FD", [0.5, -1.25])
    data_set.add_new(0x0018605A, "FL", 2.5)
    data_set.add_new(0x00082130, "DS", ["1.50", "2"])
    data_set.add_new(0x00660016, "OF", pack("<4f", 1, 2, 3, 4))
    data_set.add_new(0x00660022, "OD", pack("<2d", 1, 2))
    data_set.add_new(0x00660040, "OL", pack("<2L", 1, 2))
    data_set.add_new(0x7FE00001, "OV", pack("<Q", 77))
    data_set.add_new(0x00281201, "OW", pack("<3H", 1, 2, 3))
    data_set.add_new(0x00091010, "UN", b"\1\2\3\4")
    return data_set


def _in_order(data_set: Dataset, big: bool) -> Dataset:
    """pydicom keeps the bytes of OW, OF, OD, OL and OV in the order they are written in: bring them there."""
    for tag, width in ((0x00660016, 4), (0x00660022, 8), (0x00660040, 4), (0x7FE00001, 8), (0x00281201, 2)):
        if big and tag in data_set:
            value = data_set[tag].value
            data_set[tag].value = b"".join(value[i : i + width][::-1] for i in range(0, len(value), width))
    return data_set


@pytest.mark.parametrize("stored", NATIVE)
@pytest.mark.parametrize("wanted", NATIVE)
def test_pydicom_reads_the_same_after_every_conversion(stored: str, wanted: str, encode: Encode, ds: Make) -> None:
    data = encode(_in_order(_rich(ds), stored == BIG), stored)
    converted = parse(change(data, stored, wanted), wanted)
    expected = parse(encode(_in_order(_rich(ds), wanted == BIG), wanted), wanted)
    assert converted.file_meta.TransferSyntaxUID == wanted
    assert converted == expected


@pytest.mark.parametrize("stored", NATIVE)
@pytest.mark.parametrize("wanted", NATIVE)
def test_there_and_back_gives_the_same_values(stored: str, wanted: str, encode: Encode, ds: Make) -> None:
    data = encode(_in_order(_rich(ds), stored == BIG), stored)
    back = change(change(data, stored, wanted), wanted, stored)
    assert parse(back, stored) == parse(data, stored)


@pytest.mark.parametrize(
    ("bits", "vr", "little", "big"),
    [
        (16, "OW", b"\1\2\3\4\5\6\7\x08", b"\2\1\4\3\6\5\x08\7"),
        (8, "OB", b"\1\2\3\4\5\6\7\x08", b"\1\2\3\4\5\6\7\x08"),
        (8, "OW", b"\1\2\3\4\5\6\7\x08", b"\2\1\4\3\6\5\x08\7"),
        # OW is a string of 16-bit words, also when two of them make a pixel.
        (32, "OW", b"\1\2\3\4\5\6\7\x08", b"\2\1\4\3\6\5\x08\7"),
        (1, "OB", b"\1\2\3\4\5\6\7\x08", b"\1\2\3\4\5\6\7\x08"),
    ],
)
def test_pixels_are_swapped_as_their_vr_says(
    bits: int, vr: str, little: bytes, big: bytes, encode: Encode, ds: Make
) -> None:
    data_set = ds(BitsAllocated=bits)
    data_set.add_new(0x7FE00010, vr, little)
    data = encode(data_set)
    converted = change(data, EXPLICIT, BIG)
    assert parse(converted, BIG).PixelData == big
    assert vr == parse(converted, BIG)["PixelData"].VR
    assert change(converted, BIG, EXPLICIT) == data
    assert parse(change(converted, BIG, IMPLICIT), IMPLICIT).PixelData == little


@pytest.mark.parametrize(("bits", "vr"), [(16, "OW"), (8, "OB"), (32, "OW"), (1, "OB")])
def test_implicit_pixels_get_the_vr_that_readers_expect(bits: int, vr: str, encode: Encode, ds: Make) -> None:
    data_set = ds(BitsAllocated=bits)
    data_set.add_new(0x7FE00010, "OW", b"\1\2\3\4")
    converted = parse(change(encode(data_set, IMPLICIT), IMPLICIT, EXPLICIT), EXPLICIT)
    assert vr == converted["PixelData"].VR
    assert converted.PixelData == b"\1\2\3\4"


def _image(ds: Make, bits: int, pixels: np.ndarray[Any, Any]) -> Dataset:
    data_set = ds(
        Rows=pixels.shape[0],
        Columns=pixels.shape[1],
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
    )
    data_set.add_new(0x7FE00010, "OW" if bits > 8 else "OB", pixels.tobytes())
    return data_set


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("stored", [EXPLICIT, IMPLICIT])
def test_pixels_look_the_same_in_big_endian(bits: int, stored: str, encode: Encode, ds: Make) -> None:
    pixels = np.arange(600, dtype=f"<u{bits // 8}").reshape(20, 30)
    data = encode(_image(ds, bits, pixels), stored)
    converted = change(data, stored, BIG)
    assert np.array_equal(parse(converted, BIG).pixel_array, pixels)
    assert np.array_equal(parse(change(converted, BIG, stored), stored).pixel_array, pixels)


@pytest.mark.parametrize(
    ("little", "big"),
    [
        ("MR_small.dcm", "MR_small_bigendian.dcm"),
        ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),
        ("liver_1frame.dcm", "liver_expb_1frame.dcm"),
    ],
)
def test_pairs_of_files_that_others_converted_agree(little: str, big: str) -> None:
    one, other = (read_object_file(Path(str(get_testdata_file(name)))) for name in (little, big))
    converted = parse(b"".join(convert(one, BIG)), BIG)
    theirs = pydicom.dcmread(other.path)
    assert converted.PixelData == theirs.PixelData
    back = parse(b"".join(convert(other, EXPLICIT)), EXPLICIT)
    assert back.PixelData == pydicom.dcmread(one.path).PixelData
    same = [
        tag for tag in converted if tag.tag in theirs and tag.VR != "OB" and tag.keyword != "DataSetTrailingPadding"
    ]
    assert len(same) > 20
    assert all(theirs[element.tag].value == element.value for element in same if element.tag.group != 8)


def test_private_sequences_and_unknown_elements_survive(encode: Encode, ds: Make) -> None:
    item = pack("<HHL", 0x0009, 0x1002, 2) + b"AB"
    private = pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    data = encode(ds(), IMPLICIT) + b"".join(
        (
            pack("<HHL", 0x0009, 0x0010, 4) + b"ACME",
            pack("<HHL", 0x0009, 0x1001, 0xFFFFFFFF) + private + pack("<HHL", 0xFFFE, 0xE0DD, 0),
            pack("<HHL", 0x0009, 0x1003, len(private)) + private,
        )
    )
    converted = change(data, IMPLICIT, EXPLICIT)
    found = parse(converted, EXPLICIT)
    assert found[0x00090010].value == "ACME"
    assert found[0x00091001].VR == "SQ"
    assert found[0x00091001].value[0][0x00091002].value == b"AB"
    # Of defined length it cannot be told from bytes, and stays what PS3.5 6.2.2 makes of it.
    assert found.get_item(0x00091003).value == private
    assert parse(change(converted, EXPLICIT, IMPLICIT), IMPLICIT)[0x00091003].value == private


def test_implicit_content_of_unknown_elements_becomes_a_sequence(encode: Encode, ds: Make) -> None:
    item = pack("<HHL", 0x0008, 0x0100, 4) + b"CODE"
    sequence = pack("<HHL", 0xFFFE, 0xE000, len(item)) + item + pack("<HHL", 0xFFFE, 0xE0DD, 0)
    data = encode(ds()) + pack("<HH2sHL", 0x0008, 0x1032, b"UN", 0, 0xFFFFFFFF) + sequence
    for wanted in (IMPLICIT, BIG):
        assert parse(change(data, EXPLICIT, wanted), wanted).ProcedureCodeSequence[0].CodeValue == "CODE"


def test_group_lengths_are_left_out(encode: Encode, ds: Make) -> None:
    data = pack("<HH2sHL", 0x0008, 0, b"UL", 4, 32) + encode(ds())
    assert change(data, EXPLICIT, IMPLICIT) == encode(ds(), IMPLICIT)
    assert change(data, EXPLICIT, EXPLICIT) == data


def test_deflating_and_inflating_keep_every_byte(encode: Encode, ds: Make) -> None:
    data = encode(_rich(ds))
    deflated = change(data, EXPLICIT, DEFLATED)
    assert len(deflated) % 2 == 0
    assert zlib.decompressobj(wbits=-15).decompress(deflated) == data
    assert change(deflated, DEFLATED, EXPLICIT) == data


def test_values_too_long_for_a_short_length_become_unknown(encode: Encode, ds: Make) -> None:
    head = encode(ds(), IMPLICIT)
    numbers = b"\\".join([b"1.5"] * 20_000) + b" "
    decimals = head + pack("<HHL", 0x0018, 0x1316, len(numbers)) + numbers
    words = head + pack("<HHL", 0x0028, 0x0106, 70_000) + bytes(70_000)
    converted = parse(change(decimals, IMPLICIT, EXPLICIT), EXPLICIT).get_item(0x00181316)
    assert (converted.VR, converted.value) == ("UN", numbers)
    assert change(words, IMPLICIT, EXPLICIT)[-70_012:-70_000] == pack("<HH2sHL", 0x0028, 0x0106, b"UN", 0, 70_000)
    with pytest.raises(NotConvertible, match=r"^\(0028,0106\) of 70000 bytes is too long"):
        change(words, IMPLICIT, BIG)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (pack("<HH2sH", 0x0028, 0x0010, b"US", 3) + b"abc", r"\(0028,0010\) of 3 bytes is no whole number of US"),
        (
            pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + pack("<HHL", 0xFFFE, 0xE0DD, 0),
            r"\(7fe0,0010\) is compressed",
        ),
    ],
)
def test_what_cannot_be_converted_is_told_before_anything_is_sent(
    value: bytes, message: str, tmp_path: Path, encode: Encode, ds: Make
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encode(ds()) + value)
    with pytest.raises(NotConvertible, match=f"^{message}$"):
        convert(read_object_file(path), BIG)


@pytest.mark.parametrize(
    ("stored", "wanted"), [("1.2.840.10008.1.2.4.50", EXPLICIT), (EXPLICIT, "1.2.840.10008.1.2.5")]
)
def test_compressed_syntaxes_are_not_converted(stored: str, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"")
    with pytest.raises(NotConvertible, match=f"^there is no conversion from {stored} to {wanted}$"):
        convert(ObjectFile(path, stored, 0, 0, "", ""), wanted)


def test_a_damaged_object_is_told_before_anything_is_sent(tmp_path: Path, encode: Encode, ds: Make) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(encode(ds(PatientID="P1"))[:-1])
    with pytest.raises(NotDicom, match=r"^element \(0010,0020\) of 2 bytes does not fit in what there is$"):
        convert(read_object_file(path), IMPLICIT)


def test_numbers_cut_before_they_were_deflated_are_refused(encode: Encode, ds: Make) -> None:
    data = encode(ds()) + pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 8) + b"1234567"
    deflate = zlib.compressobj(wbits=-15)
    with pytest.raises(NotDicom, match=r"^element \(7fe0,0010\) is cut short$"):
        list(rewritten(io.BytesIO(deflate.compress(data) + deflate.flush()), DEFLATED, BIG))


@pytest.mark.parametrize("depth", [65, 400])
def test_deep_nesting_is_refused(depth: int, encode: Encode, ds: Make) -> None:
    content = b""
    for _ in range(depth):
        content = pack("<HHL", 0xFFFE, 0xE000, len(content)) + content
        content = pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, len(content)) + content
    with pytest.raises(NotDicom, match=r"^sequences are nested deeper than 64 at \(0008,1140\)$"):
        change(encode(ds()) + content, EXPLICIT, IMPLICIT)


def test_a_large_object_is_converted_piece_by_piece(tmp_path: Path, encode: Encode, ds: Make) -> None:
    data_set = ds(BitsAllocated=16)
    data_set.add_new(0x7FE00010, "OW", bytes(range(256)) * 40_000)
    path = tmp_path / "a.dcm"
    path.write_bytes(encode(data_set))
    pieces = list(convert(read_object_file(path), BIG))
    assert len(pieces) > 30
    assert max(map(len, pieces)) <= 512 * 1024
    swapped = bytes(byte for pair in range(0, 256, 2) for byte in (pair + 1, pair))
    assert parse(b"".join(pieces), BIG).PixelData == swapped * 40_000


@settings(deadline=None)
@given(data=st.binary(max_size=200), stored=st.sampled_from(NATIVE), wanted=st.sampled_from(NATIVE))
def test_any_bytes_are_converted_or_refused(data: bytes, stored: str, wanted: str) -> None:
    head = pack("<HH2sH", 0x0008, 0x0018, b"UI", 8) + b"1.2.3.4\0"
    for prefix in (b"", head):
        try:
            change(prefix + data, stored, wanted)
        except (NotDicom, NotConvertible):
            continue
