"""ConQuest's own compression: the vectors of its specification, its rules word by word, and damage."""

from __future__ import annotations

from pathlib import Path
from struct import pack_into

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.codecs import nki
from storage.codecs.frames import decode_frames
from storage.errors import CodecFailed, NotConvertible
from storage.transcode import Wanted, transcode
from storage.transfer import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.test_codecs.images import CT, EVERY, RGB, Array, Kind, changed, decoded, names

MODES = (1, 2, 3, 4, 5)


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def by_the_rules(values: list[int], mode: int) -> bytes:
    """The stream of an image, as ConQuest's description says, one word after another."""
    out = bytearray([values[0] >> 8 & 0x1F, values[0] & 0xFF] if mode == 5 else values[0].to_bytes(2, "little"))
    small = 0

    def pack() -> None:
        nonlocal small
        if small >= 6:
            count = small & 0xFE
            codes = bytes(out[-count:])
            del out[-count:]
            out.extend((0xC0, count))
            out.extend((codes[at] & 15) << 4 | codes[at + 1] & 15 for at in range(0, count, 2))
        small = 0

    def signed(value: int) -> int:
        return value - 0x10000 if value & 0x8000 else value

    at, limit = 1, 32 if mode == 5 else 255
    while at < len(values):
        run = 1
        while run < min(limit, max(1, len(values) - at - 1)) and values[at + run] == values[at - 1]:
            run += 1
        if mode == 5:
            difference = (values[at] & 0x1FFF) - (values[at - 1] & 0x1FFF)
            if difference == 0:
                out.append(0xDF + run)
                at += run
                continue
            direct = (values[at] >> 8 & 0x1F, values[at] & 0xFF)
            out.extend((difference + 128,) if -96 <= difference <= 95 else direct)
            at += 1
            continue
        difference = signed(values[at]) - signed(values[at - 1])
        least = -64 if mode < 3 else -63
        if difference == 0:
            if mode < 3:
                out.extend((0x80, run) if run > 1 else (0,))
            elif run < 5:
                for _ in range(run):
                    out.append(0)
                    small += 1
                    if small == 254:
                        pack()
            else:
                pack()
                out.extend((0x80, run))
            at += run
            continue
        if mode > 2 and -8 <= difference <= 7:
            out.append(difference & 0xFF)
            small += 1
            if small == 254:
                pack()
        else:
            pack()
            if least <= difference <= 63:
                out.append(difference & 0xFF)
            elif -0x3F00 <= difference <= 0x3EFF:
                out.extend((difference >> 8 & 0xFF ^ 0x40, difference & 0xFF))
            else:
                out.extend((0x7F, values[at] >> 8, values[at] & 0xFF))
        at += 1
    return bytes(out)


EDGES = (0, 1, -1, 7, 8, -8, -9, 63, 64, -63, -64, -65, 95, 96, -96, -97, 0x3EFF, 0x3F00, -0x3F00, -0x3F01)
STEPS = st.one_of(
    st.lists(st.tuples(st.sampled_from(EDGES), st.integers(1, 4)), max_size=30),
    st.lists(st.tuples(st.integers(-8, 7), st.integers(1, 300)), max_size=6),
    st.lists(st.tuples(st.integers(-0x8000, 0x7FFF), st.just(1)), max_size=40),
)


@st.composite
def images(draw: st.DrawFn) -> list[int]:
    """Words that walk in steps, each so many times: constant stretches, ramps, leaps."""
    values = [draw(st.integers(0, 0xFFFF))]
    for step, count in draw(STEPS):
        for number in range(count):
            # Every other time the word stays, so that there are runs of it.
            values.append(values[-1] + (step if number % 2 == 0 or count < 5 else 0) & 0xFFFF)
    return values


def test_the_vectors_of_the_specification() -> None:
    assert nki.encode(words(100, 100, 100, 105), 1).hex(" ", 2) == "0400 0000 0100 0000 6400 8002 0500"
    assert nki.encode(words(7, 7), 1).hex() == "0200000001000000" + "07000000"
    assert nki.checksum(b"123456789") == 771566984
    assert nki.decode(bytes.fromhex("0400000001000000640080020500"), 4) == words(100, 100, 100, 105)


