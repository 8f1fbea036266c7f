"""A node with the least memory and ever more readers that stand still: each gets less, long before one is refused."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import counts
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import Node, Stage, line
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly, sequence
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

LEAST = "16MiB"
BUDGET_BYTES = 16 << 20
FEW, MANY, CROWD, BEYOND = 4, 90, 250, 650
PIECE = 16_384
SETTLED_S = 0.1
SMALL_BYTES = 16_384
FRAME = 65_536


@dataclass
class Stuffed:
    """A stream whose reader stands still, and what its writer got rid of."""

    client: socket.socket
    far: socket.socket
    sent: int = 0
    was_reset: bool = False

    def push(self, data: bytes) -> None:
        """Put in what goes in."""
        try:
            while self.sent < len(data) and not self.was_reset:
                self.sent += self.client.send(data[self.sent : self.sent + PIECE])
        except BlockingIOError:
            return
        except ConnectionError:
            self.was_reset = True

    def is_whole(self, data: bytes) -> bool:
        """Whether the reader, once it reads, gets all that went in; not if the stream was ended."""
        try:
            return read_exactly(self.far, self.sent) == data[: self.sent]
        except ConnectionError:
            return False


def pushed(node: Node, wires: list[Stuffed], data: bytes) -> int:
    """Push until the node takes no more; answer what it has taken in all its life."""
    figures = [-1.0]

    def halted() -> bool:
        for wire in wires:
            wire.push(data)
        time.sleep(SETTLED_S)
        figures.append(counts(node)["application_sent_bytes"])
        return figures[-1] == figures[-2]

    until(halted, 20, "nothing more goes in")
    return int(figures[-1])


def test_memory_that_runs_short(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with own_network() as network, Stage(tmp_path) as stage, ExitStack() as held:
        # What the kernel keeps for each connection would hide what the gateways keep.
        network.buffers(SMALL_BYTES)
        made = line(stage, "edge-relay-edge", ["echo"], node_table={"memory": LEAST})
        made.start()
        server = held.enter_context(bind_listener(made.target("echo"), backlog=512, receive_buffer=4_096))
        data = sequence(4 << 20, "stuffing")
        wires: list[Stuffed] = []

        def opened(count: int) -> int:
            """Open so many and stuff them; answer how much the node took for each."""
            before = counts(made.importer)["application_sent_bytes"]
            for _ in range(count):
                client = held.enter_context(connect(made.door("echo")))
                client.setblocking(False)
                wires.append(Stuffed(client, held.enter_context(accepted(server))))
            return int(pushed(made.importer, wires[-count:], data) - before) // count

        live = held.enter_context(connect(made.door("echo")))
        live_far = held.enter_context(accepted(server))
        few = opened(FEW)
        many = opened(MANY)
        assert many < few
        opened(CROWD)
        # A frame with pieces of many streams is kept for none of them: what is held is what was not yet written.
        sent = counts(made.importer)["application_sent_bytes"]
        written = counts(made.exporter)["application_received_bytes"]
        assert made.exporter.status().memory.used_bytes < 1.5 * (sent - written)
        assert not any(wire.was_reset for wire in wires)
        for node in made.nodes:
            status = node.status()
            assert status.memory.high_water_bytes <= BUDGET_BYTES
            assert not {"stream_budget", "stream_limit", "budget"} & status.refusals.keys()
        # Small as they are, windows are enough for everybody to go on.
        with connect(made.door("echo")) as client, accepted(server) as far:
            client.sendall(b"me too")
            assert read_exactly(far, 6) == b"me too"

        # Where even the least windows are too much, single streams are ended by their cause. The reserve is left to the
        # lanes, which go on, and to the words of streams: whoever is not ended gets all that was taken.
        opened(BEYOND)
        assert all(node.status().memory.high_water_bytes <= BUDGET_BYTES for node in made.nodes)
        # Before anybody reads: the word of an end needs no memory but the reserve.
        until(
            lambda: made.importer.status().streams.active == made.exporter.status().streams.active,
            what="every end is known on the other side",
        )
        # Nor does the credit of a stream whose reader takes what comes, where not one more frame would fit.
        while made.exporter.status().memory.used_bytes < BUDGET_BYTES * 7 // 8 - FRAME:
            opened(1)
        for at in range(0, len(data) // 4, 4_096):
            live.sendall(data[at : at + 4_096])
            assert read_exactly(live_far, 4_096) == data[at : at + 4_096]
        whole = sum(wire.is_whole(data) for wire in wires)
        refused = counts(made.exporter).get("stream_budget", 0)
        assert whole + refused >= len(wires)
        assert not any(node.log("lane.down") for node in made.nodes)
        live.close()
        live_far.close()
        for wire in wires:
            wire.client.close()
            wire.far.close()
        made.await_quiet()
    figure(
        f"{few >> 10} KiB are taken for each of {FEW} streams that stand still, "
        f"{many >> 10} KiB for each of {MANY} more; of {CROWD} more none ends, of {BEYOND} beyond, {refused:g}"
    )
