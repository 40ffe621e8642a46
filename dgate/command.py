"""The table of commands: declaring one beside its code, and running a command line."""

from __future__ import annotations

import inspect
import logging
import re
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from db.errors import DatabaseError, QueryRefused
from dgate import reference as pages
from dgate.arguments import Call, Missing, Number, Upload
from server.authority import Caller, Forbidden
from server.log import printable
from server.server import Outcome
from server.status import Status
from storage.errors import StorageError

if TYPE_CHECKING:
    from server.server import Server

log = logging.getLogger("dgate")

Reply = str | bytes | None
Rights = Literal["read", "admin"]

# The headings of ConQuest's help, in its order.
GROUPS = (
    "Delete options",
    "Move options",
    "Modification of dicom objects",
    "Maintenance options",
    "Logging options",
    "Configuration options",
    "Communication options",
    "Test options",
    "Conversion options",
    "Database options",
    "Archival options",
    "Scripting options",
)

_SYNTAX = re.compile(r"([a-z][a-z0-9_]*):([^:].*|)")
_FUNCTION = TypeVar("_FUNCTION", bound=Callable[..., Reply])
# Keyword-only parameters that a command may declare to be told about its run.
_TOLD = ("caller", "upload")


class CommandError(Exception):
    """What a command cannot do because of what it was asked, in one line that names no patient."""


@contextmanager
def telling_of_objects() -> Iterator[None]:
    """What is wrong with an object is the operator's to know of; disk and database are the caller's affair."""
    try:
        yield
    except StorageError as error:
        raise CommandError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: its name in Python, what makes it (str or a class with parse), its default if it has one."""

    name: str
    kind: Any
    default: Any
    optional: bool

    def convert(self, text: str, call: Call) -> Any:
        """Make the value; raises ValueError, Missing or Forbidden."""
        if not text and self.optional:
            return self.default
        return text if self.kind is str else self.kind.parse(text, call)


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table. `syntax` is the line the operator sees; `replies`: success is answered with a text.

    `rights` is what the caller needs; `destructive` commands are logged with where they came from.
    """

    name: str
    syntax: str
    separator: str
    parameters: tuple[Parameter, ...]
    variadic: bool
    told: frozenset[str]
    function: Callable[..., Reply]
    group: str
    rights: Rights
    destructive: bool
    replies: bool

    @property
    def doc(self) -> str:
        """The help text: its first line alone is the summary."""
        return inspect.getdoc(self.function) or ""

    def split(self, text: str) -> list[str]:
        """Cut an argument string: each separator ends an argument, the last one takes the rest with all it holds."""
        if self.variadic:
            return text.split(self.separator)
        found: list[str] = []
        for parameter in self.parameters[:-1]:
            end = parameter.kind.end(text) if hasattr(parameter.kind, "end") else text.find(self.separator)
            if end < 0:
                break
            found.append(text[:end])
            text = text[end + 1 :]
        return [*found, text] if self.parameters else []

    def call(self, text: str, call: Call) -> Reply:
        """Run the command on an argument string; raises Missing, CommandError, Forbidden and what it raises itself."""
        texts = self.split(text)
        if self.variadic:
            pairs = [(self.parameters[0], word) for word in texts]
        else:
            if any(not parameter.optional for parameter in self.parameters[len(texts) :]):
                raise Missing("is missing")
            pairs = list(zip(self.parameters, texts, strict=False))
        values = [self._convert(parameter, word, call) for parameter, word in pairs]
        told = {name: getattr(call, name) for name in self.told}
        return self.function(call.server, *values, **told)

    def _convert(self, parameter: Parameter, word: str, call: Call) -> Any:
        try:
            return parameter.convert(word, call)
        except Missing:
            raise
        except ValueError as error:
            raise CommandError(f"{parameter.name} {error}") from error


# Every command by name, in the order in which dgate.commands declares them.
COMMANDS: dict[str, Command] = {}


def command(
    syntax: str, *, group: str, rights: Rights = "admin", destructive: bool = False
) -> Callable[[_FUNCTION], _FUNCTION]:
    """Declare a command: ``@command("get_freestore:dev,fmt", group="Logging options", rights="read")``.

    The function takes the server, then one parameter for each argument of `syntax`, named alike (``l/w/f`` is
    ``l_w_f``); ``|`` in place of commas separates with that. An annotation is str, int or a class of
    `dgate.arguments`; a parameter with a default may be left out or empty; the syntax ``uid,uid,..`` stands for
    ``*uid``. Keyword-only parameters `caller` and `upload` are filled in. The reply is returned: a command without
    one is annotated ``-> None``. The docstring is the help text.

    Whatever does not fit together raises TypeError at import.
    """

    def declare(function: _FUNCTION) -> _FUNCTION:
        declared = _build(syntax, function, group, rights, destructive)
        if declared.name in COMMANDS:
            raise TypeError(f"command {declared.name} is declared twice")
        COMMANDS[declared.name] = declared
        return function

    return declare


def _build(syntax: str, function: Callable[..., Reply], group: str, rights: Rights, destructive: bool) -> Command:
    match = _SYNTAX.fullmatch(syntax)
    if not match:
        raise TypeError(f"{syntax!r} is no command syntax: write name:argument,argument")
    name, text = match.groups()
    where = f"command {name}"
    if group not in GROUPS or rights not in typing.get_args(Rights):
        raise TypeError(f"{where}: unknown group {group!r} or rights {rights!r}")
    if destructive and rights != "admin":
        raise TypeError(f"{where}: a destructive command needs admin rights")
    if not inspect.getdoc(function):
        raise TypeError(f"{where} has no docstring")
    separator = "|" if "|" in text else ","
    words = [re.sub(r"\W+", "_", word).strip("_") for word in text.split(separator)] if text else []
    variadic = text.endswith(",..")
    if variadic:
        words = words[:1]
    parameters, told, replies = _parameters(function, where)
    if [parameter.name for parameter in parameters] != words:
        raise TypeError(f"{where}: the syntax names {words}, the function {[one.name for one in parameters]}")
    return Command(name, syntax, separator, parameters, variadic, told, function, group, rights, destructive, replies)


