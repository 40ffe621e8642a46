"""Tag and VR of the elements that a crawl asks for.

They are those of pydicom's dictionary, which a test compares; loading that takes longer than reading a small tree.
"""

from __future__ import annotations

from collections.abc import Mapping


def _parsed(text: str) -> Mapping[str, tuple[int, str]]:
    rows = (row.split() for row in text.split(";") if row.strip())
    return {keyword: (int(number, 16), vr) for keyword, number, vr in rows}


# Keyword, tag and VR of each.
ELEMENTS = _parsed(
    """
    InstanceCreationDate 00080012 DA; InstanceCreationTime 00080013 TM; SOPInstanceUID 00080018 UI;
    StudyDate 00080020 DA; SeriesDate 00080021 DA; AcquisitionDate 00080022 DA; ContentDate 00080023 DA;
    StudyTime 00080030 TM; SeriesTime 00080031 TM; AcquisitionTime 00080032 TM; ContentTime 00080033 TM;
    Modality 00080060 CS; Manufacturer 00080070 LO; InstitutionName 00080080 LO; StationName 00081010 SH;
    SeriesDescription 0008103E LO; ManufacturerModelName 00081090 LO; ReferencedSeriesSequence 00081115 SQ;
    ReferencedImageSequence 00081140 SQ; ReferencedInstanceSequence 0008114A SQ;
    ReferencedSOPInstanceUID 00081155 UI; ReferencedSOPSequence 00081199 SQ; SourceImageSequence 00082112 SQ;
    DerivationImageSequence 00089124 SQ; AcquisitionContrast 00089209 CS; PatientID 00100020 LO;
    ContrastBolusAgent 00180010 LO; BodyPartExamined 00180015 CS; ScanningSequence 00180020 CS;
    SequenceVariant 00180021 CS; ScanOptions 00180022 CS; SequenceName 00180024 SH;
    Radiopharmaceutical 00180031 LO; SliceThickness 00180050 DS; KVP 00180060 DS;
    AcquisitionTerminationCondition 00180071 CS; AcquisitionStartCondition 00180073 CS;
    RepetitionTime 00180080 DS; EchoTime 00180081 DS; InversionTime 00180082 DS; NumberOfAverages 00180083 DS;
    ImagingFrequency 00180084 DS; MagneticFieldStrength 00180087 DS; SpacingBetweenSlices 00180088 DS;
    DataCollectionDiameter 00180090 DS; EchoTrainLength 00180091 IS; PercentSampling 00180093 DS;
    PercentPhaseFieldOfView 00180094 DS; PixelBandwidth 00180095 DS; DeviceSerialNumber 00181000 LO;
    SoftwareVersions 00181020 LO; ProtocolName 00181030 LO; ContrastBolusVolume 00181041 DS;
    ContrastBolusStartTime 00181042 TM; ContrastBolusStopTime 00181043 TM; ContrastFlowRate 00181046 DS;
    ContrastFlowDuration 00181047 DS; ContrastBolusIngredient 00181048 CS;
    ContrastBolusIngredientConcentration 00181049 DS; FrameTime 00181063 DS; RadiopharmaceuticalRoute 00181070 LO;
    RadiopharmaceuticalVolume 00181071 DS; RadiopharmaceuticalStartTime 00181072 TM;
    RadionuclideTotalDose 00181074 DS; RadionuclideHalfLife 00181075 DS; RadionuclidePositronFraction 00181076 DS;
    RadiopharmaceuticalSpecificActivity 00181077 DS; RadiopharmaceuticalStartDateTime 00181078 DT;
    RadiopharmaceuticalStopDateTime 00181079 DT; ReconstructionDiameter 00181100 DS;
    GantryDetectorTilt 00181120 DS; TableMotion 00181134 CS; ExposureTime 00181150 IS;
    XRayTubeCurrent 00181151 IS; Exposure 00181152 IS; ConvolutionKernel 00181210 SH;
    ActualFrameDuration 00181242 IS; TransmitCoilName 00181251 SH; FlipAngle 00181314 DS;
    PatientPosition 00185100 CS; DetectorType 00187004 CS; DetectorConfiguration 00187005 CS;
    ParallelReductionFactorInPlane 00189069 FD; DiffusionGradientDirectionSequence 00189076 SQ;
    ParallelAcquisitionTechnique 00189078 CS; ParallelReductionFactorOutOfPlane 00189155 FD;
    AcquisitionType 00189302 CS; SingleCollimationWidth 00189306 FD; TotalCollimationWidth 00189307 FD;
    TableSpeed 00189309 FD; SpiralPitchFactor 00189311 FD; DataCollectionCenterPatient 00189313 FD;
    ReconstructionAlgorithm 00189315 CS; ReconstructionFieldOfView 00189317 FD;
    ReconstructionTargetCenterPatient 00189318 FD; ExposureModulationType 00189323 CS; CTDIvol 00189345 FD;
    DiffusionBMatrixSequence 00189601 SQ; DecayCorrected 00189758 CS; StudyInstanceUID 0020000D UI;
    SeriesInstanceUID 0020000E UI; AcquisitionNumber 00200012 IS; ImagePositionPatient 00200032 DS;
    ImageOrientationPatient 00200037 DS; FrameOfReferenceUID 00200052 UI; NumberOfTemporalPositions 00200105 IS;
    TemporalResolution 00200110 DS; PlaneOrientationSequence 00209116 SQ; PixelSpacing 00280030 DS;
    RescaleIntercept 00281052 DS; RescaleSlope 00281053 DS; RescaleType 00281054 LO;
    PixelMeasuresSequence 00289110 SQ; CurrentRequestedProcedureEvidenceSequence 0040A375 SQ;
    EnergyWindowLowerLimit 00540014 DS; EnergyWindowUpperLimit 00540015 DS;
    RadiopharmaceuticalInformationSequence 00540016 SQ; NumberOfSlices 00540081 US; TimeSliceVector 00540100 US;
    RadiopharmaceuticalCodeSequence 00540304 SQ; ScanProgressionDirection 00540501 CS; SUVType 00541006 CS;
    AttenuationCorrectionMethod 00541101 LO; DecayCorrection 00541102 CS; ReconstructionMethod 00541103 LO;
    ScatterCorrectionMethod 00541105 LO; CoincidenceWindowWidth 00541210 DS; FrameReferenceTime 00541300 DS;
    DecayFactor 00541321 DS; DeadTimeCorrectionFlag 00541401 CS; SegmentationType 00620001 CS;
    SegmentSequence 00620002 SQ; SegmentLabel 00620005 LO; SegmentDescription 00620006 ST;
    MaximumFractionalValue 0062000E US; SegmentationFractionalType 00620010 CS; DoseUnits 30040002 CS;
    DoseType 30040004 CS; DoseSummationType 3004000A CS; DoseGridScaling 3004000E DS;
    StructureSetLabel 30060002 SH; StructureSetName 30060004 LO; StructureSetDate 30060008 DA;
    StructureSetTime 30060009 TM; ReferencedFrameOfReferenceSequence 30060010 SQ;
    RTReferencedStudySequence 30060012 SQ; RTReferencedSeriesSequence 30060014 SQ;
    ContourImageSequence 30060016 SQ; StructureSetROISequence 30060020 SQ; ROIName 30060026 LO;
    ROIContourSequence 30060039 SQ; ContourSequence 30060040 SQ; RTPlanLabel 300A0002 SH; RTPlanName 300A0003 LO;
    RTPlanDate 300A0006 DA; RTPlanTime 300A0007 TM; ReferencedRTPlanSequence 300C0002 SQ;
    ReferencedStructureSetSequence 300C0060 SQ; ScanType 40101048 CS; SharedFunctionalGroupsSequence 52009229 SQ;
    PerFrameFunctionalGroupsSequence 52009230 SQ;
    """
)
