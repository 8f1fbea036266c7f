"""The pages of a node for a browser on the same machine: what the admin socket shows to people, and nothing else.

It listens on loopback alone, answers GET alone, and asks the admin socket as the user who started it. A name in the
Host header that is not loopback's is refused, so that no other site can read the pages through a browser.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from pcgrelay.admin.client import TIMEOUT_S, read_page
from pcgrelay.admin.http import Answer, Asked, HttpServer, text_answer
from pcgrelay.errors import PcgrelayError, RunError
from pcgrelay.files import reason_of

HOME = "/cutover"
SHOWN = (HOME, f"{HOME}/", "/page.css")
BACKLOG = 32


class PageServer:
    """A listener that shows one node's pages."""

    def __init__(self, admin: Path, host: str, port: int) -> None:
        """host: a number of loopback. port: 0 for any."""
        self._admin = admin
        self._host = host
        self._port = port
        self._http: HttpServer | None = None

    async def start(self) -> None:
        """Listen. RunError: it cannot."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._host, self._port))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise RunError(f"{self.address}: nobody can listen here ({reason_of(error)}); name another port.") from None
        self._port = sock.getsockname()[1]
        self._http = HttpServer(self._answer)
        await self._http.start(sock)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def stop(self) -> None:
        """Close all."""
        if self._http is not None:
            await self._http.stop()

    async def _answer(self, asked: Asked) -> Answer:
        if asked.host.lower() not in (self.address, f"localhost:{self._port}"):
            return text_answer(403, f"This is shown at http://{self.address}/ alone.")
        if asked.method not in ("GET", "HEAD"):
            return text_answer(405, "Only GET is answered here; nothing can be changed from a page.")
        path = asked.target.partition("?")[0]
        if path == "/":
            return Answer(303, "text/plain; charset=utf-8", b"", {"Location": HOME})
        if path not in SHOWN and not path.startswith(f"{HOME}/"):
            return text_answer(404, "There is nothing here.")
        try:
            page = await asyncio.to_thread(read_page, self._admin, path, TIMEOUT_S)
        except PcgrelayError as error:
            return text_answer(503, str(error))
        return Answer(page.code, page.kind, page.body, page.headers)
