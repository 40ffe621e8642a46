"""Lossy codes: what they may lose, what the object then says, and which pixels they are not for."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from storage.codecs.forms import FORMS
from storage.codecs.pixels import PixelFormat
from storage.transcode import Wanted, transcode
from tests.peers import needs
from tests.test_codecs.images import CT, GREY, JPEG, RGB, Array, Kind, by_program, changed, decoded, names

EIGHT = Kind("8 bits", rows=96, columns=120)
COLOUR = replace(RGB, rows=96, columns=120)
SIGNED = replace(CT, signed=True)
FULL = Kind("CT of 16 bits", 16, 16, signed=True, rows=96, columns=120)

LOSSY = (("j3", "50"), ("j4", "50"), ("j3", "51"), ("j4", "51"), ("j5", "55"), ("j6", "55"), ("jl", "91"))
BOUNDS = [
    (f"{code}{quality:02}", kind, form, worst, typical)
    for code, form in LOSSY
    for kind in (EIGHT, COLOUR, CT, SIGNED, FULL)
    for quality, worst, typical in FORMS[JPEG + form].errors
    if not FORMS[JPEG + form].misfit(PixelFormat(96, 120, 1, kind.samples, kind.photometric, 0, kind.allocated,
                                                 kind.bits, kind.bits - 1, kind.signed))
]  # fmt: skip


def errors(got: Array, kind: Kind) -> tuple[float, float]:
    """The largest and the root mean square error in percent of the range; the two corner pixels are outliers."""
    off = (got - kind.pixels().astype(np.float64)) * 100 / ((1 << kind.bits) - 1)
    off[:, :8, :8] = off[:, -8:, -8:] = 0
    return float(np.abs(off).max()), float(np.sqrt(np.mean(off**2)))


@pytest.mark.parametrize(("code", "kind", "form", "worst", "typical"), BOUNDS)
def test_what_is_lost_stays_within_what_is_promised(
    code: str, kind: Kind, form: str, worst: float, typical: float, tmp_path: Path
) -> None:
    done = changed(kind.written(tmp_path), code, tmp_path / "out")
    assert (done.transfer_syntax, done.lossy) == (JPEG + form, True)
    largest, mean = errors(decoded(tmp_path / "out"), kind)
    assert largest <= worst
    assert mean <= typical


@pytest.mark.parametrize("kind", [*GREY, COLOUR], ids=names((*GREY, COLOUR)))
@pytest.mark.parametrize(("code", "near"), [("j7", 1), ("j795", 1), ("j790", 2), ("j760", 8)])
def test_near_lossless_pixels_are_no_further_off_than_their_code_says(
    code: str, near: int, kind: Kind, tmp_path: Path
) -> None:
    done = changed(kind.written(tmp_path), code, tmp_path / "out")
    assert done.transfer_syntax == JPEG + "81"
    before = kind.pixels().astype(np.int64)
    off = np.abs(decoded(tmp_path / "out") - before)
    if kind.signed and kind.bits == kind.allocated:
        # At the two ends of the range these may be off by twice that.
        ends = (before < before.min() + near) | (before > before.max() - near)
        assert off[ends].max() <= 2 * near
        off = off[~ends]
    assert off.max() <= near
    made = pydicom.dcmread(tmp_path / "out")
    assert (made.BitsStored, made.HighBit) == (kind.allocated, kind.allocated - 1)


@needs("dcmdjpeg", "dcmtk")
@pytest.mark.parametrize(("code", "kind"), [("j3", EIGHT), ("j6", EIGHT), ("j3", CT), ("j3", COLOUR), ("j6", COLOUR)])
def test_dcmtk_sees_what_we_see_in_lossy_jpeg(code: str, kind: Kind, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), code, tmp_path / "out")
    theirs = by_program(["dcmdjpeg", "+cp"], tmp_path / "out", tmp_path / "read")
    # Inverse transforms may round differently.
    assert np.abs(theirs - decoded(tmp_path / "out").astype(np.int64)).max() <= (3 if kind.samples == 3 else 1)


@needs("dcmdjpls", "dcmtk")
@pytest.mark.parametrize("kind", [EIGHT, CT, SIGNED, FULL, COLOUR])
def test_dcmtk_sees_what_we_see_in_near_lossless(kind: Kind, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), "j780", tmp_path / "out")
    assert np.array_equal(by_program(["dcmdjpls"], tmp_path / "out", tmp_path / "read"), decoded(tmp_path / "out"))


@needs("gdcmconv", "libgdcm-tools")
@pytest.mark.parametrize("kind", [EIGHT, CT, SIGNED, FULL, COLOUR])
def test_gdcm_sees_what_we_see_in_jpeg_2000(kind: Kind, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), "jl", tmp_path / "out")
    assert np.array_equal(
        by_program(["gdcmconv", "--raw"], tmp_path / "out", tmp_path / "read"), decoded(tmp_path / "out")
    )


def test_ten_bits_never_ring_over_into_black(tmp_path: Path) -> None:
    kind = Kind("10 bits", 10, 16, rows=64, columns=64)
    stripes = np.zeros((1, 64, 64, 1), np.uint16)
    stripes[:, :, ::7] = 1023
    source = kind.written(tmp_path, PixelData=stripes.tobytes())
    changed(source, "j360", tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    assert (made.BitsStored, made.HighBit) == (12, 11)
    assert np.abs(decoded(tmp_path / "out") - stripes.astype(np.int64)).max() < 200


@pytest.mark.parametrize(
    ("code", "photometric"),
    [("j3", "YBR_FULL_422"), ("j6", "YBR_FULL_422"), ("jl", "YBR_ICT"), ("jk", "YBR_RCT"), ("jh", "YBR_RCT"),
     ("j7", "RGB"), ("js", "RGB"), ("j1", "RGB"), ("jr", "RGB")],
)  # fmt: skip
def test_colour_says_what_was_made_of_it(code: str, photometric: str, tmp_path: Path) -> None:
    changed(COLOUR.written(tmp_path), code, tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    assert (made.PhotometricInterpretation, made.PlanarConfiguration) == (photometric, 0)
    changed(tmp_path / "out", "un", tmp_path / "back")
    assert pydicom.dcmread(tmp_path / "back").PhotometricInterpretation == "RGB"


def test_an_object_tells_of_its_loss(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    before = pydicom.dcmread(source)
    done = changed(source, "j390", tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    assert made.LossyImageCompression == "01"
    assert made.LossyImageCompressionMethod == "ISO_10918_1"
    stream = len(made.PixelData) - 20
    assert float(made.LossyImageCompressionRatio) == pytest.approx(len(before.PixelData) / stream, rel=0.01)
    assert made.DerivationDescription == "JPEG extended, quality 90"
    assert list(made.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert made.SOPInstanceUID == before.SOPInstanceUID == done.sop_instance
    assert made.file_meta.MediaStorageSOPInstanceUID == before.SOPInstanceUID


def test_each_loss_adds_to_those_before(tmp_path: Path) -> None:
    changed(CT.written(tmp_path), "j390", tmp_path / "first")
    changed(tmp_path / "first", "jl10", tmp_path / "second")
    changed(tmp_path / "second", "j2", tmp_path / "third")
    made = pydicom.dcmread(tmp_path / "third")
    assert list(made.LossyImageCompressionMethod) == ["ISO_10918_1", "ISO_15444_1"]
    assert len(made.LossyImageCompressionRatio) == 2
    assert made.DerivationDescription == "JPEG extended, quality 90; JPEG 2000, rate 10"


def test_a_loss_gets_the_uid_that_was_given_for_it_and_names_what_it_is_made_of(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    before = pydicom.dcmread(source)
    done = changed(source, "jl", tmp_path / "out", new_uid="1.2.3.4")
    made = pydicom.dcmread(tmp_path / "out")
    assert done.sop_instance == made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    (item,) = made.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert item.ReferencedSOPClassUID == before.SOPClassUID
    done = changed(source, "jk", tmp_path / "lossless", new_uid="1.2.3.4")
    assert done.sop_instance == pydicom.dcmread(tmp_path / "lossless").SOPInstanceUID == before.SOPInstanceUID


def test_what_an_image_was_made_of_before_stays_named(tmp_path: Path) -> None:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.3", "1.2.3.4.5"
    changed(CT.written(tmp_path, SourceImageSequence=Sequence([item])), "j3", tmp_path / "out", new_uid="1.2.9")
    (found,) = pydicom.dcmread(tmp_path / "out").SourceImageSequence
    assert found == item


@pytest.mark.parametrize(
    ("code", "kind", "form"),
    [
        ("j3", FULL, "70"),
        ("j4", SIGNED, "70"),
        ("j3", replace(EIGHT, signed=True), "70"),
        ("j5", Kind("16 bits", 16, 16), "70"),
        ("j3", Kind("palette", photometric="PALETTE COLOR"), "70"),
        ("j7", Kind("palette", photometric="PALETTE COLOR"), "80"),
        ("jl", Kind("palette", photometric="PALETTE COLOR"), "90"),
    ],
)
def test_what_a_lossy_form_does_not_take_is_kept_without_loss(code: str, kind: Kind, form: str, tmp_path: Path) -> None:
    done = changed(kind.written(tmp_path), code, tmp_path / "out")
    assert (done.transfer_syntax, done.lossy) == (JPEG + form, False)
    assert len(done.notes) == 1
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels())
    assert "LossyImageCompression" not in pydicom.dcmread(tmp_path / "out")


def test_colour_that_was_lossy_jpeg_is_rgb_for_the_next_code(tmp_path: Path) -> None:
    changed(COLOUR.written(tmp_path), "j3", tmp_path / "j3")
    for code, form, photometric in (("jl", "91", "YBR_ICT"), ("j7", "81", "RGB"), ("jk", "90", "YBR_RCT")):
        done = changed(tmp_path / "j3", code, tmp_path / code)
        assert (done.transfer_syntax, done.notes) == (JPEG + form, ())
        assert pydicom.dcmread(tmp_path / code).PhotometricInterpretation == photometric
    assert np.array_equal(decoded(tmp_path / "jk"), decoded(tmp_path / "j3"))


def test_retired_spectral_selection_is_full_progression_and_says_so(tmp_path: Path) -> None:
    done = changed(EIGHT.written(tmp_path), "j5", tmp_path / "out")
    assert done.transfer_syntax == JPEG + "55"
    assert done.notes == ("spectral selection is written as full progression",)


def test_the_quality_is_that_of_the_code_or_else_of_the_setting(tmp_path: Path) -> None:
    source = CT.written(tmp_path)
    changed(source, "j3", tmp_path / "setting", quality=70)
    changed(source, "j370", tmp_path / "code", quality=99)
    assert (tmp_path / "setting").read_bytes() == (tmp_path / "code").read_bytes()


@pytest.mark.parametrize(
    ("code", "rows", "columns", "step"), [("k8", 120, 80, 4), ("ka", 60, 40, 8), ("kb", 32, 21, 15), ("kc", 16, 10, 30)]
)
def test_downsizing_takes_whole_steps_and_tells_the_spacing(
    code: str, rows: int, columns: int, step: int, tmp_path: Path
) -> None:
    kind = Kind("CT", 12, 16, rows=480, columns=321)
    source = kind.written(tmp_path, PixelSpacing=[0.5, 0.25])
    done = changed(source, code, tmp_path / "out", new_uid="1.2.3")
    made = pydicom.dcmread(tmp_path / "out")
    assert (made.Rows, made.Columns, done.lossy, made.SOPInstanceUID) == (rows, columns, True, "1.2.3")
    assert [float(value) for value in made.PixelSpacing] == [0.5 * step, 0.25 * step]
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels()[:, ::step, ::step][:, :rows, :columns])
    assert "LossyImageCompression" not in made


@pytest.mark.parametrize(("code", "side"), [("k4", 160), ("k8", 106), ("ka", 64), ("kb", 32), ("kc", 16)])
def test_downsizing_gives_the_sizes_that_conquest_gives(code: str, side: int, tmp_path: Path) -> None:
    changed(Kind("320", 12, 16, rows=320, columns=320).written(tmp_path), code, tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    assert (made.Rows, made.Columns) == (side, side)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("code", "form"), [("j#3,100", JPEG + "70"), ("n#3,100", "1.2.840.10008.1.2")])
def test_values_are_divided_and_cut_off(code: str, form: str, signed: bool, tmp_path: Path) -> None:
    kind = replace(CT, signed=signed)
    done = changed(kind.written(tmp_path, SmallestImagePixelValue=0), code, tmp_path / "out")
    assert (done.transfer_syntax, done.lossy) == (form, True)
    before = kind.pixels().astype(np.int64)
    assert np.array_equal(decoded(tmp_path / "out"), np.where(before < 100, 0, before // 3))
    made = pydicom.dcmread(tmp_path / "out", force=True)
    assert made.LossyImageCompression == "01"
    assert made.DerivationDescription == "values below 100 made 0, others divided by 3"
    assert "SmallestImagePixelValue" not in made


@pytest.mark.parametrize("code", ["j#0,100", "n#0,1"])
def test_nothing_is_divided_by_0(code: str, tmp_path: Path) -> None:
    done = transcode(CT.written(tmp_path), Wanted(code), tmp_path / "out")
    assert (done.changed, done.reason) == (False, f"code {code!r} divides by 0")


def found_errors(path: Path) -> set[str]:
    ran = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return {line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error")}


@needs("dciodvfy", "dicom3tools")
@pytest.mark.parametrize("kind", [EIGHT, CT, SIGNED, replace(COLOUR, frames=1), COLOUR])
def test_dciodvfy_finds_nothing_wrong_that_was_right_before(kind: Kind, tmp_path: Path) -> None:
    source = kind.written(tmp_path)
    before = found_errors(source)
    for code in ("j1", "j3", "j6", "j7", "js", "jk", "jl", "jr", "k8", "kb", "ub", JPEG + "57", "n0"):
        done = transcode(source, Wanted(code, new_uid="1.2.3.4"), tmp_path / code)
        if done.changed:
            assert found_errors(tmp_path / code) - before == set(), code
