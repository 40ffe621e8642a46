"""WADO-URI over HTTP (PS3.18 section 9): one object, found by its UIDs, as a picture, a listing or a file."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor

from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from server.log import printable
from server.pipeline.stored import NotStored
from server.pipeline.wado import DICOM, TEXTS, WadoAnswer, WadoRequest, answer
from server.server import Server
from server.web.parameters import BadParameter, parse
from storage.errors import MissingFile, StorageError
from storage.render.view import NoSuchFrame

log = logging.getLogger("dgate")

_RETRY_SECONDS = "2"


class Wado:
    """Answers WADO requests; work that blocks goes to `threads`, and `most` requests at a time are taken on."""

    def __init__(self, server: Server, threads: Executor, most: int) -> None:
        self._server = server
        self._threads = threads
        self._most = most
        self._at_work = 0

    async def get(self, request: Request) -> Response:
        """Answer GET and HEAD; errors as PS3.18 has them, each with one line of text."""
        try:
            asked = parse(request.scope["query_string"], request.headers.get("accept", ""))
        except BadParameter as error:
            return _refused(error.status, str(error))
        if self._at_work >= self._most:
            return _refused(503, "the server has as much to draw as it can take", {"Retry-After": _RETRY_SECONDS})
        self._at_work += 1
        try:
            made = await self._answered(asked)
        finally:
            self._at_work -= 1
        peer = request.client.host if request.client else ""
        status = made.status_code
        log.info("WADO %s for %s: %d %s", asked.sop, peer, status, made.headers.get("content-type", ""))
        return made

    async def _answered(self, asked: WadoRequest) -> Response:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, answer, self._server, asked)
        except NotStored as error:
            return _refused(404, str(error))
        except MissingFile as error:
            # Its name may be made of what the patient is called: it is for the log alone.
            log.error("*** %s", printable(str(error)))
            return _refused(404, "the file of the object is missing")
        except NoSuchFrame as error:
            return _refused(400, f"frameNumber: {error}")
        except StorageError as error:
            return _refused(406, f"this cannot be made of the object: {error}")
        return _response(found, asked.sop)


class _Body(StreamingResponse):
    """The pieces of an answer, closed also when the peer goes away in the middle."""

    def __init__(self, found: WadoAnswer, media: str, headers: dict[str, str]) -> None:
        super().__init__(iterate_in_threadpool(found.pieces), media_type=media, headers=headers)
        self._close = found.close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


def _response(found: WadoAnswer, sop: str) -> Response:
    headers = {} if found.length is None else {"Content-Length": str(found.length)}
    if found.media == DICOM:
        headers["Content-Disposition"] = f'attachment; filename="{sop}.dcm"'
    media = f"{found.media}; charset=utf-8" if found.media in TEXTS else found.media
    return _Body(found, media, headers)


def _refused(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)
