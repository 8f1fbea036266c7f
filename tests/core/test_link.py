"""Lanes: confirm, liveness, steps of epoch, the end; against another lane of the core and against the reference."""

import pytest

from tests.native.probe_link import Node
from tests.reference.frames import Type, body_encode
from tests.reference.refusals import Reason, Refused
from tests.support.reference_peer import LINK, Peer
from tests.support.virtual_wires import Link, Wire, World

COUNT_PONGS_UNKNOWN = 20
EVENT_LANE_UP, EVENT_PEER_DRAINS = 1, 7
PING = body_encode(Type.PING, token=1)


def bare(*, suite: int = 1) -> tuple[World, Link, Wire]:
    """Two nodes with a lane between them that has not moved yet."""
    world = World(suite=suite)
    near, far = Node(), Node()
    world.nodes += [near, far]
    link = Link(world, 1, near, far, suite, 1)
    world.links.append(link)
    return world, link, link.open()


def up(*, suite: int = 1) -> tuple[World, Link, Wire]:
    world, link, wire = bare(suite=suite)
    world.settle()
    assert wire.is_up
    return world, link, wire


# -- confirm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [1, 2, 3])
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_lane_comes_up(suite: int, piece: int) -> None:
    _world, _link, wire = bare(suite=suite)
    wire.collect()
    for way in (0, 1):
        wire.deliver(way, piece=piece)
    assert wire.is_up
    for node in (wire.ends[0], wire.ends[1]):
        assert node.epochs == (0, 0)


def test_nothing_but_confirm_is_sent_before_the_peer_confirmed() -> None:
    world, link, wire = bare()
    near = wire.ends[0]
    first = near.take()
    assert len(first) == 88
    for _ in range(20):
        world.pass_time(400_000)
        link.nodes[0].turn()
    assert near.take() == b""


def test_a_lane_that_is_not_confirmed_in_time_is_closed() -> None:
    world, link, wire = bare()
    world.pass_time(10_000_000)
    link.nodes[0].turn()
    assert wire.ends[0].reason is None
    world.pass_time(1)
    link.nodes[0].turn()
    assert wire.ends[0].reason == "CONFIRM_TIMEOUT"


def test_a_newer_lane_takes_the_place_of_the_one_before() -> None:
    world, link, wire = up()
    other = link.open()
    world.settle()
    assert wire.ends[1].reason in ("REPLACED", "PEER_CLOSED")
    assert other.is_up
    assert other.ends[0].state == "UP"


def test_a_lane_that_is_confirmed_late_does_not_end_a_newer_one() -> None:
    """The dialler gave it up; what it had sent by then comes all the same."""
    world, link, given_up = bare()
    given_up.collect()
    other = link.open()
    other.collect()
    for way in (0, 1):
        other.deliver(way)
    assert other.is_up
    given_up.deliver(0)
    assert given_up.ends[1].reason == "REPLACED"
    world.settle()
    assert other.is_up
    events = link.nodes[1].events()
    assert [event[:4] for event in events if event[0] == EVENT_LANE_UP] == [(EVENT_LANE_UP, 1, 0, 1)]


def test_events_tell_that_a_lane_is_up() -> None:
    _world, link, _wire = up()
    for node in link.nodes:
        assert [event[:4] for event in node.events()] == [(EVENT_LANE_UP, 1, 0, 0)]


# -- liveness ---------------------------------------------------------------------------------------------------------


def test_an_idle_lane_lives() -> None:
    world, _link, wire = up()
    world.wait(30)
    assert wire.is_up


def test_silence_ends_a_lane_after_four_intervals() -> None:
    world, link, wire = up()
    near = link.nodes[0]
    for _ in range(39):
        world.pass_time(50_000)
        near.turn()
    assert wire.ends[0].state == "UP"
    for _ in range(2):
        world.pass_time(50_000)
        near.turn()
    assert wire.ends[0].reason == "SILENT"


def test_pings_have_a_budget() -> None:
    peer = Peer()
    for _ in range(100):
        peer.end.lane.send(Type.PING, PING, peer.now)
    peer.feed(bytes(peer.end.lane.out))
    peer.end.lane.out.clear()
    assert peer.lane.state == "UP"
    peer.wait(0.049)
    peer.end.lane.send(Type.PING, PING, peer.now)
    peer.feed(bytes(peer.end.lane.out))
    assert peer.lane.reason == "GLITCHES"