@settings(max_examples=300, deadline=None)
@given(images(), st.sampled_from(MODES))
@example([5] * 300, 1)
@example([5] * 300, 4)
@example([100 + number % 7 for number in range(600)], 3)
@example([1], 2)
def test_every_byte_is_what_the_rules_say_and_comes_back(values: list[int], mode: int) -> None:
    if mode == 5:
        values = [value & 0x1FFF for value in values]
    made = nki.encode(words(*values), mode)
    stream = by_the_rules(values, mode)
    header = 8 if mode in (1, 3) else 20
    assert made[:8] == np.array([len(values), mode], "<u4").tobytes()
    assert made[header : header + len(stream)] == stream
    assert made[header + len(stream) :] == b"\0" * (len(stream) % 2)
    if header == 20:
        length, original, compressed = np.frombuffer(made[8:20], "<u4")
        padded = mode != 5 and len(stream) % 2
        assert length == len(stream) + padded
        assert original == (nki.checksum(words(*values)) if mode != 5 else 0)
        assert compressed == (nki.checksum(made[20:]) if mode == 2 else 0)
    assert nki.decode(made, len(values)) == words(*values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("block", [1, 7, 64, 300, 1000])
def test_images_longer_than_a_block_are_the_same_stream(mode: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    values = np.cumsum(random.integers(-9, 10, 3000) * (random.random(3000) < 0.6)) + 4000
    values[1000:1800] = 4321
    values[2000:2900] = np.arange(900) // 300
    stream = by_the_rules(values.tolist(), mode)
    monkeypatch.setattr(nki, "_BLOCK", block)
    made = nki.encode(words(*values.tolist()), mode)
    header = 8 if mode in (1, 3) else 20
    assert made[header : header + len(stream)] == stream
    assert nki.decode(made, len(values)) == words(*values.tolist())


@settings(max_examples=300, deadline=None)
@given(images(), st.sampled_from(MODES), st.data())
def test_damaged_data_is_refused_or_has_the_right_length(values: list[int], mode: int, data: st.DataObject) -> None:
    made = bytearray(nki.encode(words(*values), mode))
    for _ in range(data.draw(st.integers(0, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(made[: data.draw(st.integers(0, len(made)))])
    for damaged in (bytes(made), cut):
        try:
            assert len(nki.decode(damaged, len(values))) == 2 * len(values)
        except CodecFailed:
            continue


@pytest.mark.parametrize("mode", [2, 4])
def test_a_changed_word_fails_the_checksum(mode: int) -> None:
    made = bytearray(nki.encode(words(*range(100, 200, 2)), mode))
    made[20] ^= 1
    with pytest.raises(CodecFailed, match="fails its checksum"):
        nki.decode(bytes(made), 50)


@pytest.mark.parametrize(
    ("data", "count", "message"),
    [
        ("", 4, "cut in its header"),
        ("04000000 06000000 6400800205", 4, "of mode 6"),
        ("05000000 01000000 640080020500", 4, "of 5 words, the object has 4"),
        ("04000000 01000000 64008002", 4, "ends behind 3 of 4 words"),
        ("04000000 01000000 640080ff05", 4, "goes beyond the image"),
        ("04000000 01000000 6400800005", 4, "a run of no words"),
        ("04000000 03000000 6400c00311", 4, "a run of half bytes"),
        ("04000000 02000000 ff000000 0000000000000000 6400800205", 4, "of 255 bytes is cut to 5"),
        ("00000040 01000000 640080ff", 0x40000000, "of 4 bytes cannot hold 1073741824 words"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_damaged_data_is_said(data: str, count: int, message: str) -> None:
    with pytest.raises(CodecFailed, match=message):
        nki.decode(bytes.fromhex(data), count)


def test_half_words_are_not_compressed() -> None:
    with pytest.raises(NotConvertible, match="whole 16-bit words, not of 3 bytes"):
        nki.encode(b"abc", 1)


@pytest.mark.parametrize("kind", EVERY, ids=names(EVERY))
@pytest.mark.parametrize("code", ["n1", "n2", "n3", "n4", "n5", "nj"])
def test_objects_of_every_kind_come_back(code: str, kind: Kind, tmp_path: Path) -> None:
    source = kind.written(tmp_path)
    done = changed(source, code, tmp_path / "out")
    assert (done.transfer_syntax, done.lossy, done.nki, done.bare) == (IMPLICIT_LITTLE, False, True, True)
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels())
    changed(tmp_path / "out", EXPLICIT_LITTLE, tmp_path / "back", meta=True)
    assert np.array_equal(decoded(tmp_path / "back"), kind.pixels())
    assert pydicom.dcmread(tmp_path / "back").PixelData == _little(kind)


def _little(kind: Kind) -> bytes:
    raw = kind.pixels().tobytes()
    return raw + b"\0" * (len(raw) % 2)


def test_files_are_as_conquest_writes_them(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    changed(source, "n4", tmp_path / "out")
    raw = (tmp_path / "out").read_bytes()
    assert raw[:4] == b"\x08\0\x08\0"  # no group 0002, no preamble
    made = pydicom.dcmread(tmp_path / "out", force=True)
    assert "PixelData" not in made
    assert made.get_item(0x7FDF0010).value[:8] == np.array([96 * 120, 4], "<u4").tobytes()
    assert made.SOPInstanceUID == pydicom.dcmread(source).SOPInstanceUID


def test_thirteen_bits_are_not_used_for_what_has_more(tmp_path: Path) -> None:
    done = changed(Kind("16 bits", 16, 16).written(tmp_path), "n5", tmp_path / "out")
    assert done.notes == ("13 bits do not hold its values: NKI mode 4",)
    assert not changed(CT.written(tmp_path), "n5", tmp_path / "out").notes


def test_a_mode_is_changed_and_the_same_one_left_alone(tmp_path: Path) -> None:
    changed(CT.written(tmp_path), "n3", tmp_path / "three")
    done = transcode(tmp_path / "three", Wanted("n3"), tmp_path / "out")
    assert (done.changed, done.reason) == (False, "it is NKI compressed in mode 3 already")
    changed(tmp_path / "three", "n1", tmp_path / "one")
    assert np.array_equal(decoded(tmp_path / "one"), CT.pixels())


def other(content: bytes, directory: Path, *, pixels: bool = False) -> Path:
    made = CT.made()
    if not pixels:
        del made.PixelData
    made.add_new(0x7FDF0010, "OB", content)
    made.save_as(directory / "other", implicit_vr=True, little_endian=True, enforce_file_format=False)
    return directory / "other"


@pytest.mark.parametrize("content", [b"ACUSON things", b"ELSCIN things", b"12345678", b"\4\0\0\0\6\0\0\0\0\0\0\0"])
def test_what_others_keep_in_that_element_is_no_nki_data(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotConvertible, match="no pixel data"):
        list(decode_frames(other(content, tmp_path)))


def test_an_element_beside_pixels_stays_what_it_is(tmp_path: Path) -> None:
    source = other(nki.encode(words(1, 2, 3), 1), tmp_path, pixels=True)
    assert np.array_equal(decoded(source), CT.pixels())
    changed(source, "jk", tmp_path / "out")
    assert 0x7FDF0010 in pydicom.dcmread(tmp_path / "out", force=True)


def test_frames_of_nki_data_are_told_apart(tmp_path: Path) -> None:
    changed(RGB.written(tmp_path), "n2", tmp_path / "out")
    (second,) = decode_frames(tmp_path / "out", [1])
    expected: Array = RGB.pixels()[1]
    assert np.array_equal(second.pixels, expected)


def test_data_for_another_image_is_refused(tmp_path: Path) -> None:
    changed(CT.written(tmp_path), "n4", tmp_path / "out")
    raw = bytearray((tmp_path / "out").read_bytes())
    at = raw.index(np.array([96 * 120, 4], "<u4").tobytes())
    pack_into("<L", raw, at, 96 * 120 - 1)
    (tmp_path / "out").write_bytes(raw)
    with pytest.raises(CodecFailed, match="of 11519 words, the object has 11520"):
        list(decode_frames(tmp_path / "out"))
