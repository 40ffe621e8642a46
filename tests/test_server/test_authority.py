"""Who may run what and reach which file."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.address import parse_ranges
from server.authority import Caller, Forbidden, caller_for
from server.settings import ServerSettings


@pytest.mark.parametrize(
    ("address", "read_only", "admin", "rights"),
    [
        ("127.0.0.1", "", "", "admin"),
        ("127.8.9.10", "", "", "admin"),
        ("::1", "", "", "admin"),
        ("::ffff:127.0.0.1", "", "", "admin"),
        ("10.0.0.1", "", "", ""),
        ("::ffff:10.0.0.1", "", "", ""),
        ("10.0.0.1", "10.0.0.0/8", "", "read"),
        ("10.0.0.1", "10.0.0.1", "", "read"),
        ("::ffff:10.0.0.1", "10.0.0.1/32", "", "read"),
        ("10.0.0.2", "10.0.0.1, 192.168.0.0/16", "", ""),
        ("192.168.3.4", "10.0.0.1, 192.168.0.0/16", "", "read"),
        ("192.168.3.4", "10.0.0.1 192.168.0.0/16", "", "read"),
        ("10.0.0.1", "10.0.0.0/8", "10.0.0.0/24", "admin"),
        ("10.0.1.1", "10.0.0.0/8", "10.0.0.0/24", "read"),
        ("fd00::7", "", "fd00::/8", "admin"),
        ("fd00::7", "0.0.0.0/0", "", ""),
        ("10.0.0.1", "::/0", "", ""),
        ("", "0.0.0.0/0", "0.0.0.0/0", ""),
        ("localhost", "0.0.0.0/0", "0.0.0.0/0", ""),
    ],
)
def test_rights_go_by_address(address: str, read_only: str, admin: str, rights: str, tmp_path: Path) -> None:
    settings = ServerSettings(CommandReadOnly=read_only, CommandAdmin=admin)
    caller = caller_for(settings, tmp_path, address, "WS", "PACS")
    assert caller == Caller(address, "WS", "PACS", rights, None)
    assert (caller.allows("read"), caller.allows("admin")) == (rights != "", rights == "admin")


def test_host_bits_of_a_range_do_not_matter() -> None:
    assert [str(network) for network in parse_ranges("10.1.2.3/8,fd00::1/64")] == ["10.0.0.0/8", "fd00::/64"]
    assert parse_ranges(" , ") == ()


@pytest.mark.parametrize("text", ["10.0.0", "10.0.0.0/33", "somehost", "10.0.0.1-10.0.0.9", "10.0.0.*"])
def test_what_is_no_range_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no address; write addresses or ranges such as 10\.0\.0\.0/8") as error:
        parse_ranges(f"127.0.0.1, {text}")
    assert str(error.value).startswith(text)


def test_an_administrator_reaches_any_path(tmp_path: Path) -> None:
    caller = Caller("127.0.0.1", rights="admin")
    assert caller.path("a/b.dcm", tmp_path) == tmp_path / "a" / "b.dcm"
    assert caller.path("/etc/hostname", tmp_path) == Path("/etc/hostname")


@pytest.mark.parametrize("rights", ["", "read"])
@pytest.mark.parametrize("text", ["/etc/passwd", "../x", "a/../../x", "..", "link/x", "a/../link/x", "/", "~/../../x"])
def test_others_stay_below_the_export_root(tmp_path: Path, rights: str, text: str) -> None:
    root = tmp_path / "export"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    caller = Caller("10.0.0.1", rights=rights, export_root=root)
    assert caller.path("a/b.dcm", tmp_path) == root / "a" / "b.dcm"
    assert caller.path("a/../b.dcm", tmp_path) == root / "b.dcm"
    with pytest.raises(Forbidden, match="is not below ExportRoot"):
        caller.path(text, tmp_path)


def test_without_an_export_root_others_name_no_files(tmp_path: Path) -> None:
    with pytest.raises(Forbidden, match="set ExportRoot to allow others"):
        Caller("10.0.0.1", rights="read").path("a.dcm", tmp_path)


@pytest.mark.parametrize("rights", ["admin", "read"])
def test_a_nul_is_no_part_of_a_name(tmp_path: Path, rights: str) -> None:
    with pytest.raises(Forbidden, match="a file name holds a NUL"):
        Caller("127.0.0.1", rights=rights, export_root=tmp_path).path("a\0b", tmp_path)


def test_the_export_root_is_below_the_base_directory(tmp_path: Path) -> None:
    settings = ServerSettings(ExportRoot="export")
    assert caller_for(settings, tmp_path, "10.0.0.1").export_root == tmp_path / "export"
