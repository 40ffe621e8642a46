"""dgatesop.lst: five lists, each of which accepts everything while it is empty."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.soplist import Kind, SopEntry, SopList, render_default

CONQUEST = """\
# DICOM Application / sop / transfer UID list.
#None\t\t\t\tnone\t\t\t\tRemoteAE
Verification\t\t\t1.2.840.10008.1.1\t\tsop
CTImageStorage                                       1.2.840.10008.5.1.4.1.1.2\t\tabstract
LittleEndianImplicit                                 1.2.840.10008.1.2\ttransfer
JPEGBaseLine1                                        1.2.840.10008.1.2.4.50\ttransfer\tLittleEndianExplicit
"""


def soplist(tmp_path: Path, text: str) -> SopList:
    path = tmp_path / "dgatesop.lst"
    path.write_text(text)
    return SopList(path)


def replaced(path: Path, text: str) -> None:
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_the_distributed_file_reads_as_its_lists(tmp_path: Path) -> None:
    read = soplist(tmp_path, CONQUEST)
    assert read.entries("sop") == (
        SopEntry("1.2.840.10008.1.1", "Verification"),
        SopEntry("1.2.840.10008.5.1.4.1.1.2", "CTImageStorage"),
    )
    assert read.entries("transfer") == (
        SopEntry("1.2.840.10008.1.2", "LittleEndianImplicit"),
        SopEntry("1.2.840.10008.1.2.4.50", "JPEGBaseLine1", ("LittleEndianExplicit",)),
    )
    assert read.entries("RemoteAE") == read.entries("LocalAE") == read.entries("application") == ()
    assert read.warnings == ()


def test_a_list_accepts_what_it_holds_and_an_empty_one_everything(tmp_path: Path) -> None:
    read = soplist(tmp_path, CONQUEST)
    assert read.accepts_sop("1.2.840.10008.1.1")
    assert not read.accepts_sop("1.2.3")
    assert read.accepts_transfer("1.2.840.10008.1.2.4.50")
    assert not read.accepts_transfer("1.2.840.10008.1.2.4.70")
    assert read.accepts_application("1.2.3")
    assert read.accepts_remote_ae("ANY")
    assert read.accepts_local_ae("ANY")


def test_ae_titles_compare_exactly_up_to_a_blank_with_their_suffix(tmp_path: Path) -> None:
    read = soplist(tmp_path, "A MOD1 remoteae\nB SRV LOCALAE\n")
    assert [read.accepts_remote_ae(title) for title in ("MOD1", "MOD1  ", "mod1", "MOD2", "MOD1~un")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert read.accepts_local_ae("SRV")
    assert not read.accepts_local_ae("SRV~j2")


def test_a_missing_file_accepts_everything_until_it_comes(tmp_path: Path) -> None:
    read = SopList(tmp_path / "dgatesop.lst")
    assert read.accepts_sop("1.2.3")
    read.path.write_text("X 1.2.4 sop\n")
    read.refresh()
    assert not read.accepts_sop("1.2.3")
    assert read.accepts_sop("1.2.4")


def test_an_edit_counts_after_a_refresh_and_a_vanished_file_opens_nothing(tmp_path: Path) -> None:
    read = soplist(tmp_path, "X 1.2.4 sop\n")
    replaced(read.path, "X 1.2.5 sop\n")
    assert not read.accepts_sop("1.2.5")
    read.refresh()
    assert read.accepts_sop("1.2.5")
    read.path.unlink()
    read.refresh()
    assert not read.accepts_sop("1.2.4")


def test_lines_that_are_no_entry_are_named(tmp_path: Path) -> None:
    read = soplist(tmp_path, "X 1.2.4\n\n  \nX 1.2.4 soap\n")
    assert read.warnings == (
        "dgatesop.lst:1: not an entry: write name, UID or AE title, and type",
        "dgatesop.lst:4: not an entry: write name, UID or AE title, and type",
    )


def test_put_changes_one_line_in_conquests_columns(tmp_path: Path) -> None:
    read = soplist(tmp_path, CONQUEST)
    read.put("transfer", 1, "1.2.840.10008.1.2.4.70", "")
    lines = read.path.read_text().splitlines()
    assert lines[:5] == CONQUEST.splitlines()[:5]
    assert lines[5] == f"{'JPEGBaseLine1':<42} {'1.2.840.10008.1.2.4.70':<44} transfer LittleEndianExplicit"


@pytest.mark.parametrize(
    ("kind", "word"),
    [("RemoteAE", "RemoteAe"), ("LocalAE", "LocalAe"), ("application", "application"), ("sop", "sop")],
)
def test_put_past_the_end_appends_behind_the_list_and_counts_at_once(tmp_path: Path, kind: Kind, word: str) -> None:
    read = soplist(tmp_path, CONQUEST)
    read.put(kind, 99, "1.2.3", "Name")
    assert read.entries(kind)[-1] == SopEntry("1.2.3", "Name")
    assert SopList(read.path).entries(kind) == read.entries(kind)
    line = f"{'Name':<42} {'1.2.3':<44} {word}"
    assert read.path.read_text().splitlines().index(line) == (4 if kind == "sop" else 6)


def test_put_into_a_missing_file_makes_it(tmp_path: Path) -> None:
    read = SopList(tmp_path / "dgatesop.lst")
    read.put("LocalAE", 0, "SRV")
    assert read.path.read_text() == f"{'SRV':<42} {'SRV':<44} LocalAe\n"
    assert not read.accepts_local_ae("OTHER")


def test_delete_removes_one_line(tmp_path: Path) -> None:
    read = soplist(tmp_path, CONQUEST)
    assert read.delete("sop", 0) is True
    assert read.entries("sop") == (SopEntry("1.2.840.10008.5.1.4.1.1.2", "CTImageStorage"),)
    assert read.path.read_text() == "".join(
        CONQUEST.splitlines(keepends=True)[:2] + CONQUEST.splitlines(keepends=True)[3:]
    )
    assert read.delete("sop", 1) is False
    assert read.delete("sop", -1) is False


@pytest.mark.parametrize(
    ("uid", "name"), [("", "x"), ("1 2", "x"), ("1\n2", "x"), ("1.2", "a b"), ("1.2", "#a"), ("#1", "")]
)
def test_what_would_not_be_one_word_is_refused(tmp_path: Path, uid: str, name: str) -> None:
    read = soplist(tmp_path, CONQUEST)
    with pytest.raises(ValueError, match="one word that does not begin with #"):
        read.put("sop", 0, uid, name)
    assert read.path.read_text() == CONQUEST


def test_the_default_file_accepts_everything_and_offers_every_class_as_a_comment(tmp_path: Path) -> None:
    read = soplist(tmp_path, render_default())
    assert read.warnings == ()
    assert read.accepts_sop("1.2.3")
    assert read.accepts_transfer("1.2.3")
    assert read.accepts_remote_ae("ANY")
    assert f"#{'Verification':<42} {'1.2.840.10008.1.1':<44} sop\n" in render_default()
    assert f"#{'CTImageStorage':<42} {'1.2.840.10008.5.1.4.1.1.2':<44} sop\n" in render_default()
    offered = [line[1:] for line in render_default().splitlines() if line[1:2] not in (" ", "")]
    (tmp_path / "all.lst").write_text("\n".join(offered))
    everything = SopList(tmp_path / "all.lst")
    assert everything.warnings == ()
    assert everything.entries("sop")[0] == SopEntry("1.2.840.10008.1.1", "Verification")
    assert everything.accepts_transfer("1.2.840.10008.1.2")
    assert everything.accepts_transfer("1.2.840.10008.1.2.4.70")
    assert len(everything.entries("sop")) > 170


words = st.from_regex(r"[A-Za-z0-9_.~-][A-Za-z0-9_.~#-]{0,12}", fullmatch=True)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["RemoteAE", "LocalAE", "application", "sop", "transfer"])


@given(st.lists(st.tuples(kinds, st.integers(0, 3), words, words, st.booleans()), max_size=8), st.booleans())
def test_a_list_behaves_like_a_python_list(steps: list[tuple[Kind, int, str, str, bool]], crlf: bool) -> None:
    model: dict[Kind, list[tuple[str, str]]] = {
        kind: [] for kind in ("RemoteAE", "LocalAE", "application", "sop", "transfer")
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "dgatesop.lst"
        path.write_bytes(b"# comment" + (b"\r\n" if crlf else b"\n"))
        read = SopList(path)
        for kind, index, uid, name, remove in steps:
            if remove:
                assert read.delete(kind, index) == (index < len(model[kind]))
                del model[kind][index : index + 1]
            else:
                read.put(kind, index, uid, name)
                model[kind][index : index + 1] = [(uid, name)]
        for kind, expected in model.items():
            assert [(entry.uid, entry.name) for entry in SopList(path).entries(kind)] == expected
        assert path.read_bytes().startswith(b"# comment")
