"""Conversion commands over the wire: pictures, frames and files made of stored objects, and WADO by command."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageSequence
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from tests.commands import Reply, Site, site
from tests.objects import ds, encoded, write
from tests.pictures import image_of, linear, opened
from tests.servers import dgate

NOTHING = Reply(None, None, 0)
RAMP = np.arange(600, dtype=np.uint16).reshape(20, 30)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a 20 x 30 ramp of P1, and a series of three frames of P2."""
    with site(tmp_path_factory.mktemp("pictures") / "site") as running:
        running.keep(ramp(), frames())
        running.daemon.server.logs.add("own.log")
        yield running


def ramp() -> Dataset:
    return image_of(
        RAMP,
        PatientID="P1",
        StudyInstanceUID="1.2.1",
        SeriesInstanceUID="1.2.1.1",
        SOPInstanceUID="1.2.1.1.1",
        WindowCenter="300",
        WindowWidth="600",
    )


def frames() -> Dataset:
    made = image_of(
        np.stack([np.full((8, 12), 100 * number, np.uint16) for number in range(3)]),
        PatientID="P2",
        StudyInstanceUID="1.2.2",
        SeriesInstanceUID="1.2.2.1",
        SOPInstanceUID="1.2.2.1.1",
        WindowCenter="100",
        WindowWidth="200",
        FrameTimeVector=["0", "10", "20"],
        FrameIncrementPointer=0x00181065,
    )
    items = []
    for number in range(3):
        item = Dataset()
        item.FrameContentSequence = Sequence([Dataset()])
        item.FrameContentSequence[0].FrameComments = f"frame {number}"
        items.append(item)
    made.PerFrameFunctionalGroupsSequence = Sequence(items)
    return made


def payload(running: Site, line: str) -> bytes:
    """The bytes of a reply, without padding."""
    reply = running.ask(line)
    assert reply.status == 0, reply
    assert reply.payload is not None, running.log("own.log")[-500:]
    return reply.payload[:-1] if reply.odd else reply.payload


def expected(center: float, width: float) -> np.ndarray:
    values = [linear(Fraction(int(v)), Fraction(center), Fraction(width)) for v in RAMP.flat]
    return np.array(values, np.uint8).reshape(RAMP.shape)


SHOWN = expected(300, 600)


