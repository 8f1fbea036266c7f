"""An edge and its applications, over virtual wires: who may open what, both ends, back-pressure, limits, time."""

import pytest

from tests.native.probe_edge import Edge
from tests.reference.frames import Type
from tests.reference.records import (
    Kind,
    record_fin,
    record_open,
)
from tests.support.reference_peer import SESSION, Peer
from tests.support.virtual_wires import World, conversation, two_edges

DONE, LIMIT, BUSY, UNKNOWN, REFUSED, UNREACHABLE, TIMEOUT, ABORTED = 0, 2, 3, 4, 5, 6, 7, 8
IMPORT_WANTED, STREAM_END = 8, 9
LATE_RECORDS, DATAGRAMS_IGNORED = 17, 22
TEXT = bytes(range(256)) * 256
MEGABYTE = 1 << 20


def codes(peer: Peer) -> dict[int, int]:
    """The code of each RESET that came, by stream."""
    return {record.stream: record.number("code") for record in peer.records() if record.kind is Kind.RESET}


def run(world: World, seconds: float = 1.0) -> None:
    world.settle()
    world.wait(seconds)


# -- who may open what ------------------------------------------------------------------------------------------------


def test_a_service_that_is_not_exported_is_unknown() -> None:
    peer = Peer()
    peer.send(record_open(1, "other", 0))
    assert codes(peer) == {1: UNKNOWN}
    assert peer.edge.has_session(SESSION)


def test_a_service_that_is_not_granted_is_refused() -> None:
    peer = Peer()
    peer.edge.publish([(0, b"s"), (1, b"t")], [], [(SESSION, 1), (SESSION + 1, 0)])
    peer.send(record_open(1, "s", 0), record_open(3, "t", 0))
    assert codes(peer) == {1: REFUSED}
    assert [record.stream for record in peer.records() if record.kind is Kind.ACCEPT] == [3]


def test_a_target_that_refuses_is_unreachable() -> None:
    world, near, far, _session = two_edges()
    far.refuses = True
    here = near.connect()
    assert here is not None
    world.settle()
    assert here.cause == (UNREACHABLE, True)


def test_a_target_that_stays_silent_meets_its_deadline() -> None:
    world, near, far, session = two_edges()
    far.connects = False
    here = near.connect()
    assert here is not None
    world.wait(1.9)
    assert here.state == "OPENING"
    world.wait(0.3)
    assert here.cause == (TIMEOUT, True)
    assert far.flow(session)["streams"] == 0


def test_what_was_sent_before_the_target_answers_reaches_it() -> None:
    world, near, far, _session = two_edges()
    far.connects = False
    here = near.connect()
    assert here is not None
    near.write(here, TEXT)
    world.settle()
    (there,) = far.answered
    # Not a byte more than may come before ACCEPT.
    assert there.credit is not None
    assert there.credit[2] == 16_384
    far.connects = True
    far.reads(there, True)
    run(world)
    assert bytes(there.received) == TEXT


def test_an_application_that_leaves_before_the_answer_is_forgotten() -> None:
    world, near, far, session = two_edges()
    far.connects = False
    here = near.connect()
    assert here is not None
    world.settle()
    near.reset(here)
    world.settle()
    assert far.answered[0].cause == (ABORTED, True)
    assert near.flow(session)["streams"] == far.flow(session)["streams"] == 0


def test_an_import_without_a_session_waits_for_one() -> None:
    world = World()
    near, far = world.edge(), world.edge()
    link = world.link(near, far)
    near.publish([], [(0, b"echo", [])], [])
    here = near.connect()
    assert here is not None
    assert [event[:2] for event in near.events() if event[0] == IMPORT_WANTED] == [(IMPORT_WANTED, 0)]
    near.write(here, b"hello")
    session = world.session(near, far, [link])
    world.service(near, far, session)
    world.settle()
    assert bytes(far.answered[0].received) == b"hello"


def test_an_import_waits_no_longer_than_it_may() -> None:
    world = World()
    near = world.edge()
    near.publish([], [(0, b"echo", [])], [])
    here = near.connect()
    world.wait(4.9)
    assert here is not None
    assert here.cause is None
    world.wait(0.2)
    assert here.cause == (TIMEOUT, False)


def test_an_import_that_is_not_published_is_refused() -> None:
    assert Edge().connect(3) is None


# -- both ways of ending ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["near", "far"])
def test_each_side_may_end_first_and_still_hear_the_other(first: str) -> None:
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    ends = [(near, here), (far, there)]
    if first == "far":
        ends.reverse()
    (one, early), (other, late) = ends
    one.write(early, b"last words of the one", close=True)
    world.settle()
    assert (bytes(late.received), late.ended, early.ended) == (b"last words of the one", True, False)
    other.write(late, TEXT)
    run(world)
    assert (bytes(early.received), early.ended) == (TEXT, False)
    other.write(late, b"", close=True)
    world.settle()
    assert early.ended
    assert here.cause == there.cause == (DONE, False)
    assert near.flow(session)["streams"] == far.flow(session)["streams"] == 0


