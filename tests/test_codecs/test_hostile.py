"""Objects made to break decoders: mutated headers and streams, lying sizes, bombs. The pool stays up and truthful."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from struct import pack, pack_into

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames

from storage.codecs.frames import Frame
from storage.codecs.nki import encode as nki_encode
from storage.codecs.pixels import PixelFormat
from storage.codecs.rle import encode as rle_encode
from storage.errors import CodecFailed, NotConvertible, NotDicom
from storage.pool import CodecPool
from storage.transcode import Wanted, transcode
from storage.transfer import DEFLATED, EXPLICIT_LITTLE
from tests.test_codecs.images import JPEG, RGB, Kind, changed

MEMORY_MB = 600
SMALL = Kind("small", 12, 16, frames=3, rows=24, columns=20)
PALETTE = Kind("palette", photometric="PALETTE COLOR", rows=24, columns=20)
COLOUR = replace(RGB, rows=24, columns=20)
CODES = ("un", "j1", "js", "jk", "jh", "jr", "n2", "n4", "n5")
RLE = "1.2.840.10008.1.2.5"
ATTRIBUTES = (0x0002, 0x0006, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103)
REFUSALS = (CodecFailed, NotConvertible, NotDicom)


@pytest.fixture(scope="module")
def pool() -> Iterator[CodecPool]:
    with CodecPool(1, memory_mb=MEMORY_MB, seconds=20) as made:
        yield made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good object of each kind and form, as files."""
    directory = tmp_path_factory.mktemp("corpus")
    found = {}
    for kind in (SMALL, PALETTE, COLOUR):
        source = kind.written(directory)
        for code in (*CODES, "j3", "j6", "jl", "j7"):
            done = transcode(source, Wanted(code), directory / code)
            found[f"{kind.name} {code}"] = ((directory / code) if done.changed else source).read_bytes()
    return found