def test_pings_get_their_budget_back_whole() -> None:
    peer = Peer()
    for _ in range(3):
        for _ in range(100):
            peer.end.lane.send(Type.PING, PING, peer.now)
        peer.feed(bytes(peer.end.lane.out))
        peer.end.lane.out.clear()
        peer.wait(5)
        assert peer.lane.state == "UP"


def test_twenty_pings_a_second_go_on_for_ever() -> None:
    peer = Peer()
    for _ in range(2_000):
        peer.wait(0.05)
        peer.end.lane.send(Type.PING, PING, peer.now)
        peer.feed(bytes(peer.end.lane.out))
        peer.end.lane.out.clear()
        peer.end.receive(peer.lane.take(), peer.now)
    assert peer.lane.state == "UP"


def test_pings_are_answered_with_their_token() -> None:
    peer = Peer()
    token = body_encode(Type.PONG, token=0x1122334455667788)
    peer.send_lane(Type.PING, token)
    assert peer.arrivals[-1].type is Type.PONG
    assert peer.arrivals[-1].fields == {"token": 0x1122334455667788}


def test_an_unknown_pong_is_counted_and_no_fault() -> None:
    peer = Peer()
    peer.send_lane(Type.PONG, body_encode(Type.PONG, token=99))
    assert peer.edge.counted(COUNT_PONGS_UNKNOWN) == 1
    assert peer.lane.state == "UP"


def test_probes_without_an_answer_are_counted_as_lost() -> None:
    world, link, wire = up()
    near = wire.ends[0]
    world.wait(3)
    sent, lost = near.pings
    assert sent >= 5
    assert lost == 0
    found = []
    for _ in range(3):
        world.pass_time(500_000)
        link.nodes[0].turn()
        near.take()  # and nobody gets it
        found.append((near.pings[0] - sent, near.pings[1]))
    # One that is out for two intervals is lost.
    assert found == [(1, 0), (2, 0), (3, 1)]


def test_a_slow_lane_is_sealed_less_far_ahead() -> None:
    world, _link, wire = up()
    near = wire.ends[0]

    most, least = 262_144, 32_768

    def second(rate: int) -> int:
        """A second in which its socket is full from the beginning to the end."""
        near.pace(0, True)
        world.pass_time(1_000_000)
        return near.pace(rate, True)

    def burst(size: int) -> int:
        """A second in which its socket was full, and is not any more."""
        near.pace(size, True)
        world.pass_time(1_000_000)
        return near.pace(0, False)

    assert burst(1_000) == most
    assert second(10_000_000) == pytest.approx(100_000, rel=0.05)
    assert second(1_000) == least
    assert second(0) == least
    # What is not full shows no rate, and may be fast.
    assert [burst(1_000) for _ in range(4)] == [2 * least, 4 * least, most, most]
    assert second(1 << 40) == most
    # Within the tenth of a second in which it is measured nothing changes.
    near.pace(0, True)
    world.pass_time(90_000)
    assert near.pace(1, True) == most


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_padding_of_any_size_means_nothing(size: int) -> None:
    peer = Peer()
    peer.send_lane(Type.PADDING, bytes(size))
    peer.send_lane(Type.PING, PING)
    assert peer.arrivals[-1].type is Type.PONG


# -- steps of epoch ---------------------------------------------------------------------------------------------------


def test_a_lane_steps_by_frames_in_each_direction() -> None:
    world, link, wire = up()
    link.nodes[0].limits(5, 1 << 30, 1 << 60)
    near, far = wire.ends
    for _ in range(20):
        near.say(Type.PING, PING)
        world.settle()
    sent, received = near.epochs
    # CONFIRM and PINGs, each epoch five frames and the REKEY; far's PONGs are under its first epoch still.
    assert sent in (4, 5)
    assert received == 0
    assert far.epochs == (received, sent)


