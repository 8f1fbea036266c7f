"""What a relay tells its neighbours of edges that change all the time, and neighbours that take it slowly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay.catalogue.entries import Catalogue, Offer, ReceivedEntry, SignedEntry, VerifiedEntry
from pcgrelay.catalogue.interest import EVERYTHING, NOTHING, Interest, Interests
from pcgrelay.catalogue.propagation import (
    CHANGES_AT_ONCE,
    CHANGES_EACH_SECOND,
    FLAPPING,
    LOST_MS,
    CataloguePropagation,
)
from pcgrelay.catalogue.selection import Selection
from pcgrelay.clock import SetClock
from pcgrelay.link.control import ROOM_BYTES
from pcgrelay.messages import Advert, Message, Withdraw
from pcgrelay.model import NodeId, Role
from pcgrelay.policy.clearances import OPEN, Clearances
from tests.support.machines import examples

REALM = "police.example"
KENT = NodeId(REALM, "kent.police.example", "kent-1")
MET = NodeId(REALM, "met.police.example", "met-1")
ME, OTHER = (NodeId(REALM, "hub.example", f"relay-{number}") for number in (1, 2))


@dataclass(eq=False)
class FakeLink:
    number: int
    peer: NodeId
    bearer: str = "internet"
    controlled: bool = True
    draining: bool = False
    lanes_up: dict[int, int] = field(default_factory=lambda: {0: 0})
    backlog_bytes: int = 0
    peer_role: Role = Role.RELAY
    features: frozenset[str] = frozenset({"interest", "chain-hash"})
    said: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        self.said.append(message)

    def take(self) -> list[Message]:
        taken, self.said = self.said, []
        return taken


class Told:
    """A relay with Kent on the first link, and two that are told of it."""

    def __init__(self) -> None:
        self.clock = SetClock(datetime(2027, 1, 1, tzinfo=UTC))
        self.links = {number: FakeLink(number, peer) for number, peer in enumerate((KENT, MET, OTHER), 1)}
        self.catalogue = Catalogue()
        self.members = {KENT.organisation, MET.organisation}
        self.counted: list[str] = []
        policy = SimpleNamespace(admits=lambda organisation: organisation in self.members)
        config = SimpleNamespace(node=SimpleNamespace(id=ME), policy=policy)
        self.local = SimpleNamespace(clearances=OPEN, config=config)
        self.interests = Interests(Counter(), self.clock)
        self.propagation = CataloguePropagation(
            self.local,
            self.catalogue,
            self.links,
            self.interests,
            self.counted.append,
            self.clock,  # type: ignore[arg-type]
        )

    def put(self, sequence: int, edge: NodeId = KENT) -> None:
        self.catalogue.put(
            1, ReceivedEntry(VerifiedEntry(SignedEntry(b"%d" % sequence, b"", ()), edge, sequence, 1 << 60, ()), ())
        )
        self.propagation.changed(edge)

    def sequences(self, number: int = 2) -> list[int]:
        """The sequences that a neighbour was told since it was asked last; what was withdrawn is below zero."""
        found = []
        for message in self.links[number].take():
            assert isinstance(message, Advert | Withdraw)
            found.append(int(message.entry) if isinstance(message, Advert) else -message.sequence)
        return found


@pytest.fixture
def told() -> Told:
    return Told()


def test_each_neighbour_but_the_one_it_came_from_hears_of_a_change_once(told: Told) -> None:
    told.put(1)
    told.propagation.changed(KENT)
    assert [told.sequences(number) for number in (1, 2, 3)] == [[], [1], [1]]
    told.catalogue.withdraw(1, KENT)
    told.propagation.changed(KENT)
    assert [told.sequences(number) for number in (1, 2, 3)] == [[], [-1], [-1]]
    assert told.counted == []


def test_of_an_edge_that_changes_all_the_time_the_newest_follows_later(told: Told) -> None:
    for sequence in range(1, CHANGES_AT_ONCE + 50):
        told.put(sequence)
    assert told.sequences() == list(range(1, CHANGES_AT_ONCE + 1))
    assert told.counted == [FLAPPING]
    told.propagation.tick()
    assert told.sequences() == []
    told.clock.advance(int(1000 / CHANGES_EACH_SECOND))
    told.propagation.tick()
    assert told.sequences() == told.sequences(3)[-1:] == [CHANGES_AT_ONCE + 49]
    # Another edge is not made to wait.
    told.put(7, MET)
    assert told.sequences(3) == [7]


def test_to_withdraw_and_tell_again_is_no_way_around_it(told: Told) -> None:
    for sequence in range(1, 100):
        told.put(sequence)
        told.catalogue.withdraw(1, KENT)
        told.propagation.changed(KENT)
        told.propagation.tick()
    assert len(told.sequences()) == CHANGES_AT_ONCE


def test_what_has_been_quiet_is_forgotten(told: Told) -> None:
    told.put(1)
    assert len(told.propagation._changes) == 1
    told.clock.advance(60_000)
    told.propagation.tick()
    assert told.propagation._changes == {}


def test_a_neighbour_is_told_no_more_than_it_takes(told: Told) -> None:
    slow = told.links[2]
    slow.backlog_bytes = ROOM_BYTES + 1
    told.put(1)
    told.put(2)
    assert [told.sequences(number) for number in (2, 3)] == [[], [1, 2]]
    told.propagation.link_has_room(slow)  # type: ignore[arg-type]
    assert told.sequences() == []
    slow.backlog_bytes = ROOM_BYTES
    told.propagation.link_has_room(slow)  # type: ignore[arg-type]
    assert told.sequences() == [2]
    assert told.propagation._owed == {}
    # What it was never told of and is gone meanwhile is no news.
    slow.backlog_bytes = ROOM_BYTES + 1
    told.put(5, OTHER)
    told.catalogue.withdraw(1, OTHER)
    slow.backlog_bytes = 0
    told.propagation.link_has_room(slow)  # type: ignore[arg-type]
    assert told.sequences() == []


def test_nothing_is_left_of_a_link_that_is_gone(told: Told) -> None:
    told.put(1)
    told.links[2].backlog_bytes = ROOM_BYTES + 1
    told.put(2)
    gone = told.links.pop(2)
    told.propagation.link_gone(gone)  # type: ignore[arg-type]
    assert told.propagation._owed == {}
    assert {number for links in told.propagation._told.values() for number in links} == {3}


def test_an_organisation_that_is_no_member_is_not_told_of(told: Told) -> None:
    told.put(1)
    told.sequences()
    told.members.clear()
    told.propagation.tell_all(KENT)
    assert told.sequences() == [-1]


# -- an edge that is lost ---------------------------------------------------------------------------------------------


def found_again(told: Told, sequence: int = 2) -> None:
    """Kent is reached through the other relay now."""
    entry = ReceivedEntry(
        VerifiedEntry(SignedEntry(b"%d" % sequence, b"", ()), KENT, sequence, 1 << 60, ()), (OTHER.uri,)
    )
    told.catalogue.put(3, entry)
    told.propagation.changed(KENT, 3)


@pytest.fixture
def with_edge(told: Told) -> Told:
    """The relay, with an edge that knows Kent over it."""
    told.links[4] = FakeLink(4, NodeId(REALM, "city.example", "city-1"), peer_role=Role.EDGE, features=frozenset())
    told.put(1)
    assert [told.sequences(number) for number in (2, 3, 4)] == [[1], [1], [1]]
    told.catalogue.withdraw(1, KENT)
    told.propagation.changed(KENT, 1)
    return told


def test_an_edge_is_not_told_of_a_loss_if_another_way_is_found_at_once(with_edge: Told) -> None:
    told = with_edge
    # Relays are told now, for they look for another way; the edge would end what waits for the service.
    assert [told.sequences(number) for number in (2, 3, 4)] == [[-1], [-1], []]
    told.clock.advance(LOST_MS - 1)
    told.propagation.tick()
    assert told.sequences(4) == []
    found_again(told)
    assert [told.sequences(number) for number in (2, 4)] == [[2], [2]]
    told.clock.advance(10 * LOST_MS)
    told.propagation.tick()
    assert told.sequences(4) == []


def test_an_edge_is_told_of_a_loss_a_moment_later(with_edge: Told) -> None:
    told = with_edge
    told.clock.advance(LOST_MS)
    told.propagation.tick()
    assert told.sequences(4) == [-1]
    found_again(told)
    assert told.sequences(4) == [2]
    # And so again: a way that comes and goes has the edge wait no longer than once.
    told.catalogue.withdraw(3, KENT)
    told.propagation.changed(KENT, 3)
    found_again(told, 3)
    told.catalogue.withdraw(3, KENT)
    told.clock.advance(LOST_MS)
    told.propagation.changed(KENT, 3)
    assert told.sequences(4) == [3, -3]


def test_what_an_edge_needs_no_more_is_withdrawn_at_once(told: Told) -> None:
    told.links[4] = FakeLink(4, NodeId(REALM, "city.example", "city-1"), peer_role=Role.EDGE)
    told.interests._taken(4, Interest(False, {KENT.organisation: frozenset({EVERYTHING})}, frozenset()))
    told.put(1)
    told.interests._taken(4, NOTHING)
    told.propagation.tell_link(told.links[4])  # type: ignore[arg-type]
    assert told.sequences(4) == [1, -1]
    told.members.clear()
    told.put(2)
    assert told.propagation._lost == {}


def test_a_timer_tells_of_losses_in_time(told: Told) -> None:
    timers: list[tuple[int, Callable[[], None]]] = []
    told.propagation._call_later = lambda milliseconds, act: timers.append((milliseconds, act))
    told.links[4] = FakeLink(4, NodeId(REALM, "city.example", "city-1"), peer_role=Role.EDGE, features=frozenset())
    for edge in (KENT, MET):
        told.put(1, edge)
        told.sequences(4)
        told.catalogue.withdraw(1, edge)
        told.propagation.changed(edge, 1)
        told.clock.advance(100)
    # One timer for all of them, and a second for those that were not due.
    ((milliseconds, act),) = timers
    told.clock.advance(milliseconds - 200)
    act()
    assert [message.edge for message in told.links[4].take() if isinstance(message, Withdraw)] == [KENT.uri]
    (_, (milliseconds, act)) = timers
    assert milliseconds == 100
    told.clock.advance(milliseconds)
    act()
    assert [message.edge for message in told.links[4].take() if isinstance(message, Withdraw)] == [MET.uri]
    assert (told.propagation._lost, len(timers)) == ({}, 2)


# -- markings ---------------------------------------------------------------------------------------------------------

SENSITIVE = 2
STRANGER = NodeId(REALM, "stranger.example", "relay-9")


def paths_told(told: Told, number: int) -> list[tuple[str, ...]]:
    """By what a neighbour was told since it was asked last, each without this relay."""
    return [message.path[:-1] for message in told.links[number].take() if isinstance(message, Advert)]


@pytest.fixture
def two_ways(told: Told) -> Told:
    """Kent is linked here, and reached through the other relay too. What it offers is marked."""
    told.links[4] = FakeLink(4, STRANGER)
    for number, path in ((1, ()), (3, (OTHER.uri,)), (4, (STRANGER.uri,))):
        offers = (Offer("custody", SENSITIVE),)
        entry = ReceivedEntry(VerifiedEntry(SignedEntry(b"1", b"", ()), KENT, 1, 1 << 60, offers), path)
        told.catalogue.put(number, entry)
    return told


def test_neighbours_are_told_of_a_way_that_is_cleared_though_it_is_longer(two_ways: Told) -> None:
    two_ways.links[3].bearer = "psn"
    two_ways.propagation.tell_all(KENT)
    assert paths_told(two_ways, 2) == [()]
    two_ways.local.clearances = Clearances(bearers={"psn": SENSITIVE})
    two_ways.propagation.changed(KENT)
    assert paths_told(two_ways, 2) == [(OTHER.uri,)]
    # Nothing is cleared: what is for everybody still goes there by the shortest.
    two_ways.local.clearances = Clearances(bearers={})
    two_ways.propagation.changed(KENT)
    assert paths_told(two_ways, 2) == [()]


def test_a_neighbour_is_told_of_a_way_that_does_not_lead_back_to_it(two_ways: Told) -> None:
    two_ways.catalogue.withdraw(1, KENT)
    two_ways.local.clearances = Clearances(bearers={"internet": SENSITIVE})
    two_ways.propagation.tell_all(KENT)
    # The best way leads through the one, so it is told of that through the other.
    assert paths_told(two_ways, 3) == [(STRANGER.uri,)]
    assert paths_told(two_ways, 4) == [(OTHER.uri,)]
    two_ways.local.clearances = Clearances(organisations={OTHER.organisation: SENSITIVE})
    two_ways.propagation.changed(KENT)
    assert paths_told(two_ways, 2) == [(OTHER.uri,)]


def test_a_neighbour_is_told_of_what_may_be_forwarded_to_it(two_ways: Told) -> None:
    two_ways.links[1].bearer = two_ways.links[2].bearer = "psn"
    two_ways.local.clearances = Clearances(transit=frozenset())
    two_ways.propagation.tell_all(KENT)
    assert paths_told(two_ways, 2) == [()]
    assert paths_told(two_ways, 4) == [(OTHER.uri,)]
    two_ways.catalogue.withdraw(1, KENT)
    two_ways.propagation.changed(KENT)
    assert [type(message) for message in two_ways.links[2].take()] == [Withdraw]


def test_a_service_that_nothing_is_cleared_for_does_not_hide_the_ways_of_another(two_ways: Told) -> None:
    """Its way for the lower marking is told to whoever is on the shorter one, which leads back there."""
    two_ways.catalogue.withdraw(1, KENT)
    offers = (Offer("custody", SENSITIVE), Offer("secrets", SENSITIVE + 1))
    for number, path in ((3, (OTHER.uri,)), (4, (STRANGER.uri, OTHER.uri[:-1] + "3"))):
        two_ways.catalogue.put(
            number, ReceivedEntry(VerifiedEntry(SignedEntry(b"2", b"", ()), KENT, 2, 1 << 60, offers), path)
        )
    two_ways.local.clearances = Clearances(bearers={"internet": SENSITIVE})
    two_ways.propagation.tell_all(KENT)
    assert paths_told(two_ways, 3) == [(STRANGER.uri, OTHER.uri[:-1] + "3")]


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, 1 << 64))
def test_whatever_happened_each_neighbour_was_told_what_holds_now(seed: int) -> None:
    """Most changes are of ways that nobody is told of, and not looked at for each neighbour: nothing may be missed."""
    random, told = Random(seed), Told()
    local, links, propagation = told.local, told.links, told.propagation
    bearers, peers = (
        ["internet", "psn"],
        [KENT, MET, *(NodeId(REALM, f"hub-{n % 3}.example", f"r-{n}") for n in range(9))],
    )
    links.clear()
    sequence = 1

    def join(number: int) -> None:
        role = random.choice([Role.RELAY, Role.RELAY, Role.EDGE])
        links[number] = FakeLink(
            number, random.choice(peers), random.choice(bearers), peer_role=role, features=frozenset()
        )
        propagation.tell(links[number], KENT)  # type: ignore[arg-type]

    def learn(number: int) -> None:
        nonlocal sequence
        sequence += random.random() < 0.3
        relays = random.sample(peers[2:], random.choice([0, 1, 1, 2, 2, 7, 8]))
        offers = tuple(
            Offer(f"service-{marking}", marking) for marking in random.sample([1, 2, 3], random.randint(0, 2))
        )
        verified = VerifiedEntry(SignedEntry(b"%d" % sequence, b"", ()), KENT, sequence, 1 << 60, offers)
        told.catalogue.put(number, ReceivedEntry(verified, tuple(relay.uri for relay in relays)))

    def clear(number: int) -> None:
        cleared = {bearer: random.randint(1, 3) for bearer in bearers}
        local.clearances = random.choice([OPEN, Clearances(bearers=cleared), Clearances(transit=frozenset())])

    def leave(number: int) -> None:
        link = links.pop(number)
        propagation.link_gone(link)  # type: ignore[arg-type]
        told.catalogue.withdraw(number, KENT)

    for number in range(1, 5):
        join(number)
    for step in range(5, 40):
        number = random.choice(list(links) or [0])
        link = links.get(number)
        what = random.choice([join, learn, learn, learn, clear, leave, "withdraw", "drain", "lost", "lanes", "bearer"])
        if what is join or link is None:
            join(step)
        elif what == "drain":
            link.draining = True
        elif what == "bearer":
            link.bearer, local.config = random.choice(bearers), SimpleNamespace(**vars(local.config))
        elif what == "lost":
            link.controlled = False
        elif what == "lanes":
            link.lanes_up = {} if link.lanes_up else {0: 0}
        elif what == "withdraw":
            told.catalogue.withdraw(number, KENT)
        elif callable(what):
            what(number)
        told.clock.advance(10_000)
        # As the exchange says it: what changed may have been the way over one link alone.
        is_over_one = what in (learn, leave, "withdraw", "drain", "lost")
        propagation.changed(KENT, number if is_over_one else None)
        told.clock.advance(LOST_MS)
        propagation.tick()
        selection = Selection(KENT, told.catalogue, links, local.clearances, ME)  # type: ignore[arg-type]
        for each in links.values():
            if each.controlled and each.lanes_up:
                wanted = selection.announcement(each, each.peer.uri)  # type: ignore[arg-type]
                known = propagation._told.get(KENT, {}).get(each.number)
                assert known == (wanted.version if wanted else None), (step, what)
