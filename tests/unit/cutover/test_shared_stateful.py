"""Five edges, a store that fails, deciders that are cut off: one decision for each epoch, forward only by the seat."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from pcgrelay.cutover import shared
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.shared import Joining, Known, Mine, SharedState, Write
from tests.support.machines import examples

SERVICE, PLAN, STEPS = "custody@kent.police.example", "ab" * 32, 3
EDGES = 5
LEASE_S = 2.0
numbers = st.integers(0, EDGES - 1)


@dataclass
class Store:
    """What etcd does with two keys: revisions that rise, guarded writes, a lease."""

    revision: int = 0
    record: SharedState | None = None
    changed: int = 0  # revision of the record; 0: there is none
    seat: str = ""
    token: int = 0
    ends_s: float = 0.0
    has_lost: bool = False  # then what it lost is put back by anybody
    history: list[tuple[int, SharedState | None]] = field(default_factory=list)

    def expire(self, now_s: float) -> None:
        if self.seat and now_s >= self.ends_s:
            self.seat, self.token = "", 0

    def claim(self, node: str, now_s: float) -> int:
        """Take the seat, or renew it; the token, or nothing if another has it."""
        self.expire(now_s)
        if not self.seat:
            self.revision += 1
            self.seat, self.token = node, self.revision
        if self.seat != node:
            return 0
        self.ends_s = now_s + LEASE_S
        return self.token

    def write(self, write: Write, now_s: float) -> bool:
        self.expire(now_s)
        if write.revision != self.changed or (write.seat and write.seat != self.token):
            return False
        self.revision += 1
        if not write.seat and self.record is not None and not self.has_lost:
            assert shared.share_rank(write.record) <= shared.share_rank(self.record), "forward without the seat"
        self.record, self.changed = write.record, self.revision
        self.history.append((self.revision, self.record))
        return True


@dataclass
class Edge:
    """One edge: what it keeps on its disk, and what it deals."""

    name: str
    known: Known = field(default_factory=Known)
    mine: Mine = field(default_factory=Mine)
    phase: Phase = Phase.PLANNED
    step: int = 0
    token: int = 0
    is_cut: bool = False
    is_down: bool = False

    @property
    def rank(self) -> int:
        return shared.share_rank(told(self.phase, self.step)) if self.phase is not Phase.PLANNED else 0

    def see(self, record: SharedState | None, revision: int, now_s: float) -> None:
        self.known, _ = shared.take(self.known, SERVICE, record, revision, now_s)
        self.mine = shared.settle(self.mine, self.known)
        if shared.has_ended(self.mine, self.known) and self.phase is not Phase.PLANNED:
            self.phase = Phase.BACK
        followed = shared.followed(self.mine, self.known)
        if followed is not None and self.mine.run:
            self.phase, self.step = followed.phase, followed.step


def told(phase: Phase, step: int, node: str = "x") -> SharedState:
    return SharedState(
        service=SERVICE,
        plan_sha256=PLAN,
        run=1,
        epoch=1,
        phase=phase,
        step=step,
        node=node,
        at="",
        what="",
        sentence="",
    )


class Fleet(RuleBasedStateMachine):
    """Edges of one organisation that move one service."""

    may_lose = False  # whether the store loses what it had

    @initialize()
    def begin(self) -> None:
        self.store = Store()
        self.now_s = 1_000.0
        self.edges = [Edge(f"met.police.example/met-{number}") for number in range(EDGES)]
        self.dealt: dict[int, tuple[str, int, Phase, int]] = {}
        self.ended: set[tuple[str, int]] = set()  # edges with the runs in which they went back

    def reaches(self, edge: Edge) -> bool:
        return not (edge.is_cut or edge.is_down)

    def write(self, edge: Edge, write: Write, *, is_heard: bool) -> None:
        if self.store.write(write, self.now_s) and is_heard:
            edge.see(write.record, self.store.changed, self.now_s)

    @rule(number=numbers, is_heard=st.sampled_from([True, True, True, False]))
    def look(self, number: int, is_heard: bool) -> None:
        """See the store as it is, tell what is to be told, keep the seat."""
        edge = self.edges[number]
        if not self.reaches(edge):
            return
        edge.see(self.store.record, self.store.changed, self.now_s)
        write = shared.to_tell(edge.mine, edge.known, edge.name)
        if write is not None:
            self.write(edge, write, is_heard=is_heard)
        if edge.mine.run and edge.phase in {Phase.SOAKING, Phase.PAUSED}:
            edge.token = self.store.claim(edge.name, self.now_s)

    @rule(number=numbers, back=st.integers(1, 4))
    def see_late(self, number: int, back: int) -> None:
        """An old event of the watch, or an old value that somebody plays again."""
        edge = self.edges[number]
        if self.reaches(edge) and self.store.history:
            revision, record = self.store.history[-min(back, len(self.store.history))]
            edge.see(record, revision, self.now_s)

    @rule(number=numbers, is_heard=st.booleans())
    def step_forward(self, number: int, is_heard: bool) -> None:
        """A gate opens at an edge that thinks it has the seat."""
        edge = self.edges[number]
        if edge.is_down or edge.phase is not Phase.SOAKING:
            return
        if shared.why_no_step(edge.mine, edge.known, edge.token, self.now_s):
            return
        last = edge.known.record
        assert last is not None
        following = structs.replace(last, step=last.step + 1)
        if following.step == STEPS:
            following = structs.replace(last, phase=Phase.ARRIVED)
        if self.reaches(edge):
            self.write(edge, shared.step_forward(edge.known, edge.token, following), is_heard=is_heard)

    @rule(number=numbers)
    def start(self, number: int) -> None:
        """Somebody starts it at an edge, for the first time or again."""
        edge = self.edges[number]
        if not self.reaches(edge) or edge.mine.narrowed is not None:
            return
        edge.see(self.store.record, self.store.changed, self.now_s)
        what = shared.joining(edge.known, edge.mine.run, PLAN)
        if what is Joining.NEW_RUN:
            token = self.store.claim(edge.name, self.now_s)
            run = 1 if edge.known.record is None else edge.known.record.run + 1
            record = structs.replace(told(Phase.SOAKING, 0, edge.name), run=run)
            if token and self.store.write(shared.step_forward(edge.known, token, record), self.now_s):
                edge.token, edge.mine = token, Mine(run)
                edge.see(self.store.record, self.store.changed, self.now_s)
        elif what is Joining.JOIN:
            assert edge.known.record is not None
            edge.mine = Mine(edge.known.record.run)
            edge.see(self.store.record, self.store.changed, self.now_s)

    @rule(number=numbers, phase=st.sampled_from([Phase.BACK, Phase.BACK, Phase.PAUSED]))
    def narrow(self, number: int, phase: Phase) -> None:
        """An alarm, or a person; whatever the store does, it is in force at once."""
        edge = self.edges[number]
        if edge.is_down or edge.phase not in {Phase.SOAKING, Phase.ARRIVED, Phase.PAUSED}:
            return
        if phase is Phase.PAUSED and edge.phase is not Phase.SOAKING:
            return
        edge.phase = phase
        edge.mine = shared.narrow(edge.mine, edge.known, told(phase, edge.step, edge.name))
        assert phase is not Phase.BACK or edge.rank == 0
        if phase is Phase.BACK:
            self.ended.add((edge.name, edge.mine.run))

    @rule(number=numbers, is_cut=st.booleans())
    def cut(self, number: int, is_cut: bool) -> None:
        self.edges[number].is_cut = is_cut

    @rule(number=numbers, is_down=st.sampled_from([True, False, False]))
    def kill_or_restart(self, number: int, is_down: bool) -> None:
        """What is on the disk stays, the seat does not."""
        edge = self.edges[number]
        edge.is_down, edge.token = is_down, 0

    @rule(seconds=st.sampled_from([0.1, 0.5, 3.0, 15.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.store.expire(self.now_s)

    @rule()
    def settle_down(self) -> None:
        """All reach the store again: they agree soon, and a step back of any of them is that of all."""
        for edge in self.edges:
            edge.is_cut = edge.is_down = False
        before = {edge.name: (edge.phase, edge.mine.run) for edge in self.edges}
        for _ in range(3):
            for number in range(EDGES):
                self.look(number, True)
        joined = [edge for edge in self.edges if edge.known.record and edge.mine.run == edge.known.record.run]
        assert len({(edge.phase, edge.step, edge.known.record) for edge in joined}) <= 1
        for edge in joined:
            if any(before[other.name] == (Phase.BACK, edge.mine.run) for other in self.edges):
                assert edge.phase is Phase.BACK

    @invariant()
    def one_decision_for_an_epoch(self) -> None:
        for edge in getattr(self, "edges", []):
            record = shared.followed(edge.mine, edge.known)
            if record is not None and edge.mine.run and not self.may_lose:
                assert self.dealt.setdefault(record.epoch, record.essence) == record.essence

    @invariant()
    def no_edge_deals_more_than_its_epoch_says(self) -> None:
        for edge in getattr(self, "edges", []):
            record = edge.known.record
            if edge.mine.run and record is not None and record.run == edge.mine.run:
                assert edge.rank <= max(shared.share_rank(record), 0)

    @invariant()
    def who_went_back_stays_back_in_that_run(self) -> None:
        for edge in getattr(self, "edges", []):
            if (edge.name, edge.mine.run) in self.ended:
                assert edge.rank == 0


class ForgetfulFleet(Fleet):
    """The same with a store that is emptied, or set back to what it had."""

    may_lose = True

    @rule()
    def empty(self) -> None:
        self.store.record, self.store.changed, self.store.seat, self.store.token = None, 0, "", 0
        self.store.history.clear()
        self.store.has_lost = True

    @rule(back=st.integers(1, 4))
    def set_back(self, back: int) -> None:
        """Somebody writes an old value again."""
        if self.store.history:
            _, record = self.store.history[-min(back, len(self.store.history))]
            self.store.has_lost = True
            self.store.revision += 1
            self.store.record, self.store.changed = record, self.store.revision


FleetTest = Fleet.TestCase
FleetTest.settings = settings(max_examples=examples(60), stateful_step_count=50, deadline=None)
ForgetfulFleetTest = ForgetfulFleet.TestCase
ForgetfulFleetTest.settings = settings(max_examples=examples(60), stateful_step_count=50, deadline=None)