def test_a_lane_steps_by_bytes() -> None:
    world, link, wire = up()
    link.nodes[0].limits(1 << 20, 3_000, 1 << 60)
    for _ in range(10):
        wire.ends[0].say(Type.PADDING, bytes(1_000))
        world.settle()
    assert wire.ends[0].epochs[0] == wire.ends[1].epochs[1] == 3


def test_the_step_comes_before_what_waits() -> None:
    _world, link, wire = up()
    link.nodes[0].limits(5, 1 << 30, 1 << 60)
    for _ in range(50):
        wire.ends[0].say(Type.PING, PING)
    wire.collect()
    # One epoch has five frames and then the REKEY, though all of them waited together.
    assert wire.ends[0].epochs[0] >= 9
    wire.deliver(0)
    assert wire.ends[1].epochs[1] == wire.ends[0].epochs[0]


def steps(peer: Peer, count: int) -> None:
    for _ in range(count):
        peer.end.lane.rekey(0, peer.now)
    peer.feed(bytes(peer.end.lane.out))
    peer.end.lane.out.clear()


def test_steps_have_a_budget() -> None:
    peer = Peer()
    steps(peer, 100)
    assert peer.lane.state == "UP"
    peer.wait(0.049)
    steps(peer, 1)
    assert peer.lane.reason == "GLITCHES"


def test_steps_get_their_budget_back_whole() -> None:
    peer = Peer()
    for _ in range(3):
        steps(peer, 100)
        peer.wait(5)
        assert peer.lane.state == "UP"
    for _ in range(400):
        steps(peer, 1)
        peer.wait(0.05)
    assert peer.lane.state == "UP"


def test_a_lane_steps_no_more_often_than_its_peer_bears() -> None:
    world, link, wire = up()
    link.nodes[0].limits(1, 1 << 30, 1 << 60)
    near, far = wire.ends
    for _ in range(200):
        near.say(Type.PADDING, bytes(8))
    world.settle()
    assert near.epochs[0] == 20
    world.wait(1)
    for _ in range(200):
        near.say(Type.PADDING, bytes(8))
    world.settle()
    assert 30 <= near.epochs[0] <= 31
    assert far.epochs[1] == near.epochs[0]
    assert wire.is_up


def test_a_lane_steps_by_age() -> None:
    world, _link, wire = up()
    world.wait(119)
    assert wire.ends[0].epochs == (0, 0)
    world.wait(3)
    assert wire.ends[0].epochs == wire.ends[1].epochs == (1, 1)
    world.wait(120)
    assert wire.ends[0].epochs == (2, 2)


def test_a_lane_that_slept_past_the_hard_age_steps_first() -> None:
    world, _link, wire = up()
    world.pass_time(1_000_000_000)
    for end in wire.ends:
        end.say(Type.PING, PING)
    for _ in range(3):
        wire.carry()
    assert wire.is_up
    assert wire.ends[0].epochs == (1, 1)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_drain_and_close_are_told() -> None:
    world, link, wire = up()
    near, far = wire.ends
    link.nodes[1].events()
    near.say(Type.DRAIN, body_encode(Type.DRAIN, milliseconds=1234))
    world.settle()
    assert far.state == "DRAINING"
    assert [event[:3] for event in link.nodes[1].events()] == [(EVENT_PEER_DRAINS, 1, 1234)]
    far.feed(near.close(9))
    assert (near.reason, far.reason) == ("LOCAL_CLOSE", "PEER_CLOSED")


def test_a_refusal_is_told_by_close() -> None:
    peer = Peer()
    peer.end.lane.send(Type.REKEY, body_encode(Type.REKEY, next_epoch=9), peer.now)
    peer.feed(bytes(peer.end.lane.out))
    assert peer.lane.reason == "BAD_EPOCH"
    (arrival,) = peer.end.receive(peer.lane.said, peer.now)
    assert (arrival.type, arrival.fields) == (Type.CLOSE, {"code": 1})
    assert peer.end.lane.reason is Reason.PEER_CLOSED


