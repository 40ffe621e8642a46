"""The web server inside the daemon: a socket, a thread with an event loop, and what may wait at the door."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.address import taken
from server.server import Server
from server.web.guard import Guard
from server.web.wado import Wado

log = logging.getLogger("dgate")

# ConQuest's web server answers under the second.
PATHS = ("/wado", "/api/dicom/wadouri")

# Connections at one time; of more, each is answered 503 and closed.
_CONNECTIONS = 128
_BACKLOG = 128
_KEEP_ALIVE_S = 15
# A request that is not whole by then is not coming.
REQUEST_S = 20.0
_LARGEST_HEAD = 16 * 1024
_STOP_S = 3
# Threads that look objects up, wait for codec processes and read files; and requests that may wait for one.
_THREADS = 8
_WAITING = 24


class WebError(Exception):
    """The web port cannot be listened on; the text names key, address and remedy."""


class WebServer:
    """Serves HTTP on WebAddress and WebPort, which is `url`; `most` WADO requests are worked on or wait at a time."""

    def __init__(self, server: Server, *, most: int = _THREADS + _WAITING) -> None:
        """Take the port; raises WebError."""
        self._socket = _bound(server.settings.WebAddress, server.settings.WebPort)
        host, self.port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="web")
        wado = Wado(server, self._threads, most)
        routes = [Route(path, wado.get, methods=["GET"]) for path in PATHS]
        app = Starlette(routes=routes, exception_handlers={404: _nothing_here})
        # A redirection would be made of what the peer says our name is.
        app.router.redirect_slashes = False
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                Guard(app, server),
                loop="asyncio",
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                # The peer is who connects: whoever sends X-Forwarded-For could be anybody.
                proxy_headers=False,
                server_header=False,
                limit_concurrency=_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_STOP_S,
                h11_max_incomplete_event_size=_LARGEST_HEAD,
            )
        )
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        """Answer requests, in a thread of their own."""
        self._socket.listen(_BACKLOG)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; what is being answered gets a moment."""
        self._uvicorn.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(2 * _STOP_S)
        with contextlib.suppress(OSError):
            self._socket.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        self._uvicorn.run(sockets=[self._socket])


class _Protocol(H11Protocol):
    """Uvicorn's protocol, with an end to waiting for the rest of a request: it has none of its own."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._waited()
        elif self._deadline is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waited()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._deadline = self.loop.call_later(REQUEST_S, self._close)

    def _waited(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        self.transport.close()


async def _nothing_here(request: Request, error: Any) -> Response:
    return PlainTextResponse(f"There is nothing here: WADO is at {PATHS[0]}.\n", 404)


def _bound(host: str, port: int) -> socket.socket:
    try:
        return taken(host, port)
    except OSError as error:
        raise WebError(
            f"WebPort: cannot listen on {host or '*'}:{port}: {error.strerror or error}; "
            "stop what uses the port, choose another, or set it to 0"
        ) from None
