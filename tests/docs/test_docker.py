"""The container files, checked without a daemon: no root, pinned roles, a health check, everything they name exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dgate.firstrun import write_configuration
from tests.peers import free_port, running
from tests.servers import environment

DOCKER = Path(__file__).resolve().parent.parent.parent / "docker"
ROOT = DOCKER.parent

# The image has dgate and python on its path and its data in /data: here they are this checkout and some directory.
SHIM = """\
#!/bin/sh
for word; do
    shift
    case $word in /data | -w/data) word="${{word%/data}}{data}" ;; esac
    set -- "$@" "$word"
done
exec {command} "$@"
"""


def test_the_image_does_not_run_as_root_and_has_a_health_check() -> None:
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
    words = [line.split()[0] for line in final if line and line[0].isupper()]
    user = next(line.split()[1] for line in final if line.startswith("USER "))
    assert user not in ("root", "0")
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "HEALTHCHECK" in words


def test_everything_the_image_copies_exists_and_is_not_ignored() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert [name for name in copied if name.split("/")[0] in ignored] == []


def test_the_start_script_is_a_shell_script_that_parses() -> None:
    subprocess.run(["sh", "-n", str(DOCKER / "start")], check=True)
    assert (DOCKER / "start").stat().st_mode & 0o111


def test_compose_waits_for_a_healthy_database_and_has_no_password_of_its_own() -> None:
    text = (DOCKER / "compose.yaml").read_text()
    assert "condition: service_healthy" in text
    assert (
        re.findall(r"PASSWORD: (.*)", text)
        == ["${DGATE_DB_PASSWORD:?set DGATE_DB_PASSWORD to a password of your own}"] * 2
    )


def test_the_container_starts_says_it_is_healthy_and_when_it_is_not(tmp_path: Path) -> None:
    data, programs = tmp_path / "data", tmp_path / "bin"
    programs.mkdir()
    for name, command in (("dgate", f"{sys.executable} -m dgate"), ("python", sys.executable)):
        (programs / name).write_text(SHIM.format(data=data, command=command))
        (programs / name).chmod(0o755)
    env = {**environment(), "PATH": f"{programs}:{os.environ['PATH']}"}

    def health() -> int:
        return subprocess.run(["sh", DOCKER / "start", "health"], env=env, timeout=60, check=False).returncode

    write_configuration(data)
    port = str(free_port())
    ini = data / "dicom.ini"
    ini.write_text(ini.read_text().replace("5678", port))
    assert health() == 1
    with running(["sh", str(DOCKER / "start")], int(port), env=env, stdout=subprocess.PIPE) as process:
        assert health() == 0
        process.terminate()
        shown = process.communicate(timeout=30)[0].decode().splitlines()
    assert process.returncode == 0
    assert shown[0] == f"{data} has a dicom.ini"
    assert shown[-1] == "DGATE has stopped"
    assert health() == 1


@pytest.mark.parametrize("key", ["DGATE_DB_HOST", "DGATE_DB_PASSWORD"])
def test_the_environment_of_the_compose_file_is_what_the_first_run_reads(key: str) -> None:
    assert key in (DOCKER / "compose.yaml").read_text()
    assert key in (ROOT / "dgate" / "firstrun.py").read_text()
