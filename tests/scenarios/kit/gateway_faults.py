"""What may be wrong with the gateway's side alone in the middle of a move, and what has to come of it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tests.scenarios.kit.cut_over import PATIENCE_S, PLAN, Client, Moving, relay_port
from tests.scenarios.kit.network_namespace import Network
from tests.scenarios.kit.nodes import HOST, Address
from tests.support.applications import echo
from tests.support.ports import free_port
from tests.support.waiting import receive

NEW, OLD = b"new ", b"old "
# A stream of bulk, at a pace that both networks have.
BULK_BYTES = 1_114_112
BULK_PIECE = 65_536
BULK_A_SECOND = 16 << 20
BULK = b"bulkbulk"
# A stream may be idle so long.
LASTING_S = 600.0
# One stream in so many is reset.
RESETS = 20


class Far:
    """Who answers over one of the outlets: it says who it is, and then does what the application wants."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.resets = 0  # that it made
        self.is_breaking = False
        self._count = 0
        self._lock = threading.Lock()

    def talk(self, connection: socket.socket) -> None:
        connection.settimeout(LASTING_S)
        with self._lock:
            self._count += 1
            breaks = self.is_breaking and self._count % RESETS == 0
            self.resets += breaks
        connection.sendall(self.name)
        if breaks:
            connection.sendall(receive(connection, 8))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        said = receive(connection, 8)
        if said != BULK:
            connection.sendall(said)
            echo(connection)
            return
        left, due = BULK_BYTES, time.monotonic()
        while left > 0:
            connection.sendall(bytes(min(left, BULK_PIECE)))
            left -= BULK_PIECE
            due += BULK_PIECE / BULK_A_SECOND
            # The pace is the point: the same over both networks.
            time.sleep(max(0.0, due - time.monotonic()))


class BulkClient(Client):
    """Applications that fetch more than a mebibyte with each connection."""

    def _talk(self, connection: socket.socket, said: bytes) -> None:
        connection.sendall(BULK)
        if len(receive(connection, BULK_BYTES)) != BULK_BYTES:
            raise OSError("it ended early")


@dataclass
class Ground:
    """Where a fault happens."""

    made: Moving
    new: Far
    network: Network | None
    mended: ExitStack


Inject = Callable[[Ground], None]


@dataclass(frozen=True)
class Fault:
    """What is broken, and what is to come of it.

    held: share 0 at once; back: it falls back; slow: it falls back for slowness; shut: no step forward.
    """

    name: str
    inject: Inject
    wanted: str
    within_s: float = 2.0
    gate: str = "wide"
    in_test: tuple[int, ...] = (25,)  # at which steps it is a part of `make test`
    in_all: tuple[int, ...] = (100,)  # and of `make test-all` alone
    needs: frozenset[str] = field(default_factory=frozenset)  # network, line, bulk

    def __str__(self) -> str:
        return self.name


def refuses(ground: Ground) -> None:
    before = int(ground.made.scene.tables(ground.made.kent)["exports"][1]["target"].rpartition(":")[2])
    ground.made.retarget(free_port())
    ground.mended.callback(ground.made.retarget, before)


def swallows(ground: Ground) -> None:
    """No new stream is answered, as the exporter's target takes no connection; streams that are open go on."""
    before = int(ground.made.scene.tables(ground.made.kent)["exports"][1]["target"].rpartition(":")[2])
    ground.mended.callback(ground.made.retarget, before)
    listening = ground.mended.enter_context(socket.socket())
    listening.bind((HOST, 0))
    listening.listen(0)
    for _ in range(2):
        filler = ground.mended.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
    # Nothing but what befalls streams may tell of it.
    ground.made.retarget(listening.getsockname()[1], probe="none")


def kills_the_relay(ground: Ground) -> None:
    (relay,) = ground.made.scene.relays
    relay.kill()
    ground.mended.callback(relay.start)


