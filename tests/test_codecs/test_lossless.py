"""Lossless codes: every kind of image through every one of them, read back by ourselves and by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import get_decoder

from storage.transfer import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.peers import needs
from tests.test_codecs.images import EVERY, GREY, JPEG, RGB, Kind, by_program, changed, decoded, names

RLE = "1.2.840.10008.1.2.5"
SYNTAXES = {
    "j1": JPEG + "70",
    "j2": JPEG + "70",
    JPEG + "57": JPEG + "57",
    "ja": JPEG + "70",
    "js": JPEG + "80",
    "jk": JPEG + "90",
    "jh": JPEG + "201",
    JPEG + "202": JPEG + "202",
    JPEG + "203": JPEG + "203",
    "jr": RLE,
    "ud": DEFLATED,
    IMPLICIT_LITTLE: IMPLICIT_LITTLE,
    EXPLICIT_BIG: EXPLICIT_BIG,
}
# What each program reads, of ours.
DCMTK = {"j1": "dcmdjpeg", JPEG + "57": "dcmdjpeg", "js": "dcmdjpls", "jr": "dcmdrle"}
GDCM = ("j1", JPEG + "57", "js", "jk", "jr")
PYDICOM = ("jk", "jh", JPEG + "202", JPEG + "203", "jr")

every = pytest.mark.parametrize("kind", EVERY, ids=names(EVERY))


@every
@pytest.mark.parametrize("to", SYNTAXES)
def test_our_decoders_give_back_every_pixel(kind: Kind, to: str, tmp_path: Path) -> None:
    source = kind.written(tmp_path)
    done = changed(source, to, tmp_path / "out")
    assert (done.transfer_syntax, done.lossy) == (SYNTAXES[to], False)
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels())
    # And back: nothing of the header may have been lost on the way.
    changed(tmp_path / "out", EXPLICIT_LITTLE, tmp_path / "back")
    back, before = pydicom.dcmread(tmp_path / "back"), pydicom.dcmread(source)
    for made in (back, before):
        made.PixelData = b""
        if "PlanarConfiguration" in made:
            made.PlanarConfiguration = 0
    assert back == before


@needs("dcmdjpls", "dcmtk")
@every
@pytest.mark.parametrize("to", DCMTK)
def test_dcmtk_reads_every_pixel(kind: Kind, to: str, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), to, tmp_path / "out")
    command = [DCMTK[to], *(["+cn"] if DCMTK[to] == "dcmdjpeg" else [])]
    assert np.array_equal(by_program(command, tmp_path / "out", tmp_path / "read"), kind.pixels())


@needs("gdcmconv", "libgdcm-tools")
# GDCM 3.0 takes RLE colour of 16 bits for 8; dcmdrle and pydicom read it.
@pytest.mark.parametrize(
    ("kind", "to"),
    [
        pytest.param(kind, to, id=f"{to}-{kind.name}")
        for kind in EVERY
        for to in GDCM
        if (to, kind.name) != ("jr", "RGB of 16 bits")
    ],
)
def test_gdcm_reads_every_pixel(kind: Kind, to: str, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), to, tmp_path / "out")
    assert np.array_equal(by_program(["gdcmconv", "--raw"], tmp_path / "out", tmp_path / "read"), kind.pixels())


@every
@pytest.mark.parametrize("to", PYDICOM)
def test_pydicom_with_openjpeg_reads_every_pixel(kind: Kind, to: str, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), to, tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out")
    pixels, _ = get_decoder(made.file_meta.TransferSyntaxUID).as_array(made, raw=True)
    assert np.array_equal(pixels.reshape(kind.pixels().shape), kind.pixels())


@pytest.mark.parametrize("kind", [*GREY[6:], RGB], ids=names((*GREY[6:], RGB)))
@pytest.mark.parametrize("first", ["j1", "js", "jk", "jh", "jr", "n4"])
def test_one_lossless_form_is_made_of_another(kind: Kind, first: str, tmp_path: Path) -> None:
    changed(kind.written(tmp_path), first, tmp_path / "first")
    for second in ("j1", "js", "jk", "jh", "jr", "n4", "un"):
        if second != first:
            changed(tmp_path / "first", second, tmp_path / "second")
            assert np.array_equal(decoded(tmp_path / "second"), kind.pixels())


def test_half_colour_is_spread_to_every_pixel(tmp_path: Path) -> None:
    kind = Kind("YBR_FULL_422", photometric="YBR_FULL", samples=3, rows=12, columns=20)
    full = kind.pixels()
    full[:, :, 1::2, 1:] = full[:, :, ::2, 1:]
    pairs = np.stack((full[0, :, ::2, 0], full[0, :, 1::2, 0], full[0, :, ::2, 1], full[0, :, ::2, 2]), axis=-1)
    made = kind.made(full, PhotometricInterpretation="YBR_FULL_422")
    made.PixelData = pairs.tobytes()
    source = tmp_path / "source"
    made.save_as(source, implicit_vr=False, little_endian=True, enforce_file_format=False)
    for to in ("j1", "js", "jk", "jh", "jr"):
        changed(source, to, tmp_path / to)
        assert pydicom.dcmread(tmp_path / to).PhotometricInterpretation == "YBR_FULL"
        assert np.array_equal(decoded(tmp_path / to), full)
    changed(source, IMPLICIT_LITTLE, tmp_path / "ui")
    assert pydicom.dcmread(tmp_path / "ui").PixelData == made.PixelData


def test_noise_in_unused_bits_is_no_part_of_the_pixels(tmp_path: Path) -> None:
    kind = Kind("12 of 16 bits", 12, 16)
    noisy = kind.pixels() | 0xA000
    source = kind.written(tmp_path, PixelData=noisy.tobytes())
    assert np.array_equal(decoded(source), kind.pixels())
    for to in ("j1", "js", "jk", "jh", "jr"):
        changed(source, to, tmp_path / to)
        assert np.array_equal(decoded(tmp_path / to), kind.pixels())


@pytest.mark.parametrize("signed", [False, True])
def test_pixels_that_do_not_begin_at_bit_0_are_moved_there(signed: bool, tmp_path: Path) -> None:
    kind = Kind("12 bits", 12, 16, signed)
    source = kind.written(tmp_path, PixelData=(kind.pixels() << 4).tobytes(), HighBit=15)
    for to in ("j1", "js", "jk", "jh", "jr"):
        changed(source, to, tmp_path / to)
        assert pydicom.dcmread(tmp_path / to).HighBit == 11
        assert np.array_equal(decoded(tmp_path / to), kind.pixels())
