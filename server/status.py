"""DIMSE status codes by name, and which exception is answered with which of them."""

from __future__ import annotations

from dataclasses import dataclass

from db.errors import DatabaseError, LinkRefused, MissingUid, QueryRefused
from server.dimse import PeerGone
from storage.errors import DeviceFull, MissingFile, NotConvertible, NotDicom, TooLarge


class Status:
    """Status codes of PS3.7 Annex C, PS3.4 B.2.3, C.4.1.1.4, C.4.2.1.5, C.4.3.1.4, and ConQuest's own."""

    SUCCESS = 0x0000
    PENDING = 0xFF00
    PENDING_KEYS_IGNORED = 0xFF01
    CANCEL = 0xFE00
    PROCESSING_FAILURE = 0x0110
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORISED = 0x0124
    UNRECOGNISED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    CANNOT_COUNT_MATCHES = 0xA701
    CANNOT_PERFORM_SUBOPERATIONS = 0xA702
    UNKNOWN_DESTINATION = 0xA801
    MISMATCH = 0xA900
    SUBOPERATION_FAILURES = 0xB000
    CANNOT_UNDERSTAND = 0xC000
    # ConQuest's own, sent where no standard code says the same or with ConquestStatuses = 1.
    LEVEL_MISSING = 0xC001
    DESTINATION_EMPTY = 0xC002
    DESTINATION_UNKNOWN = 0xC003
    NOTHING_FOUND = 0xC004
    DESTINATION_UNREACHABLE = 0xC005


class Refused(Exception):
    """A request that cannot be served: carries the status and the comment (0000,0902) to answer with."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


class Mismatch(Exception):
    """The data set is not what its C-STORE command says it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What ends a request: the final status and, when it is no success, a comment of at most 64 characters.

    `note` is a line for the log, which is written when the peer has its answer.
    """

    status: int
    comment: str = ""
    note: str = ""


# First match wins, so subclasses stand before their bases. LinkRefused is answered with StorageFailedErrorCode.
_ANSWERS: tuple[tuple[type[Exception], int], ...] = (
    (DeviceFull, Status.OUT_OF_RESOURCES),
    (TooLarge, Status.OUT_OF_RESOURCES),
    (Mismatch, Status.MISMATCH),
    (MissingUid, Status.MISMATCH),
    (QueryRefused, Status.MISMATCH),
    (NotDicom, Status.CANNOT_UNDERSTAND),
    (NotConvertible, Status.CANNOT_UNDERSTAND),
    (MissingFile, Status.PROCESSING_FAILURE),
    (DatabaseError, Status.OUT_OF_RESOURCES),
    (PeerGone, Status.PROCESSING_FAILURE),
    (OSError, Status.OUT_OF_RESOURCES),
)


def answer_for(error: Exception, storage_failed: int) -> Answer | None:
    """Translate a declared exception into what the peer is told; None for anything that is our own fault."""
    if isinstance(error, Refused):
        return Answer(error.status, str(error)[:64])
    if isinstance(error, LinkRefused):
        return Answer(storage_failed, "inconsistent with what is stored under its UIDs")
    for kind, status in _ANSWERS:
        if isinstance(error, kind):
            return Answer(status, _comment(error))
    return None


def cause(error: Exception) -> str:
    """What went wrong, for the log: without the path, which often holds a patient ID."""
    if isinstance(error, MissingFile):
        return "its file is missing"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _comment(error: Exception) -> str:
    """A short comment for the peer: the log has the rest."""
    if isinstance(error, DatabaseError):
        return "the index does not answer"
    if isinstance(error, OSError):
        return f"storage failed: {cause(error)}"[:64]
    return cause(error)[:64]
