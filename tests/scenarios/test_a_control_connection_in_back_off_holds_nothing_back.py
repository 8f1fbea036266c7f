"""After a cut of the network TCP may wait for as long again before it sends what a control connection holds.

Lanes are dialled again and are well at once, so the way is there: streams that need it wait for no control connection.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.network_namespace import longest_wait_s
from tests.scenarios.kit.nodes import Node
from tests.scenarios.kit.steady_streams import flowing
from tests.scenarios.kit.two_relays import Pair, paired
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

PROMPT_S = 1.8  # measured: 0.1 s, at most 0.5; without the mend it is what TCP waits for, twice two seconds and more
# What TCP has to wait for when the network is back, so that the scenario means something.
BACK_OFF_S = 2.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    # Silence is noticed soon, so that all that is sent in the cut is sent early.
    with paired(tmp_path, probe_interval_ms=75) as made:
        yield made


def cut_until_tcp_waits(pair: Pair, relay: Node) -> None:
    """Cut a relay off until the Met's control connection has just been told to wait for seconds; then mend."""
    with pair.network.cut(*pair.ports_of(relay)):
        until(lambda: longest_wait_s(pair.ports[relay.name]["met-1"]) > BACK_OFF_S, 20, "TCP waits long")


def lanes_are_up(pair: Pair, relay: Node) -> bool:
    """Whether both edges have their lanes with that relay."""
    links = [link for edge in (pair.met, pair.kent) for link in edge.status().links if link.peer == relay.dotted]
    return all(link.lanes_up == link.lanes > 0 for link in links)


def test_a_way_that_is_back_leads_streams_when_its_lanes_are_up(pair: Pair, figure: Callable[[str], None]) -> None:
    with flowing(pair.door, pair.target) as streams:
        cut, seen = pair.used(), len(pair.met.log("session.resumed"))
        cut_until_tcp_waits(pair, cut)
        until(lambda: len(pair.met.log("session.resumed")) > seen and pair.used() is not cut, 20, "the other leads")
        until(lambda: lanes_are_up(pair, cut), 10, "its lanes are up")
        # The other one goes at that moment.
        since = time.monotonic()
        pair.used().kill()
        for stream in streams:
            stream.check()
        pauses = [max(stream.longest_pause_s(since) for stream in streams)]
        # Now it is the only one.
        until(lambda: lanes_are_up(pair, cut), 10, "its lanes are up")
        cut_until_tcp_waits(pair, cut)
        until(lambda: lanes_are_up(pair, cut), 10, "its lanes are up")
        since = time.monotonic()
        for stream in streams:
            stream.check()
        pauses.append(time.monotonic() - since)
    figure(
        f"no byte came for {pauses[0] * 1000:.0f} ms; over the only way, for {pauses[1] * 1000:.0f} ms after its lanes"
    )
    assert max(pauses) < PROMPT_S