def test_convert_to_gif_makes_a_gif_of_256_greys(own: Site) -> None:
    raw = payload(own, "convert_to_gif:P1:1.2.1.1.1")
    assert raw[:6] == b"GIF89a"
    # A global colour table of 256 entries, each grey.
    assert raw[10] & 0x87 == 0x87
    assert raw[13 : 13 + 768] == bytes(level for grey in range(256) for level in (grey, grey, grey))
    assert np.array_equal(np.asarray(opened(raw).convert("L")), SHOWN)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [("", (30, 20)), (",0", (30, 20)), (",30", (30, 20)), (",29", (15, 10)), (",10", (10, 6)), (",1", (1, 1))],
)
def test_whole_rows_and_columns_are_left_out(own: Site, arguments: str, size: tuple[int, int]) -> None:
    for kind in ("gif", "bmp", "jpg"):
        image = opened(payload(own, f"convert_to_{kind}:P1:1.2.1.1.1{arguments}"))
        assert image.size == size
        step = -(-30 // size[0])
        greys = np.asarray(image.convert("L")).astype(int)
        close = 4 if kind == "jpg" else 0
        assert np.abs(greys - SHOWN[: size[1] * step : step, : size[0] * step : step]).max() <= close


def test_a_gif_is_at_most_256_pixels_wide_unless_it_is_told_otherwise(own: Site) -> None:
    made = image_of(np.zeros((2, 600), np.uint8), PatientID="P3", SOPInstanceUID="1.2.3")
    own.keep(made)
    assert opened(payload(own, "convert_to_gif::1.2.3")).size == (200, 1)
    assert opened(payload(own, "convert_to_gif::1.2.3,0")).size == (600, 2)
    assert opened(payload(own, "convert_to_bmp::1.2.3")).size == (600, 2)


def test_bmp_has_24_bits_from_the_bottom_up_and_jpg_three_components(own: Site) -> None:
    raw = payload(own, "convert_to_bmp:1.2.1\\1.2.1.1\\1.2.1.1.1")
    assert struct.unpack_from("<2sI", raw) == (b"BM", len(raw))
    assert struct.unpack_from("<iiHHI", raw, 18) == (30, 20, 1, 24, 0)
    # Rows fill whole words of four bytes.
    assert len(raw) == 54 + 20 * 92
    assert raw[54:57] == bytes([SHOWN[19, 0]] * 3)
    jpeg = opened(payload(own, "convert_to_jpg:P1:1.2.1.1.1"))
    assert (jpeg.format, jpeg.mode, jpeg.info.get("progressive", 0), "exif" in jpeg.info) == ("JPEG", "RGB", 0, False)


def test_level_and_window_are_those_asked_for(own: Site) -> None:
    image = opened(payload(own, "convert_to_bmp:P1:1.2.1.1.1,0,,100/50"))
    assert np.array_equal(np.asarray(image)[:, :, 1], expected(100, 50))
    image = opened(payload(own, "convert_to_bmp:P1:1.2.1.1.1,0,,0/0/0"))
    assert np.array_equal(np.asarray(image)[:, :, 1], SHOWN)


def test_a_frame_is_chosen_from_0_and_all_of_them_make_an_animation(own: Site) -> None:
    greys = [linear(Fraction(100 * n), Fraction(100), Fraction(200)) for n in range(3)]
    animated = opened(payload(own, "convert_to_gif:P2:1.2.2.1.1"))
    assert animated.n_frames == 3  # type: ignore[attr-defined]
    assert [np.asarray(frame.convert("L"))[0, 0] for frame in ImageSequence.Iterator(animated)] == greys
    for number in range(3):
        for kind in ("gif", "bmp"):
            image = opened(payload(own, f"convert_to_{kind}:P2:1.2.2.1.1,0,,0/0/{number}"))
            assert getattr(image, "n_frames", 1) == 1
            assert np.asarray(image.convert("L"))[0, 0] == greys[number]
    assert np.asarray(opened(payload(own, "convert_to_bmp:P2:1.2.2.1.1")))[0, 0, 0] == greys[0]


def test_a_picture_goes_where_it_is_asked_for(own: Site) -> None:
    plain = payload(own, "convert_to_gif:P1:1.2.1.1.1,0")
    assert payload(own, "convert_to_gif:P1:1.2.1.1.1,0,binary") == plain
    assert payload(own, "convert_to_gif:P1:1.2.1.1.1,0,cgi") == b"Content-type: image/gif\n\n" + plain
    assert payload(own, "convert_to_jpg:P1:1.2.1.1.1,0,cgi").startswith(b"Content-type: image/jpeg\n\n\xff\xd8")
    assert own.ask("convert_to_gif:P1:1.2.1.1.1,0,made.gif") == NOTHING
    assert (own.directory / "made.gif").read_bytes() == plain


def test_a_file_that_is_not_stored_can_be_drawn(own: Site) -> None:
    path = write(own.directory / "sent", image_of(RAMP, WindowCenter="300", WindowWidth="600"))
    assert np.array_equal(np.asarray(opened(payload(own, f"convert_to_bmp:{path}")))[:, :, 0], SHOWN)


@pytest.mark.parametrize(
    ("line", "logged"),
    [
        ("convert_to_gif:P1:9.9.9", "the object is not in the database"),
        ("convert_to_gif:absent.dcm", "No such file"),
        ("convert_to_gif:dicom.ini", "it is"),
        ("convert_to_gif:P1:1.2.1.1.1,-1", "refused"),
        ("convert_to_gif:P1:1.2.1.1.1,x", "size holds what is no whole number"),
        ("convert_to_gif:P1:1.2.1.1.1,0,,1/2/3/4/5", "l_w_f is not level/window/frame"),
        ("convert_to_gif:P1:1.2.1.1.1,0,,1/-5", "l_w_f has a window of less than 1"),
        ("convert_to_gif:P1:1.2.1.1.1,0,,a/b", "l_w_f holds what is no number"),
        ("convert_to_gif:P2:1.2.2.1.1,0,,0/0/3", "it has 3 frames"),
        ("convert_to_dicom:P1:1.2.1.1.1,0,zz", "zz is no compression code"),
        ("convert_to_dicom:P2:1.2.2.1.1,0,un,3", "it has no frame 3"),
        ("extract_frames:P2:1.2.2.1.1,made.dcm,2,1", "last 1 is before first 2"),
        ("extract_frames:P2:1.2.2.1.1,made.dcm,1,3", "last 3 is no frame: it has 3"),
        ("wadorequest:1.2.1\\1.2.1.1\\1.2.1.1.1,,,,video/mpeg", "type video/mpeg is not made here"),
        ("wadorequest:1.2.1\\1.2.1.1\\1.2.1.1.1,,,,image/png,,yes", "anonymize is not done here"),
        ("wadorequest:1.2.1\\1.2.1.1\\1.2.1.1.1,,,,image/png,,,,OTHER", "bridge is not done here"),
        ("wadorequest:1.2.1\\1.2.1.1\\1.2.1.1.1,,,1/0/0/1,image/png", "region is no region"),
        ("wadorequest:P1:1.2.1.1.1", "obj is study"),
        ("wadorequest:1.2.2\\1.2.1.1\\1.2.1.1.1", "the object is not in the database"),
        ("wadoparse:studyUID=1.2.1", "seriesUID is missing"),
    ],
)
def test_what_cannot_be_done_has_no_picture_for_a_reply_and_a_line_in_the_log(
    own: Site, line: str, logged: str
) -> None:
    log = own.directory / "own.log"
    before = log.stat().st_size
    reply = own.ask(line)
    if line.startswith("extract_frames"):
        assert reply.payload is not None
        assert reply.payload.startswith(b"*** extract_frames: ")
    elif reply.status == 0:
        assert reply == NOTHING
    else:
        assert (reply.status, (reply.payload or b"")[:4]) == (0x0110, b"*** ")
    said = log.read_text()[before:]
    assert "***" in said
    assert logged == "refused" or logged in said
    assert not (own.directory / "made.dcm").exists()


def read_reply(raw: bytes) -> Dataset:
    """The object behind the head that browsers get."""
    head, _, body = raw.partition(b"\n\n")
    lines = head.decode().split("\n")
    assert lines[:3] == [
        "Content-type: application/dicom",
        'Content-Disposition: attachment; filename="file.dcm"',
        f"Content-length: {len(body)}",
    ]
    assert lines[3].rstrip() == "Access-Control-Allow-Origin: *"
    assert len(head) % 2 == 0
    return pydicom.dcmread(io.BytesIO(body))


def test_convert_to_dicom_replies_the_object_behind_a_head(own: Site) -> None:
    made = read_reply(payload(own, "convert_to_dicom:P1:1.2.1.1.1"))
    assert made.SOPInstanceUID == "1.2.1.1.1"
    assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(made.pixel_array, RAMP)


def test_convert_to_dicom_downsizes_compresses_and_takes_a_frame(own: Site) -> None:
    small = read_reply(payload(own, "convert_to_dicom:P1:1.2.1.1.1,10"))
    assert (small.Rows, small.Columns) == (6, 10)
    assert np.array_equal(small.pixel_array, RAMP[:18:3, ::3])
    assert small.SOPInstanceUID.startswith("99999.99999.")
    assert small.ImageType[0] == "DERIVED" if "ImageType" in small else True
    packed = read_reply(payload(own, "convert_to_dicom:P1:1.2.1.1.1,,jk"))
    assert packed.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert packed.SOPInstanceUID == "1.2.1.1.1"
    assert np.array_equal(packed.pixel_array, RAMP)
    frame = read_reply(payload(own, "convert_to_dicom:P2:1.2.2.1.1,6,jk,2"))
    assert (frame.get("NumberOfFrames"), frame.Rows, frame.Columns) == (1, 4, 6)
    assert frame.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert set(frame.pixel_array.flat) == {200}
    assert len(frame.PerFrameFunctionalGroupsSequence) == 1


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_extract_frames_keeps_a_range_and_what_the_header_says_of_it(own: Site, syntax: str) -> None:
    source = own.directory / "frames.dcm"
    source.write_bytes(encoded(frames(), syntax))
    assert own.ask("extract_frames:frames.dcm,part.dcm,1,2") == NOTHING
    made = pydicom.dcmread(own.directory / "part.dcm")
    assert (made.NumberOfFrames, made.PatientID, made.StudyInstanceUID) == (2, "P2", "1.2.2")
    assert made.pixel_array[:, 0, 0].tolist() == [100, 200]
    items = made.PerFrameFunctionalGroupsSequence
    assert [item.FrameContentSequence[0].FrameComments for item in items] == ["frame 1", "frame 2"]
    assert [float(time) for time in made.FrameTimeVector] == [10, 20]
    # Were it to keep its UID, storing it would take the place of the whole.
    assert made.SOPInstanceUID.startswith("99999.99999.")
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID
    assert own.says("count_frames:part.dcm") == "2"
    assert own.ask("extract_frames:P2:1.2.2.1.1,part.dcm,0") == NOTHING
    assert own.says("count_frames:part.dcm") == "1"
    assert [path.name for path in own.directory.glob(".part*")] == []


def test_count_frames_is_the_number_in_the_header_or_0(own: Site) -> None:
    assert own.says("count_frames:P2:1.2.2.1.1") == "3"
    assert own.says("count_frames:P1:1.2.1.1.1") == "0"


OBJECT = "1.2.1\\1.2.1.1\\1.2.1.1.1"


def split(raw: bytes) -> tuple[str, bytes]:
    head, _, body = raw.partition(b"\n\n")
    return head.decode(), body


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("image/gif", "Content-type: image/gif\nAccess-Control-Allow-Origin: *"),
        ("image/bmp", "Content-type: image/bmp\nAccess-Control-Allow-Origin: *"),
        ("image/jpeg", "Content-type: image/jpeg\nAccess-Control-Allow-Origin:*"),
        ("image/png", "Content-type: image/png\nAccess-Control-Allow-Origin: *"),
    ],
)
def test_wadorequest_draws_behind_a_head(own: Site, kind: str, head: str) -> None:
    found, body = split(payload(own, f"wadorequest:{OBJECT},0/0/0/0,0/0,,{kind},,,,"))
    assert found == head
    image = opened(body)
    assert image.format == kind.partition("/")[2].upper()
    close = 4 if kind == "image/jpeg" else 0
    assert np.abs(np.asarray(image.convert("L")).astype(int) - SHOWN).max() <= close


