"""Whole objects under codes and transfer syntaxes: which change, which stay and why, and what else is in them."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames, parse_basic_offsets
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from storage.codecs.frames import decode_frames
from storage.codecs.table import CODECS
from storage.errors import CodecFailed, NotConvertible, NotDicom
from storage.transcode import Wanted, transcode
from storage.transfer import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, NATIVE
from tests.objects import BASIC_TEXT_SR, data_set_bytes, ds, encoded, variety, write
from tests.test_codecs.images import CT, JPEG, RGB, Kind, changed, decoded

CODES = ("un", "ui", "ul", "ub", "ue", "uj", "ud", "n0", "n1", "n4", "n5", "nj", "j1", "j2", "j3", "j390", "j4", "j5",
         "j6", "j7", "js", "jk", "jl", "jl05", "jh", "jr", "ja", "j#2,100", "n#2,100", "k1", "k8", "kc")  # fmt: skip


def kept(path: Path, to: str, tmp_path: Path, **wanted: object) -> str:
    """Why an object stays as it is."""
    done = transcode(path, Wanted(to, **wanted), tmp_path / "none")  # type: ignore[arg-type]
    assert not done.changed
    assert not (tmp_path / "none").exists()
    return done.reason


def test_every_code_of_the_table_is_tried_here() -> None:
    spelled = {code.rstrip("0123456789!,") for code in CODES} | set(CODES)
    untried = {row.code for row in CODECS if row.code not in spelled and not any(c.startswith(row.code) for c in CODES)}
    assert untried == {"as", "is", "s", "v"}


@pytest.mark.parametrize("to", ["as", "is", "", "s1", "v0", "xx", "AS"])
def test_codes_that_leave_pixels_alone(to: str, tmp_path: Path) -> None:
    assert kept(CT.written(tmp_path), to, tmp_path) == f"code {to!r} leaves pixels alone"


@pytest.mark.parametrize("to", ["un", "ui", "ul", "ub", "ue", "uj", "n0"])
def test_uncompressed_objects_are_uncompressed_already(to: str, tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    assert kept(source, to, tmp_path) == f"it is {EXPLICIT_LITTLE} already"


@pytest.mark.parametrize(
    ("to", "syntax"),
    [("un", EXPLICIT_LITTLE), ("ui", IMPLICIT_LITTLE), ("ul", EXPLICIT_LITTLE), ("ub", EXPLICIT_BIG),
     ("ue", EXPLICIT_LITTLE), ("ud", DEFLATED), ("n0", IMPLICIT_LITTLE), ("k1", EXPLICIT_LITTLE)],
)  # fmt: skip
def test_compressed_objects_become_uncompressed(to: str, syntax: str, tmp_path: Path) -> None:
    changed(CT.written(tmp_path), "jk", tmp_path / "jk")
    done = changed(tmp_path / "jk", to, tmp_path / "out")
    assert (done.transfer_syntax, done.bare) == (syntax, to == "n0")
    assert np.array_equal(decoded(tmp_path / "out"), CT.pixels())


def test_jpeg_is_left_alone_by_the_codes_that_say_so(tmp_path: Path) -> None:
    changed(CT.written(tmp_path), "j3", tmp_path / "j3")
    for to in ("uj", "nj", "ja"):
        assert kept(tmp_path / "j3", to, tmp_path) == f"it is {JPEG}51 already"


@pytest.mark.parametrize("to", ["j1", "j3", "j6", "j7", "js", "jk", "jl", "jh", "jr", "ja"])
def test_what_is_in_its_form_already_is_not_encoded_again(to: str, tmp_path: Path) -> None:
    syntax = changed(replace(CT, bits=8, allocated=8).written(tmp_path), to, tmp_path / "out").transfer_syntax
    assert kept(tmp_path / "out", to, tmp_path) == f"it is {syntax} already"


def test_any_lossless_jpeg_is_lossless_jpeg_enough(tmp_path: Path) -> None:
    changed(CT.written(tmp_path), JPEG + "57", tmp_path / "out")
    assert kept(tmp_path / "out", "j2", tmp_path) == f"it is {JPEG}57 already"
    assert changed(tmp_path / "out", "j2", tmp_path / "next", accepted=(JPEG + "70",)).transfer_syntax == JPEG + "70"


@pytest.mark.parametrize(
    ("to", "accepted", "syntax"),
    [
        ("j2", (JPEG + "57", JPEG + "70", IMPLICIT_LITTLE), JPEG + "70"),
        ("j2", (JPEG + "57", IMPLICIT_LITTLE), JPEG + "57"),
        ("j1", (JPEG + "57",), JPEG + "57"),
        ("j3", (JPEG + "50", JPEG + "51"), JPEG + "51"),
        ("jl", (JPEG + "90",), JPEG + "90"),
        ("j7", (JPEG + "80",), JPEG + "80"),
        ("jh", (JPEG + "203", JPEG + "202"), JPEG + "202"),
        ("k8", (IMPLICIT_LITTLE, EXPLICIT_BIG), IMPLICIT_LITTLE),
    ],
)
def test_of_the_forms_a_receiver_accepts_the_best_is_taken(
    to: str, accepted: tuple[str, ...], syntax: str, tmp_path: Path
) -> None:
    source = replace(CT, rows=200).written(tmp_path)
    assert changed(source, to, tmp_path / "out", accepted=accepted).transfer_syntax == syntax


def test_a_receiver_that_accepts_none_of_them_gets_nothing_made(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    reason = kept(source, "jk", tmp_path, accepted=(IMPLICIT_LITTLE,))
    assert reason == "none of the transfer syntaxes of its code is accepted"
    changed(source, "jk", tmp_path / "jk")
    assert kept(tmp_path / "jk", "un", tmp_path, accepted=(JPEG + "50",)) == (
        "no uncompressed transfer syntax is accepted"
    )


@pytest.mark.parametrize("modality", ["PR", "SR", "RTDOSE", "RTIMAGE"])
def test_jpeg_is_kept_away_from_what_is_no_image_to_look_at(modality: str, tmp_path: Path) -> None:
    source = CT.written(tmp_path, Modality=modality)
    for to in ("j1", "j3", "js", "jk", "jl", "jh", "ja"):
        assert kept(source, to, tmp_path) == f"modality {modality} is not compressed"
    assert changed(source, "jr", tmp_path / "jr").changed
    assert changed(source, JPEG + "90", tmp_path / "jk").changed


def test_jpeg_is_for_eight_bits_and_more(tmp_path: Path) -> None:
    source = Kind("5 bits", 5, 8).written(tmp_path)
    assert kept(source, "j2", tmp_path) == "JPEG is for 8 bits and more, not 5"
    changed(source, JPEG + "70", tmp_path / "out")
    assert np.array_equal(decoded(tmp_path / "out"), Kind("5 bits", 5, 8).pixels())


@pytest.mark.parametrize(
    ("to", "kind", "reason"),
    [
        (JPEG + "50", CT, "JPEG baseline has no values of 16 bits"),
        (JPEG + "51", replace(CT, bits=16), "JPEG extended has 9 to 12 bits, not 16"),
        (JPEG + "51", replace(CT, signed=True), "JPEG extended has no signed values"),
        (JPEG + "53", replace(CT, bits=8, allocated=8), "JPEG spectral selection is not written here"),
        (JPEG + "55", replace(RGB, photometric="PALETTE COLOR"), "JPEG full progression has no PALETTE COLOR"),
        (JPEG + "90", replace(CT, allocated=32), "JPEG 2000 lossless has no values of 32 bits"),
        (JPEG + "100", CT, f"there is no codec for transfer syntax {JPEG}100"),
        ("1.2.3", CT, "there is no codec for transfer syntax 1.2.3"),
    ],
)
def test_a_syntax_that_is_insisted_on_is_refused_where_it_does_not_fit(
    to: str, kind: Kind, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(NotConvertible) as refused:
        transcode(kind.written(tmp_path), Wanted(to), tmp_path / "out")
    assert str(refused.value) == reason


def test_thirty_two_bits_are_for_rle_alone(tmp_path: Path) -> None:
    kind = Kind("dose", 32, 32, frames=2)
    source = kind.written(tmp_path)
    changed(source, "jr", tmp_path / "out")
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels())
    assert kept(source, "jk", tmp_path) == "JPEG 2000 lossless has no values of 32 bits"


def bitmap(directory: Path, frames: int) -> tuple[Path, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    bits = np.random.default_rng(3).integers(0, 2, (frames, 7, 9), np.uint8)
    kind = Kind("bits", rows=7, columns=9, frames=frames)
    made = kind.made(BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
    return write(directory, made), bits


def test_single_bits_stay_uncompressed_and_frames_are_cut_out_of_them(tmp_path: Path) -> None:
    source, bits = bitmap(tmp_path, 5)
    assert np.array_equal(decoded(source)[..., 0], bits)
    assert kept(source, "jk", tmp_path) == "JPEG is for 8 bits and more, not 1"
    assert kept(source, "jr", tmp_path) == "RLE has no values of 1 bits"
    changed(source, "n4", tmp_path / "n4")
    assert np.array_equal(decoded(tmp_path / "n4")[..., 0], bits)
    changed(source, "un", tmp_path / "two", frames=(1, 3))
    assert np.array_equal(decoded(tmp_path / "two")[..., 0], bits[[1, 3]])
    changed(source, EXPLICIT_BIG, tmp_path / "big")
    assert np.array_equal(decoded(tmp_path / "big")[..., 0], bits)


def test_an_overlay_in_unused_bits_keeps_an_object_as_it_is(tmp_path: Path) -> None:
    made = CT.made()
    made.add_new(0x60000010, "US", 96)
    made.add_new(0x60000011, "US", 120)
    made.add_new(0x60000100, "US", 16)
    made.add_new(0x60000102, "US", 15)
    source = write(tmp_path, made)
    for to in ("j1", "j3", "jk", "jr", "n4", "k8"):
        if to != "k8":
            assert kept(source, to, tmp_path) == "an overlay lies in the unused bits of its pixels"
    assert changed(source, IMPLICIT_LITTLE, tmp_path / "out").changed


@pytest.mark.parametrize("to", CODES)
def test_objects_without_pixels_stay_but_for_their_encoding(to: str, tmp_path: Path) -> None:
    source = write(tmp_path, ds(SOPClassUID=BASIC_TEXT_SR, Modality="SR"))
    if to == "ud":
        assert changed(source, to, tmp_path / "out").transfer_syntax == DEFLATED
        return
    uncompressed = to in ("un", "ui", "ul", "ub", "ue", "uj", "n0")
    expected = f"it is {EXPLICIT_LITTLE} already" if uncompressed else "it has no pixel data"
    assert kept(source, to, tmp_path) == expected


def test_a_file_without_group_2_gets_one_that_names_the_object(tmp_path: Path) -> None:
    made = ds(SOPClassUID=BASIC_TEXT_SR, Modality="SR")
    made.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True, enforce_file_format=False)
    done = changed(tmp_path / "bare", EXPLICIT_LITTLE, tmp_path / "out")
    meta = pydicom.dcmread(tmp_path / "out").file_meta
    assert meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID == done.sop_instance
    assert meta.MediaStorageSOPClassUID == BASIC_TEXT_SR == done.sop_class


def test_a_report_labelled_as_jpeg_loses_the_label(tmp_path: Path) -> None:
    source = write(tmp_path, ds(SOPClassUID=BASIC_TEXT_SR, Modality="SR"))
    raw = source.read_bytes().replace(b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x16\x001.2.840.10008.1.2.4.70")
    labelled = tmp_path / "labelled"
    labelled.write_bytes(raw[:140] + bytes([raw[140] + 2]) + raw[141:])
    assert changed(labelled, "un", tmp_path / "out").transfer_syntax == EXPLICIT_LITTLE
    assert data_set_bytes(tmp_path / "out") == data_set_bytes(source)


@pytest.mark.parametrize("to", ["j1", "jk", "jr", "n4", "k1", "ud"])
def test_whatever_a_site_has_becomes_what_the_code_says_or_stays(to: str, tmp_path: Path) -> None:
    for made, syntax in variety("P"):
        source = write(tmp_path, made, syntax)
        done = transcode(source, Wanted(to), tmp_path / "out")
        if not done.changed:
            assert "PixelData" not in made or to == "k1" or (to, syntax) == ("ud", DEFLATED)
            continue
        if "PixelData" in made:
            assert np.array_equal(decoded(tmp_path / "out"), decoded(source))
        elif to != "ud":
            pytest.fail(f"{to} made {done.transfer_syntax} of an object without pixels")


@pytest.mark.parametrize("syntax", NATIVE)
def test_every_uncompressed_syntax_is_read(syntax: str, tmp_path: Path) -> None:
    made = CT.made(ReferencedImageSequence=Sequence([Dataset()]))
    source = write(tmp_path, made, syntax)
    for to in ("jk", "j1", "n2"):
        changed(source, to, tmp_path / to, meta=True)
        assert np.array_equal(decoded(tmp_path / to), CT.pixels())
        back = pydicom.dcmread(tmp_path / to)
        assert (back.PatientName, back.StudyDate) == (made.PatientName, made.StudyDate)
        assert len(back.ReferencedImageSequence) == 1


def test_the_rest_of_an_object_stays_as_it_was(tmp_path: Path) -> None:
    made = CT.made(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jörg")
    made.private_block(0x2005, "US", create=True).add_new(0x10, "UN", b"\1\2\3")
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.PixelData = b"\1\2\3\4"  # of an icon
    item["PixelData"].VR = "OW"
    made.IconImageSequence = Sequence([item])
    made.add_new(0xFFFCFFFC, "OB", b"\0\0")
    source = write(tmp_path, made)
    changed(source, "jk", tmp_path / "jk")
    changed(tmp_path / "jk", "un", tmp_path / "out")
    assert pydicom.dcmread(tmp_path / "out") == pydicom.dcmread(source)


@pytest.mark.parametrize("to", ["j1", "js", "jk", "jh", "jr"])
def test_frames_lie_where_the_offset_table_says(to: str, tmp_path: Path) -> None:
    kind = Kind("frames", 12, 16, frames=7, rows=20, columns=31)
    changed(kind.written(tmp_path), to, tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    offsets = parse_basic_offsets(made.PixelData)
    frames = list(generate_frames(made.PixelData, number_of_frames=7))
    assert offsets == [sum(8 + len(frame) for frame in frames[:number]) for number in range(7)]
    assert all(len(frame) % 2 == 0 for frame in frames)
    assert made["PixelData"].VR == "OB"


def in_fragments(path: Path, out: Path, sizes: int, *, table: bool, extended: bool = False) -> None:
    """Write an encapsulated object anew, its frames cut into fragments."""
    made = pydicom.dcmread(path)
    frames = list(generate_frames(made.PixelData, number_of_frames=made.NumberOfFrames))
    if extended:
        lengths = [len(frame) for frame in frames]
        starts = np.cumsum([0, *(length + 8 for length in lengths[:-1])])
        made.ExtendedOffsetTable = np.array(starts, "<u8").tobytes()
        made.ExtendedOffsetTableLengths = np.array(lengths, "<u8").tobytes()
        made.PixelData = encapsulate(frames, has_bot=False)
    else:
        made.PixelData = encapsulate(frames, fragments_per_frame=sizes, has_bot=table)
    made["PixelData"].is_undefined_length = True
    made.save_as(out)


@pytest.mark.parametrize("to", ["j1", "js", "jk", "jh"])
@pytest.mark.parametrize(("sizes", "table", "extended"), [(3, True, False), (3, False, False), (1, False, True)])
def test_frames_in_fragments_are_found(to: str, sizes: int, table: bool, extended: bool, tmp_path: Path) -> None:
    kind = Kind("frames", 12, 16, frames=4, rows=50, columns=31)
    changed(kind.written(tmp_path), to, tmp_path / "whole")
    in_fragments(tmp_path / "whole", tmp_path / "parts", sizes, table=table, extended=extended)
    assert np.array_equal(decoded(tmp_path / "parts"), kind.pixels())
    changed(tmp_path / "parts", "jr", tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    assert "ExtendedOffsetTable" not in made
    assert "ExtendedOffsetTableLengths" not in made


def test_fragments_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    kind = Kind("frames", 12, 16, frames=4)
    changed(kind.written(tmp_path), "jr", tmp_path / "whole")
    in_fragments(tmp_path / "whole", tmp_path / "parts", 3, table=False)
    with pytest.raises(NotDicom, match="its 12 fragments cannot be told apart as 4 frames"):
        list(decode_frames(tmp_path / "parts"))


@pytest.mark.parametrize("to", ["un", "jk", "n4"])
def test_some_frames_are_cut_out(to: str, tmp_path: Path) -> None:
    kind = Kind("frames", 12, 16, frames=6)
    for source in (kind.written(tmp_path), tmp_path / "jk"):
        if source.name == "jk":
            changed(kind.written(tmp_path), "jk", source)
        done = changed(source, to, tmp_path / "out", frames=(4, 1), new_uid="1.2.3")
        assert np.array_equal(decoded(tmp_path / "out"), kind.pixels()[[4, 1]])
        made = pydicom.dcmread(tmp_path / "out", force=True)
        assert (made.NumberOfFrames, made.SOPInstanceUID, done.sop_instance) == (2, "1.2.3", "1.2.3")
        assert made.DerivationDescription == "2 of 6 frames"
    assert kept(source, to, tmp_path, frames=(6,)) == "it has no frame 6, but 0 to 5"
    assert kept(source, to, tmp_path, frames=()) == "no frame is asked for"


@pytest.mark.parametrize("syntax", NATIVE)
def test_what_is_added_to_an_object_is_written_as_its_syntax_says(syntax: str, tmp_path: Path) -> None:
    kind = Kind("frames", 12, 16, frames=3)
    source = kind.written(tmp_path)
    changed(source, syntax, tmp_path / "out", frames=(2,), new_uid="1.2.3")
    made, before = pydicom.dcmread(tmp_path / "out"), pydicom.dcmread(source)
    (item,) = made.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert (made.file_meta.TransferSyntaxUID, made.HighBit, made.Rows) == (syntax, 11, 37)
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels()[2:])


def test_results_go_to_open_files_too_and_without_group_2_where_that_is_asked(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    out = io.BytesIO()
    transcode(source, Wanted("jk", meta=False), out)
    changed(source, "jk", tmp_path / "out")
    assert out.getvalue() == data_set_bytes(tmp_path / "out")


def test_a_damaged_object_is_no_object(tmp_path: Path) -> None:
    raw = encoded(CT.made(), ExplicitVRLittleEndian)
    (tmp_path / "cut").write_bytes(raw[:-100])
    with pytest.raises(NotDicom, match="does not fit"):
        transcode(tmp_path / "cut", Wanted("jk"), tmp_path / "out")


def test_pixels_that_are_fewer_than_declared_are_refused(tmp_path: Path) -> None:
    source = CT.written(tmp_path, Rows=97)
    with pytest.raises(NotDicom, match="its pixel data has 23040 bytes, 23280 are declared"):
        transcode(source, Wanted("jk"), tmp_path / "out")
    changed(CT.written(tmp_path), "jk", tmp_path / "jk")
    made = pydicom.dcmread(tmp_path / "jk")
    made.Rows = 97
    made.save_as(tmp_path / "lying")
    with pytest.raises(CodecFailed, match="a stream holds 120 x 96 pixels, the object says 120 x 97"):
        transcode(tmp_path / "lying", Wanted("un"), tmp_path / "out")


def test_big_endian_is_written_as_it_should_be(tmp_path: Path) -> None:
    changed(CT.written(tmp_path), "jk", tmp_path / "jk")
    changed(tmp_path / "jk", "ub", tmp_path / "big")
    made = pydicom.dcmread(tmp_path / "big")
    assert made.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    assert np.array_equal(made.pixel_array, CT.pixels()[0, :, :, 0])


_THOUSAND = """
import resource, sys
from pathlib import Path
from storage.transcode import Wanted, transcode
code, source, out = sys.argv[1:]
done = transcode(Path(source), Wanted(code), Path(out))
assert done.changed, done.reason
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("to", ["j1", "jh"])
def test_a_thousand_frames_take_the_memory_of_a_few(to: str, tmp_path: Path) -> None:
    frame = Kind("frame", 12, 16, rows=128, columns=128)
    made = frame.made(NumberOfFrames=1000)
    made.PixelData = frame.made().PixelData * 1000
    source = write(tmp_path, made)

    def peak_mb(code: str, path: Path, out: Path) -> float:
        command = [sys.executable, "-c", _THOUSAND, code, str(path), str(out)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(ran.stdout) / 1024

    small = peak_mb(to, frame.written(tmp_path), tmp_path / "one")
    # The object has 31 MB.
    assert peak_mb(to, source, tmp_path / "out") < small + 12
    assert peak_mb("un", tmp_path / "out", tmp_path / "back") < small + 12
    assert data_set_bytes(tmp_path / "back") == data_set_bytes(source)
    last = next(iter(decode_frames(tmp_path / "out", [999])))
    assert np.array_equal(last.pixels, frame.pixels()[0, :, :, 0])
