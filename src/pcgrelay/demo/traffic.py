"""The applications of the demonstration: plain HTTP over TCP to the imports of their own edge.

Digests are computed after the clock has stopped: this machine may compute them more slowly than the gateway moves
bytes.
"""

from __future__ import annotations

import hashlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import msgspec

from pcgrelay.demo.payload import MEBIBYTE, SPACING, Payload
from pcgrelay.demo.realm import Way
from pcgrelay.demo.targets import Received
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of

TIMEOUT_S = 20.0
READ = 1 << 18
REQUESTS = 200
STREAMS = 4
BLOCKS = 8  # of one MiB, for each stream and direction


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved over one route, and how fast. Every byte was compared, or its SHA-256."""

    caller: str
    service: str
    via: tuple[str, ...]
    suite: str
    group: str
    requests: int
    request_p50_ms: float
    streams: int
    down_bytes: int
    down_bytes_per_s: float
    up_bytes: int
    up_bytes_per_s: float


def moved(way: Way, payload: Payload, suite: str, group: str) -> Moved:
    """Send small requests, then bulk down and bulk up on several streams at once, and verify everything."""
    p50_ms = _requests(way)
    down = _rate(way, lambda: _download(way, payload))
    up = _rate(way, lambda: _upload(way, payload))
    size = STREAMS * BLOCKS * MEBIBYTE
    return Moved(
        caller=way.caller.organisation,
        service=way.owner.service_name,
        via=way.relays,
        suite=suite,
        group=group,
        requests=REQUESTS,
        request_p50_ms=round(p50_ms, 3),
        streams=2 * STREAMS + 1,
        down_bytes=size,
        down_bytes_per_s=round(down),
        up_bytes=size,
        up_bytes_per_s=round(up),
    )


def greeting(way: Way) -> str:
    return f"{way.owner.service_name} answers"


def _requests(way: Way) -> float:
    """Return the median time of many small requests on one stream, in milliseconds."""
    request = f"GET / HTTP/1.1\r\nHost: {way.owner.service}\r\n\r\n".encode()
    times = []
    with _connect(way) as sock, sock.makefile("rb", buffering=READ) as answers:
        for _ in range(REQUESTS):
            start = time.perf_counter()
            sock.sendall(request)
            length = _head(way, answers.readline)
            body = answers.read(length)
            times.append(time.perf_counter() - start)
            if body.decode() != greeting(way) + "\n":
                raise _problem(way, "another answer came than was sent")
    return statistics.median(times) * 1000


def _rate(way: Way, transfer: Callable[[], float]) -> float:
    """Return bytes per second of several parallel transfers; each returns when its last byte had arrived."""
    start = time.monotonic()
    with ThreadPoolExecutor(STREAMS) as pool:
        ends = [done.result() for done in [pool.submit(transfer) for _ in range(STREAMS)]]
    return STREAMS * BLOCKS * MEBIBYTE / (max(ends) - start)


def _download(way: Way, payload: Payload) -> float:
    body = bytearray(BLOCKS * MEBIBYTE)
    view = memoryview(body)
    with _connect(way) as sock:
        sock.sendall(f"GET /bulk/{BLOCKS} HTTP/1.1\r\nHost: {way.owner.service}\r\n\r\n".encode())
        with sock.makefile("rb", buffering=0) as answer:
            length = _head(way, answer.readline)
            at = 0
            while at < length and (count := sock.recv_into(view[at : at + READ])):
                at += count
    end = time.monotonic()
    if at != len(body) or hashlib.sha256(body).hexdigest() != payload.digest(BLOCKS):
        raise _problem(way, "the SHA-256 of what arrived is not that of what was sent")
    return end


def _upload(way: Way, payload: Payload) -> float:
    size = BLOCKS * MEBIBYTE
    with _connect(way) as sock:
        sock.sendall(f"PUT / HTTP/1.1\r\nHost: {way.owner.service}\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(BLOCKS):
            sock.sendall(payload.block)
        with sock.makefile("rb") as answer:
            body = answer.read(_head(way, answer.readline))
    received = msgspec.json.decode(body, type=Received)
    if received.bytes != size or received.sha256 != payload.digest(BLOCKS):
        raise _problem(way, "the SHA-256 of what arrived is not that of what was sent")
    return received.at_s


class Markers:
    """Streams over every route that carry only markers, both ways, until they are stopped."""

    def __init__(self, ways: list[Way], payload: Payload) -> None:
        self.there = 0  # bytes that the far side returned and that were compared
        self._piece = payload.marker * (SPACING * 8 // len(payload.marker))
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(len(ways))
        self._runs = [self._pool.submit(self._run, way) for way in ways]

    def refuse_ended(self) -> None:
        """Raise the failure of a stream that ended before it was stopped."""
        for run in self._runs:
            if run.done():
                run.result()

    def stop(self) -> None:
        """End each stream with a half-close, and verify that its last bytes arrive."""
        self._stop.set()
        self._pool.shutdown()
        for run in self._runs:
            run.result()

    def abandon(self) -> None:
        """Stop the streams whatever their state."""
        self._stop.set()
        self._pool.shutdown()

    def _run(self, way: Way) -> None:
        with _connect(way) as sock, sock.makefile("rb", buffering=0) as answer:
            sock.sendall(f"POST /mirror HTTP/1.1\r\nHost: {way.owner.service}\r\n\r\n".encode())
            _head(way, answer.readline)
            back = memoryview(bytearray(len(self._piece)))
            while not self._stop.is_set():
                sock.sendall(self._piece)
                self._compare(way, sock, back)
            sock.sendall(self._piece)
            sock.shutdown(socket.SHUT_WR)
            self._compare(way, sock, back)
            if sock.recv(1):
                raise _problem(way, "more came back than was sent")

    def _compare(self, way: Way, sock: socket.socket, back: memoryview) -> None:
        at = 0
        while at < len(back):
            count = sock.recv_into(back[at:])
            if not count:
                raise _problem(way, "a stream ended before its last bytes came")
            at += count
        if back != self._piece:
            raise _problem(way, "other bytes came back than were sent")
        with self._lock:
            self.there += len(back)


@contextmanager
def _connect(way: Way) -> Iterator[socket.socket]:
    """A connection to the import; errors on it become one sentence."""
    try:
        with socket.create_connection(way.address, TIMEOUT_S) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield sock
    except OSError as error:
        raise _problem(way, f"the connection failed ({reason_of(error)})") from None


def _head(way: Way, readline: Callable[[], bytes]) -> int:
    """Read the head of a response and return the length of its body; zero if there is none."""
    first = readline()
    if b" 200 " not in first:
        raise _problem(way, "no answer came" if not first else f"the answer was {first.decode('latin-1').strip()}")
    length = 0
    while (line := readline().strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return length


def _problem(way: Way, words: str) -> RunError:
    return RunError(f"{way.caller.organisation} to {way.owner.service_name}: {words}.")
