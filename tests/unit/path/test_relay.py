"""Paths through a relay, message by message, without a socket."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pcgrelay.handover.records import RelayPathHandover
from pcgrelay.messages import Carry, Code, PathAccept, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId, Role
from pcgrelay.path.budget import Budget
from pcgrelay.path.relay import ANSWER_DEADLINE_MS, LINKS_TRIED_MOST, PATHS_OF_A_SESSION_MOST
from pcgrelay.path.relay_path import CARRY_AT_ONCE_BYTES
from pcgrelay.policy.clearances import Clearances
from tests.support.path_links import LABEL, ME, MIB, OTHER, SESSION, A, B, FakeLink, asked
from tests.support.relay_paths import Relay


@pytest.fixture
def relay() -> Relay:
    return Relay()


def test_a_path_through_a_relay(relay: Relay) -> None:
    onward = relay.opened()
    assert onward.via == (ME.uri,)
    assert (onward.source, onward.destination, onward.flows, onward.cap) == (A.uri, B.uri, 2, 4 * MIB)
    relay.hear(relay.b, PathAccept(SESSION, 2, 2 * MIB, 77))
    (answer,) = relay.a.take()
    assert isinstance(answer, PathAccept)
    (path,) = relay.plane.paths.values()
    assert path == {
        "a_link": 1,
        "a_in": answer.label,
        "a_out": LABEL,
        "b_link": 2,
        "b_in": onward.label,
        "b_out": 77,
        "cap": 2 * MIB,
        "priority": 0,
    }
    assert (answer.flows, answer.cap) == (2, 2 * MIB)
    assert answer.label != onward.label
    for source, target in ((relay.a, relay.b), (relay.b, relay.a)):
        relay.hear(source, Carry(SESSION, b"sealed"))
        assert target.take() == [Carry(SESSION, b"sealed")]


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"source": OTHER.uri}, Code.VIOLATION, "wrong_sender"),
        ({"via": (OTHER.uri,)}, Code.VIOLATION, "wrong_sender"),
        ({"via": (ME.uri, A.uri)}, Code.LIMIT, "loop"),
        ({"via": (A.uri, A.uri)}, Code.VIOLATION, "loop"),
        ({"via": (*(f"spiffe://{number}" for number in range(7)), A.uri)}, Code.LIMIT, "path_too_long"),
        ({"destination": "nobody"}, Code.VIOLATION, "malformed"),
        ({"destination": "spiffe://other.example/org/met.police.example/node/met-1"}, Code.REFUSED, "wrong_realm"),
        ({"destination": OTHER.uri}, Code.UNREACHABLE, "no_route"),
        ({"destination": A.uri}, Code.UNREACHABLE, "no_route"),
        ({"resume": True, "flows": 3}, Code.LIMIT, "too_few_lanes"),
        ({"resume": True, "cap": 1 << 30}, Code.BUSY, "memory_budget"),
    ],
)
def test_what_a_relay_refuses(relay: Relay, changes: dict[str, Any], code: int, reason: str) -> None:
    relay.hear(relay.a, asked(**changes))
    assert relay.refusal() == (code, reason)
    assert relay.relay_paths.refused == {reason: 1}
    assert relay.b.take() == []
    assert len(relay.relay_paths) == 0


def test_an_edge_asks_for_nobody_but_itself(relay: Relay) -> None:
    relay.a.peer_role = Role.EDGE
    relay.hear(relay.a, asked(source=OTHER.uri, via=(A.uri,)))
    assert relay.refusal() == (Code.VIOLATION, "not_a_relay")
    relay.opened()


@pytest.mark.parametrize("node", [A, B])
def test_a_relay_leads_between_members_only(relay: Relay, node: NodeId) -> None:
    relay.not_allowed = {node}
    relay.hear(relay.a, asked())
    assert relay.refusal() == (Code.REFUSED, "not_a_member")


def test_flows_and_cap_are_lowered_to_what_the_next_link_bears(relay: Relay) -> None:
    relay.b.lanes, relay.b.cap = 1, MIB
    onward = relay.opened()
    assert (onward.flows, onward.cap) == (1, MIB)


def test_an_answer_that_promises_more_than_was_asked(relay: Relay) -> None:
    onward = relay.opened()
    relay.hear(relay.b, PathAccept(SESSION, 3, 4 * MIB, 77))
    assert relay.refusal() == (Code.VIOLATION, "more_than_asked")
    assert relay.b.take() == [PathClose(SESSION, Code.VIOLATION, onward.label)]


def test_only_the_next_hop_accepts_and_only_once(relay: Relay) -> None:
    relay.opened()
    relay.hear(relay.a, PathAccept(SESSION, 2, MIB, 77))
    assert relay.a.take() == []
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 77))
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 78))
    assert len(relay.a.take()) == 1
    assert [path["b_out"] for path in relay.plane.paths.values()] == [77]


def test_a_refusal_is_handed_back_with_its_author(relay: Relay) -> None:
    onward = relay.opened()
    relay.hear(relay.b, PathRefuse(SESSION, Code.BUSY, "glare", B.uri, onward.label))
    assert relay.a.take() == [PathRefuse(SESSION, Code.BUSY, "glare", B.uri, LABEL)]
    assert len(relay.relay_paths) == 0


@pytest.mark.parametrize("from_a", [True, False])
def test_closing_takes_it_down_on_both_sides(relay: Relay, from_a: bool) -> None:
    opened = relay.accepted()
    here, there = (relay.a, relay.b) if from_a else (relay.b, relay.a)
    relay.hear(here, PathClose(SESSION, Code.DONE, opened[here]))
    assert there.take() == [PathClose(SESSION, Code.DONE, opened[there])]
    assert relay.plane.paths == {}
    assert relay.relay_paths._budget.reserved_bytes == 0


@pytest.mark.parametrize("from_a", [True, False])
def test_a_lost_link_is_told_to_the_other_side(relay: Relay, from_a: bool) -> None:
    opened = relay.accepted()
    here, there = (relay.a, relay.b) if from_a else (relay.b, relay.a)
    relay.relay_paths.link_down(here)  # type: ignore[arg-type]
    assert there.take() == [PathClose(SESSION, Code.UNREACHABLE, opened[there])]
    assert here.take() == []
    assert relay.plane.paths == {}


@pytest.mark.parametrize("from_a", [True, False])
def test_requests_go_with_the_control_connection_and_paths_stay(relay: Relay, from_a: bool) -> None:
    relay.accepted()
    carried(relay, "abab")
    here, there = (relay.a, relay.b) if from_a else (relay.b, relay.a)
    relay.relay_paths.control_lost(here)  # type: ignore[arg-type]
    assert there.take() == []
    relay.hear(relay.a, asked(session=bytes(16)))
    (onward,) = relay.b.take()
    assert isinstance(onward, PathOpen)
    relay.relay_paths.control_lost(here)  # type: ignore[arg-type]
    if from_a:
        assert there.take() == [PathClose(bytes(16), Code.UNREACHABLE, onward.label)]
    else:
        assert relay.refusal() == (Code.UNREACHABLE, "path_lost")
    assert len(relay.relay_paths) == len(relay.plane.paths) == 1


@pytest.mark.parametrize("from_a", [True, False])
@pytest.mark.parametrize("said", ["", "a", "ab", "aabb", "aba", "bbb", "bab"])
def test_a_set_up_goes_with_the_control_connection(relay: Relay, said: str, from_a: bool) -> None:
    opened = relay.accepted()
    here, there = (relay.a, relay.b) if from_a else (relay.b, relay.a)
    carried(relay, said)
    relay.relay_paths.control_lost(here)  # type: ignore[arg-type]
    assert here.take() == []
    assert there.take() == [PathClose(SESSION, Code.UNREACHABLE, opened[there])]
    assert relay.plane.paths == {}


@pytest.mark.parametrize("from_a", [True, False])
@pytest.mark.parametrize(("resume", "said"), [(False, "abab"), (False, "aabbab"), (False, "ababa"), (True, "")])
def test_what_may_be_a_session_stays(relay: Relay, resume: bool, said: str, from_a: bool) -> None:
    relay.accepted(resume=resume)
    here, there = (relay.a, relay.b) if from_a else (relay.b, relay.a)
    carried(relay, said)
    relay.relay_paths.control_lost(here)  # type: ignore[arg-type]
    assert there.take() == []
    assert len(relay.relay_paths) == len(relay.plane.paths) == 1


def carried(relay: Relay, said: str) -> None:
    """The sides speak in a handshake in that order, and each is heard by the other."""
    for side in said:
        here, there = (relay.a, relay.b) if side == "a" else (relay.b, relay.a)
        relay.hear(here, Carry(SESSION, b"x"))
        assert there.take() == [Carry(SESSION, b"x")]


def test_a_next_hop_that_does_not_answer(relay: Relay) -> None:
    onward = relay.opened()
    relay.clock.advance(ANSWER_DEADLINE_MS)
    relay.relay_paths.expire()
    assert len(relay.relay_paths) == 1
    relay.clock.advance(1)
    relay.relay_paths.expire()
    assert relay.refusal() == (Code.TIMEOUT, "no_answer")
    assert relay.b.take() == [PathClose(SESSION, Code.TIMEOUT, onward.label)]


def test_a_core_that_refuses(relay: Relay) -> None:
    relay.opened()
    relay.plane.refuses = True
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 77))
    assert relay.refusal() == (Code.BUSY, "refused_by_core")
    assert relay.relay_paths._budget.reserved_bytes == 0


def second_asked(relay: Relay, **changes: Any) -> tuple[dict[FakeLink, int], int]:
    """A path stands and another one of its session is asked for: the labels of the first, and that of the second."""
    first = relay.accepted()
    relay.hear(relay.a, asked(**{"resume": True, "cap": MIB, "label": LABEL + 1, **changes}))
    (onward,) = relay.b.take()
    assert isinstance(onward, PathOpen)
    return first, onward.label


def test_an_id_that_appears_again_ends_nothing(relay: Relay) -> None:
    first, second = second_asked(relay)
    assert first[relay.b] != second
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 78, second))
    assert [path["a_out"] for path in relay.plane.paths.values()] == [LABEL, LABEL + 1]
    assert [message.opened for message in relay.a.take() if isinstance(message, PathAccept)] == [LABEL + 1]
    # What is carried, and a word that names no label, belong to the one that stands.
    relay.hear(relay.b, Carry(SESSION, b"sealed"))
    assert relay.a.take() == [Carry(SESSION, b"sealed")]
    relay.hear(relay.b, PathClose(SESSION, Code.DONE))
    assert relay.a.take() == [PathClose(SESSION, Code.DONE, LABEL)]
    assert [path["a_out"] for path in relay.plane.paths.values()] == [LABEL + 1]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("by", ["other neighbour", "same neighbour"])
def test_whoever_knows_the_id_of_a_session_takes_no_path_of_it_away(relay: Relay, by: str, resume: bool) -> None:
    first = relay.accepted()
    outsider = FakeLink(3, OTHER) if by == "other neighbour" else relay.a
    for label in range(1_000, 1_100):
        via = (OTHER.uri,) if by == "other neighbour" else ()
        relay.hear(outsider, asked(resume=resume, cap=MIB, label=label, via=via))
        relay.hear(relay.b, PathRefuse(SESSION, Code.UNKNOWN, "unknown_session", B.uri))
    assert not [message for message in (*relay.a.take(), *relay.b.take()) if isinstance(message, PathClose)]
    (path,) = relay.plane.paths.values()
    assert (path["a_out"], path["b_in"]) == (LABEL, first[relay.b])


def test_a_second_path_for_which_there_is_no_room_leaves_the_first(relay: Relay) -> None:
    relay.accepted()
    relay.relay_paths._budget = Budget(4 * MIB, 4 * MIB - 1)
    relay.hear(relay.a, asked(resume=True, cap=MIB, label=LABEL + 1))
    (refusal,) = relay.a.take()
    assert isinstance(refusal, PathRefuse)
    assert (refusal.reason, refusal.opened) == ("memory_budget", LABEL + 1)
    assert relay.b.take() == []
    assert len(relay.plane.paths) == 1


def test_paths_of_one_session_over_one_link_are_few(relay: Relay) -> None:
    through = FakeLink(3, OTHER)
    for number in range(PATHS_OF_A_SESSION_MOST):
        relay.hear(through, asked(resume=True, cap=MIB, label=number + 1, via=(OTHER.uri,)))
    relay.hear(through, asked(resume=True, cap=MIB, label=99, via=(OTHER.uri,)))
    assert [message.reason for message in through.take() if isinstance(message, PathRefuse)] == ["too_many_paths"]
    assert len(relay.relay_paths) == PATHS_OF_A_SESSION_MOST
    # An edge of before leaves its own without a word: the oldest of these goes.
    for number in range(PATHS_OF_A_SESSION_MOST + 1):
        relay.hear(relay.a, asked(resume=True, cap=MIB, label=number + 1))
    assert [message.opened for message in relay.a.take() if isinstance(message, PathRefuse)] == [1]
    assert len(relay.relay_paths) == 2 * PATHS_OF_A_SESSION_MOST


def test_a_label_that_its_giver_has_given_already_is_refused(relay: Relay) -> None:
    relay.accepted()
    relay.hear(relay.a, asked(resume=True, cap=MIB))
    assert relay.refusal() == (Code.VIOLATION, "label_taken")
    assert len(relay.plane.paths) == 1


def test_labels_of_both_neighbours_are_told_apart_on_one_link(relay: Relay) -> None:
    """A session may come by the same link in both directions while it moves."""
    first = relay.accepted()
    relay.hear(relay.b, asked(source=OTHER.uri, destination=A.uri, label=first[relay.b], via=(OTHER.uri, B.uri)))
    (refusal,) = [message for message in relay.b.take() if isinstance(message, PathRefuse)]
    assert refusal.reason == "label_taken"
    relay.relay_paths._labels._next = 7
    relay.hear(relay.b, asked(source=OTHER.uri, destination=A.uri, label=7, via=(OTHER.uri, B.uri)))
    relay.a.take()
    relay.relay_paths._labels._next = 6
    relay.hear(relay.a, asked(resume=True, cap=MIB, label=LABEL + 1))
    (onward,) = relay.b.take()
    assert isinstance(onward, PathOpen)
    assert onward.label not in (7, first[relay.b])


@pytest.mark.parametrize("from_a", [True, False])
def test_a_late_close_leaves_the_newer_path_alone(relay: Relay, from_a: bool) -> None:
    first, second = second_asked(relay)
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 78, second))
    relay.a.take()
    here, there = (relay.a, relay.b) if from_a else (relay.b, relay.a)
    relay.hear(here, PathClose(SESSION, Code.UNREACHABLE, first[here]))
    assert there.take() == [PathClose(SESSION, Code.UNREACHABLE, first[there])]
    relay.hear(here, PathClose(SESSION, Code.UNREACHABLE, first[here]))
    assert there.take() == []
    assert [path["b_out"] for path in relay.plane.paths.values()] == [78]
    # A node that does not say which path it means still ends the one that is there.
    relay.hear(here, PathClose(SESSION, Code.UNREACHABLE))
    assert relay.plane.paths == {}


def test_a_late_answer_is_none_to_the_newer_request(relay: Relay) -> None:
    first, second = second_asked(relay)
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 77, first[relay.b]))
    relay.hear(relay.b, PathRefuse(SESSION, Code.BUSY, "no_place", B.uri, first[relay.b]))
    assert relay.a.take() == []
    assert len(relay.relay_paths) == 2
    # An older far edge names no label, and answers the request.
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 78))
    (answer,) = relay.a.take()
    assert isinstance(answer, PathAccept)
    assert answer.opened == LABEL + 1
    assert second


def test_carry_is_no_way_to_move_data(relay: Relay) -> None:
    opened = relay.accepted()
    chunk = Carry(SESSION, bytes(16_384))
    for _ in range(CARRY_AT_ONCE_BYTES // 16_384):
        relay.hear(relay.a, chunk)
    assert len(relay.b.take()) == CARRY_AT_ONCE_BYTES // 16_384
    relay.hear(relay.a, chunk)
    for link in (relay.a, relay.b):
        assert link.take() == [PathClose(SESSION, Code.LIMIT, opened[link])]


def test_words_on_paths_that_are_not_known_are_nothing(relay: Relay) -> None:
    for message in (
        PathAccept(SESSION, 1, MIB, 1),
        PathRefuse(SESSION, 1, "", ""),
        PathClose(SESSION, 0),
        Carry(SESSION, b""),
    ):
        relay.hear(relay.a, message)
    assert relay.a.take() == relay.b.take() == []


def test_nothing_is_left_after_many_paths(relay: Relay) -> None:
    for number in range(500):
        session = number.to_bytes(16, "big")
        relay.hear(relay.a, asked(session=session))
        relay.hear(relay.b, PathAccept(session, 2, MIB, 77))
        relay.hear(relay.b, PathClose(session, 0))
    assert len(relay.relay_paths) == 0
    assert relay.relay_paths._budget.reserved_bytes == 0
    assert relay.relay_paths._of_link == {}
    assert relay.plane.paths == {}


# -- markings ---------------------------------------------------------------------------------------------------------

SENSITIVE = 2
HUB, STRANGER = "hub.example", "stranger.example"
STRANGE_RELAY = f"spiffe://police.example/org/{STRANGER}/node/relay-7"


@pytest.mark.parametrize(
    ("clearances", "changes", "reason"),
    [
        (Clearances(bearers={"psn": 2}), {}, "marking"),  # the incoming link
        (Clearances(bearers={"internet": 2}), {}, "marking"),  # the onward one
        (Clearances(bearers={"internet": 3, "psn": 3}, transit=frozenset()), {}, "no_transit"),
        (Clearances(bearers={"internet": 3, "psn": 3}, transit=frozenset({("internet", "psn")})), {}, None),
        (Clearances(organisations={HUB: 2}), {}, None),
        (Clearances(organisations={HUB: 1}), {"via": (STRANGE_RELAY, A.uri)}, "marking"),
        (Clearances(bearers={"psn": 1}), {"marking": 1}, None),
    ],
)
def test_a_relay_forwards_what_is_cleared_alone(
    relay: Relay, clearances: Clearances, changes: dict[str, Any], reason: str | None
) -> None:
    relay.b.bearer = "psn"
    relay.clearances = clearances
    relay.hear(relay.a, asked(**{"marking": SENSITIVE, **changes}))
    if reason is None:
        (onward,) = relay.b.take()
        assert isinstance(onward, PathOpen)
        assert onward.marking == changes.get("marking", SENSITIVE)
    else:
        assert relay.refusal() == (Code.REFUSED, reason)
        assert relay.b.take() == []
        assert relay.relay_paths.refused == {reason: 1}


def test_where_a_path_would_go_on_is_told_and_leaves_no_trace(relay: Relay) -> None:
    relay.b.bearer = "psn"

    def onward(destination: NodeId) -> object:
        return relay.relay_paths.onward(relay.a, destination)  # type: ignore[arg-type]

    assert onward(B) is relay.b
    assert onward(OTHER) == "no_route"
    relay.clearances = Clearances(bearers={"internet": 3, "psn": 3}, transit=frozenset())
    assert onward(B) == "no_transit"
    assert (relay.a.take(), relay.b.take(), len(relay.relay_paths)) == ([], [], 0)
    assert relay.relay_paths.refused == {}
    assert relay.relay_paths.standing() == set()


def test_what_stands_is_what_was_accepted(relay: Relay) -> None:
    relay.opened()
    assert relay.relay_paths.standing() == set()
    relay.hear(relay.b, PathAccept(SESSION, 2, MIB, 77))
    (found,) = relay.relay_paths.standing()
    assert (found.source, found.destination) == (A, B)


async def test_what_still_forwards_for_a_moment_is_judged_too(relay: Relay) -> None:
    relay.others = [FakeLink(3, B)]
    relay.accepted(marking=SENSITIVE)
    relay.relay_paths.lead_over(relay.b)  # type: ignore[arg-type]
    assert relay.plane.paths
    relay.relay_paths.judge()
    assert relay.plane.paths
    relay.clearances = Clearances(bearers={})
    relay.relay_paths.judge()
    assert not relay.plane.paths
    assert not relay.relay_paths.use(relay.b)  # type: ignore[arg-type]


def test_what_an_onward_neighbour_announces_is_judged_too(relay: Relay) -> None:
    relay.clearances = Clearances(organisations={HUB: 3})
    relay.behind[relay.b.number] = (STRANGE_RELAY,)
    relay.hear(relay.a, asked(marking=SENSITIVE))
    assert relay.refusal() == (Code.REFUSED, "marking")
    # One that is made anew is a way all the same, and not a matter of policy.
    relay.coming = [FakeLink(9, OTHER)]
    relay.hear(relay.a, asked(marking=SENSITIVE))
    assert relay.refusal() == (Code.UNREACHABLE, "no_route")


def test_a_refusal_for_the_marking_has_other_links_tried_and_no_other_refusal_does(relay: Relay) -> None:
    third, fourth = FakeLink(3, OTHER), FakeLink(4, OTHER)
    relay.others = [third, fourth]
    onward = relay.opened(marking=SENSITIVE)
    relay.hear(relay.b, PathRefuse(SESSION, Code.REFUSED, "marking", B.uri, onward.label))
    (again,) = third.take()
    assert isinstance(again, PathOpen)
    assert (again.marking, again.via, again.source) == (SENSITIVE, (ME.uri,), A.uri)
    assert relay.a.take() == []
    assert len(relay.relay_paths) == 1
    relay.hear(third, PathRefuse(SESSION, Code.REFUSED, "not_a_member", OTHER.uri, again.label))
    assert relay.a.take() == [PathRefuse(SESSION, Code.REFUSED, "not_a_member", OTHER.uri, LABEL)]
    assert fourth.take() == []
    assert len(relay.relay_paths) == 0


def test_the_links_that_are_tried_are_bounded(relay: Relay) -> None:
    relay.others = [FakeLink(number, OTHER) for number in range(3, 3 + 2 * LINKS_TRIED_MOST)]
    relay.hear(relay.a, asked(marking=SENSITIVE))
    tried = 0
    for link in (relay.b, *relay.others):
        for message in link.take():
            assert isinstance(message, PathOpen)
            tried += 1
            relay.hear(link, PathRefuse(SESSION, Code.REFUSED, "marking", OTHER.uri, message.label))
    assert tried == LINKS_TRIED_MOST
    (answer,) = relay.a.take()
    assert isinstance(answer, PathRefuse)
    assert answer.reason == "marking"
    assert len(relay.relay_paths) == 0


@pytest.mark.parametrize("left", [Clearances(bearers={"internet": 1}), Clearances(organisations={HUB: 1})])
def test_paths_that_are_no_longer_cleared_end_on_both_sides(relay: Relay, left: Clearances) -> None:
    relay.clearances = Clearances(bearers={"internet": 2}, organisations={HUB: 2})
    relay.behind[relay.b.number] = (OTHER.uri,)
    opened = relay.accepted(marking=SENSITIVE)
    relay.relay_paths.judge()
    assert len(relay.relay_paths) == 1
    relay.clearances = left
    relay.relay_paths.judge()
    assert relay.plane.paths == {}
    for link, label in opened.items():
        assert link.take() == [PathClose(SESSION, Code.REFUSED, label)]


def test_the_marking_of_a_path_is_handed_over_and_one_that_is_not_known_is_the_highest(relay: Relay) -> None:
    relay.accepted(marking=SENSITIVE)
    (handover,), labels, last = relay.relay_paths.to_handover()
    assert (handover.marking, handover.via) == (SENSITIVE, ())
    said = msgspec.structs.asdict(handover)
    del said["marking"], said["via"]  # an older version does not say
    for record, left in ((handover, 1), (msgspec.convert(said, RelayPathHandover), 0)):
        heir = Relay()
        heir.plane.paths = dict(relay.plane.paths)
        heir.relay_paths.restore([record], labels, last, {1: heir.a, 2: heir.b})  # type: ignore[dict-item]
        heir.clearances = Clearances(bearers={"internet": SENSITIVE})
        heir.relay_paths.judge()
        assert len(heir.relay_paths) == left
