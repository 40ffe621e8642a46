"""Small valid DICOM objects for tests, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

PREFIX = "1.2.826.0.1.3680043.10.1.2."
PRIVATE_CLASS = "1.3.46.670589.11.0.0.12.1"
BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)

_numbers = count(1)


def ds(**keywords: Any) -> Dataset:
    """A small CT object; `keywords` are elements to set (None deletes). UIDs are fresh unless given."""
    number = next(_numbers)
    made = Dataset()
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = generate_uid(PREFIX)
    made.StudyInstanceUID = generate_uid(PREFIX)
    made.SeriesInstanceUID = generate_uid(PREFIX)
    made.PatientID = f"P{number}"
    made.PatientName = "DOE^JOHN"
    made.PatientBirthDate = "19700101"
    made.PatientSex = "M"
    made.StudyDate = "20260102"
    made.StudyTime = "101500"
    made.StudyID = "1"
    made.AccessionNumber = f"A{number}"
    made.StudyDescription = "THORAX"
    made.Modality = "CT"
    made.SeriesNumber = 1
    made.SeriesDescription = "axial"
    made.InstanceNumber = 1
    for keyword, value in keywords.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    return made


def with_pixels(made: Dataset, rows: int = 16, columns: int = 16, frames: int = 1) -> Dataset:
    """Give an object 12-bit grey pixels that differ from frame to frame."""
    made.Rows, made.Columns = rows, columns
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelRepresentation = 0
    if frames > 1:
        made.NumberOfFrames = frames
    pixels = (np.arange(rows * columns * frames, dtype=np.uint16) * 7) % 4096
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    return made


def encoded(made: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The object as a DICOM Part 10 file, swapping pixel words for big endian (pydicom does not)."""
    copy = deepcopy(made)  # Dataset(made) would share its elements
    if transfer_syntax == ExplicitVRBigEndian and "PixelData" in copy:
        copy.PixelData = np.frombuffer(copy.PixelData, "<u2").astype(">u2").tobytes()
        copy["PixelData"].VR = "OW"
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    copy.file_meta.TransferSyntaxUID = transfer_syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, copy, enforce_file_format=True)
    return buffer.getvalue()


def write(directory: Path, made: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write an object below `directory` under its SOP instance UID."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{made.SOPInstanceUID}.dcm"
    path.write_bytes(encoded(made, transfer_syntax))
    return path


def data_set_bytes(path: Path) -> bytes:
    """The bytes behind the file meta information: what must survive storage and retrieval."""
    raw = path.read_bytes()
    assert raw[128:132] == b"DICM", f"{path} is no Part 10 file"
    length = int.from_bytes(raw[140:144], "little")
    return raw[144 + length :]


def study(patient: str, *, series: int = 2, images: int = 3, **keywords: Any) -> list[Dataset]:
    """The objects of one study."""
    uid = generate_uid(PREFIX)
    made = []
    for number in range(1, series + 1):
        series_uid = generate_uid(PREFIX)
        made += [
            with_pixels(
                ds(
                    PatientID=patient,
                    StudyInstanceUID=uid,
                    SeriesInstanceUID=series_uid,
                    SeriesNumber=number,
                    InstanceNumber=image,
                    **keywords,
                )
            )
            for image in range(1, images + 1)
        ]
    return made


def variety(patient: str) -> Iterator[tuple[Dataset, str]]:
    """One object of each kind a site has, with the transfer syntax to write it in."""
    for syntax in NATIVE:
        yield with_pixels(ds(PatientID=patient)), syntax
        yield with_pixels(ds(PatientID=patient, SOPClassUID=MRImageStorage, Modality="MR")), syntax
    multi = ds(PatientID=patient, SOPClassUID=EnhancedMRImageStorage, Modality="MR")
    yield with_pixels(multi, frames=20), ExplicitVRLittleEndian
    yield _report(patient), ExplicitVRLittleEndian
    yield _structure_set(patient), ImplicitVRLittleEndian
    yield _private(patient), ImplicitVRLittleEndian
    for charset, name in (
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Þórsdóttir^Ægir"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ):
        yield (
            ds(PatientID=f"{patient}-{len(name)}", SpecificCharacterSet=charset, PatientName=name),
            (ExplicitVRLittleEndian),
        )


def _report(patient: str) -> Dataset:
    made = ds(PatientID=patient, SOPClassUID=BASIC_TEXT_SR, Modality="SR")
    item = Dataset()
    item.RelationshipType = "CONTAINS"
    item.ValueType = "TEXT"
    item.TextValue = "Nothing of note."
    made.ValueType = "CONTAINER"
    made.ContinuityOfContent = "SEPARATE"
    made.ContentSequence = Sequence([item])
    return made


def _structure_set(patient: str) -> Dataset:
    made = ds(PatientID=patient, SOPClassUID=RTStructureSetStorage, Modality="RTSTRUCT")
    made.StructureSetLabel = "PTV"
    roi = Dataset()
    roi.ROINumber = 1
    roi.ROIName = "heart"
    made.StructureSetROISequence = Sequence([roi])
    return made


def _private(patient: str) -> Dataset:
    made = ds(PatientID=patient, SOPClassUID=PRIVATE_CLASS, Modality="MR")
    block = made.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x10, "UN", b"\x01\x02\x03\x04")
    return made


def pydicom_files() -> list[Path]:
    """pydicom's own test files in every transfer syntax we are sent, those that its package holds."""
    names = (
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "JPEG-lossy.dcm",
        "SC_rgb_jpeg_gdcm.dcm",
        "image_dfl.dcm",
        "rtdose.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
        "examples_ybr_color.dcm",
        "examples_palette.dcm",
        "liver.dcm",
    )
    found = [get_testdata_file(name, download=False) for name in names]
    return [Path(str(path)) for path in found if path is not None]
