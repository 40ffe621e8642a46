"""Layouts: an object like the one before is read as it would be walked, and every other one is walked."""

from __future__ import annotations

import io
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from struct import pack
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from storage import header, layout
from storage.elements import SHORT_VRS
from storage.errors import NotDicom
from storage.header import ANYWHERE, Early, Header, TagPath, in_item, read_beginning, read_header, read_held
from storage.layout import Layouts
from tests.test_storage.conftest import encode_data_set

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.50"
SYNTAXES = [EXPLICIT, IMPLICIT, BIG, DEFLATED, JPEG]

NAME, ID, SOP, IMAGE, ROWS = 0x00100010, 0x00100020, 0x00080018, 0x00200013, 0x00280010
WANTED = frozenset(
    {
        (SOP,),
        (NAME,),
        (ID,),
        (IMAGE,),
        (ROWS,),
        (0x00201041,),
        (0x00081032,),
        (0x00081140, 0x00081155),
        (0x00081140, in_item(0x00400275, 1), NAME),
        (0x00091001,),
        (0x00091002,),
        (0x00091003, 0x00091001),
    }
)
Outcome = Header | Early | str | None


@pytest.fixture(autouse=True)
def nothing_learned() -> Iterator[None]:
    header._layouts.cache_clear()
    yield
    header._layouts.cache_clear()


def outcome(read: Callable[[], Header | Early | None]) -> tuple[Outcome, list[TagPath]]:
    """What comes of reading: the header, with the order of its values, or the error."""
    try:
        found = read()
    except Exception as error:
        return f"{type(error).__name__}: {error}", []
    values = found.header.values if isinstance(found, Early) else found.values if found else {}
    return found, list(values)


def check(data: bytes, syntax: str, wanted: frozenset[TagPath] = WANTED) -> None:
    """A data set, and a beginning of it, read with what was learned before as without."""
    assert outcome(lambda: read_held(data, syntax, wanted)) == outcome(
        lambda: read_header(io.BytesIO(data), syntax, wanted, whole=True)
    )


def check_beginning(head: bytes, syntax: str, wanted: frozenset[TagPath] = WANTED) -> None:
    assert outcome(lambda: read_beginning(head, syntax, wanted)) == outcome(
        lambda: header._walk_beginning(head, syntax, wanted)
    )


@contextmanager
def walks() -> Iterator[list[bytes]]:
    """The data sets that were not like one seen before."""
    walked: list[bytes] = []

    def learn(layouts: Layouts, data: bytes, character_set: str, *, whole: bool) -> None:
        walked.append(data)
        original(layouts, data, character_set, whole=whole)

    original = Layouts.learn
    with patch.object(Layouts, "learn", learn):
        yield walked


# Values that a walk may look into, that texts differ by, and that have the lengths of others.
VALUES = st.sampled_from(
    [
        *(b"", b"A ", b"AB", b"1.2.3\0", b"1.2.3.45", b"DOE^JOHN", b"\0\2", b"\2\0", b"CS\0\0", bytes(20)),
        *(b"M\xfcller", b"M\xc3\xbcller", b"\x1b$B;3\x1b(B", b"A\0B "),
        *(b"\xfe\xff", b"\xff\xfe", b"\xfe\xff\x00\xe0", b"\xfe\xff\x00\xe0\0\0\0\0"),
    ]
)
TAGS = [SOP, 0x00081032, 0x00081140, 0x00091001, 0x00091003, NAME, ID, IMAGE, ROWS, 0x00400275, 0x7FE00010]
VRS = [b"UI", b"PN", b"LO", b"US", b"CS", b"UT", b"UN", b"OB", b"SQ", b"??", b"zz"]


@dataclass(frozen=True)
class Plain:
    """An element that has one of some values, and a length that may lie."""

    tag: int
    vr: bytes
    values: list[bytes]

    def encode(self, form: Form) -> bytes:
        value = form.random.choice(self.values)
        return form.head(self.tag, self.vr, len(value)) + value


@dataclass(frozen=True)
class Nest:
    """A sequence, its items and itself of defined or undefined length; with fragments when it is pixel data."""

    tag: int
    vr: bytes
    items: list[list[Plain | Nest]]
    defined: bool
    items_defined: bool

    def encode(self, form: Form) -> bytes:
        value = b""
        for elements in self.items:
            item = b"".join(element.encode(form) for element in elements)
            if self.tag == 0x7FE00010:
                item = form.random.choice([b"", b"fragment", b"fragments "])
            defined = self.items_defined or self.tag == 0x7FE00010
            value += form.item(0xE000, len(item) if defined else 0xFFFFFFFF) + item
            value += b"" if defined else form.item(0xE00D, 0)
        if self.defined:
            return form.head(self.tag, self.vr, len(value)) + value
        return form.head(self.tag, self.vr, 0xFFFFFFFF) + value + form.item(0xE0DD, 0)


