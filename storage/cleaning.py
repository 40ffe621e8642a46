"""Text from outside made harmless as part of a file name: the one place where wire text becomes a path."""

import hashlib
import re
from functools import lru_cache

# ConQuest's list, blank included; the rest of what this module replaces is what no file name should hold.
_REPLACED = str.maketrans(dict.fromkeys('/\\;><|,.:?*" ', "_"))
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# A path of which nothing needs to be changed, as nearly all are.
_HARMLESS = re.compile(r"(?:[A-Za-z0-9^+=-][A-Za-z0-9_.^+=-]*/)*[A-Za-z0-9^+=-][A-Za-z0-9_.^+=-]*")
_UID = re.compile(r"[0-9](?:[0-9.]{0,62}[0-9])?")

_LONGEST = 65

# Directories that a regeneration passes over; an object named into one of them would be lost to the index.
RESERVED = frozenset({"incoming", "printer_files", "bin"})

# What a file system takes for one name, in bytes; and what the index has room for, in characters (ObjectFile).
_COMPONENT = 255
_PATH = 255
# A base name is not cut to less than this before directories are.
_KEPT = 24


@lru_cache(maxsize=1024)
def clean(text: str | None) -> str:
    """Make a value part of a file name as ConQuest does: ``empty`` for None, ``unknown`` for nothing left.

    Cut at the first control character and at 65 characters; separators, wildcards, blanks and whatever cannot be
    printed become ``_``; trailing ``_`` go.
    """
    if text is None:
        return "empty"
    text = _CONTROL.split(text, maxsplit=1)[0][:_LONGEST].translate(_REPLACED)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else "_" for letter in text)
    return text.rstrip("_") or "unknown"


def clean_uid(text: str | None) -> str:
    """Make a UID part of a file name: itself, or for what is none its cleaned text and a digest that keeps it apart."""
    if not text or _UID.fullmatch(text):
        return text or clean(text)
    return f"{clean(text)[:40]}_{_digest(text, 16)}"


def safe_path(path: str, limit: int = _PATH) -> str:
    """Return `path`, relative and ``/`` separated, with every component harmless and nothing too long.

    No component is empty, of dots only, reserved, or longer than 255 bytes. When the part behind the first
    directory is longer than `limit` characters (at least 64), or all of it than 255, the file name loses leading
    characters, as ConQuest's does; where that is not enough, the directories below the first become a digest.
    """
    if len(path) <= min(limit, _PATH) and _HARMLESS.fullmatch(path) and RESERVED.isdisjoint(path.lower().split("/")):
        return path
    *directories, base = path.split("/")
    directories = [_directory(part) for part in directories]
    base = _tail(_component(base))
    excess = _excess(directories, base, limit)
    if excess <= 0:
        return "/".join((*directories, base))
    base = _tail(base[-max(len(base) - excess, _KEPT) :])
    if _excess(directories, base, limit) > 0:
        directories = [_head(directories[0], _LONGEST), _digest("/".join(directories), 32)]
    return "/".join((*directories, base))


def _excess(directories: list[str], base: str, limit: int) -> int:
    length = len("/".join((*directories, base)))
    first = len(directories[0]) + 1 if directories else 0
    return max(length - first - limit, length - _PATH)


def numbered(path: str, number: int, limit: int = _PATH) -> str:
    """Return the `number`th other name for a file: ``_1`` and so on before its extension."""
    directory, slash, base = path.rpartition("/")
    stem, dot, extension = base.rpartition(".")
    if not dot:
        stem, extension = base, ""
    return safe_path(f"{directory}{slash}{stem}_{number}{dot}{extension}", limit)


def _component(text: str) -> str:
    text = _CONTROL.sub("_", text)
    if not text.strip("."):
        return "_" * len(text) or "unknown"
    if text.lower() in RESERVED:
        return f"{text}_"
    return text


def _directory(text: str) -> str:
    text = _component(text)
    if len(text.encode("utf-8", "replace")) <= _COMPONENT:
        return text
    return f"{_head(text, _COMPONENT - 17)}_{_digest(text, 16)}"


def _tail(text: str) -> str:
    """Cut to 255 bytes from the start, at a character."""
    return text.encode("utf-8", "replace")[-_COMPONENT:].decode("utf-8", "ignore")


def _head(text: str, limit: int) -> str:
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:length]
