"""Several links and several relays: which one streams take, and that they go on over another when that one is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import Echo, Witness, host_port
from tests.scenarios.kit.narrow_wire import NarrowWire
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage, frozen
from tests.scenarios.kit.reload_setup import explained
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

FAST = 200_000_000


def export(port: int) -> dict[str, object]:
    return {"service": "echo", "target": host_port(port), "allow": [MET]}


def ways(node: Node, edge: Node) -> list[dict[str, Any]]:
    """The ways to an edge that a relay explains."""
    return list(explained(node, edge.dotted)["ways"])


def leading(node: Node) -> str:
    """The bearer over which all paths of a node lead; nothing while they move."""
    found = [link.bearer for link in node.status().links if link.paths]
    return found[0] if len(found) == 1 else ""


def test_two_bearers_to_one_neighbour(tmp_path: Path, figure: Callable[[str], None]) -> None:
    port, target, door = free_port(), free_port(), (HOST, free_port())
    with Stage(tmp_path) as stage, NarrowWire((HOST, port), FAST) as psn, Echo((HOST, target)):
        stage.relay("relay-1", listens=[host_port(port)])
        peer = {"peer": f"relay-1.{HUB}"}
        links = [
            {**peer, "address": host_port(psn.address[1]), "bearer": "psn", "precedence": "preferred"},
            {**peer, "address": host_port(port), "bearer": "internet"},
        ]
        stage.node(KENT, "kent-1", links=[links[1]], exports=[export(target)])
        met = stage.node(MET, "met-1", links=links, imports=[{"service": f"echo@{KENT}", "listen": host_port(door[1])}])
        stage.start()
        stage.await_well()
        until(lambda: leading(met) == "psn", 20)
        with Witness(door) as application:
            psn.cut()
            application.check()
            until(lambda: leading(met) == "internet", 20)
            pause = until(lambda: met.log("session.resumed"), 20)[-1]["pause_ms"]
            figure(f"a bearer was lost: the session paused for {pause} ms")
            assert len(met.log("session.up")) == 1
        assert len(met.log("link.up")) == 2


def test_a_ring_of_three_relays(tmp_path: Path, figure: Callable[[str], None]) -> None:
    ports = [free_port() for _ in range(3)]
    target, door = free_port(), (HOST, free_port())

    def dial(number: int, **keys: object) -> dict[str, object]:
        return {"peer": f"relay-{number + 1}.{HUB}", "address": host_port(ports[number]), **keys}

    with Stage(tmp_path) as stage, Echo((HOST, target)):
        # Each prefers the next one, whatever the length of the way: the worst that can be asked of a ring.
        relays = [
            stage.relay(
                f"relay-{n + 1}", listens=[host_port(ports[n])], links=[dial((n + 1) % 3, precedence="preferred")]
            )
            for n in range(3)
        ]
        kent = stage.node(KENT, "kent-1", links=[dial(2)], exports=[export(target)])
        entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
        met = stage.node(MET, "met-1", links=[dial(0)], imports=[entry])
        stage.start(*relays, kent)
        stage.await_well(*relays, kent)
        # From the first relay to Kent: straight over the third, and around the ring.
        until(lambda: len(ways(relays[0], kent)) == 2, 20)
        until(lambda: all(link.steady for relay in relays for link in relay.status().links), 20)
        assert ways(relays[0], kent)[0]["hops"] == [relays[1].dotted, relays[2].dotted, kent.dotted]
        stage.start(met)
        stage.await_well(met)
        with Witness(door) as application:
            before = [sum(link.sent_bytes for link in relay.status().links) for relay in relays]
            time.sleep(1.0)
            application.pause()
            busy = [sum(link.sent_bytes for link in relay.status().links) for relay in relays]
            time.sleep(1.0)
            idle = [sum(link.sent_bytes for link in relay.status().links) for relay in relays]
            application.go_on()
            # Nothing goes in a circle: what is not probed for is sent once and no more.
            for start, middle, end in zip(before, busy, idle, strict=True):
                assert end - middle < max(50_000, (middle - start) // 4)
            relays[1].kill()
            until(lambda: met.log("session.resumed"), 10)
            pause = met.log("session.resumed")[0]["pause_ms"]
            figure(f"a relay of the ring was killed: the session paused for {pause} ms")
            application.check()
            assert not any("loop" in relay.status().refusals for relay in relays if relay.running)
        assert len(met.log("session.up")) == 1


@pytest.mark.tier_all
def test_probes_that_come_late_are_seen(tmp_path: Path, figure: Callable[[str], None]) -> None:
    port, target, door = free_port(), free_port(), (HOST, free_port())
    with Stage(tmp_path) as stage, Echo((HOST, target)):
        relay = stage.relay("relay-1", listens=[host_port(port)])
        link = {"peer": f"relay-1.{HUB}", "address": host_port(port)}
        stage.node(KENT, "kent-1", links=[link], exports=[export(target)])
        entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
        met = stage.node(MET, "met-1", links=[link], imports=[entry])
        stage.start()
        stage.await_well()
        until(lambda: met.status().links[0].health == "ok", 20)
        assert met.status().links[0].loss == 0
        for _ in range(5):
            with frozen(relay.pid):
                time.sleep(1.4)
            # Who did not run itself in that time blames nobody: on a crowded machine, once more.
            with contextlib.suppress(AssertionError):
                until(lambda: met.status().links[0].loss > 0, 10)
                break
        assert met.status().links[0].loss > 0
        figure(f"after 1.4 s of silence: {met.status().links[0].loss:.0%} lost")
        assert not met.log("lane.down")
        until(lambda: met.status().links[0].health == "ok" and met.status().links[0].steady, 10)
