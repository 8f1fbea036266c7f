"""Sessions of an edge: start, paths, loss and resumption, acknowledgement, and the end; over virtual wires."""

from dataclasses import replace

import pytest

from tests.reference.flows import State as FlowState
from tests.reference.flows import forged
from tests.reference.frames import Type, body_encode
from tests.reference.keys import Suite
from tests.reference.records import record_data, record_open
from tests.reference.refusals import Code
from tests.support.reference_peer import GIVEN, SESSION, Peer
from tests.support.virtual_wires import World, conversation, over_a_relay, two_edges

SESSION_DOWN, STALLED, RESUMED, FLOW_UP = 4, 5, 6, 12
DUPLICATES, GAPS, RESUMES, UNKNOWN_FLOWS = 14, 15, 16, 19
TEXT = bytes(range(256)) * 64


def kinds(edge: object, wanted: int) -> list[tuple[object, ...]]:
    return [event for event in edge.events() if event[0] == wanted]  # type: ignore[attr-defined]


# -- start ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_initiator", [False, True])
@pytest.mark.parametrize("suite", [1, 2, 3])
def test_a_flow_starts_with_the_reference(is_initiator: bool, suite: int) -> None:
    peer = Peer(is_initiator=is_initiator, given=replace(GIVEN, suite=Suite(suite)))
    assert peer.end.is_up
    assert peer.edge.flow(SESSION)["state"] == "UP"
    assert len(kinds(peer.edge, FLOW_UP)) == 1


@pytest.mark.parametrize("flows", [1, 2, 64])
def test_every_flow_of_a_session_starts_and_carries(flows: int) -> None:
    world, near, far, session = two_edges(flows=flows)
    assert {near.flow(session, index)["state"] for index in range(flows)} == {"UP"}
    for _ in range(flows):
        here, there = conversation(world, near, far)
        near.write(here, b"hello", close=True)
        world.settle()
        assert (bytes(there.received), there.ended) == (b"hello", True)
    # Streams go round the flows.
    assert {near.flow(session, index)["streams"] for index in range(flows)} == {1}


def test_a_session_waits_for_its_lane() -> None:
    world = World()
    near, far = world.edge(), world.edge()
    link = world.link(near, far)
    link.wires[0].cut()
    world.settle()
    session = world.session(near, far, [link])
    assert near.flow(session)["state"] == "STARTING"
    link.open()
    world.settle()
    assert near.flow(session)["state"] == far.flow(session)["state"] == "UP"


# -- labels -----------------------------------------------------------------------------------------------------------


def test_an_unknown_label_is_answered_with_lost() -> None:
    peer = Peer()
    peer.end.flow.send_ack()
    frame = peer.end.flow.out.pop()
    peer.end.lane.send_flow(0x3333, frame)
    peer.settle()
    assert (peer.arrivals[-1].type, peer.arrivals[-1].fields) == (Type.LOST, {"flow": 0x3333, "code": 4})
    assert peer.edge.counted(UNKNOWN_FLOWS) == 1
    assert peer.edge.has_session(SESSION)


# -- loss and resumption ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [0, 1, 3])
def test_after_a_cut_the_reference_and_the_core_resume(arrived: int) -> None:
    peer = Peer()
    peer.edge.connects = True
    peer.send(record_open(1, "s", 1 << 20))
    for at in range(4):
        peer.end.send_records(record_data(1, b"part %d " % at))
        wires = peer.end.take_out()
        if at < arrived:
            for wire in wires:
                peer.feed(wire)
    peer.lane.cut()
    peer.new_lane(1)
    peer.end.flow.path_lost(peer.now)
    peer.confirm()
    peer.end.flow.path_ready()
    peer.settle()
    assert bytes(peer.edge.answered[0].received) == b"part 0 part 1 part 2 part 3 "
    assert peer.end.flow.state is FlowState.UP
    assert peer.edge.flow(SESSION)["state"] == "UP"


