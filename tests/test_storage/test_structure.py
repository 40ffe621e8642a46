"""The structure of whole objects: every truncation is noticed, nothing else is."""

from __future__ import annotations

import io
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from storage import elements, inflate
from storage.errors import NotDicom
from storage.part10 import read_object_file
from storage.structure import verify_structure

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"

Encode = Callable[..., bytes]
Make = Callable[..., Dataset]


def verify(data: bytes, syntax: str = EXPLICIT) -> None:
    verify_structure(io.BytesIO(data), syntax)


def _object(ds: Make, *, undefined: bool) -> Dataset:
    inner = Dataset()
    inner.CodeValue = "INNER"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.PurposeOfReferenceCodeSequence = Sequence([inner, Dataset()])
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = undefined
    data_set = ds(PatientName="A^B", PatientID="P1", Rows=4, Columns=4)
    data_set.ReferencedImageSequence = Sequence([item, item])
    data_set["ReferencedImageSequence"].is_undefined_length = undefined
    for each in (inner, item):
        each.is_undefined_length_sequence_item = undefined
    return data_set


def _pixels(data_set: Dataset, syntax: str) -> Dataset:
    if syntax == JPEG:
        data_set.add_new(0x7FE00010, "OB", encapsulate([b"\xff\xd8frame1", b"\xff\xd8second"]))
        data_set["PixelData"].is_undefined_length = True
    else:
        data_set.add_new(0x7FE00010, "OW", bytes(range(32)))
    return data_set


def _boundaries(data: bytes, syntax: str) -> set[int]:
    """Where the top-level elements end, according to pydicom: a cut there leaves a whole, smaller data set."""
    source = io.BytesIO(data)
    ends = set()

    def note(*_: object) -> bool:
        return False

    def read() -> Iterator[int]:
        for _ in pydicom.filereader.data_element_generator(source, syntax == IMPLICIT, syntax != BIG, note):
            yield source.tell()

    ends.update(read())
    return ends


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, JPEG])
@pytest.mark.parametrize("undefined", [False, True])
def test_every_truncation_within_an_element_is_refused(syntax: str, undefined: bool, encode: Encode, ds: Make) -> None:
    data = encode(_pixels(_object(ds, undefined=undefined), syntax), syntax)
    verify(data, syntax)
    whole = _boundaries(data, syntax)
    assert len(data) in whole
    assert len(whole) == 8
    for end in range(len(data)):
        if end in whole:
            verify(data[:end], syntax)
            continue
        with pytest.raises(NotDicom):
            verify(data[:end], syntax)


def test_every_truncation_of_a_deflated_object_is_refused(encode: Encode, ds: Make) -> None:
    data = encode(_object(ds, undefined=True), DEFLATED)
    verify(data, DEFLATED)
    verify(data + b"\0", DEFLATED)
    for end in range(len(data)):
        with pytest.raises(NotDicom):
            verify(data[:end], DEFLATED)


def test_a_deflated_object_cut_before_it_was_deflated_is_refused(encode: Encode, ds: Make) -> None:
    data = encode(_pixels(_object(ds, undefined=False), EXPLICIT))
    deflate = zlib.compressobj(wbits=-15)
    with pytest.raises(NotDicom, match=r"^it is cut short behind \(7fe0,0010\)$"):
        verify(deflate.compress(data[:-1]) + deflate.flush(), DEFLATED)


def test_the_offending_element_is_named(encode: Encode, ds: Make) -> None:
    data = encode(_pixels(_object(ds, undefined=False), EXPLICIT))
    with pytest.raises(NotDicom, match=r"^element \(7fe0,0010\) of 32 bytes does not fit in what there is$"):
        verify(data[:-1])


SOP = pack("<HH2sH", 0x0008, 0x0018, b"UI", 8) + b"1.2.3.4\0"
SEQUENCE = pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
PIXELS = pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)


def item(length: int) -> bytes:
    return pack("<HHL", 0xFFFE, 0xE000, length)


