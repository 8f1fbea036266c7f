"""A node's admin socket with canned answers, for the tests of commands: real requests, and no node behind them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


class FakeNode:
    """Answers by path; a refusal, which has a reason, with 409 as a node does. A list is answered one by one."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[Asked] = []

    def answer_to(self, asked: Asked) -> Any:
        self.asked.append(asked)
        answer = self.answers[asked.path]
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


def node_named(path: Path, name: str) -> Path:
    """As much of a configuration as is needed to find the node."""
    path.write_text(f'[node]\nname = "{name}"\nadmin = "{name}.sock"\n')
    return path


@contextmanager
def fake_node(admin: Path) -> Iterator[FakeNode]:
    """A fake node at an admin socket."""
    node = FakeNode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            answer = node.answer_to(Asked(self.command, path, dict(parse_qsl(query, keep_blank_values=True)), body))
            data = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
            self.send_response(409 if getattr(answer, "reason", "") else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    class Server(ThreadingUnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that has left is its own matter."""

    admin.unlink(missing_ok=True)
    with Server(str(admin), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield node
        finally:
            server.shutdown()
            thread.join()
            admin.unlink(missing_ok=True)