@pytest.mark.parametrize("first", ["near", "far"])
def test_a_reset_goes_across(first: str) -> None:
    world, near, far, _session = two_edges()
    here, there = conversation(world, near, far)
    if first == "near":
        near.reset(here)
        world.settle()
        assert (here.cause, there.cause) == ((ABORTED, False), (ABORTED, True))
    else:
        far.reset(there)
        world.settle()
        assert (here.cause, there.cause) == ((ABORTED, True), (ABORTED, False))


@pytest.mark.parametrize("first", ["near", "far"])
@pytest.mark.parametrize("ended", [False, True])
def test_what_was_written_before_a_reset_goes_across_however_slow_its_reader(first: str, ended: bool) -> None:
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    one, other = (near, here), (far, there)
    if first == "far":
        one, other = other, one
    other[0].reads(other[1], False)
    # More than a window, so that both edges have some of it.
    one[0].write(one[1], TEXT * 6, close=ended)
    one[0].reset(one[1])
    for seconds in (1, 25):
        world.wait(seconds)
        assert one[1].state is not None
    other[0].reads(other[1], True)
    run(world)
    assert bytes(other[1].received) == TEXT * 6
    assert (one[1].cause, other[1].cause) == ((ABORTED, False), (ABORTED, True))
    assert near.flow(session)["streams"] == far.flow(session)["streams"] == 0


@pytest.mark.parametrize("size", [len(TEXT), len(TEXT) * 6], ids=["cut", "broken"])
def test_a_reader_that_takes_nothing_meets_the_reset_in_the_end(size: int) -> None:
    """By then it has what its own machine took, as over one connection; the rest is held no longer than 30 s."""
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    near.reads(here, False)
    far.write(there, (TEXT * 6)[:size])
    far.reset(there)
    world.wait(29)
    assert (here.cause, here.state is None) == (None, False)
    # Each edge waits on its own, and what moved at first counts once.
    world.wait(65)
    assert here.cause == (ABORTED, True)
    assert there.cause == (ABORTED, False)
    assert near.flow(session)["streams"] == far.flow(session)["streams"] == 0


def test_what_is_left_of_a_broken_connection_does_not_wait_for_what_it_was_sent() -> None:
    """Each side is stuck with writing: the one that is left reads when what it wrote is taken, be it by nobody."""
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    for edge, application in ((near, here), (far, there)):
        edge.reads(application, False)
        edge.write(application, TEXT * 20)
    world.wait(1)
    near.reset(here)
    run(world)
    assert near.flow(session)["streams"] == 1
    far.reads(there, True)
    run(world)
    assert bytes(there.received) == TEXT * 20
    assert near.flow(session)["streams"] == far.flow(session)["streams"] == 0


def test_a_session_that_ends_takes_nothing_from_a_stream_that_was_cut() -> None:
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    near.reads(here, False)
    far.write(there, TEXT)
    far.reset(there)
    world.settle()
    near.session_close(session, DONE)
    world.settle()
    assert here.cause == (DONE, True)


def test_the_last_bytes_come_before_the_end() -> None:
    world, near, far, _session = two_edges()
    far.connects = False
    here = near.connect()
    assert here is not None
    near.write(here, b"all of it", close=True)
    world.settle()
    far.connects = True
    far.reads(far.answered[0], True)
    world.settle()
    assert (bytes(far.answered[0].received), far.answered[0].ended) == (b"all of it", True)


def test_a_half_closed_stream_on_which_nothing_moves_ends() -> None:
    world, near, far, _session = two_edges()
    here, there = conversation(world, near, far)
    near.write(here, b"", close=True)
    world.wait(50)
    far.write(there, b"still here")
    world.wait(50)
    assert here.cause is None
    world.wait(75)
    assert here.cause is not None
    assert here.cause[0] == TIMEOUT


def test_a_stream_that_was_half_closed_before_its_target_answered_ends_too() -> None:
    """The edge that opened it may leave it as it is for ever."""
    peer = Peer()
    peer.edge.connects = False
    peer.send(record_open(1, "s", 65_536), record_fin(1, 0))
    (there,) = peer.edge.answered
    assert there.state == "ANSWERING_FIN"
    peer.edge.connects = True
    peer.edge.reads(there, True)
    peer.settle()
    assert (there.state, there.ended) == ("HALF_REMOTE", True)
    for _ in range(59):
        peer.wait(1)
        peer.send_lane(Type.PING, bytes(8))
    assert there.cause is None
    peer.wait(2)
    peer.settle()
    assert there.cause == (TIMEOUT, False)
    assert codes(peer) == {1: TIMEOUT}


