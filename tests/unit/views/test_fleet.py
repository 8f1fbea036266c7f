"""The fleet as it is shown: how the store stands in one sentence, nodes by organisation, and who changes them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.fleet.client import StoreState
from pcgrelay.fleet.lock import Holder, lock_key
from pcgrelay.fleet.report import NodeReport
from pcgrelay.fleet.values import SignedValue, node_key
from pcgrelay.model import NodeId
from pcgrelay.views.fleet import fleet_answer, fleet_status

REALM, KENT, HUB = "police.example", "kent.police.example", "hub.example"
OWN = NodeId(REALM, HUB, "relay-1")


def value(key: str, signer: NodeId, body: object) -> SignedValue:
    data = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
    return SignedValue(key=key, body=data, epoch=1, signer=signer, revision=1)


def seen(state: StoreState | None, **values: dict[str, SignedValue]) -> Any:
    """As much of a node as the view looks at."""
    wanted: list[bool] = []
    tables = {name: SimpleNamespace(values=values.get(name, {}), loaded=True) for name in ("nodes", "locks")}
    fleet = SimpleNamespace(state=state, want=lambda: wanted.append(True), wanted=wanted, **tables)
    settings = SimpleNamespace(fleet=None if state is None else SimpleNamespace(store="etcd"))
    return SimpleNamespace(
        fleet=fleet, clock=SYSTEM_CLOCK, local=SimpleNamespace(written=settings),
        config=SimpleNamespace(node=SimpleNamespace(id=OWN)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (StoreState(live=True), ""),
        (StoreState(live=False, reason="no_leader"), "its members have no leader; a majority of them must run"),
        (StoreState(live=False), "Nothing is heard of the fleet's store since "),
        (StoreState(live=True, refused="no_space"), "does not take what this node writes: it is full"),
    ],
)
def test_how_the_store_stands_is_one_sentence(state: StoreState, words: str) -> None:
    status = fleet_status(seen(state))
    assert status is not None
    assert (words in status.sentence) if words else status.sentence == ""


def test_without_a_store_there_is_nothing_but_a_reason() -> None:
    node = seen(None)
    assert fleet_status(node) is None
    answer = fleet_answer(node)
    assert (answer.exit_code, answer.nodes) == (1, ())
    assert "no [fleet]" in answer.reason


def test_nodes_are_in_the_order_of_their_organisations_and_what_makes_no_sense_is_left_out() -> None:
    nodes = {}
    for organisation, name in ((KENT, "kent-1"), (HUB, "relay-2"), (HUB, "relay-1")):
        signer = NodeId(REALM, organisation, name)
        report = NodeReport(process="a", role="edge", version="1", at_s=1.0, condition="ready", ready=True)
        nodes[node_key(signer)] = value(node_key(signer), signer, report)
    odd = NodeId(REALM, HUB, "relay-3")
    nodes[node_key(odd)] = value(node_key(odd), odd, b"\x80")
    key = lock_key(HUB)
    node = seen(StoreState(live=True), nodes=nodes, locks={key: value(key, OWN, Holder(node=OWN.dotted, act="drill"))})
    answer = fleet_answer(node)
    assert [each.node for each in answer.nodes] == [f"relay-1.{HUB}", f"relay-2.{HUB}", f"kent-1.{KENT}"]
    assert answer.lock == f"relay-1.{HUB} (drill)"
    assert answer.complete
    assert node.fleet.wanted == [True]
