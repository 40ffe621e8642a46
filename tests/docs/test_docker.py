"""The container files, checked without a daemon: no root, pinned roles, a health check, everything they name exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

DOCKER = Path(__file__).resolve().parent.parent.parent / "docker"
ROOT = DOCKER.parent


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


@pytest.mark.parametrize("key", ["DGATE_DB_HOST", "DGATE_DB_PASSWORD"])
def test_the_environment_of_the_compose_file_is_what_the_first_run_reads(key: str) -> None:
    assert key in (DOCKER / "compose.yaml").read_text()
    assert key in (ROOT / "dgate" / "firstrun.py").read_text()
