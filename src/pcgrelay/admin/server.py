"""The admin interface: HTTP on a unix socket that only its owner may open, or additionally a named group.

It answers a few fixed paths. GET reads facts; POST changes something, and only for the node's own user and root.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl

from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.families import CONTENT_TYPE
from pcgrelay.admin.http import TEXT, Answer, Asked, HttpServer, json_answer, text_answer
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.private import let_in, private_socket
from pcgrelay.admin.service_metrics import ServicesText
from pcgrelay.admin.status import STATUS_PATH, Status
from pcgrelay.printable import printable

SCRAPED = ("/metrics", "/healthz", "/readyz")
Query = Mapping[str, str]
Action = Callable[[Query, bytes], Awaitable[Answer]]
UID = "uid"  # in a query at the socket: who asks, as the kernel says, whatever was written there


@dataclass(frozen=True, slots=True)
class AdminHandlers:
    """The handlers of a node; the server knows nothing else about it."""

    status: Callable[[], Status]
    counters: Callable[[], dict[str, int]]
    traffic: Callable[[], str] = str  # the text of the families of services; a relay has none
    services: ServicesText = field(default_factory=ServicesText)  # keeps lines from scrape to scrape
    views: Mapping[str, Callable[[Query], Answer]] = field(default_factory=dict)  # more paths for GET
    actions: Mapping[str, Action] = field(default_factory=dict)  # paths for POST, with the body; see UID
    page: Callable[[str], Answer | None] = lambda path: None  # what a browser may show at a path, if it is one of its


def answered(method: str, target: str, facts: AdminHandlers, user: int | None = None) -> Answer:
    """Return the response to a request that changes nothing. user: who asks, as the kernel says; nothing: over TCP."""
    path, _, query = target.partition("?")
    if method not in ("GET", "HEAD"):
        return text_answer(405, "Only GET is answered here.")
    if path == STATUS_PATH:
        return json_answer(facts.status())
    if path in facts.views:
        said = {key: value for key, value in parse_qsl(query) if key != UID}
        return facts.views[path](said if user is None else {**said, UID: str(user)})
    if path == "/healthz":
        return text_answer(200, "ok")
    if path == "/readyz":
        return _readiness(facts.status())
    if path == "/metrics":
        text = metrics_text(facts.status(), facts.counters(), facts.services) + facts.traffic()
        return Answer(200, CONTENT_TYPE, text.encode())
    return facts.page(path) or text_answer(404, "There is nothing here.")


def answer_scrape(method: str, target: str, facts: AdminHandlers) -> Answer:
    """Return the response to who watches this node over TCP: metrics and health, and nothing else."""
    if method in ("GET", "HEAD") and target.partition("?")[0] not in SCRAPED:
        return text_answer(404, f"There is nothing here but {', '.join(SCRAPED)}.")
    return answered(method, target, facts)


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
        self._http: HttpServer | None = None

    async def start(self, sock: socket.socket | None = None) -> None:
        """Open the socket, or use sock, which the previous process handed over.

        RunError: another process answers on it, or its folder does not exist. PermissionProblem: this user may not
        create it.
        """
        sock = sock or private_socket(self._path, "admin socket")
        let_in(self._path, self._group)
        self._http = HttpServer(self._answer)
        await self._http.start(sock)

    @property
    def descriptor(self) -> int:
        """The listening socket's descriptor, for a hand-over."""
        assert self._http is not None
        return self._http.descriptor

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._http is None:
            return
        await self._http.stop()
        with suppress(OSError):
            self._path.unlink()

    async def _answer(self, asked: Asked) -> Answer:
        path, _, query = asked.target.partition("?")
        action = self._facts.actions.get(path)
        if asked.method != "POST" or action is None:
            return answered(asked.method, asked.target, self._facts, asked.user)
        if asked.user not in (os.geteuid(), 0):
            return text_answer(403, "Only the node's own user may change it.")
        return await action({**dict(parse_qsl(query)), UID: str(asked.user)}, asked.body)
