"""Streams that flow at a steady pace while a scenario does harm, each byte checked, each pause measured.

The far end sends back what it gets, or sends on its own. Bytes come from a seed, so both ends know each of them.
"""

from __future__ import annotations

import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from tests.scenarios.kit.nodes import Address
from tests.support.waiting import receive, until

BLOCK = 8_192
WAIT_S = 60.0
BUCKET_S = 0.1


def blocks(seed: int) -> Iterator[bytes]:
    """Bytes without end, the same for the same seed."""
    made = random.Random(seed)
    while True:
        yield made.randbytes(BLOCK)


class Far:
    """A server at a target. The first byte of a connection says what it does: `e`, send back all that comes; `d`, send
    at a pace of its own and take nothing."""

    def __init__(self, address: Address, pace_bytes: int) -> None:
        self._pace = pace_bytes
        self._server = socket.create_server(address, backlog=1024)
        self._server.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._server.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                sock, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.settimeout(WAIT_S)
            head = receive(sock, 9)
            if head[:1] == b"d":
                _paced(sock, int.from_bytes(head[1:], "big"), self._pace, self._stopping)
                return
            while data := sock.recv(65_536):
                sock.sendall(data)


def _paced(sock: socket.socket, seed: int, pace: int, stopping: threading.Event) -> None:
    """Send at that pace; time that was lost is not made up for."""
    due = time.monotonic()
    for block in blocks(seed):
        if stopping.is_set():
            return
        sock.sendall(block)
        due = max(due + BLOCK / pace, time.monotonic() - BUCKET_S)
        # The pace is the point: a stream of a known rate, so that its return can be seen.
        stopping.wait(max(0.0, due - time.monotonic()))


class Stream:
    """One application's connection. `fault` says what was wrong with it; nothing, if all is as it should be."""

    def __init__(self, door: Address, seed: int, pace_bytes: int, *, down: bool = False) -> None:
        self.fault = ""
        self.received = 0
        self._arrivals: list[tuple[float, int]] = []
        self._pace, self._seed, self._down = pace_bytes, seed, down
        self._stopping = threading.Event()
        self._sock = socket.create_connection(door, WAIT_S)
        tasks = (self._hear,) if down else (self._hear, self._emit)
        self._threads = [threading.Thread(target=self._guarded, args=(task,), daemon=True) for task in tasks]

    def __enter__(self) -> Self:
        self._sock.settimeout(WAIT_S)
        self._sock.sendall((b"d" if self._down else b"e") + self._seed.to_bytes(8, "big"))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._sock.close()

    def check(self) -> None:
        """It still flows, and nothing was lost, doubled or changed."""
        before = self.received
        until(lambda: self.received > before + BLOCK or self.fault, WAIT_S, "the stream flows")
        assert not self.fault

    def longest_pause_s(self, since: float) -> float:
        """The longest time without a byte since then."""
        times = [since, *(at for at, _ in list(self._arrivals) if at > since)]
        return max((later - at for at, later in itertools.pairwise(times)), default=0.0)

    def resumed_at(self, since: float) -> float:
        """When the longest pause since then was over."""
        times = [since, *(at for at, _ in list(self._arrivals) if at > since)]
        return max(itertools.pairwise(times), key=lambda pair: pair[1] - pair[0])[1]

    def rate(self, start: float, seconds: float) -> float:
        """Bytes for each second of that time."""
        return sum(size for at, size in list(self._arrivals) if start <= at < start + seconds) / seconds

    def _guarded(self, task: object) -> None:
        try:
            task()  # type: ignore[operator]
        except (OSError, AssertionError) as error:
            if not self._stopping.is_set():
                self.fault = self.fault or f"after {self.received} bytes: {error!r}"

    def _emit(self) -> None:
        _paced(self._sock, self._seed, self._pace, self._stopping)

    def _hear(self) -> None:
        coming = blocks(self._seed)
        expected = b""
        while not self._stopping.is_set():
            data = self._sock.recv(65_536)
            assert data or self._stopping.is_set(), "it ended"
            self._arrivals.append((time.monotonic(), len(data)))
            self.received += len(data)
            while len(expected) < len(data):
                expected += next(coming)
            assert expected.startswith(data), "another byte came than was sent"
            expected = expected[len(data) :]


@contextmanager
def flowing(
    door: Address, target: Address, *, up: int = 1, down: int = 1, pace_bytes: int = 2 << 20
) -> Iterator[list[Stream]]:
    """So many streams that are sent back, and so many that only the far end feeds. At the end all must be whole."""
    with Far(target, pace_bytes):
        made: list[Stream] = []
        try:
            for seed in range(up + down):
                made.append(Stream(door, seed + 1, pace_bytes, down=seed >= up).__enter__())
            for stream in made:
                stream.check()
            yield made
            for stream in made:
                stream.check()
        finally:
            for stream in made:
                stream.__exit__()
