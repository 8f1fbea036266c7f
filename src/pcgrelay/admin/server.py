"""The admin interface: a small HTTP/1.1 server on a unix socket that only its owner may open.

It answers a few fixed paths and nothing else, one request for each connection, within bounds of size and time. Facts
are asked for by GET; what changes something is asked for by POST.
So little is needed that a web framework would be the larger risk, and a quarter of a second of each start.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from pcgrelay.admin.metrics import CONTENT_TYPE, metrics_text
from pcgrelay.admin.status import STATUS_PATH, Status, troubles
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of

REQUEST_LIMIT_BYTES = 8_192
DEADLINE_S = 5.0
ACTION_DEADLINE_S = 30.0
CONNECTIONS_MOST = 32
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
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
        """As it is sent."""
        head = (
            f"HTTP/1.1 {self.code} {_REASONS[self.code]}\r\n"
            f"Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (self.body if with_body else b"")


def json_answer(value: Any, code: int = 200) -> Answer:
    """A response that is JSON."""
    return Answer(code, JSON, msgspec.json.encode(value))


Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server asks of the node; it knows nothing else of it."""

    status: Callable[[], Status]
    counters: Callable[[], dict[str, int]]
    views: Mapping[str, Callable[[Query], Answer]] = field(default_factory=dict)  # further paths for GET
    actions: Mapping[str, Callable[[Query], Awaitable[Answer]]] = field(default_factory=dict)  # paths for POST


def answered(method: str, target: str, facts: Facts) -> Answer:
    """The response to a request that changes nothing."""
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
        found = troubles(facts.status())
        return Answer(503 if found else 200, TEXT, ("\n".join(found) or "ok").encode() + b"\n")
    if path == "/metrics":
        return Answer(200, CONTENT_TYPE, metrics_text(facts.status(), facts.counters()).encode())
    return Answer(404, TEXT, b"There is nothing here.\n")


class AdminServer:
    """The admin socket of a running node."""

    def __init__(self, path: Path, facts: Facts) -> None:
        self._path = path
        self._facts = facts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket; refuses one that another process answers on, and a folder that is not there."""
        sock = self._bound()
        self._server = await asyncio.start_unix_server(self._client, sock=sock, limit=REQUEST_LIMIT_BYTES)

    async def stop(self) -> None:
        """Close the socket and whoever is still on it."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        with suppress(OSError):
            self._path.unlink()

    def _bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            self._remove_stale()
            # The mode is right from the first moment; the process has no other thread that makes files now.
            mask = os.umask(0o177)
            try:
                sock.bind(str(self._path))
            finally:
                os.umask(mask)
        except OSError as error:
            sock.close()
            raise self._problem(error) from None
        except BaseException:
            sock.close()
            raise
        return sock

    def _remove_stale(self) -> None:
        """Remove the socket that a dead process left; refuse a living one."""
        if not self._path.is_socket():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            result = probe.connect_ex(str(self._path))
        if result in (0, errno.EAGAIN):
            raise RunError(f"{self._path}: another process answers on this admin socket; stop it or name another.")
        if result == errno.ECONNREFUSED:
            self._path.unlink()

    def _problem(self, error: OSError) -> Exception:
        if isinstance(error, FileNotFoundError):
            return RunError(f"{self._path}: the folder of the admin socket does not exist; create it first.")
        if isinstance(error, PermissionError):
            return PermissionProblem(
                f"{self._path}: this user may not create the admin socket here; name another path."
            )
        return RunError(f"{self._path}: the admin socket cannot be opened ({reason_of(error)}).")

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= CONNECTIONS_MOST:
                async with asyncio.timeout(DEADLINE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                async with asyncio.timeout(ACTION_DEADLINE_S):
                    response = await self._response(head)
                async with asyncio.timeout(DEADLINE_S):
                    writer.write(response)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # Whoever asks too slowly, too much, or leaves, gets no answer.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _response(self, head: bytes) -> bytes:
        parts = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return Answer(400, TEXT, b"This is no request.\n").encoded(with_body=True)
        path, _, query = parts[1].partition("?")
        action = self._facts.actions.get(path)
        if parts[0] == "POST" and action is not None:
            return (await action(dict(parse_qsl(query)))).encoded(with_body=True)
        return answered(parts[0], parts[1], self._facts).encoded(with_body=parts[0] != "HEAD")
