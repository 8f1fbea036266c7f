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
    TOO_MANY,
    PendingSessions,
)

KENT = NodeId("police.example", "kent.police.example", "kent-1")


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
