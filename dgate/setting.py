"""The dicom.ini keys of all packages as one table, read out of their settings classes, and the reading of one value."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from db.settings import DbSettings
from server.settings import ServerSettings
from storage.settings import StorageSettings

Value = str | int | float | bool | tuple[str, ...] | tuple[int, ...]

SECTIONS: tuple[tuple[str, type], ...] = (
    ("server", ServerSettings),
    ("storage", StorageSettings),
    ("db", DbSettings),
)

_NUMBER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key, or one numbered family of keys (`family`), as its package declares it.

    `later`: the key is accepted, what it asks for does not exist yet. `ignored`: accepted, of no effect for good.
    `fill` stands where a family has a gap; `example` is what the example file sets the key to.
    """

    key: str
    package: str
    kind: type
    family: bool
    text: str
    default: Value
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    later: bool = False
    ignored: bool = False
    secret: bool = False
    example: str | None = None
    heading: str = ""
    low: float | None = None
    high: float | None = None
    fill: str = ""
    check: Callable[[str], None] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The key and its aliases, the key first: when several are set the first counts."""
        return (self.key, *self.aliases)

    def convert(self, text: str) -> tuple[str | int | float | bool, str]:
        """Read one value: what it is, and a remark when it was read in ConQuest's lenient way (else empty).

        Raises ValueError whose text says what is wrong and what to write instead, without repeating the value.
        """
        if self.kind is str:
            return self._word(text), ""
        found = (_REAL if self.kind is float else _NUMBER).match(text.strip())
        if found is None and text.strip():
            raise ValueError(f"not a number; write {self._expected()}")
        # ConQuest reads as far as a value looks like a number, so files in use have more than that behind it.
        remark = "" if found and found.group() == text.strip() else f"is read as {found.group() if found else 0}"
        value = (float if self.kind is float else int)(found.group() if found else 0)
        if self.kind is bool:
            return bool(value), remark
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise ValueError(f"out of range; write {self._expected()}")
        return value, remark

    def _word(self, text: str) -> str:
        if self.choices:
            for choice in self.choices:
                if choice.lower() == text.strip().lower():
                    return choice
            raise ValueError(f"write one of {', '.join(self.choices)}")
        if self.check is not None and text:
            self.check(text)
        return text

    def _expected(self) -> str:
        if self.kind is bool:
            return "0 or 1"
        noun = "a number" if self.kind is float else "a whole number"
        if self.low is not None and self.high is not None:
            return f"{noun} from {self.low} to {self.high}"
        return noun if self.low is None else f"{noun} that is at least {self.low}"


def show(value: Value) -> str:
    """A value as it is written in dicom.ini; a family as its values one after the other."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return str(value)


@cache
def settings() -> tuple[Setting, ...]:
    """Every declared key, in the order of the classes and their fields."""
    return tuple(setting for package, declared in SECTIONS for setting in _read(package, declared))


def _read(package: str, declared: type) -> Iterator[Setting]:
    hints = typing.get_type_hints(declared, include_extras=True)
    for field in dataclasses.fields(declared):
        annotation, text, *more = typing.get_args(hints[field.name])
        options: Mapping[str, typing.Any] = more[0] if more else {}
        family = typing.get_origin(annotation) is tuple
        kind = typing.get_args(annotation)[0] if family else annotation
        yield Setting(field.name, package, kind, family, text, typing.cast(Value, field.default), **options)