@dataclass(frozen=True)
class Form:
    """How elements are written; `random` picks the values of one object."""

    order: str
    implicit: bool
    random: Random

    def item(self, element: int, length: int) -> bytes:
        return pack(f"{self.order}HHL", 0xFFFE, element, length)

    def head(self, tag: int, vr: bytes, length: int) -> bytes:
        if self.implicit or not (vr.isalpha() and vr.isupper()):
            return pack(f"{self.order}HHL", tag >> 16, tag & 0xFFFF, length)
        if vr in SHORT_VRS and length < 0x10000:
            return pack(f"{self.order}HH2sH", tag >> 16, tag & 0xFFFF, vr, length)
        return pack(f"{self.order}HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length)


PLAIN = st.builds(Plain, st.sampled_from(TAGS), st.sampled_from(VRS), st.lists(VALUES, min_size=1, max_size=3))
CHARSET = st.builds(
    Plain,
    st.just(0x00080005),
    st.just(b"CS"),
    st.lists(st.sampled_from([b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87 ", b""]), min_size=1, max_size=2),
)
ELEMENT: st.SearchStrategy[Plain | Nest] = st.recursive(
    PLAIN | CHARSET,
    lambda inner: st.builds(
        Nest,
        st.sampled_from([0x00081140, 0x00081032, 0x00400275, 0x00091003, 0x7FE00010]),
        st.sampled_from([b"SQ", b"UN", b"OB"]),
        st.lists(st.lists(inner, max_size=3), max_size=3),
        st.booleans(),
        st.booleans(),
    ),
    max_leaves=12,
)
CLASS = Plain(0x00080016, b"UI", [b"1.2.840.10008.5.1.4.1.1.7\0"])
OBJECTS = st.lists(ELEMENT, max_size=12).map(lambda made: [CLASS, *sorted(made, key=lambda element: element.tag)])


def written(elements: list[Plain | Nest], syntax: str, seed: int) -> bytes:
    form = Form(">" if syntax == BIG else "<", syntax == IMPLICIT, Random(seed))
    data = b"".join(element.encode(form) for element in elements)
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
    return data


@settings(deadline=None)
@given(
    st.lists(OBJECTS, min_size=1, max_size=2),
    st.sampled_from(SYNTAXES),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 3)), min_size=2, max_size=16),
    st.data(),
)
def test_objects_one_after_another_are_read_as_each_of_them_alone(
    kinds: list[list[Plain | Nest]], syntax: str, series: list[tuple[int, int, int]], drawn: st.DataObject
) -> None:
    header._layouts.cache_clear()
    with patch("storage.layout._LONGEST_PAUSE", 0):
        for kind, seed, damage in series:
            data = bytearray(written(kinds[kind % len(kinds)], syntax, seed))
            if damage == 1:
                data[drawn.draw(st.integers(0, len(data) - 1))] = drawn.draw(st.integers(0, 255))
            elif damage == 2:
                del data[drawn.draw(st.integers(0, len(data))) :]
            check(bytes(data) + (drawn.draw(VALUES) if damage == 3 else b""), syntax)
            check_beginning(bytes(data[: drawn.draw(st.integers(max(0, len(data) - 30), len(data)))]), syntax)


def image(number: int = 1, **keywords: Any) -> Dataset:
    """An image of a series: what changes from one to the next has changing lengths."""
    made = Dataset()
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.SOPInstanceUID = f"1.2.3.{number}"
    made.PatientName, made.PatientID = "DOE^JOHN", "P1"
    made.InstanceNumber = number
    made.SliceLocation = f"{number * 0.75 - 10:g}"
    made.ImagePositionPatient = [0, 0, number * 0.75 - 10]
    made.Rows = 64
    item = Dataset()
    item.ReferencedSOPInstanceUID = f"1.2.3.{number * 10}"
    made.ReferencedImageSequence = Sequence([item])
    made.add_new(0x7FE00010, "OW", b"\1\2" * 256)
    for keyword, value in keywords.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_of_a_series_few_images_are_walked(syntax: str) -> None:
    series = [encode_data_set(image(number), syntax) for number in range(1, 201)]
    with walks() as walked:
        found = [read_held(data, syntax, WANTED) for data in series]
    assert len(walked) == WALKED[syntax]
    assert found == [read_header(io.BytesIO(data), syntax, WANTED, whole=True) for data in series]
    assert found[-1].values == {
        (SOP,): "1.2.3.200",
        (0x00081140, 0x00081155): "1.2.3.2000",
        (NAME,): "DOE^JOHN",
        (ID,): "P1",
        (IMAGE,): "200",
        (0x00201041,): "140",
        (ROWS,): "64",
    }


WALKED = {EXPLICIT: 9, IMPLICIT: 9, BIG: 9}


def test_beginnings_of_large_images_of_a_series_are_not_walked_either() -> None:
    series = [encode_data_set(image(number, PixelData=bytes(4000 + 2 * (number % 7)))) for number in range(1, 101)]
    with walks() as walked:
        found = [read_beginning(data[:-3000], EXPLICIT, WANTED) for data in series]
    assert len(walked) == 11
    whole = [read_header(io.BytesIO(data), EXPLICIT, WANTED, whole=True) for data in series]
    assert found == [Early(each, len(data)) for each, data in zip(whole, series, strict=True)]


def test_fragments_of_any_length_are_of_one_layout() -> None:
    fragments = Nest(0x7FE00010, b"OB", [[], []], defined=False, items_defined=True)
    name = Plain(NAME, b"PN", [b"DOE^JOHN"])
    series = [written([CLASS, name, fragments], JPEG, seed) for seed in range(40)]
    assert len({len(data) for data in series}) == 6
    with walks() as walked:
        found = {read_held(data, JPEG, WANTED).text(NAME) for data in series}
    assert (len(walked), found) == (10, {"DOE^JOHN"})


def test_the_next_patient_is_read_though_all_else_is_the_same() -> None:
    for number, name in enumerate(["DOE^JOHN", "ROE^JANE", "M\xfcller^K"] * 9):
        made = image(PatientName=name, PatientID=f"P{number:02}", SpecificCharacterSet="ISO_IR 100")
        found = read_held(encode_data_set(made), EXPLICIT, WANTED)
        assert (found.text(NAME), found.text(ID), found.character_set) == (name, f"P{number:02}", "ISO_IR 100")


def test_the_same_bytes_are_another_name_in_another_character_set() -> None:
    sets = {b"ISO_IR 100": "M\xfcller", b"ISO_IR 144": "M\u045cller", b"ISO_IR 126": "M\u03ccller"}
    for charset, name in [*sets.items()] * 4:
        data = written([CLASS, Plain(0x00080005, b"CS", [charset]), Plain(NAME, b"PN", [b"M\xfcller"])], EXPLICIT, 0)
        assert read_held(data, EXPLICIT, WANTED).values == {(NAME,): name}


def test_a_value_that_begins_like_a_sequence_is_looked_into() -> None:
    for value in [b"1.2.3.4.", b"\xfe\xff\x00\xe0\0\0\0\0", b"1.2.3.5.", b"\xfe\xffAB1234"] * 3:
        check(written([CLASS, Plain(ID, b"LO", [value]), Plain(IMAGE, b"IS", [b"1 "])], IMPLICIT, 0), IMPLICIT)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data[:-1], "element (7fe0,0010) of 512 bytes does not fit in what there is"),
        (lambda data: data + b"\xfc\xff", "it is cut short behind (7fe0,0010)"),
        (lambda data: data.replace(b"LO\2\0P1", b"LO\0\2P1"),
         "element (0201,0201) of 33620481 bytes does not fit in what there is"),
        (lambda data: data.replace(b"1.2.840.10008.5.1.4.1.1.2\0", b"").replace(b"UI\x1a\0", b"UI\0\0")
         .replace(b"\x08\0\x18\0UI\x08\x001.2.3.1\0", b""), "it has neither a SOP class nor a SOP instance UID"),
    ],
)  # fmt: skip
def test_a_broken_image_of_a_known_series_is_refused_as_ever(change: Callable[[bytes], bytes], problem: str) -> None:
    data = encode_data_set(image())
    for number in range(1, 30):
        read_held(encode_data_set(image(number)), EXPLICIT, WANTED)
    with walks() as walked:
        assert read_held(data, EXPLICIT, WANTED).text(IMAGE) == "1"
    assert walked == []
    assert change(data) != data
    with pytest.raises(NotDicom) as refused:
        read_held(change(data), EXPLICIT, WANTED)
    check(change(data), EXPLICIT)
    assert str(refused.value) == problem