def test_every_bit_on_the_way_is_seen() -> None:
    """A bit of a frame that is flipped anywhere: nothing of the frame is acted upon, and the lane ends."""
    for at in range(48 + 8):
        _world, link, wire = up()
        link.nodes[1].events()
        wire.ends[0].say(Type.DRAIN, bytes(4))
        wire.ends[0].say(Type.PING, PING)
        wire.collect()
        drain, ping = bytes(wire.under_way[0][-108:-56]), bytes(wire.under_way[0][-56:])
        assert len(drain) == 52
        for data in (drain[: min(at, 51)], bytes([drain[min(at, 51)] ^ 1]), drain[min(at, 51) + 1 :]):
            if wire.ends[1].state != "CLOSED":
                wire.ends[1].feed(data)
        assert wire.ends[1].reason == "BAD_TAG"
        assert link.nodes[1].events() == []
        assert ping


@pytest.mark.parametrize("order", [[0, 0], [1], [1, 0]], ids=["replayed", "one left out", "exchanged"])
def test_frames_out_of_order_do_not_open(order: list[int]) -> None:
    peer = Peer()
    frames = []
    for _ in range(2):
        peer.end.lane.send(Type.PING, PING, peer.now)
        frames.append(bytes(peer.end.lane.out))
        peer.end.lane.out.clear()
    for at in order:
        peer.feed(frames[at])
    assert peer.lane.reason == "BAD_TAG"


def test_a_replayed_lane_ends_at_confirm() -> None:
    """What was caught on one lane is nothing on the next, though preamble and secret were the link's."""
    _world, link, wire = bare()
    caught = wire.ends[0].take()
    wire.ends[1].feed(caught)
    assert wire.ends[1].state == "UP"
    other = link.open()
    other.ends[1].feed(caught)
    assert other.ends[1].reason == "BAD_TAG"


def test_a_link_without_such_number_has_no_lane() -> None:
    with pytest.raises(KeyError):
        Node().lane_start(LINK, index=0, number=0, secret=bytes(32))


@pytest.mark.parametrize("piece", [1, 13, 1 << 20])
def test_the_reference_hears_what_the_core_says(piece: int) -> None:
    peer = Peer(start=False)
    said = peer.lane.take()
    peer.end.lane.confirm()
    peer.feed(bytes(peer.end.lane.out))
    for at in range(0, len(said), piece):
        peer.end.lane.receive(said[at : at + piece])
    for _ in range(4):
        peer.wait(0.5)
        peer.edge.turn()
        said = peer.lane.take()
        for at in range(0, len(said), piece):
            peer.end.lane.receive(said[at : at + piece], peer.now)
    assert peer.end.lane.rx_count == 1 + 4
    with pytest.raises(Refused):
        peer.end.lane.receive(bytes(48))


# -- what has begun ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [1, 23, 24, 40])
def test_a_frame_that_has_begun_is_whole_in_time_or_the_lane_ends(begun: int) -> None:
    """A byte now and then is no silence, and would hold the lane and a buffer for ever."""
    world, link, wire = up()
    near, far = wire.ends
    link.nodes[1].turn()
    far.take()
    near.say(Type.PADDING, bytes(60_000))
    data = near.take()
    far.feed(data[:begun])
    for at in range(begun, begun + 29):
        world.pass_time(1_000_000)
        far.feed(data[at : at + 1])
        link.nodes[1].turn()
        assert far.reason is None
    for at in range(begun + 29, begun + 32):
        world.pass_time(1_000_000)
        if far.reason is None:
            far.feed(data[at : at + 1])
        link.nodes[1].turn()
    assert far.reason == "SILENT"


def test_a_slow_lane_has_time_for_each_frame_anew() -> None:
    world, link, wire = up()
    near, far = wire.ends
    for _ in range(5):
        near.say(Type.PADDING, bytes(60_000))
        data = near.take()
        for at in range(0, len(data), 3_000):
            world.pass_time(1_000_000)
            far.feed(data[at : at + 3_000])
            link.nodes[1].turn()
    assert far.reason is None


def test_what_cannot_be_sealed_does_not_wait_to_be_sent() -> None:
    """It is in clear. A key that has reached its age seals nothing but a step."""
    world, _link, wire = bare()
    near = wire.ends[0]
    near.take()
    world.pass_time(3_600_000_000)
    near.say(Type.PADDING, b"in clear")
    assert near.fill() == "KEY_LIMIT"
    assert near.wire_bytes == 0
