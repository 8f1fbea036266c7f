"""Which way to an edge each neighbour is told of, beside a slow statement of the same rules over random meshes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay.catalogue.entries import RELAYS_MOST, Catalogue, Offer, ReceivedEntry, SignedEntry, VerifiedEntry
from pcgrelay.catalogue.selection import Selection
from pcgrelay.model import NodeId
from pcgrelay.policy.clearances import LOWEST, OPEN, Clearances
from tests.support.machines import examples

REALM = "police.example"
BEARERS = ["internet", "psn", "satellite"]
EDGE = NodeId(REALM, "kent.police.example", "kent-1")
RELAYS = [NodeId(REALM, f"hub-{number % 3}.example", f"relay-{number}") for number in range(12)]
ME = NodeId(REALM, "hub.example", "me")


@dataclass(frozen=True)
class FakeLink:
    number: int
    peer: NodeId
    bearer: str = "internet"
    controlled: bool = True
    draining: bool = False


def told_slowly(
    catalogue: Catalogue, links: dict[int, Any], clearances: Clearances, to: Any
) -> tuple[SignedEntry, int, tuple[str, ...]] | None:
    """The rules as they are written in the protocol, for one neighbour by itself."""
    ways = catalogue.ways(EDGE)

    def shortest(accepted: Callable[[int], bool]) -> int | None:
        ranked = [(len(known.path), -known.sequence, number) for number, known in ways.items() if accepted(number)]
        return min(ranked)[2] if ranked else None

    def best(staying: bool) -> int | None:
        def usable(number: int) -> bool:
            link = links.get(number)
            if link is None or not link.controlled or (staying and link.draining):
                return False
            return clearances.may_transit(to.bearer, link.bearer)

        newest = catalogue.newest(EDGE)
        markings = {offer.marking for offer in newest.offers} if newest else set()
        if clearances != OPEN and markings - {LOWEST}:
            for marking in sorted(markings | {LOWEST}, reverse=True):

                def cleared(number: int, marking: int = marking) -> bool:
                    path = ways[number].path
                    leads_back = number == to.number or to.peer.uri in path
                    return usable(number) and not leads_back and clearances.clears(marking, links[number].bearer, path)

                if (found := shortest(cleared)) is not None:
                    return found
        return shortest(usable)

    number = best(True)
    if number is None:
        number = best(False)
    if number is None:
        return None
    known = ways[number]
    if number == to.number or to.peer in (EDGE,) or to.peer.uri in known.path or len(known.path) >= RELAYS_MOST:
        return None
    return known.signed, known.sequence, (*known.path, ME.uri)


def maybe(random: Random, made: Callable[[], Any]) -> Any:
    return made() if random.random() < 0.7 else None


def draw_clearances(random: Random) -> Clearances:
    names = [f"hub-{number}.example" for number in range(3)]
    pairs = [(one, other) for one in BEARERS for other in BEARERS if one < other]
    return Clearances(
        bearers=maybe(random, lambda: {bearer: random.randint(1, 3) for bearer in BEARERS[1:]}),
        organisations=maybe(random, lambda: {name: random.randint(1, 3) for name in names[1:]}),
        transit=maybe(random, lambda: frozenset(random.sample(pairs, random.randint(1, 3)))),
    )


def draw_mesh(random: Random) -> tuple[dict[int, Any], Catalogue]:
    """Links, some of them with the same neighbour, and what some of them and some that are gone have told."""
    links: dict[int, Any] = {}
    for number in range(1, random.randint(4, 10)):
        peer, bearer = random.choice([EDGE, *RELAYS]), random.choice(BEARERS)
        links[number] = FakeLink(number, peer, bearer, random.random() < 0.8, random.random() < 0.3)
    catalogue = Catalogue()
    markings = random.sample([1, 2, 3], random.randint(0, 3))
    offers = tuple(Offer(f"service-{marking}", marking) for marking in markings)
    for number in random.sample(range(1, 11), random.randint(0, 8)):
        sequence, relays = random.randint(1, 2), random.sample(RELAYS, random.choice([0, 1, 1, 2, 2, 3, RELAYS_MOST]))
        path = tuple(relay.uri for relay in relays)
        catalogue.put(
            number,
            ReceivedEntry(VerifiedEntry(SignedEntry(b"%d" % sequence, b"", ()), EDGE, sequence, 9, offers), path),
        )
    return links, catalogue


@settings(max_examples=examples(1_000))
@given(st.integers(0, 1 << 64))
def test_each_neighbour_is_told_what_the_rules_say_for_it_alone(seed: int) -> None:
    random = Random(seed)
    clearances = OPEN if random.random() < 0.2 else draw_clearances(random)
    links, catalogue = draw_mesh(random)
    selection = Selection(EDGE, catalogue, links, clearances, ME)
    for link in links.values():
        found = selection.announcement(link, link.peer.uri)
        assert (found and (found.signed, *found.version[:2])) == told_slowly(catalogue, links, clearances, link)


def known(path: tuple[str, ...], sequence: int = 1) -> ReceivedEntry:
    return ReceivedEntry(
        VerifiedEntry(SignedEntry(b"", b"", ()), EDGE, sequence, 1 << 60, (Offer("custody", 1),)), path
    )


@pytest.mark.parametrize(
    ("peer", "number", "path", "is_told"),
    [
        (RELAYS[2], 2, (RELAYS[0],), True),
        (RELAYS[0], 1, (RELAYS[0],), False),  # it came from there
        (RELAYS[0], 2, (RELAYS[0],), False),  # it went through there
        (EDGE, 2, (RELAYS[0],), False),  # it is about that one
        (RELAYS[11], 2, RELAYS[:7], True),
        (RELAYS[11], 2, RELAYS[:8], False),  # no room for this relay
    ],
)
def test_what_a_relay_passes_on(peer: NodeId, number: int, path: tuple[NodeId, ...], is_told: bool) -> None:
    links: dict[int, Any] = {1: FakeLink(1, RELAYS[0])}
    catalogue = Catalogue()
    catalogue.put(1, known(tuple(relay.uri for relay in path)))
    to: Any = FakeLink(number, peer)
    found = Selection(EDGE, catalogue, links, OPEN, ME).announcement(to, peer.uri)
    assert (found is not None) is is_told
    assert found is None or found.version[1] == (*(relay.uri for relay in path), ME.uri)


def test_an_edge_that_nobody_tells_of_is_told_to_nobody() -> None:
    to: Any = FakeLink(1, RELAYS[0])
    assert Selection(EDGE, Catalogue(), {1: to}, OPEN, ME).announcement(to, to.peer.uri) is None
