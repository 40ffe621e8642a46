"""What stands around every request: who may ask, what an answer always carries, how long a peer may take to read it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.authority import caller_for
from server.log import printable
from server.server import Server

log = logging.getLogger("dgate")

# Patient data must not stay in caches, be shown inside other pages, or be taken for something that runs.
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Guard:
    """Lets requests through to `app` that may be answered, and logs what becomes of them.

    From loopback everything may be asked, from elsewhere only by addresses of CommandReadOnly and CommandAdmin. A name
    in the Host header must be one of this machine: a web site could make a browser in here ask us under its own name
    (DNS rebinding) and read what we answer.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answering = _Answering(send, self._server.settings.TCPIPTimeOut)
        peer = scope["client"][0] if scope.get("client") else ""
        try:
            refused = self._refusal(scope, peer)
            if refused is not None:
                log.warning("*** Web request from %s refused with %d", printable(peer), refused.status_code)
            await (refused or self._app)(scope, receive, answering)
        except TimeoutError:
            log.warning("*** Web request from %s ended: the peer does not read the answer", printable(peer))
            raise
        except Exception:
            # The boundary of a web request: whatever it met must not end the others.
            log.exception("*** Web request from %s failed", printable(peer))
            if answering.begun:
                raise
            failed = PlainTextResponse("This failed; the server's log has the details.\n", 500)
            await failed(scope, receive, answering)

    def _refusal(self, scope: Scope, peer: str) -> PlainTextResponse | None:
        settings = self._server.settings
        if not caller_for(settings, self._server.base, peer).allows("read"):
            return PlainTextResponse("This address is not in CommandReadOnly or CommandAdmin of dicom.ini.\n", 403)
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not _is_own(hosts[0].decode("latin-1"), settings.WEBScriptAddress):
            return PlainTextResponse("This server is not known under that name.\n", 421)
        return None


class _Answering:
    """`send` with the headers that every answer has, and an end to waiting for a peer that does not read."""

    def __init__(self, send: Send, timeout_s: float) -> None:
        self.begun = False
        self._send = send
        self._timeout_s = timeout_s

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        async with asyncio.timeout(self._timeout_s):
            await self._send(message)


def _is_own(host: str, address_of_pages: str) -> bool:
    """Whether a Host header names this machine: an address, its name, or the one dicom.ini has for its pages."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = {"localhost", socket.gethostname().lower(), (urlsplit(address_of_pages).hostname or "").lower()}
        return name != "" and name in own
    return True