def test_a_stream_that_is_open_both_ways_may_be_idle_for_ever() -> None:
    world, near, far, _session = two_edges()
    here, there = conversation(world, near, far)
    world.wait(300)
    near.write(here, b"hello")
    world.settle()
    assert bytes(there.received) == b"hello"


# -- back-pressure ----------------------------------------------------------------------------------------------------


def test_a_reader_that_stops_stalls_its_own_stream_only() -> None:
    world, near, far, _session = two_edges(cap=4 * MEGABYTE)
    stopped, busy = conversation(world, near, far), conversation(world, near, far)
    far.reads(stopped[1], False)
    near.write(stopped[0], TEXT * 100)
    near.write(busy[0], TEXT * 100, close=True)
    run(world, 3)
    assert (len(busy[1].received), busy[1].ended) == (len(TEXT) * 100, True)
    assert stopped[1].credit is not None
    held = stopped[1].credit[2] - len(stopped[1].received)
    # What it may hold is what it granted: its window, not what the sender has.
    assert 0 < held <= stopped[1].credit[3] - len(stopped[1].received) < len(TEXT) * 100
    far.reads(stopped[1], True)
    run(world, 3)
    assert bytes(stopped[1].received) == TEXT * 100


def test_windows_grow_for_a_fast_reader_and_stay_for_a_slow_one() -> None:
    world, near, far, _session = two_edges(cap=8 * MEGABYTE)
    fast, slow = conversation(world, near, far), conversation(world, near, far)
    near.write(fast[0], TEXT * 200)
    far.reads(slow[1], False)
    near.write(slow[0], TEXT * 200)
    run(world, 2)
    windows = []
    for here, there in (fast, slow):
        assert here.credit is not None
        assert there.credit is not None
        windows.append(there.credit[3] - len(there.received))
    assert windows[0] > windows[1]


@pytest.mark.parametrize("memory", [2 * MEGABYTE, 8 * MEGABYTE])
def test_many_stopped_readers_do_not_exceed_the_budget(memory: int) -> None:
    world = World()
    near, far = world.edge(), world.edge(memory=memory, reserve=MEGABYTE // 2)
    session = world.session(near, far, [world.link(near, far)], cap=MEGABYTE)
    world.service(near, far, session)
    streams = [conversation(world, near, far) for _ in range(60)]
    for _here, there in streams:
        far.reads(there, False)
    for here, _there in streams:
        near.write(here, TEXT * 8)
    run(world, 2)
    assert far.memory[1] <= memory + MEGABYTE // 2
    # Another stream still gets through: no reader holds more than its share.
    here, there = conversation(world, near, far)
    near.write(here, b"through", close=True)
    run(world)
    assert (bytes(there.received), there.ended) == (b"through", True)
    assert near.has_session(session)


def test_readers_that_took_much_and_stopped_leave_the_others_their_windows() -> None:
    world = World()
    near, far = world.edge(), world.edge(memory=16 * MEGABYTE, reserve=MEGABYTE)
    session = world.session(near, far, [world.link(near, far)], cap=4 * MEGABYTE)
    world.service(near, far, session)
    # Each is fast until its window has grown, and then reads no more.
    for _ in range(24):
        here, there = conversation(world, near, far)
        near.write(here, TEXT * 16)
        world.settle()
        far.reads(there, False)
        near.write(here, TEXT * 128)
        world.settle()
    assert far.memory[1] <= 17 * MEGABYTE
    here, there = conversation(world, near, far)
    near.write(here, TEXT * 16)
    run(world)
    assert len(there.received) == 16 * len(TEXT)
    assert there.credit is not None
    assert there.credit[3] - len(there.received) >= 65_536


def test_an_application_writes_byte_by_byte() -> None:
    world, near, far, _session = two_edges()
    here, there = conversation(world, near, far)
    for octet in TEXT[:500]:
        near.write(here, bytes([octet]))
        world.settle()
    assert bytes(there.received) == TEXT[:500]


# -- afterwards -------------------------------------------------------------------------------------------------------


def test_memory_is_flat_after_many_streams() -> None:
    world, near, far, session = two_edges()
    marks = []
    for _ in range(300):
        here, there = conversation(world, near, far)
        near.write(here, b"question", close=True)
        world.settle()
        far.write(there, b"answer", close=True)
        world.settle()
        assert bytes(here.received) == b"answer"
        world.wait(0.05)
        marks.append((near.memory[0], far.memory[0]))
    assert marks[-1] == marks[100]
    assert near.flow(session)["streams"] == 0


def test_each_end_is_told_once() -> None:
    world, near, far, session = two_edges()
    here, there = conversation(world, near, far)
    near.write(here, b"12345", close=True)
    far.write(there, b"123", close=True)
    run(world)
    for edge, opener, sent, received in ((near, 1, 5, 3), (far, 0, 3, 5)):
        ends = [event for event in edge.events() if event[0] == STREAM_END]
        assert [event[1:6] for event in ends] == [(opener, 0, session, sent, received)]
        assert ends[0][-1] == b"echo"
