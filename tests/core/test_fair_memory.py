"""Who acknowledges nothing fills no more of the memory than is left for others, however many sessions it has."""

from __future__ import annotations

import pytest

from tests.native.probe_edge import Application, Edge
from tests.support.virtual_wires import Link, World

BUSY, BUDGET = 3, 24
SESSION_DOWN = 4
MEGABYTE = 1 << 20
MEMORY = 8 * MEGABYTE
CAP = MEGABYTE
STREAMS = 5  # of a session: more credit than its cap


class Hall:
    """An edge that exports, and members that call it, each over a link of its own."""

    def __init__(self, memory: int = MEMORY) -> None:
        self.world = World()
        self.edge = self.world.edge(memory=memory, reserve=MEGABYTE)
        self.grants: list[tuple[int, int]] = []

    def member(self, organisation: int, sessions: int = 1, cap: int = CAP) -> Member:
        return Member(self, organisation, sessions, cap)


class Member:
    """All that one organisation has: an edge, a link, sessions, and streams whose servers are the exporter's."""

    def __init__(self, hall: Hall, organisation: int, sessions: int, cap: int = CAP) -> None:
        self.hall, self.edge = hall, hall.world.edge(memory=4096 * MEGABYTE)
        self.link: Link = hall.world.link(self.edge, hall.edge)
        self.sessions = [
            hall.world.session(self.edge, hall.edge, [self.link], cap=cap, organisation=organisation)
            for _ in range(sessions)
        ]
        hall.grants += [(session, 0) for session in self.sessions]
        hall.edge.publish([(0, b"s")], [], sorted(hall.grants))

    def streams(self, count: int) -> list[tuple[Application, Application]]:
        found = []
        for session in self.sessions:
            self.edge.publish([], [(0, b"s", [session])], [])
            for _ in range(count):
                here = self.edge.connect()
                assert here is not None
                before = len(self.hall.edge.answered)
                self.hall.world.settle()
                found.append((here, self.hall.edge.answered[before]))
        return found

    def be_mute(self) -> None:
        """Nothing that it says arrives any more, be it ACK or CREDIT; all that is sent to it does."""
        self.link.wires[0].stopped[0] = True


def fill(edge: Edge, streams: list[tuple[Application, Application]]) -> None:
    for _here, there in streams:
        edge.write(there, bytes(MEGABYTE))


