"""What edges say that they need, what is wrong with it, and what a relay tells them then."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import messages as m
from pcgrelay.catalogue import interest as i
from pcgrelay.clock import SetClock
from pcgrelay.model import NodeId, Role, ServiceName
from tests.reference.vectors_interest import numbered
from tests.support.telling_relay import BOTH, REALM, NeighbourLink, TellingRelay
from tests.support.vectors import Json, load, octets

VECTORS = load("interest")
MET = NodeId(REALM, "met.police.example", "met-9")
KENT = "kent.police.example"


@pytest.fixture
def relay() -> TellingRelay:
    made = TellingRelay(NeighbourLink(7, MET))
    for edge, services in VECTORS["catalogue"].items():
        made.put(edge, services)
    return made


KENT_1, KENT_2, MET_1 = VECTORS["catalogue"]


# -- the vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["kind"])
def test_messages_are_those_of_the_vectors(case: Json) -> None:
    made: m.Message = (
        m.Want(tuple(case["services"]), tuple(case["edges"])) if case["kind"] == "WANT" else m.AdvertGet(case["edge"])
    )
    assert m.encode_message(made) == octets(case["wire"])
    assert [message for message, _ in m.MessageReader().feed(octets(case["wire"]))] == [made]


@pytest.mark.parametrize("case", VECTORS["told"], ids=lambda case: case["name"])
def test_what_is_told_is_as_in_the_vectors(case: Json) -> None:
    relay = TellingRelay(NeighbourLink(7, MET, Role(case["role"]), BOTH if case["listed"] else frozenset()))
    for edge, services in VECTORS["catalogue"].items():
        relay.put(edge, services)
    relay.up()
    before = relay.link.told()
    services, edges = numbered(case)
    relay.want(*services, edges=tuple(edges))
    assert relay.link.told() == (before if case["told"] is None else set(case["told"]))
    assert bool(relay.counted) == case["is_refused"]
    if case["told"] is None:
        assert before == set(VECTORS["catalogue"])  # who does not list it, and a relay, is told everything


# -- a relay ----------------------------------------------------------------------------------------------------------


def test_an_edge_is_told_nothing_before_it_says_what_it_needs(relay: TellingRelay) -> None:
    relay.up()
    relay.put(KENT_1, ["custody"])
    assert relay.link.told() == set()
    relay.tick(i.AWAITED_MS - 1)
    assert relay.link.told() == set()
    # It lists the feature and says nothing: it hears everything, as if it did not list it.
    relay.tick(1)
    assert relay.link.told() == {KENT_1, KENT_2, MET_1}
    assert relay.counted == {i.MISSING: 1}
    relay.want(f"mail@{KENT}")
    assert relay.counted == {i.MISSING: 1}


def test_a_want_that_comes_before_the_lanes_are_up_holds(relay: TellingRelay) -> None:
    relay.link.lanes_up.clear()
    relay.want(f"records@{KENT}")
    assert relay.link.told() == set()
    relay.link.lanes_up[0] = 0
    relay.up()
    assert relay.link.told() == {KENT_2}
    relay.tick(i.AWAITED_MS)
    assert relay.link.told() == {KENT_2}
    assert not relay.counted


def test_what_is_needed_no_more_is_withdrawn_and_what_is_needed_is_told(relay: TellingRelay) -> None:
    relay.up()
    relay.want(f"custody@{KENT}")
    assert relay.link.told() == {KENT_1}
    relay.want(f"custody@{KENT}", f"records@{KENT}")
    assert relay.link.told() == {KENT_1, KENT_2}
    relay.want(f"records@{KENT}")
    assert relay.link.told() == {KENT_2}
    # Each was said once.
    assert len(relay.link.sent) == 3


def test_an_entry_that_changes_comes_and_goes_with_what_it_offers(relay: TellingRelay) -> None:
    relay.up()
    relay.want(f"records@{KENT}")
    for services, told in ((["mail"], set()), (["mail", "records"], {KENT_2}), ([], set()), (["records"], {KENT_2})):
        relay.put(KENT_2, services)
        assert relay.link.told() == told
    # One that is named stays, whatever it offers.
    relay.want(f"records@{KENT}", edges=(KENT_2,))
    count = len(relay.link.sent)
    relay.put(KENT_2, ["mail"])
    assert relay.link.told() == {KENT_2}
    assert len(relay.link.sent) == count + 1
    relay.want(f"records@{KENT}")
    assert relay.link.told() == set()


def test_what_is_wrong_costs_the_narrowing_until_the_next(relay: TellingRelay) -> None:
    relay.up()
    relay.want("b@a.example", "a@a.example")
    assert relay.link.told() == {KENT_1, KENT_2, MET_1}
    relay.want(f"records@{KENT}")
    assert relay.link.told() == {KENT_2}
    assert relay.counted == {i.MALFORMED: 1}


def test_of_those_that_come_all_the_time_the_newest_is_taken_later(relay: TellingRelay) -> None:
    relay.up()
    for number in range(i.WANTS_AT_ONCE):
        relay.want(f"mail@{KENT}", f"s{number}@{KENT}")
    assert relay.link.told() == {KENT_1}
    for service in ("custody", "fuel", "records"):
        relay.want(f"{service}@{KENT}")
    assert relay.link.told() == {KENT_1}
    assert relay.counted == {i.TOO_OFTEN: 3}
    relay.tick(int(1_000 / i.WANTS_EACH_SECOND))
    assert relay.link.told() == {KENT_2}
    assert not relay.interests.due()


def test_nothing_is_left_of_a_link_that_is_gone(relay: TellingRelay) -> None:
    relay.up()
    for _ in range(i.WANTS_AT_ONCE + 1):
        relay.want(f"mail@{KENT}")
    relay.interests.link_gone(relay.link)  # type: ignore[arg-type]
    kept = vars(relay.interests)
    assert [name for name, held in kept.items() if isinstance(held, dict) and name != "_refused" and held] == []
    assert not any(vars(relay.interests._index).values())


def test_a_want_has_no_edge_looked_at_that_offers_nothing_of_it(
    relay: TellingRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        relay.put(f"spiffe://{REALM}/org/{KENT}/node/other-{number}", ["fuel"])
        relay.put(f"spiffe://{REALM}/org/far.example/node/other-{number}", ["records"])
    relay.up()
    looked: list[str] = []
    tell = relay.propagation.tell

    def telling(link: Any, edge: NodeId) -> None:
        looked.append(edge.uri)
        tell(link, edge)

    monkeypatch.setattr(relay.propagation, "tell", telling)
    relay.want(f"records@{KENT}")
    assert (looked, relay.link.told()) == ([KENT_2], {KENT_2})
    looked.clear()
    relay.want(f"mail@{KENT}", edges=(MET_1,))
    # What it was told and needs no longer is looked at once more, to be withdrawn.
    assert (set(looked), relay.link.told()) == ({KENT_2, KENT_1, MET_1}, {KENT_1, MET_1})


# -- an edge ----------------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "b", "mail", "custody", "x-1"])
ORGANISATIONS = st.sampled_from(["a.example", "b.example", "kent.police.example"])
SERVICES = st.builds(ServiceName, WORDS, ORGANISATIONS)
EDGES = st.builds(NodeId, st.just(REALM), ORGANISATIONS, WORDS)


@given(st.lists(SERVICES), st.lists(ORGANISATIONS), st.lists(EDGES), EDGES, st.lists(WORDS, unique=True))
def test_what_an_edge_says_covers_what_it_needs(
    services: list[ServiceName], whole: list[str], named: list[NodeId], edge: NodeId, offered: list[str]
) -> None:
    said = i.make_want(services, whole, named)
    ((heard, _),) = m.MessageReader().feed(m.encode_message(said))
    assert isinstance(heard, m.Want)
    interest = i.read_want(heard)
    needed = edge in named or edge.organisation in whole
    needed = needed or any(ServiceName(each, edge.organisation) in services for each in offered)
    assert interest.covers(edge, offered) == needed


INTERESTS = st.builds(
    lambda services, whole, named: i.read_want(i.make_want(services, whole, named)),
    st.lists(SERVICES, max_size=4),
    st.lists(ORGANISATIONS, max_size=1),
    st.lists(EDGES, max_size=2),
)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.one_of(st.none(), st.just(i.ALL), INTERESTS)), max_size=12),
    EDGES,
    st.lists(WORDS, unique=True),
)
def test_those_who_need_an_entry_are_found_whatever_was_asked_before(
    said: list[tuple[int, i.Interest | None]], edge: NodeId, offered: list[str]
) -> None:
    interests = i.Interests(Counter(), SetClock(datetime(2027, 1, 1, tzinfo=UTC)))
    held: dict[int, i.Interest] = {}
    for number, interest in said:
        if interest is None:
            interests.link_gone(NeighbourLink(number, MET))  # type: ignore[arg-type]
            held.pop(number, None)
        else:
            interests._taken(number, interest)
            held[number] = interest
    wanting = {number for number, interest in held.items() if interest.covers(edge, offered)}
    assert interests.wanting(edge, edge.uri, offered) == wanting


def test_more_than_fits_asks_for_everything() -> None:
    services = [ServiceName(f"s{number}", "a.example") for number in range(i.NAMES_MOST + 1)]
    assert i.make_want(services, (), ()) == m.Want((i.EVERYTHING,))
    assert len(i.make_want(services[1:], (), ()).services) == i.NAMES_MOST
    # By its length, too.
    long = [ServiceName(f"{'s' * 40}{number}", f"{'o' * 60}.{'p' * 60}.example") for number in range(1_000)]
    assert i.make_want(long, (), ()) == m.Want((i.EVERYTHING,))
    least = next(count for count in range(1_000, 0, -1) if len(i.make_want(long[:count], (), ()).services) > 1)
    assert len(m.encode_message(i.make_want(long[:least], (), ()))) <= m.WANT_LIMIT_BYTES + m.PREFIX_BYTES


def test_the_most_important_edges_are_named() -> None:
    edges = [NodeId(REALM, KENT, f"k-{number}") for number in reversed(range(i.EDGES_MOST + 5))]
    said = i.make_want((), (), [*edges, *edges])
    assert set(said.edges) == {edge.uri for edge in edges[: i.EDGES_MOST]}
    assert i.read_want(said).edges == set(said.edges)
