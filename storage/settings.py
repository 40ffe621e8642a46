"""The dicom.ini keys that storage reads; every field is spelled like its key, letter for letter."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Where objects are kept and under what names; defaults are ConQuest's."""

    # Devices
    MAGDevices: Annotated[int, "Number of image devices", {"low": 1, "high": 1000}] = 1
    MAGDevice: Annotated[
        tuple[str, ...], "Directory of each image device; objects go to the first with room", {"example": "./data/"}
    ] = ()
    MIRRORDevices: Annotated[int, "Number of mirror devices", {"low": 0, "high": 1000}] = 0
    MIRRORDevice: Annotated[
        tuple[str, ...], "Directory with copies of the image device of that number, read when a file is missing there"
    ] = ()
    CACHEDevices: Annotated[int, "Number of jukebox cache devices", {"later": True, "low": 0}] = 0
    CACHEDevice: Annotated[
        tuple[str, ...], "Directory pattern of each cache: two %d, jukebox and disc number", {"later": True}
    ] = ()
    JUKEBOXDevices: Annotated[int, "Number of jukeboxes", {"later": True, "low": 0}] = 0
    JUKEBOXDevice: Annotated[
        tuple[str, ...], "Directory pattern of each jukebox: one %d, the disc number", {"later": True}
    ] = ()
    MAGDeviceFullThreshold: Annotated[
        int,
        "MB that stay free: a device with no more than that is not written to",
        {"aliases": ("MAGDeviceFullThreshHold",), "low": 0},
    ] = 30
    IgnoreMAGDeviceThreshold: Annotated[bool, "1: write without looking at the free space"] = False
    MAGDeviceThreshold: Annotated[
        int,
        "MB free below which old patients are deleted (0 = never)",
        {"aliases": ("MAGDeviceThreshHold",), "later": True, "low": 0},
    ] = 0
    NightlyCleanThreshold: Annotated[
        int,
        "MB that deleting old patients at 01:00 makes free (0 = never)",
        {"aliases": ("NightlyCleanThreshHold",), "later": True, "low": 0},
    ] = 0
    NightlyMoveThreshold: Annotated[
        int,
        "MB that moving old patients off MAG0 at 02:00 makes free (0 = never)",
        {"aliases": ("NightlyMoveThreshHold",), "later": True, "low": 0},
    ] = 0
    NightlyMoveTarget: Annotated[str, "Device that old patients are moved to", {"later": True}] = ""
    LRUSort: Annotated[str, "Which patients are old: empty, StudyDate, PatientBir or AccessTime", {"later": True}] = ""

    # Names
    FileNameSyntax: Annotated[str, "How stored files are named: a number, or a template such as %id/%sopuid.dcm"] = "4"
    MaxFileNameLength: Annotated[
        int,
        "Characters of a name behind its first directory; longer ones lose their beginning",
        {"low": 64, "high": 255},
    ] = 255
    RenameOnRewrite: Annotated[bool, "No effect: a rewritten image never replaces a file by name"] = False
    IgnoreRewrite: Annotated[bool, "1: an image that is already stored is not stored again"] = False
    UIDPrefix: Annotated[str, "Root of the UIDs made here"] = "1.2.826.0.1.3680043.2.135.1066"

    # Safety
    Durability: Annotated[
        str,
        "safe: success means on disk; fast: success means handed to the operating system",
        {"choices": ("safe", "fast")},
    ] = "safe"
    MaxObjectSize: Annotated[int, "MB of the largest object that is accepted (0 = no limit)", {"low": 0}] = 0

    # Compression
    IncomingCompression: Annotated[
        str, "Compression code for objects received; what it does not fit is kept as it came"
    ] = ""
    DroppedFileCompression: Annotated[str, "Compression code for files dropped or added"] = ""
    ArchiveCompression: Annotated[str, "Compression code that recompress: brings a device under"] = ""
    LossyQuality: Annotated[
        int, "JPEG quality, or JPEG 2000 rate, of codes without digits", {"low": 1, "high": 100}
    ] = 95
    AllowNKIAsDICOM: Annotated[bool, "1: NKI compressed data may be kept in .dcm files"] = False
    FileCompressMode: Annotated[
        int, "Obsolete: 1 to 4 stand for n1 to n4 where the two compression keys are empty", {"low": 0}
    ] = 0
    UseBuiltInDecompressor: Annotated[bool, "No effect: there is one set of codecs"] = True
    UseBuiltInJPEG: Annotated[bool, "No effect: there is one set of codecs"] = True
    UseOpenJPG: Annotated[bool, "No effect: there is one set of codecs"] = False
    DecompressNon16BitsJpeg: Annotated[bool, "No effect: every depth is decoded"] = True
    StopOnJPEGWarnings: Annotated[bool, "No effect: there is one set of codecs"] = False

    # Dropped files, temporary files, leniency
    ImportExportDragAndDrop: Annotated[bool, "1: converters run for files added by command", {"later": True}] = True
    WatchFolder: Annotated[str, "Folder whose files are taken in", {"later": True}] = ""
    DelayIncomingFileOpen: Annotated[
        int, "Milliseconds to wait before a dropped file is opened", {"later": True, "low": 0}
    ] = 0
    TempDir: Annotated[str, "Folder for temporary files; empty: printer_files on MAG0"] = ""
    NoDicomCheck: Annotated[bool, "No effect: what is no whole DICOM object is refused"] = False
    IgnoreOutOfMemoryErrors: Annotated[bool, "No effect: objects are not held in memory"] = False
