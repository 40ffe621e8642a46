"""The text files of a ConQuest 1.5.0e site, as its distribution and its Linux installation script leave them."""

from __future__ import annotations

DICOM_INI = """\
# This file contains configuration information for the DICOM server
# Do not edit unless you know what you are doing

[sscscp]
MicroPACS                = sscscp

# Network configuration: server name and TCP/IP port#
MyACRNema                = CONQUESTSRV1
TCPPort                  = {port}

# Host, database, username and password for the database
SQLHost                  = localhost
SQLServer                = {base}/data/dbase/conquest.db3
Username                 = dontcare
Password                 = dontcare
SqLite                   = 1
MySQL                    = 0
PostGres                 = 0
SQLiteStartup            = PRAGMA synchronous = OFF
DoubleBackSlashToDB      = 0
UseEscapeStringConstants = 0
UTF8ToDB                 = 0
UTF8FromDB               = 0

# Configure server
ImportExportDragAndDrop  = 1
ZipTime                  = 05:
UIDPrefix                = 99999.99999
EnableComputedFields     = 1
PatientQuerySortOrder    =
StudyQuerySortOrder      =
SeriesQuerySortOrder     =
ImageQuerySortOrder      =
TruncateFieldNames       = 10
MaxFieldLength           = 254
MaxFileNameLength        = 255
AllowTruncate            =
AllowEmptyPatientID      = 0
FixPhilips               = 0
FixKodak                 = 0
IndexDBF                 = 1
PackDBF                  = 0
LongQueryDBF             = 1000
RenameOnRewrite          = 0
IgnoreRewrite            = 0
NoDicomCheck             = 0
IgnoreOutOfMemoryErrors  = 0
PadAEWithZeros           = 0
SendUpperCaseAE          = 0
StorageFailedErrorCode   = 272
kFactorFile              = dicom.sql
ACRNemaMap               = acrnema.map
SOPClassList             = dgatesop.lst
Dictionary               = dgate.dic
Edition                  = Personal
PatientTableName         = DICOMPatients
StudyTableName           = DICOMStudies
SeriesTableName          = DICOMSeries
ImageTableName           = DICOMImages
WorkListTableName        = DICOMWorkList
WorkListMode             = 0
WorkListReturnsISO_IR    = 100
QueriesReturnISO_IR      = 0
EnableReadAheadThread    = 1
Prefetcher               = 0

# Configuration of forwarding and/or converter programs to export DICOM slices
ForwardAssociationLevel          = SERIES
ForwardAssociationCloseDelay     = 5
ForwardAssociationRefreshDelay   = 3600
ForwardAssociationRelease        = 1
ForwardCollectDelay              = 600
RetryDelay                       = 100
FailHoldOff                      = 60
RetryForwardFailed               = 0
RetryForwardRemoteDICOMError     = 0
MaximumExportRetries             = 0
MaximumDelayedFetchForwardRetries = 0
QueueSize                        = 128
DelayedForwarderThreads          = 1
ExportConverters                 = 0

# Configuration of compression for incoming images and archival
DroppedFileCompression   = un
IncomingCompression      = un
ArchiveCompression       = as
LossyQuality             = 95
UseBuiltInDecompressor   = 1
UseBuiltInJPEG           = 1
UseOpenJPG               = 0
DecompressNon16BitsJpeg  = 1
StopOnJPEGWarnings       = 0
AllowNKIAsDICOM          = 0
FileCompressMode         = 0

# For debug information
PACSName                 = CONQUESTSRV1
OperatorConsole          = 127.0.0.1
DebugLevel               = 0
TroubleLog               = PacsTrouble.log
UserLog                  = PacsUser.log

# Configuration of disk(s) to store images
MAGDeviceFullThreshHold  = 30
MAGDeviceThreshhold      = 0
IgnoreMAGDeviceThreshold = 0
NightlyCleanThreshhold   = 0
LRUSort                  =
TempDir                  =
WatchFolder              =
DelayIncomingFileOpen    = 0
FileNameSyntax           = {syntax}
MAGDevices               = 1
MAGDevice0               = {base}/data/
MIRRORDevices            = 0
CACHEDevices             = 0
JUKEBOXDevices           = 0
TCPIPTimeOut             = 300

# Web server
WebServerFor             = 127.0.0.1
WebCodeBase              = http://localhost/
WEBReadOnly              = 1
WEBPush                  = 1
Ladleport                = {web}

[webdefaults]
size                     = 560
dsize                    = 0
compress                 = un
viewer                   = weasis_starter.lua

[DefaultPage]
source = *.lua

[wadoservers]
bridge = CONQUESTSRV2, CONQUESTSRV3

[lua]
; scripts of this site
association = package.path=package.path..';'..Global.basedir..'lua/?.lua'
TCPPort = 1
"""

ACRNEMA_MAP = """\
/* **********************************************************
 *                                                          *
 *  UNIX ACR-NEMA map file                                  *
 *                                                          *
 *  DICOM AE (Application entity) -> IP address / Port map  *
 *                                                          *
 *  (This file is read by the ACRNEMA server at startup)    *
 *                                                          *
 ************************************************************ */

CONQUESTSRV1      127.0.0.1       5678            un
STORESCP\t127.0.0.1\t{sink}\tas      # the sink of the tests
;OLD              10.0.0.1        104             un
// V1             127.0.0.1       1234            un
LUNG              10.0.0.7        1234            j2 8 threads ; the last columns are for scripts

/* wildcards: the rest of the AE title goes into address and port */
V*                *               1234            un
NG*               127.0.11.*      56*             J2
"""