def test_a_gap_starts_a_resumption() -> None:
    peer = Peer()
    peer.send(record_open(1, "s", 1 << 20))
    peer.end.send_records(record_data(1, b"lost "))
    peer.end.flow.out.clear()
    peer.send(record_data(1, b"found"))
    assert bytes(peer.edge.answered[0].received) == b"lost found"
    assert peer.edge.counted(GAPS) == 1
    assert peer.edge.flow(SESSION)["resume_id"] == 1


def test_a_replayed_frame_is_dropped_and_counted() -> None:
    peer = Peer()
    peer.send(record_open(1, "s", 1 << 20))
    peer.end.send_records(record_data(1, b"once"))
    frame = peer.end.flow.out[-1]
    peer.settle()
    for _ in range(3):
        peer.send_frame(frame)
    assert bytes(peer.edge.answered[0].received) == b"once"
    assert peer.edge.counted(DUPLICATES) == 3


def test_a_relay_that_changes_a_body_ends_the_session_and_not_the_lane() -> None:
    peer = Peer()
    peer.end.flow.send_bundle(record_open(1, "s", 0).encode(), peer.now)
    frame = peer.end.flow.out.pop()
    peer.send_frame(forged(frame, sealed=frame.sealed[::-1]))
    assert peer.edge.refused() == {"BAD_TAG": 1}
    assert not peer.edge.has_session(SESSION)
    assert peer.lane.state == "UP"
    assert peer.end.flow.state is FlowState.CLOSED


def test_a_resume_that_gets_no_answer_is_sent_again() -> None:
    peer = Peer()
    peer.end.flow.send_bundle(record_open(1, "s", 0).encode(), peer.now)
    peer.end.flow.out.clear()
    peer.end.flow.send_bundle(record_open(3, "s", 0).encode(), peer.now)
    for wire in peer.end.take_out():
        peer.feed(wire)
    peer.edge.turn()
    said = peer.lane.take()
    assert peer.edge.flow(SESSION)["resume_id"] == 1
    assert said
    for _ in range(3):
        peer.wait(0.5)
        peer.end.lane.send(Type.PING, body_encode(Type.PING, token=1), peer.now)
        for wire in peer.end.take_out():
            peer.feed(wire)
        peer.edge.turn()
        peer.lane.take()
    assert peer.edge.flow(SESSION)["resume_id"] == 1
    peer.wait(0.51)
    peer.edge.turn()
    assert peer.edge.flow(SESSION)["resume_id"] == 2
    assert peer.edge.counted(RESUMES) == 2
    # Each new one makes a late answer to the one before void, so it waits longer each time.
    waited, waits = 0.0, []
    for _ in range(90):
        peer.wait(0.5)
        waited += 0.5
        peer.end.lane.send(Type.PING, body_encode(Type.PING, token=1), peer.now)
        for wire in peer.end.take_out():
            peer.feed(wire)
        peer.edge.turn()
        peer.lane.take()
        if peer.edge.flow(SESSION)["resume_id"] != 2 + len(waits):
            waits.append(waited)
            waited = 0.0
    assert waits == [4.5, 8.5, 16.5]


@pytest.mark.parametrize("cut_at", [0, 1, 47, 48, 49, 88, 100, 5_000, 16_000, 40_000])
def test_a_cut_at_any_byte_loses_nothing(cut_at: int) -> None:
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    near.write(here, TEXT * 4, close=True)
    far.write(there, TEXT * 4, close=True)
    world.turn()
    wire = world.links[0].wires[0]
    wire.collect()
    for way in (0, 1):
        wire.deliver(way, cut_at)
    wire.cut()
    world.settle()
    assert near.flow(session)["state"] == "RESUMING"
    world.links[0].open()
    world.settle()
    world.wait(0.1)
    assert bytes(there.received) == bytes(here.received) == TEXT * 4
    assert there.ended
    assert here.ended
    assert here.cause == there.cause == (0, False)