@pytest.mark.parametrize("wanted", [frozenset({(ANYWHERE, ID), (NAME,)}), frozenset({(NAME,)}), WANTED - {(SOP,)}])
def test_whatever_is_wanted_is_read(wanted: frozenset[TagPath]) -> None:
    for number in range(1, 60):
        for syntax in SYNTAXES[:4]:
            check(encode_data_set(image(number), syntax), syntax, wanted)


def test_more_elements_than_an_image_has_are_not_remembered() -> None:
    many: list[Plain | Nest] = [Plain(0x00110000 + at, b"LO", [b"some"]) for at in range(0x1000, 0x1201)]
    data = written([CLASS, *many], EXPLICIT, 0)
    with walks() as walked:
        for _ in range(5):
            assert read_held(data, EXPLICIT, WANTED) == Header({}, "")
    assert len(walked) == 5
    with walks() as walked:
        for _ in range(5):
            assert read_held(written([CLASS, *many[:511]], EXPLICIT, 0), EXPLICIT, WANTED) == Header({}, "")
    assert len(walked) < 5


def test_of_a_flood_of_odd_objects_few_are_learned_and_little_is_kept() -> None:
    odd = [
        written(
            [CLASS, Plain(0x00090000 + at, b"LO", [b"x" * (at % 50)]), Plain(NAME, b"PN", [b"N" * at])], EXPLICIT, 0
        )
        for at in range(2000)
    ]
    read_held(odd[0], EXPLICIT, WANTED)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    with patch.object(layout, "Layout", side_effect=layout.Layout) as made:
        for data in odd:
            read_held(data, EXPLICIT, WANTED)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert made.call_count == 21
    assert kept < 100_000


