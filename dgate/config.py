"""From dicom.ini to the settings classes of all packages: values with their origin, mistakes with their remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from db.settings import DbSettings
from dgate.setting import Setting, Value, settings, show
from server.ini import SECTION_KEY, IniEntry, IniFile
from server.settings import CONVERTER_FILTERS, CONVERTER_KINDS, ServerSettings
from storage.settings import StorageSettings

INI_NAME = "dicom.ini"
SYSTEM_BASE = Path("/etc/conquest-dicom-server")

# Keys that circulate in old files and manuals; no ConQuest 1.5 reads them.
NOT_READ = {
    "DuplicateMode": "use IgnoreRewrite",
    "CacheSize": "use CacheVirtualData",
    "MinFreeSpace": "use MAGDeviceThreshold or NightlyCleanThreshold",
    "MaxFreeSpace": "use MAGDeviceThreshold or NightlyCleanThreshold",
    "DefaultNKI": "use the compression column of acrnema.map",
    "TransmitCompression": "use the compression column of acrnema.map",
}

# A numbered family has no more members than this; a larger number is a slip of the pen.
MAX_FAMILY = 1000

_WORD = re.compile(r"[A-Za-z_]\w*")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})")
_HOOKS = ("startup", "association", "endassociation", "command", "clienterror", "printserver", "nightly", "background")
_SCRIPT = re.compile(rf"(?:{'|'.join(_HOOKS)}|(?:{'|'.join(CONVERTER_KINDS)})Converter[0-9]+)", re.IGNORECASE)
_FILTER = re.compile(rf"(?:{'|'.join(CONVERTER_KINDS)})(?:{'|'.join(CONVERTER_FILTERS)})[0-9]+", re.IGNORECASE)


class ConfigurationError(Exception):
    """What keeps the configuration from being used: one line a problem, each with its remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Configuration:
    """What dicom.ini and the command line amount to.

    `base` is the directory that relative names in the configuration are relative to. `origins` tells for each key
    where its value comes from: ``dicom.ini:12``, ``command line`` or ``default``. `warnings` and `later` are lines
    for the operator; `later` names the keys in use whose feature does not exist yet.
    """

    base: Path
    ini: IniFile
    server: ServerSettings
    storage: StorageSettings
    db: DbSettings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]
    later: tuple[str, ...]

    def effective(self) -> tuple[str, ...]:
        """One line a key, ``Key = value  (origin)``, with secrets left out."""
        lines = []
        for setting in settings():
            value: Value = getattr(getattr(self, setting.package), setting.key)
            shown = "(not shown)" if setting.secret and value else show(value)
            lines.append(f"{setting.key:<34} = {shown}  ({self.origins[setting.key]})")
        return tuple(lines)


def find_base(where: str | None, current: Path | None = None) -> Path:
    """Choose the base directory, or the ini file, that the server works with.

    `where` is what ``-w`` gave: a directory or the full name of an ini file. Without it the current directory when
    it holds dicom.ini, else /etc/conquest-dicom-server. Raises ConfigurationError when there is no such file.
    """
    if where is not None:
        ini_path(Path(where))
        return Path(where)
    here = current or Path.cwd()
    for base in (here, SYSTEM_BASE):
        if (base / INI_NAME).is_file():
            return base
    raise ConfigurationError(
        f"no {INI_NAME} in {here} or {SYSTEM_BASE}: name its directory with -wDIR, or make one with `make run`"
    )


def ini_path(base: Path) -> Path:
    """The ini file that a base directory, or the name of the file itself, stands for; raises ConfigurationError."""
    path = base / INI_NAME if base.is_dir() else base
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist: -w takes the directory of a {INI_NAME}, or an ini file")
    return path.absolute()


