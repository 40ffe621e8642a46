"""The dicom.ini keys that the daemon reads: identity, network, logs, forwarding, worklist, web, and who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from server.address import parse_ranges

# The kinds of converter, each with its numbered keys <Kind>Converter0, <Kind>Converter1 ... (of most kinds only 0 is
# used). Which objects a converter sees is narrowed by the numbered keys <Kind><filter>0 ...
CONVERTER_KINDS = (
    "Import",
    "Export",
    "Query",
    "WorkListQuery",
    "Retrieve",
    "RetrieveResult",
    "QueryResult",
    "ModalityWorkListQueryResult",
    "Compression",
    "MergeSeries",
    "MergeStudies",
    "Archive",
    "MoveDevice",
    "RejectedImage",
    "RejectedImageWorkList",
    "VirtualServerQuery",
    "VirtualServerQueryResult",
    "Regen",
    "RegenFail",
)
CONVERTER_FILTERS = ("Modality", "StationName", "CalledAE", "CallingAE")


def _worker_count(text: str) -> None:
    if text.lower() != "auto" and not (text.isascii() and text.isdigit() and 0 <= int(text[:4]) <= 64):
        raise ValueError("write auto, or a number of processes from 0 to 64")


def _ranges(text: str) -> None:
    parse_ranges(text)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The dicom.ini keys that server reads; field names are the keys, letter for letter."""

    MicroPACS: Annotated[
        str,
        "Name of the section that holds everything else",
        {"heading": "Identity and network", "example": "sscscp"},
    ] = "sscscp"
    MyACRNema: Annotated[str, "Own AE title, at most 16 characters", {"example": "CONQUESTSRV1"}] = "none"
    TCPPort: Annotated[
        int, "Listening port; 0 takes any that is free", {"example": "5678", "low": 0, "high": 65535}
    ] = 104
    BindAddress: Annotated[
        str, "Address to listen on; empty is all interfaces, 127.0.0.1 this machine only", {"example": "127.0.0.1"}
    ] = ""
    PACSName: Annotated[str, "Prefix [name] of lines sent to the operator console"] = "MicroPACS"
    TCPIPTimeOut: Annotated[
        int, "Seconds a peer may be silent, also before its association request and inside a PDU", {"low": 1}
    ] = 300
    PDUSize: Annotated[
        int, "Largest PDU to receive, in bytes (ConQuest: 4096 on Linux)", {"low": 4096, "high": 1 << 20}
    ] = 131072
    MaxAssociations: Annotated[
        int, "Associations open at one time, an eighth of them for AEs of acrnema.map; others are rejected", {"low": 1}
    ] = 200
    MaxAssociationsPerHost: Annotated[
        int,
        "Associations open at one time from one address, or of one AE of acrnema.map at its address; 0 is no limit",
        {"low": 0},
    ] = 0
    SendUpperCaseAE: Annotated[bool, "1: called AE titles are sent in upper case"] = False
    PadAEWithZeros: Annotated[bool, "1: outgoing AE titles are padded with NUL instead of blanks", {"later": True}] = (
        False
    )
    StockNetwork: Annotated[bool, "1: pynetdicom's own threads and polling instead of the faster upper layer"] = False
    Workers: Annotated[
        str,
        "Processes that serve associations: auto is one a core, at most 4; 0 serves all in one process, as -b",
        {"check": _worker_count},
    ] = "auto"
    MoveAssociations: Annotated[int, "Associations one C-MOVE sends over at a time", {"low": 1, "high": 16}] = 1
    StorageFailedErrorCode: Annotated[
        int, "C-STORE status when an object is refused or cannot be stored", {"low": 0, "high": 65535}
    ] = 272
    ConquestStatuses: Annotated[
        bool, "1: a C-MOVE or C-GET without match fails with 0xC004 as in ConQuest, instead of success with zero counts"
    ] = False
    Edition: Annotated[str, "Personal or Workgroup", {"ignored": True}] = "Workgroup"

    SOPClassList: Annotated[str, "File of accepted AE titles, classes and transfer syntaxes", {"heading": "Files"}] = (
        "dgatesop.lst"
    )
    ACRNemaMap: Annotated[str, "File of AE titles with address, port and compression"] = "acrnema.map"
    Dictionary: Annotated[str, "File with elements the DICOM dictionary lacks; may be missing"] = "dgate.dic"
    kFactorFile: Annotated[str, "File that describes the database columns; missing: the built-in layout"] = "dicom.sql"

    OperatorConsole: Annotated[str, "Host that gets log lines by UDP", {"heading": "Logs"}] = "127.0.0.1"
    UserLog: Annotated[str, "File that lists what users stored and retrieved"] = "PacsUser.log"
    TroubleLog: Annotated[str, "File that collects errors"] = "PacsTrouble.log"
    DebugLevel: Annotated[int, "Detail of the debug log, 0 to 4", {"low": 0, "high": 4}] = 0
    ZipTime: Annotated[
        str, "When the time hh:mm:ss begins with this, logs are packed; empty is never", {"later": True}
    ] = ""

    CommandReadOnly: Annotated[
        str,
        "Addresses and ranges such as 10.0.0.0/8 that may run commands that change nothing",
        {"heading": "Who may do what", "check": _ranges},
    ] = ""
    CommandAdmin: Annotated[
        str, "Addresses and ranges that may run any command; this machine always may", {"check": _ranges}
    ] = ""
    WildcardDelete: Annotated[bool, "1: commands that delete or modify accept * and ? in IDs"] = False
    ExportRoot: Annotated[str, "Directory below which callers without admin rights may name files; empty: nowhere"] = ""

    WorkListMode: Annotated[
        int,
        "1: incoming images take demographics from the worklist; 2: and are refused without an entry",
        {"heading": "Queries, worklist, read ahead", "low": 0, "high": 2, "later": True},
    ] = 0
    WorkListReturnsISO_IR: Annotated[int, "Character set ISO_IR number of worklist replies", {"later": True}] = 100
    WorkListReturnsISO_IR_100: Annotated[bool, "Older form of the above: 1 is 100", {"later": True}] = True
    QueriesReturnISO_IR: Annotated[int, "Character set ISO_IR number of query replies; 0 is none"] = 0
    EnableReadAheadThread: Annotated[
        int, "Images read ahead during retrieve; 1 means 5, 0 none", {"low": 0, "later": True}
    ] = 1
    Prefetcher: Annotated[bool, "1: a query on one patient or study starts reading its files", {"later": True}] = False

    VirtualServerFor: Annotated[
        tuple[str, ...],
        "AE title of a server whose data is merged in, with options behind commas",
        {"heading": "Virtual servers", "later": True},
    ] = ()
    VirtualServerPerSeries: Annotated[
        tuple[int, ...], "Fetch a whole series when more than this many of its images are wanted", {"later": True}
    ] = ()
    CacheVirtualData: Annotated[bool, "0: fetched images are deleted after use", {"later": True}] = True
    OverlapVirtualGet: Annotated[int, "Images handled while the fetch still runs", {"low": 0, "later": True}] = 0

    ImportConverters: Annotated[
        int, "How many import converters are tried", {"heading": "Converters", "low": 0, "later": True}
    ] = 99
    ImportConverter: Annotated[tuple[str, ...], "Script run on each incoming object", {"later": True}] = ()
    ImportModality: Annotated[tuple[str, ...], "Modality it sees", {"fill": "*", "later": True}] = ()
    ImportStationName: Annotated[tuple[str, ...], "Station name it sees", {"fill": "*", "later": True}] = ()
    ImportCalledAE: Annotated[tuple[str, ...], "Called AE title it sees", {"fill": "*", "later": True}] = ()
    ImportCallingAE: Annotated[tuple[str, ...], "Calling AE title it sees", {"fill": "*", "later": True}] = ()
    ExportConverters: Annotated[int, "How many export converters there are", {"low": 0, "later": True}] = 0
    ExportConverter: Annotated[tuple[str, ...], "Script run on each stored object", {"later": True}] = ()
    ExportModality: Annotated[tuple[str, ...], "Modality it sees", {"fill": "*", "later": True}] = ()
    ExportStationName: Annotated[tuple[str, ...], "Station name it sees", {"fill": "*", "later": True}] = ()
    ExportCalledAE: Annotated[tuple[str, ...], "Called AE title it sees", {"fill": "*", "later": True}] = ()
    ExportCallingAE: Annotated[tuple[str, ...], "Calling AE title it sees", {"fill": "*", "later": True}] = ()
    ExportFilter: Annotated[tuple[str, ...], "Condition on its database record", {"fill": "*", "later": True}] = ()
    QueryConverter: Annotated[tuple[str, ...], "Script run on query identifiers", {"later": True}] = ()
    WorkListQueryConverter: Annotated[tuple[str, ...], "Script run on worklist queries", {"later": True}] = ()
    RetrieveConverter: Annotated[tuple[str, ...], "Script run on retrieve identifiers", {"later": True}] = ()
    RetrieveResultConverter: Annotated[tuple[str, ...], "Script run on each outgoing object", {"later": True}] = ()
    QueryResultConverter: Annotated[tuple[str, ...], "Script run on each query response", {"later": True}] = ()
    ModalityWorkListQueryResultConverter: Annotated[
        tuple[str, ...], "Script run on each worklist response", {"later": True}
    ] = ()
    CompressionConverter: Annotated[tuple[str, ...], "Scripts behind the codes s0 to s9", {"later": True}] = ()
    MergeSeriesConverter: Annotated[tuple[str, ...], "Script run on images of merged series", {"later": True}] = ()
    MergeStudiesConverter: Annotated[tuple[str, ...], "Script run on images of merged studies", {"later": True}] = ()
    ArchiveConverter: Annotated[tuple[str, ...], "Script run on images being archived", {"later": True}] = ()
    MoveDeviceConverter: Annotated[tuple[str, ...], "Script run on images moved between devices", {"later": True}] = ()
    RejectedImageConverter: Annotated[tuple[str, ...], "Script run on objects not entered", {"later": True}] = ()
    RejectedImageWorkListConverter: Annotated[
        tuple[str, ...], "Script run on objects that WorkListMode 2 refused", {"later": True}
    ] = ()
    VirtualServerQueryConverter: Annotated[
        tuple[str, ...], "Script run on queries to virtual servers", {"later": True}
    ] = ()
    VirtualServerQueryResultConverter: Annotated[
        tuple[str, ...], "Script run on answers of virtual servers", {"later": True}
    ] = ()
    RegenConverter: Annotated[tuple[str, ...], "Script run on each file that is regenerated", {"later": True}] = ()
    RegenFailConverter: Annotated[tuple[str, ...], "Script run when regeneration cannot read", {"later": True}] = ()

    ForwardAssociationLevel: Annotated[
        str,
        "An outgoing association is kept while the value at this level stays the same",
        {
            "heading": "Forwarding and queues",
            "choices": ("GLOBAL", "SOPCLASS", "PATIENT", "STUDY", "SERIES", "IMAGE"),
            "later": True,
        },
    ] = "STUDY"
    ForwardAssociationCloseDelay: Annotated[int, "Seconds idle before it is closed", {"low": 0, "later": True}] = 5
    ForwardAssociationRefreshDelay: Annotated[
        int, "Seconds idle before what the peer accepts is asked anew", {"low": 0, "later": True}
    ] = 3600
    ForwardAssociationRelease: Annotated[bool, "0: the connection is dropped without A-RELEASE", {"later": True}] = True
    QueueSize: Annotated[int, "Entries a queue holds in memory", {"low": 1, "later": True}] = 128
    FailHoldOff: Annotated[int, "Seconds after a failure in which new entries wait", {"low": 0, "later": True}] = 60
    RetryDelay: Annotated[int, "Seconds after the last failure before a retry", {"low": 0, "later": True}] = 100
    RetryForwardFailed: Annotated[bool, "1: a failed C-STORE is tried again", {"later": True}] = False
    RetryForwardRemoteDICOMError: Annotated[
        bool, "1: delayed moves that end with an error status are tried again", {"later": True}
    ] = False
    MaximumExportRetries: Annotated[
        int, "Give up after so many failures in a row; 0 is never", {"low": 0, "later": True}
    ] = 0
    MaximumDelayedFetchForwardRetries: Annotated[
        int, "The same for delayed operations; 0 is never", {"low": 0, "later": True}
    ] = 0
    ForwardCollectDelay: Annotated[
        int, "Seconds that forward study and the like wait after the last image", {"low": 0, "later": True}
    ] = 600
    DelayedForwarderThreads: Annotated[int, "Threads a queue", {"low": 1, "later": True}] = 1

    RevLibrary: Annotated[
        str,
        "Directory of a ReV library that is kept current as objects arrive; empty: there is none",
        {"heading": "Previews"},
    ] = ""
    RevDelay: Annotated[
        int, "Seconds without a new object after which a study goes into the ReV library", {"low": 0}
    ] = 60

    WebPort: Annotated[
        int,
        "Port of the web server; 0: there is none",
        {"heading": "Web", "aliases": ("Ladleport",), "low": 0, "high": 65535},
    ] = 0
    WebAddress: Annotated[str, "Address the web server listens on"] = "127.0.0.1"
    WEBReadOnly: Annotated[bool, "1: web pages change nothing", {"later": True}] = True
    WEBPush: Annotated[bool, "1: web pages may send images to DICOM servers", {"later": True}] = True
    WEBScriptAddress: Annotated[
        str, "Address of the web server as browsers see it, where that is not the machine's own name"
    ] = ""
    WEBMAG0Address: Annotated[str, "Address under which browsers reach the files of MAG0", {"later": True}] = ""
    WebServerFor: Annotated[str, "DICOM server that the web pages show", {"later": True}] = "127.0.0.1"
    WebCodeBase: Annotated[str, "Where browsers find viewers", {"later": True}] = ""
    KeepAlive: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    LargeFileSizeKB: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    ExternalViewer: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    DemoViewer: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    DemoCopy: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    Headerbmp: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    Footerbmp: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
    Backgroundbmp: Annotated[str, "Read by ConQuest's Windows program only", {"ignored": True}] = ""