def test_events_tell_that_a_session_stalls_and_resumes() -> None:
    world, near, _far, session = two_edges()
    near.events()
    world.links[0].wires[0].cut()
    world.settle()
    assert [event[:3] for event in kinds(near, STALLED)] == [(STALLED, session, 0)]
    world.links[0].open()
    world.settle()
    assert [event[:3] for event in kinds(near, RESUMED)] == [(RESUMED, session, 0)]


def test_a_neighbour_that_says_lost_again_and_again_is_told_of_once() -> None:
    """Nor does a RESUME that answers nothing make the flow go on, for the next LOST to be news."""
    peer = Peer()
    lost = body_encode(Type.LOST, flow=GIVEN.initiator_label, code=6)
    for _ in range(2):
        peer.edge.events()
        for _ in range(50):
            peer.end.lane.send(Type.LOST, lost, peer.now)
            again = body_encode(Type.RESUME, resume_id=peer.end.flow.resume_id, next_number=peer.end.flow.expected)
            peer.end.flow.send_volatile(Type.RESUME, again)
            for wire in peer.end.take_out():
                peer.feed(wire)
        told = [event[:3] for event in peer.edge.events() if event[0] in (STALLED, RESUMED)]
        assert told == [(STALLED, SESSION, 0)]
        peer.end.flow.path_lost(peer.now)
        peer.end.flow.path_ready()
        peer.settle()
        assert [event[:3] for event in kinds(peer.edge, RESUMED)] == [(RESUMED, SESSION, 0)]
        assert peer.edge.flow(SESSION)["state"] == "UP"


def test_a_second_path_takes_over_from_a_dead_one() -> None:
    world = World()
    near, far = world.edge(), world.edge()
    relays = [world.relay(), world.relay()]
    ways = [[world.link(near, relay), world.link(relay, far)] for relay in relays]
    session = world.session(near, far, ways[0])
    world.service(near, far, session)
    here, there = conversation(world, near, far)
    near.write(here, TEXT)
    world.turn()
    for link in ways[0]:
        link.wires[0].cut()
    world.settle()
    near.write(here, TEXT, close=True)
    far.write(there, TEXT, close=True)
    world.path(session, near, far, ways[1])
    world.wait(0.1)
    assert (bytes(there.received), there.ended) == (TEXT * 2, True)
    assert (bytes(here.received), here.ended) == (TEXT, True)
    assert near.flow(session)["state"] == "UP"


@pytest.mark.parametrize("turns", range(6))
def test_a_session_that_starts_goes_on_over_a_second_path(turns: int) -> None:
    """Whichever confirmation was lost with the first one."""
    world = World()
    near, far = world.edge(), world.edge()
    ways = [[world.link(near, relay), world.link(relay, far)] for relay in (world.relay(), world.relay())]
    session = world.session(near, far, ways[0])
    for _ in range(turns):
        world.turn()
    for link in ways[0]:
        link.wires[0].cut()
    world.settle()
    world.path(session, near, far, ways[1])
    world.wait(0.1)
    assert near.flow(session)["state"] == far.flow(session)["state"] == "UP"
    assert len(kinds(near, FLOW_UP)) == len(kinds(far, FLOW_UP)) == 1
    world.service(near, far, session)
    here, there = conversation(world, near, far)
    near.write(here, TEXT, close=True)
    world.wait(0.1)
    assert (bytes(there.received), there.ended) == (TEXT, True)


def test_a_second_path_takes_over_from_a_living_one() -> None:
    world = World()
    near, far = world.edge(), world.edge()
    ways = [[world.link(near, relay), world.link(relay, far)] for relay in (world.relay(), world.relay())]
    session = world.session(near, far, ways[0])
    world.service(near, far, session)
    here, there = conversation(world, near, far)
    for turn in range(6):
        near.write(here, TEXT)
        far.write(there, TEXT)
        world.turn()
        ways[turn % 2][0].wires[0].collect()
        world.path(session, near, far, ways[(turn + 1) % 2])
    world.wait(0.1)
    assert bytes(there.received) == bytes(here.received) == TEXT * 6


