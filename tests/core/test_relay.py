"""A relay between two lanes of the reference: what it changes, what it drops, what it says, and what it holds."""

from random import Random

import pytest

from tests.native.probe import LinkKeys
from tests.reference.frames import Type, body_encode
from tests.support.relay_between import (
    BUSY,
    CAP,
    FAR,
    FAR_IN,
    FAR_OUT,
    NEAR,
    NEAR_IN,
    NEAR_OUT,
    UNKNOWN,
    UNREACHABLE,
    Between,
    Crowded,
    Side,
    frame,
    lost,
    numbers,
)
from tests.support.virtual_wires import secret

FRAMES_FORWARDED, FRAMES_DROPPED, UNKNOWN_FLOWS = 4, 5, 19


# -- forwarding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1, 61, 1 << 20])
def test_nothing_but_the_label_changes(piece: int) -> None:
    between = Between()
    sent = [frame(0), frame(1, 65_536 if piece > 1 else 300), frame(5, 0, Type.FLOW_PADDING), frame(2, 8, Type.ACK)]
    for each in sent:
        between.near.say(NEAR_IN, each)
    between.near.flush(piece=piece)
    heard = between.far.hear()
    assert [(event.label, event.frame) for event in heard] == [(FAR_OUT, each) for each in sent]
    between.far.say(FAR_IN, sent[0])
    between.far.flush(piece=piece)
    assert [(event.label, event.frame) for event in between.near.hear()] == [(NEAR_OUT, sent[0])]
    assert between.relay.counted(FRAMES_FORWARDED) == 5


def test_a_label_counts_only_on_its_own_link() -> None:
    between = Between()
    for label in (FAR_IN, NEAR_OUT, FAR_OUT, 99):
        between.near.say(label, frame(0))
    between.near.flush()
    assert between.far.hear() == []
    assert [lost(event) for event in between.near.hear()] == [
        (label, UNKNOWN) for label in (FAR_IN, NEAR_OUT, FAR_OUT, 99)
    ]
    assert between.relay.counted(UNKNOWN_FLOWS) == 4


def test_a_path_that_is_taken_down_is_unknown() -> None:
    between = Between()
    between.relay.path_remove(1)
    between.near.say(NEAR_IN, frame(0))
    between.near.flush()
    assert [lost(event) for event in between.near.hear()] == [(NEAR_IN, UNKNOWN)]
    between.relay.path_remove(1)


def test_frames_that_wait_outlive_their_path() -> None:
    between = Between()
    between.near.say(NEAR_IN, frame(0))
    between.near.flush()
    between.relay.path_remove(1)
    between.relay.turn()
    assert [event.frame for event in between.far.hear() if event.frame] == [frame(0)]
    between.relay.turn()


def test_lost_for_unknown_labels_is_said_at_a_bounded_rate() -> None:
    between = Between()
    for at in range(200):
        between.near.say(1_000 + at, frame(0))
    between.near.flush()
    assert len(between.near.hear()) == 64
    between.relay.now_us += 1_000_000
    between.near.say(5_000, frame(0))
    between.near.flush()
    assert [lost(event) for event in between.near.hear()] == [(5_000, UNKNOWN)]


# -- what cannot be passed on -----------------------------------------------------------------------------------------


def test_a_loss_is_said_once_and_ends_with_a_resume() -> None:
    between = Between()
    between.far.lane.cut()
    for at in range(3):
        between.near.say(NEAR_IN, frame(at))
    between.near.flush()
    assert [lost(event) for event in between.near.hear()] == [(NEAR_IN, UNREACHABLE)]
    assert between.relay.counted(FRAMES_DROPPED) == 3
    between.far = between.open(FAR, number=1)
    # The lane is there again, but frames have gone: nothing passes before both ends resume.
    between.near.say(NEAR_IN, frame(3))
    between.near.flush()
    assert between.far.hear() == []
    resume = frame(0, 16, Type.RESUME)
    between.near.say(NEAR_IN, resume)
    between.near.say(NEAR_IN, frame(0))
    between.near.flush()
    assert [event.frame for event in between.far.hear()] == [resume, frame(0)]


