"""A name server and dig, which nobody here wrote: each query is an association, and none is lost without a cause."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import datagram_line, dig, dnsmasq, drops, ends
from tests.scenarios.kit.nodes import TOPOLOGIES, Line, Node
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

# So that associations end, and with them their counts come, within the test.
KEYS = {"idle_timeout_s": 2}
CASES = [
    pytest.param("edge-relay-relay-edge", 2_000, id="a few"),
    *(pytest.param(topology, 10_000, id=topology, marks=pytest.mark.tier_all) for topology in TOPOLOGIES),
]


@pytest.mark.parametrize(("topology", "queries"), CASES)
def test_queries_are_answered(topology: str, queries: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    with datagram_line(tmp_path, topology, "dns", keys=KEYS) as nodes, dnsmasq(tmp_path / "dns", nodes.target("dns")):
        began = time.monotonic()
        answered = dig(nodes.door("dns"), queries, tmp_path)
        figure(f"{topology}: {answered} of {queries}, {queries / (time.monotonic() - began):.0f} a second of one dig")

        nodes.await_quiet(30)
        # On a machine that gives a worker no turn for a while, a datagram may be too old: that is a cause, and counted.
        found = drops(nodes)
        assert queries - answered == sum(found.values()), found
        assert answered >= queries * 999 // 1_000, found
        # Ends are counted a moment after they are there.
        until(lambda: nodes.importer.service("dns").received_datagrams == answered, 10, "all ends are counted")
        # What was sent towards the far edge at the one came from it at the other.
        until(lambda: missing(nodes) <= queries - answered, 10, "all ends are counted")
        importer, exporter = (node.service("dns") for node in (nodes.importer, nodes.exporter))
        assert (importer.protocol, exporter.protocol) == ("udp", "udp")
        # Lines are written a moment after the ends are counted. The system may give dig a port a second time.
        until(lambda: sums(nodes.importer) == importer.received_datagrams, 10, "all lines are there")
        until(lambda: sums(nodes.exporter) == exporter.received_datagrams, 10, "all lines are there")
        # One address has 256 at once, and the one that was used least recently makes room.
        assert {each["cause"] for each in ends(nodes.importer)} <= {"done", "limit"}
        assert nodes.importer.log("service.full") == []


def missing(nodes: Line) -> int:
    """How many questions were sent towards the far edge, and did not come there."""
    return nodes.importer.service("dns").sent_datagrams - nodes.exporter.service("dns").received_datagrams


def sums(node: Node) -> int:
    """How many datagrams came from the far edge, by the access log, where those that made room are told together."""
    return sum(each["received_datagrams"] for each in ends(node))


def test_a_target_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Its machine says that nothing listens: the association ends at once at both edges, and says why."""
    with datagram_line(tmp_path, "edge-edge", "dns") as nodes:
        assert dig(nodes.door("dns"), 1, tmp_path) == 0
        until(lambda: [each for each in nodes.exporter.log() if each["event"] == "stream.refused"], 10, "it is refused")
        nodes.await_quiet()
        (line,) = [each for each in nodes.exporter.log() if each["event"] == "stream.refused"]
        assert (line["cause"], line["protocol"]) == ("target-refused", "udp")
