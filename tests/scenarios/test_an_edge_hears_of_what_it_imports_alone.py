"""An edge is told of the edges whose services it imports, whatever else its relay knows, and after upgrades too."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay.admin.client import ask
from pcgrelay.admin.realm_answers import REALM_PATH, RealmAnswer
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
CITY = "city.police.example"


def known(node: Node) -> set[str]:
    """The other edges of which a node has an entry."""
    edges = ask(node.admin, "GET", REALM_PATH, RealmAnswer).edges
    return {each.edge for each in edges} - {node.dotted}


def test_through_an_upgrade_of_the_relay_and_of_the_edge(tmp_path: Path) -> None:
    port = free_port()
    link = {"peer": f"relay-1.{HUB}", "address": f"{HOST}:{port}"}
    export = {"target": f"{HOST}:{free_port()}", "probe": "none", "allow": [MET]}
    with Stage(tmp_path) as stage:
        relay = stage.relay("relay-1", listens=[f"{HOST}:{port}"])
        kent, other = (
            stage.node(KENT, name, links=[link], exports=[{"service": service, **export}])
            for name, service in (("kent-1", "custody"), ("kent-2", "mail"))
        )
        city = stage.node(CITY, "city-1", links=[link], exports=[{"service": "custody", **export}])
        entry = {"service": f"custody@{KENT}", "listen": f"{HOST}:{free_port()}"}
        met = stage.node(MET, "met-1", links=[link], imports=[entry])
        stage.start()
        stage.await_well()
        everybody = {each.dotted for each in (kent, other, city, met)}
        until(lambda: known(relay) == everybody, 20, "the relay knows all edges")
        assert (known(met), known(kent), known(other)) == ({kent.dotted}, set(), set())
        for node, links in ((relay, 4), (met, 1)):
            before = relay.moment()
            done = node.upgrade(seconds=60)
            assert done.returncode == 0, done.stderr
            # The links are made again, and each edge says anew what it needs.
            until(lambda before=before, links=links: len(relay.log("link.up", after=before)) >= links, 30)
            until(lambda: known(met) == {kent.dotted} and known(relay) == everybody, 30)
            assert (known(kent), known(other)) == (set(), set())
        stage.await_well()
        assert not [name for name, count in relay.metrics().items() if 'reason="want_' in name and count]
