"""Test commands over the wire, and that no command of the table goes without a test over the wire."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dgate.commands  # noqa: F401  (fills the table)
from dgate.command import COMMANDS
from tests.commands import Reply, Site, expected, site

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("test")) as running:
        yield running


def test_genuid_makes_a_new_uid_each_time(shared: Site) -> None:
    made = [shared.says("genuid:") for _ in range(20)]
    assert len(set(made)) == 20
    assert all(re.fullmatch(r"99999\.99999\.6\.\d{10}\.\d{1,4}", uid) for uid in made)
    assert shared.says("genuid:and more").startswith("99999.99999.6.")


@pytest.mark.parametrize(
    ("text", "value"), [("123456789", "771566984"), ("", "0"), ("a,b", "3550005965"), ("é", "1339924417")]
)
def test_checksum_is_conquests_crc(shared: Site, text: str, value: str) -> None:
    assert shared.ask(f"checksum:{text}".encode()) == expected(value)


@pytest.mark.parametrize(
    "line",
    ["nosuchcommand:", "genuid", "GENUID:", " genuid:", ":", "genuid :", "x" * 5000, "DEAD", "\n", "lua:return 1"],
)
def test_what_is_no_command_does_nothing_and_has_no_reply(shared: Site, line: str) -> None:
    assert shared.ask(line) == Reply(None, None, 0)


def _texts(module: Path) -> Iterator[str]:
    """Every text of a module, the beginnings of f-strings among them."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.JoinedStr):
            first = node.values[0] if node.values else None
            if isinstance(first, ast.Constant):
                yield str(first.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_command_of_the_table_is_sent_over_the_wire_by_some_test() -> None:
    sent: set[str] = set()
    for module in (*HERE.glob("test_commands_*.py"), HERE.parent / "test_rev" / "test_job.py"):
        for text in _texts(module):
            name = re.match(r"([a-z][a-z0-9_]*)(?::|\Z)", text)
            if name:
                sent.add(name[1])
        # Lists that are asked in a loop: put_{kind}.
        if 'f"put_{kind}:' in module.read_text():
            kinds = ("sop", "transfer", "application", "localae", "remoteae")
            sent |= {f"{verb}_{kind}" for verb in ("get", "put", "delete") for kind in kinds}
    assert sorted(set(COMMANDS) - sent) == []