def _parameters(function: Callable[..., Reply], where: str) -> tuple[tuple[Parameter, ...], frozenset[str], bool]:
    hints = typing.get_type_hints(function)
    parameters = []
    told = set()
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if parameter.name not in _TOLD:
                raise TypeError(f"{where}: keyword-only parameters are {' and '.join(_TOLD)}")
            told.add(parameter.name)
            continue
        kind = _kind(hints.get(parameter.name))
        if kind is None:
            raise TypeError(f"{where}: {parameter.name} is neither str, int nor a class with parse")
        optional = parameter.default is not inspect.Parameter.empty
        parameters.append(Parameter(parameter.name, kind, parameter.default if optional else None, optional))
    return tuple(parameters), frozenset(told), hints.get("return") is not type(None)


def _kind(annotation: Any) -> Any:
    """The class an annotation stands for, without ``| None``; None when it is of no use."""
    if isinstance(annotation, types.UnionType):
        some = [one for one in typing.get_args(annotation) if one is not type(None)]
        annotation = some[0] if len(some) == 1 else None
    if annotation is int:
        return Number
    return annotation if annotation is str or hasattr(annotation, "parse") else None


def run(server: Server, line: str, upload: Upload | None, caller: Caller) -> Outcome:
    """Run one command line such as ``get_param:MyACRNema`` for `caller`, and never raise.

    As in ConQuest: an unknown command or one with too few arguments does nothing and has no reply, one that fails
    has none either where success has one; where success has none, failure answers ``*** `` and a line of text. A
    refused command is answered with status 0x0124 and a text, one that disk, database or we ourselves fail with 0x0110.
    """
    name, colon, text = line.partition(":")
    declared = COMMANDS.get(name) if colon else None
    if declared is None:
        log.info("Unknown command %s from %s", name if re.fullmatch(r"\w{1,40}", name) else "(no name)", _peer(caller))
        return Outcome(Status.SUCCESS)
    if not caller.allows(declared.rights):
        return _refused(declared, caller, "commands are allowed by CommandReadOnly and CommandAdmin of dicom.ini")
    if declared.destructive:
        log.info("Command %s from %s", name, _peer(caller))
    try:
        return _outcome(declared.call(text, Call(server, caller, upload, declared.destructive)))
    except Forbidden as error:
        return _refused(declared, caller, str(error))
    except Missing:
        log.info("Command %s from %s: arguments are missing: %s", name, _peer(caller), declared.syntax)
        return Outcome(Status.SUCCESS)
    except CommandError as error:
        return _failed(declared, caller, str(error))
    except (ValueError, QueryRefused) as error:
        # Its text may hold anything, so the caller sees it and the log does not.
        log.debug("Command %s", name, exc_info=True)
        return _failed(declared, caller, str(error), logged="refused its arguments")
    except (DatabaseError, StorageError, OSError) as error:
        return _impossible(declared, caller, error)
    except Exception:
        log.exception("*** Command %s from %s failed", name, _peer(caller))
        return Outcome(Status.PROCESSING_FAILURE, f"*** {name} failed: the server's log has the details".encode())


def help_text(name: str | None = None) -> str:
    """The list of commands under ConQuest's headings, or everything about one; an unknown name gets a suggestion."""
    return pages.overview(COMMANDS, GROUPS) if name is None else pages.one(COMMANDS, name)


def reference() -> str:
    """The page docs/commands.md."""
    return pages.page(COMMANDS, GROUPS)


def _outcome(reply: Reply) -> Outcome:
    payload = reply.encode("utf-8", "surrogateescape") if isinstance(reply, str) else reply
    return Outcome(Status.SUCCESS, payload or None)


def _refused(declared: Command, caller: Caller, why: str) -> Outcome:
    log.warning("*** Command %s from %s refused", declared.name, _peer(caller))
    return Outcome(Status.NOT_AUTHORISED, f"*** {declared.name} is not allowed from here: {why}".encode())


def _failed(declared: Command, caller: Caller, why: str, logged: str = "") -> Outcome:
    line = " ".join(why.split())
    log.warning("*** Command %s from %s: %s", declared.name, _peer(caller), logged or printable(line))
    text = f"*** {declared.name}: {line}"
    return Outcome(Status.SUCCESS, None if declared.replies else text.encode("utf-8", "surrogateescape"))


def _impossible(declared: Command, caller: Caller, error: Exception) -> Outcome:
    """What the command asks for is right, but database, disk or files do not let us."""
    why = str(error)
    if isinstance(error, OSError):
        why = f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}"
    line = printable(" ".join(why.split()))
    log.error("*** Command %s from %s failed: %s", declared.name, _peer(caller), line)
    text = f"*** {declared.name} failed: {line}"
    return Outcome(Status.PROCESSING_FAILURE, text.encode("utf-8", "surrogateescape"))


def _peer(caller: Caller) -> str:
    """Who calls, for the log: an AE title is wire text and may hold anything."""
    return f"{caller.address} ({printable(caller.calling)})"