def test_wadorequest_fits_cuts_and_windows(own: Site) -> None:
    _, body = split(payload(own, f"wadorequest:{OBJECT},100/50,10/15,,image/png"))
    assert opened(body).size == (15, 10)
    _, body = split(payload(own, f"wadorequest:{OBJECT},100/50,0/0,0.5/0/1/0.5,image/png"))
    assert np.array_equal(np.asarray(opened(body)), expected(100, 50)[:10, 15:])
    assert payload(own, f"wadorequest:{OBJECT}").startswith(b"Content-type: image/jpeg\n")


def test_wadorequest_counts_frames_from_1_and_animates_all(own: Site) -> None:
    of_frames = "1.2.2\\1.2.2.1\\1.2.2.1.1"
    _, body = split(payload(own, f"wadorequest:{of_frames},0/0/0,,,image/gif"))
    assert opened(body).n_frames == 3  # type: ignore[attr-defined]
    _, body = split(payload(own, f"wadorequest:{of_frames},0/0/3,,,image/png"))
    assert np.asarray(opened(body))[0, 0] == 255


def test_wadorequest_replies_objects_and_listings(own: Site) -> None:
    assert np.array_equal(read_reply(payload(own, f"wadorequest:{OBJECT},,,,application/dicom")).pixel_array, RAMP)
    packed = read_reply(payload(own, f"wadorequest:{OBJECT},,,,application/dicom,{JPEG2000Lossless}"))
    assert packed.file_meta.TransferSyntaxUID == JPEG2000Lossless
    head, body = split(payload(own, f"wadorequest:{OBJECT},,,,text/plain"))
    assert head == "Content-type: text/plain\nAccess-Control-Allow-Origin: *"
    assert body.decode() == own.says("dump_header:P1:1.2.1.1.1")
    head, body = split(payload(own, f"wadorequest:{OBJECT},,,,text/html"))
    assert head == "Content-type: text/html\nAccess-Control-Allow-Origin:*"
    assert re.fullmatch(rb"<pre>[^<>]*</pre>\n", body)


