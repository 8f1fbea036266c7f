"""A revocation list that is put at one edge reaches all nodes over their links, and ends the revoked node's links."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HUB, KENT, MET, Node, Stage
from tests.scenarios.kit.reload_setup import reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SUSSEX = "sussex.police.example"
IN_FORCE_S = 5.0


class Realm:
    """kent-1 - relay-1 - relay-2 - sussex-1, and met-1 at both relays. Each has a list file of its own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        first, second = free_port(), free_port()
        to_first = {"peer": f"relay-1.{HUB}", "address": host_port(first)}
        to_second = {"peer": f"relay-2.{HUB}", "address": host_port(second)}
        target = {"service": "echo", "target": host_port(free_port()), "allow": [MET, SUSSEX]}
        entry = {"service": f"echo@{KENT}", "listen": host_port(free_port())}
        self.relays = [
            self._node(HUB, "relay-1", role="relay", listens=[host_port(first)]),
            self._node(HUB, "relay-2", role="relay", listens=[host_port(second)], links=[to_first]),
        ]
        self.kent = self._node(KENT, "kent-1", links=[to_first], exports=[target])
        self.met = self._node(MET, "met-1", links=[to_first, to_second], imports=[entry])
        # It has no list, and goes by what comes.
        self.sussex = self._node(SUSSEX, "sussex-1", links=[to_second], crl=False)

    def _node(self, organisation: str, name: str, **tables: Any) -> Node:
        if tables.get("crl", True):
            shutil.copy(self.stage.pki.crl, self.list_of(name))
            tables["identity"] = {"crl": str(self.list_of(name))}
        return self.stage.node(organisation, name, node_table={"lanes": 1}, **tables)

    def list_of(self, name: str) -> Path:
        return self.stage.folder / f"{name}.crl"

    def put_at(self, node: Node) -> None:
        """The operator of one node puts the newest list into its file, and reloads it."""
        shutil.copy(self.stage.pki.crl, self.list_of(node.name))
        assert reload(node).changes == ("revocation list renewed",)

    def sources(self) -> dict[str, tuple[int, str]]:
        """The number of the list in force at each node but the Met, and who brought it."""
        lists = {node.name: node.status().credentials.lists for node in (*self.relays, self.kent, self.sussex)}
        return {name: (each.number, each.source) for name, (each,) in lists.items()}


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with Stage(tmp_path) as stage:
        made = Realm(stage)
        stage.start()
        stage.await_well()
        yield made


EXPECTED = {
    "relay-1": (2, f"kent-1.{KENT}"),
    "relay-2": (2, f"relay-1.{HUB}"),
    "kent-1": (2, ""),
    "sussex-1": (2, f"relay-2.{HUB}"),
}


def test_the_links_of_a_revoked_node_end_everywhere(realm: Realm, figure: Callable[[str], None]) -> None:
    realm.stage.pki.authority.revoke(MET, "met-1")
    began = time.monotonic()
    realm.put_at(realm.kent)
    for relay in realm.relays:
        relay.await_log("link.down", IN_FORCE_S, peer=realm.met.dotted, reason="revoked")
    took = time.monotonic() - began
    until(lambda: len(realm.sussex.log("crl.taken")) == 2, IN_FORCE_S)
    assert took < IN_FORCE_S
    figure(f"both relays, two links away, ended the links after {took * 1000:.0f} ms")
    # The Met may have told relay-2 before it was cut off: it knows of its own revocation as others do.
    sources = realm.sources()
    assert {number for number, _ in sources.values()} == {2}
    assert sources["kent-1"] == EXPECTED["kent-1"]
    assert sources["relay-1"] == EXPECTED["relay-1"]
    for node in (*realm.relays, realm.kent, realm.sussex):
        assert not node.log("crl.refused")
    assert not realm.kent.log("link.down")
    realm.met.await_log("link.failed", 15.0)
    # Its way back is shut at each of them.
    until(lambda: all(relay.status().refusals.get("revoked", 0) >= 1 for relay in realm.relays))


@pytest.mark.tier_all
def test_it_outlives_an_upgrade_and_is_told_again_after_a_restart(realm: Realm) -> None:
    realm.stage.pki.authority.revoke(MET, "met-1")
    realm.put_at(realm.kent)
    second = realm.relays[1]
    until(lambda: second.status().credentials.lists[0].number == 2, IN_FORCE_S)
    before = realm.list_of("relay-2").read_bytes()
    answer = second.upgrade()
    assert answer.returncode == 0, answer.stderr
    assert second.status().credentials.lists[0].number == 2
    # A reload with the older list in the file changes nothing.
    assert reload(second).changes == ()
    assert second.status().credentials.lists[0].number == 2
    assert realm.list_of("relay-2").read_bytes() == before
    second.stop()
    realm.stage.start(second)
    until(lambda: second.status().credentials.lists[0].number == 2, 10.0)
    until(lambda: second.status().refusals.get("revoked", 0) >= 1)
