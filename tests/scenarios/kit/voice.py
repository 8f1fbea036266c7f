"""Voice as packets: calls of 50 packets of 200 bytes a second each way, and what becomes of them.

voice.py answer HOST PORT               says each packet back to who sent it, until its standard input ends
voice.py call HOST PORT CALLS SECONDS   makes calls and prints a line of JSON: what was sent, what came back, round
                                        trips in ms, and the jitter of the worst call (RFC 3550, 6.4.1); 0 seconds:
                                        until its standard input ends
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

Address = tuple[str, int]
EVERY_S = 0.02
SIZE = 200
HEAD = struct.Struct(">IQ")  # number, when it was sent in ns
# What comes later than this after the last packet is lost.
PATIENCE_S = 1.0
SO_RCVBUFFORCE = 33
ROOM = 4 << 20


@dataclass(frozen=True)
class Heard:
    """What became of all calls."""

    sent: int
    received: int
    median_ms: float
    p99_ms: float
    worst_ms: float
    jitter_ms: float  # of the worst call

    @property
    def lost(self) -> int:
        return self.sent - self.received


@contextmanager
def answering(address: Address, prefix: Sequence[str] = ()) -> Iterator[None]:
    """A far end of all calls, as a process. prefix: what runs it."""
    process = subprocess.Popen(
        [*prefix, sys.executable, Path(__file__), "answer", address[0], str(address[1])],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"listens\n"
        yield
    finally:
        process.stdin.close()
        process.wait(5)
        process.stdout.close()


@contextmanager
def calling(
    address: Address, calls: int, seconds: float, prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Calls as a process that goes on beside the block; `heard` waits for its end. 0 seconds: `heard` ends it."""
    words = [address[0], str(address[1]), str(calls), str(seconds)]
    process = subprocess.Popen(
        [*prefix, sys.executable, Path(__file__), "call", *words],
        stdin=subprocess.DEVNULL if seconds else subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(5)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def heard(process: subprocess.Popen[bytes], seconds: float) -> Heard:
    """Wait for the end of calls, at most so long, and answer what became of them."""
    if process.stdin is not None:
        process.stdin.close()
    assert process.wait(seconds) == 0
    assert process.stdout is not None
    return Heard(**json.loads(process.stdout.readline()))


class Echo(asyncio.DatagramProtocol):
    """Says each packet back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no instances of the class that they stand for.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


class Call(asyncio.DatagramProtocol):
    """One end of one call."""

    def __init__(self) -> None:
        self.sent = 0
        self.trips_ns: list[int] = []
        self.jitter_ns = 0.0
        self._seen: set[int] = set()
        self._last_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def speak(self) -> None:
        self.transport.sendto(HEAD.pack(self.sent, time.monotonic_ns()).ljust(SIZE, b"v"))
        self.sent += 1

    def datagram_received(self, data: bytes, addr: object) -> None:
        number, at_ns = HEAD.unpack_from(data)
        if number in self._seen:
            return
        self._seen.add(number)
        trip_ns = time.monotonic_ns() - at_ns
        if self.trips_ns:
            self.jitter_ns += (abs(trip_ns - self._last_ns) - self.jitter_ns) / 16
        self._last_ns = trip_ns
        self.trips_ns.append(trip_ns)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens: the packet is lost."""


async def call(address: Address, count: int, seconds: float) -> Heard:
    loop = asyncio.get_running_loop()
    made = [await loop.create_datagram_endpoint(Call, remote_addr=address) for _ in range(count)]
    calls = [one for _, one in made]
    ended = loop.run_in_executor(None, sys.stdin.read) if not seconds else None
    began = loop.time()
    for turn in range(round(seconds / EVERY_S)) if seconds else itertools.count():
        if ended is not None and ended.done():
            break
        await asyncio.sleep(began + turn * EVERY_S - loop.time())
        for one in calls:
            one.speak()
    await asyncio.sleep(PATIENCE_S)
    for transport, _ in made:
        transport.close()
    trips = sorted(trip for one in calls for trip in one.trips_ns) or [0]
    return Heard(
        sent=sum(one.sent for one in calls),
        received=sum(len(one.trips_ns) for one in calls),
        median_ms=trips[len(trips) // 2] / 1e6,
        p99_ms=trips[len(trips) * 99 // 100] / 1e6,
        worst_ms=trips[-1] / 1e6,
        jitter_ms=max(one.jitter_ns for one in calls) / 1e6,
    )


async def answer(address: Address) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # What finds no room here while this process has no turn was not lost by any gateway.
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        sock.bind(address)
        sock.setblocking(False)
        transport, _ = await loop.create_datagram_endpoint(Echo, sock=sock.dup())
    print("listens", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    transport.close()


def main() -> None:
    what, host, port, *rest = sys.argv[1:]
    if what == "answer":
        uvloop.run(answer((host, int(port))))
        return
    found = uvloop.run(call((host, int(port)), int(rest[0]), float(rest[1])))
    print(json.dumps(found.__dict__), flush=True)


if __name__ == "__main__":
    main()