def test_a_lane_of_the_relay_is_lost_and_found() -> None:
    world, near, relay, far, session = over_a_relay()
    here, there = conversation(world, near, far)
    for turn in range(5):
        near.write(here, TEXT)
        far.write(there, TEXT)
        world.turn()
        link = world.links[turn % 2]
        link.wires[0].collect()
        link.wires[0].cut()
        world.settle()
        link.open()
        world.settle()
        world.wait(3)
    assert bytes(there.received) == bytes(here.received) == TEXT * 5
    assert relay.counted(UNKNOWN_FLOWS) == 0
    assert near.flow(session)["state"] == far.flow(session)["state"] == "UP"


def test_more_than_sixty_resumptions_in_a_minute_end_the_session() -> None:
    world, near, far, session = two_edges()
    for _ in range(61):
        if near.has_session(session):
            world.links[0].wires[0].cut()
            world.settle()
            world.links[0].open()
            world.settle()
    assert not near.has_session(session)
    assert not far.has_session(session)
    assert "TOO_MANY_RESUMES" in {*near.refused(), *far.refused()}


# -- acknowledgement --------------------------------------------------------------------------------------------------


def test_frames_are_acknowledged_in_25_ms() -> None:
    peer = Peer()
    peer.wait(0.1)
    peer.settle()
    peer.arrivals.clear()
    peer.send(record_open(1, "s", 0))
    peer.wait(0.024)
    peer.settle()
    assert not [arrival for arrival in peer.arrivals if arrival.type is Type.ACK]
    peer.wait(0.001)
    peer.settle()
    acks = [arrival.fields["next_number"] for arrival in peer.arrivals if arrival.type is Type.ACK]
    assert acks == [peer.end.flow.next_number]
    assert not peer.end.flow.retained


def test_a_far_edge_that_acknowledges_nothing_for_two_minutes_loses_its_session() -> None:
    """What is retained for it would be kept for ever. One acknowledgement, however late, gives it the time again."""
    peer = Peer()
    peer.settle()
    assert peer.edge.flow(SESSION)["retained_bytes"]

    def wait_for(seconds: int) -> None:
        for _ in range(seconds):
            peer.wait(1)
            peer.send_lane(Type.PING, body_encode(Type.PING, token=1))

    wait_for(119)
    peer.send(record_open(1, "none", 0))
    peer.end.flow.expected = 1
    peer.end.flow.send_ack()
    peer.settle()
    wait_for(119)
    assert peer.edge.has_session(SESSION)
    wait_for(2)
    assert not peer.edge.has_session(SESSION)
    assert peer.edge.refused() == {"SILENT": 1}
    closing = [arrival.fields["code"] for arrival in peer.arrivals if arrival.type is Type.FLOW_CLOSE]
    assert closing == [Code.TIMEOUT]


def test_a_far_edge_that_reads_nothing_cannot_fill_the_memory_by_resuming() -> None:
    """Each greater id makes the edge send all again that is retained, beside what still waits from the last time."""
    peer = Peer()
    peer.send(record_open(1, "s", 1 << 20))
    (there,) = peer.edge.answered
    peer.edge.write(there, bytes(900_000))
    # The first frames were sent and are lost, so that none that waits may go as it is.
    peer.edge.turn()
    peer.lane.take(200_000)
    for resume_id in range(1, 50):
        if not peer.edge.has_session(SESSION):
            break
        peer.end.flow.send_volatile(Type.RESUME, body_encode(Type.RESUME, resume_id=resume_id, next_number=1))
        for wire in peer.end.take_out():
            peer.feed(wire)
        peer.edge.turn()
    assert not peer.edge.has_session(SESSION)
    assert peer.edge.refused() == {"BUDGET": 1}
    assert peer.lane.state == "UP"
    assert peer.edge.memory[1] < 8 << 20