def test_wadorequest_writes_a_file_without_the_head(own: Site) -> None:
    assert own.ask(f"wadorequest:{OBJECT},,,,image/png,,,,,wado.png") == NOTHING
    assert np.array_equal(np.asarray(opened((own.directory / "wado.png").read_bytes())), SHOWN)


def test_wadoparse_takes_the_query_of_a_wado_request(own: Site) -> None:
    query = (
        "studyUID=1.2.1&seriesUID=1.2.1.1&objectUID=1.2.1.1.1&contentType=image%2Fpng&windowCenter=100&windowWidth=50"
    )
    head, body = split(payload(own, f"wadoparse:{query}"))
    assert head == "Content-type: image/png\nAccess-Control-Allow-Origin: *"
    assert np.array_equal(np.asarray(opened(body)), expected(100, 50))


def test_an_object_without_image_is_told_so_and_served_as_it_is(own: Site) -> None:
    own.keep(ds(PatientID="P4", StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1", SOPInstanceUID="1.2.4.1.1"))
    assert own.ask("convert_to_gif:P4:1.2.4.1.1") == NOTHING
    assert own.says("count_frames:P4:1.2.4.1.1") == "0"
    made = read_reply(payload(own, "wadoparse:studyUID=1.2.4&seriesUID=1.2.4.1&objectUID=1.2.4.1.1"))
    assert made.SOPInstanceUID == "1.2.4.1.1"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("0123456789./-+ex \\:*?|é\t"), max_size=12), min_size=1, max_size=10))
