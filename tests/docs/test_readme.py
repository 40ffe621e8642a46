"""The README's own lines, run as they stand against the server that a first run makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dgate.firstrun import write_configuration
from tests.objects import study, write
from tests.peers import free_port, needs_dcmtk, running
from tests.servers import environment

ROOT = Path(__file__).resolve().parent.parent.parent
SECTION = "## Store, find and fetch a study"


def blocks() -> list[str]:
    """The shell blocks of the section that explains how to use a server."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index(SECTION) :].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


@needs_dcmtk
def test_the_readme_works_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    write_configuration(tmp_path / "data")
    ini = tmp_path / "data" / "dicom.ini"
    port, sink = str(free_port()), str(free_port())
    assert "5678" in ini.read_text()
    ini.write_text(ini.read_text().replace("5678", port))
    for number, obj in enumerate(study("P1", series=1, images=2)):
        obj.StudyInstanceUID = "1.2.3"
        write(tmp_path / "scans", obj).rename(tmp_path / "scans" / f"slice{number}.dcm")
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    # 255 says that there was a reply, as the README explains; every other status must be 0.
    (programs / "dgate").write_text(f'#!/bin/sh\n{sys.executable} -m dgate "$@" || [ $? -eq 255 ]\n')
    (programs / "dgate").chmod(0o755)
    script = "\n".join(blocks()).replace("5678", port).replace("11112", sink)
    script = script.replace(f"{sink} &", f"{sink} & sleep 1")
    env = environment()
    with running([sys.executable, "-m", "dgate", "-wdata"], int(port), cwd=tmp_path, env=env):
        ran = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", f"trap 'kill $(jobs -p)' EXIT\nset -x\n{script}"],
            cwd=tmp_path,
            env={**env, "TCP_NODELAY": "1"},
            capture_output=True,
            timeout=120,
            check=False,
        )
    shown = ran.stdout.decode() + ran.stderr.decode()
    assert ran.returncode in (0, 143), shown
    assert len(list((tmp_path / "fetched").iterdir())) == 2, shown
    assert len(list((tmp_path / "moved").iterdir())) >= 2, shown
    assert "20260102 CT DOE^JOHN P1 1.2.3" in ran.stdout.decode(), shown
    assert "DICOM server 'CONQUESTSRV1'" in ran.stdout.decode(), shown


def test_make_test_and_ci_say_what_the_readme_says() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in ("run:", "test:", "check:", "bench:") if f"\n{name}" not in makefile] == []
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    lines = [line for line in ci.read_text().splitlines() if line]
    assert lines[-2:] == ["make check", "make test"]


_PACKAGES = "chromium dcmtk dicom3tools libgdcm-tools orthanc postgresql iproute2 make python3-venv"


@pytest.mark.parametrize("there", ["", "dcmtk", _PACKAGES])
def test_ci_installs_what_is_missing_and_then_checks_and_tests(tmp_path: Path, there: str) -> None:
    (tmp_path / "dpkg-query").write_text(
        f'#!/bin/sh\nfor last; do :; done\ncase " {there} " in *" $last "*) echo installed ;; *) exit 1 ;; esac\n'
    )
    for name in ("apt-get", "make", "sudo"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" $DEBIAN_FRONTEND >> {tmp_path}/said\n')
    for shim in tmp_path.iterdir():
        shim.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "DEBIAN_FRONTEND": ""}
    subprocess.run([ROOT / ".ci" / "run"], env=env, check=True, timeout=60)
    said = (tmp_path / "said").read_text().splitlines()
    assert said[-2:] == ["make check", "make test"]
    installed = said[:-2]
    needed = ["dcmtk", "orthanc", "postgresql", "iproute2", "make", "python3-venv"]
    missing = [name for name in needed if name not in there]
    assert len(installed) == (2 if missing else 0)
    assert all("noninteractive" in line for line in installed)
    assert all(name in installed[1].split() for name in missing)
    assert all(name not in installed[1].split() for name in there.split() if missing)


@pytest.mark.parametrize("name", ["Dockerfile", "start", "compose.yaml"])
def test_the_container_files_are_there(name: str) -> None:
    assert (ROOT / "docker" / name).is_file()
