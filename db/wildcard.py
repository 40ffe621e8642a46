r"""Keys with ``*`` and ``?``, and person names, as patterns that mean the same to SQLite, PostgreSQL and Python.

Letters are compared without case one by one. ASCII letters equal only each other, so that a key in ASCII
can be left to the database's own LIKE; the letters of other scripts equal what Unicode's simple mappings
say, spelled out in the pattern, because databases fold them differently from one locale to the next.
"""

import re
from functools import lru_cache

# Longer keys match nothing: no column is that long, and patterns of any length are a way to hurt a server.
LONGEST_KEY = 1024

_BLANKS = re.compile(r" *([=^]) *")
_PADDING = re.compile(r"\^+(=|\Z)")
_PLAIN_RUN = re.compile(r"[!-)+-<>@-\]_-~]+")  # printable ASCII but for blank * ? ^ and =
_ANYTHING, _IN_COMPONENT, _IN_GROUP = ".", r"[^\\]", "[^=]"


def is_universal(key: str) -> bool:
    """Tell whether a key asks for everything: empty, blank, or nothing but stars (PS3.4 C.2.2.2.3)."""
    return not key.strip("* ")


def has_wildcard(key: str) -> bool:
    return "*" in key or "?" in key


def squeeze(key: str) -> str:
    """Reduce ``**`` to ``*`` and drop blanks before a star at the end, as ConQuest does."""
    return re.sub(r" +\*$", "*", re.sub(r"\*+", "*", key))


def like_pattern(key: str) -> str:
    r"""Return the LIKE pattern, with ``\`` as its escape character, of a key with wildcards."""
    escaped = re.sub(r"([\\%_])", r"\\\1", key)
    return escaped.replace("*", "%").replace("?", "_")


def glob_regex(key: str, any_character: str, *, fold: bool, atomic: bool) -> str:
    """Return a regular expression for a key with wildcards, without anchors.

    `any_character` is what a wildcard may stand for. With `atomic` (Python; PostgreSQL neither has nor needs
    it) each star takes the first place where the text up to the next star fits: no backtracking, so no key
    can make matching slow.
    """
    literals = [_literal(part, any_character, fold) for part in key.split("*")]
    if len(literals) == 1:
        return literals[0]
    opening = "(?>" if atomic else "(?:"
    middle = "".join(f"{opening}{any_character}*?{literal})" for literal in literals[1:-1] if literal)
    return f"{literals[0]}{middle}{any_character}*{literals[-1]}"


def text_regex(key: str, *, fold: bool, atomic: bool) -> str:
    """Return the regular expression for a whole value."""
    return rf"\A(?:{glob_regex(key, _ANYTHING, fold=fold, atomic=atomic)})\Z"


def component_regex(key: str, *, fold: bool, atomic: bool) -> str:
    """Return the regular expression that finds a value among several, joined by backslashes."""
    return rf"(?:\A|\\)(?:{glob_regex(key, _IN_COMPONENT, fold=fold, atomic=atomic)})(?:\\|\Z)"


def name_form(name: str) -> str:
    """Return a person name in the form that is compared: no padding in components, no empty ones at the end."""
    return _PADDING.sub(r"\1", _BLANKS.sub(r"\1", name.strip(" "))).rstrip("=")


def name_regex(key: str, *, atomic: bool) -> str:
    """Return the regular expression for `name_form` of a stored name.

    A key without ``=`` may match any one of the component groups (alphabetic, ideographic, phonetic);
    with it each group that it fills in must match. ``DOE^*`` takes ``DOE`` too: its other components are empty.
    """
    groups = name_form(squeeze(key)).split("=")
    while len(groups) > 1 and is_universal(groups[-1]):
        groups.pop()
    if "=" not in key:
        return rf"(?:\A|=)(?:{_group_regex(groups[0], atomic)})(?:=|\Z)"
    return r"\A" + "=".join(_group_regex(group, atomic) for group in groups) + r"(?:=|\Z)"


def name_prefix(key: str) -> str:
    """Return the lower-case ASCII text that the first group of a matching name begins with; "" when that is open."""
    run = _PLAIN_RUN.match(name_form(squeeze(key)))
    return run.group().lower() if run else ""


def plain_part(key: str) -> str:
    """Return the longest piece of ASCII text that a value matching the key holds as it stands."""
    return max(_PLAIN_RUN.findall(key), key=len, default="")


def variants(character: str) -> str:
    """Return the characters that equal one but for case, itself first."""
    if character.isascii():
        return "".join(dict.fromkeys((character, character.lower(), character.upper())))
    lower, upper = character.lower(), character.upper()
    same = (character, lower, upper, upper.lower(), lower.upper())
    return "".join(dict.fromkeys(other for other in same if len(other) == 1 and not other.isascii()))


def _group_regex(group: str, atomic: bool) -> str:
    if is_universal(group):
        return f"{_IN_GROUP}*"
    stem = re.sub(r"(?:\^\*)+$", "", group)
    rest = "" if stem == group else rf"(?:\^{_IN_GROUP}*)?"
    return glob_regex(stem, _IN_GROUP, fold=True, atomic=atomic) + rest


@lru_cache(maxsize=4096)
def _character(character: str, fold: bool) -> str:
    choices = variants(character) if fold else character
    if len(choices) > 1:
        # No brackets around what is not ASCII: a database of raw bytes would take the bytes for the letters.
        return f"[{choices}]" if character.isascii() else f"(?:{'|'.join(choices)})"
    return f"\\{character}" if character.isascii() and not (character.isalnum() or character == "_") else character


def _literal(text: str, any_character: str, fold: bool) -> str:
    return "".join(any_character if character == "?" else _character(character, fold) for character in text)
