"""Move options: ask a server, this one included, to send objects to another."""

from __future__ import annotations

import logging

from pydicom.dataset import Dataset

from dgate.arguments import Ae, DateRange, Filled, PatientAnd
from dgate.command import CommandError, command
from server.commandset import COMPLETED, STATUS, WARNING
from server.dimse import PeerGone
from server.outgoing import own_peer, peer_or_self
from server.scu import AssociationFailed, Proposal, associate, send_c_move
from server.server import Server
from storage.transfer import IMPLICIT_LITTLE

GROUP = "Move options"
PATIENT_ROOT = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.2"

log = logging.getLogger("dgate")


class Source(Filled):
    """The AE title of a server in acrnema.map, or ``(local)`` for this one."""


@command("movepatient:source,dest,patid", group=GROUP)
def movepatient(server: Server, source: Source, dest: Ae, patid: Filled) -> str:
    """Move patient, source e.g. (local).

    Replies ``0``, or ``1 Move failed from SOURCE to DEST`` when an object could not be sent or nothing was found.
    """
    return _move(server, source, dest, PATIENT_ROOT, 6, QueryRetrieveLevel="PATIENT", PatientID=str(patid))


@command("movestudy:source,dest,patid:studyuid", group=GROUP)
def movestudy(server: Server, source: Source, dest: Ae, patid_studyuid: PatientAnd) -> str:
    """Move study, patid: optional.

    Replies as `movepatient` does.
    """
    keys = _with_patient(patid_studyuid, "StudyInstanceUID")
    return _move(server, source, dest, STUDY_ROOT, 7, QueryRetrieveLevel="STUDY", **keys)


@command("moveaccession:source,dest,patid:acc", group=GROUP)
def moveaccession(server: Server, source: Source, dest: Ae, patid_acc: PatientAnd) -> str:
    """Move by Accession#, patid: optional.

    Replies as `movepatient` does.
    """
    keys = _with_patient(patid_acc, "AccessionNumber")
    return _move(server, source, dest, STUDY_ROOT, 7777, QueryRetrieveLevel="STUDY", **keys)


@command("movestudies:source,dest,date", group=GROUP)
def movestudies(server: Server, source: Source, dest: Ae, date: DateRange) -> str:
    """Move studies on date.

    `date` is yyyymmdd or a range; it is the study date. Replies as `movepatient` does.
    """
    return _move(server, source, dest, STUDY_ROOT, 8, QueryRetrieveLevel="SERIES", StudyDate=str(date))


@command("moveseries:src,dst,patid:seruid,stuid", group=GROUP)
def moveseries(server: Server, src: Source, dst: Ae, patid_seruid: PatientAnd, stuid: str = "") -> str:
    """Move series patid: optional.

    `stuid`, the study UID, may be left out, but some servers need it. Replies as `movepatient` does.
    """
    keys = _with_patient(patid_seruid, "SeriesInstanceUID")
    if stuid:
        keys["StudyInstanceUID"] = stuid
    return _move(server, src, dst, STUDY_ROOT, 9, QueryRetrieveLevel="SERIES", **keys)


@command("move:source,dest,patid,study,series,sop", group=GROUP)
def move(
    server: Server, source: Source, dest: Ae, patid: str = "", study: str = "", series: str = "", sop: str = ""
) -> str:
    """Move whatever the deepest given ID names.

    Empty IDs select nothing by themselves. ConQuest has this since 1.5. Replies as `movepatient` does.
    """
    named = {
        "PatientID": patid, "StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop,
    }  # fmt: skip
    keys = {keyword: value for keyword, value in named.items() if value}
    if not keys:
        raise CommandError("names nothing to move")
    levels = dict(zip(named, ("PATIENT", "STUDY", "SERIES", "IMAGE"), strict=True))
    level = levels[list(keys)[-1]]
    model = PATIENT_ROOT if level == "PATIENT" else STUDY_ROOT
    return _move(server, source, dest, model, 10, QueryRetrieveLevel=level, **keys)


def _with_patient(argument: PatientAnd, keyword: str) -> dict[str, str]:
    keys = {keyword: argument.uid}
    if argument.patient:
        keys["PatientID"] = argument.patient
    return keys


def _move(server: Server, source: str, dest: str, model: str, message_id: int, **keys: str) -> str:
    """C-MOVE to the source; the message ID is ConQuest's, as it shows up as move originator at the destination."""
    identifier = Dataset()
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    peer = own_peer(server) if source == "(local)" else peer_or_self(server, source)
    proposals = [Proposal(uid, (IMPLICIT_LITTLE,)) for uid in (PATIENT_ROOT, STUDY_ROOT)]
    failed = f"1 Move failed from {source} to {dest}"
    if peer is None:
        log.error("***Move: %s is not in acrnema.map", source)
        return failed
    try:
        with associate(peer, server.ae_title, proposals, timeout_s=server.settings.TCPIPTimeOut) as association:
            final = send_c_move(association, model, identifier, dest.ljust(16), message_id).command
    except (AssociationFailed, PeerGone) as error:
        log.error("***Move from %s to %s: %s", source, dest, error)
        return failed
    # Counts may be left out of the last response (PS3.7 9.1.4.1.7), and then say nothing.
    nothing = COMPLETED in final and not final.number(COMPLETED) + final.number(WARNING)
    if final.number(STATUS) != 0 or nothing:
        sent = "nothing was sent" if nothing else f"{final.number(COMPLETED)} sent"
        log.error("***Move from %s to %s ended with 0x%04x, %s", source, dest, final.number(STATUS), sent)
        return failed
    return "0"
