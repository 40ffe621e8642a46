"""A tree with every modality that the crawler knows, the same at every call, and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tests.objects import ds, encoded

ROOT_UID = "1.2.826.0.1.3680043.10.9999.1"
STUDY = ROOT_UID
FRAME = f"{ROOT_UID}.900"
CT = f"{ROOT_UID}.1"
OTHER_CT = f"{ROOT_UID}.2"

_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4", "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2", "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
    "SR": "1.2.840.10008.5.1.4.1.1.88.11", "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "ECG": "1.2.840.10008.5.1.4.1.1.9.1.1", "RTIMAGE": "1.2.840.10008.5.1.4.1.1.481.1",
    "REG": "1.2.840.10008.5.1.4.1.1.66.1",
}  # fmt: skip


def uid(number: int | str) -> str:
    """The series of that number."""
    return f"{ROOT_UID}.{number}"


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def instance(modality: str, series: int | str, number: int = 1, **elements: Any) -> Dataset:
    """One object, without the elements that are None; its SOP instance UID is that of its series with its number."""
    values: dict[str, Any] = {
        "SOPClassUID": _CLASSES[modality], "SOPInstanceUID": f"{uid(series)}.{number}", "PatientID": "P01",
        "SeriesInstanceUID": uid(series), "StudyInstanceUID": STUDY,
        "Modality": modality, "InstanceNumber": number, "FrameOfReferenceUID": FRAME, "AccessionNumber": "A1",
        **elements,
    }  # fmt: skip
    made = ds(**{keyword: value for keyword, value in values.items() if value is not None})
    for keyword, value in values.items():
        if value is None and keyword in made:
            delattr(made, keyword)
    return made


def sops(series: int | str, count: int = 3) -> list[Dataset]:
    """Items that refer to the first instances of a series."""
    return [
        item(ReferencedSOPClassUID=_CLASSES["CT"], ReferencedSOPInstanceUID=f"{uid(series)}.{number}")
        for number in range(1, count + 1)
    ]


def put(path: Path, made: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write an object to a file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(made, transfer_syntax))
    return path


def ct(series: int | str, number: int = 1, **elements: Any) -> Dataset:
    """A CT image with everything that real ones have, some of it odd."""
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "PixelSpacing": ["0.661468", "0.661468"],
        "SliceThickness": "5.000000", "ImagePositionPatient": ["-165.5", "0", str(number)],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"], "RescaleSlope": "1", "RescaleIntercept": "-1024",
        "RescaleType": "HU", "KVP": "120", "XRayTubeCurrent": "200", "ExposureTime": None, "CTDIvol": 12.5,
        "SpiralPitchFactor": 1.0, "TableSpeed": 46.875, "ReconstructionTargetCenterPatient": [0.0, -150.25, 3.0],
        "ConvolutionKernel": ["Br38f", "3"], "ScanOptions": ["HELICAL MODE", "X"], "BodyPartExamined": "CHEST",
        "Manufacturer": "Werk \"München\", AG", "SpecificCharacterSet": "ISO_IR 100", "SoftwareVersions": ["1", "2 "],
        "ContentTime": "101501.123456", "AcquisitionNumber": "1", "SeriesDate": "20260102",
        "DistanceSourceToPatient": "", "GantryDetectorTilt": "", "StationName": "", "ContrastBolusAgent": "O'Agent",
        "ContrastBolusVolume": "", "DataCollectionDiameter": "500.000000",
    }  # fmt: skip
    return instance("CT", series, number, **{**values, **elements})


def mr(series: int | str, **elements: Any) -> Dataset:
    """An MR image, whose diffusion sequences are shown as text."""
    gradient = item(DiffusionGradientOrientation=[0.5, 0.25, -0.125])
    matrix = item(DiffusionBValueXX=1000.0, DiffusionBValueXY=0.0)
    values = {
        "MagneticFieldStrength": "3", "EchoTime": "2.46", "FlipAngle": "9", "ScanningSequence": ["GR", "IR"],
        "DiffusionGradientDirectionSequence": [gradient, gradient], "DiffusionBMatrixSequence": [matrix],
        "ParallelReductionFactorInPlane": 2.0, "AcquisitionNumber": None, "FrameOfReferenceUID": None,
    }  # fmt: skip
    return instance("MR", series, **{**values, **elements})


def pt(series: int | str, number: int = 1, **elements: Any) -> Dataset:
    """A PET image as scanners wrote them before the radiopharmaceutical had a sequence of its own."""
    values = {"Radiopharmaceutical": "FDG", "RadionuclideTotalDose": "3.7e8", "DecayFactor": "1.0123", "SUVType": "BW",
              "TimeSliceVector": [1, 2], "NumberOfSlices": 90, "ActualFrameDuration": "120000"}  # fmt: skip
    return instance("PT", series, number, **{**values, **elements})


def conformant_pt(series: int | str, **elements: Any) -> Dataset:
    """A PET image as PS3.3 has it."""
    code = item(CodeValue="C-B1031", CodingSchemeDesignator="SRT", CodeMeaning="Fluorodeoxyglucose F^18^")
    information = item(Radiopharmaceutical="FDG", RadionuclideTotalDose="3.7e8", RadiopharmaceuticalCodeSequence=[code])
    return instance("PT", series, RadiopharmaceuticalInformationSequence=[information], **elements)


def structure_set(series: int | str, study: Sequence[Dataset] | None = None, contours: int = 0, **more: Any) -> Dataset:
    """A structure set: `study` are the items of RTReferencedStudySequence, `contours` how many images it draws on."""
    elements: dict[str, Any] = {
        "StructureSetLabel": "SS1",
        "StructureSetROISequence": [item(ROINumber="1", ROIName="GTV"), item(ROINumber="2", ROIName="Lung_L")],
        **more,
    }
    if study is not None:
        frame = item(FrameOfReferenceUID=FRAME, RTReferencedStudySequence=list(study))
        elements["ReferencedFrameOfReferenceSequence"] = [frame]
    if contours:
        drawn = [item(ContourImageSequence=[image], NumberOfContourPoints="1") for image in sops(1, contours)]
        elements["ROIContourSequence"] = [item(ReferencedROINumber="1", ContourSequence=drawn)]
    return instance("RTSTRUCT", series, **elements)


def by_series(series: int | str | None, images: int = 0) -> list[Dataset]:
    """The study of a structure set that names a series, or (None) only images."""
    inner = {} if series is None else {"SeriesInstanceUID": uid(series)}
    if images:
        return [item(RTReferencedSeriesSequence=[item(ContourImageSequence=sops(1, images), **inner)])]
    return [item(RTReferencedSeriesSequence=[item(**inner)])]


def refers(series: int | str, number: int = 1) -> list[Dataset]:
    """The sequence with one item that refers to an instance."""
    return sops(series, number)[-1:]


def segmentation(series: int | str, **elements: Any) -> Dataset:
    measures = item(PixelSpacing=["0.5", "0.5"], SliceThickness="2.5")
    orientation = item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    segments = [item(SegmentNumber=1, SegmentLabel="Tumour", SegmentDescription="left"), item(SegmentNumber=2)]
    values = {"SegmentationType": "BINARY", "SharedFunctionalGroupsSequence": [shared], "SegmentSequence": segments}
    return instance("SEG", series, **{**values, **elements})


def of_series(series: int | str, count: int = 2) -> Dataset:
    """An item of ReferencedSeriesSequence."""
    return item(SeriesInstanceUID=uid(series), ReferencedInstanceSequence=sops(series, count))


def report(series: int | str, *referred: int | str) -> Dataset:
    named = [item(SeriesInstanceUID=uid(one), ReferencedSOPSequence=sops(one, 1)) for one in referred]
    evidence = [item(StudyInstanceUID=STUDY, ReferencedSeriesSequence=named)]
    return instance("SR", series, SeriesDescription="Findings", CurrentRequestedProcedureEvidenceSequence=evidence)


def plan(series: int | str, structures: int | str, **more: Any) -> Dataset:
    values = {"RTPlanLabel": "Plan 1", "RTPlanDate": "20260103", "ReferencedStructureSetSequence": refers(structures)}
    return instance("RTPLAN", series, **{**values, **more})


def dose(series: int | str, **references: Any) -> Dataset:
    return instance("RTDOSE", series, DoseType="PHYSICAL", DoseUnits="GY", DoseGridScaling="1.5e-05", **references)


def parts() -> list[tuple[str, Dataset, str]]:
    """Every file of the tree: path below the root, object, transfer syntax."""
    explicit, implicit = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
    found = [(f"P01/CT_001/{number}.dcm", ct(1, number), explicit) for number in (1, 2, 3)]
    for number, acquisition in enumerate(("45", "45", "44", "4", None, "0"), 1):
        found.append(
            (
                f"P01/CT_002/{number}.dcm",
                ct(2, number, AcquisitionNumber=acquisition, FrameOfReferenceUID="1.9"),
                implicit,
            )
        )
    odd = {"PatientID": '0 "7", x', "StudyInstanceUID": uid("9.9"), "FrameOfReferenceUID": "1"}
    nowhere = {"FrameOfReferenceUID": None}
    found += [
        ("P01/MR/image.DCM", mr(3), explicit),
        ("P01/MR/implicit.dcm", mr(4, EchoTime="", AcquisitionNumber=""), implicit),
        ("P01/PT_601/1.dcm", pt(601, 1), explicit),
        ("P01/PT_601/2.dcm", pt(601, 2), explicit),
        ("P01/RTSTRUCT_1/rs.dcm", structure_set(201, by_series(1)), explicit),
        ("P01/RTSTRUCT_9/elsewhere.dcm", structure_set(209, by_series(77)), explicit),
        ("P01/RTSTRUCT_8/bare.dcm", structure_set(208, StructureSetROISequence=None), implicit),
        ("P01/RTPLAN_1/rp.dcm", plan(301, 201), explicit),
        ("P01/RTPLAN_2/lost.dcm", plan(302, 999), explicit),
        ("P01/RTDOSE_4/series.dcm", dose(404, ReferencedImageSequence=[item(ReferencedSOPInstanceUID=CT)]), explicit),
        ("P01/RTDOSE_5/nothing.dcm", dose(405), implicit),
        ("P01/SEG_1/seg.dcm", segmentation(501, ReferencedSeriesSequence=[of_series(1)]), explicit),
        ("P01/SEG_2/old.dcm", segmentation(502, SourceImageSequence=sops(1, 2)), explicit),
        ("P01/SEG_3/plain.dcm", segmentation(503, SharedFunctionalGroupsSequence=None), explicit),
        ("P01/SR_1/sr.dcm", report(701, 1), explicit),
        ("P01/SR_2/sr.dcm", report(702, 1, 77), explicit),
        ("P01/SR_3/none.dcm", instance("SR", 703), explicit),
        ("P01/others/us.dcm", instance("US", 801), explicit),
        ("P01/others/ecg.dcm", instance("ECG", 802), explicit),
        ("P01/others/rtimage.dcm", instance("RTIMAGE", 803), explicit),
        ("P01/others/reg.dcm", instance("REG", 804), explicit),
        ("odd, name/CT/1.dcm", ct(9, **odd), explicit),
        ("odd, name/CT/2.dcm", ct(9, 2, **odd), implicit),
        ("007/.hidden.dcm", instance("CT", 10, PatientID="007", AcquisitionNumber="1", **nowhere), explicit),
        ("none/nobody.dcm", instance("CT", 11, PatientID=None, FrameOfReferenceUID=""), explicit),
    ]  # fmt: skip
    return found


def build(root: Path, *, reverse: bool = False) -> Path:
    """Write the tree, in one order or the other; files beside it that are no part of it as well."""
    everything = parts()
    for name, made, transfer_syntax in reversed(everything) if reverse else everything:
        put(root / name, made, transfer_syntax)
    put(root / "P01" / "without-extension", instance("CT", 12))
    return root
