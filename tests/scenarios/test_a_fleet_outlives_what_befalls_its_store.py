"""A fleet with a store of three members: whatever befalls it, no decision contradicts another, and no stream ends.

Three relays, an exporter and nineteen edges of one organisation that move one service together, step by step, while
members of the store are killed, emptied and compacted, nodes are cut off from it or die, and old values come again.
Applications connect at all edges all the time, streams over the gateway stay open, and a checker compares what is in
force at each edge with the epochs.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta

import pytest

from pcgrelay.cutover.shared import SharedState
from pcgrelay.errors import PcgrelayError
from tests.scenarios.kit.nodes import Node
from tests.scenarios.kit.shared_fleet import (
    ROOT,
    STATE_KEY,
    STEPS,
    Applications,
    Checker,
    SharedFleet,
    Steady,
    act,
    shared_fleet,
    told,
)
from tests.support.bundles import Signer
from tests.support.shared_cut_overs import opened
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_all, pytest.mark.timeout(900)]

EDGES = 19
STREAMS = 6
# What is asked for is in the names; a machine that does other things beside may take so much longer.
SLACK_S = 8.0
Measured = Callable[..., None]


class Stage:
    """The fleet, and what runs beside it."""

    def __init__(self, fleet: SharedFleet, checker: Checker, applications: Applications, steady: list[Steady]) -> None:
        self.fleet, self.checker, self.applications, self.steady = fleet, checker, applications, steady

    def check(self) -> None:
        assert self.checker.contradictions == []
        assert self.applications.faults == []
        assert [stream.fault for stream in self.steady if stream.fault] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        fleet = stack.enter_context(shared_fleet(tmp_path_factory.mktemp("fleet"), EDGES))
        fleet.start(again=False)
        checker = stack.enter_context(Checker(fleet.edges))
        applications = stack.enter_context(Applications(list(fleet.doors.values())))
        doors = list(fleet.echo_doors.values())[1 : 1 + STREAMS]
        steady = [stack.enter_context(Steady(door)) for door in doors]
        fleet.go_back()
        yield Stage(fleet, checker, applications, steady)


@pytest.fixture
def moving(whole: Stage) -> Iterator[Stage]:
    """It is under way when a test begins, and back when it has ended; nothing went wrong meanwhile."""
    whole.fleet.start(again=True)
    whole.fleet.await_steps(1, 60)
    yield whole
    whole.check()
    whole.fleet.go_back()
    whole.check()


def is_deciding(edge: Node) -> bool:
    shared = told(edge).shared
    return shared is not None and shared.decides


def decider(fleet: SharedFleet) -> Node:
    """The edge that decides."""
    until(lambda: sum(map(is_deciding, fleet.edges)) == 1, 20)
    return next(edge for edge in fleet.edges if is_deciding(edge))


def record(fleet: SharedFleet) -> SharedState:
    value = fleet.etcd.get(STATE_KEY)
    assert value is not None
    return opened(value)


def answering(stage: Stage) -> None:
    """Applications and streams go on from here."""
    before = stage.applications.answers, [stream.answered for stream in stage.steady]
    until(lambda: stage.applications.answers > before[0] + 50, 60)
    until(lambda: all(s.answered > b for s, b in zip(stage.steady, before[1], strict=True)), 60)


def test_all_edges_make_each_step_within_a_second(moving: Stage, measured: Measured) -> None:
    moving.fleet.await_steps(4, 90)
    moments: dict[tuple[int, int], list[datetime]] = defaultdict(list)
    for edge in moving.fleet.edges:
        status = told(edge)
        assert status.shared is not None
        for each in status.decisions:
            if each.what == "stepped":
                moments[status.shared.run, each.step].append(datetime.fromisoformat(each.at))
    spreads = [max(found) - min(found) for found in moments.values() if len(found) == EDGES]
    assert len(spreads) >= 4
    measured(steps=len(spreads), widest_ms=round(max(spreads) / timedelta(milliseconds=1)))
    assert sorted(spreads)[len(spreads) // 2] < timedelta(seconds=1)
    assert max(spreads) < timedelta(seconds=SLACK_S)


def test_the_leader_of_the_store_is_killed(moving: Stage, measured: Measured) -> None:
    etcd = moving.fleet.etcd
    leader = etcd.leader()
    etcd.kill(leader)
    began = time.monotonic()
    moving.fleet.await_steps(2, 60)
    measured(two_steps_s=round(time.monotonic() - began, 1))
    etcd.run(leader)
    until(lambda: etcd.is_well(leader), 60)
    answering(moving)


def is_seen_everywhere(fleet: SharedFleet, relay: Node, nodes: list[Node]) -> bool:
    """Whether all of them show it. A node begins to follow the others when it is asked, so each one is asked."""
    views = [fleet.seen_at(node) for node in nodes]
    return all(relay.dotted in view for view in views)


def test_a_dead_relay_is_gone_from_every_view(moving: Stage, measured: Measured) -> None:
    fleet = moving.fleet
    relay, others = fleet.relays[1], [node for node in fleet.nodes if node is not fleet.relays[1]]
    until(lambda: is_seen_everywhere(fleet, relay, others), 30)
    began = time.monotonic()
    relay.kill()

    def is_linked(node: Node) -> bool:
        return any(link.state == "up" and relay.dotted in link.peer for link in node.status().links)

    until(lambda: not any(is_linked(node) for node in others), 1 + SLACK_S)
    by_link = time.monotonic() - began
    until(lambda: not any(relay.dotted in fleet.seen_at(node) for node in others), 7 + SLACK_S)
    by_lease = time.monotonic() - began
    measured(by_link_s=round(by_link, 2), by_lease_s=round(by_lease, 2))
    answering(moving)
    fleet.await_steps(1, 60)
    relay.start()
    fleet.stage.await_well(seconds=120)


def test_a_relay_without_the_store_carries_on(moving: Stage, measured: Measured, pytestconfig: pytest.Config) -> None:
    fleet, relay = moving.fleet, moving.fleet.cut_relay
    knew = fleet.seen_at(relay)
    fleet.relay_line.cut()
    cut = time.monotonic()
    until(lambda: not fleet.lives_at(relay), 30)
    # Its lease ends, and its links stay; what it knew is there still.
    until(lambda: relay.dotted not in fleet.seen_at(fleet.kent), 7 + SLACK_S)
    by_lease = time.monotonic() - cut
    fleet.await_steps(1, 60)
    while time.monotonic() - cut < pytestconfig.getoption("--store-cut"):
        answering(moving)
        assert fleet.seen_at(relay) == knew
        assert all(link.state == "up" for link in relay.status().links)
    fleet.relay_line.mend()
    until(lambda: fleet.lives_at(relay), 30)
    until(lambda: relay.dotted in fleet.seen_at(fleet.kent), 30)
    measured(by_lease_s=round(by_lease, 2))


def test_an_edge_without_the_store_keeps_its_share_and_takes_the_newest_state(moving: Stage) -> None:
    fleet, edge = moving.fleet, moving.fleet.cut_edge
    others = [each for each in fleet.edges if each is not edge]
    fleet.edge_line.cut()
    until(lambda: not fleet.lives_at(edge), 30)
    until(lambda: not is_deciding(edge), 10)
    share = told(edge).share
    fleet.await_steps(2, 90, others)
    assert told(edge).share == share
    fleet.edge_line.mend()
    until(lambda: told(edge).step >= min(told(each).step for each in others), 30)


def test_who_goes_back_without_the_store_takes_all_with_it_later(moving: Stage) -> None:
    fleet, edge = moving.fleet, moving.fleet.cut_edge
    others = [each for each in fleet.edges if each is not edge]
    fleet.edge_line.cut()
    until(lambda: not fleet.lives_at(edge), 30)
    assert act(edge, "back").phase == "back"
    assert (told(edge).share, told(edge).phase) == (0.0, "back")
    fleet.await_steps(1, 90, others)
    fleet.edge_line.mend()
    fleet.await_phase("back", 30)


def test_another_edge_decides_when_the_first_dies(moving: Stage, measured: Measured) -> None:
    fleet = moving.fleet
    first = decider(fleet)
    others = [edge for edge in fleet.edges if edge is not first]
    # Its own applications and streams end with it.
    moving.steady[:] = [stream for stream in moving.steady if stream.door != fleet.echo_doors[first.name]]
    with moving.applications.without(fleet.doors[first.name]):
        first.kill()
        began = time.monotonic()
        until(lambda: any(is_deciding(edge) for edge in others), 3 + SLACK_S)
        measured(decides_again_s=round(time.monotonic() - began, 2))
        fleet.await_steps(1, 90, others)
        first.start()
        fleet.stage.await_well(first, seconds=120)
        until(lambda: told(first).step >= min(told(edge).step for edge in others), 30)


def test_a_member_of_the_store_loses_its_disk(moving: Stage) -> None:
    etcd = moving.fleet.etcd
    for member in list(etcd.members):
        if member is not etcd.leader():
            etcd.wipe(member)
            break
    moving.fleet.await_steps(1, 60)
    answering(moving)


def test_history_is_dropped_under_who_watches(moving: Stage) -> None:
    fleet, edge = moving.fleet, moving.fleet.cut_edge
    fleet.edge_line.cut()
    fleet.await_steps(1, 90, [each for each in fleet.edges if each is not edge])
    fleet.etcd.compact()
    fleet.edge_line.mend()
    fleet.await_steps(1, 60)
    answering(moving)


def test_an_old_value_is_played_again(moving: Stage) -> None:
    fleet = moving.fleet
    old = fleet.etcd.get(STATE_KEY)
    assert old is not None
    fleet.await_steps(2, 60)
    newest = record(fleet)
    fleet.etcd.put(STATE_KEY, old)
    fleet.await_steps(1, 60)
    assert record(fleet).epoch > newest.epoch
    assert record(fleet).step > newest.step or record(fleet).phase.value == "arrived"


def epoch_at(node: Node) -> int:
    try:
        bundle = node.status().bundle
    except PcgrelayError:
        return 0
    return 0 if bundle is None else bundle.epoch


def test_a_bundle_is_everywhere_soon_with_the_store_and_without(whole: Stage, measured: Measured) -> None:
    fleet = whole.fleet
    signer = Signer(fleet.stage.pki)
    began = time.monotonic()
    fleet.etcd.put(f"{ROOT}bundle", signer.bundle(1))
    until(lambda: all(epoch_at(node) == 1 for node in fleet.nodes), 5 + SLACK_S)
    with_store = time.monotonic() - began
    for member in fleet.etcd.members:
        fleet.etcd.kill(member)
    until(lambda: not any(fleet.lives_at(node) for node in fleet.nodes), 60)
    file = fleet.stage.folder / "realm.bundle"
    file.write_bytes(signer.bundle(2))
    began = time.monotonic()
    fleet.bring(fleet.relays[0], file)
    until(lambda: all(epoch_at(node) == 2 for node in fleet.nodes), 5 + SLACK_S)
    measured(with_store_s=round(with_store, 2), without_s=round(time.monotonic() - began, 2))
    for member in fleet.etcd.members:
        fleet.etcd.run(member)
    until(lambda: all(fleet.lives_at(node) for node in fleet.nodes), 60)
    answering(whole)
    whole.check()


def test_at_the_end_nothing_had_contradicted_anything(whole: Stage, measured: Measured) -> None:
    measured(
        looks=whole.checker.looks,
        epochs=len(whole.checker.decisions),
        connections=whole.applications.answers,
        answers_of_streams=sum(stream.answered for stream in whole.steady),
        longest_s=round(max(stream.longest_s for stream in whole.steady), 2),
    )
    assert whole.checker.looks > 10 * EDGES
    assert len(whole.checker.decisions) > len(STEPS)
    whole.check()
