"""The table of services, and what becomes of exceptions."""

from __future__ import annotations

import pytest

import server.services  # noqa: F401  (fills the table)
from db.errors import DatabaseError, DatabaseLocked, LinkRefused, MissingUid, QueryRefused
from server.dimse import PeerGone
from server.service import SERVICES, is_served, is_storage
from server.sopclass import is_storage_class
from server.status import Answer, Mismatch, Refused, answer_for, cause
from storage.errors import DeviceFull, MissingFile, NotConvertible, NotDicom, TooLarge, UnsafePath

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
NKI_MOVE = "1.2.826.0.1.3680043.2.135.1066.5.1.4.1.2.2.2"
PRIVATE = "1.3.46.670589.11.0.0.12.1"


def test_the_table_has_each_service_with_its_classes() -> None:
    assert {row.name: (row.command_field, len(row.sop_classes)) for row in SERVICES} == {
        "C-ECHO": (0x0030, 1),
        "C-STORE": (0x0001, 0),
        "C-FIND": (0x0020, 3),
        "C-MOVE": (0x0021, 6),
        "C-GET": (0x0010, 3),
    }
    uids = [sop.uid for row in SERVICES for sop in row.sop_classes]
    assert len(uids) == len(set(uids)) == 13


@pytest.mark.parametrize(
    ("uid", "storage", "served"),
    [
        (CT, True, True),
        (PRIVATE, True, True),
        ("1.2.840.10008.5.1.1.27", True, True),  # Stored Print, retired
        ("1.2.840.10008.5.1.4.1.1.9999.1", True, True),  # of a later edition, perhaps
        ("1.2.840.10008.5.1.4.39.1", True, True),  # Color Palette
        (VERIFICATION, False, True),
        (FIND, False, True),
        (NKI_MOVE, False, True),
        ("1.2.840.10008.1.20.1", False, False),  # Storage Commitment
        ("1.2.840.10008.1.3.10", False, False),  # Media Storage Directory
        ("1.2.840.10008.5.1.4.31", False, False),  # Modality Worklist
        ("1.2.840.10008.5.1.4.1.1.201.2", False, False),  # Inventory FIND
        ("1.2.840.10008.1.2", False, False),
        ("", False, False),
        ("None", False, False),
        ("1..2", False, False),
        ("1.2.", False, False),
        ("1." * 32 + "1", False, False),
    ],
)
def test_what_is_storage_and_what_is_served(uid: str, storage: bool, served: bool) -> None:
    assert (is_storage(uid), is_served(uid)) == (storage, served)


def test_a_private_class_may_be_anything_so_it_may_be_stored() -> None:
    assert is_storage_class(NKI_MOVE)


@pytest.mark.parametrize(
    ("error", "status", "comment"),
    [
        (Refused(0xA801, "unknown destination X"), 0xA801, "unknown destination X"),
        (LinkRefused("Inconsistency in study 1.2.3"), 0x0110, "inconsistent with what is stored under its UIDs"),
        (DeviceFull("MAG0: no room"), 0xA700, "MAG0: no room"),
        (TooLarge("it is larger than MaxObjectSize = 1"), 0xA700, "it is larger than MaxObjectSize = 1"),
        (Mismatch("the SOP class UID differs"), 0xA900, "the SOP class UID differs"),
        (MissingUid("no study UID"), 0xA900, "no study UID"),
        (QueryRefused("no column X"), 0xA900, "no column X"),
        (NotDicom("it is cut short"), 0xC000, "it is cut short"),
        (NotConvertible("it is compressed"), 0xC000, "it is compressed"),
        (MissingFile("MAG0 P1/x.dcm: there is no such file"), 0x0110, "its file is missing"),
        (UnsafePath("the index names '../P1'"), 0x0110, "its file is missing"),
        (DatabaseLocked("dbase/x.db3 is locked"), 0xA700, "the index does not answer"),
        (DatabaseError("dbase/x.db3 is gone"), 0xA700, "the index does not answer"),
        (OSError(28, "No space left on device", "/data/MAG0/P1/x"), 0xA700, "storage failed: No space left on device"),
        (OSError("odd"), 0xA700, "storage failed: OSError"),
        (PeerGone("gone"), 0x0110, "gone"),
    ],
)
def test_each_declared_exception_has_a_status_and_a_comment_without_paths(
    error: Exception, status: int, comment: str
) -> None:
    assert answer_for(error, 0x0110) == Answer(status, comment)


def test_a_link_refusal_has_the_status_of_dicom_ini() -> None:
    assert answer_for(LinkRefused("x"), 0xA7FF) == Answer(0xA7FF, "inconsistent with what is stored under its UIDs")


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), AssertionError(), MemoryError(), RecursionError()])
def test_what_is_our_own_fault_has_no_answer(error: Exception) -> None:
    assert answer_for(error, 0x0110) is None


def test_comments_are_cut_at_64_characters() -> None:
    answer = answer_for(Refused(0xC000, "x" * 100), 0x0110)
    assert answer == Answer(0xC000, "x" * 64)


def test_the_log_is_told_the_cause_without_the_path() -> None:
    assert cause(PermissionError(13, "Permission denied", "/data/MAG0/P1/x.dcm")) == "Permission denied"
    assert cause(MissingFile("MAG0 P1/x.dcm: there is no such file")) == "its file is missing"
    assert cause(NotDicom("it is cut short")) == "it is cut short"
