"""Samba's domain controller answers all that its own test of CLDAP asks, across a border: no trust begins without."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import datagram_line, drops, ends
from tests.scenarios.kit.directory_programs import domain_controller, provision, smbtorture
from tests.scenarios.kit.long_line import inside, long_line
from tests.scenarios.kit.nodes import Line, Stage, line
from tests.scenarios.kit.streaming import Sink, bulk

pytestmark = pytest.mark.tier_all

# So that associations end, and with them their counts come, within the test.
KEYS = {"idle_timeout_s": 3}
# Each level and each bit of a ping; they try some more.
PINGS = 256 + 31
TOPOLOGIES = ("edge-edge", "edge-relay-relay-edge")
BULK_STREAMS = 8
ROUND_TRIP_MS = 40


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("domain")
    provision(folder)
    return folder


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_it_is_found(topology: str, domain: Path, tmp_path: Path) -> None:
    with (
        datagram_line(tmp_path, topology, "cldap", keys=KEYS) as nodes,
        domain_controller(domain, nodes.target("cldap"), tmp_path / "samba.log"),
    ):
        said = smbtorture(domain, nodes.door("cldap"))
        assert "success: cldap" in said
        assert "success: netlogon-udp" in said
        nodes.await_quiet(30)
        importer, exporter = (node.service("cldap") for node in (nodes.importer, nodes.exporter))
        assert importer.received_datagrams == exporter.sent_datagrams > PINGS
        assert importer.sent_datagrams == exporter.received_datagrams == importer.received_datagrams
        assert drops(nodes) == {}
        assert {each["cause"] for each in ends(nodes.importer)} == {"done"}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_it_is_found_beside_bulk(topology: str, domain: Path, tmp_path: Path) -> None:
    keys = {"protocol": "udp", **KEYS}
    with Stage(tmp_path) as stage, ExitStack() as stack:
        nodes = line(stage, topology, ["bulk"], odd_exports={"cldap": keys}, odd_imports={"cldap": keys})
        nodes.start()
        stack.enter_context(domain_controller(domain, nodes.target("cldap"), tmp_path / "samba.log"))
        sink = stack.enter_context(Sink(nodes.target("bulk")))
        stack.enter_context(bulk(nodes.door("bulk"), BULK_STREAMS))
        before = sink.taken
        answers(nodes, domain)
        assert sink.taken > before


@pytest.mark.parametrize("lost", [1, 10], ids=["0.1 percent", "1 percent"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_it_is_found_over_a_long_way_that_loses_packets(topology: str, lost: int, domain: Path, tmp_path: Path) -> None:
    keys = {"protocol": "udp", **KEYS}
    ways = {"round_trip_ms": ROUND_TRIP_MS, "lost_of_a_thousand": lost}
    with (
        long_line(tmp_path, topology, ["cldap"], **ways, exported=keys, imported=keys) as (nodes, near, far),
        ExitStack() as stack,
    ):
        with inside(far):
            stack.enter_context(domain_controller(domain, nodes.target("cldap"), tmp_path / "samba.log"))
        with inside(near):
            answers(nodes, domain)


def answers(nodes: Line, domain: Path) -> None:
    """Whatever is asked is answered; what is asked again is counted."""
    said = smbtorture(domain, nodes.door("cldap"))
    assert "success: cldap" in said
    assert "success: netlogon-udp" in said
    asked = nodes.importer.metrics()["core_datagrams_sent_total"]
    answered = nodes.importer.metrics()["core_datagrams_received_total"]
    assert PINGS < answered <= asked
    assert asked - answered <= sum(drops(nodes).values())
