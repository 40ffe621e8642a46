"""Orthanc as a peer, both ways: it stores, queries and retrieves here; we query it, move from it, move to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from tests.conformance.conftest import Archive
from tests.conformance.test_store import hundreds, send
from tests.conformance.test_vectors import ask, expected
from tests.objects import data_set_bytes, study, write
from tests.peers import Orthanc, dcmtk, free_port, needs_dcmtk, needs_orthanc, orthanc
from tests.servers import AE, started, write_ini, write_map

pytestmark = [needs_orthanc, needs_dcmtk]


@dataclass
class Pair:
    """A server of ours and an Orthanc that know each other."""

    ours: Archive
    theirs: Orthanc


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    directory = tmp_path / "archive"
    directory.mkdir()
    port = free_port()
    with orthanc(tmp_path / "orthanc", {"dgate": (AE, port)}) as theirs:
        write_map(directory, {theirs.ae: (theirs.port, "as"), AE: (port, "as")})
        write_ini(directory, TCPPort=port)
        with started(directory) as daemon:
            yield Pair(Archive(directory, daemon), theirs)


def finished(pair: Pair, job: dict[str, str]) -> dict[str, str]:
    """Wait for an Orthanc job."""
    state: dict[str, str] = {}
    for _ in range(300):
        state = pair.theirs.get(f"/jobs/{job['ID']}")
        if state["State"] not in ("Pending", "Running"):
            break
        time.sleep(0.05)
    return state


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether something becomes true within ten seconds."""
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_orthanc_echoes_stores_and_queries_here(pair: Pair, tmp_path: Path) -> None:
    made = study("P1", series=2, images=2)
    paths = [write(tmp_path / "made", obj) for obj in made]
    ran = dcmtk("storescu", "-aec", pair.theirs.ae, "localhost", pair.theirs.port, *paths)
    assert ran.code == 0, ran.output
    assert pair.theirs.post("/modalities/dgate/echo", {}) == {}
    (patient,) = pair.theirs.get("/patients")
    stored = pair.theirs.post("/modalities/dgate/store", {"Resources": [patient], "Synchronous": True})
    assert stored["FailedInstancesCount"] == 0
    ours = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in pair.ours.files()}
    assert ours.keys() == {str(obj.SOPInstanceUID) for obj in made}
    query = pair.theirs.post("/modalities/dgate/query", {"Level": "Series", "Query": {"PatientID": "P1"}})
    assert len(pair.theirs.get(f"/queries/{query['ID']}/answers")) == 2


def test_orthanc_retrieves_from_here_by_c_move(pair: Pair) -> None:
    made = study("P2", series=1, images=3)
    pair.ours.keep(*made)
    query = pair.theirs.post(
        "/modalities/dgate/query", {"Level": "Study", "Query": {"StudyInstanceUID": str(made[0].StudyInstanceUID)}}
    )
    job = pair.theirs.post(f"/queries/{query['ID']}/retrieve", {"TargetAet": pair.theirs.ae, "Synchronous": False})
    assert finished(pair, job)["State"] == "Success"
    assert eventually(lambda: len(pair.theirs.get("/instances")) == 3)


def test_what_we_move_to_orthanc_is_there_byte_for_byte(pair: Pair, tmp_path: Path) -> None:
    made = study("P3", series=1, images=2)
    pair.ours.keep(*made)
    uid = made[0].StudyInstanceUID
    assert ask(pair.ours.port, f"movestudy:(local),{pair.theirs.ae},{uid}") == expected("0")
    ours = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in pair.ours.files()}
    instances = pair.theirs.get("/instances")
    assert len(instances) == 2
    for instance in instances:
        path = tmp_path / f"{instance}.dcm"
        path.write_bytes(pair.theirs.raw(f"/instances/{instance}/file"))
        kept = pydicom.dcmread(path)
        assert kept == pydicom.dcmread(ours[str(kept.SOPInstanceUID)])
        assert data_set_bytes(path) == data_set_bytes(ours[str(kept.SOPInstanceUID)])


def test_hundreds_of_objects_of_every_kind_arrive_at_orthanc(pair: Pair, tmp_path: Path) -> None:
    sent = hundreds(tmp_path / "made")
    send(pair.ours, *(path for path, _ in sent.values()))
    ran = dcmtk(
        "movescu", "-v", "-P", "-aec", AE, "-aem", pair.theirs.ae, "-k", "QueryRetrieveLevel=PATIENT",
        "-k", "PatientID=*", "localhost", pair.ours.port,
    )  # fmt: skip
    assert ran.code == 0, ran.output
    assert pair.theirs.get("/statistics")["CountInstances"] == len(sent)
    for instance in pair.theirs.get("/instances?expand"):
        path = tmp_path / "back.dcm"
        path.write_bytes(pair.theirs.raw(f"/instances/{instance['ID']}/file"))
        kept = pydicom.dcmread(path)
        original, syntax = sent[str(kept.SOPInstanceUID)]
        assert kept.file_meta.TransferSyntaxUID == syntax
        assert kept == pydicom.dcmread(original)


def test_we_query_orthanc_and_move_from_it_to_us(pair: Pair, tmp_path: Path) -> None:
    made = study("P4", series=1, images=2, PatientName="REMOTE^ONE", StudyDate="20260505")
    paths = [write(tmp_path / "made", obj) for obj in made]
    assert dcmtk("storescu", "-aec", pair.theirs.ae, "localhost", pair.theirs.port, *paths).code == 0
    uid = made[0].StudyInstanceUID
    assert ask(pair.ours.port, f"echo:{pair.theirs.ae}") == expected(f"{pair.theirs.ae} is UP")
    found = ask(pair.ours.port, f"studyfinder:{pair.theirs.ae}|REMOTE|%1$s %3$s %4$s %5$s")
    assert found == expected(f"20260505 REMOTE^ONE P4 {uid}\n")
    # Orthanc's own list of modalities calls us by our title, which is where it sends.
    assert ask(pair.ours.port, f"movestudy:{pair.theirs.ae},{AE},{uid}") == expected("0")
    assert {str(pydicom.dcmread(path).SOPInstanceUID) for path in pair.ours.files()} == {
        str(obj.SOPInstanceUID) for obj in made
    }
