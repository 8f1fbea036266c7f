"""Two edges of one organisation export the same: by weight both at once, by precedence one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import explained
from tests.scenarios.kit.socket_steps import connect
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

STREAMS = 400
PATIENCE_S = 30.0
WELL_FOR = "that edge was away, and has to be well for"


@dataclass
class Pair:
    """Kent's two edges with a target each, behind one relay; and the Met's door to both."""

    stage: Stage
    kents: list[Node]
    targets: list[Echo]
    met: Node
    door: Address

    def streams(self) -> list[int]:
        """How many connections each target has had."""
        return [len(target.talks) for target in self.targets]

    def next_at(self) -> int:
        """Which edge a new stream goes to."""
        before = self.streams()
        with connect(self.door) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
        return [after - count for after, count in zip(self.streams(), before, strict=True)].index(1)

    def states(self) -> dict[str, str]:
        """How the ways to the edges are."""
        return {route.exporter: route.state for route in self.met.service("echo").routes}

    def explained(self) -> dict[str, Any]:
        return explained(self.met, f"echo@{KENT}")

    def why_not(self, edge: Node) -> str:
        """Why nothing new goes to an edge; empty if it does, or if nothing is known of it."""
        return next((each["why_not"] for each in self.explained()["edges"] if each["edge"] == edge.dotted), "")


@contextmanager
def pair(folder: Path, *keys: dict[str, Any], workers: int = 1) -> Iterator[Pair]:
    port, door = free_port(), (HOST, free_port())
    link = {"peer": f"relay-1.{HUB}", "address": host_port(port)}
    with Stage(folder) as stage, ExitStack() as stack:
        stage.relay("relay-1", listens=[host_port(port)])
        targets, kents = [], []
        for number, each in enumerate(keys, 1):
            address = (HOST, free_port())
            targets.append(stack.enter_context(Echo(address)))
            export = {"service": "echo", "target": host_port(address[1]), "allow": [MET], **each}
            kents.append(stage.node(KENT, f"kent-{number}", links=[link], exports=[export]))
        entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
        met = stage.node(MET, "met-1", links=[link], imports=[entry], node_table={"workers": workers})
        stage.start()
        stage.await_well()
        until(lambda: [route.state for route in met.service("echo").routes] == ["ready"] * 2, PATIENCE_S)
        yield Pair(stage, kents, targets, met, door)


def test_streams_are_shared_by_weight(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with pair(tmp_path, {"weight": 75}, {"weight": 25}, workers=2) as made:
        for _ in range(STREAMS):
            with connect(made.door) as sock:
                sock.sendall(b"x")
                assert sock.recv(1) == b"x"
        first, second = made.streams()
        assert first + second == STREAMS
        assert abs(first / STREAMS - 0.75) < 0.05
        figure(f"weights 75 and 25: {first} and {second} of {STREAMS} streams")
        shares = {edge["edge"]: edge["share"] for edge in made.explained()["edges"]}
        assert shares == {made.kents[0].dotted: 0.75, made.kents[1].dotted: 0.25}
        # One of them goes: the other gets all.
        made.kents[0].kill()
        until(lambda: sum(route.state == "ready" for route in made.met.service("echo").routes) == 1, PATIENCE_S)
        assert {made.next_at() for _ in range(10)} == {1}


@pytest.mark.tier_all
def test_a_back_up_takes_over_and_gives_back(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with pair(tmp_path, {"precedence": "preferred"}, {"precedence": "back-up"}) as made:
        assert {made.next_at() for _ in range(20)} == {0}
        assert made.explained()["edges"][1]["why_not"] == "a back-up edge, and a preferred one is there"
        first = made.kents[0]
        first.kill()
        began = time.monotonic()
        until(lambda: made.states().get(first.dotted) != "ready", PATIENCE_S)
        assert {made.next_at() for _ in range(20)} == {1}
        over_s = time.monotonic() - began
        with connect(made.door) as lasting:
            first.start()
            until(lambda: WELL_FOR in made.why_not(first), PATIENCE_S)
            began = time.monotonic()
            # It is well again, and nothing new goes there before it has been so for a while.
            held = 0
            while WELL_FOR in made.why_not(first):
                at = made.next_at()
                if WELL_FOR in made.why_not(first):
                    assert at == 1
                    held += 1
            back_s = time.monotonic() - began
            assert held
            until(lambda: made.states().get(first.dotted) == "ready", PATIENCE_S)
            until(lambda: made.next_at() == 0, PATIENCE_S)
            assert {made.next_at() for _ in range(20)} == {0}
            # What runs stays where it is.
            lasting.sendall(b"still here")
            assert lasting.recv(10) == b"still here"
            assert [talk.received for talk in made.targets[1].talks if not talk.ended] == [b"still here"]
        figure(f"the back-up took over after {over_s * 1000:.0f} ms, and gave back after {back_s:.1f} s")
