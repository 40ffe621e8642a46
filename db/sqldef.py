"""The text of dicom.sql: reading its entries and writing them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from db.errors import SchemaError

SECTIONS = ("Patient", "Study", "Series", "Image", "WorkList")
SQL_TYPES = frozenset({"SQL_C_CHAR", "SQL_C_DATE"})
DICOM_TYPES = frozenset(
    {"DT_STR", "DT_ISTR", "DT_MSTR", "DT_DATE", "DT_TIME", "DT_UI", "DT_UINT16", "DT_UINT32", "DT_FL", "DT_FD"}
    | {"DT_STARTSEQUENCE", "DT_ENDSEQUENCE"}
)
_TOKEN = re.compile(
    r"""(?P<blank>[\s,]+|/\*.*?\*/)
      | (?P<string>"[^"\n]*")
      | (?P<section>\*\w+\*)
      | (?P<number>0[xX][0-9a-fA-F]+|[0-9]+)(?!\w)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<brace>[{}])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of dicom.sql as it stands there; `line` counts from 1."""

    tag: int
    name: str
    length: int
    sql_type: str
    dicom_type: str
    hl7: str
    line: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_sqldef(text: str, file: str) -> dict[str, tuple[Entry, ...]]:
    """Read dicom.sql: the entries of each section, by section name.

    Commas and line ends are white space, as good as any other. SchemaError names
    `file`, the line and what was expected there.
    """
    tokens = _Tokens(text, file)
    sections: dict[str, tuple[Entry, ...]] = {}
    while not tokens.at_end():
        section = tokens.take("section")
        name = section.text.strip("*")
        if name not in SECTIONS:
            raise tokens.error(section, "one of " + " ".join(f"*{known}*" for known in SECTIONS))
        if name in sections:
            raise SchemaError(f"{file}, line {section.line}: a second section *{name}*; put all its entries in one")
        sections[name] = tuple(_entries(tokens))
    return sections


def render_sqldef(sections: Iterable[tuple[str, Iterable[Entry]]], comment: str) -> str:
    """Write dicom.sql so that `parse_sqldef` reads the same entries back."""
    lines = [f"/* {comment} */"]
    for name, entries in sections:
        lines += ["", f"*{name}*", "{"]
        for entry in entries:
            source = f', "{entry.hl7}"' if entry.hl7 else ""
            lines.append(
                f"    {{ 0x{entry.tag >> 16:04x}, 0x{entry.tag & 0xFFFF:04x}, "
                f'"{entry.name}", {entry.length}, {entry.sql_type}, {entry.dicom_type}{source} }},'
            )
        lines.append("}")
    return "\n".join(lines) + "\n"


class _Tokens:
    """The tokens of one file, taken in order; every complaint carries file and line."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self._tokens = list(self._scan(text))
        self._next = 0

    def _scan(self, text: str) -> Iterator[_Token]:
        position, line = 0, 1
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise SchemaError(
                    f"{self.file}, line {line}: {text[position : position + 12]!r} is no part of dicom.sql"
                )
            kind = match.lastgroup or ""
            if kind != "blank":
                yield _Token(kind, match.group(), line)
            line += match.group().count("\n")
            position = match.end()
        yield _Token("end", "the end of the file", line)

    def at_end(self) -> bool:
        return self._tokens[self._next].kind == "end"

    def peek(self) -> _Token:
        return self._tokens[self._next]

    def take(self, kind: str, text: str = "") -> _Token:
        token = self._tokens[self._next]
        if token.kind != kind or (text and token.text != text):
            wanted = {"section": "*Patient* or another section", "string": "a name in double quotes", "word": "a type"}
            raise self.error(token, text or wanted.get(kind, f"a {kind}"))
        self._next += 1
        return token

    def number(self, high: int) -> int:
        token = self.take("number")
        value = int(token.text, 16 if token.text[:2].lower() == "0x" else 10)
        if value > high:
            raise self.error(token, f"a number up to {high}")
        return value

    def choice(self, choices: frozenset[str]) -> str:
        token = self.take("word")
        if token.text not in choices:
            raise self.error(token, "one of " + ", ".join(sorted(choices)))
        return token.text

    def error(self, token: _Token, expected: str) -> SchemaError:
        return SchemaError(f"{self.file}, line {token.line}: {token.text} where {expected} is expected; mend that line")


def _entries(tokens: _Tokens) -> Iterator[Entry]:
    tokens.take("brace", "{")
    while tokens.peek().text != "}":
        line = tokens.take("brace", "{").line
        group, element = tokens.number(0xFFFF), tokens.number(0xFFFF)
        name = tokens.take("string").text[1:-1]
        length = tokens.number(65535)
        sql_type, dicom_type = tokens.choice(SQL_TYPES), tokens.choice(DICOM_TYPES)
        hl7 = tokens.take("string").text[1:-1] if tokens.peek().kind == "string" else ""
        tokens.take("brace", "}")
        yield Entry(group << 16 | element, name, length, sql_type, dicom_type, hl7, line)
    tokens.take("brace", "}")
