"""The example configuration and the reference page docs/dicom-ini.md, out of the tables of settings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from dgate.setting import Setting, settings, show
from server.amap import AeEntry, columns

_EXAMPLE_HEAD = """\
# Configuration of dgate. The format and most keys are those of the ConQuest DICOM server: a dicom.ini of ConQuest
# works as it is. Copy this file to dicom.ini and change it; dgate --check tells what is wrong with it.
#
# A key with # before it shows its default. Relative names are relative to the directory of this file.
# (not yet): the key is accepted, what it asks for does not exist yet.

[sscscp]
"""

_PACKAGE_HEADINGS = {"server": "Server", "storage": "Storage", "db": "Database"}

_AMAP_HEAD = """\
# AE titles: where they are and how objects are sent to them. C-MOVE destinations must be listed here.
#
# Columns: AE title, address, port, compression. Compression as sends objects as they are stored, un uncompressed.
# An AE title that ends in * stands for all that begin so; the rest of the title then replaces a * that ends address
# or port. The first line that fits counts, so such lines come last.

"""

_AMAP_EXAMPLES = (
    AeEntry("WORKSTATION1", "10.0.0.5", "104", "as"),
    AeEntry("OLDVIEWER", "viewer.example.org", "4006", "un"),
    AeEntry("NODE*", "10.0.1.*", "104", "as"),
)

_REFERENCE_HEAD = """\
# dicom.ini

This page is generated from the tables of settings.

Settings stand in the section `[sscscp]`, or in the one that `MicroPACS` of that section names. Sections and keys are
read without regard to case, `key = value`, one a line; of a repeated key the first counts. Lines that begin with `;`,
`#` or a blank are comments. A value may be quoted as a whole. 0 is no and 1 is yes. Relative file names are relative
to the directory of dicom.ini. A key with `0` at its end begins a numbered family: `MAGDevice0`, `MAGDevice1`, ...;
the key of the same name in the plural says how many of them count.

*Not yet* marks keys that are accepted while what they ask for does not exist yet; *no effect* those that are
accepted for the sake of existing files and will stay without effect.
"""

_FILTERS = """\
The other converters can be limited like import and export converters: `QueryCallingAE0`, `RetrieveModality0` and so
on, with `Modality`, `StationName`, `CalledAE` or `CallingAE` behind the kind of converter.
"""


def dicom_ini_example() -> str:
    """The text of dicom.ini.example: every key, commented out unless its declaration has an example value."""
    values = {_first(setting): setting.example for setting in settings() if setting.example is not None}
    lines = [_EXAMPLE_HEAD]
    for heading, rows in _headings():
        lines.append(f"# --- {heading} ---\n")
        for setting in rows:
            lines.extend([*_explained(setting, values), ""])
    return "\n".join(lines)


def dicom_ini(values: Mapping[str, str], head: str) -> str:
    """A dicom.ini that sets `values` (of families ``MAGDevice0``) and nothing else, each explained."""
    lines = [head, "[sscscp]"]
    for setting in settings():
        if _given(setting, values):
            lines.extend([*_explained(setting, values), ""])
    return "\n".join(lines)


def acrnema_map(ae: str, port: str) -> str:
    """An acrnema.map that holds the server itself, and examples as comments."""
    own = columns(AeEntry(ae, "127.0.0.1", port, "as"))
    return _AMAP_HEAD + "\n".join([own, "", *(f"#{columns(entry)}" for entry in _AMAP_EXAMPLES)]) + "\n"


def acrnema_map_example() -> str:
    """The text of acrnema.map.example."""
    return acrnema_map("CONQUESTSRV1", "5678")


def dicom_ini_reference() -> str:
    """The page docs/dicom-ini.md."""
    lines = [_REFERENCE_HEAD]
    for heading, rows in _headings():
        lines.append(f"## {heading}\n")
        lines.append("| Key | Default | Meaning |\n| --- | --- | --- |")
        lines.extend(f"| {_keys(setting)} | {_cell(_default(setting))} | {_meaning(setting)} |" for setting in rows)
        lines.append("")
        if heading == "Converters":
            lines.append(_FILTERS)
    return "\n".join(lines)


def _headings() -> Iterator[tuple[str, list[Setting]]]:
    heading, rows = "", list[Setting]()
    package = ""
    for setting in settings():
        new = setting.heading or (_PACKAGE_HEADINGS[setting.package] if setting.package != package else heading)
        if new != heading and rows:
            yield heading, rows
            rows = []
        heading, package = new, setting.package
        rows.append(setting)
    yield heading, rows


def _explained(setting: Setting, values: Mapping[str, str]) -> Iterator[str]:
    text = f"{setting.text}; one of {', '.join(setting.choices)}" if setting.choices else setting.text
    text += " (not yet)" if setting.later else " (no effect)" if setting.ignored else ""
    yield from textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ")
    given = _given(setting, values)
    for key, value in given.items():
        yield f"{key:<24} = {value}"
    if not given:
        yield f"#{_first(setting):<23} = {_default(setting)}".rstrip()


def _given(setting: Setting, values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if key == setting.key or _member(setting, key)}


def _member(setting: Setting, key: str) -> bool:
    number = key.removeprefix(setting.key)
    return setting.family and number != key and number.isdigit()


def _first(setting: Setting) -> str:
    return f"{setting.key}0" if setting.family else setting.key


def _default(setting: Setting) -> str:
    return setting.fill if setting.family and not setting.default else show(setting.default)


def _keys(setting: Setting) -> str:
    names = f"`{_first(setting)}`"
    return f"{names} (also {', '.join(f'`{alias}`' for alias in setting.aliases)})" if setting.aliases else names


def _meaning(setting: Setting) -> str:
    notes = [setting.text]
    if setting.choices:
        notes.append(f"one of {', '.join(setting.choices)}")
    if setting.later or setting.ignored:
        notes.append("*not yet*" if setting.later else "*no effect*")
    return "; ".join(notes).replace("|", "\\|")


def _cell(text: str) -> str:
    return f"`{text}`" if text else "empty"