DGATESOP_LST = """\
#
#\tDICOM Application / sop / transfer UID list.
#
#\tThis list is used by the server ("SCP") to determine whether a incoming
#\tassociation/sop/transfer syntax will be accepted.
#
#None\t\t\t\tnone\t\t\t\tRemoteAE
#None\t\t\t\tnone\t\t\t\tLocalAE
#DICOM\t\t\t\t1.2.840.10008.3.1.1.1\t\tapplication
Verification\t\t\t1.2.840.10008.1.1\t\tsop
# StorageCommitmentPushModel\t1.2.840.10008.1.20.1\t\tsop
CRStorage                               1.2.840.10008.5.1.4.1.1.1               sop
CTStorage                               1.2.840.10008.5.1.4.1.1.2               sop
MRStorage                               1.2.840.10008.5.1.4.1.1.4               sop
UltraSoundImageStorage                  1.2.840.10008.5.1.4.1.1.6.1             sop
SecondaryCapture                        1.2.840.10008.5.1.4.1.1.7               sop
GEMRStorage                             1.2.840.113619.4.2                      Sop
# GECTStorage                           1.2.840.113619.4.3                      sop
FindPatientRootQuery                    1.2.840.10008.5.1.4.1.2.1.1             sop
MovePatientRootQuery                    1.2.840.10008.5.1.4.1.2.1.2             sop
GetPatientRootQuery                     1.2.840.10008.5.1.4.1.2.1.3             sop
FindStudyRootQuery                      1.2.840.10008.5.1.4.1.2.2.1             sop
MoveStudyRootQuery                      1.2.840.10008.5.1.4.1.2.2.2             sop
GetStudyRootQuery                       1.2.840.10008.5.1.4.1.2.2.3             sop
FindModalityWorkList                    1.2.840.10008.5.1.4.31                  sop
LittleEndianImplicit                    1.2.840.10008.1.2                       transfer
LittleEndianExplicit                    1.2.840.10008.1.2.1                     transfer
#BigEndianExplicit                      1.2.840.10008.1.2.2                     transfer
JPEGBaseLine1                           1.2.840.10008.1.2.4.50                  transfer LittleEndianExplicit
JPEGExtended2and4                       1.2.840.10008.1.2.4.51                  transfer LittleEndianExplicit
JPEGLosslessNH14                        1.2.840.10008.1.2.4.57                  transfer LittleEndianExplicit
JPEGLosslessNH_FOP14                    1.2.840.10008.1.2.4.70                  transfer LittleEndianExplicit
"""

DGATE_DIC = """\
#
# dictionary of the DICOM server
#
(0008,0005) VERS="3"    VR="CS"   VM="1-n"   Keyword="SpecificCharacterSet"       Name="Specific Character Set"
(0008,0018) VERS="3"    VR="UI"   VM="1"     Keyword="SOPInstanceUID"             Name="SOP Instance UID"
(0010,0010) VERS="3"    VR="PN"   VM="1"     Keyword="PatientName"                Name="Patient's Name"
(0010,0020) VERS="3"    VR="LO"   VM="1"     Keyword="PatientID"                  Name="Patient ID"
(0021,1070) VERS="CQ"   VR="UI"   VM="1"     Keyword="OldStudyUID"                Name="Old study UID"
(0054,0400) VERS="3"    VR="SH"   VM="1"     Keyword="ImageID"                    Name="Image ID"
(2001,1003) VERS="PMS"  VR="FL"   VM="1"     Keyword="DiffusionBFactor"           Name="Diffusion B Factor"
(7fdf,0010) VERS="NKI"  VR="OB"   VM="1"     Keyword="PixelDataCompressed"        Name="NKI compressed"
(9999,0400) VERS="CQ"   VR="LO"   VM="1"     Keyword="ConquestConsoleCommand"     Name="Command"
(fffe,e000)             VR="NONE" VM="1"     Keyword="Item"                       Name="Item"
"""

DICOM_SQL = """\
/*
# DICOM Database layout
#     Example version for all SQL servers
#
#     (File DICOM.SQL)
#     ** DO NOT EDIT THIS FILE UNLESS YOU KNOW WHAT YOU ARE DOING **
#
# Revision 19
*/

*Patient*
{
        { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR },
        { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR },
        { 0x0010, 0x0030, "PatientBirthDate", 8, SQL_C_DATE, DT_DATE },
        { 0x0010, 0x0040, "PatientSex", 16, SQL_C_CHAR, DT_STR }
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

        { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR }
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
        { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI }
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
        { 0x0020, 0x000e, "SeriesInstanceUID", 64, SQL_C_CHAR, DT_UI }
}

*WorkList*
{
        { 0x0008, 0x0050, "AccessionNumber", 16, SQL_C_CHAR, DT_STR, "OBR.3" },
        { 0x0010, 0x0020, "PatientID", 64, SQL_C_CHAR, DT_STR, "PID.4" },
        { 0x0010, 0x0010, "PatientName", 64, SQL_C_CHAR, DT_STR, "PID.5" },
        { 0x0020, 0x000d, "StudyInstanceUID", 64, SQL_C_CHAR, DT_UI, "---" },
        { 0x0040, 0x0100, "---", 0, SQL_C_CHAR, DT_STARTSEQUENCE, "---" },
        { 0x0008, 0x0060, "Modality", 16, SQL_C_CHAR, DT_STR, "OBR.21" },
        { 0x0040, 0x0002, "StartDate", 8, SQL_C_DATE, DT_DATE, "OBR.7.DATE" },
        { 0x0040, 0x0100, "---", 0, SQL_C_CHAR, DT_ENDSEQUENCE, "---" }
}
"""
