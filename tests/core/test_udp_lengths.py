"""UDP lanes over an interface whose packets become shorter while they are up."""

from __future__ import annotations

import contextlib

import pytest

from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.real_programs import run
from tests.support.applications import Across
from tests.support.cores import Node
from tests.support.datagrams import client, serve, server
from tests.support.udp_lanes import count, join_all
from tests.support.waiting import until

# The first PROBE brings a UDP lane up, and the next one comes long after the test.
RARELY = {"probe_interval_ms": 60_000}
# With the heads of frame, packet, UDP and IP a body of 1,000 bytes has 1,088, and one of 1,200 has 1,288.
SHORT_MTU = 1_150
CLIENTS, EACH = 8, 8


def longest(node: Node, link: int) -> int:
    ((_, _, _, body, *_),) = node.core.udp_lanes(link)
    return body


@pytest.mark.parametrize("at_once", [True, False])
def test_packets_that_the_interface_does_not_take_shorten_it_once(at_once: bool) -> None:
    """Of many that leave in one message none is taken: that is one refusal, and so is each of several in a row."""
    with (
        own_network(),
        Across(relays=0, **RARELY) as across,
        server(lambda _data, _source: None) as target,
        contextlib.ExitStack() as stack,
    ):
        join_all(across)
        address = serve(across, target.address)
        askers = [stack.enter_context(client(address)) for _ in range(CLIENTS if at_once else 1)]
        for asker in askers:
            asker.send(b"first")
        until(lambda: len(target.seen) == len(askers))
        assert longest(across.near, across.links[0]) == 1_200
        run("ip", "link", "set", "lo", "mtu", str(SHORT_MTU))
        seen = len(target.seen)
        across.near.core.freeze()
        for _ in range(EACH if at_once else 1):
            for asker in askers:
                asker.send(bytes(1_100))
        across.near.core.start()
        # What was sealed before it was known is lost.
        lost = EACH * CLIENTS if at_once else 1
        until(lambda: count(across.near, "packets_not_sent") + len(target.seen) - seen == lost)
        assert count(across.near, "packets_not_sent") > 0
        until(lambda: longest(across.near, across.links[0]) == 1_000)
        # From now on they go by the lane, and shorter ones by the UDP lane still.
        for size, by_udp in ((1_100, False), (600, True)):
            seen, sent = len(target.seen), count(across.near, "packets_sent")
            for number in range(1, EACH + 1):
                for asker in askers:
                    asker.send(bytes(size))
                wanted = seen + number * len(askers)
                until(lambda wanted=wanted: len(target.seen) == wanted)
            assert (count(across.near, "packets_sent") > sent) is by_udp
        assert longest(across.near, across.links[0]) == 1_000
