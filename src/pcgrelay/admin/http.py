"""HTTP as the admin socket and the pages speak it: aiohttp's server, with bounds and without its own words.

One request per connection. What a client may send, how many may ask at once and how long each part may take is fixed
here; what is answered is not.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from pcgrelay.admin.answers import BODY_LIMIT_BYTES
from pcgrelay.printable import json_bytes

HEAD_LIMIT_BYTES = 8_192
_LINE_LIMIT_BYTES = 8_190  # of one line, or one header, while the head is not complete
_HEADERS_MOST = 64
DEADLINE_S = 5.0  # for the head, for the body, and for the answer to be taken
ACTION_DEADLINE_S = 30.0
CONNECTIONS_MOST = 32
# How long the rest of a request is thrown away, so that a client that still sends can read why it was refused.
_REST_S = 1.0
_STOPPING_S = 0.1
_ENCODING_DER = 2  # of the certificates of `ssl`
_CREDENTIALS = struct.Struct("3i")
NOBODY = -1

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    code: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, whole and within the limits."""

    method: str
    target: str  # path and query, as they were sent
    host: str
    user: int  # who asks, as the kernel says; NOBODY where it does not
    body: bytes
    certificate: bytes = b""  # of who asks, in DER, as TLS has proved it; nothing without TLS
    above: tuple[bytes, ...] = ()  # the certificates that it was verified by, up to the anchor
    local: str = ""  # the number of this machine that was connected to; nothing at a unix socket


@dataclass(frozen=True, slots=True)
class Events:
    """A response that goes on: each text is sent as one server-sent event, until the client or the texts end."""

    texts: AsyncGenerator[str, None]
    headers: Mapping[str, str] = field(default_factory=dict)


Answering = Callable[[Asked], Awaitable["Answer | Events"]]


def json_answer(value: Any, code: int = 200) -> Answer:
    """Return a JSON response."""
    return Answer(code, JSON, json_bytes(value))


def text_answer(code: int, sentence: str) -> Answer:
    """Return a response that is one sentence."""
    return Answer(code, TEXT, f"{sentence}\n".encode())


_REFUSALS = {
    400: text_answer(400, "This is no request."),
    408: text_answer(408, "The request took too long to arrive."),
    413: text_answer(413, f"The body of a request is at most {BODY_LIMIT_BYTES >> 10} KiB."),
    431: text_answer(431, f"The head of a request is at most {HEAD_LIMIT_BYTES >> 10} KiB."),
    500: text_answer(500, "This request met a fault of the node; its log has it."),
    503: text_answer(503, f"The node did not finish this within {ACTION_DEADLINE_S:g} s; look at its log."),
}


class _Refused(Exception):
    """A request that is answered by its code alone."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Response(web.Response):
    """An answer on the wire, without a word about the software, and the last one on its connection."""

    def __init__(self, answer: Answer) -> None:
        headers = {"Content-Type": answer.kind, "Cache-Control": "no-store", **answer.headers}
        super().__init__(status=answer.code, body=answer.body, headers=headers)
        self.force_close()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class _EventResponse(web.StreamResponse):
    """The head of server-sent events."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", **headers})
        self.force_close()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class _Connection(web.RequestHandler):
    """One client."""

    __slots__ = ("_cut", "_head_bytes", "above", "certificate", "link", "local", "over", "user")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(self._manager, HttpServer)
        self.link = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio
        self.user, self.local = _user(transport), _local(transport)
        self.certificate, *above = _verified_chain(transport) or (b"",)
        self.above = tuple(above)
        self.over = asyncio.Event()  # it is gone, or its events are to end
        self._head_bytes = 0
        self._cut: asyncio.TimerHandle | None = None
        if not self._manager.has_room:
            self._manager.make_room(self)

    @property
    def has_asked(self) -> bool:
        """Whether a whole head has come."""
        return bool(self._request_count)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._request_count:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self.link.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.over.set()
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def end_within(self, seconds: float) -> None:
        """Cut the connection after so long, however much of the answer was taken by then."""
        if not self.link.is_closing():
            self._cut = asyncio.get_running_loop().call_later(seconds, self.link.abort)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request. The answers of aiohttp would repeat what was sent, and log it."""
        self.end_within(DEADLINE_S)
        return _Response(_REFUSALS[431 if isinstance(exc, LineTooLong) else 400])


class HttpServer(web.Server):
    """A server on one listening socket, which the caller opens and keeps."""

    def __init__(self, answering: Answering) -> None:
        super().__init__(
            self._handle,
            access_log=None,
            tcp_keepalive=False,
            auto_decompress=False,
            keepalive_timeout=DEADLINE_S,  # so long a connection may be without a whole head
            lingering_time=_REST_S,
            max_line_size=_LINE_LIMIT_BYTES,
            max_field_size=_LINE_LIMIT_BYTES,
            max_headers=_HEADERS_MOST,
        )
        self._answering = answering
        self._server: asyncio.Server | None = None

    def __call__(self) -> web.RequestHandler:
        """Return what serves one connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    @property
    def has_room(self) -> bool:
        """Whether the connection that was made last is within their number."""
        return len(self.connections) <= CONNECTIONS_MOST

    def make_room(self, fresh: _Connection) -> None:
        """Cut one that has not asked anything yet, the oldest, or else the fresh one: who asks is answered."""
        waiting = (each for each in self._open() if not each.has_asked and not each.link.is_closing())
        next((each for each in waiting if each is not fresh), fresh).link.abort()

    async def start(self, sock: socket.socket) -> None:
        """Accept connections."""
        if sock.family == socket.AF_UNIX:
            self._server = await self._loop.create_unix_server(self, sock=sock)
        else:
            self._server = await self._loop.create_server(self, sock=sock)

    @property
    def descriptor(self) -> int:
        """The listening socket's descriptor, for a hand-over."""
        assert self._server is not None
        return int(self._server.sockets[0].fileno())

    async def stop(self) -> None:
        """Close the socket, if it was given one, and all connections."""
        if self._server is not None:
            self._server.close()
        links = [connection.link for connection in self._open()]
        await self.shutdown(_STOPPING_S)
        for link in links:
            link.abort()
        if self._server is not None:
            await self._server.wait_closed()

    def cut(self, may_stay: Callable[[bytes], bool]) -> None:
        """End the connections of those who may not stay, by their certificates."""
        for connection in self._open():
            if not may_stay(connection.certificate):
                connection.link.abort()

    def end_events(self) -> None:
        """End the responses that go on; a browser asks again by itself."""
        for connection in self._open():
            connection.over.set()

    def _open(self) -> list[_Connection]:
        return [connection for connection in self.connections if isinstance(connection, _Connection)]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        try:
            asked = await _asked(request, connection)
            async with asyncio.timeout(ACTION_DEADLINE_S):
                answer = await self._answering(asked)
        except _Refused as refused:
            answer = _REFUSALS[refused.code]
        except TimeoutError:
            answer = _REFUSALS[503]
        except Exception as error:  # the last resort: the node's output gets the traceback, a client never
            self._loop.call_exception_handler(
                {"message": "A request of the admin interface failed", "exception": error}
            )
            answer = _REFUSALS[500]
        if isinstance(answer, Events):
            return await _send_events(request, connection, answer)
        connection.end_within(DEADLINE_S)
        return _Response(answer)