def test_what_was_on_its_way_in_a_lost_lane_is_said_to_be_lost() -> None:
    between = Between()
    between.near.say(NEAR_IN, frame(0))
    between.near.flush()
    # It may have arrived and it may not, and there may never be another frame that would find the lane gone.
    between.far.lane.cut()
    assert [lost(event) for event in between.near.hear()] == [(NEAR_IN, UNREACHABLE)]
    between.far = between.open(FAR, number=1)
    between.far.lane.cut()
    assert between.near.hear() == []


def test_however_many_flows_a_lane_takes_with_it_each_is_told() -> None:
    between = Between()
    labels = [NEAR_IN, *range(10_000, 12_000)]
    for at, label in enumerate(labels[1:]):
        between.relay.path_add(
            2 + at, a_link=NEAR, a_in=label, a_out=1, b_link=FAR, b_in=20_000 + at, b_out=30_000 + at, cap=CAP
        )
    between.far.lane.cut()
    said = [lost(event) for event in between.near.hear()]
    # What a peer that reads nothing can make us keep stays bounded; the rest comes with the beats that follow.
    assert 0 < len(said) < 1_024
    for _ in range(10):
        between.relay.turn()
        said += [lost(event) for event in between.near.hear() if event.type is Type.LOST]
    assert sorted(said) == [(label, UNREACHABLE) for label in labels]


def test_each_direction_is_lost_by_itself() -> None:
    between = Between()
    between.near.lane.cut()
    between.far.say(FAR_IN, frame(0))
    between.far.flush()
    assert [lost(event) for event in between.far.hear()] == [(FAR_IN, UNREACHABLE)]


def test_the_neighbours_loss_is_handed_on_with_the_other_label() -> None:
    between = Between()
    between.far.other.send(Type.LOST, body_encode(Type.LOST, flow=FAR_OUT, code=BUSY))
    between.far.flush()
    assert [lost(event) for event in between.near.hear()] == [(NEAR_IN, BUSY)]
    between.far.other.send(Type.LOST, body_encode(Type.LOST, flow=FAR_OUT, code=BUSY))
    between.far.other.send(Type.LOST, body_encode(Type.LOST, flow=99, code=BUSY))
    between.far.flush()
    assert between.near.hear() == []


def test_a_lane_that_is_not_confirmed_carries_nothing() -> None:
    between = Between(up=False)
    keys = LinkKeys(secret(f"link {FAR}"), bytes(16), 1)
    keys.dial(0)
    unconfirmed = between.relay.lane_start(FAR, index=0, number=0, secret=keys.take(0))
    between.near.say(NEAR_IN, frame(0))
    between.near.flush()
    assert [lost(event) for event in between.near.hear()] == [(NEAR_IN, UNREACHABLE)]
    assert len(unconfirmed.take()) == 88


# -- what waits -------------------------------------------------------------------------------------------------------


def test_a_neighbour_that_does_not_read_costs_no_more_than_the_cap_of_each_flow() -> None:
    between = Between()
    used, _high = between.relay.memory
    for at in range(100):
        between.near.say(NEAR_IN, frame(at, 8_000))
        between.near.flush()
    assert between.far.lane.backlog <= CAP + 2 * 65_584
    assert [lost(event) for event in between.near.hear()] == [(NEAR_IN, BUSY)]
    now, high = between.relay.memory
    assert high - used < 2 * (CAP + 2 * 65_584)
    heard = between.far.hear()
    # What was taken over comes out in order and without a hole; the rest was dropped.
    assert [event.frame.number for event in heard if event.frame] == list(range(len(heard)))
    assert 16 <= len(heard) < 50
    between.relay.turn()
    assert between.relay.memory[0] < now


