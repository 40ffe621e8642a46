"""What commands change in a server, from the process that runs them to all that serve associations."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import fields
from typing import Any

from server.server import Server
from server.settings import ServerSettings
from server.workers.page import Page

log = logging.getLogger("dgate")


class Publisher:
    """Puts the state of the server that runs the commands in force everywhere."""

    def __init__(self, server: Server, page: Page) -> None:
        self._server = server
        self._page = page
        self._lock = threading.Lock()
        self._published = _marks(server)

    def publish(self) -> None:
        """See whether a command has changed something; called before each answer. Raises ValueError if it is too much.

        What begins anywhere after this returned sees the change.
        """
        with self._lock:
            marks = _marks(self._server)
            if marks != self._published:
                self._page.publish(_written(self._server))
                self._published = marks


class Follower:
    """Takes over, in a process that serves associations, what was published."""

    def __init__(self, server: Server, page: Page) -> None:
        self._server = server
        self._page = page
        self._lock = threading.Lock()
        self._generation = 0

    def __call__(self) -> None:
        """Be up to date; one look into memory when nothing has changed."""
        if self._page.generation == self._generation:
            return
        with self._lock:
            if self._page.generation != self._generation:
                number, state = self._page.state()
                _take(self._server, json.loads(state))
                self._generation = number


def _marks(server: Server) -> tuple[object, ...]:
    """What differs when the state does."""
    logs = server.logs
    return server.settings, server.amap.version, server.index.remade, logs.debug_level, logs.switched


def _written(server: Server) -> bytes:
    settings = server.settings
    logs = server.logs
    state = {
        "settings": {field.name: getattr(settings, field.name) for field in fields(settings)},
        "amap": server.amap.content().decode("latin-1"),
        "index": server.index.remade,
        "debug_level": logs.debug_level,
        "switched": logs.switched,
    }
    return json.dumps(state).encode()


def _take(server: Server, state: dict[str, Any]) -> None:
    given: dict[str, Any] = state["settings"]
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    server.settings = ServerSettings(**values)
    content = state["amap"].encode("latin-1")
    if content != server.amap.content():
        server.amap.take(content)
    server.index.follow(state["index"])
    logs = server.logs
    switched = tuple(state["switched"]) if state["switched"] else None
    if switched is not None and switched != logs.switched:
        try:
            logs.switch(switched[0], debug=switched[1])
        except OSError as error:
            log.error("***Cannot log to %s: %s", switched[0], error.strerror)
    logs.set_debug_level(state["debug_level"])
