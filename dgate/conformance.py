"""docs/conformance.md, out of the tables of services, statuses and codes."""

from __future__ import annotations

from collections.abc import Iterator

import server.services  # noqa: F401  (fills the table of services)
from dgate import __version__
from server.service import SERVICES
from server.settings import ServerSettings
from server.status import Status
from storage.codecs.table import CODECS
from storage.part10 import IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION

_HEAD = """\
# DICOM conformance

This page is generated from the tables of the program (`make docs`). It follows the order of PS3.2 Annex N.

## Overview

| Network service | SCP | SCU |
|---|---|---|
"""

_MATCHING = """\
## Queries

Levels PATIENT, STUDY, SERIES and IMAGE, in every information model, with or without unique keys of higher levels
(relational). Matched and returned are the attributes of `dicom.sql` (its default is built in; `dgate -k` lists it), at
their own level or any joined one. Requested attributes that the index does not hold come back empty, and the status
of the matches is then 0xFF01.

| Matching | |
|---|---|
| universal | empty, or `*` alone |
| single value | exact; case counts, but not in person names (PN) |
| wildcard | `*` and `?`, in any case of letters |
| list of UIDs | by backslash; lists of other values too |
| range | dates, times and date-times: `a-b`, `a-`, `-b`; date and time together when negotiated (PS3.4 C.5.1.1) |
| multiple values | any component of ModalitiesInStudy, ImageType and other multi-valued columns |
| sequence | attributes in sequences that `dicom.sql` declares |

Computed: (0020,1200), (0020,1202), (0020,1204) for patients, (0020,1206), (0020,1208) for studies, (0020,1209) for
series, with `EnableComputedFields = 1`; ModalitiesInStudy (0008,0061); InstanceAvailability (0008,0056), always ONLINE;
RetrieveAETitle (0008,0054), always this server. Character sets: the query's own, or UTF-8 (ISO_IR 192) when that cannot
hold a value; `QueriesReturnISO_IR` overrides.

## Retrieval

An object is sent with the data set it is stored with, byte for byte, in a presentation context of its own transfer
syntax, unless the compression code of the destination or of the called AE title asks for another form. When the
receiver does not accept that, the object is brought into what it accepts: uncompressed, else compressed without loss,
else with loss. An object whose pixels cannot be decoded for that counts as failed. Move destinations come from
`acrnema.map`. Sub-operations go on after one failed; failed SOP instance UIDs are listed in the final response
(0008,0058).
"""


def conformance() -> str:
    """The page as Markdown."""
    return "\n".join(
        [
            _HEAD + "".join(_overview()),
            "".join(_services()),
            _MATCHING,
            "".join(_statuses()),
            "".join(_network()),
            "".join(_codes()),
        ]
    )


def _overview() -> Iterator[str]:
    scu = {"C-ECHO": "yes (`--echo:`)", "C-STORE": "yes (C-MOVE, C-GET)", "C-FIND": "yes (finders)", "C-MOVE": "yes"}
    for row in SERVICES:
        yield f"| {row.name} | yes | {scu.get(row.name, 'no')} |\n"


def _services() -> Iterator[str]:
    yield "## SOP classes\n\n| Service | SOP class | UID |\n|---|---|---|\n"
    for row in SERVICES:
        if not row.sop_classes:
            yield f"| {row.name} | every storage class, private and unknown ones included | |\n"
        for sop in row.sop_classes:
            yield f"| {row.name} | {sop.name} | {sop.uid} |\n"
    yield "\n"
    for row in SERVICES:
        yield f"**{row.name}**: {row.text}\n\n"
    yield (
        "Transfer syntaxes: storage classes are accepted in any transfer syntax, the first proposed of each "
        "presentation context; other classes in implicit and explicit little endian, explicit big endian and deflated. "
        "`dgatesop.lst` narrows both, and which AE titles may associate. SCP/SCU role selection is answered as "
        "proposed for storage classes.\n\n"
    )


