"""How much a relay hands on: within what its neighbour takes, and shared out by who asks."""

from __future__ import annotations

import random

import pytest

from pcgrelay.link.link import MESSAGES_AT_ONCE, MESSAGES_EACH_SECOND
from pcgrelay.messages import Carry, Code, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId, Role
from pcgrelay.path.handedon import OF_AN_EDGE, REQUEST_COST, HandedOn
from tests.support.path_links import OTHER, SESSION, A, FakeLink, asked
from tests.support.pki import REALM
from tests.support.relay_paths import Relay

OUT = 7


def edge(number: int) -> NodeId:
    return NodeId(REALM, f"org-{number}.example", "edge-1")


@pytest.mark.parametrize("seed", range(10))
def test_a_neighbour_is_never_told_more_than_it_takes(seed: int) -> None:
    """Whoever asks for whatever, through as many relays as there are: in each span less than the limit goes out."""
    dice, handed_on = random.Random(seed), HandedOn()
    sent: list[tuple[int, int]] = []
    now = 0
    for _ in range(20):
        for _ in range(dice.choice([10, 500, 3_000])):
            number = dice.randrange(40)
            role = Role.RELAY if number < 10 else Role.EDGE
            author = edge(dice.randrange(1_000)) if role is Role.RELAY else edge(number)
            cost = dice.choice([1, REQUEST_COST])
            if handed_on.admits(now, OUT, edge(number), role, author, cost):
                sent.append((now, cost))
        now += dice.choice([1, 100, 1_000])
        handed_on.forget(now)
    for first in range(0, len(sent), 997):
        spent = 0
        for when, cost in sent[first:]:
            spent += cost
            assert spent <= (MESSAGES_AT_ONCE + MESSAGES_EACH_SECOND * (when - sent[first][0]) / 1000) * 3 / 4


def test_who_uses_little_goes_on_beside_those_who_use_up_all() -> None:
    handed_on, refused = HandedOn(), 0
    for second in range(60):
        for number in range(4):
            for _ in range(2_000 if second == 0 else 200):
                handed_on.admits(second * 1000, OUT, edge(number), Role.EDGE, edge(number), REQUEST_COST)
        for _ in range(6):
            refused += not handed_on.admits(second * 1000, OUT, edge(99), Role.EDGE, edge(99), REQUEST_COST)
    assert refused == 0


def test_an_edge_behind_a_relay_has_its_own_share() -> None:
    handed_on = HandedOn()
    greedy = sum(handed_on.admits(0, OUT, OTHER, Role.RELAY, edge(1)) for _ in range(5_000))
    assert OF_AN_EDGE[0] / 2 < greedy <= OF_AN_EDGE[0]
    assert handed_on.admits(0, OUT, OTHER, Role.RELAY, edge(2))


def test_nothing_is_kept_of_who_has_its_whole_share() -> None:
    handed_on = HandedOn()
    for number in range(100):
        handed_on.admits(0, OUT, edge(number), Role.EDGE, edge(number))
    handed_on.forget(60_000)
    assert not handed_on._from
    assert not handed_on._links


def test_links_give_no_share_of_their_own() -> None:
    relay = Relay()
    links = [FakeLink(number, A, peer_role=Role.EDGE) for number in range(10, 18)]
    for number in range(8_000):
        session = number.to_bytes(16, "big")
        relay.hear(links[number % 8], asked(session=session, label=number + 1, flows=1, cap=131_072))
    opened = [message for message in relay.b.take() if isinstance(message, PathOpen)]
    assert OF_AN_EDGE[0] / 2 < len(opened) * REQUEST_COST <= OF_AN_EDGE[0]
    refused = [message for link in links for message in link.take() if isinstance(message, PathRefuse)]
    assert {(message.code, message.reason) for message in refused} == {(Code.BUSY, "too_many_requests")}
    assert relay.relay_paths.refused == {"too_many_requests": 8_000 - len(opened)}


def test_a_handshake_in_little_pieces_is_none() -> None:
    """What is carried has a bound in bytes; each piece is a message all the same."""
    relay = Relay()
    relay.a.peer_role = Role.EDGE
    opened = relay.accepted()
    for _ in range(3 * OF_AN_EDGE[0]):
        relay.hear(relay.a, Carry(SESSION, b"x"))
    said = relay.b.take()
    assert len([message for message in said if isinstance(message, Carry)]) < OF_AN_EDGE[0]
    assert said[-1] == PathClose(SESSION, Code.LIMIT, opened[relay.b])
