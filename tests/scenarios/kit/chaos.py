"""Chaos: whatever can befall two relays and the lines to them, in an order that a seed decides.

Streams flow meanwhile and check every byte.

A stream may end in three ways. Whole: all came back as it was sent. Refused: it never began. Reset: it ended with an
error; what came until then was right. Anything else is a fault.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.scenarios.kit.nodes import Address, Node
from tests.scenarios.kit.reload_setup import command, reload
from tests.scenarios.kit.two_relays import Pair
from tests.support.waiting import until

PIECE = 32_768
STUCK_S = 60.0  # twice what a stream waits for a path
AGAIN_S = 0.05
REST_BYTES = 256 << 10  # of links and sessions without a stream
SIZES = (1, 1_000, 40_000, 400_000, 2_000_000)


@dataclass
class StreamCounts:
    """How the streams ended, and what was wrong."""

    whole: int = 0
    refused: int = 0
    reset: int = 0
    sent_bytes: int = 0
    faults: list[str] = field(default_factory=list)
    reset_at: list[tuple[float, float]] = field(default_factory=list)  # from when to when such a stream lived


class Crowd:
    """Applications that open one stream after another until they are told to stop."""

    def __init__(self, door: Address, seed: int, count: int) -> None:
        self.stream_counts = StreamCounts()
        self._door = door
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed * 1_000 + number),), daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each finish the stream that it has."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(STUCK_S + 10)
            assert not thread.is_alive(), "an application is stuck"

    def _run(self, chosen: random.Random) -> None:
        while not self._stopping.is_set():
            data = chosen.randbytes(chosen.choice(SIZES))
            began = time.monotonic()
            end, back = _exchanged(self._door, data)
            with self._lock:
                self._note(end, data, back, began)
            if end == "refused":
                self._stopping.wait(AGAIN_S)

    def _note(self, end: str, data: bytes, back: bytes, began: float) -> None:
        stream_counts = self.stream_counts
        if not data.startswith(back):
            stream_counts.faults.append(f"of {len(data)} bytes another came back than was sent")
        elif end == "whole" and back != data:
            stream_counts.faults.append(f"it ended well after {len(back)} of {len(data)} bytes")
        elif end == "stuck":
            stream_counts.faults.append(f"it was stuck after {len(back)} of {len(data)} bytes")
        elif end == "whole":
            stream_counts.whole += 1
            stream_counts.sent_bytes += len(data)
        elif end == "reset":
            stream_counts.reset += 1
            stream_counts.reset_at.append((began, time.monotonic()))
        else:
            stream_counts.refused += 1


def _exchanged(door: Address, data: bytes) -> tuple[str, bytes]:
    """Send it all, hear it all back, to the end of both; answer how it ended and what came."""
    back = bytearray()
    head = b"e" + bytes(8)
    try:
        with socket.create_connection(door, STUCK_S) as sock:
            sock.setblocking(False)
            going = memoryview(head + data)
            while True:
                wanted = [sock] if going else []
                readable, writable, _ = select.select([sock], wanted, [], STUCK_S)
                if not readable and not writable:
                    return "stuck", bytes(back)
                if writable:
                    going = going[sock.send(going[:PIECE]) :]
                    if not going:
                        sock.shutdown(socket.SHUT_WR)
                if readable:
                    piece = sock.recv(PIECE)
                    if not piece:
                        return "whole", bytes(back)
                    back += piece
    except TimeoutError:
        return "stuck", bytes(back)
    except OSError:
        return ("reset" if back else "refused"), bytes(back)


class Harm:
    """What is done, one thing after another, by chance."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.done: dict[str, int] = {}
        self.corrupted: list[tuple[float, float]] = []
        self._pair = pair
        self._random = random.Random(seed)
        self._deeds: list[tuple[int, Callable[[], None]]] = [
            (3, self.kill),
            (3, self.freeze),
            (3, self.silence),
            (2, self.lose_packets),
            (3, self.delay),
            (2, self.hang_up),
            (1, self.corrupt),
            (2, self.reload),
            (2, self.drain),
            (1, self.both_at_once),
        ]

    def go_on(self, seconds: float) -> None:
        """Do harm for that long, then let all be well."""
        ending = time.monotonic() + seconds
        weights = [weight for weight, _ in self._deeds]
        while time.monotonic() < ending:
            ((_, deed),) = self._random.choices(self._deeds, weights)
            self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1
            deed()
            self._last(0.1, 0.8)
        self._pair.network.mend()
        self._order()

    def _last(self, least_s: float, most_s: float) -> None:
        """What was done lasts for a while."""
        threading.Event().wait(self._random.uniform(least_s, most_s))

    def _relay(self) -> Node:
        return self._random.choice(self._pair.relays)

    def _order(self, **order: int) -> None:
        assert self._pair.line is not None
        self._pair.line.order(**order)

    def kill(self) -> None:
        relay = self._relay()
        relay.kill()
        self._last(0.0, 1.0)
        relay.start()

    def freeze(self) -> None:
        with self._relay().frozen():
            self._last(0.2, 4.0)

    def silence(self) -> None:
        ports = self._pair.ports_of(self._relay())
        with self._pair.network.cut(*self._random.sample(ports, self._random.randint(1, 2))):
            self._last(0.2, 4.0)

    def lose_packets(self) -> None:
        every = [port for relay in self._pair.relays for port in self._pair.ports_of(relay)]
        self._pair.network.lose(self._random.randint(5, 100), *every)
        self._last(0.5, 2.0)
        self._pair.network.mend()

    def delay(self) -> None:
        self._order(delay_ms=self._random.randint(5, 120))
        self._last(0.5, 2.0)
        self._order()

    def hang_up(self) -> None:
        self._order(hang_up=1)

    def corrupt(self) -> None:
        began = time.monotonic()
        self._order(corrupt=self._random.randint(5, 200))
        self._last(0.1, 0.5)
        self._order()
        self.corrupted.append((began, time.monotonic()))

    def reload(self) -> None:
        node = self._random.choice([*self._pair.relays, self._pair.met, self._pair.kent])
        if self._random.random() < 0.5:
            os.kill(node.pid, signal.SIGHUP)
        else:
            assert reload(node).ok

    def drain(self) -> None:
        relay = self._relay()
        assert command("drain", "-c", relay.config).returncode in (0, 1)
        self._last(0.2, 1.5)
        assert command("drain", "--undo", "-c", relay.config).returncode == 0

    def both_at_once(self) -> None:
        """No way is left for a moment: whatever runs has to wait."""
        ports = [port for relay in self._pair.relays for port in self._pair.ports_of(relay)]
        with self._pair.network.cut(*ports):
            self._last(0.5, 4.0)


def overlaps(time_: tuple[float, float], others: list[tuple[float, float]], after_s: float) -> bool:
    """Whether that time touches one of the others, or what comes soon after them."""
    return any(time_[0] < end + after_s and begin < time_[1] for begin, end in others)


def await_rest(pair: Pair, baseline: dict[str, int], seconds: float = 45.0) -> None:
    """All is well, no stream is open, and descriptors and memory are what they were."""
    pair.stage.await_well(seconds=seconds)
    edges = (pair.met, pair.kent)
    until(lambda: not any(edge.status().streams.active for edge in edges), seconds, "no stream is open")
    for node in (*edges, *pair.relays):
        most = baseline[node.name] + 2
        until(lambda node=node, most=most: node.descriptors <= most, 20, f"{node} lets go of descriptors")
        until(lambda node=node: node.status().memory.used_bytes < REST_BYTES, 20, f"{node} lets go of memory")
