"""What stands behind the exports of the demonstration: a small HTTP server for each organisation, for curl too.

GET /          one line that says who answers
GET /bulk/N    N MiB of the payload
PUT /          takes a body, and answers its size, its SHA-256 and when its last byte came
POST /mirror   sends back whatever comes, as it comes, until the caller has said all
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from pcgrelay.demo.payload import MEBIBYTE, Payload

BULK_MOST_MIB = 4096
PUT_MOST_MIB = 256  # it is held in memory until its digest is made
READ = 1 << 18
TIMEOUT_S = 30.0


class Received(msgspec.Struct, frozen=True):
    """The answer to PUT."""

    bytes: int
    sha256: str
    at_s: float  # monotonic: caller and server are on one machine


class Target:
    """One server in threads of this process."""

    def __init__(self, greeting: str, payload: Payload) -> None:
        kind = type("Handler", (_Handler,), {"greeting": f"{greeting}\n".encode(), "payload": payload})
        self._server = _Server(("127.0.0.1", 0), kind)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a caller that disconnects early."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = TIMEOUT_S
    greeting: bytes
    payload: Payload

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(HTTPStatus.OK, "text/plain", self.greeting)
            return
        mebibytes = self.path.removeprefix("/bulk/")
        if not (mebibytes.isascii() and mebibytes.isdigit() and 0 < int(mebibytes) <= BULK_MOST_MIB):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"There are / and /bulk/MEBIBYTES.\n")
            return
        self._head(HTTPStatus.OK, "application/octet-stream", int(mebibytes) * MEBIBYTE)
        self.wfile.flush()
        for _ in range(int(mebibytes)):
            self.connection.sendall(self.payload.block)

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= PUT_MOST_MIB * MEBIBYTE):
            self.close_connection = True
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", b"A body of known length, 256 MiB at most, is wanted.\n")
            return
        body = bytearray(int(length))
        view = memoryview(body)
        at = 0
        # readinto1 would stop at what is buffered; it is wanted as it comes.
        while at < len(body) and (count := self.rfile.readinto(view[at : at + READ])):
            at += count
        arrived = time.monotonic()
        answer = Received(at, hashlib.sha256(view[:at]).hexdigest(), arrived)
        self._answer(HTTPStatus.OK, "application/json", msgspec.json.encode(answer) + b"\n")

    def do_POST(self) -> None:
        """Mirror the body, whose length is unknown: the caller's FIN ends it, and this side's FIN ends the answer."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        while piece := self.rfile.read1(READ):
            self.connection.sendall(piece)
        self.connection.shutdown(socket.SHUT_WR)

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