@pytest.mark.parametrize("members", [1, 2, 4])
def test_others_are_served_beside_those_who_acknowledge_nothing(members: int) -> None:
    hall = Hall()
    honest = hall.member(100)
    ((here, there),) = honest.streams(1)
    mute = [hall.member(number, sessions=12 // members) for number in range(1, members + 1)]
    for member in mute:
        streams = member.streams(STREAMS)
        member.be_mute()
        fill(hall.edge, streams)
        hall.world.settle()
    if members < 4:
        # The first has a half, and who comes after it a half of what is left.
        assert hall.edge.memory[0] < MEMORY - (MEMORY >> members) + members * 150_000
    # With more of them, those who acknowledge nothing are ended one by one until an eighth is free.
    hall.world.wait(4)
    data = bytes(range(256)) * 16_384
    hall.edge.write(there, data, close=True)
    hall.world.wait(1)
    assert bytes(here.received) == data


def test_who_holds_too_much_opens_nothing_more_and_others_do() -> None:
    hall = Hall()
    honest, mute = hall.member(100), hall.member(1, sessions=12)
    fill(hall.edge, mute.streams(STREAMS))
    # It goes on speaking, but acknowledges nothing: what it says is held back until the memory is used.
    mute.be_mute()
    hall.world.settle()
    mute.link.wires[0].stopped[0] = False
    assert len(honest.streams(3)) == 3


@pytest.mark.parametrize("others", [0, 1])
def test_the_last_eighth_is_for_others_if_there_are_any(others: int) -> None:
    hall = Hall()
    for number in range(others):
        hall.member(100 + number)
    member = hall.member(1, sessions=12)
    for here, there in member.streams(30):
        hall.edge.reads(there, False)
        member.edge.write(here, bytes(MEGABYTE))
    hall.world.settle()
    assert hall.edge.memory[0] > MEMORY * 7 // 8
    answered = len(hall.edge.answered)
    assert member.edge.connect() is not None
    hall.world.settle()
    assert len(hall.edge.answered) == answered + (0 if others else 1)


def test_what_is_stuck_is_closed_where_nearly_all_is_used() -> None:
    """Many who hold a little each: the one that holds most and acknowledges nothing goes, one after another."""
    hall = Hall(6 * MEGABYTE)
    honest = hall.member(100)
    ((here, there),) = honest.streams(1)
    mute = [hall.member(number) for number in range(1, 13)]
    for member in mute:
        streams = member.streams(STREAMS)
        member.be_mute()
        fill(hall.edge, streams)
    hall.world.settle()
    assert hall.edge.memory[0] > 6 * MEGABYTE * 7 // 8
    hall.edge.events()
    hall.world.wait(1.9)
    assert all(hall.edge.has_session(member.sessions[0]) for member in mute)
    hall.world.wait(1.5)
    ended = [event for event in hall.edge.events() if event[0] == SESSION_DOWN]
    assert ended
    assert {(event[2], event[3]) for event in ended} == {(BUSY, BUDGET)}
    assert hall.edge.memory[0] < 6 * MEGABYTE * 7 // 8
    assert hall.edge.has_session(honest.sessions[0])
    hall.edge.write(there, bytes(MEGABYTE), close=True)
    hall.world.wait(1)
    assert len(here.received) == MEGABYTE


def test_who_acknowledges_now_and_then_is_not_closed() -> None:
    hall = Hall(6 * MEGABYTE)
    mute = [hall.member(number) for number in range(1, 13)]
    for member in mute:
        streams = member.streams(STREAMS)
        member.be_mute()
        fill(hall.edge, streams)
    hall.world.settle()
    for _ in range(6):
        hall.world.wait(1.5)
        for member in mute:
            member.link.wires[0].stopped[0] = False
        hall.world.settle()
        for member in mute:
            member.be_mute()
    assert all(hall.edge.has_session(member.sessions[0]) for member in mute)


def test_readers_that_stand_still_take_no_answers_from_their_organisation() -> None:
    """What applications are slow to take holds back nothing of what is read for the same organisation."""
    hall = Hall()
    hall.member(100)
    member = hall.member(1, sessions=3)
    stopped = member.streams(30)
    for here, there in stopped:
        hall.edge.reads(there, False)
        member.edge.write(here, bytes(MEGABYTE))
    hall.world.settle()
    (here, there), *_ = stopped
    assert hall.edge.memory[0] > MEMORY // 2
    hall.edge.write(there, b"answer")
    hall.world.wait(1)
    assert bytes(here.received) == b"answer"


# -- a long way -------------------------------------------------------------------------------------------------------

STEP_US = 10_000
ROUND_TRIP_STEPS = 20  # 200 ms
BYTES_EACH_STEP = 1_000_000  # 100 MB/s
LONG_MEMORY = 256 * MEGABYTE


class LongWay:
    """The link of a member, as long and as fast as said above."""

    def __init__(self, member: Member) -> None:
        self.member, self.wire = member, member.link.wires[0]
        self.later = [bytearray() for _ in range(ROUND_TRIP_STEPS)]

    def carry(self, streams: list[tuple[Application, Application]], steps: int) -> int:
        """How many bytes come to the applications meanwhile, whose servers have a little more than the way carries."""
        arrived = 0
        for _ in range(steps):
            for _here, there in streams:
                self.member.hall.edge.write(there, bytes(BYTES_EACH_STEP * 11 // 10 // len(streams)))
            self.member.hall.edge.turn()
            self.member.edge.turn()
            self.wire.collect()
            self.later.append(self.wire.under_way[0])
            self.wire.under_way[0] = self.later.pop(0)
            self.wire.deliver(0)
            self.wire.deliver(1, BYTES_EACH_STEP)
            self.member.hall.world.pass_time(STEP_US)
            for here, _there in streams:
                arrived += len(here.received)
                here.received.clear()  # all of it would be a gigabyte
        return arrived


def test_a_long_fast_flow_keeps_its_rate_beside_them() -> None:
    alone, beside = [], []
    for with_mute, rates in ((False, alone), (True, beside)):
        hall = Hall(LONG_MEMORY)
        honest = hall.member(100, cap=64 * MEGABYTE)
        streams = honest.streams(4)
        if with_mute:
            mute = hall.member(1, sessions=12, cap=32 * MEGABYTE)
            taken = mute.streams(90)
            mute.be_mute()
            for _here, there in taken:
                hall.edge.write(there, bytes(256 * 1024))
            hall.world.settle()
            assert hall.edge.memory[0] > LONG_MEMORY * 2 // 5
        way = LongWay(honest)
        # Windows take some round trips to grow.
        way.carry(streams, 450)
        rates.append(way.carry(streams, 100))
    assert alone[0] > 0.9 * 100 * BYTES_EACH_STEP
    assert beside[0] >= 0.95 * alone[0]