def test_threads_that_read_several_series_side_by_side_get_what_they_sent() -> None:
    wrong: list[Header] = []

    def send(patient: int) -> None:
        for number in range(1, 120):
            made = image(number, PatientID=f"PATIENT{patient}", SeriesDescription="x" * patient)
            found = read_held(encode_data_set(made), EXPLICIT, WANTED)
            if (found.text(ID), found.text(SOP)) != (f"PATIENT{patient}", f"1.2.3.{number}"):
                wrong.append(found)

    threads = [threading.Thread(target=send, args=(patient,)) for patient in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pixels_of_undefined_length_have_an_end_that_nobody_knows_yet() -> None:
    for number in range(1, 40):
        read_beginning(encode_data_set(image(number, PixelData=bytes(4000 + number * 2)))[:-3000], EXPLICIT, WANTED)
    data = encode_data_set(image(1, PixelData=bytes(4000)))
    undefined = data[:-4004] + b"\xff\xff\xff\xff" + data[-4000:]
    assert read_beginning(data[:-3000], EXPLICIT, WANTED) is not None
    assert read_beginning(undefined[:-3000], EXPLICIT, WANTED) is None


@pytest.mark.parametrize(("first", "second"), [(4, 8), (8, 8), (4, 4), (10, 2), (12, 0)])
def test_what_is_in_an_item_of_known_length_must_fit_in_it(first: int, second: int) -> None:
    def made(first: int, second: int) -> bytes:
        inner = _element(0x00081150, b"UI", b"1" * first) + _element(0x00081155, b"UI", b"2" * second)
        item = pack("<HHL", 0xFFFE, 0xE000, 28) + inner
        sequence = pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 36) + item
        return SOP_ELEMENT + sequence + _element(ID, b"LO", b"P1")

    with patch("storage.layout._LONGEST_PAUSE", 0):
        for lengths in [(4, 8), (8, 4), (6, 6), (4, 8)] * 2:
            check(made(*lengths), EXPLICIT)
        check(made(first, second), EXPLICIT)


@pytest.mark.parametrize("value", [b"ABCDEFGH", b"\xfe\xff\x00\xe0\0\0\0\0", b"\xfe\xff\x00\xe0\1\0\0\0", b""])
def test_a_value_where_a_sequence_is_wanted_is_looked_into(value: bytes) -> None:
    def made(value: bytes) -> bytes:
        return written([CLASS, Plain(0x00081140, b"SQ", [value]), Plain(ID, b"LO", [b"P1"])], IMPLICIT, 0)

    with patch("storage.layout._LONGEST_PAUSE", 0):
        for known in [b"ABCD", b"ABCDEF", b"AB", b"ABCD"] * 2:
            check(made(known), IMPLICIT)
        check(made(value), IMPLICIT)


@pytest.mark.parametrize("length", [b"\x08\0\0\0", b"CS\2\0", b"OB\0\0"])
def test_a_length_that_looks_like_a_vr_is_one(length: bytes) -> None:
    def made(length: bytes) -> bytes:
        value = bytes(int.from_bytes(length, "little"))
        return SOP_ELEMENT + b"\x10\0\x21\0" + length + value + _element(IMAGE, b"IS", b"1 ")

    with patch("storage.layout._LONGEST_PAUSE", 0):
        for known in [b"\4\0\0\0", b"\6\0\0\0"] * 3:
            check(made(known), EXPLICIT)
        check(made(length), EXPLICIT)


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


SOP_ELEMENT = _element(0x00080016, b"UI", b"1.2.3.4.")
