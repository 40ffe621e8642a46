"""The `query:` command: pieces of SQL that a person typed, held to reading the index's own tables."""

import re
from collections.abc import Iterator

from db.errors import QueryRefused
from db.tables import UIDMODS, LiveTables

MOST_FIELDS = 48
LONGEST_VALUE = 255

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
      | (?P<text>'(?:[^'\\\0]|''|\\(?!'))*')
      | (?P<quoted>"\w+")
      | (?P<number>\d+(?:\.\d+)?(?!\w))
      | (?P<word>[A-Za-z_]\w*)
      | (?P<sign><=|>=|<>|!=|\|\||[-+*/%=<>(),.])""",
    re.VERBOSE | re.ASCII,
)
_COMMENT = re.compile(r"--|/\*")
_KEYWORDS = frozenset(
    {"all", "and", "as", "asc", "between", "by", "case", "cast", "collate", "count", "desc", "distinct"}
    | {"else", "end", "escape", "except", "exists", "from", "full", "group", "having", "ilike", "in", "inner"}
    | {"intersect", "is", "join", "left", "like", "limit", "nocase", "not", "null", "offset", "on", "or"}
    | {"order", "outer", "right", "select", "then", "union", "using", "when", "where"}
)
_TYPES = frozenset({"bigint", "char", "int", "integer", "numeric", "real", "text", "varchar"})
_FUNCTIONS = frozenset(
    {"abs", "avg", "coalesce", "count", "hex", "instr", "length", "lower", "ltrim", "max", "min", "nullif"}
    | {"position", "random", "replace", "round", "rtrim", "strpos", "substr", "substring", "sum", "trim"}
    | {"upper"}
)


def checked_select(tables: LiveTables, table: str, fields: str, where: str) -> str:
    """Return ``SELECT fields FROM table [WHERE where]`` when it does nothing but read the index.

    Every word must be a table or column of the index, a keyword of SELECT, a type, or a harmless
    function; there are no comments, no second statement, no alias. QueryRefused names the first word that is not.
    The database then runs it where it could not write either.
    """
    known = _known_names(tables)
    for piece in (table, fields, where):
        _check(piece, known)
    if not table.strip() or not fields.strip():
        raise QueryRefused("a query needs a table and fields")
    return f"SELECT {fields} FROM {table}" + (f" WHERE {where}" if where.strip() else "")


def bounded(rows: Iterator[tuple[object, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield rows as texts, at most 48 fields of 255 characters, nothing for NULL (as ConQuest does)."""
    for row in rows:
        yield tuple("" if value is None else str(value)[:LONGEST_VALUE] for value in row[:MOST_FIELDS])


def _known_names(tables: LiveTables) -> frozenset[str]:
    names = {UIDMODS.lower(), *tables.uidmods.columns, "qtimestamp", "qflags", "qspare", "annotation"}
    for table in tables.by_level.values():
        names |= {table.definition.name.lower(), *table.columns}
    return frozenset(names)


def _check(piece: str, known: frozenset[str]) -> None:
    tokens = list(_tokens(piece))
    depth = 0
    for (kind, word), following in zip(tokens, [*tokens[1:], ("end", "")], strict=False):
        depth += (word == "(") - (word == ")")
        if depth < 0:
            break
        if kind == "quoted" and word[1:-1].lower() not in known:
            raise QueryRefused(f"{word} is no table or column of the index")
        if kind == "word":
            _check_word(word.lower(), following[1] == "(", known)
    if depth:
        raise QueryRefused("parentheses do not match")


def _check_word(word: str, called: bool, known: frozenset[str]) -> None:
    if called and word in _FUNCTIONS:
        return
    # A keyword or a type may stand before a parenthesis, as in IN (...) and varchar(10); a name may not.
    if word in _KEYWORDS or word in _TYPES or (word in known and not called):
        return
    raise QueryRefused(f"{word} is {'no function that queries may call' if called else 'nothing the index knows'}")


def _tokens(piece: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(piece):
        match = None if _COMMENT.match(piece, position) else _TOKEN.match(piece, position)
        if match is None:
            raise QueryRefused(f"{piece[position : position + 1]!r} cannot be part of a query")
        if match.lastgroup != "blank":
            yield match.lastgroup or "", match.group()
        position = match.end()
