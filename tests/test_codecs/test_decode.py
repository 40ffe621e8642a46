"""Streams that others wrote: what DCMTK, GDCM and the world's scanners make, read as they read it themselves."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import get_decoder

from storage.codecs.frames import decode_frames
from storage.codecs.pixels import PixelFormat
from storage.errors import CodecFailed, NotConvertible
from tests.objects import pydicom_files
from tests.peers import needs
from tests.test_codecs.images import CT, EVERY, JPEG, RGB, Kind, by_program, decoded, names

EIGHT = Kind("8 bits", rows=96, columns=120)
COLOUR = replace(RGB, rows=96, columns=120)
# DCMTK 3.6 mixes up the planes of several frames, as its own decoder shows; GDCM 3.0 stumbles over odd sizes.
FOR_DCMTK = tuple(kind for kind in EVERY if not kind.planar and kind.name not in ("RGB of 16 bits", "one pixel"))
FOR_GDCM = tuple(
    replace(kind, rows=40, columns=60)
    for kind in EVERY
    if kind.photometric != "YBR_FULL" and not kind.planar and kind.name != "RGB of 16 bits"
)

needs_dcmtk = needs("dcmcjpeg", "dcmtk")
needs_gdcm = needs("gdcmconv", "libgdcm-tools")


def made_by(command: list[str], source: Path, out: Path) -> str:
    """Have a program encode an object; its transfer syntax."""
    ran = subprocess.run([*command, str(source), str(out)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
    return str(pydicom.dcmread(out, stop_before_pixels=True).file_meta.TransferSyntaxUID)


@needs_dcmtk
@pytest.mark.parametrize("kind", FOR_DCMTK, ids=names(FOR_DCMTK))
@pytest.mark.parametrize(
    ("command", "number"),
    [
        (["dcmcjpeg", "+e1"], "70"),
        *((["dcmcjpeg", "+el", "+sv", str(selection)], "57") for selection in range(1, 8)),
        (["dcmcjpls", "+el"], "80"),
        (["dcmcrle"], ""),
    ],
)
def test_what_dcmtk_encodes_without_loss(command: list[str], number: str, kind: Kind, tmp_path: Path) -> None:
    syntax = made_by(command, kind.written(tmp_path), tmp_path / "out")
    assert syntax == (JPEG + number if number else "1.2.840.10008.1.2.5")
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels())


@needs_dcmtk
@pytest.mark.parametrize("kind", [EIGHT, CT, COLOUR], ids=names((EIGHT, CT, COLOUR)))
@pytest.mark.parametrize(
    ("option", "number"), [("+eb", "50"), ("+ee", "51"), ("+es", "53"), ("+ep", "55")]
)  # baseline, extended, spectral selection, progressive
def test_what_dcmtk_encodes_with_loss(option: str, number: str, kind: Kind, tmp_path: Path) -> None:
    assert made_by(["dcmcjpeg", option], kind.written(tmp_path), tmp_path / "out") == JPEG + number
    theirs = by_program(["dcmdjpeg", "+cp"], tmp_path / "out", tmp_path / "read")
    # Inverse transforms and the spreading of colour may round differently.
    assert np.abs(theirs - decoded(tmp_path / "out").astype(np.int64)).max() <= (4 if kind is COLOUR else 1)


@needs_dcmtk
@pytest.mark.parametrize("kind", [EIGHT, CT, COLOUR], ids=names((EIGHT, CT, COLOUR)))
def test_what_dcmtk_encodes_nearly_without_loss(kind: Kind, tmp_path: Path) -> None:
    assert made_by(["dcmcjpls", "+en", "+md", "3"], kind.written(tmp_path), tmp_path / "out") == JPEG + "81"
    assert np.array_equal(by_program(["dcmdjpls"], tmp_path / "out", tmp_path / "read"), decoded(tmp_path / "out"))


@needs_gdcm
@pytest.mark.parametrize("kind", FOR_GDCM, ids=names(FOR_GDCM))
@pytest.mark.parametrize(("option", "number"), [("--jpeg", "70"), ("--jpegls", "80"), ("--j2k", "90"), ("--rle", "")])
def test_what_gdcm_encodes_without_loss(option: str, number: str, kind: Kind, tmp_path: Path) -> None:
    syntax = made_by(["gdcmconv", option], kind.written(tmp_path), tmp_path / "out")
    assert syntax == (JPEG + number if number else "1.2.840.10008.1.2.5")
    assert np.array_equal(decoded(tmp_path / "out"), kind.pixels())


@needs_gdcm
def test_what_gdcm_encodes_with_loss(tmp_path: Path) -> None:
    for option, number, kind in (("--jpeg", "50", EIGHT), ("--j2k", "91", CT)):
        out = tmp_path / number
        assert made_by(["gdcmconv", option, "--lossy"], kind.written(tmp_path), out) == JPEG + number
        theirs = by_program(["gdcmconv", "--raw"], out, tmp_path / "read")
        assert np.abs(theirs - decoded(out).astype(np.int64)).max() <= 1


def test_pydicoms_own_files() -> None:
    seen = 0
    for path in pydicom_files():
        made = pydicom.dcmread(path)
        if "PixelData" not in made:
            with pytest.raises(NotConvertible, match="no pixel data"):
                list(decode_frames(path))
            continue
        decoder = get_decoder(made.file_meta.TransferSyntaxUID)
        if not decoder.is_available or made.file_meta.TransferSyntaxUID in (JPEG + "51", JPEG + "70"):
            assert decoded(path).shape[1:3] == (made.Rows, made.Columns)
            continue
        ours = decoded(path)
        theirs, _ = decoder.as_array(made, as_rgb=True)
        assert np.array_equal(ours, theirs.reshape(ours.shape)), path.name
        seen += 1
    assert seen >= 9


def test_a_stream_that_claims_more_than_the_object_is_not_decoded() -> None:
    path = get_testdata_file("JPEG2000-embedded-sequence-delimiter.dcm", download=False)
    if path is None:
        pytest.skip("pydicom's package does not hold JPEG2000-embedded-sequence-delimiter.dcm")
    with pytest.raises(CodecFailed, match=r"^a stream holds 3722445056 x 1024 pixels, the object says 256 x 1024$"):
        list(decode_frames(Path(str(path))))


def test_a_frame_says_what_it_is(tmp_path: Path) -> None:
    kind = replace(COLOUR, planar=1)
    frame = next(iter(decode_frames(kind.written(tmp_path), [1])))
    assert frame.number == 1
    assert frame.format == PixelFormat(
        rows=96, columns=120, frames=2, samples=3, photometric="RGB", planar=0,
        bits_allocated=8, bits_stored=8, high_bit=7, signed=False,
    )  # fmt: skip
    assert np.array_equal(frame.pixels, kind.pixels()[1])


@pytest.mark.parametrize("syntax", [JPEG + "100", JPEG + "102", JPEG + "94", "1.2.3.4"])
def test_video_and_the_unknown_have_no_codec(syntax: str, tmp_path: Path) -> None:
    made = CT.made()
    made.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\4\0\0\0abcd\xfe\xff\xdd\xe0\0\0\0\0"
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.save_as(tmp_path / "out", enforce_file_format=False, implicit_vr=False, little_endian=True)
    with pytest.raises(NotConvertible, match=f"^there is no codec for transfer syntax {syntax}$"):
        list(decode_frames(tmp_path / "out"))


def test_big_endian_pixels_of_old_ge_stations_are_read(tmp_path: Path) -> None:
    made = CT.made()
    made.PixelData = CT.pixels().astype(">u2").tobytes()
    made["PixelData"].VR = "OW"
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = "1.2.840.113619.5.2"
    made.save_as(tmp_path / "out", enforce_file_format=False, implicit_vr=True, little_endian=True)
    assert np.array_equal(decoded(tmp_path / "out"), CT.pixels())
