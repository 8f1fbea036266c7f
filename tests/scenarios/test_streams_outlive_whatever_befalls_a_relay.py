"""A relay is killed, frozen, or loses its network or one connection: streams go on over the other relay, whole.

Whatever is done, no byte is lost, doubled or out of order; the pause after the loss was noticed stays below a second,
and the bytes per second are back two seconds later.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.scenarios.kit.network_namespace import all_is_acknowledged, control_and_lanes
from tests.scenarios.kit.nodes import Node
from tests.scenarios.kit.socket_steps import read_exactly
from tests.scenarios.kit.steady_streams import Far, flowing
from tests.scenarios.kit.two_relays import Pair, paired
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

PACE = 2 << 20
PROMPT_S = 2.0  # after the loss was noticed; most of it is for a machine that stands still meanwhile
BACK_S = 2.0
# Four probes of half a second, what is left of the one before, and the clock of the worker.
NOTICED_S = 3.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with paired(tmp_path_factory.mktemp("pair")) as made:
        yield made


@pytest.fixture(autouse=True)
def well(pair: Pair) -> Iterator[None]:
    """Each scenario finds all links up and no session about to move, and mends what it broke."""
    pair.stage.await_well(seconds=30)
    ports = [port for relay in pair.relays for port in pair.ports_of(relay)]
    until(lambda: all_is_acknowledged(*ports), 30, "what was dropped has been sent again")
    until(lambda: health_of_the_way(pair) == {"ok"}, 30, "the session leads over a link that is well")
    yield
    pair.network.mend()
    for relay in pair.relays:
        if not relay.running:
            relay.start()


def health_of_the_way(pair: Pair) -> set[str]:
    used = pair.used().dotted
    return {link.health for link in pair.met.status().links if link.peer == used}


def resumed_ms(node: Node, seen: int) -> list[int]:
    """The pauses that a node told since it had told so many."""
    return [int(line["pause_ms"]) for line in node.log("session.resumed")[seen:]]


@contextmanager
def disturbed(
    pair: Pair, figure: Callable[[str], None], what: str, *, noticed_s: float = 0.0, moves: bool = True
) -> Iterator[Node]:
    """Streams flow; the block does harm to the relay that they lead through, and they must go on as promised."""
    with flowing(pair.door, pair.target, pace_bytes=PACE) as streams:
        relay, seen = pair.used(), len(pair.met.log("session.resumed"))
        since = time.monotonic()
        yield relay
        if moves:
            until(
                lambda: pair.met.service("echo").routes and pair.used() is not relay, 15, "the other relay leads them"
            )
            until(lambda: resumed_ms(pair.met, seen), 20, "they go on")
        for stream in streams:
            stream.check()
        back = max(stream.resumed_at(since) for stream in streams)
        until(lambda: time.monotonic() > back + BACK_S, 5, "two seconds have passed")
        pause_s = max(stream.longest_pause_s(since) for stream in streams)
        rates = [stream.rate(back + BACK_S - 1.0, 1.0) for stream in streams]
        noticed = resumed_ms(pair.met, seen)
    figure(f"{what}: no byte came for {pause_s * 1000:.0f} ms; {noticed} ms of it after it was noticed")
    assert pause_s < noticed_s + PROMPT_S
    assert all(pause < 1000 * PROMPT_S for pause in noticed)
    assert min(rates) > 0.8 * PACE


def test_a_relay_is_killed(pair: Pair, figure: Callable[[str], None]) -> None:
    with disturbed(pair, figure, "killed") as relay:
        relay.kill()


def test_a_relay_loses_its_network(pair: Pair, figure: Callable[[str], None]) -> None:
    with disturbed(pair, figure, "network lost", noticed_s=NOTICED_S) as relay:
        pair.network.drop(*pair.ports_of(relay))


@pytest.mark.tier_all
def test_a_relay_loses_the_far_edge_alone(pair: Pair, figure: Callable[[str], None]) -> None:
    """Who only takes has nothing to send, and learns from the relay that its way is lost."""
    with disturbed(pair, figure, "far leg lost", noticed_s=NOTICED_S) as relay:
        pair.network.drop(pair.ports[relay.name]["kent-1"])


@pytest.mark.tier_all
def test_a_lane_is_lost(pair: Pair, figure: Callable[[str], None]) -> None:
    """The one lane of the link goes silent, the control connection lives."""
    with disturbed(pair, figure, "a lane lost", noticed_s=NOTICED_S) as relay:
        port = pair.ports[relay.name]["met-1"]
        _, lanes = control_and_lanes(port)
        pair.network.drop_between(*((lane, port) for lane in lanes))


@pytest.mark.tier_all
def test_the_control_connection_is_lost(pair: Pair, figure: Callable[[str], None]) -> None:
    """What flows does not notice, neither the loss nor the new connection that replaces the old one."""
    with disturbed(pair, figure, "control lost", moves=False) as relay:
        port = pair.ports[relay.name]["met-1"]
        control, _ = control_and_lanes(port)
        cut = pair.met.moment()
        pair.network.reset(control, port)
        # Nothing is said on it but a beat now and then.
        pair.met.await_log("link.control_lost", 12.0, cut, peer=relay.dotted)


def test_a_relay_is_frozen_and_thaws(pair: Pair, figure: Callable[[str], None]) -> None:
    """It comes back with stale links and frames that were sent again elsewhere; none of them is delivered twice."""
    with disturbed(pair, figure, "frozen", noticed_s=NOTICED_S) as relay, relay.frozen():
        until(lambda: pair.used() is not relay, 15, "the other relay leads them")
    pair.stage.await_well(seconds=30)


@pytest.mark.tier_all
def test_the_only_relay_restarts(pair: Pair, figure: Callable[[str], None]) -> None:
    """Streams wait for it, up to half a minute."""
    with flowing(pair.door, pair.target, pace_bytes=PACE) as streams:
        relay = pair.used()
        pair.unused().kill()
        since, killed = time.monotonic(), pair.met.moment()
        relay.kill()
        relay.start()
        pair.met.await_log("session.resumed", 30, killed)
        for stream in streams:
            stream.check()
        figure(f"restarted: no byte came for {max(s.longest_pause_s(since) for s in streams):.1f} s")


def test_a_relay_is_killed_again_and_again(
    pair: Pair, figure: Callable[[str], None], request: pytest.FixtureRequest
) -> None:
    """As often as --kills says; each time the one that leads the streams."""
    pauses: list[float] = []
    with flowing(pair.door, pair.target, pace_bytes=PACE) as streams:
        for _ in range(request.config.getoption("--kills")):
            relay, seen = pair.used(), len(pair.met.log("session.resumed"))
            since = time.monotonic()
            relay.kill()
            until(lambda seen=seen: resumed_ms(pair.met, seen), 20, "they go on")
            for stream in streams:
                stream.check()
            pauses.append(max(stream.longest_pause_s(since) for stream in streams))
            relay.start()
            pair.stage.await_well(seconds=30)
    pauses.sort()
    figure(f"{len(pauses)} kills: pause p50 {pauses[len(pauses) // 2] * 1000:.0f} ms, max {pauses[-1] * 1000:.0f} ms")
    assert pauses[-1] < PROMPT_S


def test_an_edge_that_is_killed_takes_its_own_connections_with_it(pair: Pair, figure: Callable[[str], None]) -> None:
    """The other edge's are reset as soon as the killed one, back again, says that it knows nothing of them."""
    with Far(pair.target, PACE), socket.create_connection(pair.door, 40) as old:
        old.sendall(b"e" + bytes(8) + b"before")
        assert read_exactly(old, 6) == b"before"
        pair.kent.kill()
        began = time.monotonic()
        pair.kent.start()
        with pytest.raises(ConnectionResetError):
            old.recv(1)
        reset_s = time.monotonic() - began
        pair.stage.await_well(seconds=30)
        with socket.create_connection(pair.door, 10) as fresh:
            fresh.sendall(b"e" + bytes(8) + b"after")
            assert read_exactly(fresh, 5) == b"after"
    figure(f"reset {reset_s:.1f} s after the kill, a new one passes {time.monotonic() - began:.1f} s after it")