def answer(pool: CodecPool, raw: bytes) -> list[Frame] | Exception:
    """Decode and transcode an object in the pool; the frames or the refusal, anything else is an error."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "in"
        path.write_bytes(raw)
        try:
            frames = list(pool.decode(path))
            pool.run(transcode, path, Wanted("jk"), Path(directory) / "out")
        except REFUSALS as refused:
            message = str(refused)
            assert message
            assert "\n" not in message
            return refused
        return frames


def whole(frames: list[Frame]) -> bool:
    """Whether frames are what their format says."""
    return all(
        frame.pixels.shape == frame.format.shape and frame.pixels.dtype == frame.format.dtype for frame in frames
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_decoded_or_refused(pool: CodecPool, corpus: dict[str, bytes], data: st.DataObject) -> None:
    raw = bytearray(corpus[data.draw(st.sampled_from(sorted(corpus)))])
    start = data.draw(st.sampled_from([0, 132, len(raw) // 2, max(0, len(raw) - 200)]))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(start, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = answer(pool, bytes(raw))
    assert isinstance(found, Exception) or whole(found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_cut_objects_are_refused(pool: CodecPool, corpus: dict[str, bytes], data: st.DataObject) -> None:
    raw = corpus[data.draw(st.sampled_from(sorted(corpus)))]
    found = answer(pool, raw[: data.draw(st.integers(0, len(raw) - 9))])
    assert isinstance(found, REFUSALS)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_lying_attributes_are_found_out(pool: CodecPool, corpus: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(name for name in corpus if not name.endswith(("n2", "n4", "n5")))))
    raw = bytearray(corpus[name])
    for element in data.draw(st.lists(st.sampled_from(ATTRIBUTES), min_size=1, max_size=3, unique=True)):
        at = raw.find(pack("<HH2sH", 0x0028, element, b"US", 2))
        if at > 0:
            value = data.draw(st.sampled_from([0, 1, 2, 3, 4, 7, 8, 12, 15, 16, 24, 31, 32, 64, 255, 4096, 0xFFFF]))
            pack_into("<H", raw, at + 8, value)
    found = answer(pool, bytes(raw))
    assert isinstance(found, Exception) or whole(found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.one_of(st.integers(-5, 1 << 40).map(str), st.text("0123456789 -+eE.\0A", max_size=12)))
def test_numbers_of_frames_are_not_believed(pool: CodecPool, corpus: dict[str, bytes], frames: str) -> None:
    for name in ("small un", "small jk", "small jr"):
        made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(corpus[name]))
        raw = corpus[name].replace(b"IS\x02\x003 ", b"IS" + pack("<H", len(frames) + len(frames) % 2)
                                   + frames.encode() + b" " * (len(frames) % 2))  # fmt: skip
        found = answer(pool, raw)
        if not isinstance(found, Exception):
            assert 0 < len(found) <= made.NumberOfFrames


def stored(directory: Path, syntax: str, frames: list[bytes], **attributes: object) -> Path:
    made = SMALL.made(NumberOfFrames=len(frames), **attributes)
    made.PixelData = encapsulate(frames)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = syntax
    path = directory / "in"
    made.save_as(path, enforce_file_format=True)
    return path


def refused(pool: CodecPool, path: Path) -> str:
    worker = pool.worker_ids()
    with pytest.raises(REFUSALS) as found:
        list(pool.decode(path))
    assert pool.worker_ids() == worker or not worker, "it cost a worker"
    return str(found.value)


def header(data: bytes, marker: bytes, rows: int, columns: int) -> bytes:
    """A JPEG stream whose frame header says another size."""
    at = data.index(marker)
    return data[: at + 5] + pack(">HH", rows, columns) + data[at + 9 :]


def test_streams_that_claim_to_be_huge(pool: CodecPool, tmp_path: Path) -> None:
    says = "the object says 20 x 24"
    for code, marker in (("j1", b"\xff\xc3"), ("js", b"\xff\xf7")):
        done = changed(replace(SMALL, frames=1).written(tmp_path), code, tmp_path / code)
        made = pydicom.dcmread(tmp_path / code)
        stream = made.PixelData[20:]
        path = stored(tmp_path, done.transfer_syntax, [header(stream, marker, 65500, 65500)])
        assert refused(pool, path) == f"a stream holds 65500 x 65500 pixels, {says}"
    changed(replace(SMALL, frames=1).written(tmp_path), "jk", tmp_path / "jk")
    stream = bytearray(pydicom.dcmread(tmp_path / "jk").PixelData[20:])
    pack_into(">LL", stream, 8, 0xFFFFFFFF, 0xFFFFFFFF)
    path = stored(tmp_path, JPEG + "90", [bytes(stream)])
    assert refused(pool, path) == f"a stream holds 4294967295 x 4294967295 pixels, {says}"


@pytest.mark.parametrize(("code", "marker"), [("j1", b"\xff\xc3"), ("js", b"\xff\xf7"), ("jk", b""), ("jr", b"")])
def test_objects_that_claim_to_be_huge(code: str, marker: bytes, pool: CodecPool, tmp_path: Path) -> None:
    """The header and the stream lie alike: what cannot be in memory fails, and the memory stays bounded."""
    done = changed(replace(SMALL, frames=1).written(tmp_path), code, tmp_path / code)
    stream = bytearray(pydicom.dcmread(tmp_path / code).PixelData[20:])
    if code == "jk":
        pack_into(">LL", stream, 8, 0xFFFF, 0xFFFF)
    elif marker:
        stream = bytearray(header(bytes(stream), marker, 0xFFFF, 0xFFFF))
    path = stored(tmp_path, done.transfer_syntax, [bytes(stream)], Rows=0xFFFF, Columns=0xFFFF)
    assert refused(pool, path) == "its frames of 65535 x 65535 are larger than 1024 MB"
    # Half a gigabyte is not too large by itself, but for this pool.
    if code == "jk":
        pack_into(">LL", stream, 8, 15000, 15000)
    elif marker:
        stream = bytearray(header(bytes(stream), marker, 15000, 15000))
    path = stored(tmp_path, done.transfer_syntax, [bytes(stream)], Rows=15000, Columns=15000)
    with pytest.raises(CodecFailed) as found:
        list(pool.decode(path))
    assert "\n" not in str(found.value)
    assert pool.run(os.getpid) in pool.worker_ids()


def rle(*segments: bytes, count: int | None = None, offsets: list[int] | None = None) -> bytes:
    places = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    table = (offsets if offsets is not None else places)[:15]
    number = len(segments) if count is None else count
    return pack("<16L", number, *table, *[0] * (15 - len(table))) + b"".join(segments)


SEGMENT = b"\x81\x07" * 4  # 512 bytes of 7, of which an image of 20 x 24 takes 480


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"ab", "an RLE frame is cut in its header"),
        (rle(SEGMENT, SEGMENT)[:62], "an RLE frame is cut in its header"),
        (rle(SEGMENT), "an RLE frame has 1 segments, the object says 2"),
        (rle(SEGMENT, SEGMENT, count=0xFFFFFFFF), "an RLE frame has 4294967295 segments, the object says 2"),
        (rle(SEGMENT, SEGMENT, offsets=[0, 72]), "RLE segment 1 lies from byte 0 to 72 of 80"),
        (rle(SEGMENT, SEGMENT, offsets=[64, 0xFFFFFFFE]), "RLE segment 1 lies from byte 64 to 4294967294 of 80"),
        (rle(SEGMENT, SEGMENT, offsets=[72, 64]), "RLE segment 1 lies from byte 72 to 64 of 80"),
        (rle(SEGMENT, b"\x81\x07"), "RLE segment 2 of 2 bytes cannot hold 480"),
        (rle(SEGMENT, b"\x81\x07" * 3 + b"\0\1"), "RLE segment 2 holds 385 of 480 bytes"),
        (rle(SEGMENT, b"\x80" * 500), "RLE segment 2 holds 0 of 480 bytes"),
        (rle(SEGMENT, b"\x7f" + b"a" * 20), "RLE segment 2 is damaged"),
        (rle(SEGMENT, b"\x81\x07" * 5000), "RLE segment 2 of 10000 bytes is too long for 480"),
    ],
)
def test_rle_traps(frame: bytes, message: str, pool: CodecPool, tmp_path: Path) -> None:
    assert refused(pool, stored(tmp_path, RLE, [frame])) == message


def test_rle_of_careless_writers_is_read(pool: CodecPool, tmp_path: Path) -> None:
    for segment in (SEGMENT, SEGMENT + b"\x80", SEGMENT + b"\0", SEGMENT + b"\x80\0"):
        (frame,) = pool.decode(stored(tmp_path, RLE, [rle(SEGMENT, segment)]))
        assert np.all(frame.pixels == 0x0707)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_rle_is_decoded_or_refused(pool: CodecPool, tmp_path: Path, data: st.DataObject) -> None:
    pixels = replace(SMALL, frames=1).pixels()[0, :, :, 0]
    raw = bytearray(rle_encode(pixels, PixelFormat(24, 20), 0))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = answer(pool, stored(tmp_path, RLE, [bytes(raw)]).read_bytes())
    assert isinstance(found, Exception) or whole(found)


@pytest.mark.parametrize("code", ["j1", "j3", "j6", "j7", "js", "jk", "jl", "jh", "jr", "n2", "n4"])
def test_a_stream_that_is_cut_is_never_filled_up(code: str, pool: CodecPool, tmp_path: Path) -> None:
    """Some codecs make grey of what is missing; that would be stored as if it had been there."""
    kind = Kind("8 bits", rows=64, columns=64)
    done = changed(kind.written(tmp_path), code, tmp_path / code, meta=True)
    made = pydicom.dcmread(tmp_path / code)
    frames = [made.get_item(0x7FDF0010).value] if done.nki else generate_frames(made.PixelData, number_of_frames=1)
    (stream,) = frames
    for share in (0.2, 0.5, 0.9, 0.97):
        cut = stream[: int(len(stream) * share) & ~1]
        if done.nki:
            made.add_new(0x7FDF0010, "OB", cut)
        else:
            made.PixelData = encapsulate([cut])
            made["PixelData"].is_undefined_length = True
        made.save_as(tmp_path / "cut")
        assert "\n" not in refused(pool, tmp_path / "cut")


def test_frames_that_come_out_of_nothing_are_refused(pool: CodecPool, tmp_path: Path) -> None:
    blank = replace(SMALL, frames=1, rows=2048, columns=2048)
    source = blank.written(tmp_path, PixelData=bytes(2048 * 2048 * 2))
    changed(source, "js", tmp_path / "js")
    stream = next(generate_frames(pydicom.dcmread(tmp_path / "js").PixelData, number_of_frames=1))
    path = stored(tmp_path, JPEG + "80", [stream] * 100, Rows=2048, Columns=2048)
    assert refused(pool, path) == "its pixels would be 800 MB, more than 1000 times what there is"


def test_a_deflate_bomb_is_bounded(pool: CodecPool, tmp_path: Path) -> None:
    made = SMALL.made()
    made.PixelData = b""
    plain = tmp_path / "plain"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    made.save_as(plain, enforce_file_format=True)
    raw = plain.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    meta = raw[:start].replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x00" + DEFLATED.encode())
    meta = meta[:140] + pack("<L", len(meta) - 144) + meta[144:]
    body = raw[start:].partition(b"\xe0\x7f\x10\x00")[0] + b"\xe0\x7f\x10\x00OW\0\0" + pack("<L", 2 << 30)
    deflate = zlib.compressobj(9, wbits=-15)
    packed = deflate.compress(body) + b"".join(deflate.compress(bytes(1 << 20)) for _ in range(530)) + deflate.flush()
    bomb = tmp_path / "bomb"
    bomb.write_bytes(meta + packed)
    assert refused(pool, bomb) == "the deflated data set inflates to more than 200 times its size"


def test_an_nki_bomb_is_bounded(pool: CodecPool, tmp_path: Path) -> None:
    made = Dataset()
    made.update(SMALL.made(NumberOfFrames=1, Rows=15000, Columns=15000))
    del made.PixelData
    good = bytearray(nki_encode(bytes(2000), 1))
    pack_into("<L", good, 0, 15000 * 15000)
    made.add_new(0x7FDF0010, "OB", bytes(good))
    made.save_as(tmp_path / "in", implicit_vr=True, little_endian=True, enforce_file_format=False)
    message = refused(pool, tmp_path / "in")
    assert message == f"NKI data of {len(good) - 8} bytes cannot hold 225000000 words"


def test_an_image_of_many_empty_fragments_is_refused(pool: CodecPool, tmp_path: Path) -> None:
    path = stored(tmp_path, JPEG + "70", [b"ab"] * 3)
    path.write_bytes(path.read_bytes().replace(b"\xfe\xff\x00\xe0\x02\0\0\0ab", b"\xfe\xff\x00\xe0\0\0\0\0"))
    assert refused(pool, path) == "frame 0: a frame does not begin as JPEG does"


def test_the_pool_is_up_after_all_that(pool: CodecPool, corpus: dict[str, bytes]) -> None:
    for name in sorted(corpus):
        found = answer(pool, corpus[name])
        assert not isinstance(found, Exception), name
        assert whole(found)
    status = Path(f"/proc/{pool.worker_ids()[0]}/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < MEMORY_MB * 1024