END_ITEM = pack("<HHL", 0xFFFE, 0xE00D, 0)
END = pack("<HHL", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SEQUENCE + SOP + END, r"sequence \(0008,1140\) holds \(0008,0018\) where an item belongs"),
        (SEQUENCE + item(0xFFFFFFFF) + SOP + END, r"\(fffe,e0dd\) stands where an element belongs"),
        (SEQUENCE + item(0xFFFFFFFF) + SOP, r"an item or sequence does not end where it should, behind \(0008,0018\)"),
        (SEQUENCE + item(0), r"sequence \(0008,1140\) does not end where it should"),
        (SEQUENCE, r"sequence \(0008,1140\) does not end where it should"),
        (SEQUENCE + item(100) + SOP, r"an item of 100 bytes does not fit in sequence \(0008,1140\)"),
        (PIXELS + item(0) + item(0xFFFFFFFF) + END, r"\(7fe0,0010\) has a fragment of undefined length"),
        (item(0), r"\(fffe,e000\) stands where an element belongs"),
        (SEQUENCE + item(0xFFFFFFFF) + item(0) + END_ITEM, r"\(fffe,e000\) stands where an element belongs"),
        (pack("<HHL", 0xFFFE, 0xE0DD, 5), r"\(fffe,e0dd\) stands where an element belongs"),
        (bytes(7), r"it is cut short behind \(0008,0018\)"),
    ],
)
def test_broken_nesting_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(NotDicom, match=f"^{message}$"):
        verify(SOP + data)


@pytest.mark.parametrize(
    "data", [END, END_ITEM, bytes(8), bytes(512), SEQUENCE + item(0) + END, PIXELS + item(0) + END]
)
def test_stray_delimiters_and_padding_are_accepted(data: bytes) -> None:
    verify(SOP + data)


def test_a_vr_of_the_future_has_a_long_length() -> None:
    verify(SOP + pack("<HH2sHL", 0x0010, 0x1001, b"ZZ", 0, 70_000) + bytes(70_000))


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("CT_small.dcm", ""),
        ("MR_small_bigendian.dcm", ""),
        ("MR_small_implicit.dcm", ""),
        ("MR_small_padded.dcm", ""),
        ("JPEG2000-embedded-sequence-delimiter.dcm", ""),
        ("SC_rgb_rle_2frame.dcm", ""),
        ("badVR.dcm", ""),
        ("image_dfl.dcm", ""),
        ("reportsi.dcm", ""),
        ("test-SR.dcm", ""),
        ("waveform_ecg.dcm", ""),
        ("MR_truncated.dcm", "element (7fe0,0010) of 8192 bytes does not fit in what there is"),
        ("rtplan_truncated.dcm", "element (300a,00b0) of 976 bytes does not fit in what there is"),
    ],
)
def test_real_files_are_accepted_and_truncated_ones_are_not(file: str, complaint: str) -> None:
    found = read_object_file(Path(str(get_testdata_file(file))))
    with found.path.open("rb") as source:
        source.seek(found.offset)
        if not complaint:
            verify_structure(source, found.transfer_syntax)
            return
        with pytest.raises(NotDicom) as refused:
            verify_structure(source, found.transfer_syntax)
    assert str(refused.value) == complaint


def test_a_bomb_is_inflated_in_pieces_and_given_up_at_its_limit() -> None:
    deflate = zlib.compressobj(9, wbits=-15)
    bomb = deflate.compress(SOP + pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 1 << 31))
    for _ in range(48):
        bomb += deflate.compress(bytes(1 << 20))
    bomb += deflate.flush()
    tracemalloc.start()
    try:
        with pytest.raises(NotDicom, match=r"^the deflated data set inflates to more than 32 MB$"):
            verify_structure(io.BytesIO(bomb), DEFLATED, inflated_limit=32 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_bomb_without_limit_is_given_up_by_its_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "FREE_OF_RATIO", 4 << 20)
    deflate = zlib.compressobj(9, wbits=-15)
    head = SOP + pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 8 << 20)
    honest = deflate.compress(head + bytes(8 << 20)) + deflate.flush()
    with pytest.raises(NotDicom, match=r"^the deflated data set inflates to more than 200 times its size$"):
        verify(honest, DEFLATED)
    monkeypatch.setattr(inflate, "FREE_OF_RATIO", 16 << 20)
    verify(honest, DEFLATED)


def test_an_endless_number_of_elements_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MAX_ELEMENTS", 100_000)
    with pytest.raises(NotDicom, match=r"^it has more than 100000 elements$"):
        verify(SOP + pack("<HH2sH", 0x0010, 0x1000, b"LO", 0) * 200_000)
    with pytest.raises(NotDicom, match=r"^it has more than 100000 elements$"):
        verify(SOP + SEQUENCE + item(0) * 200_000 + END)


def test_many_small_items_are_walked_in_reasonable_time() -> None:
    one = item(0xFFFFFFFF) + pack("<HH2sH", 0x0008, 0x0100, b"SH", 2) + b"AB" + END_ITEM
    started = time.perf_counter()
    verify(SOP + SEQUENCE + one * 50_000 + END)
    assert time.perf_counter() - started < 5
