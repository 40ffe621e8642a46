"""What is kept of each series, by modality: the elements of med-imagetools' crawler under their keywords."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from dgate.crawl.dictionary import ELEMENTS
from storage.header import TagPath


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


BASE = _words(
    """
    PatientID StudyInstanceUID SeriesInstanceUID Modality BodyPartExamined DataCollectionDiameter
    FrameOfReferenceUID NumberOfSlices SliceThickness PatientPosition PixelSpacing ImageOrientationPatient
    ImagePositionPatient SpacingBetweenSlices RescaleType RescaleSlope RescaleIntercept Manufacturer
    ManufacturerModelName DeviceSerialNumber SoftwareVersions InstitutionName StationName ScanType
    ScanProgressionDirection ScanOptions AcquisitionNumber ProtocolName StudyDate StudyTime SeriesDate
    SeriesTime ContentDate ContentTime AcquisitionDate AcquisitionTime InstanceCreationDate
    InstanceCreationTime
    """
)

# Every modality that is not here has the base elements alone.
MODALITY: Mapping[str, tuple[str, ...]] = {
    "CT": _words(
        """
        ContrastFlowDuration ContrastFlowRate ContrastBolusAgent ContrastBolusVolume
        ContrastBolusStartTime ContrastBolusStopTime ContrastBolusIngredient
        ContrastBolusIngredientConcentration KVP XRayTubeCurrent ExposureTime Exposure
        ExposureModulationType CTDIvol ReconstructionAlgorithm ReconstructionDiameter
        ReconstructionMethod ReconstructionTargetCenterPatient ReconstructionFieldOfView
        ConvolutionKernel SpiralPitchFactor SingleCollimationWidth TotalCollimationWidth TableSpeed
        TableMotion GantryDetectorTilt DetectorType DetectorConfiguration DataCollectionCenterPatient
        """
    ),
    "MR": _words(
        """
        MagneticFieldStrength ImagingFrequency TransmitCoilName SequenceName ScanningSequence
        SequenceVariant AcquisitionContrast AcquisitionType EchoTime RepetitionTime InversionTime
        EchoTrainLength NumberOfAverages FlipAngle PercentSampling PercentPhaseFieldOfView
        PixelBandwidth SpacingBetweenSlices DiffusionGradientDirectionSequence DiffusionBMatrixSequence
        ParallelAcquisitionTechnique ParallelReductionFactorInPlane ParallelReductionFactorOutOfPlane
        NumberOfTemporalPositions TemporalResolution FrameReferenceTime
        """
    ),
    "PT": _words(
        """
        Radiopharmaceutical RadiopharmaceuticalStartTime RadionuclideTotalDose RadionuclideHalfLife
        RadionuclidePositronFraction RadiopharmaceuticalVolume RadiopharmaceuticalSpecificActivity
        RadiopharmaceuticalStartDateTime RadiopharmaceuticalStopDateTime RadiopharmaceuticalRoute
        RadiopharmaceuticalCodeSequence DecayCorrection DecayFactor AttenuationCorrectionMethod
        ScatterCorrectionMethod DecayCorrected DeadTimeCorrectionFlag ReconstructionMethod SUVType
        FrameReferenceTime FrameTime ActualFrameDuration AcquisitionStartCondition
        AcquisitionTerminationCondition TimeSliceVector DetectorType CoincidenceWindowWidth
        EnergyWindowLowerLimit EnergyWindowUpperLimit
        """
    ),
    "SEG": ("SegmentationType", "SegmentationFractionalType", "MaximumFractionalValue"),
    "RTSTRUCT": ("StructureSetLabel", "StructureSetName", "StructureSetDate", "StructureSetTime"),
    "RTDOSE": ("DoseType", "DoseUnits", "DoseSummationType", "DoseGridScaling"),
    "RTPLAN": ("RTPlanLabel", "RTPlanName", "RTPlanDate", "RTPlanTime"),
    "SR": ("SeriesDescription",),
}

# Where conformant PET objects have what the table asks of the top level (PS3.3 C.8.9.2).
RADIOPHARMACEUTICALS = "RadiopharmaceuticalInformationSequence"

# Where structure sets and reports name series.
RT_SERIES = "ReferencedFrameOfReferenceSequence.RTReferencedStudySequence.RTReferencedSeriesSequence"
EVIDENCE = "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence"

# Sequences that computed fields are made of; each path goes through all items.
COMPUTED_FROM: Mapping[str, tuple[str, ...]] = {
    "SEG": (
        "SegmentSequence.SegmentLabel",
        "SegmentSequence.SegmentDescription",
        "SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing",
        "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SpacingBetweenSlices",
        "SharedFunctionalGroupsSequence.PixelMeasuresSequence.SliceThickness",
        "SharedFunctionalGroupsSequence.PlaneOrientationSequence.ImageOrientationPatient",
        "SharedFunctionalGroupsSequence.DerivationImageSequence.SourceImageSequence.ReferencedSOPInstanceUID",
        "PerFrameFunctionalGroupsSequence.DerivationImageSequence.SourceImageSequence.ReferencedSOPInstanceUID",
        "ReferencedSeriesSequence.SeriesInstanceUID",
        "ReferencedSeriesSequence.ReferencedInstanceSequence.ReferencedSOPInstanceUID",
        "SourceImageSequence.ReferencedSOPInstanceUID",
    ),
    "RTSTRUCT": (
        "StructureSetROISequence.ROIName",
        f"{RT_SERIES}.SeriesInstanceUID",
        f"{RT_SERIES}.ContourImageSequence.ReferencedSOPInstanceUID",
        "ROIContourSequence.ContourSequence.ContourImageSequence.ReferencedSOPInstanceUID",
    ),
    "RTDOSE": (
        "ReferencedImageSequence.ReferencedSOPInstanceUID",
        "ReferencedStructureSetSequence.ReferencedSOPInstanceUID",
        "ReferencedRTPlanSequence.ReferencedSOPInstanceUID",
    ),
    "RTPLAN": ("ReferencedStructureSetSequence.ReferencedSOPInstanceUID",),
    "SR": (
        f"{EVIDENCE}.SeriesInstanceUID",
        f"{EVIDENCE}.ReferencedSOPSequence.ReferencedSOPInstanceUID",
    ),
}


def tag(keyword: str) -> int:
    """The tag of a keyword of the table; KeyError for any other word."""
    return ELEMENTS[keyword][0]


def vr(keyword: str) -> str:
    """The VR of a keyword of the table."""
    return ELEMENTS[keyword][1]


@cache
def path(keywords: str) -> TagPath:
    """The tags of keywords that are joined by dots."""
    return tuple(tag(keyword) for keyword in keywords.split("."))


@cache
def keywords_of(modality: str) -> tuple[str, ...]:
    """The elements that are kept of a series of that modality, sorted."""
    return tuple(sorted({*BASE, *MODALITY.get(modality, ())}))


@cache
def wanted_of(modality: str) -> frozenset[TagPath]:
    """What has to be read of an object of that modality."""
    wanted: set[TagPath] = {(tag(keyword),) for keyword in keywords_of(modality)}
    wanted |= {path(keywords) for keywords in COMPUTED_FROM.get(modality, ())}
    if modality == "PT":
        wanted |= {(tag(RADIOPHARMACEUTICALS), tag(keyword)) for keyword in MODALITY["PT"]}
    return frozenset(wanted)
