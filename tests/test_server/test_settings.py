"""The keys that the daemon reads: every one of the compatibility specification, with ConQuest's default or a reason."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from server.settings import CONVERTER_KINDS, ServerSettings

HINTS = typing.get_type_hints(ServerSettings, include_extras=True)
FIELDS = {field.name: field for field in dataclasses.fields(ServerSettings)}


def options(name: str) -> dict[str, typing.Any]:
    return dict(*typing.get_args(HINTS[name])[2:3])


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("MyACRNema", "none"),
        ("TCPPort", 104),
        ("PACSName", "MicroPACS"),
        ("TCPIPTimeOut", 300),
        ("SOPClassList", "dgatesop.lst"),
        ("ACRNemaMap", "acrnema.map"),
        ("Dictionary", "dgate.dic"),
        ("kFactorFile", "dicom.sql"),
        ("StorageFailedErrorCode", 0x0110),
        ("UserLog", "PacsUser.log"),
        ("TroubleLog", "PacsTrouble.log"),
        ("ImportConverters", 99),
        ("ForwardAssociationLevel", "STUDY"),
        ("QueueSize", 128),
        ("WorkListReturnsISO_IR", 100),
        ("EnableReadAheadThread", 1),
        ("WEBReadOnly", True),
    ],
)
def test_defaults_are_conquests(key: str, default: object) -> None:
    assert getattr(ServerSettings(), key) == default


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("PDUSize", 131072),
        ("BindAddress", ""),
        ("WebAddress", "127.0.0.1"),
        ("CommandReadOnly", ""),
        ("CommandAdmin", ""),
        ("WildcardDelete", False),
        ("ExportRoot", ""),
        ("ConquestStatuses", False),
        ("Workers", "auto"),
    ],
)
def test_our_own_defaults(key: str, default: object) -> None:
    assert getattr(ServerSettings(), key) == default


def test_every_field_has_a_type_a_text_of_one_line_and_known_options() -> None:
    known = {"aliases", "choices", "later", "ignored", "secret", "example", "heading", "low", "high", "fill", "check"}
    for name in FIELDS:
        _, text, *more = typing.get_args(HINTS[name])
        assert "\n" not in text
        assert 0 < len(text) < 121
        assert set(*more) <= known


def test_every_kind_of_converter_has_its_family() -> None:
    assert [kind for kind in CONVERTER_KINDS if f"{kind}Converter" not in FIELDS] == []


def test_ladleport_is_the_old_name_of_the_web_port() -> None:
    assert options("WebPort")["aliases"] == ("Ladleport",)


@pytest.mark.parametrize("text", ["auto", "AUTO", "0", "1", "64"])
def test_worker_counts_that_are_accepted(text: str) -> None:
    options("Workers")["check"](text)


@pytest.mark.parametrize("text", ["65", "-1", "many", "1 ", "٣", "9" * 9999])
def test_worker_counts_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="auto, or a number of processes from 0 to 64"):
        options("Workers")["check"](text)


def test_address_ranges_are_checked() -> None:
    check = options("CommandAdmin")["check"]
    check("10.0.0.0/8, 192.168.1.7 fe80::/10")
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33 is no address"):
        check("127.0.0.1 10.0.0.0/33")
