"""Documentation that is generated is what the tables say now, and nothing declared is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dgate.command import COMMANDS
from dgate.docs import PAGES
from dgate.setting import settings

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == PAGES[name](), f"{name} is stale: run make docs"


def test_every_command_and_every_key_has_its_place_in_the_reference() -> None:
    commands = (ROOT / "docs/commands.md").read_text()
    assert [name for name in COMMANDS if f"### `{name}:" not in commands] == []
    keys = (ROOT / "docs/dicom-ini.md").read_text()
    assert [one.key for one in settings() if one.key not in keys] == []


def test_links_of_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_departure_from_conquest_has_a_reason() -> None:
    rows = [line for line in (ROOT / "docs/differences.md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert len(cells) > 20
    assert [row for row in cells if len(row) != 3 or not all(row)] == []


def test_names_of_change_notes_say_what_kind_of_change_they_are() -> None:
    notes = [path.name for path in (ROOT / "changelog.d").glob("*.md") if path.name != "README.md"]
    assert [name for name in notes if not re.fullmatch(r"[a-z0-9-]+\.(added|changed|fixed)\.md", name)] == []
