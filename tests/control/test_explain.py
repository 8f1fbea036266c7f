"""Which way is chosen, and the reason against each other one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.gateway.ways import Way, chosen_of, why_not
from pcgrelay.model import NodeId
from pcgrelay.routing.catalogue import STATE_DOWN, STATE_DRAIN

KENT = NodeId("police.example", "kent.police.example", "kent-1")
OTHER = NodeId("police.example", "kent.police.example", "kent-2")


def way(name: str, *, relays: int = 1, edge: NodeId = KENT, lanes_up: int = 2, **fields: Any) -> Way:
    link = SimpleNamespace(lanes=2, lanes_up=dict.fromkeys(range(lanes_up), 1))
    hops = (name, *(f"relay-{number}" for number in range(1, relays)), edge.dotted)
    return Way(edge=edge, hops=hops, link=link, link_state="up", rtt_ms=0.2, **fields)  # type: ignore[arg-type]


def reason(other: Way, *ways: Way) -> str:
    chosen = chosen_of([*ways, other])
    assert other not in chosen
    return why_not(other, chosen)


def test_the_way_of_the_session_is_chosen() -> None:
    first, second = way("a", session="up"), way("b", session="up", leads=True)
    assert chosen_of([first, second]) == [second]
    assert reason(first, second) == "no better than b, which the session leads through"


def test_without_a_session_the_first_of_equals_is_chosen() -> None:
    assert reason(way("b"), way("a")) == "no better than a"


def test_a_longer_way_says_so() -> None:
    assert reason(way("b", relays=2), way("a")) == "it is longer: 2 relays, the chosen one has 1 relay"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"offer_state": STATE_DOWN}, "its target does not answer there"),
        ({"offer_state": STATE_DRAIN}, "that edge drains"),
        ({"lanes_up": 1}, "the link has 1 of 2 lanes"),
        ({"session": "the session is stalled"}, "the session is stalled"),
    ],
)
def test_what_is_not_able_says_why_even_if_there_is_no_other(fields: dict[str, Any], words: str) -> None:
    assert reason(way("b", **fields), way("a")) == words
    assert reason(way("b", **fields)) == words


def test_all_edges_of_the_best_precedence_are_chosen() -> None:
    first, second = way("a"), way("b", edge=OTHER)
    spare = way("c", edge=NodeId("police.example", "kent.police.example", "kent-3"), precedence=3)
    assert chosen_of([spare, first, second]) == [first, second]
    assert reason(spare, first, second) == "a back-up edge, and a default one is there"


def test_a_weight_of_nought_is_the_last_resort() -> None:
    idle = way("b", edge=OTHER, weight=0)
    assert reason(idle, way("a")) == "its weight is 0, and others are there"
    assert chosen_of([idle]) == [idle]
