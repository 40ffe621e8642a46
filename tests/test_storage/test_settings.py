"""The keys of dicom.ini that storage reads: all of ConQuest's, with its defaults."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from storage.settings import StorageSettings

HINTS = get_type_hints(StorageSettings, include_extras=True)
OPTIONS = {"aliases", "later", "choices", "secret", "example", "low", "high"}


def _extras(hint: Any) -> tuple[Any, ...]:
    assert get_origin(hint) is Annotated
    return get_args(hint)


def test_every_key_has_a_type_a_help_line_and_known_options() -> None:
    types = {str, int, bool, float, tuple[str, ...], tuple[int, ...]}
    for key, hint in HINTS.items():
        kind, text, *options = _extras(hint)
        assert kind in types, key
        assert text == text.strip(), key
        assert "\n" not in text, key
        assert len(options) <= 1, key
        assert all(set(option) <= OPTIONS for option in options), key


def test_the_defaults_are_conquests() -> None:
    assert {field.name: field.default for field in dataclasses.fields(StorageSettings)} == {
        "MAGDevices": 1,
        "MAGDevice": (),
        "MIRRORDevices": 0,
        "MIRRORDevice": (),
        "CACHEDevices": 0,
        "CACHEDevice": (),
        "JUKEBOXDevices": 0,
        "JUKEBOXDevice": (),
        "MAGDeviceFullThreshold": 30,
        "MAGDeviceThreshold": 0,
        "IgnoreMAGDeviceThreshold": False,
        "NightlyCleanThreshold": 0,
        "NightlyMoveThreshold": 0,
        "NightlyMoveTarget": "",
        "LRUSort": "",
        "FileNameSyntax": "4",
        "MaxFileNameLength": 255,
        "RenameOnRewrite": False,
        "IgnoreRewrite": False,
        "AllowNKIAsDICOM": False,
        "DroppedFileCompression": "",
        "IncomingCompression": "",
        "ArchiveCompression": "",
        "LossyQuality": 95,
        "UseBuiltInDecompressor": True,
        "UseBuiltInJPEG": True,
        "UseOpenJPG": False,
        "DecompressNon16BitsJpeg": True,
        "StopOnJPEGWarnings": False,
        "FileCompressMode": 0,
        "ImportExportDragAndDrop": True,
        "WatchFolder": "",
        "DelayIncomingFileOpen": 0,
        "TempDir": "",
        "UIDPrefix": "1.2.826.0.1.3680043.2.135.1066",
        "NoDicomCheck": False,
        "IgnoreOutOfMemoryErrors": False,
        "Durability": "safe",
        "MaxObjectSize": 0,
    }


@pytest.mark.parametrize("key", ["MAGDeviceFullThreshold", "MAGDeviceThreshold", "NightlyCleanThreshold"])
def test_conquests_other_spelling_is_an_alias(key: str) -> None:
    options = _extras(HINTS[key])[2]
    assert options["aliases"] == (key.replace("Threshold", "ThreshHold"),)