def test_any_arguments_are_answered_and_do_no_harm(own: Site, arguments: list[str]) -> None:
    before = sorted(path.name for path in own.directory.iterdir())
    for name in ("convert_to_bmp", "count_frames", "wadorequest"):
        line = f"{name}:{','.join(['P1:1.2.1.1.1', *arguments[:1], '', *arguments[1:]])}"
        reply = own.ask(line.encode())
        assert reply.status in (0, 0x0110)
    assert sorted(path.name for path in own.directory.iterdir()) == before


def test_the_program_writes_the_picture_to_standard_output(own: Site) -> None:
    done = dgate(f"-p{own.port}", "-q127.0.0.1", "--convert_to_gif:P1:1.2.1.1.1,0", directory=own.directory)
    assert np.array_equal(np.asarray(opened(done.stdout).convert("L")), SHOWN)


def test_callers_without_rights_reach_no_files(tmp_path: Path) -> None:
    with site(tmp_path / "site") as running:
        running.keep(ramp())
        caller = running.daemon.server.run_command
        from server.authority import Caller

        reader = Caller("10.0.0.9", rights="read")
        for line in (
            "convert_to_gif:dicom.ini",
            "convert_to_gif:P1:1.2.1.1.1,0,made.gif",
            "extract_frames:P1:1.2.1.1.1,made.dcm,0",
            f"wadorequest:{OBJECT},,,,image/png,,,,,made.png",
        ):
            outcome = caller(running.daemon.server, line, None, reader)
            assert outcome.status == 0x0124
        assert not list(running.directory.glob("made*"))
        drawn = caller(running.daemon.server, "convert_to_gif:P1:1.2.1.1.1,0", None, reader)
        assert (drawn.status, (drawn.payload or b"")[:6]) == (0, b"GIF89a")