_MEANINGS: tuple[tuple[str, int, str], ...] = (
    ("all", Status.SUCCESS, "done; of a C-STORE: the file is written and every query finds the object"),
    ("all", Status.PROCESSING_FAILURE, "an error of the server's own, see its log"),
    ("all", Status.SOP_CLASS_NOT_SUPPORTED, "the command does not belong to the SOP class"),
    ("all", Status.UNRECOGNISED_OPERATION, "an unknown command"),
    ("C-ECHO", Status.NOT_AUTHORISED, "a command this address may not run"),
    ("C-STORE", ServerSettings().StorageFailedErrorCode, "contradicts the index; `StorageFailedErrorCode` sets this"),
    ("C-STORE", Status.OUT_OF_RESOURCES, "no room, the object is too large, or the database does not answer"),
    ("C-STORE", Status.MISMATCH, "the data set is not what the command says, or lacks a UID"),
    ("C-STORE", Status.CANNOT_UNDERSTAND, "no DICOM data set, or not a whole one"),
    ("C-FIND", Status.PENDING, "a match"),
    ("C-FIND", Status.PENDING_KEYS_IGNORED, "a match; some keys are not in the index"),
    ("C-FIND", Status.CANCEL, "cancelled"),
    ("C-FIND", Status.LEVEL_MISSING, "query level missing or unknown"),
    ("C-FIND", Status.MISMATCH, "a key that cannot be used"),
    ("C-FIND", Status.CANNOT_UNDERSTAND, "no identifier, or one that cannot be read"),
    ("C-FIND", Status.OUT_OF_RESOURCES, "the database does not answer"),
    ("C-MOVE, C-GET", Status.PENDING, "after each sub-operation"),
    ("C-MOVE, C-GET", Status.SUBOPERATION_FAILURES, "some sub-operations failed"),
    ("C-MOVE, C-GET", Status.CANNOT_PERFORM_SUBOPERATIONS, "every sub-operation failed, or the destination went away"),
    ("C-MOVE, C-GET", Status.CANCEL, "cancelled; the counts say how far it got"),
    ("C-MOVE, C-GET", Status.MISMATCH, "the identifier names nothing"),
    ("C-MOVE", Status.UNKNOWN_DESTINATION, "the destination is not in `acrnema.map`"),
    ("C-MOVE", Status.LEVEL_MISSING, "no move destination in the request, or no query level"),
    ("C-MOVE", Status.DESTINATION_EMPTY, "an empty move destination"),
)


def _statuses() -> Iterator[str]:
    yield "## Statuses\n\n| Service | Status | Meaning |\n|---|---|---|\n"
    for name, code, meaning in _MEANINGS:
        yield f"| {name} | 0x{code:04X} | {meaning} |\n"
    yield (
        "\nFailures carry a comment (0000,0902). A C-MOVE or C-GET without match succeeds with zero counts; with "
        "`ConquestStatuses = 1` it is 0xC004, an unknown destination 0xC003 and an unreachable one 0xC005.\n"
    )


def _network() -> Iterator[str]:
    defaults = ServerSettings()
    yield "\n## Network\n\n| | |\n|---|---|\n"
    yield f"| Implementation class UID | {IMPLEMENTATION_CLASS} |\n"
    yield f"| Implementation version name | {IMPLEMENTATION_VERSION} ({__version__}) |\n"
    yield f"| Maximum PDU received | {defaults.PDUSize} bytes (`PDUSize`) |\n"
    yield f"| Associations at a time | {defaults.MaxAssociations} (`MaxAssociations`) |\n"
    yield "| Asynchronous operations | none |\n"
    yield f"| Time-outs | {defaults.TCPIPTimeOut} s (`TCPIPTimeOut`) |\n"
    yield "| Called AE title | any; `~xx` behind it asks for compression `xx` |\n"
    yield "| Security | no TLS; commands by address (`CommandReadOnly`, `CommandAdmin`) |\n"


def _codes() -> Iterator[str]:
    yield "\n## Compression codes\n\n| Code | Meaning | Forms that are proposed and made |\n|---|---|---|\n"
    for row in CODECS:
        forms = ", ".join(row.makes) or ", ".join(row.uncompressed) or "-"
        yield f"| `{row.code}` | {row.text} | {forms} |\n"