def test_one_flow_that_waits_does_not_stop_another() -> None:
    between = Between()
    between.relay.path_add(2, a_link=NEAR, a_in=31, a_out=32, b_link=FAR, b_in=41, b_out=42, cap=CAP)
    for at in range(100):
        between.near.say(NEAR_IN, frame(at, 8_000))
        between.near.flush()
    between.near.say(31, frame(0, 500))
    between.near.flush()
    assert (42, frame(0, 500)) in [(event.label, event.frame) for event in between.far.hear()]


def test_the_budget_holds_when_it_is_smaller_than_the_caps() -> None:
    between = Between(memory=200_000, reserve=100_000)
    for path in range(2, 6):
        between.relay.path_add(
            path, a_link=NEAR, a_in=100 + path, a_out=1, b_link=FAR, b_in=200 + path, b_out=300 + path, cap=CAP
        )
    for at in range(40):
        for path in range(2, 6):
            between.near.say(100 + path, frame(at, 5_000))
        between.near.flush()
    assert between.relay.memory[1] <= 300_000
    assert between.relay.refused()["BUDGET"] > 0
    codes = {lost(event) for event in between.near.hear()}
    assert codes == {(100 + path, BUSY) for path in range(2, 6)}
    # What had its hop number went out: the lane is whole.
    for event in between.far.hear():
        assert event.frame is not None
    between.near.other.send(Type.PING, body_encode(Type.PING, token=1))
    between.near.flush()
    assert between.near.hear()[-1].type is Type.PONG


def test_nobody_loses_anything_while_there_is_memory() -> None:
    crowded = Crowded()
    crowded.send(Crowded.NORMAL, 60)
    crowded.send(Crowded.OTHER, 5)
    assert crowded.relay.counted(FRAMES_DROPPED) == 0
    assert crowded.told() == []
    assert numbers(crowded.far, Crowded.NORMAL) == list(range(60))


def test_the_link_that_holds_most_makes_room_for_the_others() -> None:
    crowded = Crowded()
    crowded.send(Crowded.NORMAL, 100)
    # It has lost what came last, and holds the rest still.
    assert crowded.told() == [(Crowded.NORMAL, BUSY)]
    kept = crowded.far.lane.backlog
    assert kept > 300_000
    crowded.send(Crowded.OTHER, 20)
    assert crowded.told() == []
    assert crowded.relay.memory[1] <= 500_000
    assert crowded.far.lane.backlog <= kept / 2 + 5_100
    assert numbers(crowded.third, Crowded.OTHER) == list(range(20))
    # What is left of it is in order and without a hole.
    left = numbers(crowded.far, Crowded.NORMAL)
    assert left == list(range(len(left)))


def test_each_flow_that_makes_room_is_told_of_it_once() -> None:
    crowded = Crowded()
    crowded.send(Crowded.NORMAL, 68)
    crowded.send(Crowded.OTHER, 20)
    assert crowded.told() == [(Crowded.NORMAL, BUSY)]
    crowded.send(Crowded.NORMAL, 3, first=68)
    assert crowded.told() == []


def test_what_is_urgent_makes_room_last() -> None:
    crowded = Crowded()
    crowded.send(Crowded.CRITICAL, 30)
    crowded.send(Crowded.NORMAL, 70)
    crowded.send(Crowded.OTHER, 20)
    assert (Crowded.CRITICAL, BUSY) not in crowded.told()
    assert numbers(crowded.far, Crowded.CRITICAL) == list(range(30))


def test_a_link_is_weighed_with_all_its_lanes() -> None:
    crowded = Crowded(lanes=4, memory=800_000)
    for index in range(4):
        crowded.send(Crowded.NORMAL, 26, index)
    crowded.send(Crowded.OTHER, 40)
    # The third link has the fullest lane, and holds less than the other in four.
    assert crowded.third.lane.backlog > max(side.lane.backlog for side in crowded.fars)
    assert {word for index in range(4) for word in crowded.told(index)} == {(Crowded.NORMAL, BUSY)}
    assert numbers(crowded.third, Crowded.OTHER) == list(range(40))


