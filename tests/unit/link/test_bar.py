"""Links that are lost on purpose, and kept from coming up until it is over."""

from __future__ import annotations

from pcgrelay.link.bar import Bar
from pcgrelay.model import NodeId

RELAY = NodeId("police.example", "hub.example", "relay-1")
OTHER = NodeId("police.example", "hub.example", "relay-2")


async def test_a_bar_is_of_a_neighbour_or_of_a_bearer_until_it_is_lifted() -> None:
    of_peer, of_bearer = Bar(peer=RELAY), Bar(bearer="psn")
    assert of_peer.holds(RELAY, "psn")
    assert not of_peer.holds(OTHER, "psn")
    assert of_bearer.holds(OTHER, "psn")
    assert not of_bearer.holds(RELAY, "psnp")
    of_peer.lifted.set()
    assert not of_peer.holds(RELAY, "psn")
    # What it was of is still known: links are counted by it.
    assert of_peer.is_of(RELAY, "psn")
