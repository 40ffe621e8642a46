"""The header of a data set that is still arriving: it is what the whole data set says, or nothing is said."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from storage.errors import NotDicom
from storage.header import read_beginning, read_header
from storage.spool import Spool
from storage.store import Storage
from tests.test_storage.conftest import encode_data_set, make_data_set

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
WANTED = frozenset({(0x00080016,), (0x00080018,), (0x00100010,), (0x00100020,), (0x00081140, 0x00081155)})


def with_sequences() -> Dataset:
    inner = make_data_set(PatientName="inner")
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.9"
    item.PurposeOfReferenceCodeSequence = Sequence([inner, inner])
    made = make_data_set(PatientName="Müller", SpecificCharacterSet="ISO_IR 192", PatientID="P1")
    made.ReferencedImageSequence = Sequence([item, item])
    made["ReferencedImageSequence"].is_undefined_length = True
    made.add_new(0x7FE00010, "OW", bytes(300))
    return made


def encapsulated() -> bytes:
    """Pixel data in fragments (PS3.5 A.4) behind a header."""
    data = encode_data_set(make_data_set(PatientID="P1"))
    element = b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
    item = b"\xfe\xff\x00\xe0"
    return data + element + item + bytes(4) + item + b"\x20\0\0\0" + bytes(32) + b"\xfe\xff\xdd\xe0" + bytes(4)


SAMPLES = [
    (EXPLICIT, encode_data_set(with_sequences(), EXPLICIT)),
    (IMPLICIT, encode_data_set(with_sequences(), IMPLICIT)),
    (BIG, encode_data_set(with_sequences(), BIG)),
    (JPEG, encapsulated()),
]


def check(data: bytes, head: int, syntax: str) -> bool:
    """Whether something was said, which is then right wherever the data set ends as it was told."""
    early = read_beginning(data[:head], syntax, WANTED)
    if early is None:
        return False
    assert early.end + 12 > head
    if early.end <= len(data):
        # Also when that cuts the data set, which must be no end that a whole one could not have.
        assert read_header(io.BytesIO(data[: early.end]), syntax, WANTED, whole=True) == early.header
    return True


@pytest.mark.parametrize(("syntax", "data"), SAMPLES)
def test_wherever_the_beginning_ends_it_says_nothing_wrong(syntax: str, data: bytes) -> None:
    said = [head for head in range(len(data)) if check(data, head, syntax)]
    assert bool(said) or syntax == JPEG


@given(
    st.sampled_from(SAMPLES[:3]),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    st.integers(0, 1 << 20),
)
def test_of_damaged_data_it_says_nothing_wrong(
    sample: tuple[str, bytes], changes: list[tuple[int, int]], head: int
) -> None:
    syntax, data = sample
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(data)] = value
    check(bytes(damaged), head % len(data), syntax)


def test_with_all_but_the_pixels_it_is_the_header() -> None:
    syntax, data = SAMPLES[0]
    early = read_beginning(data[:-200], syntax, WANTED)
    assert early is not None
    assert early.end == len(data)
    assert early.header.values == {
        (0x00080016,): "1.2.840.10008.5.1.4.1.1.7",
        (0x00080018,): "1.2.3.4",
        (0x00100010,): "Müller",
        (0x00100020,): "P1",
        (0x00081140, 0x00081155): "1.2.9",
    }


@pytest.mark.parametrize("head", [b"", b"no data set at all", bytes(100)])
def test_what_is_no_data_set_says_nothing(head: bytes) -> None:
    assert read_beginning(head, EXPLICIT, WANTED) is None


@pytest.mark.parametrize(
    ("behind", "problem"),
    [(b"", None), (b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0abcd", None), (b"\xfc\xff", "cut short"), (b"cut", "cut short")],
)
def test_a_spool_reads_again_what_does_not_end_with_the_pixels(
    behind: bytes, problem: str | None, make_storage: Callable[..., Storage], spooled: Callable[..., Spool]
) -> None:
    made = make_data_set(PatientID="P1")
    made.add_new(0x7FE00010, "OW", bytes(300_000))
    data = encode_data_set(made) + behind
    spool = make_storage().spool("1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", EXPLICIT)
    spool.expect(WANTED)
    for start in range(0, len(data), 100_000):
        spool.write(data[start : start + 100_000])
    try:
        if problem is None:
            assert spool.header(WANTED).text(0x00100020) == "P1"
        else:
            with pytest.raises(NotDicom, match=problem):
                spool.header(WANTED)
    finally:
        spool.discard()