def test_a_small_cap_is_never_exceeded() -> None:
    world, near, far, session = two_edges(cap=131_072)
    here, there = conversation(world, near, far)
    near.write(here, TEXT * 100, close=True)
    world.settle()
    for _ in range(100):
        assert int(str(near.flow(session)["retained_bytes"])) <= 131_072
        world.wait(0.05)
    assert (bytes(there.received), there.ended) == (TEXT * 100, True)


# -- steps of epoch ---------------------------------------------------------------------------------------------------


def test_keys_of_flows_and_lanes_step_while_bytes_flow() -> None:
    world, near, far, session = two_edges()
    for edge in (near, far):
        edge.limits(8, 1 << 40, 1 << 60)
    here, there = conversation(world, near, far)
    for _ in range(60):
        near.write(here, TEXT)
        far.write(there, TEXT)
        world.wait(0.05)
    assert bytes(there.received) == bytes(here.received) == TEXT * 60
    flow = near.flow(session)
    assert int(str(flow["send_epoch"])) > 5
    assert int(str(flow["receive_epoch"])) > 5
    assert min(world.links[0].wires[0].ends[0].epochs) > 5


def test_a_cut_within_a_step_of_epoch_loses_nothing() -> None:
    for cut_at in range(0, 2_000, 61):
        world, near, far, session = two_edges()
        near.limits(2, 1 << 40, 1 << 60)
        here, there = conversation(world, near, far)
        for _ in range(6):
            near.write(here, b"x" * 40)
            world.turn()
        wire = world.links[0].wires[0]
        wire.collect()
        wire.deliver(0, cut_at)
        wire.cut()
        world.links[0].open()
        world.settle()
        near.write(here, b"end", close=True)
        world.wait(0.1)
        assert bytes(there.received) == b"x" * 240 + b"end", cut_at
        assert near.flow(session)["send_epoch"] == far.flow(session)["receive_epoch"]


# -- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_of_a_session_resets_its_streams_on_both_sides() -> None:
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    near.session_close(session, 9)
    world.settle()
    assert not near.has_session(session)
    assert not far.has_session(session)
    assert (here.cause, there.cause) == ((9, False), (9, True))
    assert [event[:5] for event in kinds(far, SESSION_DOWN)] == [(SESSION_DOWN, session, 9, 21, 1)]


@pytest.mark.parametrize("is_initiator", [False, True])
def test_the_reference_ends_a_session(is_initiator: bool) -> None:
    peer = Peer(is_initiator=is_initiator)
    peer.end.flow.close()
    peer.settle()
    assert not peer.edge.has_session(SESSION)
    assert peer.edge.refused() == {"PEER_CLOSED": 1}


def test_memory_is_flat_after_sessions_came_and_went() -> None:
    world = World()
    near, far = world.edge(), world.edge()
    link = world.link(near, far)
    marks = []
    for _ in range(20):
        session = world.session(near, far, [link])
        world.service(near, far, session)
        here, _there = conversation(world, near, far)
        near.write(here, TEXT)
        world.settle()
        near.session_close(session, 0)
        world.settle()
        marks.append((near.memory[0], far.memory[0]))
    assert marks[-1] == marks[5]


def test_reconnecting_with_the_reference_many_times() -> None:
    peer = Peer()
    peer.send(record_open(1, "s", 1 << 20))
    for number in range(1, 30):
        peer.end.send_records(record_data(1, b"%2d." % number))
        peer.end.take_out()
        peer.lane.cut()
        peer.new_lane(number)
        peer.end.flow.path_lost(peer.now)
        peer.confirm()
        peer.end.flow.path_ready()
        peer.settle()
    assert bytes(peer.edge.answered[0].received) == b"".join(b"%2d." % number for number in range(1, 30))
