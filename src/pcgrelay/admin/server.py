"""The admin interface: a small HTTP/1.1 server on a unix socket that only its owner may open.

It answers a few fixed paths, one request per connection, within limits of size and time. GET reads facts; POST changes
something. So little is needed that a web framework would be the larger risk, and would take a quarter of a second of
each start.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.metrics import CONTENT_TYPE, metrics_text
from pcgrelay.admin.private import let_in, private_socket
from pcgrelay.admin.status import STATUS_PATH, Status
from pcgrelay.printable import printable

REQUEST_LIMIT_BYTES = 8_192
DEADLINE_S = 5.0
ACTION_DEADLINE_S = 30.0
CONNECTIONS_MOST = 32
_CREDENTIALS = struct.Struct("3i")
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    code: int
    kind: str
    body: bytes

    def encoded(self, *, with_body: bool) -> bytes:
        """Return the response as bytes."""
        head = (
            f"HTTP/1.1 {self.code} {_REASONS[self.code]}\r\n"
            f"Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (self.body if with_body else b"")


def json_answer(value: Any, code: int = 200) -> Answer:
    """Return a JSON response."""
    return Answer(code, JSON, msgspec.json.encode(value))


def _is_owner(writer: asyncio.StreamWriter) -> bool:
    """Return whether the kernel reports that the peer is the node's own user, or root."""
    data = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in (os.geteuid(), 0)


Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AdminHandlers:
    """The handlers of a node; the server knows nothing else about it."""

    status: Callable[[], Status]
    counters: Callable[[], dict[str, int]]
    views: Mapping[str, Callable[[Query], Answer]] = field(default_factory=dict)  # more paths for GET
    actions: Mapping[str, Callable[[Query], Awaitable[Answer]]] = field(default_factory=dict)  # paths for POST


def answered(method: str, target: str, facts: AdminHandlers) -> Answer:
    """Return the response to a request that changes nothing."""
    path, _, query = target.partition("?")
    if method not in ("GET", "HEAD"):
        return Answer(405, TEXT, b"Only GET is answered here.\n")
    if path == STATUS_PATH:
        return json_answer(facts.status())
    if path in facts.views:
        return facts.views[path](dict(parse_qsl(query)))
    if path == "/healthz":
        return Answer(200, TEXT, b"ok\n")
    if path == "/readyz":
        return _readiness(facts.status())
    if path == "/metrics":
        return Answer(200, CONTENT_TYPE, metrics_text(facts.status(), facts.counters()).encode())
    return Answer(404, TEXT, b"There is nothing here.\n")


def _readiness(status: Status) -> Answer:
    """Return whether the node accepts new work. A degraded node does, and says so."""
    found = troubles(status)
    condition = condition_of(status, found)
    sentences = [printable(trouble.sentence) for trouble in found]
    lines = ["ok" if condition is Condition.READY else condition.value, *sentences]
    return Answer(200 if condition.takes_new_work else 503, TEXT, "\n".join([*lines, ""]).encode())


class AdminServer:
    """The admin socket of a running node."""

    def __init__(self, path: Path, facts: AdminHandlers, group: int | None = None) -> None:
        """group: the group whose members may read, but change nothing."""
        self._path = path
        self._group = group
        self._facts = facts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket | None = None) -> None:
        """Open the socket, or use sock, which the previous process handed over.

        RunError: another process answers on it, or its folder does not exist. PermissionProblem: this user may not
        create it.
        """
        sock = sock or private_socket(self._path, "admin socket")
        let_in(self._path, self._group)
        self._server = await asyncio.start_unix_server(self._client, sock=sock, limit=REQUEST_LIMIT_BYTES)

    @property
    def descriptor(self) -> int:
        """The listening socket's descriptor, for a hand-over."""
        assert self._server is not None
        return int(self._server.sockets[0].fileno())

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        with suppress(OSError):
            self._path.unlink()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= CONNECTIONS_MOST:
                async with asyncio.timeout(DEADLINE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                async with asyncio.timeout(ACTION_DEADLINE_S):
                    response = await self._response(head, _is_owner(writer))
                async with asyncio.timeout(DEADLINE_S):
                    writer.write(response)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # A client that is too slow, sends too much, or leaves gets no answer.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _response(self, head: bytes, is_owner: bool) -> bytes:
        parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return Answer(400, TEXT, b"This is no request.\n").encoded(with_body=True)
        path, _, query = parts[1].partition("?")
        action = self._facts.actions.get(path)
        if parts[0] == "POST" and action is not None and not is_owner:
            return Answer(403, TEXT, b"Only the node's own user may change it.\n").encoded(with_body=True)
        if parts[0] == "POST" and action is not None:
            return (await action(dict(parse_qsl(query)))).encoded(with_body=True)
        return answered(parts[0], parts[1], self._facts).encoded(with_body=parts[0] != "HEAD")
