"""Damaged files and JSON from anywhere: refused with a declared error, never anything else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgate.rev.age import Entry
from dgate.rev.anonymise import anonymised
from dgate.rev.descriptor import entry_of
from dgate.rev.errors import RevError
from dgate.rev.slices import in_order, named, read_slice
from dgate.rev.state import read_state
from dgate.rev.tags import tag_lines
from dgate.rev.tagstruct import Anonymisation
from storage.errors import StorageError
from tests.objects import encoded
from tests.test_rev.test_anonymise import STRUCT, nested

WHOLE = encoded(nested())
ASKED = Anonymisation(json.dumps(STRUCT), remove_private=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["query", "data", "files", "version", "details", "uid", "value", "source"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def directory() -> Any:
    with TemporaryDirectory() as made:
        yield Path(made)


@given(st.integers(0, len(WHOLE) - 600), st.binary(min_size=1, max_size=8), st.none() | st.integers(0, len(WHOLE)))
def test_a_damaged_object_is_refused_or_dealt_with(directory: Path, at: int, damage: bytes, cut: int | None) -> None:
    path = directory / "a.dcm"
    path.write_bytes((WHOLE[:at] + damage + WHOLE[at + len(damage) :])[:cut])
    for look in (read_slice, tag_lines, lambda path: b"".join(anonymised(path, ASKED))):
        try:
            look(path)
        except (RevError, StorageError) as error:
            said = str(error)
        else:
            continue
        assert said
        assert "\n" not in said


@given(JSON)
def test_json_of_anybody_is_a_descriptor_or_none(directory: Path, found: Any) -> None:
    assert entry_of(found) is None
    (directory / ".rev-state.json").write_text(json.dumps(found))
    assert read_state(directory) is None


@given(st.text(max_size=30))
def test_a_path_is_an_example_or_refused(text: str) -> None:
    try:
        entry = Entry.read(text)
    except RevError:
        return
    assert entry.path in text


@given(st.lists(st.sampled_from(["1", "-3.5", "", "x", "1\\2", "1e400", "nan"]), min_size=1, max_size=6))
def test_any_instance_numbers_and_positions_have_an_order(directory: Path, numbers: list[str]) -> None:
    path = directory / "b.dcm"
    path.write_bytes(WHOLE)
    slices = []
    for place, number in enumerate(numbers):
        one = read_slice(path)
        values = {
            **one.values,
            "InstanceNumber": number,
            "ImagePositionPatient": f"0\\0\\{number}",
            "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
        }
        slices.append(type(one)(path, f"{place}.dcm", one.transfer_syntax, values, 1, 1, True))
    ordered, _ = in_order(slices)
    assert sorted(one.name for one in ordered) == sorted(one.name for one in slices)
    assert len(set(named(slices).values())) == len(slices)


def test_the_package_needs_neither_server_nor_database() -> None:
    code = "import sys, dgate.rev.cli; sys.exit(bool({'server', 'db', 'sqlalchemy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