def test_who_holds_much_itself_takes_nothing_from_others() -> None:
    crowded = Crowded()
    crowded.send(Crowded.NORMAL, 40)
    crowded.send(Crowded.OTHER, 60)
    assert crowded.told() == [(Crowded.OTHER, BUSY)]
    assert numbers(crowded.far, Crowded.NORMAL) == list(range(40))
    kept = numbers(crowded.third, Crowded.OTHER)
    assert kept == list(range(len(kept)))
    assert len(kept) >= 20


@pytest.mark.parametrize("seed", range(12))
def test_whoever_reads_when_flows_are_in_order_and_memory_comes_back(seed: int) -> None:
    chance = Random(seed)
    crowded = Crowded(memory=250_000)
    labels = (Crowded.NORMAL, Crowded.CRITICAL, Crowded.OTHER)
    used, _ = crowded.relay.memory
    sent, heard = dict.fromkeys(labels, 0), {label: list[int]() for label in labels}
    lost_ever: set[int] = set()

    def read(side: Side) -> None:
        for event in side.hear():
            if event.frame and event.frame.type is Type.BUNDLE:
                heard[event.label - 200].append(event.frame.number)

    for _ in range(200):
        if chance.random() < 0.2:
            read(chance.choice([crowded.far, crowded.third]))
        label = chance.choice(labels)
        for _ in range(chance.randrange(12)):
            crowded.near.say(label, frame(sent[label], chance.randrange(8, 9_000)))
            sent[label] += 1
        crowded.near.flush()
        for flow, _code in crowded.told():
            lost_ever.add(flow)
            crowded.near.say(flow, frame(0, 16, Type.RESUME))
        assert crowded.relay.memory[1] <= 350_000
    while crowded.far.lane.backlog or crowded.third.lane.backlog:
        read(crowded.far)
        read(crowded.third)
    assert {Crowded.NORMAL, Crowded.OTHER} <= lost_ever
    for numbers_heard in heard.values():
        assert numbers_heard == sorted(set(numbers_heard))
    crowded.relay.turn()
    # What stays are rings of the queues.
    assert crowded.relay.memory[0] < used + 50_000


def test_what_is_urgent_overtakes_what_waits() -> None:
    between = Between()
    between.relay.path_add(2, a_link=NEAR, a_in=31, a_out=32, b_link=FAR, b_in=41, b_out=42, cap=1 << 20, priority=2)
    for at in range(10):
        between.near.say(NEAR_IN, frame(at, 5_000))
    between.near.say(31, frame(0, 100))
    between.near.flush()
    assert next(event.label for event in between.far.hear()) == 42


def test_what_is_not_urgent_gets_its_ninth_of_a_full_lane() -> None:
    """A neighbour that calls all that it sends critical silences nobody."""
    between = Between()
    between.relay.path_add(2, a_link=NEAR, a_in=31, a_out=32, b_link=FAR, b_in=41, b_out=42, cap=4 << 20, priority=2)
    between.relay.path_add(3, a_link=NEAR, a_in=51, a_out=52, b_link=FAR, b_in=61, b_out=62, cap=4 << 20, priority=1)
    for at in range(3):
        between.near.say(NEAR_IN, frame(at, 65_536))
        between.near.say(51, frame(at, 65_536))
    for at in range(40):
        between.near.say(31, frame(at, 65_536))
    between.near.flush()
    heard = []
    while fresh := [event.label for event in between.far.hear()]:
        heard += fresh
    assert len(heard) == 46
    # After eight frames of the first class each of the others has one.
    assert heard[:10] == [*(8 * [42]), 62, FAR_OUT]
    assert [heard[:30].count(label) for label in (42, 62, FAR_OUT)] == [24, 3, 3]
    assert heard[30:] == 16 * [42]


def test_memory_is_flat_after_much_has_passed() -> None:
    between = Between()
    marks = []
    for at in range(300):
        between.near.say(NEAR_IN, frame(at, 3_000))
        between.near.flush(piece=1_000)
        between.far.hear()
        between.relay.turn()
        marks.append(between.relay.memory[0])
    assert marks[-1] == marks[50]