def load(base: Path, overrides: Mapping[str, str] | None = None) -> Configuration:
    """Read the dicom.ini of `base` (a directory, or an ini file); `overrides` are keys given on the command line.

    Raises ConfigurationError with every problem found, not only the first.
    """
    path = ini_path(base)
    try:
        ini = IniFile(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if not ini.has_section(ini.main):
        named = ini.entry(SECTION_KEY)
        where = f"{path.name}:{named.line}: {SECTION_KEY} = {named.value}" if named else str(path)
        raise ConfigurationError(
            f"{where}: there is no section [{ini.main}]: put the settings below a line [{ini.main}]"
        )
    reading = _Reading(ini, path.name, {name.lower(): value for name, value in (overrides or {}).items()})
    for setting in settings():
        reading.family(setting) if setting.family else reading.single(setting)
    reading.counts()
    reading.strangers()
    reading.scripts()
    if reading.problems:
        raise ConfigurationError(*reading.problems)
    return Configuration(
        path.parent,
        ini,
        ServerSettings(**reading.of("server")),
        StorageSettings(**reading.of("storage")),
        DbSettings(**reading.of("db")),
        reading.origins,
        tuple(reading.warnings),
        tuple(reading.later),
    )


@dataclass(slots=True)
class _Reading:
    """The values gathered so far, and what there is to say about them."""

    ini: IniFile
    file: str
    overrides: Mapping[str, str]
    values: dict[str, Value] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    entries: dict[str, IniEntry] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = {}
        for entry in self.ini.entries():
            first = self.entries.setdefault(entry.key.lower(), entry)
            if first is not entry and _WORD.fullmatch(entry.key):
                self.warnings.append(f"{self._at(entry)} is not used: line {first.line} sets it already")

    def of(self, package: str) -> dict[str, Any]:
        """The values for the settings class of one package."""
        return {setting.key: self.values[setting.key] for setting in settings() if setting.package == package}

    def single(self, setting: Setting) -> None:
        """Read a key that is no family."""
        given = list(self._given(setting))
        self.values[setting.key], self.origins[setting.key] = setting.default, "default"
        if not given:
            return
        origin, label, text = given[0]
        for _, other, _ in given[1:]:
            self.warnings.append(f"{other} is not used: {label} says the same")
        value = self._convert(setting, label, text)
        if value is not None:
            self.values[setting.key], self.origins[setting.key] = value, origin
            self._postponed(setting, label, value != setting.default)

    def family(self, setting: Setting) -> None:
        """Read the numbered keys of a family into a tuple."""
        members: dict[int, Any] = {}
        origins: list[str] = []
        for number, origin, label, text in self._numbered(setting):
            if number >= MAX_FAMILY:
                self.problems.append(f"{label}: numbers go up to {MAX_FAMILY - 1}")
                continue
            value = self._convert(setting, label, text)
            if value is not None and number not in members:
                members[number] = value
                origins.append(origin)
                self._postponed(setting, label, bool(text))
        fill = setting.convert(setting.fill)[0]
        size = max(members, default=-1) + 1
        self.values[setting.key] = tuple(members.get(number, fill) for number in range(size)) or setting.default
        self.origins[setting.key] = " ".join(origins) or "default"

    def counts(self) -> None:
        """Cut each family to its count, the key of the same name in the plural, and tell where the two disagree."""
        for setting in settings():
            count, counter = self.values.get(f"{setting.key}s"), f"{setting.key}s"
            if not setting.family or not isinstance(count, int):
                continue
            values = self.values[setting.key]
            assert isinstance(values, tuple)
            if len(values) > count:
                used = f"{counter} = {count} ({self.origins[counter]})"
                unused = [f"{setting.key}{number}" for number in range(count, len(values)) if values[number]]
                self.warnings.extend(f"{key} is not used because {used}" for key in unused)
                self.values[setting.key] = values[:count]
            elif self.origins[counter] != "default":
                missing = [number for number in range(count) if number >= len(values) or values[number] == ""]
                self.warnings.extend(
                    f"{self.origins[counter]}: {counter} = {count}, but there is no {setting.key}{number}"
                    for number in missing[:10]
                    if self.ini.get(f"{setting.key}{number}", "lua") is None
                )

    def strangers(self) -> None:
        """Warn about keys that nothing reads, with the key that was probably meant."""
        known = {name.lower(): name for setting in settings() for name in setting.names}
        families = {name.lower() for setting in settings() if setting.family for name in setting.names}
        not_read = {name.lower(): remedy for name, remedy in NOT_READ.items()}
        for key, entry in self.entries.items():
            numbered = _NUMBERED.fullmatch(key)
            if (key in known and key not in families) or (numbered and numbered[1] in families):
                continue
            if _FILTER.fullmatch(key):
                self.later.append(f"{self._at(entry)}: converters do not exist yet")
            elif key in families:
                self.warnings.append(f"{self._at(entry)} is a numbered key: write {known[key]}0, {known[key]}1 ...")
            elif key in not_read:
                self.warnings.append(f"{self._at(entry)} is read by nothing: {not_read[key]}")
            elif _WORD.fullmatch(entry.key):
                close = difflib.get_close_matches(key, known, 1, 0.8)
                meant = f": did you mean {known[close[0]]}?" if close else ""
                self.warnings.append(f"{self._at(entry)} is not known{meant}")

    def scripts(self) -> None:
        """Tell which Lua scripts do not run."""
        for entry in self.ini.entries("lua"):
            if entry.value and _SCRIPT.fullmatch(entry.key):
                self.later.append(f"{self._at(entry)} in [lua] is accepted, but what it asks for does not exist yet")

    def _given(self, setting: Setting) -> Iterator[tuple[str, str, str]]:
        """Who sets a key, the one that counts first: origin, label for messages, text."""
        for name in setting.names:
            if name.lower() in self.overrides:
                yield "command line", f"command line: {name}", self.overrides[name.lower()]
        if any(name.lower() in self.overrides for name in setting.names):
            return
        for name in setting.names:
            entry = self.entries.get(name.lower())
            if entry:
                yield f"{self.file}:{entry.line}", self._at(entry), entry.value

    def _numbered(self, setting: Setting) -> Iterator[tuple[int, str, str, str]]:
        for name in setting.names:
            for key, entry in self.entries.items():
                number = key.removeprefix(name.lower())
                if number != key and number.isascii() and number.isdigit():
                    yield int(number[:9]), f"{self.file}:{entry.line}", self._at(entry), entry.value

    def _convert(self, setting: Setting, label: str, text: str) -> str | int | float | bool | None:
        shown = "..." if setting.secret else text
        try:
            value, remark = setting.convert(text)
        except ValueError as error:
            self.problems.append(f"{label} = {shown}: {error}")
            return None
        if remark:
            self.warnings.append(f"{label} = {shown} {remark}")
        return value

    def _postponed(self, setting: Setting, label: str, matters: bool) -> None:
        if setting.later and matters:
            self.later.append(f"{label} is accepted, but what it asks for does not exist yet")

    def _at(self, entry: IniEntry) -> str:
        return f"{self.file}:{entry.line}: {entry.key}"
