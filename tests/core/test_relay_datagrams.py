"""A relay and DATAGRAMS: what it cannot forward it drops and counts, and no stream is the worse for it."""

from tests.reference.frames import FlowFrame, Type
from tests.support.relay_between import FAR, FAR_OUT, NEAR_IN, Between, Crowded, frame, numbers

FRAMES_FORWARDED, FRAMES_DROPPED, UNKNOWN_FLOWS, NO_LANE, NO_ROOM, OLD = 4, 5, 19, 32, 33, 39
MOST = 131_072
OLD_US = 1_000_000


def datagrams(number: int, size: int = 20) -> FlowFrame:
    return frame(number, size, Type.DATAGRAMS)


def test_they_are_forwarded_as_any_frame() -> None:
    between = Between()
    sent = [datagrams(3, 65_536), frame(0), datagrams(1), frame(1)]
    for each in sent:
        between.near.say(NEAR_IN, each)
    between.near.flush()
    assert [(event.label, event.frame) for event in between.far.hear()] == [(FAR_OUT, each) for each in sent]


def test_a_burst_costs_no_more_than_its_bound_and_loses_no_flow() -> None:
    between = Between()
    for at in range(100):
        between.near.say(NEAR_IN, datagrams(at, 8_000))
        between.near.flush()
    assert between.far.lane.backlog <= MOST + 8_048
    assert between.near.hear() == []
    dropped = between.relay.counted(NO_ROOM)
    assert between.relay.counted(FRAMES_DROPPED) == dropped == 100 - between.relay.counted(FRAMES_FORWARDED)
    assert dropped > 80
    # The flow goes on, with all of its own cap.
    for at in range(15):
        between.near.say(NEAR_IN, frame(at, 8_000))
        between.near.flush()
    assert between.near.hear() == []
    heard = [event.frame for event in between.far.hear() if event.frame]
    assert [each.number for each in heard if each.type is Type.BUNDLE] == list(range(15))
    between.near.say(NEAR_IN, datagrams(100))
    between.near.flush()
    assert [event.frame for event in between.far.hear()] == [datagrams(100)]


def test_a_flow_that_fills_its_cap_leaves_them_their_place() -> None:
    between = Between()
    for at in range(17):
        between.near.say(NEAR_IN, frame(at, 8_000))
        between.near.flush()
    between.near.say(NEAR_IN, datagrams(0))
    between.near.flush()
    assert [event.frame for event in between.far.hear()][-1] == datagrams(0)


def test_what_waits_too_long_for_a_lane_is_dropped_and_frames_of_streams_are_not() -> None:
    between = Between()
    sent = [frame(0), datagrams(0), frame(1), datagrams(1)]
    for each in sent[:3]:
        between.near.say(NEAR_IN, each)
    between.near.flush()
    between.relay.now_us += OLD_US // 2
    between.near.say(NEAR_IN, sent[3])
    between.near.flush()
    between.relay.now_us += OLD_US // 2 + 1
    assert [event.frame for event in between.far.hear()] == [sent[0], sent[2], sent[3]]
    assert between.near.hear() == []
    assert between.relay.counted(OLD) == between.relay.counted(FRAMES_DROPPED) == 1
    # It has given its room back.
    for at in range(2, 18):
        between.near.say(NEAR_IN, datagrams(at, 8_000))
    between.near.flush()
    assert [event.frame for event in between.far.hear()] == [datagrams(at, 8_000) for at in range(2, 18)]


def test_nothing_is_lost_with_them_when_the_next_lane_is_down() -> None:
    between = Between(up=False)
    for at in range(3):
        between.near.say(NEAR_IN, datagrams(at))
    between.near.flush()
    assert between.near.hear() == []
    assert between.relay.counted(NO_LANE) == between.relay.counted(FRAMES_DROPPED) == 3
    between.far = between.open(FAR)
    # No RESUME is needed, for no numbered frame was dropped.
    between.near.say(NEAR_IN, frame(0))
    between.near.flush()
    assert [event.frame for event in between.far.hear()] == [frame(0)]


def test_while_the_flow_is_lost_so_are_they() -> None:
    between = Between()
    between.far.lane.cut()
    between.near.hear()
    between.far = between.open(FAR, number=1)
    between.near.say(NEAR_IN, datagrams(0))
    between.near.flush()
    assert between.far.hear() == []
    assert between.relay.counted(NO_LANE) == 1
    for each in (frame(0, 16, Type.RESUME), datagrams(1)):
        between.near.say(NEAR_IN, each)
    between.near.flush()
    assert [event.frame for event in between.far.hear()] == [frame(0, 16, Type.RESUME), datagrams(1)]


def test_no_word_about_an_unknown_label() -> None:
    between = Between()
    between.near.say(99, datagrams(0))
    between.near.flush()
    assert between.near.hear() == []
    assert between.relay.counted(UNKNOWN_FLOWS) == 1


def test_when_memory_is_short_they_go_without_a_word() -> None:
    crowded = Crowded()
    for at in range(24):
        crowded.near.say(Crowded.NORMAL, datagrams(at, 5_000))
        crowded.near.flush()
    crowded.send(Crowded.CRITICAL, 40)
    crowded.send(Crowded.OTHER, 20)
    # The far link holds most, and the least urgent goes first: its datagrams, which nobody hears of.
    assert crowded.told() == []
    assert crowded.relay.counted(NO_ROOM) > 0
    assert numbers(crowded.far, Crowded.CRITICAL) == list(range(40))
    assert numbers(crowded.third, Crowded.OTHER) == list(range(20))


def test_frames_that_wait_outlive_their_path() -> None:
    between = Between()
    between.near.say(NEAR_IN, datagrams(0))
    between.near.flush()
    between.relay.path_remove(1)
    between.relay.turn()
    assert [event.frame for event in between.far.hear() if event.frame] == [datagrams(0)]
    between.relay.turn()
