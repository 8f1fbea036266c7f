"""How many sessions others may be setting up, and that names made up keep nobody out for certain."""

from __future__ import annotations

import random

import pytest

from pcgrelay.model import NodeId
from pcgrelay.session.pending import (
    CLAIMS_MOST,
    CLAIMS_OF_A_LINK_MOST,
    CLAIMS_OF_A_NAME_MOST,
    EARLY,
    GLARE,
    TOO_MANY,
    PendingSessions,
    setup_refusal,
)
from pcgrelay.session.session import Key, Session, State

KENT = NodeId("police.example", "kent.police.example", "kent-1")
MET = NodeId("police.example", "met.police.example", "met-1")
BEGINNING = (State.ASKING, State.HANDSHAKE, State.STARTING)


def name(number: int) -> NodeId:
    return NodeId("police.example", "evil.example", f"evil-{number}")


def lucky() -> float:
    return 1.0


def filled(claims: PendingSessions, link: int, count: int = CLAIMS_MOST) -> int:
    """Enter names over a link until one is refused; answers how many came in."""
    for number in range(count):
        if claims.refusal(link, name(number)):
            return number
        claims.enter(link, name(number))
    return count


def test_a_name_has_a_few_places_on_its_own_link() -> None:
    claims = PendingSessions(lucky)
    for _ in range(CLAIMS_OF_A_NAME_MOST):
        assert claims.refusal(1, KENT) is None
        claims.enter(1, KENT)
    assert claims.refusal(1, KENT) == TOO_MANY
    # Over another link it is as if nobody had used it.
    assert claims.refusal(2, KENT) is None


def test_one_link_cannot_have_all_places() -> None:
    claims = PendingSessions(lucky)
    assert filled(claims, 1) == CLAIMS_OF_A_LINK_MOST
    assert claims.refusal(1, KENT) == TOO_MANY
    assert claims.refusal(2, KENT) is None
    assert filled(claims, 2) == CLAIMS_OF_A_LINK_MOST
    assert claims.refusal(3, KENT) == TOO_MANY


@pytest.mark.parametrize("links", [1, 2])
def test_a_place_that_is_free_goes_to_anybody(links: int) -> None:
    """Three quarters full, over one link or in all: each newcomer is let in or not by chance alone."""
    claims = PendingSessions(random.Random(links).random)
    for number in range(links * CLAIMS_OF_A_LINK_MOST * 3 // 4):
        claims.enter(1 + number % links, name(number))
    answers = [claims.refusal(links, KENT) for _ in range(400)]
    assert set(answers) == {None, EARLY}
    assert 40 < answers.count(None) < 280


def test_nothing_is_left_when_all_have_left() -> None:
    claims = PendingSessions(lucky)
    for link in (1, 2):
        for number in range(filled(claims, link)):
            claims.leave(link, name(number))
    assert (claims._total, claims._links, claims._names) == (0, {}, {})


def asked(me: NodeId, peer: NodeId, *, state: State, initiator: bool = True, marking: int = 1) -> str | None:
    """What me answers to a set-up of peer in the class (1, 0), while it has one session with it."""
    own = Session(b"own", Key(peer, marking, 0), initiator, 0, state)
    return setup_refusal({own.id: own}, PendingSessions(lucky), me, 1, b"other", Key(peer, 1, 0))


@pytest.mark.parametrize("state", BEGINNING)
def test_of_two_set_ups_that_cross_one_gives_way(state: State) -> None:
    """docs/protocol.md 9.6: the edge with the lesser identity refuses, and the other takes what comes."""
    assert asked(KENT, MET, state=state) == GLARE
    assert asked(MET, KENT, state=state) is None


def test_nothing_crosses_but_two_that_begin_a_session_of_one_class() -> None:
    for state in set(State) - set(BEGINNING):
        assert asked(KENT, MET, state=state) is None
    for state in BEGINNING:
        assert asked(KENT, MET, state=state, initiator=False) is None
        assert asked(KENT, MET, state=state, marking=2) is None


@pytest.mark.parametrize("other", ["met-1", "kent-0", "kent-10", "kent-2"])
def test_two_edges_are_never_of_one_mind_about_who_refuses(other: str) -> None:
    """The order is that of realm, organisation and name by their bytes: the other way about at the other end."""
    peer = NodeId("police.example", "kent.police.example", other)
    refuses = {asked(me, him, state=State.ASKING) for me, him in ((KENT, peer), (peer, KENT))}
    assert refuses == {GLARE, None}
    lesser, greater = sorted((KENT, peer), key=lambda node: node.name.encode())
    assert asked(lesser, greater, state=State.ASKING) == GLARE
