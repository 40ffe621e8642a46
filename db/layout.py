"""The built-in dicom.sql: ConQuest's database layout, revision 19."""

DEFAULT_LAYOUT = """\
/*
   DICOM database layout, revision 19.

   Each entry: group, element, column name, length, SQL type, DICOM type (and, in
   *WorkList*, the HL7 field that fills it). The first entry of a table is its key, the
   last one the link to the table above. After a change the database must be made anew: dgate -r
*/

*Patient*
{
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0030, "PatientBirthDate", 8, SQL_C_DATE, DT_DATE },
    { 0x0010, 0x0040, "PatientSex", 16, SQL_C_CHAR, DT_STR },
}

*Study*
{
    { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0008, 0x0020, "StudyDate", 8, SQL_C_DATE, DT_DATE },
    { 0x0008, 0x0030, "StudyTime", 16, SQL_C_CHAR, DT_TIME },
    { 0x0020, 0x0010, "StudyID", 16, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x1030, "StudyDescription", 64, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0050, "AccessionNumber", 16, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0090, "ReferPhysician", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x1010, "PatientsAge", 16, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x1030, "PatientsWeight", 16, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0061, "StudyModality", 64, SQL_C_CHAR, DT_MSTR },
    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0030, "PatientBirthDate", 8, SQL_C_DATE, DT_DATE },
    { 0x0010, 0x0040, "PatientSex", 16, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR },
}

*Series*
{
    { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0020, 0x0011, "SeriesNumber", 12, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0021, "SeriesDate", 8, SQL_C_DATE, DT_DATE },
    { 0x0008, 0x0031, "SeriesTime", 16, SQL_C_CHAR, DT_TIME },
    { 0x0008, 0x103e, "SeriesDescription", 64, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0060, "Modality", 16, SQL_C_CHAR, DT_STR },
    { 0x0018, 0x5100, "PatientPosition", 16, SQL_C_CHAR, DT_STR },
    { 0x0018, 0x0010, "ContrastBolusAgent", 64, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0070, "Manufacturer", 64, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x1090, "ModelName", 64, SQL_C_CHAR, DT_STR },
    { 0x0018, 0x0015, "BodyPartExamined", 64, SQL_C_CHAR, DT_STR },
    { 0x0018, 0x1030, "ProtocolName", 64, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x1010, "StationName", 16, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0080, "Institution", 64, SQL_C_CHAR, DT_STR },
    { 0x0020, 0x0052, "FrameOfReferenceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0010, 0x0020, "SeriesPat", 64, SQL_C_CHAR, DT_STR },
    { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI },
}

*Image*
{
    { 0x0008, 0x0018, "SOPInstanceUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0008, 0x0016, "SOPClassUID", 64, SQL_C_CHAR, DT_UI },
    { 0x0020, 0x0013, "ImageNumber", 12, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0023, "ImageDate", 8, SQL_C_DATE, DT_DATE },
    { 0x0008, 0x0033, "ImageTime", 16, SQL_C_CHAR, DT_TIME },
    { 0x0018, 0x0086, "EchoNumber", 64, SQL_C_CHAR, DT_MSTR },
    { 0x0028, 0x0008, "NumberOfFrames", 12, SQL_C_CHAR, DT_STR },
    { 0x0008, 0x0022, "AcqDate", 8, SQL_C_DATE, DT_DATE },
    { 0x0008, 0x0032, "AcqTime", 16, SQL_C_CHAR, DT_TIME },
    { 0x0018, 0x1250, "ReceivingCoil", 16, SQL_C_CHAR, DT_STR },
    { 0x0020, 0x0012, "AcqNumber", 12, SQL_C_CHAR, DT_STR },
    { 0x0020, 0x1041, "SliceLocation", 16, SQL_C_CHAR, DT_STR },
    { 0x0028, 0x0002, "SamplesPerPixel", 5, SQL_C_CHAR, DT_UINT16 },
    { 0x0028, 0x0004, "PhotoMetricInterpretation", 16, SQL_C_CHAR, DT_STR },
    { 0x0028, 0x0010, "QRows", 5, SQL_C_CHAR, DT_UINT16 },
    { 0x0028, 0x0011, "QColumns", 5, SQL_C_CHAR, DT_UINT16 },
    { 0x0028, 0x0101, "BitsStored", 5, SQL_C_CHAR, DT_UINT16 },
    { 0x0008, 0x0008, "ImageType", 128, SQL_C_CHAR, DT_MSTR },
    { 0x0054, 0x0400, "ImageID", 16, SQL_C_CHAR, DT_STR },
    { 0x0010, 0x0020, "ImagePat", 64, SQL_C_CHAR, DT_STR },
    { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI },
}

*WorkList*
{
    { 0x0008, 0x0050, "AccessionNumber", 16, SQL_C_CHAR, DT_STR, "OBR.3" },
    { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR, "PID.4" },
    { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR, "PID.5" },
    { 0x0010, 0x0030, "PatientBirthDate", 8, SQL_C_DATE, DT_DATE, "PID.7" },
    { 0x0010, 0x0040, "PatientSex", 16, SQL_C_CHAR, DT_STR, "PID.8" },
    { 0x0010, 0x2000, "MedicalAlerts", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0010, 0x2110, "ContrastAllergies", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI, "---" },
    { 0x0032, 0x1032, "ReqPhysician", 64, SQL_C_CHAR, DT_STR, "OBR.16" },
    { 0x0032, 0x1060, "ReqProcDescription", 64, SQL_C_CHAR, DT_STR, "OBR.4.1" },
    { 0x0040, 0x0100, "---", 0, SQL_C_CHAR, DT_STARTSEQUENCE, "---" },
    { 0x0008, 0x0060, "Modality", 16, SQL_C_CHAR, DT_STR, "OBR.21" },
    { 0x0032, 0x1070, "ReqContrastAgent", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0001, "ScheduledAE", 16, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0002, "StartDate", 8, SQL_C_DATE, DT_DATE, "OBR.7.DATE" },
    { 0x0040, 0x0003, "StartTime", 16, SQL_C_CHAR, DT_TIME, "OBR.7.TIME" },
    { 0x0040, 0x0006, "PerfPhysician", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0007, "SchedPSDescription", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0009, "SchedPSID", 16, SQL_C_CHAR, DT_STR, "OBR.4" },
    { 0x0040, 0x0010, "SchedStationName", 16, SQL_C_CHAR, DT_STR, "OBR.24" },
    { 0x0040, 0x0011, "SchedPSLocation", 16, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0012, "PreMedication", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0400, "SchedPSComments", 64, SQL_C_CHAR, DT_STR, "---" },
    { 0x0040, 0x0100, "---", 0, SQL_C_CHAR, DT_ENDSEQUENCE, "---" },
    { 0x0040, 0x1001, "ReqProcID", 16, SQL_C_CHAR, DT_STR, "OBR.4.0" },
    { 0x0040, 0x1003, "ReqProcPriority", 16, SQL_C_CHAR, DT_STR, "OBR.27" },
}
"""