def stops(ground: Ground, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    ground.mended.callback(os.kill, pid, signal.SIGCONT)


def freezes_the_relay(ground: Ground) -> None:
    stops(ground, ground.made.scene.relays[0].pid)


def freezes_the_exporter(ground: Ground) -> None:
    stops(ground, ground.made.kent.pid)


def cuts_the_relay(ground: Ground) -> None:
    """No packet comes to it or from it, without a word."""
    assert ground.network is not None
    ground.network.drop(relay_port(ground.made.scene))
    ground.mended.callback(ground.network.mend)


def loses(ground: Ground) -> None:
    assert ground.network is not None
    ground.network.lose(10, relay_port(ground.made.scene))
    ground.mended.callback(ground.network.mend)


def ordered(ground: Ground, **order: int) -> None:
    assert ground.made.line is not None
    ground.made.line.order(**order)
    ground.mended.callback(ground.made.line.order)


def delays(ground: Ground) -> None:
    ordered(ground, steady_ms=25)


def narrows(ground: Ground) -> None:
    ordered(ground, kib_a_second=BULK_A_SECOND // 10 >> 10)


def breaks(ground: Ground) -> None:
    ground.new.is_breaking = True
    ground.mended.callback(setattr, ground.new, "is_breaking", False)


def leaves_all_well(ground: Ground) -> None:
    """What the others are held against: here the gate has to open."""


WITH_BULK = frozenset({"line", "bulk"})
BOTH = (25, 100)
# The nine of the design, two more, and what the two that shut the gate are held against.
FAULTS = [
    Fault("the only relay is killed", kills_the_relay, "held"),
    Fault("the only relay is frozen", freezes_the_relay, "held", in_test=(), in_all=()),
    Fault("the only relay is cut off", cuts_the_relay, "held", in_test=(), in_all=BOTH, needs=frozenset({"network"})),
    Fault("the target refuses", refuses, "back"),
    Fault("new streams are swallowed", swallows, "back", in_test=(), in_all=BOTH),
    Fault("50 ms more", delays, "slow", 60, "narrow", in_test=(), in_all=(), needs=frozenset({"line"})),
    Fault("1 % of packets lost", loses, "shut", gate="strict", in_test=(), in_all=(), needs=frozenset({"network"})),
    Fault("a tenth of the rate", narrows, "shut", gate="bulk", in_test=(), in_all=(), needs=WITH_BULK),
    Fault("5 % of streams are reset", breaks, "back", 240, in_all=()),
    Fault("the exporter is frozen", freezes_the_exporter, "held", in_test=(), in_all=()),
    Fault("nothing, few are slow", leaves_all_well, "open", gate="strict", in_test=(), in_all=()),
    Fault("nothing, with bulk", leaves_all_well, "open", gate="bulk", in_test=(), in_all=(), needs=WITH_BULK),
]

# What each plan wants of the gate: failures, set-up, answer, rate.
GATES = {
    # A busy machine is no slow outlet.
    "wide": ("1 %", "100 % or 900 ms", "100 % or 900 ms", "90 %"),
    "narrow": ("10 %", "10 % or 20 ms", "10 % or 20 ms", "90 %"),
    # What a plan has by itself: where frames follow each other closely, a lost packet costs less than 20 ms.
    "strict": ("1 %", "10 % or 5 ms", "10 % or 5 ms", "90 %"),
    "bulk": ("10 %", "100 % or 900 ms", "100 % or 900 ms", "30 %"),
}


def plan_of(fault: Fault, share: int, soak_s: int) -> str:
    """A plan that stays at this step; of what is judged beside the old outlet, the last step has one before it."""
    failures, setup, answer, rate = GATES[fault.gate]
    judged = fault.wanted in ("slow", "shut", "open") or fault.inject is breaks
    first = [50] if judged and share == 100 else []
    steps = [*first, share] if share == 100 else [share, 100]
    soak = f"{soak_s}s" if fault.wanted in ("shut", "open") or first else "10m"
    return (
        PLAN.replace("steps = [25, 100]", f"steps = {steps}")
        .replace('soak = "2s"', f'soak = "{soak}"')
        .replace('failures = "10 %"', f'failures = "{failures}"')
        .replace('setup = "10 % or 50 ms"', f'setup = "{setup}"')
        .replace('answer = "10 % or 20 ms"', f'answer = "{answer}"\nrate = "{rate}"')
    )


@contextmanager
def lasting(door: Address, count: int) -> Iterator[list[socket.socket]]:
    """Connections that are open before the fault; each has to echo after it."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            made.append(stack.enter_context(socket.create_connection(door, timeout=PATIENCE_S)))
            assert len(receive(made[-1], 4)) == 4
        yield made


def await_share(made: Moving, share: float, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (told := made.told())["share"] != share:
        assert time.monotonic() < deadline, (told["share"], told["phase"], told["why"])
        time.sleep(0.05)
