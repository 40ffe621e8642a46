"""Commands from other machines are refused and logged unless granted; a network namespace is the other machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.objects import ds, with_pixels, write
from tests.peers import dcmtk, needs_dcmtk
from tests.servers import environment, started, write_ini

HERE, THERE = "10.87.65.1", "10.87.65.2"


def _may_make_namespaces() -> bool:
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    probe = subprocess.run(["ip", "netns", "add", "dgate-probe"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", "dgate-probe"], capture_output=True, check=False)
    return probe.returncode == 0


pytestmark = [
    needs_dcmtk,
    pytest.mark.skipif(not _may_make_namespaces(), reason="needs root and iproute2: apt-get install iproute2"),
]


@dataclass(frozen=True)
class OtherMachine:
    """A network namespace joined to this one by a pair of virtual interfaces."""

    name: str

    def run(self, *command: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            cwd=directory,
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )

    def dgate(self, *arguments: str, directory: Path) -> subprocess.CompletedProcess[bytes]:
        return self.run(sys.executable, "-m", "dgate", *arguments, directory=directory)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def other() -> Iterator[OtherMachine]:
    name = f"dgate-{os.getpid()}"
    near, far = f"dg{os.getpid() % 100000}a", f"dg{os.getpid() % 100000}b"
    ip("netns", "add", name)
    try:
        ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name)
        ip("address", "add", f"{HERE}/24", "dev", near)
        ip("link", "set", near, "up")
        ip("-n", name, "address", "add", f"{THERE}/24", "dev", far)
        ip("-n", name, "link", "set", far, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield OtherMachine(name)
    finally:
        ip("netns", "delete", name)


@dataclass(frozen=True)
class Case:
    """What dicom.ini grants, what is asked, and what comes of it."""

    settings: dict[str, str]
    line: str
    code: int
    output: str


CASES = [
    Case({}, "get_param:MyACRNema", 1, ""),
    Case({}, "deletepatient:P1", 1, ""),
    Case({"CommandReadOnly": f"{THERE}/32"}, "get_param:MyACRNema", 255, "CONQUESTSRV1"),
    Case({"CommandReadOnly": "10.87.0.0/16"}, "put_param:MyACRNema,X", 1, ""),
    Case({"CommandReadOnly": "10.87.0.0/16"}, "display_status:/etc/dgate-was-here", 1, ""),
    Case({"CommandAdmin": f"192.168.0.0/16, {THERE}"}, "put_param:Extra,1", 0, ""),
    Case({"CommandAdmin": f"{THERE}"}, "get_param:MyACRNema", 255, "CONQUESTSRV1"),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.settings}-{case.line}" for case in CASES])
def test_a_command_from_another_machine_needs_to_be_granted(tmp_path: Path, other: OtherMachine, case: Case) -> None:
    write_ini(tmp_path, BindAddress="0.0.0.0", **case.settings)
    with started(tmp_path) as daemon:
        ran = other.dgate(f"-p{daemon.port}", f"-q{HERE}", "-hREMOTE", f"--{case.line}", directory=tmp_path.parent)
    assert (ran.returncode, ran.stdout.decode()) == (case.code, case.output)
    log = (tmp_path / "PacsTrouble.log").read_text()
    refused = case.code == 1
    assert (b"not allowed from here" in ran.stderr) == refused
    assert ("refused" in log and THERE in log) == refused
    assert not Path("/etc/dgate-was-here").exists()


@pytest.mark.parametrize("granted", [False, True])
def test_who_may_not_run_commands_may_not_send_long_ones_either(
    tmp_path: Path, other: OtherMachine, granted: bool
) -> None:
    """A command set is held in memory, so only those who may upload send one of any length."""
    path = write(tmp_path / "sent", with_pixels(ds(), 512, 512))
    write_ini(tmp_path, BindAddress="0.0.0.0", CommandAdmin=THERE if granted else "")
    with started(tmp_path) as daemon:
        line = f"--addlocalfile:{path}"
        ran = other.dgate(f"-p{daemon.port}", f"-q{HERE}", "-hREMOTE", line, directory=tmp_path.parent)
    trouble = (tmp_path / "PacsTrouble.log").read_text()
    assert ran.returncode == (255 if granted else 1), ran
    assert ("aborted: a command set longer than 131072 bytes" in trouble) == (not granted)
    assert len(list((tmp_path / "MAG0").rglob("*.dcm"))) == granted


def test_dicom_itself_is_open_to_other_machines(tmp_path: Path, other: OtherMachine) -> None:
    write_ini(tmp_path, BindAddress="0.0.0.0")
    with started(tmp_path) as daemon:
        ran = other.run("echoscu", HERE, str(daemon.port), directory=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_loopback_may_do_everything(tmp_path: Path) -> None:
    write_ini(tmp_path)
    with started(tmp_path) as daemon:
        assert dcmtk("echoscu", "localhost", daemon.port).code == 0
        ran = subprocess.run(
            [sys.executable, "-m", "dgate", f"-p{daemon.port}", "--put_param:Extra,1"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0
    assert "Extra" in (tmp_path / "dicom.ini").read_text()
