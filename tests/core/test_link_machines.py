"""Machines that do anything in any order: links that are cut, and a relay beside the list of what it should say.

Whatever they do, the core takes what the reference sends, and every byte comes out once and in order.
"""

import itertools

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.native.probe_edge import Application, Edge
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.support.machines import MACHINE
from tests.support.relay_between import (
    FAR,
    FAR_IN,
    FAR_OUT,
    NEAR_IN,
    NEAR_OUT,
    UNKNOWN,
    UNREACHABLE,
    Between,
    Side,
    lost,
)
from tests.support.relay_between import frame as relayed
from tests.support.virtual_wires import World


class Links(RuleBasedStateMachine):
    """Two edges, with a relay between or not; wires that are cut at any byte, keys that step, time that passes."""

    @initialize(relays=st.integers(0, 1), suite=st.sampled_from([1, 2, 3]), frames=st.sampled_from([3, 20, 1 << 20]))
    def begin(self, relays: int, suite: int, frames: int) -> None:
        self.world = World(suite=suite)
        self.edges: list[Edge] = [self.world.edge(), self.world.edge()]
        nodes = [self.edges[0], *[self.world.relay() for _ in range(relays)], self.edges[1]]
        for node in nodes:
            node.limits(frames, 1 << 40, 1 << 60)
        self.links = [self.world.link(one, other) for one, other in itertools.pairwise(nodes)]
        self.session = self.world.session(*self.edges, self.links, cap=1 << 19)
        self.world.service(*self.edges, self.session)
        self.streams: list[list[Application]] = []
        self.sent: list[list[bytes]] = []
        self.cuts = 0

    def find(self) -> None:
        """Pair the applications that targets are with those that opened, in order."""
        for at, there in enumerate(self.edges[1].answered):
            if len(self.streams[at]) == 1:
                self.streams[at].append(there)

    @rule()
    def connects(self) -> None:
        here = self.edges[0].connect()
        assert here is not None
        self.streams.append([here])
        self.sent.append([b"", b""])

    @rule(at=st.integers(0, 9), end=st.integers(0, 1), size=st.integers(1, 60_000))
    def writes(self, at: int, end: int, size: int) -> None:
        self.find()
        if self.streams and len(self.streams[at % len(self.streams)]) > end:
            at %= len(self.streams)
            data = bytes([at, end, len(self.sent[at][end]) % 256]) * (size // 3 + 1)
            self.edges[end].write(self.streams[at][end], data)
            self.sent[at][end] += data

    @rule(which=st.integers(0, 1), way=st.integers(0, 1), limit=st.integers(0, 70_000), piece=st.integers(1, 70_000))
    def some_bytes_arrive(self, which: int, way: int, limit: int, piece: int) -> None:
        wire = self.links[which % len(self.links)].wires[0]
        self.world.turn()
        wire.collect()
        wire.deliver(way, limit, piece=piece)

    @rule()
    def all_arrives(self) -> None:
        self.world.settle()

    @rule(seconds=st.sampled_from([0.03, 0.5]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @precondition(lambda self: self.cuts < 15)
    @rule(which=st.integers(0, 1), late=st.booleans())
    def a_wire_is_cut(self, which: int, late: bool) -> None:
        self.cuts += 1
        link = self.links[which % len(self.links)]
        link.wires[0].cut()
        if late:
            self.world.settle()
        link.open()

    @invariant()
    def bytes_come_out_as_they_went_in(self) -> None:
        self.find()
        for streams, sent in zip(self.streams, self.sent, strict=True):
            for end, application in enumerate(streams):
                assert sent[1 - end].startswith(application.received)

    @invariant()
    def the_session_lives(self) -> None:
        for edge in self.edges:
            assert edge.has_session(self.session)
            assert int(str(edge.flow(self.session)["retained_bytes"])) <= 1 << 19

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.settle()
        self.world.wait(6)
        self.find()
        for streams, sent in zip(self.streams, self.sent, strict=True):
            assert [bytes(streams[1].received), bytes(streams[0].received)] == sent
        assert {edge.flow(self.session)["state"] for edge in self.edges} == {"UP"}


class Relays(RuleBasedStateMachine):
    """A relay between two lanes of the reference, beside a list of what it should pass on and say."""

    def __init__(self) -> None:
        super().__init__()
        self.between = Between()
        self.far: Side | None = self.between.far
        self.number = 0
        self.lanes = 0
        self.is_lost = False
        self.due: list[FlowFrame] = []
        self.said: list[tuple[int, int]] = []

    def send(self, frame: FlowFrame, piece: int) -> None:
        self.between.near.say(NEAR_IN, frame)
        self.between.near.flush(piece=piece)
        if frame.type is Type.RESUME:
            self.is_lost = False
        if self.is_lost:
            return
        if self.far is None:
            self.is_lost = True
            self.said.append((NEAR_IN, UNREACHABLE))
        else:
            self.due.append(frame)

    @rule(size=st.integers(8, 400), piece=st.integers(1, 500))
    def a_frame_comes(self, size: int, piece: int) -> None:
        self.number += 1
        self.send(relayed(self.number, size), piece)

    @rule(piece=st.integers(1, 100))
    def a_resume_comes(self, piece: int) -> None:
        self.number += 1
        self.send(relayed(self.number, 16, Type.RESUME), piece)

    @rule(label=st.integers(50, 60))
    def an_unknown_label_comes(self, label: int) -> None:
        if len(self.said) < 60:
            self.between.near.say(label, relayed(0))
            self.between.near.flush()
            self.said.append((label, UNKNOWN))

    @rule(code=st.integers(0, 10))
    def the_far_side_says_lost(self, code: int) -> None:
        if self.far is not None:
            self.far.other.send(Type.LOST, body_encode(Type.LOST, flow=FAR_OUT, code=code))
            self.far.flush()
            if not self.is_lost:
                self.said.append((NEAR_IN, code))
            self.is_lost = True

    @rule()
    def a_frame_goes_back(self) -> None:
        if self.far is not None:
            self.far.say(FAR_IN, relayed(1))
            self.far.flush()
            heard = [event for event in self.hear_near() if event.type is not Type.LOST]
            assert [(event.label, event.frame) for event in heard] == [(NEAR_OUT, relayed(1))]

    @precondition(lambda self: self.far is not None)
    @rule()
    def the_far_lane_is_cut(self) -> None:
        assert self.far is not None
        self.hear_far()
        self.far.lane.cut()
        self.far = None
        if not self.is_lost:
            # Whatever was in that lane is gone, so it is said at once.
            self.said.append((NEAR_IN, UNREACHABLE))
        self.is_lost = True

    @precondition(lambda self: self.far is None)
    @rule()
    def the_far_lane_is_back(self) -> None:
        self.lanes += 1
        self.far = self.between.open(FAR, self.lanes)

    def hear_near(self) -> list[object]:
        heard = self.between.near.hear()
        for event in heard:
            if event.type is Type.LOST:
                assert lost(event) == self.said.pop(0)
        return list(heard)

    @rule()
    def hear_far(self) -> None:
        """What comes out is what went in, and nothing else."""
        if self.far is not None:
            heard = self.far.hear()
            assert [(event.label, event.frame) for event in heard] == [(FAR_OUT, frame) for frame in self.due]
            self.due.clear()

    def teardown(self) -> None:
        self.hear_near()
        assert self.said == []
        self.hear_far()
        self.between.relay.turn()


TestLinks = Links.TestCase
TestLinks.settings = MACHINE
TestRelays = Relays.TestCase
TestRelays.settings = MACHINE
