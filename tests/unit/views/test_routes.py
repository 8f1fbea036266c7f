"""Which way is chosen, and the reason against each other one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.catalogue.entries import STATE_DOWN, STATE_DRAIN, Offer
from pcgrelay.link.choice import Candidate
from pcgrelay.model import NodeId
from pcgrelay.views.routes import RouteOption, chosen_of, edges_explained, why_not

KENT = NodeId("police.example", "kent.police.example", "kent-1")
OTHER = NodeId("police.example", "kent.police.example", "kent-2")


def way(
    name: str,
    *,
    relays: int = 1,
    edge: NodeId = KENT,
    lanes_up: int = 2,
    offer: dict[str, int] | None = None,
    link: dict[str, Any] | None = None,
    **fields: Any,
) -> RouteOption:
    known = SimpleNamespace(lanes=2, lanes_up=dict.fromkeys(range(lanes_up), 1))
    hops = (name, *(f"relay-{number}" for number in range(1, relays)), edge.dotted)
    candidate = Candidate(ord(name), relays, **(link or {}))
    return RouteOption(
        edge=edge,
        hops=hops,
        link=known,  # type: ignore[arg-type]
        link_state="up",
        candidate=candidate,
        offer=Offer("custody", 1, **(offer or {})),
        **fields,
    )


def reason(other: RouteOption, *ways: RouteOption) -> str:
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
        ({"offer": {"state": STATE_DOWN}}, "its target does not answer there"),
        ({"offer": {"state": STATE_DRAIN}}, "that edge drains"),
        ({"lanes_up": 1}, "the link has 1 of 2 lanes"),
        ({"session": "the session is stalled"}, "the session is stalled"),
    ],
)
def test_what_is_not_able_says_why_even_if_there_is_no_other(fields: dict[str, Any], words: str) -> None:
    assert reason(way("b", **fields), way("a")) == words
    assert reason(way("b", **fields)) == words


def test_all_edges_of_the_best_precedence_are_chosen() -> None:
    first, second = way("a"), way("b", edge=OTHER)
    spare = way("c", edge=NodeId("police.example", "kent.police.example", "kent-3"), offer={"precedence": 3})
    assert chosen_of([spare, first, second]) == [first, second]
    assert reason(spare, first, second) == "a back-up edge, and a default one is there"


def test_a_weight_of_zero_is_the_last_resort() -> None:
    idle = way("b", edge=OTHER, offer={"weight": 0})
    assert reason(idle, way("a")) == "its weight is 0, and others are there"
    assert chosen_of([idle]) == [idle]


def test_a_better_precedence_of_a_link_decides() -> None:
    far, near = way("a", relays=2, link={"precedence": 1}), way("b")
    assert chosen_of([near, far]) == [far]
    assert reason(near, far) == "it is default, the chosen one preferred"


def test_a_link_that_is_not_steady_waits() -> None:
    first, second = way("a", link={"is_well": False, "precedence": 1}), way("b", leads=True)
    assert reason(first, second) == "it is not well, or not long enough"
    steady = way("a", link={"precedence": 1})
    assert reason(steady, second) == "better than b; the session moves here in a moment"


def test_the_round_trip_decides_between_equals() -> None:
    assert reason(way("b", link={"round_trip_ms": 9.0}), way("a", link={"round_trip_ms": 1.0})) == (
        "its round trip is longer"
    )


def test_an_edge_that_was_away_comes_last_for_a_while() -> None:
    back, spare = way("a", settling_ms=3_400, offer={"precedence": 1}), way("b", edge=OTHER, offer={"precedence": 3})
    assert chosen_of([back, spare]) == [spare]
    assert reason(back, spare) == "that edge was away, and has to be well for 3 s more"
    assert chosen_of([back]) == [back]


def test_the_shares_of_edges() -> None:
    third = NodeId("police.example", "kent.police.example", "kent-3")
    ways = [
        way("a", offer={"weight": 75}),
        way("b", offer={"weight": 75}),
        way("c", edge=OTHER, offer={"weight": 25, "priority": 2}),
        way("d", edge=third, offer={"precedence": 3}),
    ]
    found = edges_explained(ways)
    assert [(edge.edge, edge.share) for edge in found] == [(KENT.dotted, 0.75), (OTHER.dotted, 0.25), (third.dotted, 0)]
    assert [edge.priority for edge in found] == ["normal", "critical", "normal"]
    assert [edge.why_not for edge in found] == ["", "", "a back-up edge, and a default one is there"]
    assert edges_explained([way("a", session="no session with that edge yet")])[0].share == 0