async def _send_events(request: web.BaseRequest, connection: _Connection, events: Events) -> web.StreamResponse:
    """Send texts as they come. A client that is gone, or does not take one in time, ends them."""
    response = _EventResponse(events.headers)
    over = asyncio.ensure_future(connection.over.wait())
    try:
        await response.prepare(request)
        while (text := await _next_text(events.texts, over)) is not None:
            async with asyncio.timeout(DEADLINE_S):
                await response.write(_event(text))
        async with asyncio.timeout(DEADLINE_S):
            await response.write_eof()
    except (ConnectionError, TimeoutError):
        connection.link.abort()
    finally:
        over.cancel()
        await events.texts.aclose()
    return response


async def _next_text(texts: AsyncGenerator[str, None], over: asyncio.Future[Any]) -> str | None:
    """Return the next text; None: there is none, or the client is over before it comes."""
    coming = asyncio.ensure_future(anext(texts, None))
    await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
    if coming.done():
        return coming.result()
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    return None


def _event(text: str) -> bytes:
    """Return a text as one event; a browser that is cut off asks again after two seconds."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"retry: 2000\n{lines}\n".encode("utf-8", "replace")


async def _asked(request: web.BaseRequest, connection: _Connection) -> Asked:
    """Return the request with its body. _Refused: it is too large, or too slow."""
    head = len(request.method) + len(request.raw_path) + len(" HTTP/1.1") * 2
    if head + sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers) > HEAD_LIMIT_BYTES:
        raise _Refused(431)
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        raise _Refused(413)
    body = bytearray()
    try:
        async with asyncio.timeout(DEADLINE_S):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > BODY_LIMIT_BYTES:
                    raise _Refused(413)
    except TimeoutError:
        raise _Refused(408) from None
    except web.RequestPayloadError:
        raise _Refused(400) from None
    return Asked(
        request.method,
        request.raw_path,
        request.headers.get("Host", ""),
        connection.user,
        bytes(body),
        connection.certificate,
        connection.above,
        connection.local,
    )


def _verified_chain(transport: asyncio.BaseTransport) -> tuple[bytes, ...]:
    """Return the certificates by which TLS has proved the other end, its own first; nothing without TLS."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return ()
    if hasattr(tls, "get_verified_chain"):  # from Python 3.13 on
        return tuple(tls.get_verified_chain())
    return tuple(each.public_bytes(_ENCODING_DER) for each in tls._sslobj.get_verified_chain() or ())


def _local(transport: asyncio.BaseTransport) -> str:
    """Return the number of this machine that the other end has connected to."""
    name = transport.get_extra_info("sockname")
    return str(name[0]).removeprefix("::ffff:") if isinstance(name, tuple) else ""


def _user(transport: asyncio.BaseTransport) -> int:
    """Return the user at the other end, as the kernel reports it."""
    sock = transport.get_extra_info("socket")
    if sock.family != socket.AF_UNIX:
        return NOBODY
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])
