"""Objects in compressed forms for the conformance tests, what other people make of them, and what is left of work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from storage.transcode import Wanted, transcode
from storage.transfer import DEFLATED, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.conformance.conftest import Archive
from tests.peers import dcmtk
from tests.test_codecs.images import JPEG, Array, Kind, by_program, decoded, native

GREY = Kind("8 bits", rows=96, columns=120)
SV1, LOSSLESS, BASELINE, EXTENDED = JPEG + "70", JPEG + "57", JPEG + "50", JPEG + "51"
PROGRESSIVE, LS, NEAR, J2K, J2K_LOSSY, HTJ2K = (JPEG + end for end in ("55", "80", "81", "90", "91", "201"))
RLE = "1.2.840.10008.1.2.5"

DECODERS = {SV1: "dcmdjpeg", LOSSLESS: "dcmdjpeg", LS: "dcmdjpls", RLE: "dcmdrle"}


def seen(path: Path, out: Path) -> Array:
    """The pixels as somebody else decodes them, where there is somebody."""
    syntax = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
    if syntax in DECODERS:
        return by_program([DECODERS[syntax]], path, out)
    if syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED):
        return native(pydicom.dcmread(path))
    if syntax in (J2K, J2K_LOSSY):
        made = pydicom.dcmread(path)
        return np.asarray(made.pixel_array).reshape(1, made.Rows, made.Columns, -1)
    return decoded(path)


def off(pixels: Array, kind: Kind) -> float:
    """How far pixels are from those of a kind: the root of the mean square, as a part of the range."""
    return float(np.sqrt(np.mean((pixels.astype(np.float64) - kind.pixels()) ** 2))) / (1 << kind.bits)


def syntax_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)


def made_in(directory: Path, kind: Kind, code: str = "", **keywords: object) -> Path:
    """A file with an image of a kind, under a code."""
    path = kind.written(directory, **keywords)
    if code:
        done = transcode(path, Wanted(code, meta=True), path.with_suffix(".made"))
        assert done.changed, done.reason
        path.with_suffix(".made").replace(path)
    return path


def moved(archive: Archive, kind: str, code: str = "", to: str = "STORESCP") -> tuple[int, str]:
    """Have a study moved to a destination; exit code and output of movescu."""
    called = f"SRV~{code}" if code else "SRV"
    keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000d={kind}")
    ran = dcmtk("movescu", "-v", "-S", "-aec", called, "-aem", to, *keys, "localhost", archive.port)
    return ran.code, ran.output


def working(directory: Path) -> list[Path]:
    """What is left of files that were worked on."""
    found = [*(directory / "MAG0" / "printer_files").iterdir()]
    return [path for path in found if path.suffix in (".work", ".part")]
